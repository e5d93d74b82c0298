"""From a stream of examples to one table of named, labelled arrays a trajectory."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from turbulence_data.generation._trajectory import SCALARS
from turbulence_data.interchange._source import Example, ExportSource
from turbulence_data.solver._grid import Grid

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
class Column:
    """One array of a table.

    Attributes:
        dims: name of each axis.
        values: the array.
        attributes: what CF wants to be said of it.
    """

    dims: tuple[str, ...]
    values: NDArray[Any]
    attributes: Mapping[str, Any]


Table = dict[str, Column]


def trajectory_tables(source: ExportSource) -> Iterator[Table]:
    """Yields one table for each trajectory; holds no more than one in memory.

    Fields have the dimensions `(trajectory, time, x, y)`, those of more channels one
    more; scalars that are constant along a trajectory have `(trajectory,)`.

    Raises:
        ValueError: when trajectories are not in order or differ in times or features.
    """
    names = list(source.examples)
    seen: set[int] = set()
    first: Table | None = None
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
            table[SPLIT] = _split_column(number, names)
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
    attributes["units"] = "1"  # every quantity is dimensionless
    if name in _CF_AXES:
        attributes["axis"] = _CF_AXES[name]
    return Column(dims, values, attributes)


def _split_column(number: int, names: list[str]) -> Column:
    attributes = {
        "long_name": "split of the trajectory",
        "flag_values": np.arange(len(names), dtype=np.int8),
        "flag_meanings": " ".join(names),
    }
    return Column(("trajectory",), np.array([number], np.int8), attributes)


def _kept(column: Column) -> NDArray[Any]:
    """Coordinates as they are, of data no more than their shape and type."""
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
