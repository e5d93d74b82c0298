"""Spectra of fields, kernels and activations."""

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

_DEEPEST = 1e-10
_LINE_STYLES = ("-", "--", "-.", ":")


def plot_energy_spectra(
    spectra: Mapping[str, ArrayLike], ylabel: str = "energy spectrum E(k)"
) -> "Axes":
    """Radial spectra of several fields or models on logarithmic axes.

    Args:
        spectra: Label to spectrum; the index is the wavenumber, k = 0 is not drawn.
        ylabel: What the spectra are.

    Returns:
        The axes.

    Raises:
        ValueError: If there is no spectrum, or one is not 1-D.

    Example:
        >>> k = np.arange(1.0, 32.0)
        >>> axes = plot_energy_spectra({"base": np.append(0, k**-3)})
        >>> axes.get_xscale()
        'log'
    """
    _, (axes,) = panels(1, columns=1, size=(5.2, 3.8))
    _draw_spectra(axes, spectra)
    axes.set_ylabel(ylabel)
    axes.set_xlabel("wavenumber k")
    axes.legend(frameon=False)
    return axes


def plot_kernel_spectra(profiles: Mapping[str, ArrayLike]) -> "list[Axes]":
    """Radial transfer functions of the kernels of each layer, a panel a layer.

    Args:
        profiles: Layer name to profiles (..., num_shells), the leading axes counting
            kernels; the index of the last is the wavenumber. The mean is drawn over
            the single kernels, and its peak k* is marked.

    Returns:
        The axes of the panels, one a layer.

    Raises:
        ValueError: If there is no layer.

    Example:
        >>> low_pass = np.exp(-np.arange(12.0))
        >>> all_axes = plot_kernel_spectra({"conv_1": low_pass})
        >>> all_axes[0].get_title()
        'conv_1'
    """
    require(bool(profiles), "plot_kernel_spectra needs at least one layer.")
    figure, all_axes = panels(len(profiles), columns=4, size=(2.6, 2.2))
    for axes, (layer, values) in zip(all_axes, profiles.items(), strict=False):
        kernels = np.atleast_2d(np.asarray(values, float))
        kernels = kernels.reshape(-1, kernels.shape[-1])
        mean = kernels.mean(axis=0)
        # More than about 60 curves are a grey area anyway.
        step = max(1, len(kernels) // 60)
        for kernel in kernels[::step] if len(kernels) > 1 else ():
            axes.plot(kernel, color=GREY, alpha=0.3, linewidth=0.7)
        axes.plot(mean, color=BLUE, linewidth=2)
        peak = int(mean.argmax())
        axes.plot(peak, mean[peak], "o", color=ORANGE, clip_on=False)
        axes.set_title(layer)
        axes.set_ylim(bottom=0)
        axes.margins(x=0)
    label_outer(figure, all_axes, "wavenumber k", "kernel transfer |F[kernel]|")
    return all_axes


def plot_activation_spectra(
    spectra: Mapping[str, Mapping[str, ArrayLike]],
    ylabel: str = "pre-activation spectrum",
) -> "list[Axes]":
    """Activation spectra of each layer, a panel a layer, a line a label.

    Args:
        spectra: Layer name to {label: spectrum}, such as the labels "base", "target"
            and "retrained"; the index of a spectrum is the wavenumber, k = 0 is not
            drawn.
        ylabel: What the spectra are.

    Returns:
        The axes of the panels, one a layer.

    Raises:
        ValueError: If there is no layer, or a spectrum is not 1-D.

    Example:
        >>> falling = 1.0 / np.arange(1, 12)
        >>> lines = {"base": falling, "target": 2 * falling}
        >>> all_axes = plot_activation_spectra({"conv_1": lines, "conv_2": lines})
        >>> len(all_axes)
        2
    """
    require(bool(spectra), "plot_activation_spectra needs at least one layer.")
    figure, all_axes = panels(len(spectra), columns=4, size=(2.6, 2.2))
    labels = [label for lines in spectra.values() for label in lines]
    colours = label_colours(labels)
    drawn: dict[str, Any] = {}
    for axes, (layer, lines) in zip(all_axes, spectra.items(), strict=False):
        drawn |= _draw_spectra(axes, lines, colours)
        axes.set_title(layer)
    label_outer(figure, all_axes, "wavenumber k", ylabel)
    figure.legend(
        drawn.values(),
        drawn.keys(),
        loc="outside upper center",
        ncols=len(drawn),
        frameon=False,
    )
    return all_axes


def _draw_spectra(
    axes: "Axes",
    spectra: Mapping[str, ArrayLike],
    colours: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Draws spectra on logarithmic axes; returns the line of each label."""
    require(bool(spectra), "At least one spectrum is needed. Received none.")
    colours = colours or label_colours(spectra)
    lines: dict[str, Any] = {}
    for position, (label, values) in enumerate(spectra.items()):
        spectrum = np.asarray(values, float)
        require(
            spectrum.ndim == 1 and spectrum.size > 1,
            f"Spectrum {label!r} must have shape (num_shells,) with at least two "
            f"shells. Received {spectrum.shape}.",
        )
        style = _LINE_STYLES[position % len(_LINE_STYLES)]
        # A logarithmic axis has no place for empty shells.
        shown = np.where(spectrum > 0, spectrum, np.nan)
        (lines[label],) = axes.plot(
            np.arange(1, spectrum.size),
            shown[1:],
            style,
            color=colours[label],
            label=label,
            linewidth=1.8,
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    # What lies deeper is round-off, and would squeeze the rest into a corner.
    low, high = axes.get_ylim()
    axes.set_ylim(bottom=max(low, high * _DEEPEST))
    axes.grid(alpha=0.3)
    return lines
