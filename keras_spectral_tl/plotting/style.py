"""Colours, panels and labels that all figures share."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import isotonic_regression

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN = "#0072B2", "#D55E00", "#009E73"
PINK, YELLOW, SKY, GREY = "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F"
_COLOURS = {
    "base": BLUE,
    "target": ORANGE,
    "retrained": GREEN,
    "truth": "#000000",
    "prediction": ORANGE,
}
_OTHER_COLOURS = (BLUE, ORANGE, GREEN, PINK, YELLOW, SKY, "#000000")


def label_colours(labels: Iterable[str]) -> dict[str, str]:
    """Colour of each label: fixed for the usual ones, else the first unused.

    Args:
        labels: Labels in the order of drawing.

    Returns:
        Label to hexadecimal colour.

    Example:
        >>> label_colours(["retrained", "other", "base"])
        {'retrained': '#009E73', 'other': '#D55E00', 'base': '#0072B2'}
    """
    names = list(dict.fromkeys(labels))
    colours = {name: _COLOURS[name] for name in names if name in _COLOURS}
    free = [colour for colour in _OTHER_COLOURS if colour not in colours.values()]
    others = [name for name in names if name not in colours]
    available = free or list(_OTHER_COLOURS)
    for position, name in enumerate(others):
        colours[name] = available[position % len(available)]
    return {name: colours[name] for name in names}


def panels(
    count: int, columns: int, size: tuple[float, float]
) -> "tuple[Figure, list[Axes]]":
    """A figure with ``count`` panels of ``size`` inches, in rows of ``columns``."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "Figures need matplotlib, which is not installed. Install it with "
            "`pip install keras-spectral-tl[plot]`."
        ) from error
    across = min(count, columns)
    down = -(-count // columns)
    figure = Figure(figsize=(size[0] * across, size[1] * down), layout="constrained")
    return figure, [figure.add_subplot(down, across, i + 1) for i in range(count)]


def label_outer(
    figure: "Figure", all_axes: "list[Axes]", xlabel: str, ylabel: str
) -> None:
    """Labels the common axes of many panels once."""
    for axes in all_axes:
        axes.tick_params(labelsize=8)
    figure.supxlabel(xlabel, fontsize=10)
    figure.supylabel(ylabel, fontsize=10)


def label_points(
    axes: "Axes", x: Sequence[float], y: Sequence[float], names: Sequence[str]
) -> None:
    """Names points in a column on the right, in their order and a line height apart.

    Names at the points would cover each other where values are close. A thin line
    joins each name to its point. Set limits and margins before.
    """
    size = 7.0
    _, height = axes.figure.get_size_inches() * axes.get_position().bounds[2:]
    low, high = axes.get_ylim()
    order = np.argsort(y, kind="stable")
    places = (np.asarray(y, float)[order] - low) / (high - low)
    gap = 1.5 * size / 72 / height
    # The closest places in order with a gap: https://doi.org/10.18637/jss.v032.i05
    steps = gap * np.arange(len(places))
    places = isotonic_regression(places - steps).x + steps
    places += min(0.0, 1 + gap - places[-1])
    for place, index in zip(places, order, strict=True):
        axes.annotate(
            names[index], (x[index], y[index]), (1.04, place), fontsize=size,
            textcoords="axes fraction", va="center", annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": GREY, "linewidth": 0.5},
        )  # fmt: skip


def save_figure(
    axes: "Axes | Sequence[Axes]", path: str | os.PathLike[str], dpi: int = 110
) -> Path:
    """Writes the figure that axes belong to, trimmed to what is drawn.

    Args:
        axes: What a function of `plotting` returned.
        path: The file; its ending says the format.
        dpi: Pixels an inch, for formats that have any.

    Returns:
        The path.

    Raises:
        ValueError: If there are no axes.
    """
    first = next(iter(axes), None) if isinstance(axes, Sequence) else axes
    figure = None if first is None else first.get_figure(root=True)
    if figure is None:
        raise ValueError("There is no figure to save: received no axes.")
    figure.savefig(path, dpi=dpi, bbox_inches="tight")
    return Path(path)


def require(condition: bool, message: str) -> None:
    """Raises ValueError unless the condition holds."""
    if not condition:
        raise ValueError(message)
