"""Scores of layers, alone and against what retraining gives."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from scipy.stats import kendalltau

from keras_spectral_tl.plotting.style import (
    BLUE,
    ORANGE,
    label_outer,
    label_points,
    panels,
    require,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_scores_against_sweep(
    scores: Mapping[str, Mapping[str, float]], sweep: Mapping[str, float]
) -> "list[Axes]":
    """What each scorer says of a layer against what retraining that layer really gives.

    Args:
        scores: Scorer to {layer: score}, higher meaning better to retrain.
        sweep: Layer to the measured correlation after retraining it alone.

    Returns:
        The axes of the panels, one a scorer, Kendall's rank correlation in its title
        and the name of each point in a column beside it.

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
    figure, all_axes = panels(len(scores), columns=3, size=(3.8, height))
    for axes, (scorer, values) in zip(all_axes, scores.items(), strict=False):
        layers = [layer for layer in sweep if layer in values]
        require(
            len(layers) >= 2,
            f"Scorer {scorer!r} and the sweep must share at least two layers. Received "
            f"{list(values)} and {list(sweep)}.",
        )
        x = [values[layer] for layer in layers]
        y = [sweep[layer] for layer in layers]
        axes.plot(x, y, "o", color=BLUE, markersize=7, alpha=0.8)
        axes.set_title(f"{scorer} (τ = {kendalltau(x, y).statistic:.2f})")
        axes.margins(0.12)
        label_points(axes, x, y, layers)
    label_outer(figure, all_axes, "score", "correlation after retraining")
    return all_axes


def plot_layer_scores(
    scores: Mapping[str, Mapping[str, float]],
    intervals: Mapping[str, Mapping[str, tuple[float, float]]] | None = None,
    ax: "Axes | None" = None,
) -> "list[Axes]":
    """Scores of the layers, a panel a scorer, the best layer marked.

    Args:
        scores: Scorer to {layer: score}, higher meaning better to retrain.
        intervals: Scorer to {layer: (low, high)}, drawn as bars, where there are any.
        ax: Axes to draw a single scorer on; new ones if not given.

    Returns:
        The axes of the panels, one a scorer, layers from top to bottom.

    Raises:
        ValueError: If there is no scorer or a scorer has no layer.

    Example:
        >>> all_axes = plot_layer_scores({"probe": {"conv_1": 0.2, "conv_2": 0.1}})
        >>> [label.get_text() for label in all_axes[0].get_yticklabels()]
        ['conv_1', 'conv_2']
    """
    require(bool(scores), "plot_layer_scores needs at least one scorer.")
    rows = max(len(values) for values in scores.values())
    height = max(1.8, 0.28 * rows + 0.9)
    require(ax is None or len(scores) == 1, "Axes take one scorer.")
    all_axes = [ax] if ax else panels(len(scores), columns=3, size=(3.2, height))[1]
    for axes, (scorer, values) in zip(all_axes, scores.items(), strict=False):
        require(bool(values), f"Scorer {scorer!r} has no layers.")
        layers = list(values)
        best = max(layers, key=lambda layer: values[layer])
        for row, layer in enumerate(layers):
            colour = ORANGE if layer == best else BLUE
            interval = (intervals or {}).get(scorer, {}).get(layer)
            if interval is not None:
                axes.plot(interval, (row, row), color=colour, linewidth=2, alpha=0.5)
            marker = "D" if layer == best else "o"
            axes.plot(values[layer], row, marker, color=colour)
        axes.set_yticks(range(len(layers)), layers)
        axes.invert_yaxis()
        axes.grid(axis="x", alpha=0.3)
        axes.set_title(scorer)
        axes.set_xlabel("score (◆ best)")
    return all_axes
