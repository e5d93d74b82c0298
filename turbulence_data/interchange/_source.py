"""Source of an export: examples by split, their metadata, and tables of them."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from turbulence_data._checks import TWO_PI, as_lengths
from turbulence_data.generation._ensemble import SPLITS
from turbulence_data.generation._features import SCALARS, in_order
from turbulence_data.solver._grid import Grid

Example = Mapping[str, Any]

_METADATA_OF_A_BUILDER = (
    "pi_convention",
    "conventions",
    "fields",
    "config",
    "config_hash",
    "content_sha256",
    "versions",
)
# HDF5 keeps attributes in the header of an object, which holds 64 KiB.
_LONGEST_ATTRIBUTE = 60_000

AXES = ("trajectory", "time", "x", "y")
SPLIT = "split"
_LONG_NAMES = {
    "x": "first coordinate, axis 0",
    "y": "second coordinate, axis 1",
    "vorticity": "filtered vorticity",
    "streamfunction": "filtered streamfunction, laplacian(streamfunction) = -vorticity",
    "sgs_forcing": "subgrid forcing of the vorticity equation",
    "velocity": "filtered velocity (u, v)",
    "tau": "subgrid stress (xx, xy, yy)",
    "sigma": "subgrid vorticity flux (x, y)",
    **{name: doc.rstrip(".") for name, (_, doc) in SCALARS.items()},
}
_CF_AXES = {"x": "X", "y": "Y", "time": "T"}


@dataclass(frozen=True)
class ExportSource:
    """Decoded examples and their metadata, ready to be written.

    Attributes:
        examples: examples of each split, ordered by trajectory, then time. Any iterable
            does; it is gone through once and never held as a whole.
        metadata: global attributes. Text and numbers are written as they are, anything
            else as JSON. `pi_convention` must be among them.
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
    def from_builder(cls, builder: Any, splits: Sequence[str] = SPLITS) -> ExportSource:
        """Return the prepared data of a TFDS builder of this package.

        The hash of the content stands in the metadata only where all splits, in their
        own order, are exported: it is the hash of all of them. `inputs` and `outputs`
        name the fields that a network takes and gives, separated by blanks.

        Args:
            builder: a `turbulence_data.Builder` whose data are prepared.
            splits: names of splits.

        Raises:
            ValueError: when the data are not prepared.
        """
        metadata = builder.info.metadata
        if not builder.is_prepared() or "config" not in metadata:
            raise ValueError(
                f"{builder.info.full_name} is not prepared; call its "
                f"download_and_prepare() first. Expected it in {builder.data_dir}."
            )
        kept = {key: metadata[key] for key in _METADATA_OF_A_BUILDER}
        if tuple(splits) != SPLITS:
            del kept["content_sha256"]
        # Names of x and y of a network; in the file x and y are coordinates.
        inputs, outputs = builder.info.supervised_keys
        kept["inputs"] = " ".join(in_order(inputs.values()))
        several = {} if isinstance(outputs, str) else outputs
        kept["outputs"] = " ".join(in_order(several.values())) or outputs
        flow = metadata["config"]["flow"]
        kind = "2-D" if "lengths" in flow else "two-layer"
        kept["title"] = f"{builder.info.full_name}: filtered {kind} turbulence"
        return cls(
            {split: builder.read(split) for split in splits},
            kept,
            tuple(flow["lengths"] if "lengths" in flow else flow["length"]),
        )

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


def _as_json(key: str, value: Any) -> str:
    try:
        return json.dumps(value, sort_keys=True)
    except TypeError as error:
        raise ValueError(
            f"metadata must be plain data, so that they can be written as JSON; "
            f"{key!r} is {value!r}."
        ) from error


@dataclass(frozen=True)
class Column:
    """One array of a table."""

    dims: tuple[str, ...]
    values: NDArray[Any]
    attributes: Mapping[str, Any]


Table = dict[str, Column]


