"""Colours, panels and labels common to all figures, and images without a figure."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import isotonic_regression

from keras_spectral_tl import _checks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN = "#0072B2", "#D55E00", "#009E73"
PINK, YELLOW, SKY, GREY = "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F"
BLACK = "#000000"
_USUAL = {
    "base": (BLUE, "-"),
    "target": (ORANGE, "--"),
    "retrained": (GREEN, "-."),
    "truth": (BLACK, "-"),
    "filtered DNS": (BLACK, "-"),
    "prediction": (ORANGE, "--"),
}
_COLOURS = (BLUE, ORANGE, GREEN, PINK, YELLOW, SKY, GREY, BLACK)
_LINE_STYLES = ("-", "--", "-.", ":")
# Perceptually uniform, also under colour blindness; signed values use another map.
MAGNITUDES, SIGNS = "cividis", "RdBu_r"


def line_looks(labels: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return colour and line style of each label; no two of 20 labels share both.

    Common labels look the same in every figure; the others get the first unused
    colours, each with the next line style, to be distinct in grey.
    """
    names = list(dict.fromkeys(labels))
    found: dict[str, tuple[str, str]] = {}
    for name in names:  # two common labels with one look may come together
        if name in _USUAL and _USUAL[name] not in found.values():
            found[name] = _USUAL[name]
    taken = [colour for colour, _ in found.values()]
    free = [colour for colour in _COLOURS if colour not in taken] or _COLOURS
    others = [name for name in names if name not in found]
    for number, name in enumerate(others):
        turn, place = divmod(number, len(free))
        # After a round of even length skip one style, so that pairs do not repeat.
        style = number + turn * (1 - len(free) % 2)
        found[name] = free[place], _LINE_STYLES[style % len(_LINE_STYLES)]
    return {
        name: dict(zip(("color", "linestyle"), found[name], strict=True), linewidth=1.8)
        for name in names
    }


