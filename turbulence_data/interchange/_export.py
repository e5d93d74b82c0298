"""Export of datasets as Zarr, netCDF (both for xarray, with CF attributes) and npz.

Except for npz, only one trajectory is in memory at a time. A file appears under its
name only when it is complete, and is read back bit for bit.
"""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from turbulence_data._checks import TWO_PI, as_lengths
from turbulence_data._files import new_path
from turbulence_data.generation._ensemble import SPLITS
from turbulence_data.input_pipeline import to_arrays
from turbulence_data.interchange._tables import (
    AXES,
    SPLIT,
    Example,
    Table,
    checked_examples,
    trajectory_tables,
)

if TYPE_CHECKING:
    import xarray

_METADATA_OF_A_BUILDER = (
    "pi_convention",
    "conventions",
    "fields",
    "config",
    "config_hash",
    "content_sha256",
    "versions",
)
# HDF5 stores attributes in the header of an object, which is limited to 64 KiB.
_LONGEST_ATTRIBUTE = 60_000


@dataclass(frozen=True)
class ExportSource:
    """Decoded examples and their metadata, ready to be written.

    Attributes:
        examples: examples of each split, ordered by trajectory, then time. Any iterable
            works; it is read once and never held as a whole.
        metadata: global attributes. Text and numbers are written directly, anything
            else as JSON. Must contain `pi_convention`.
        lengths: domain size.

    Raises:
        ValueError: for a split whose name has blanks, or no `pi_convention`.

    Example:
        >>> import numpy as np
        >>> snapshot = {"trajectory": 0, "time": 0.0, "vorticity": np.zeros((8, 8))}
        >>> source = ExportSource({"train": [snapshot]}, {"pi_convention": "rhs_add"})
        >>> source.attributes()["pi_convention"]
        'rhs_add'
    """

    examples: Mapping[str, Iterable[Example]]
    metadata: Mapping[str, Any]
    lengths: tuple[float, float] = field(default=(TWO_PI, TWO_PI))

    def __post_init__(self) -> None:
        object.__setattr__(self, "lengths", as_lengths(self.lengths))
        names = list(self.examples) if isinstance(self.examples, Mapping) else None
        if not names or any(len(str(name).split()) != 1 for name in names):
            raise ValueError(
                "examples must map the names of splits, without blanks, to iterables "
                f"of examples; received {names or type(self.examples)}."
            )
        if "pi_convention" not in self.metadata:
            raise ValueError(
                "metadata must say with which sign sgs_forcing enters, as "
                "'pi_convention': 'rhs_add' where it is added to the right-hand side; "
                f"received the keys {sorted(self.metadata)}."
            )

    @classmethod
    def from_builder(
        cls,
        builder: Any,
        splits: str | Sequence[str] = SPLITS,
        features: Sequence[str] | None = None,
    ) -> ExportSource:
        """Return the prepared data of a TFDS builder of this package.

        The metadata contain the content hash only if all splits are exported in their
        order with all features, because it is the hash of all of them. `inputs` and
        `outputs` name the input and output fields of a network, separated by blanks.

        Args:
            builder: a `turbulence_data.Builder` whose data are prepared.
            splits: name of a split, or several.
            features: names of features to export with `trajectory` and `time`; None
                for all.

        Raises:
            ValueError: if the data are not prepared, or have no such feature.
        """
        metadata = builder.info.metadata
        if not builder.is_prepared() or "config" not in metadata:
            raise ValueError(
                f"{builder.info.full_name} is not prepared; call its "
                f"download_and_prepare() first. Expected it in {builder.data_dir}."
            )
        splits = [splits] if isinstance(splits, str) else splits
        names = _checked_features(features, list(builder.info.features))
        kept = {key: metadata[key] for key in _METADATA_OF_A_BUILDER}
        if tuple(splits) != SPLITS or features is not None:
            del kept["content_sha256"]
        # Fields of x and y of a network; in the file x and y are coordinates.
        kept["inputs"], kept["outputs"] = map(" ".join, builder.channels)
        flow = metadata["config"]["flow"]
        kind = "2-D" if "lengths" in flow else "two-layer"
        kept["title"] = f"{builder.info.full_name}: filtered {kind} turbulence"
        return cls(
            {split: _only(names, builder.read(split)) for split in splits},
            kept,
            tuple(flow["lengths"] if "lengths" in flow else flow["length"]),
        )

    @staticmethod
    def examples_of(
        dataset: xarray.Dataset, split: str | None = None
    ) -> Iterator[dict[str, Any]]:
        """Yield the examples of an exported dataset, as they were before the export.

        Args:
            dataset: dataset opened by xarray.
            split: name of a split; None for all, one after the other.

        Raises:
            ValueError: for a dataset without these dimensions, or without this split.
        """
        lacking = [name for name in AXES[:2] if name not in dataset.dims]
        lacking += [SPLIT] if SPLIT not in dataset.variables else []
        if lacking:
            raise ValueError(
                f"the dataset must have the dimensions {AXES[:2]} and the variable "
                f"{SPLIT!r}, as an exported one has; received one without {lacking}. "
                "Select by lists, dataset.isel(trajectory=[0]), and keep what tells "
                f"the split, dataset[['vorticity', {SPLIT!r}]]."
            )
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

    def attributes(self) -> dict[str, str | int | float]:
        """Return the global attributes, as text and numbers.

        Raises:
            ValueError: for an entry that is not plain data, or far too long.
        """
        attributes: dict[str, str | int | float] = {"Conventions": "CF-1.11"}
        for key, value in self.metadata.items():
            plain = isinstance(value, str | int | float) and not isinstance(value, bool)
            attributes[key] = value if plain else _as_json(key, value)
            if len(str(attributes[key])) > _LONGEST_ATTRIBUTE:
                raise ValueError(
                    f"metadata {key!r} is {len(str(attributes[key]))} characters long; "
                    f"an attribute holds at most {_LONGEST_ATTRIBUTE}. Keep it in a "
                    "file beside the data."
                )
        return attributes