def trajectory_tables(source: ExportSource) -> Iterator[Table]:
    """Yield one table for each trajectory; holds no more than one in memory.

    Fields have the dimensions `(trajectory, time, x, y)`, those of more channels one
    more; scalars that are constant along a trajectory have `(trajectory,)`.
    """
    names = list(source.examples)
    seen: set[int] = set()
    first: Table | None = None
    flags = {
        "long_name": "split of the trajectory",
        "flag_values": np.arange(len(names), dtype=np.int8),
        "flag_meanings": " ".join(names),
    }
    for number, name in enumerate(names):
        groups = itertools.groupby(
            source.examples[name], lambda example: int(example["trajectory"])
        )
        for trajectory, examples in groups:
            if trajectory in seen:
                raise ValueError(
                    f"trajectory {trajectory} comes in two parts; examples must be "
                    "ordered by trajectory, then time. Sort them before."
                )
            seen.add(trajectory)
            table = _table(list(examples), trajectory, source.lengths)
            table[SPLIT] = Column(("trajectory",), np.array([number], np.int8), flags)
            if "units" in source.metadata.get("conventions", {}):
                table = {key: _without_unit(column) for key, column in table.items()}
            first = first or {
                key: Column(column.dims, _kept(column), {})
                for key, column in table.items()
            }
            _check_alike(table, first, trajectory)
            yield table
    if not seen:
        raise ValueError(f"the splits {names} hold no examples.")


def _table(
    examples: list[Example], trajectory: int, lengths: tuple[float, float]
) -> Table:
    times = np.array([example["time"] for example in examples])
    if np.any(np.diff(times) <= 0):
        raise ValueError(
            f"the times of trajectory {trajectory} must increase; received "
            f"{times.tolist()}."
        )
    number = np.asarray(examples[0]["trajectory"])[None]
    table = {
        "trajectory": _column("trajectory", ("trajectory",), number),
        "time": _column("time", ("time",), times),
    }
    for name in examples[0]:
        if name not in table:
            values = np.stack([np.asarray(example[name]) for example in examples])
            table[name] = _data_column(name, values, trajectory)
    shape = next((c.values.shape[2:4] for c in table.values() if len(c.dims) > 3), None)
    if shape is None:
        raise ValueError(
            "examples must hold a field of shape (nx, ny); received "
            f"{ {name: np.shape(value) for name, value in examples[0].items()} }."
        )
    grid = Grid(shape, lengths)
    for name, points in (("x", grid.x.ravel()), ("y", grid.y.ravel())):
        table[name] = _column(name, (name,), points)
    return table


def _data_column(name: str, values: NDArray[Any], trajectory: int) -> Column:
    if values.ndim in (3, 4):
        channels = (f"{name}_channel",) * (values.ndim - 3)
        return _column(name, (*AXES, *channels), values[None])
    if values.ndim != 1:
        raise ValueError(
            "a feature must be a number or a field of shape (nx, ny) or (nx, ny, "
            f"channels); received {name!r} of shape {values.shape[1:]}."
        )
    if any(value.tobytes() != values[0].tobytes() for value in values):
        raise ValueError(
            f"{name!r} changes along trajectory {trajectory}, from {values[0]} to "
            f"others: expected one value a trajectory, received {values.tolist()}."
        )
    return _column(name, ("trajectory",), values[:1])


def _column(name: str, dims: tuple[str, ...], values: NDArray[Any]) -> Column:
    attributes = {"long_name": _LONG_NAMES.get(name, name.replace("_", " "))}
    attributes["units"] = "1"  # dimensionless, where the metadata name no units
    if name in _CF_AXES:
        attributes["axis"] = _CF_AXES[name]
    return Column(dims, values, attributes)


def _without_unit(column: Column) -> Column:
    """Return a column of data in units that the metadata name."""
    kept = {key: v for key, v in column.attributes.items() if key != "units"}
    return Column(column.dims, column.values, kept)


def _kept(column: Column) -> NDArray[Any]:
    """Return coordinates as they are, of data no more than their shape and type."""
    if "trajectory" not in column.dims:
        return column.values
    return np.broadcast_to(np.zeros((), column.values.dtype), column.values.shape)


def _check_alike(table: Table, first: Table, trajectory: int) -> None:
    def form(table: Table) -> dict[str, Any]:
        return {k: (c.values.dtype.str, c.values.shape) for k, c in table.items()}

    if form(table) != form(first):
        raise ValueError(
            f"every trajectory must have the same features and number of times; those "
            f"of trajectory {trajectory} are {form(table)}, of the first {form(first)}."
        )
    if not np.array_equal(table["time"].values, first["time"].values):
        raise ValueError(
            f"every trajectory must have the same times; those of {trajectory} are "
            f"{table['time'].values.tolist()}, of the first "
            f"{first['time'].values.tolist()}. Export them to different files."
        )
