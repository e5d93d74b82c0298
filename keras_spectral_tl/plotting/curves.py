"""Labelled curves in panels, such as spectra and time series of several closures."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from keras_spectral_tl.plotting.style import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PINK,
    SKY,
    YELLOW,
    panels,
    require,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS = (BLUE, ORANGE, GREEN, PINK, YELLOW, SKY, GREY)
_LINE_STYLES = ("-", "--", "-.", ":")
_TRUTH = "filtered DNS"


def plot_curves(
    curves: Mapping[str, Mapping[str, tuple[ArrayLike, ArrayLike]]],
    xlabel: str,
    ylabel: str,
    logarithmic: str = "",
) -> "list[Axes]":
    """One panel a group of curves, with common axes; "filtered DNS" is black.

    Args:
        curves: Title of a panel to its curves, label to `(x, y)`. Values that are not
            finite leave gaps.
        xlabel: What x is.
        ylabel: What y is.
        logarithmic: The logarithmic axes: "", "x", "y" or "xy".

    Returns:
        The axes of each panel.

    Raises:
        ValueError: If there is no curve, x and y differ in shape, or an axis is
            unknown.

    Example:
        >>> time = np.linspace(0, 1, 11)
        >>> axes = plot_curves({"energy": {"none": (time, 1 - time)}}, "time", "energy")
        >>> len(axes), len(axes[0].lines)
        (1, 1)
    """
    require(bool(curves) and all(curves.values()), "There are no curves to plot.")
    require(
        logarithmic in ("", "x", "y", "xy"),
        f"logarithmic must be '', 'x', 'y' or 'xy'. Received {logarithmic!r}.",
    )
    looks: dict[str, dict[str, Any]] = {_TRUTH: {"color": "#000000", "linewidth": 2.4}}
    for group in curves.values():
        others = [label for label in group if label != _TRUTH]
        for number, label in enumerate(others):
            looks.setdefault(label, _look(number))
    figure, all_axes = panels(len(curves), 2, (5.2, 3.6))
    for axes, (title, group) in zip(all_axes, curves.items(), strict=True):
        for label, (x, y) in group.items():
            x, y = np.asarray(x, float), np.asarray(y, float)
            require(
                x.shape == y.shape and x.ndim == 1,
                f"Curve {label!r} needs x and y of one shape. Received {x.shape} and "
                f"{y.shape}.",
            )
            axes.plot(x, y, label=label, **looks[label])
        axes.set_title(title, fontsize=10)
        axes.set_xscale("log" if "x" in logarithmic else "linear")
        axes.set_yscale("log" if "y" in logarithmic else "linear")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7)
    figure.supxlabel(xlabel, fontsize=10)
    figure.supylabel(ylabel, fontsize=10)
    return all_axes


def _look(number: int) -> dict[str, Any]:
    """A colour and a line style that no other number below 28 has."""
    style = _LINE_STYLES[number // len(_COLOURS) % len(_LINE_STYLES)]
    colour = _COLOURS[number % len(_COLOURS)]
    return {"color": colour, "linestyle": style, "linewidth": 1.5}
