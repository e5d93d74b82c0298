"""Explanation of a layer's score by the spectra of the two systems."""

from collections.abc import Iterable, Mapping
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_spectral_tl._graph.layers import batches, layers_with_weights, parents_first
from keras_spectral_tl._results import percent
from keras_spectral_tl.scoring._network_parts import spatial_axes
from keras_spectral_tl.spectra import (
    activation_spectra,
    radial_spectrum,
    spectral_shift,
)
from keras_spectral_tl.spectra._convolutions import convolution_kernel, rms_transfer
from keras_spectral_tl.transfer._samples import Samples

Array = NDArray[np.float64]


def system_spectra(
    base_y: Any, target_y: Any, axes: tuple[int, ...]
) -> dict[str, Array]:
    """Return the mean spectra of the true outputs of both systems, if they are fields.

    Shell SUM over `[k - 1/2, k + 1/2)`, summed over channels, so that a spectrum sums
    to the mean square; up to the largest wavenumber that both grids have.
    """
    if not axes or np.ndim(base_y) != np.ndim(target_y):
        return {}
    spectra = [
        radial_spectrum(np.asarray(y, np.float64), axes=axes).mean(axis=0).sum(axis=0)
        for y in (base_y, target_y)
    ]
    shells = min(map(len, spectra))
    return {"base": spectra[0][:shells], "target": spectra[1][:shells]}


