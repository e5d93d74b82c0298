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
from numpy.typing import NDArray

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


def require(name: str) -> Any:
    """Return a module of the extra `[interchange]`.

    Raises:
        ImportError: when it is not installed; says what to install.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            f"{name} is needed to exchange data with other formats and cannot be "
            f"imported ({error}); install it with "
            "pip install 'keras-spectral-tl[interchange]'."
        ) from error


def write_zarr(source: ExportSource, path: str | os.PathLike[str]) -> None:
    """Write a dataset as a Zarr store, one chunk of each field a trajectory.

    Read it with `xarray.open_zarr(path, consolidated=False)`. Fields have the
    dimensions `(trajectory, time, x, y)`; the flag variable `split` says which
    trajectory belongs to which split.

    Args:
        source: what to write.
        path: directory to make.

    Raises:
        FileExistsError: when something is there already.
        ImportError: when xarray or zarr is not installed.
        ValueError: for examples that do not fit together.
    """
    require("zarr")
    xarray = require("xarray")
    attributes = source.attributes()

    with new_path(Path(path)) as target:
        for number, table in enumerate(trajectory_tables(source)):
            # The attributes each time: what is appended brings its own.
            dataset = _dataset(xarray, table).assign_attrs(attributes)
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


def write_netcdf(source: ExportSource, path: str | os.PathLike[str]) -> None:
    """Write a dataset as one netCDF-4 file, `trajectory` its unlimited dimension.

    Read it with `xarray.open_dataset(path)`; see `write_zarr` for what it holds.

    Args:
        source: what to write.
        path: file to make.

    Raises:
        FileExistsError: when something is there already.
        ImportError: when h5netcdf is not installed.
        ValueError: for examples that do not fit together.
    """
    h5netcdf = require("h5netcdf")
    attributes = source.attributes()

    with new_path(Path(path)) as target, h5netcdf.File(target, "w") as file:
        file.attrs.update(attributes)
        for number, table in enumerate(trajectory_tables(source)):
            if number == 0:
                _define(file, table)
            file.resize_dimension(AXES[0], number + 1)
            for name, column in table.items():
                if AXES[0] in column.dims:
                    file.variables[name][number] = column.values[0]


def write_npz(source: ExportSource, path: str | os.PathLike[str]) -> None:
    """Write a dataset as an npz file; unlike the other formats it is held in memory.

    Read it with `numpy.load(path)`: `x` and `y` as by `to_arrays`, in physical units;
    `trajectory`, `time` and `split` of each example; `metadata`, a text in JSON.

    Args:
        source: what to write.
        path: file to make.

    Raises:
        FileExistsError: when something is there already.
        ValueError: when there are no examples.
    """
    with new_path(Path(path)) as target, target.open("wb") as file:
        np.savez(file, allow_pickle=False, **_arrays(source))


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


def _dataset(xarray: Any, table: Table) -> Any:
    return xarray.Dataset(
        {name: (c.dims, c.values, dict(c.attributes)) for name, c in table.items()}
    )


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


def _arrays(source: ExportSource) -> dict[str, NDArray[Any]]:
    splits = {name: list(part) for name, part in source.examples.items()}
    examples = list(chain.from_iterable(splits.values()))
    x, y = to_arrays(examples)
    return {
        "x": x,
        "y": y,
        "trajectory": np.array([example["trajectory"] for example in examples]),
        "time": np.array([example["time"] for example in examples]),
        "split": np.repeat(list(splits), [len(part) for part in splits.values()]),
        "metadata": np.array(json.dumps(source.attributes(), sort_keys=True)),
    }
