"""The loss around a model."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from keras_spectral_tl.plotting.style import (
    BLUE,
    ORANGE,
    label_colours,
    label_outer,
    panels,
    require,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LINE_STYLES = ("-", "--", "-.", ":")


def plot_loss_lines(
    steps: ArrayLike, lines: Mapping[str, Mapping[str, ArrayLike]]
) -> "list[Axes]":
    """The loss along lines through a model, a panel a layer, one scale for all.

    Args:
        steps: (steps,) along the lines, in units of the filters' norms.
        lines: Layer name to {direction: losses (steps,)}.

    Returns:
        The axes of the panels, one a layer.

    Raises:
        ValueError: If there is no layer, or lengths differ.

    Example:
        >>> steps = np.linspace(-1, 1, 5)
        >>> found = plot_loss_lines(steps, {"conv_1": {"random 1": steps**2}})
        >>> found[0].get_title()
        'conv_1'
    """
    x = np.asarray(steps, float)
    require(bool(lines), "plot_loss_lines needs at least one layer.")
    figure, all_axes = panels(len(lines), columns=3, size=(2.6, 2.1))
    colours = label_colours(label for row in lines.values() for label in row)
    drawn: dict[str, Any] = {}
    for axes, (layer, row) in zip(all_axes, lines.items(), strict=False):
        for place, (label, losses) in enumerate(row.items()):
            y = np.asarray(losses, float)
            require(
                y.shape == x.shape,
                f"Line {label!r} of layer {layer!r} has shape {y.shape}, the steps "
                f"have {x.shape}.",
            )
            style = _LINE_STYLES[place % len(_LINE_STYLES)]
            (drawn[label],) = axes.plot(x, y, style, color=colours[label])
        axes.set_yscale("log")
        axes.grid(alpha=0.3)
        axes.set_title(layer, fontsize=10)
    limits = np.array([axes.get_ylim() for axes in all_axes])
    for axes in all_axes:
        axes.set_ylim(limits[:, 0].min(), limits[:, 1].max())
    label_outer(figure, all_axes, "step / norm of the filter", "loss")
    figure.legend(
        drawn.values(), drawn.keys(), loc="outside upper center", ncols=len(drawn),
        frameon=False,
    )  # fmt: skip
    return all_axes


def plot_loss_surface(
    steps: ArrayLike, surface: ArrayLike, labels: tuple[str, str] = ("first", "second")
) -> "Axes":
    """Contours of the loss on a plane through a model, which sits at the cross.

    Args:
        steps: (steps,) along both directions.
        surface: (steps, steps), axis 0 along the first direction (to the right).
        labels: What the two directions are.

    Returns:
        The axes.

    Raises:
        ValueError: If the shapes do not fit or a loss is not above 0.

    Example:
        >>> steps = np.linspace(-1, 1, 5)
        >>> bowl = 1 + steps[:, None] ** 2 + steps**2
        >>> plot_loss_surface(steps, bowl).get_xlabel()
        'first direction'
    """
    x, values = np.asarray(steps, float), np.asarray(surface, float)
    require(
        values.shape == (len(x), len(x)) and bool(np.all(values > 0)),
        "Expected losses above 0 of shape (steps, steps). Received shape "
        f"{values.shape} for {len(x)} steps.",
    )
    figure, (axes,) = panels(1, columns=1, size=(4.4, 3.6))
    levels = np.geomspace(values.min(), values.max() * 1.0001, 13)
    filled = axes.contourf(x, x, values.T, levels=levels, cmap="cividis", norm="log")
    axes.contour(x, x, values.T, levels=levels, colors="white", linewidths=0.5)
    axes.plot(0, 0, "P", color=ORANGE, markeredgecolor=BLUE, markersize=9)
    bar = figure.colorbar(filled, ax=axes, label="loss", format="%.2g")
    bar.ax.minorticks_off()
    axes.set_xlabel(f"{labels[0]} direction")
    axes.set_ylabel(f"{labels[1]} direction")
    axes.set_aspect("equal")
    return axes