def explain_spectra(
    evidence: Mapping[str, Any],
    systems: Mapping[str, Array],
    kernels: Array | None = None,
    shift: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return at which wavenumbers retraining a layer removes error.

    From the evidence of `HeldOutRetraining` for the layer, `system_spectra`, and the
    layer's entries in `kernel_profiles` and `activation_shifts`.

    Returns:
        why: One sentence.
        error_removed_spectrum: Error spectrum before minus after; its sum is the mean
            square error removed.
        band: (low, high), wavenumbers that enclose the middle 80 % of the error
            removed; None if nothing is removed.
        follows_systems: Cosine similarity, in [-1, 1], of the spectrum of the error
            removed and the absolute difference of the systems' output spectra. Near 1,
            the layer corrects the scales at which the systems differ.
        kernels_pass: How strongly the layer's kernels before retraining pass the error
            removed, relative to white noise of the same energy: the root mean square of
            `kernels`, weighted with the error removed at each wavenumber. Above 1, the
            layer already acts at these scales; below 1, it would have to learn them.
            NaN if nothing is removed or no kernels are given.
        spectral_shift: The shift, if given.
        Empty if the outputs are not fields.
    """
    if "residual_spectrum_before" not in evidence:
        return {}
    before = evidence["residual_spectrum_before"]
    removed = before - evidence["residual_spectrum_after"]
    found: dict[str, Any] = {
        "error_removed_spectrum": removed,
        "band": _band(removed),
        "follows_systems": _similarity(removed, systems),
        "kernels_pass": _passed(removed, kernels),
    }
    if shift is not None:
        found["spectral_shift"] = dict(shift)
    share = float(removed.sum() / max(before.sum(), 1e-300))
    return {"why": _sentence(found, share), **found}


def activation_shifts(
    model: keras.Model, base: Samples, target: Samples, axes: tuple[int, ...]
) -> dict[str, dict[str, Any]]:
    """Return how the spectra of each layer's pre-activations differ between systems.

    A difference shows where a layer sees something new, not whether that does harm. See
    `LayerScores.shifts`. Only layers with as many spatial axes as the outputs (none, if
    these are no fields) and with activity on both systems are compared.
    """
    if not axes:
        return {}
    named = layers_with_weights(model)
    try:
        before, after = (
            activation_spectra(
                model, [(x, None) for _, x in batches(data.x, 16)], rank=len(axes)
            ).pre_activation
            for data in (base, target)
        )
    except ValueError:  # no such layer, or grids of several sizes
        return {}
    seen = [n for n in before if n in named and before[n].any() and after[n].any()]
    shifts = spectral_shift({n: before[n] for n in seen}, {n: after[n] for n in seen})
    return {
        name: {
            "base_spectrum": before[name],
            "target_spectrum": after[name],
            "gain": shifts[name].gain,
            "shape_distance": shifts[name].distance,
        }
        for name in seen
    }


def kernel_profiles(
    model: keras.Model, layers: Iterable[str], grid: tuple[int, ...]
) -> dict[str, Array]:
    """Return how strongly kernels pass each wavenumber, relative to white noise.

    `rms_transfer(k)` divided by its root mean square over all modes, so that 1 is the
    mean. Computed on the grid of the layer's own inputs (outputs, if transposed), if
    the model knows it, else on `grid`: after pooling the same wavenumber is a larger
    fraction of the Nyquist wavenumber. Layers that are not convolutions, or whose
    kernels are 0 or wider than the grid, are left out.
    """
    named, found = layers_with_weights(model), {}
    for name in layers if grid else ():
        layer = named.get(name)
        kernel = None if layer is None else convolution_kernel(layer)
        if kernel is None or len(kernel.size) != len(grid):
            continue
        points = _own_grid(model, layer, kernel.transposed) or grid
        # Parseval: the mean over all modes of |F[kernel]|^2.
        energy = float(np.sum(kernel.weights**2) / np.prod(kernel.weights.shape[-2:]))
        if energy > 0.0 and kernel.fits(points):
            found[name] = rms_transfer(name, kernel, points) / np.sqrt(energy)
    return found


def _own_grid(
    model: keras.Model, layer: keras.Layer, transposed: bool
) -> tuple[int, ...] | None:
    """Return the points of the kernel's grid; None if the model leaves the size open.

    It is the grid of the inputs or, for a transposed convolution, of the outputs.
    """
    try:
        shape = (layer.output if transposed else layer.input).shape
    except (AttributeError, ValueError):  # called several times, or not in a graph
        return None
    own = tuple(shape[axis] for axis in spatial_axes(model, len(shape)))
    return None if not own or None in own else own


def _band(removed: Array) -> tuple[int, int] | None:
    gained = np.maximum(removed, 0.0)
    if removed.sum() <= 0.0 or gained.sum() <= 0.0:
        return None
    share = np.cumsum(gained) / gained.sum()
    low, high = (int(np.searchsorted(share, level)) for level in (0.1, 0.9))
    return low, high


def _passed(removed: Array, kernels: Array | None) -> float:
    gained = np.maximum(removed, 0.0)
    if kernels is None or removed.sum() <= 0.0:
        return float("nan")
    # A layer on a coarser grid does not see the largest wavenumbers at all.
    seen = np.zeros_like(gained)
    shells = min(len(gained), len(kernels))
    seen[:shells] = kernels[:shells]
    return float(np.sqrt(gained @ seen**2 / gained.sum()))


def _similarity(removed: Array, systems: Mapping[str, Array]) -> float:
    if not systems:
        return float("nan")
    difference = np.abs(systems["target"] - systems["base"])
    shells = min(len(removed), len(difference))
    a, b = removed[:shells], difference[:shells]
    size = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / size if size > 0.0 else float("nan")


def _sentence(found: Mapping[str, Any], share: float) -> str:
    if found["band"] is None:
        return "It removes nothing of the error on held-out samples."
    low, high = found["band"]
    clauses = [
        f"It removes {percent(share)} of the error, 80 % of that at wavenumbers "
        f"{low}-{high}"
    ]
    follows, passed = found["follows_systems"], found["kernels_pass"]
    if np.isfinite(follows):
        fit = "are" if follows >= 0.7 else "are only partly"
        fit = fit if follows >= 0.4 else "are not"
        clauses.append(
            f"these {fit} where the systems differ (similarity {follows:.2f})"
        )
    if np.isfinite(passed):
        clauses.append(
            f"its kernels pass them {passed:.2f} times as strongly as white noise"
        )
    if "spectral_shift" in found:
        shift = found["spectral_shift"]
        clauses.append(
            f"on the target its pre-activations have {np.exp(shift['gain']):.2g} times "
            f"the energy, {percent(shift['shape_distance'])} of it at other wavenumbers"
        )
    return "; ".join(clauses) + "."


def dropout_note(model: keras.Model) -> str:
    """Return a warning if trials leave out what a retraining has: dropout."""
    rate = 0.0
    for layer in parents_first(model):
        names = ["dropout", "recurrent_dropout"]  # of recurrent layers
        names += ["rate"] if "Dropout" in type(layer).__name__ else []
        rates = [getattr(layer, name, 0.0) for name in names]
        rate = max(rate, *(r for r in rates if isinstance(r, int | float)), 0.0)
    if not rate:
        return ""
    return (
        f" The network has dropout (rate {rate:g}), which trials leave out: the "
        "retraining may reach less. Consider a rate of 0."
    )
