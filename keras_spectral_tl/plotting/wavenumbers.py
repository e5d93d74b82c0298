"""Ratios by wavenumber, and what feeds what."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from keras_spectral_tl.plotting.style import (
    BLUE,
    GREY,
    ORANGE,
    label_colours,
    label_outer,
    panels,
    require,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LINE_STYLES = ("-", "--", "-.", ":")


def plot_wavenumber_ratios(
    ratios: Mapping[str, Mapping[str, ArrayLike]], ylabel: str = "ratio of energies"
) -> "list[Axes]":
    """Ratios by wavenumber on a logarithmic axis around 1, a panel a name.

    Such as gains of layers, changes of kernels, or target spectra over base spectra.

    Args:
        ratios: Name of the panel to {label: ratio}; the index is the wavenumber, k = 0
            is not drawn, nor what is not above 0.
        ylabel: What the ratios are.

    Returns:
        The axes of the panels.

    Raises:
        ValueError: If there is no panel, or one has no line.

    Example:
        >>> gain = np.array([1.0, 2.0, 4.0])
        >>> plot_wavenumber_ratios({"conv": {"total": gain}})[0].get_yscale()
        'log'
    """
    require(
        bool(ratios) and all(ratios.values()),
        f"plot_wavenumber_ratios needs panels with lines. Received {dict(ratios)}.",
    )
    size = (5.2, 3.4) if len(ratios) == 1 else (3.2, 2.5)
    figure, all_axes = panels(len(ratios), columns=3, size=size)
    colours = label_colours(label for lines in ratios.values() for label in lines)
    drawn: dict[str, Any] = {}
    for axes, (name, lines) in zip(all_axes, ratios.items(), strict=False):
        for label, values in lines.items():
            ratio = np.asarray(values, float)
            shown = np.where(ratio > 0, ratio, np.nan)
            style = _LINE_STYLES[list(colours).index(label) % len(_LINE_STYLES)]
            (drawn[label],) = axes.plot(
                np.arange(1, len(shown)), shown[1:], style, color=colours[label]
            )
        axes.axhline(1, color=GREY, linewidth=0.8)
        axes.set_yscale("log")
        axes.grid(alpha=0.3)
        axes.set_title(name, fontsize=10)
    label_outer(figure, all_axes, "wavenumber k", ylabel)
    figure.legend(
        drawn.values(), drawn.keys(), loc="outside upper center",
        ncols=min(len(drawn), 2), frameon=False, fontsize=9,
    )  # fmt: skip
    return all_axes


def plot_coherence(curves: Mapping[str, ArrayLike]) -> "Axes":
    """Correlation of prediction and truth at each wavenumber.

    Args:
        curves: Label to coherence in [-1, 1]; the index is the wavenumber.

    Returns:
        The axes.

    Raises:
        ValueError: If there is no curve.

    Example:
        >>> plot_coherence({"base": np.ones(8)}).get_ylabel()
        'coherence with the truth'
    """
    require(bool(curves), "plot_coherence needs at least one curve. Received none.")
    _, (axes,) = panels(1, columns=1, size=(5.0, 3.2))
    colours = label_colours(curves)
    for place, (label, values) in enumerate(curves.items()):
        curve = np.asarray(values, float)
        style = _LINE_STYLES[place % len(_LINE_STYLES)]
        axes.plot(
            np.arange(1, len(curve)), curve[1:], style, color=colours[label],
            label=label, linewidth=1.8,
        )  # fmt: skip
    axes.axhline(0, color=GREY, linewidth=0.8)
    axes.set_ylim(top=1.02)
    axes.grid(alpha=0.3)
    axes.set_xlabel("wavenumber k")
    axes.set_ylabel("coherence with the truth")
    axes.legend(frameon=False)
    return axes


def plot_composition(matrices: Mapping[str, ArrayLike]) -> "list[Axes]":
    """Which input wavenumbers feed which output wavenumbers.

    Args:
        matrices: Name to a matrix (output shells, input shells) of energies; each row
            is drawn as shares of its sum.

    Returns:
        The axes of the maps.

    Raises:
        ValueError: If there is none, or one is not a matrix.

    Example:
        >>> plot_composition({"network": np.eye(4)})[0].get_title()
        'network'
    """
    require(bool(matrices), "plot_composition needs at least one matrix.")
    figure, all_axes = panels(len(matrices), columns=3, size=(3.4, 3.0))
    for axes, (name, values) in zip(all_axes, matrices.items(), strict=False):
        matrix = np.asarray(values, float)
        require(
            matrix.ndim == 2,
            f"{name!r} must be a matrix (output, input). Received {matrix.shape}.",
        )
        total = matrix.sum(axis=1, keepdims=True)
        shares = matrix / np.where(total > 0, total, 1.0)
        image = axes.imshow(
            shares, origin="lower", cmap="cividis", vmin=0, aspect="auto"
        )
        figure.colorbar(image, ax=axes, label="share of the output's energy")
        axes.set_title(name)
        axes.set_xlabel("input wavenumber")
        axes.set_ylabel("output wavenumber")
    return all_axes


def plot_spectral_shifts(
    shifts: Mapping[str, Mapping[str, tuple[float, float]]],
) -> "list[Axes]":
    """Shifts of activation spectra by layer: gain in one panel, shape in the other.

    Args:
        shifts: Layer name to {label: (gain, distance)}, gain the logarithm of a ratio
            of energies and distance the share of energy at other wavenumbers, as
            `keras_spectral_tl.spectral_shift`.

    Returns:
        The axes of gain and of distance.

    Raises:
        ValueError: If there is no layer.

    Example:
        >>> both = plot_spectral_shifts({"conv_1": {"data": (0.7, 0.2)}})
        >>> [axes.get_title() for axes in both]
        ['gain (ratio of energies)', 'shape (share of energy moved)']
    """
    require(bool(shifts), "plot_spectral_shifts needs at least one layer.")
    figure, (gains, shapes) = panels(2, columns=2, size=(3.8, 2.8))
    labels = list(dict.fromkeys(label for row in shifts.values() for label in row))
    colours = dict(zip(labels, (ORANGE, BLUE, "#000000", GREY), strict=False))
    layers = np.arange(len(shifts))
    for place, label in enumerate(labels):
        pairs = [row.get(label, (np.nan, np.nan)) for row in shifts.values()]
        style = "osd^"[place % 4] + _LINE_STYLES[place % 4]
        colour = colours.get(label, GREY)
        gains.plot(layers, np.exp([g for g, _ in pairs]), style, color=colour)
        shapes.plot(layers, [d for _, d in pairs], style, color=colour, label=label)
    for axes in (gains, shapes):
        axes.set_xticks(layers, list(shifts), rotation=45, ha="right", fontsize=8)
        axes.grid(alpha=0.3)
    gains.set_yscale("log")
    gains.axhline(1, color=GREY, linewidth=0.8)
    gains.set_title("gain (ratio of energies)", fontsize=10)
    shapes.set_ylim(bottom=0)
    shapes.set_title("shape (share of energy moved)", fontsize=10)
    figure.legend(loc="outside upper center", ncols=len(labels), frameon=False)
    return [gains, shapes]
