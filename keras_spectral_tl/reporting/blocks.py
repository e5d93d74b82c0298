"""What a section of a page is made of: charts, tables and sentences."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from keras_spectral_tl.reporting.axis import Axis

Values = Sequence[float | None]
_ROUND_OFF = 1e-8  # of the largest value of a spectrum


@dataclasses.dataclass(frozen=True)
class Series:
    """A curve, or points, of a chart; None and nan leave gaps.

    Attributes:
        label: Its name in the legend.
        x: Along the horizontal axis.
        y: Along the vertical axis, as many.
        names: What each point is called; with them, points are drawn, else a curve.
        spans: For each point (low, high) along the horizontal axis, or None.
    """

    label: str
    x: Values
    y: Values
    names: tuple[str, ...] = ()
    spans: tuple[tuple[float, float] | None, ...] = ()


@dataclasses.dataclass(frozen=True)
class Chart:
    """Curves or points on common axes."""

    title: str
    x: Axis
    y: Axis
    series: tuple[Series, ...]
    has_labels: bool = False

    @classmethod
    def of_spectra(
        cls, title: str, spectra: Mapping[str, Values], ylabel: str
    ) -> "Chart":
        """Curves over the wavenumber, which is the index, on logarithmic axes.

        Wavenumber 0 has no place on them and is left out. What is below the round-off
        of single precision is outside the first view.
        """
        series = tuple(
            Series(label, [float(k) for k in range(1, len(values))], list(values[1:]))
            for label, values in spectra.items()
        )
        values = [v for s in series for v in s.y if v is not None and math.isfinite(v)]
        lowest = _ROUND_OFF * max(values, default=0.0)
        return cls(
            title,
            Axis.around("wavenumber", [k for s in series for k in s.x], True),
            Axis.around(ylabel, [v for v in values if v >= lowest], True),
            series,
        )


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows of text under column names; the first column names the row."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    marked: tuple[int, ...] = ()

    @classmethod
    def of_rows(cls, title: str, rows: Sequence[Mapping[str, Any]]) -> "Table":
        """All keys of all rows as columns, in the order in which they come."""
        columns = tuple(dict.fromkeys(key for row in rows for key in row))
        cells = tuple(tuple(shown(row.get(key)) for key in columns) for row in rows)
        return cls(title, tuple(name.replace("_", " ") for name in columns), cells)


@dataclasses.dataclass(frozen=True)
class Section:
    """One part of the page.

    Attributes:
        anchor: Its place in the address.
        title: Its heading.
        text: Sentences, one paragraph each.
        blocks: Charts and tables.
    """

    anchor: str
    title: str
    text: tuple[str, ...] = ()
    blocks: tuple[Chart | Table, ...] = ()


def shown(value: Any) -> str:
    """A value as text: four digits of a number, a dash for what is not known.

    Example:
        >>> shown(0.123456), shown(None), shown(float("nan")), shown(True), shown(-0.0)
        ('0.1235', '–', '–', 'yes', '0')
    """
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value + 0.0:.4g}" if math.isfinite(value) else "–"
    if isinstance(value, list | tuple):
        return ", ".join(map(shown, value))
    if isinstance(value, dict):
        return "; ".join(f"{name} {shown(part)}" for name, part in value.items())
    return str(value)