def panels(
    count: int, columns: int, size: tuple[float, float], ax: Any = None
) -> "tuple[Figure, list[Axes]]":
    """Return a figure with panels of ``size`` inches in rows, or the given axes."""
    if ax is not None:
        given = list(np.ravel(ax))
        require(
            len(given) == count,
            f"This figure has {count} panels: expected as many axes in ax. Received "
            f"{len(given)}.",
        )
        return figure_of(given[0]), given
    across = min(count, columns)
    down = -(-count // columns)
    figure = new_figure(size[0] * across, size[1] * down)
    return figure, [figure.add_subplot(down, across, i + 1) for i in range(count)]


def new_figure(width: float, height: float) -> "Figure":
    """Return a figure of some inches without a window."""
    module = _checks.require("matplotlib.figure", "Figures", "keras-spectral-tl[plot]")
    figure: Figure = module.Figure(figsize=(width, height), layout="constrained")
    return figure


def figure_of(axes: "Axes") -> "Figure":
    figure = axes.get_figure(root=True)
    if figure is None:
        raise ValueError("The axes belong to no figure.")
    return figure


def finish(
    all_axes: "list[Axes]",
    xlabel: str,
    ylabel: str,
    drawn: Mapping[str, Any] | None = None,
    ax: Any = None,
) -> None:
    """Label axes and lines once for all panels, or in the axes given by the caller."""
    lines = drawn or {}
    if ax is not None or len(all_axes) == 1:
        for axes in all_axes:
            axes.set(xlabel=xlabel, ylabel=ylabel)
        if lines:
            all_axes[0].legend(lines.values(), lines.keys(), fontsize=8)
        return
    figure = figure_of(all_axes[0])
    for axes in all_axes:
        axes.tick_params(which="both", labelsize=8)
    figure.supxlabel(xlabel, fontsize=10)
    figure.supylabel(ylabel, fontsize=10)
    if lines:
        figure.legend(
            lines.values(), lines.keys(), loc="outside upper center",
            ncols=max(1, min(len(lines), 4)), frameon=False, fontsize=9,
        )  # fmt: skip


def draw_lines(
    groups: Mapping[str, Mapping[str, Any]],
    points: Callable[[Any], tuple[ArrayLike, ArrayLike]],
    layout: tuple[int, tuple[float, float]],
    labels: tuple[str, str],
    ax: Any,
) -> "list[Axes]":
    """Draw groups of lines, one panel per group; a label looks the same in all.

    ``points`` returns x and y of a line, ``layout`` are the columns and the size of
    panels, and ``labels`` are those of the axes.
    """
    _, all_axes = panels(len(groups), *layout, ax)
    looks = line_looks(label for lines in groups.values() for label in lines)
    drawn: dict[str, Any] = {}
    for axes, (title, lines) in zip(all_axes, groups.items(), strict=True):
        for label, values in lines.items():
            (drawn[label],) = axes.plot(*points(values), label=label, **looks[label])
        axes.grid(alpha=0.3)
        if title:
            axes.set_title(title, fontsize=10)
    finish(all_axes, *labels, drawn, ax)
    return all_axes


def draw_map(axes: "Axes", values: NDArray[np.float64], **options: Any) -> Any:
    """Draw an array (x, y) with axis 0 to the right, and return the image."""
    return axes.imshow(values.T, origin="lower", **options)


def label_points(
    axes: "Axes", x: Sequence[float], y: Sequence[float], names: Sequence[str]
) -> None:
    """Label points in a column on the right, in order and without overlap.

    Names at the points would overlap for close values. A thin line joins each name to
    its point. Points that are not finite get no name. Set limits and margins before.
    """
    known = np.flatnonzero(np.isfinite(x) & np.isfinite(y))
    if not len(known):
        return
    size = 7.0
    figure = figure_of(axes)
    height = figure.get_size_inches()[1] * axes.get_position().bounds[3]
    low, high = axes.get_ylim()
    order = known[np.argsort(np.asarray(y)[known], kind="stable")]
    places = (np.asarray(y, float)[order] - low) / (high - low)
    steps = 1.5 * size / 72 / height * np.arange(len(places))
    # The closest positions that are in order and at least one step apart.
    places = isotonic_regression(places - steps).x + steps
    places += min(0.0, 1.05 - places[-1])
    for place, index in zip(places, order, strict=True):
        axes.annotate(
            names[index], (x[index], y[index]), (1.04, place), fontsize=size,
            textcoords="axes fraction", va="center", annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": GREY, "linewidth": 0.5},
        )  # fmt: skip


def save_figure(
    axes: "Axes | Sequence[Axes]", path: str | os.PathLike[str], dpi: int = 220
) -> Path:
    """Write the figure that axes belong to, trimmed to its content.

    Args:
        axes: Return value of a function of `plotting`.
        path: The file; its suffix sets the format.
        dpi: Pixels per inch, for pixel formats.

    Raises:
        ValueError: If there are no axes.
    """
    first = next(iter(axes), None) if isinstance(axes, Sequence) else axes
    if first is None:
        raise ValueError("There is no figure to save: received no axes.")
    figure_of(first).savefig(path, dpi=dpi, bbox_inches="tight")
    return Path(path)


def require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


def to_rgb(
    values: ArrayLike, low: float | None = None, high: float | None = None
) -> NDArray[np.uint8]:
    """Return the colours of an array, from dark blue (smallest value) to yellow."""
    from matplotlib import colormaps

    array = np.asarray(values, float)
    finite = np.isfinite(array)
    known = array[finite] if finite.any() else np.zeros(1)
    bottom = float(known.min()) if low is None else low
    top = float(known.max()) if high is None else high
    share = (np.where(finite, array, bottom) - bottom) / ((top - bottom) or 1.0)
    places = np.linspace(0, 1, 256)
    colours = np.asarray(colormaps[MAGNITUDES](places))[:, :3]
    channels = [np.interp(share, places, colour) for colour in colours.T]
    image = 255.0 * np.stack(channels, axis=-1)
    image[~finite] = 255.0
    return image.round().astype(np.uint8)


def enlarged(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Repeat pixels until the longer side has about 192."""
    factor = max(1, 192 // max(image.shape[:2]))
    return image.repeat(factor, axis=0).repeat(factor, axis=1)
