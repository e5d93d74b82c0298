"""Tables of the examples of one trajectory, with axes, units and places, for a file."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from turbulence_data._checks import as_pair
from turbulence_data.coarsening import OPERATORS
from turbulence_data.generation._records import SCALARS
from turbulence_data.solver._grid import Grid

Example = Mapping[str, Any]

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
    """One array of a table."""

    dims: tuple[str, ...]
    values: NDArray[Any]
    attributes: dict[str, Any]


Table = dict[str, Column]
Forms = tuple[dict[str, Any], list[float]]
"""Type and shape of every column, and the times."""


def trajectory_tables(
    splits: Mapping[str, Iterable[Example]],
    metadata: Mapping[str, Any],
    lengths: tuple[float, float],
) -> Iterator[Table]:
    """Yield one table for each trajectory, with only one in memory at a time.

    Fields have the dimensions `(trajectory, time, x, y)`, with several channels one
    more; scalars that are constant along a trajectory have `(trajectory,)`.
    """
    names = list(splits)
    seen: set[int] = set()
    first: Forms | None = None
    flags = {
        "long_name": "split of the trajectory",
        "flag_values": np.arange(len(names), dtype=np.int8),
        "flag_meanings": " ".join(names),
    }
    for number, name in enumerate(names):
        groups = itertools.groupby(
            checked_examples(splits[name]), lambda example: int(example["trajectory"])
        )
        for trajectory, examples in groups:
            if trajectory in seen:
                raise ValueError(
                    f"trajectory {trajectory} comes in two parts; examples must be "
                    "ordered by trajectory, then time. Sort them before."
                )
            seen.add(trajectory)
            table = _table(list(examples), trajectory, lengths)
            table[SPLIT] = Column(("trajectory",), np.array([number], np.int8), flags)
            if "units" in metadata.get("conventions", {}):
                for column in table.values():
                    column.attributes.pop("units", None)
            _tell_offsets(table, metadata.get("config", {}), lengths)
            forms = {k: (c.values.dtype.str, c.values.shape) for k, c in table.items()}
            times = table["time"].values.tolist()
            first = first or (forms, times)
            _check_alike((forms, times), first, trajectory)
            yield table
    if not seen:
        raise ValueError(
            f"the splits {names} hold no examples. A generator of examples can be read "
            "only once: make a new one for each export, or pass lists."
        )


def checked_examples(examples: Iterable[Example]) -> Iterator[Example]:
    """Yield examples; raise ValueError for one without its trajectory or time."""
    for example in examples:
        lacking = [name for name in AXES[:2] if name not in example]
        if lacking:
            raise ValueError(
                "every example must have 'trajectory' and 'time'; received one without "
                f"{lacking}, which has {sorted(example)}. A field without a history "
                "gets a trajectory of its own and the time 0.0."
            )
        yield example


def _tell_offsets(table: Table, config: Any, lengths: tuple[float, float]) -> None:
    """Say which fields are means over blocks, and how far off the points they lie."""
    if isinstance(config, str):  # of an exported file
        config = json.loads(config)
    needed = {"operator", "flow", "num_points_les"}
    if not isinstance(config, Mapping) or not needed <= config.keys():
        return
    if config["operator"] not in OPERATORS:
        return
    sizes = as_pair(config["flow"]["num_points"]), as_pair(config["num_points_les"])
    fine, coarse = (Grid(points, lengths).spacing for points in sizes)
    for name, column in table.items():
        named = [one for one in OPERATORS if name.startswith(f"{one}_")]
        operator = OPERATORS[max(named, key=len) if named else config["operator"]]
        if operator.block_mean and len(column.dims) >= len(AXES):
            column.attributes["comment"] = (
                "means over blocks of points of the DNS, centred offset_x and offset_y "
                "(in the unit of x) beyond the point (x, y)"
            )
            for axis, few, many in zip("xy", coarse, fine, strict=True):
                column.attributes[f"offset_{axis}"] = 0.5 * (few - many)


def _table(
    examples: list[Example], trajectory: int, lengths: tuple[float, float]
) -> Table:
    taken = sorted({"x", "y", SPLIT} & {*examples[0]})
    if taken:
        raise ValueError(
            f"the features {taken} have names of coordinates of the file, which are x, "
            f"y and {SPLIT}; give them other names."
        )
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
    shapes = {n: c.values.shape[2:4] for n, c in table.items() if len(c.dims) > 3}
    if not shapes:
        raise ValueError(
            "examples must hold a field of shape (nx, ny); received "
            f"{ {name: np.shape(value) for name, value in examples[0].items()} }."
        )
    if len({*shapes.values()}) > 1:
        raise ValueError(
            f"the fields of a file must be on one grid (nx, ny); received {shapes}. "
            "Export those of each grid to a file of their own."
        )
    grid = Grid(next(iter(shapes.values())), lengths)
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
    attributes["units"] = "1"  # dimensionless, unless the metadata have units
    if name in _CF_AXES:
        attributes["axis"] = _CF_AXES[name]
    return Column(dims, values, attributes)


def _check_alike(forms: Forms, first: Forms, trajectory: int) -> None:
    if forms[0] != first[0]:
        raise ValueError(
            f"every trajectory must have the same features and number of times; those "
            f"of trajectory {trajectory} are {forms[0]}, of the first {first[0]}."
        )
    if forms[1] != first[1]:
        raise ValueError(
            f"every trajectory must have the same times; those of {trajectory} are "
            f"{forms[1]}, of the first {first[1]}. Export them to different files."
        )
