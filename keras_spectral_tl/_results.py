"""Base classes of results: results by layer, JSON, data frames."""

import importlib.metadata
import os
import pathlib
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, Generic, TypeVar

import numpy as np

import keras_spectral_tl
from keras_spectral_tl._checks import require
from keras_spectral_tl._files import write_json

Item = TypeVar("Item")

# A gain in correlation below this is not worth a retraining.
NOT_WORTH = 0.002

_MOST_LINES = 25
_PACKAGES = ("keras-spectral-tl", "keras", "numpy", "tensorflow", "jax", "torch")


def as_lists(value: Any) -> Any:
    """Return a value with arrays as lists and dataclasses as dicts, for JSON."""
    if hasattr(value, "to_dict"):
        return value.to_dict()
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: as_lists(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, Mapping):
        return {str(key): as_lists(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [as_lists(part) for part in value]
    return value


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that affect the results."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def by_shapes(value: Any) -> str:
    """Return the fields of a dataclass on one line, arrays by their type and shape.

    For the `__repr__` of results with many numbers.
    """
    parts = (f"{f.name}={_shown(getattr(value, f.name))}" for f in fields(value))
    return f"{type(value).__name__}({', '.join(parts)})"


def percent(share: float, digits: int = 0) -> str:
    """Return a fraction in percent, as text such as "52 %"."""
    return f"{100.0 * share:.{digits}f} %"


def as_cc(correlation: float) -> str:
    """Return a correlation as text, with more digits near 1.

    Example:
        >>> as_cc(0.94321), as_cc(0.99912345)
        ('0.943', '0.99912')
    """
    return f"{correlation:.{_digits(correlation) if correlation < 1.0 else 3}f}"


def _digits(correlation: float) -> int:
    """Return the digits that tell correlations like this one apart."""
    return 5 if correlation > 0.995 else 3


def not_told_from(
    best: Mapping[str, Any], ties: Mapping[str, Mapping[str, Any]], keep: float = 0.0
) -> str:
    """Return which arms of a forecast tie with the best, and what fewer weights cost.

    `best` is the row of the chosen arm, with parameters, correlation, base_correlation
    and relative_rmse; `ties` maps labels to rows of the arms that are indistinguishable
    from it. `keep` is the weight of the correlation on the base in the choice.
    """
    if not ties:
        return ""
    more = len(ties) - 3
    others = f" and {more} other{'s' if more > 1 else ''}" if more > 0 else ""
    text = (
        f"It is indistinguishable from {', '.join(map(_quoted, [*ties][:3]))}{others}"
    )
    label = min(ties, key=lambda name: ties[name]["parameters"])
    cheaper = ties[label]
    if best["parameters"] < cheaper["parameters"]:
        return f"{text}; of these it trains the fewest weights."
    if best["parameters"] == cheaper["parameters"]:
        same = ", which trains as many" if len(ties) == 1 else "; none trains fewer"
        return f"{text}{same} weights."
    gained = best["correlation"] - cheaper["correlation"]
    where = ""
    if keep:
        on_base = best["base_correlation"] - cheaper["base_correlation"]
        gained = (1.0 - keep) * gained + keep * on_base
        where = (
            f" in the mean of target ({percent(1 - keep)}) and base ({percent(keep)})"
        )
    behind = f"{gained:.{_digits(best['correlation'])}f}"
    if gained < NOT_WORTH and best["relative_rmse"] < cheaper["relative_rmse"] - 0.01:
        return (
            f"{text} by the correlation, but has a better amplitude: relative RMSE "
            f"{best['relative_rmse']:.3f}, and {cheaper['relative_rmse']:.3f} with "
            f"{_quoted(label)}."
        )
    return (
        f"{text}; {_quoted(label)}, with the fewest weights of these, is {behind} "
        f"behind{where}."
    )


def _quoted(label: str) -> str:
    """Return a label, in quotation marks if it begins with a preposition."""
    return f'"{label}"' if label.startswith("from ") else label


def text_table(
    rows: Sequence[Sequence[str]], align: Callable[[str, int], str] = str.rjust
) -> list[str]:
    """Return rows of text as lines, the first column to the left, others aligned.

    Example:
        >>> text_table([["layer", "CC"], ["conv_1", "0.81"]])
        ['layer     CC', 'conv_1  0.81']
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *others in rows:
        cells = [first.ljust(widths[0]), *map(align, others, widths[1:])]
        lines.append("  ".join(cells).rstrip())
    return lines


def _shown(value: Any) -> str:
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{value.dtype} {tuple(value.shape)}"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{k!r}: {_shown(v)}" for k, v in value.items()) + "}"
    if isinstance(value, tuple | list) and len(value) <= 4:
        return "(" + ", ".join(map(_shown, value)) + ")"
    return repr(value)


class AsJson:
    """Base of results that can be written as JSON."""

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers as lists, for JSON."""
        raise NotImplementedError

    def to_json(self, path: str | os.PathLike[str]) -> pathlib.Path:
        """Write `to_dict` to a JSON file and return its path.

        NaN and infinity become null. The folder is created if needed, and the file is
        written completely or not at all.
        """
        return write_json(path, self.to_dict())


class Result(AsJson):
    """Base of results that are dataclasses of numbers and arrays."""

    def to_dict(self) -> dict[str, Any]:
        names = (field.name for field in fields(self))  # type: ignore[arg-type]
        return {name: as_lists(getattr(self, name)) for name in names}

    def to_frame(self) -> Any:
        """Return a pandas DataFrame of the arrays and numbers.

        Arrays with the longest first axis become columns (with a second axis, one
        column for each index of it); numbers are repeated; all else is left out.
        """
        pandas = require("pandas", "Data frames", "pandas")
        values = {f.name: np.asarray(getattr(self, f.name)) for f in fields(self)}  # type: ignore[arg-type]
        known = {n: v for n, v in values.items() if v.dtype.kind in "biufU"}
        rows = max((len(v) for v in known.values() if v.ndim), default=1)
        columns: dict[str, Any] = {}
        for name, array in known.items():
            if array.ndim == 0 or array.shape == (rows,):
                columns[name] = np.broadcast_to(array, (rows,))
            elif array.ndim == 2 and len(array) == rows:
                columns |= {f"{name}_{n}": column for n, column in enumerate(array.T)}
        return pandas.DataFrame(columns)


class ByLayer(AsJson, Mapping[str, Item], Generic[Item]):
    """Results of the layers of a model by name, in the order of execution.

    A read-only mapping. `print` and `to_frame` show the numbers that summarize a layer:
    the item itself, named `column`, or its `summary`.
    """

    def __init__(self, layers: Mapping[str, Item], column: str = "value") -> None:
        self.layers = dict(layers)
        self._column = column

    def __getitem__(self, name: str) -> Item:
        return self.layers[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    def rows(self) -> dict[str, dict[str, Any]]:
        """Return the numbers that summarize each layer."""
        return {
            name: item.summary() if hasattr(item, "summary") else {self._column: item}
            for name, item in self.layers.items()
        }

    def to_dict(self) -> dict[str, Any]:
        return {name: as_lists(item) for name, item in self.layers.items()}

    def to_frame(self) -> Any:
        """Return a pandas DataFrame of `rows`, indexed by layer."""
        pandas = require("pandas", "Data frames", "pandas")
        frame = pandas.DataFrame.from_dict(self.rows(), orient="index")
        return frame.rename_axis("layer")

    def plot(self, ax: Any = None) -> Any:
        """Draw the first number of each layer as a bar and return the axes."""
        rows = self.rows()
        name = next(iter(next(iter(rows.values()), {self._column: 0})))
        values = {layer: row[name] for layer, row in rows.items()}
        return keras_spectral_tl.plotting._scores.plot_bars(values, name, ax=ax)

    def __repr__(self) -> str:
        rows = self.rows()
        names = list(dict.fromkeys(name for row in rows.values() for name in row))
        cells = [["layer", *names]] + [
            [layer, *(_cell(row.get(name, "")) for name in names)]
            for layer, row in rows.items()
        ]
        lines = text_table(cells, str.ljust)
        if len(lines) > _MOST_LINES:
            left_out = len(lines) - _MOST_LINES + 1
            lines = [*lines[: _MOST_LINES - 1], f"... and {left_out} more"]
        return "\n".join(lines)


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float | np.floating) else str(value)
