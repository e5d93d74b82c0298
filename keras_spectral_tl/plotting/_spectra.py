"""Figures by wavenumber: spectra, ratios, coherence, shifts, composition."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from keras_spectral_tl.plotting._style import (
    BLUE,
    GREY,
    MAGNITUDES,
    ORANGE,
    draw_lines,
    finish,
    line_looks,
    panels,
    require,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_DEEPEST = 1e-10
# Lengths are in units of the domain, which is 2 pi long.
_K = "wavenumber k (domain 2π)"


def plot_energy_spectra(
    spectra: Mapping[str, ArrayLike],
    ylabel: str = "energy spectrum E(k)",
    *,
    ax: Any = None,
) -> "Axes":
    """Draw radial spectra of several fields or models on logarithmic axes.

    Args:
        spectra: Label to spectrum; the index is the wavenumber, k = 0 is not drawn.
        ylabel: Label of the y axis.
        ax: Axes to draw in; by default a new figure.

    Raises:
        ValueError: If there is no spectrum, or one is not 1-D.

    Example:
        >>> k = np.arange(1.0, 32.0)
        >>> axes = plot_energy_spectra({"base": np.append(0, k**-3)})
        >>> axes.get_xscale()
        'log'
    """
    (axes,) = _draw_spectra({"": spectra}, (1, (5.2, 3.8)), ylabel, ax)
    return axes


def plot_activation_spectra(
    spectra: Mapping[str, Mapping[str, ArrayLike]],
    ylabel: str = "pre-activation spectrum",
    *,
    ax: Any = None,
) -> "list[Axes]":
    """Draw activation spectra, one panel per layer, one line per label.

    Args:
        spectra: Layer name to {label: spectrum}, such as the labels "base", "target"
            and "retrained"; the index is the wavenumber, k = 0 is not drawn.
        ylabel: Label of the y axis.
        ax: Axes to draw in, one per layer; by default a new figure.

    Raises:
        ValueError: If there is no layer, or a spectrum is not 1-D.

    Example:
        >>> falling = 1.0 / np.arange(1, 12)
        >>> lines = {"base": falling, "target": 2 * falling}
        >>> len(plot_activation_spectra({"conv_1": lines, "conv_2": lines}))
        2
    """
    require(bool(spectra), "plot_activation_spectra needs at least one layer.")
    return _draw_spectra(spectra, (4, (2.6, 2.2)), ylabel, ax)


def _draw_spectra(
    groups: Mapping[str, Mapping[str, ArrayLike]],
    layout: tuple[int, tuple[float, float]],
    ylabel: str,
    ax: Any,
) -> "list[Axes]":
    """Draw groups of spectra on logarithmic axes, one panel per group."""
    for spectra in groups.values():
        require(bool(spectra), "At least one spectrum is needed. Received none.")
        for label, values in spectra.items():
            shape = np.shape(values)
            require(
                len(shape) == 1 and shape[0] > 1,
                f"Spectrum {label!r} must have shape (num_shells,) with at least two "
                f"shells. Received {shape}.",
            )
    all_axes = draw_lines(groups, _positive, layout, (_K, ylabel), ax)
    for axes in all_axes:
        axes.set_xscale("log")
        axes.set_yscale("log")
        # Smaller values are round-off and would compress the rest of the curve.
        low, high = axes.get_ylim()
        axes.set_ylim(bottom=max(low, high * _DEEPEST))
    return all_axes


def _positive(values: ArrayLike) -> tuple[ArrayLike, ArrayLike]:
    """Return k from 1 on and the values, NaN if a logarithmic axis has no place."""
    array = np.asarray(values, float)
    return np.arange(1, len(array)), np.where(array > 0, array, np.nan)[1:]


def plot_kernel_spectra(
    profiles: Mapping[str, ArrayLike], *, ax: Any = None
) -> "list[Axes]":
    """Draw radial transfer functions of kernels, one panel per layer.

    Args:
        profiles: Layer name to profiles (..., num_shells), the leading axes counting
            kernels; the index of the last is the wavenumber. The mean is drawn on top
            of the single kernels, and its peak k* is marked.
        ax: Axes to draw in, one per layer; by default a new figure.

    Raises:
        ValueError: If there is no layer.

    Example:
        >>> low_pass = np.exp(-np.arange(12.0))
        >>> plot_kernel_spectra({"conv_1": low_pass})[0].get_title()
        'conv_1'
    """
    require(bool(profiles), "plot_kernel_spectra needs at least one layer.")
    _, all_axes = panels(len(profiles), 4, (2.6, 2.2), ax)
    for axes, (layer, values) in zip(all_axes, profiles.items(), strict=True):
        kernels = np.atleast_2d(np.asarray(values, float))
        kernels = kernels.reshape(-1, kernels.shape[-1])
        mean = kernels.mean(axis=0)
        # More than about 60 curves would only form a grey area.
        step = max(1, len(kernels) // 60)
        for kernel in kernels[::step] if len(kernels) > 1 else ():
            axes.plot(kernel, color=GREY, alpha=0.3, linewidth=0.7)
        axes.plot(mean, color=BLUE, linewidth=2)
        peak = int(mean.argmax())
        axes.plot(peak, mean[peak], "o", color=ORANGE, clip_on=False)
        axes.set_title(layer, fontsize=10)
        axes.set_ylim(bottom=0)
        axes.margins(x=0)
    finish(all_axes, _K, "kernel transfer |F[kernel]|", ax=ax)
    return all_axes


def plot_wavenumber_ratios(
    ratios: Mapping[str, Mapping[str, ArrayLike]],
    ylabel: str = "ratio of energies",
    *,
    ax: Any = None,
) -> "list[Axes]":
    """Draw ratios by wavenumber on a logarithmic axis around 1, in named panels.

    Examples are gains of layers, changes of kernels, or target over base spectra.

    Args:
        ratios: Name of the panel to {label: ratio}; the index is the wavenumber. k = 0
            and values that are not positive are not drawn.
        ylabel: Label of the y axis.
        ax: Axes to draw in, one per panel; by default a new figure.

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
    all_axes = draw_lines(ratios, _positive, (3, size), (_K, ylabel), ax)
    for axes in all_axes:
        axes.axhline(1, color=GREY, linewidth=0.8)
        axes.set_yscale("log")
        _plain_ticks(axes)
    return all_axes


