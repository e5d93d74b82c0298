"""A chart as inline SVG: complete without a script, which only adds zooming."""

import dataclasses
import json
from typing import Any

from keras_spectral_tl.reporting.axis import Axis
from keras_spectral_tl.reporting.blocks import Chart, Series

_WIDTH, _HEIGHT = 420, 290
_TOP, _RIGHT, _BOTTOM = 24, 14, 44
_SCALE = 1000  # of the inner drawing, which is stretched to the plot


@dataclasses.dataclass(frozen=True)
class Drawing:
    """What the template needs to draw a chart.

    Attributes:
        size: Of the whole drawing.
        plot: (left, top, width, height) of the area between the axes.
        x_ticks: (place in the drawing, label).
        y_ticks: Likewise.
        curves: Number of the style, and the path of each series.
        spans: Number of the style and path of the intervals.
        labels: (x, y) within the plot, from 0 to 1 (y upwards), and text.
        axes: The axes for the script, as JSON.
    """

    size: tuple[int, int]
    plot: tuple[int, int, int, int]
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    curves: list[tuple[int, str, bool]]
    spans: list[tuple[int, str]]
    labels: list[tuple[float, float, str]]
    axes: str


def drawing(chart: Chart) -> Drawing:
    """Lay out a chart.

    Example:
        >>> from keras_spectral_tl.reporting.blocks import Chart
        >>> chart = Chart.of_spectra("", {"base": [0.0, 1.0, None, 0.1, 0.2]}, "E")
        >>> (style, path, is_points), = drawing(chart).curves
        >>> path.count("M"), path.count("L")  # the gap divides the curve
        (2, 1)
    """
    longest = max((len(name) for name in chart.y.categories), default=0)
    left = min(max(56, 8 * longest + 14), 190)
    width, height = _WIDTH - left - _RIGHT, _HEIGHT - _TOP - _BOTTOM
    placed = [_placed(series, chart) for series in chart.series]
    curves, spans, labels = [], [], []
    for style, (series, points) in enumerate(zip(chart.series, placed, strict=True)):
        curves.append((style, _path(points, bool(series.names)), bool(series.names)))
        spans.append((style, _span_path(series, points, chart.x)))
        if chart.has_labels:
            names = zip(points, series.names, strict=True)
            labels += [(*point, name) for point, name in names if point is not None]
    return Drawing(
        size=(_WIDTH, _HEIGHT),
        plot=(left, _TOP, width, height),
        x_ticks=[(left + p * width, label) for p, label in chart.x.ticks()],
        y_ticks=[(_TOP + (1 - p) * height, _short(t)) for p, t in chart.y.ticks()],
        curves=curves,
        spans=[(style, path) for style, path in spans if path],
        labels=labels,
        axes=json.dumps({"x": _plain(chart.x), "y": _plain(chart.y)}),
    )


def _plain(axis: Axis) -> dict[str, Any]:
    return {
        "low": axis.low,
        "high": axis.high,
        "log": axis.logarithmic,
        "names": [_short(name) for name in axis.categories],
    }


def _short(name: str) -> str:
    return name if len(name) <= 22 else f"{name[:10]}…{name[-11:]}"


def _placed(series: Series, chart: Chart) -> list[tuple[float, float] | None]:
    points: list[tuple[float, float] | None] = []
    for x, y in zip(series.x, series.y, strict=True):
        across, up = chart.x.position(x), chart.y.position(y)
        points.append(None if across is None or up is None else (across, up))
    return points


def _path(points: list[tuple[float, float] | None], are_apart: bool) -> str:
    steps, is_new = [], True
    for point in points:
        if point is not None:
            steps.append(("M" if is_new or are_apart else "L") + _at(*point))
            steps += ["h0"] if are_apart else []
        is_new = point is None
    return "".join(steps)


def _span_path(
    series: Series, points: list[tuple[float, float] | None], axis: Axis
) -> str:
    steps = []
    for span, point in zip(series.spans, points, strict=False):
        ends = [axis.position(end) for end in span or ()]
        if point is not None and len(ends) == 2 and None not in ends:
            steps += ["M" + _at(float(ends[0] or 0.0), point[1])]
            steps += ["L" + _at(float(ends[1] or 0.0), point[1])]
    return "".join(steps)


def _at(across: float, up: float) -> str:
    return f"{across * _SCALE:.1f} {(1.0 - up) * _SCALE:.1f}"
