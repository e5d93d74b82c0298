"""Datasets as Zarr, netCDF (both for xarray, attributes after CF) and npz files.

One trajectory is in memory at a time, but for npz. A file appears under its name only
when it is complete, and reads back bit for bit.
"""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from turbulence_data._files import new_path
from turbulence_data.input_pipeline import to_arrays
from turbulence_data.interchange._source import (
    AXES,
    SPLIT,
    ExportSource,
    Table,
    trajectory_tables,
)

if TYPE_CHECKING:
    import xarray

Attributes = dict[str, str | int | float]


def require(name: str) -> Any:
    """Return a module of the extra `[interchange]`; say what to install without it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            f"{name} is needed to exchange data with other formats and cannot be "
            f"imported ({error}); install it with "
            "pip install 'keras-spectral-tl[interchange]'."
        ) from error


def export(source: ExportSource, path: str | os.PathLike[str]) -> None:
    """Write a dataset as Zarr, netCDF or npz, by the ending of the path.

    - `.zarr`, for `xarray.open_zarr(path, consolidated=False)`, and `.nc`, netCDF-4 for
      `xarray.open_dataset(path)`: fields have the dimensions `(trajectory, time, x,
      y)`, one chunk a trajectory; the flag variable `split` says which trajectory
      belongs to which split. `examples_of` reads them back.
    - `.npz`, for `numpy.load(path)`, held in memory meanwhile: `x` and `y` as by
      `to_arrays`, in physical units; `trajectory`, `time` and `split` of each example;
      `metadata`, a text in JSON.

    Args:
        source: what to write.
        path: file or directory to make.

    Raises:
        FileExistsError: when something is there already.
        ImportError: when xarray and zarr, or h5netcdf, are not installed.
        ValueError: for another ending, or examples that do not fit together.
    """
    path = Path(path)
    check_ending(path)
    attributes = source.attributes()
    with new_path(path) as target:
        _WRITERS[path.suffix](source, attributes, target)


def check_ending(path: Path) -> None:
    """Raise ValueError for a file whose ending names no format."""
    if path.suffix not in _WRITERS:
        raise ValueError(
            f"FILE must end in one of {', '.join(_WRITERS)}; received {path}."
        )


def _write_zarr(source: ExportSource, attributes: Attributes, target: Path) -> None:
    require("zarr")
    xarray = require("xarray")
    for number, table in enumerate(trajectory_tables(source)):
        # The attributes each time: what is appended brings its own.
        dataset = xarray.Dataset(
            {n: (c.dims, c.values, dict(c.attributes)) for n, c in table.items()},
            attrs=attributes,
        )
        if number == 0:
            # No fill value: it would stand for NaN, which no field holds.
            encoding = {
                name: {"chunks": column.values.shape, "_FillValue": None}
                for name, column in table.items()
            }
            dataset.to_zarr(target, mode="w", encoding=encoding, consolidated=False)
        else:
            constant = [n for n, c in table.items() if AXES[0] not in c.dims]
            part = dataset.drop_vars(constant)
            part.to_zarr(target, append_dim=AXES[0], consolidated=False)


def _write_netcdf(source: ExportSource, attributes: Attributes, target: Path) -> None:
    with require("h5netcdf").File(target, "w") as file:
        file.attrs.update(attributes)
        for number, table in enumerate(trajectory_tables(source)):
            if number == 0:
                _define(file, table)
            file.resize_dimension(AXES[0], number + 1)
            for name, column in table.items():
                if AXES[0] in column.dims:
                    file.variables[name][number] = column.values[0]


def _write_npz(source: ExportSource, attributes: Attributes, target: Path) -> None:
    splits = {name: list(part) for name, part in source.examples.items()}
    examples = list(chain.from_iterable(splits.values()))
    x, y = to_arrays(examples)
    np.savez(
        target,
        allow_pickle=False,
        x=x,
        y=y,
        trajectory=np.array([example["trajectory"] for example in examples]),
        time=np.array([example["time"] for example in examples]),
        split=np.repeat(list(splits), [len(part) for part in splits.values()]),
        metadata=np.array(json.dumps(attributes, sort_keys=True)),
    )


_WRITERS = {".zarr": _write_zarr, ".nc": _write_netcdf, ".npz": _write_npz}


def examples_of(
    dataset: xarray.Dataset, split: str | None = None
) -> Iterator[dict[str, Any]]:
    """Yield the examples of an exported dataset, as they were before the export.

    Args:
        dataset: what xarray opened.
        split: name of a split; None for all, one after the other.

    Raises:
        ValueError: for an unknown split.
    """
    names = dataset[SPLIT].attrs["flag_meanings"].split()
    if split is not None and split not in names:
        raise ValueError(f"unknown split {split!r}; the dataset holds {names}.")
    for number in range(dataset.sizes[AXES[0]]):
        part = dataset.isel(trajectory=number)
        if split is not None and int(part[SPLIT]) != names.index(split):
            continue
        arrays = {
            str(name): part[name].to_numpy()
            for name in part.variables
            if name not in ("x", "y", SPLIT)
        }
        varying = [n for n in arrays if AXES[1] in part[n].dims]
        for step in range(part.sizes[AXES[1]]):
            yield {
                name: array[step] if name in varying else array[()]
                for name, array in arrays.items()
            }


def _define(file: Any, table: Table) -> None:
    for column in table.values():
        for name, size in zip(column.dims, column.values.shape, strict=True):
            if name not in file.dimensions:
                file.dimensions[name] = None if name == AXES[0] else size
    for name, column in table.items():
        grows = AXES[0] in column.dims
        variable = file.create_variable(
            name,
            column.dims,
            column.values.dtype,
            chunks=column.values.shape if grows else None,
        )
        variable.attrs.update(column.attributes)
        if not grows:
            variable[...] = column.values