def _plain_ticks(axes: "Axes") -> None:
    """Label a logarithmic y axis by 0.5, 1, 2 instead of powers of ten."""
    low, high = axes.get_ylim()
    between = "25" if high < 100 * low else ""

    def minor(value: float, _: Any) -> str:
        return f"{value:g}" if f"{value:e}"[0] in between else ""

    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(minor)


def plot_coherence(curves: Mapping[str, ArrayLike], *, ax: Any = None) -> "Axes":
    """Draw the correlation of prediction and truth at each wavenumber.

    Args:
        curves: Label to coherence in [-1, 1]; the index is the wavenumber.
        ax: Axes to draw in; by default a new figure.

    Raises:
        ValueError: If there is no curve.

    Example:
        >>> plot_coherence({"base": np.ones(8)}).get_ylabel()
        'coherence with the truth'
    """
    require(bool(curves), "plot_coherence needs at least one curve. Received none.")

    def from_one(values: ArrayLike) -> tuple[ArrayLike, ArrayLike]:
        curve = np.asarray(values, float)
        require(
            curve.ndim == 1,
            f"Expected one coherence for each wavenumber. Received {curve.shape}.",
        )
        return np.arange(1, len(curve)), curve[1:]

    labels = _K, "coherence with the truth"
    (axes,) = draw_lines({"": curves}, from_one, (1, (5.0, 3.2)), labels, ax)
    axes.axhline(0, color=GREY, linewidth=0.8)
    axes.set_ylim(top=1.02)
    return axes


