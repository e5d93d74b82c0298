"""Figures of layer scores, forecasts, and the loss around a model."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import kendalltau

from keras_spectral_tl.plotting._style import (
    BLUE,
    MAGNITUDES,
    ORANGE,
    draw_lines,
    finish,
    label_points,
    panels,
    require,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_scores_against_sweep(
    scores: Mapping[str, Mapping[str, float]],
    sweep: Mapping[str, float],
    *,
    ax: Any = None,
) -> "list[Axes]":
    """Draw the scores of layers against the correlation after retraining each layer.

    Args:
        scores: Scorer to {layer: score}, higher meaning better to retrain.
        sweep: Layer to the measured correlation after retraining it alone.
        ax: Axes to draw in, one per scorer; by default a new figure.

    Returns:
        The axes of the panels, one per scorer, with Kendall's rank correlation in the
        title and the names of the points in a column on the right.

    Raises:
        ValueError: If there is no scorer, or a scorer and the sweep share fewer than
            two layers.

    Example:
        >>> sweep = {"conv_1": 0.8, "conv_2": 0.7, "conv_3": 0.6}
        >>> all_axes = plot_scores_against_sweep({"probe": sweep}, sweep)
        >>> all_axes[0].get_title()
        'probe (τ = 1.00)'
    """
    require(bool(scores), "plot_scores_against_sweep needs at least one scorer.")
    height = max(3.1, 0.15 * len(sweep) + 0.9)
    _, all_axes = panels(len(scores), 3, (3.8, height), ax)
    for axes, (scorer, values) in zip(all_axes, scores.items(), strict=True):
        layers = [layer for layer in sweep if layer in values]
        require(
            len(layers) >= 2,
            f"Scorer {scorer!r} and the sweep must share at least two layers. Received "
            f"{list(values)} and {list(sweep)}.",
        )
        x = [values[layer] for layer in layers]
        y = [sweep[layer] for layer in layers]
        axes.plot(x, y, "o", color=BLUE, markersize=7, alpha=0.8)
        name = scorer.replace("_", " ")
        known = np.isfinite(x) & np.isfinite(y)
        pairs = np.array([x, y])[:, known]
        tau = kendalltau(*pairs).statistic if known.sum() > 1 else np.nan
        axes.set_title(f"{name} (τ = {tau:.2f})")
        axes.margins(0.12)
        label_points(axes, x, y, layers)
    finish(all_axes, "score", "correlation after retraining", ax=ax)
    return all_axes


def plot_layer_scores(
    scores: Mapping[str, Mapping[str, float]],
    intervals: Mapping[str, Mapping[str, tuple[float, float]]] | None = None,
    *,
    ax: Any = None,
) -> "list[Axes]":
    """Draw the scores of the layers, one panel per scorer, with the best layer marked.

    Args:
        scores: Scorer to {layer: score}, higher meaning better to retrain.
        intervals: Scorer to {layer: (low, high)}, drawn as bars, if given.
        ax: Axes to draw in, one per scorer; by default a new figure.

    Returns:
        The axes of the panels, one per scorer, layers from top to bottom.

    Raises:
        ValueError: If there is no scorer or a scorer has no layer.

    Example:
        >>> all_axes = plot_layer_scores({"probe": {"conv_1": 0.2, "conv_2": 0.1}})
        >>> [label.get_text() for label in all_axes[0].get_yticklabels()]
        ['conv_1', 'conv_2']
    """
    require(bool(scores), "plot_layer_scores needs at least one scorer.")
    rows = max(len(values) for values in scores.values())
    _, all_axes = panels(len(scores), 3, (3.2, max(1.8, 0.28 * rows + 0.9)), ax)
    for axes, (scorer, values) in zip(all_axes, scores.items(), strict=True):
        require(bool(values), f"Scorer {scorer!r} has no layers.")
        known = [layer for layer, value in values.items() if np.isfinite(value)]
        best = max(known, key=lambda layer: values[layer], default="")
        _draw_dots(axes, values, (intervals or {}).get(scorer, {}), best)
        axes.set_title(scorer.replace("_", " "))
        axes.set_xlabel("score (◆ best)")
    return all_axes


def _draw_dots(
    axes: "Axes",
    values: Mapping[str, float],
    intervals: Mapping[str, tuple[float, float]],
    best: str,
) -> None:
    """Draw one value per row with its interval if known, the best as a diamond."""
    for row, (name, value) in enumerate(values.items()):
        colour = ORANGE if name == best else BLUE
        interval = intervals.get(name)
        if interval is not None:
            axes.plot(interval, (row, row), color=colour, linewidth=2, alpha=0.5)
        axes.plot(value, row, "D" if name == best else "o", color=colour)
    axes.set_yticks(range(len(values)), list(values))
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.3)


def plot_forecast(
    forecast: Any, measured: Mapping[str, float] | None = None, *, ax: Any = None
) -> "Axes":
    """Draw the predicted, and if known the measured, correlation of each arm.

    Args:
        forecast: A `Forecast`.
        measured: Label of an arm to its measured correlation.
        ax: Axes to draw in; by default a new figure.

    Returns:
        The axes, arms from top to bottom, the best prediction first.

    Example:
        >>> from types import SimpleNamespace as Row
        >>> row = Row(label="conv_1", correlation=0.8, correlation_low=0.7,
        ...           correlation_high=0.9)
        >>> plot_forecast(Row(rows=[row], best_row=row), {"conv_1": 0.82}).get_xlabel()
        'correlation on unseen target samples'
    """
    rows = list(forecast.rows)
    require(bool(rows), "plot_forecast needs at least one arm.")
    figure, (axes,) = panels(1, 1, (5.0, 0.26 * len(rows) + 1.4), ax)
    values = {row.label: row.correlation for row in rows}
    ends = {row.label: (row.correlation_low, row.correlation_high) for row in rows}
    _draw_dots(axes, values, ends, forecast.best_row.label)
    for place, label in enumerate(values):
        if measured and label in measured:
            axes.plot(measured[label], place, "x", color="black")
    axes.plot([], [], "-o", color=BLUE, label="predicted, 90 % interval")
    if measured:
        axes.plot([], [], "x", color="black", label="measured afterwards")
    axes.set_xlabel("correlation on unseen target samples")
    axes.set_title("Ways to retrain (◆ the one to choose)")
    if ax is None:  # legend below the axes, as points may be anywhere
        figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    else:
        axes.legend(fontsize=8)
    return axes


def plot_bars(values: Mapping[str, float], xlabel: str, *, ax: Any = None) -> "Axes":
    """Draw one number per layer as a bar, from top to bottom."""
    require(bool(values), "plot_bars needs at least one layer.")
    _, (axes,) = panels(1, 1, (4.2, 0.28 * len(values) + 0.9), ax)
    axes.barh(np.arange(len(values)), list(values.values()), color=BLUE)
    axes.set_yticks(np.arange(len(values)), list(values))
    axes.invert_yaxis()
    axes.set_xlabel(xlabel)
    return axes


def plot_loss_lines(
    steps: ArrayLike, lines: Mapping[str, Mapping[str, ArrayLike]], *, ax: Any = None
) -> "list[Axes]":
    """Draw the loss along lines through a model, one panel per layer on a common scale.

    Args:
        steps: (steps,) along the lines, in units of the filters' norms.
        lines: Layer name to {direction: losses (steps,)}.
        ax: Axes to draw in, one per layer; by default a new figure.

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
    for layer, row in lines.items():
        for label, losses in row.items():
            require(
                np.shape(losses) == x.shape,
                f"Line {label!r} of layer {layer!r} has shape {np.shape(losses)}, the "
                f"steps have {x.shape}.",
            )
    labels, layout = ("step / norm of the filter", "loss"), (3, (2.6, 2.1))
    all_axes = draw_lines(lines, lambda losses: (x, losses), layout, labels, ax)
    drawn = [np.asarray(v) for row in lines.values() for v in row.values()]
    if not any(np.any(losses <= 0) for losses in drawn):
        for axes in all_axes:
            axes.set_yscale("log")
    limits = np.array([axes.get_ylim() for axes in all_axes])
    for axes in all_axes:
        axes.set_ylim(limits[:, 0].min(), limits[:, 1].max())
    return all_axes


def plot_loss_surface(
    steps: ArrayLike,
    surface: ArrayLike,
    labels: tuple[str, str] = ("first", "second"),
    *,
    ax: Any = None,
) -> "Axes":
    """Draw contours of the loss on a plane through a model, marked by a cross.

    Args:
        steps: (steps,) along both directions.
        surface: (steps, steps), axis 0 along the first direction (to the right).
        labels: Names of the two directions.
        ax: Axes to draw in; by default a new figure.

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
    figure, (axes,) = panels(1, 1, (4.4, 3.6), ax)
    levels = np.geomspace(values.min(), values.max() * 1.0001, 13)
    filled = axes.contourf(x, x, values.T, levels=levels, cmap=MAGNITUDES, norm="log")
    axes.contour(x, x, values.T, levels=levels, colors="white", linewidths=0.5)
    axes.plot(0, 0, "P", color=ORANGE, markeredgecolor=BLUE, markersize=9)
    bar = figure.colorbar(filled, ax=axes, label="loss", format="%.2g")
    bar.ax.minorticks_off()
    axes.set_xlabel(f"{labels[0]} direction")
    axes.set_ylabel(f"{labels[1]} direction")
    axes.set_aspect("equal")
    return axes
