"""Labelled curves in panels, such as spectra and time series of several closures."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from keras_spectral_tl.plotting.style import label_colours, panels, require

if TYPE_CHECKING:
    from matplotlib.axes import Axes

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
    labels = [label for group in curves.values() for label in group if label != _TRUTH]
    colours = {**label_colours(labels), _TRUTH: "#000000"}
    styles = {label: i // 7 for i, label in enumerate(dict.fromkeys(labels))}
    figure, all_axes = panels(len(curves), 2, (5.2, 3.6))
    for axes, (title, group) in zip(all_axes, curves.items(), strict=True):
        for label, (x, y) in group.items():
            x, y = np.asarray(x, float), np.asarray(y, float)
            require(
                x.shape == y.shape and x.ndim == 1,
                f"Curve {label!r} needs x and y of one shape. Received {x.shape} and "
                f"{y.shape}.",
            )
            style = _LINE_STYLES[styles.get(label, 0) % len(_LINE_STYLES)]
            width = 2.4 if label == _TRUTH else 1.5
            axes.plot(x, y, style, color=colours[label], label=label, linewidth=width)
        axes.set_title(title, fontsize=10)
        axes.set_xscale("log" if "x" in logarithmic else "linear")
        axes.set_yscale("log" if "y" in logarithmic else "linear")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7)
    figure.supxlabel(xlabel, fontsize=10)
    figure.supylabel(ylabel, fontsize=10)
    return all_axes