def plot_composition(
    matrices: Mapping[str, ArrayLike], *, ax: Any = None
) -> "list[Axes]":
    """Draw the energy transfer from input to output wavenumbers as matrices.

    Args:
        matrices: Name to a matrix (output shells, input shells) of energies; each row
            is drawn as shares of its sum.
        ax: Axes to draw in, one per matrix; by default a new figure.

    Raises:
        ValueError: If there is none, or one is not a matrix.

    Example:
        >>> plot_composition({"network": np.eye(4)})[0].get_title()
        'network'
    """
    require(bool(matrices), "plot_composition needs at least one matrix.")
    figure, all_axes = panels(len(matrices), 3, (3.4, 3.0), ax)
    for axes, (name, values) in zip(all_axes, matrices.items(), strict=True):
        matrix = np.asarray(values, float)
        require(
            matrix.ndim == 2,
            f"{name!r} must be a matrix (output, input). Received {matrix.shape}.",
        )
        total = matrix.sum(axis=1, keepdims=True)
        shares = matrix / np.where(total > 0, total, 1.0)
        image = axes.imshow(
            shares, origin="lower", cmap=MAGNITUDES, vmin=0, aspect="auto"
        )
        figure.colorbar(image, ax=axes, label="share of the output's energy")
        axes.set(title=name, xlabel="input wavenumber", ylabel="output wavenumber")
    return all_axes


def plot_spectral_shifts(
    shifts: Mapping[str, Mapping[str, tuple[float, float]]], *, ax: Any = None
) -> "list[Axes]":
    """Draw shifts of activation spectra by layer: gain and shape in two panels.

    Args:
        shifts: Layer name to {label: (gain, distance)}, gain the logarithm of a ratio
            of energies and distance the share of energy at other wavenumbers, as
            `keras_spectral_tl.spectra.spectral_shift`.
        ax: Two axes to draw in; by default a new figure.

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
    width = max(3.8, 0.33 * len(shifts) + 1)
    _, (gains, shapes) = panels(2, 2, (width, 2.8), ax)
    looks = line_looks(label for row in shifts.values() for label in row)
    places = np.arange(len(shifts))
    drawn: dict[str, Any] = {}
    for number, (label, look) in enumerate(looks.items()):
        pairs = [row.get(label, (np.nan, np.nan)) for row in shifts.values()]
        marker = "osd^"[number % 4]
        gains.plot(places, np.exp([g for g, _ in pairs]), marker=marker, **look)
        distances = [d for _, d in pairs]
        (drawn[label],) = shapes.plot(places, distances, marker=marker, **look)
    for axes in (gains, shapes):
        axes.set_xticks(places, list(shifts), rotation=45, ha="right", fontsize=8)
        axes.grid(alpha=0.3)
    gains.set_yscale("log")
    gains.axhline(1, color=GREY, linewidth=0.8)
    gains.set_title("gain (ratio of energies)", fontsize=10)
    shapes.set_ylim(bottom=0)
    shapes.set_title("shape (share of energy moved)", fontsize=10)
    finish([gains, shapes], "layer", "", drawn, ax)
    return [gains, shapes]


def plot_curves(
    curves: Mapping[str, Mapping[str, tuple[ArrayLike, ArrayLike]]],
    xlabel: str,
    ylabel: str,
    logarithmic: str = "",
    *,
    ax: Any = None,
) -> "list[Axes]":
    """Draw groups of curves, one panel per group, with "filtered DNS" in black.

    Args:
        curves: Title of a panel to its curves, label to `(x, y)`. Values that are not
            finite leave gaps.
        xlabel: Label of the x axis.
        ylabel: Label of the y axis.
        logarithmic: The logarithmic axes: "", "x", "y" or "xy".
        ax: Axes to draw in, one per group; by default a new figure.

    Raises:
        ValueError: If there is no curve, x and y differ in shape, or an unknown axis.

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
    looks = line_looks(label for group in curves.values() for label in group)
    _, all_axes = panels(len(curves), 2, (5.2, 3.6), ax)
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
    finish(all_axes, xlabel, ylabel, ax=ax)
    return all_axes