def _checked_features(
    features: Sequence[str] | None, available: list[str]
) -> list[str]:
    """Return the features to write, or raise ValueError for an unknown one."""
    if features is None:
        return available
    unknown = sorted(set(features) - set(available))
    if isinstance(features, str) or unknown or not features:
        raise ValueError(
            f"features must be names of {available}, or None for all; received "
            f"{features!r}."
        )
    return [n for n in available if n in {"trajectory", "time", *features}]


def _only(names: list[str], examples: Iterable[Example]) -> Iterator[Example]:
    for example in examples:
        yield {name: example[name] for name in names}


def _as_json(key: str, value: Any) -> str:
    try:
        return json.dumps(value, sort_keys=True)
    except TypeError as error:
        raise ValueError(
            f"metadata must be plain data, so that they can be written as JSON; "
            f"{key!r} is {value!r}."
        ) from error


Attributes = dict[str, str | int | float]


def require(name: str) -> Any:
    """Return a module of the extra `[interchange]`, or raise a helpful ImportError."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            f"{name} is needed to exchange data with other formats and cannot be "
            f"imported ({error}); install it with "
            "pip install 'keras-spectral-tl[interchange]'."
        ) from error


def export(source: ExportSource, path: str | os.PathLike[str]) -> None:
    """Write a dataset as Zarr, netCDF or npz, by the suffix of the path.

    - `.zarr`, for `xarray.open_zarr(path, consolidated=False)`, and `.nc`, netCDF-4 for
      `xarray.open_dataset(path)`: fields have the dimensions `(trajectory, time, x,
      y)`, with one chunk per trajectory; the flag variable `split` has the split of
      each trajectory. `ExportSource.examples_of` reads them back.
    - `.npz`, for `numpy.load(path)`, temporarily held in memory: `x` and `y` as in
      `to_arrays`, in physical units; `trajectory`, `time` and `split` of each example;
      `metadata`, as JSON text.

    Args:
        source: data to write.
        path: file or directory to create.

    Raises:
        FileExistsError: if the path already exists.
        ImportError: if xarray and zarr, or h5netcdf, are not installed.
        ValueError: for another suffix, or inconsistent examples.
    """
    path = Path(path)
    check_ending(path)
    attributes = source.attributes()
    with new_path(path) as target:
        _WRITERS[path.suffix](source, attributes, target)


def check_ending(path: Path) -> None:
    """Raise ValueError for a file whose suffix is not a known format."""
    if path.suffix not in _WRITERS:
        raise ValueError(
            f"FILE must end in one of {', '.join(_WRITERS)}; received {path}."
        )


def _tables(source: ExportSource) -> Iterator[Table]:
    return trajectory_tables(source.examples, source.metadata, source.lengths)


def _write_zarr(source: ExportSource, attributes: Attributes, target: Path) -> None:
    require("zarr")
    xarray = require("xarray")
    for number, table in enumerate(_tables(source)):
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
        for number, table in enumerate(_tables(source)):
            if number == 0:
                _define(file, table)
            file.resize_dimension(AXES[0], number + 1)
            for name, column in table.items():
                if AXES[0] in column.dims:
                    file.variables[name][number] = column.values[0]


def _write_npz(source: ExportSource, attributes: Attributes, target: Path) -> None:
    splits = {n: list(checked_examples(part)) for n, part in source.examples.items()}
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
