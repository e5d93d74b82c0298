"""A ReLU as a circular convolution, and the energy it moves between wavenumbers."""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_spectral_tl.freezing import Selector
from keras_spectral_tl.spectra.activations import layer_names
from keras_spectral_tl.spectra.fields import cross_spectrum, radial_spectrum
from keras_spectral_tl.spectra.identities.convolution import root_ratio
from keras_spectral_tl.spectra.recording import LayerCall, read_calls

_RANKS = (1, 2, 3)


@dataclass(frozen=True)
class EnergyMoved:
    """Energy that a ReLU moves between wavenumbers.

    Attributes:
        share: Moved energy over the energy of the output, in [0, 1].
        by_wavenumber: (num_shells,) the same, at the wavenumber it arrives at; sums to
            ``share``.
        active_fraction: Share of the points at which the ReLU is active.
    """

    share: float
    by_wavenumber: NDArray[np.float64]
    active_fraction: float


def relu_residuals(
    model: keras.Model,
    x: Any,
    layers: Selector | None = None,
    *,
    num_wavenumbers: int = 32,
    batch_size: int = 4,
) -> dict[str, float]:
    """Residual of the ReLU written as a circular convolution.

    ``F[ReLU(h)](k) = (1 / N) sum_p F[h](p) F[h > 0](k - p)`` on N = nx ny points: a
    ReLU multiplies by the indicator of its active set, so it couples every wavenumber
    to every other. The sum is evaluated as written, in float64, at ``num_wavenumbers``
    modes k chosen at random (seeded, k = 0 among them), as all of them would cost N^2.
    Fields may have one, two or three axes.

    A layer counts as a ReLU if its output is exactly ``max(h, 0)`` of its
    pre-activation.

    Args:
        model: A built model.
        x: Inputs, or an iterable of batches, as in `activation_spectra`.
        layers: A selector or names, as in `activation_spectra`; by default all.
        num_wavenumbers: Modes at which the sum is evaluated.
        batch_size: Samples a batch when ``x`` is an array.

    Returns:
        Layer name to ``||actual - predicted|| / ||actual||`` over those modes, channels
        and samples: round-off of float64. Layers that are not a ReLU are absent.

    Raises:
        ValueError: If ``num_wavenumbers`` is below 1.

    Example:
        >>> import keras
        >>> conv = keras.layers.Conv2D(2, 1, activation="relu", name="conv")
        >>> model = keras.Sequential([keras.Input((8, 8, 1)), conv])
        >>> x = np.random.default_rng(0).normal(size=(2, 8, 8, 1))
        >>> relu_residuals(model, x)["conv"] < 1e-12
        True
    """
    if num_wavenumbers < 1:
        raise ValueError(
            f"num_wavenumbers must be at least 1. Received {num_wavenumbers}."
        )
    sums: dict[str, NDArray[np.float64]] = {}

    def accumulate(name: str, call: LayerCall) -> None:
        if not _is_relu(call):
            return
        modes = _random_modes(call.post_activation.shape[2:], num_wavenumbers)
        for pre, post in zip(call.pre_activation, call.post_activation, strict=True):
            errors = _relu_squared_errors(
                pre.astype(np.float64), post.astype(np.float64), modes
            )
            sums[name] = sums.get(name, np.zeros(2)) + errors

    names = layer_names(model, layers)
    read_calls(model, x, accumulate, names, batch_size, _RANKS)
    return {name: root_ratio(*totals) for name, totals in sums.items()}


def relu_energy_moved(
    model: keras.Model,
    x: Any,
    layers: Selector | None = None,
    *,
    batch_size: int = 4,
) -> dict[str, EnergyMoved]:
    """Share of the energy that each ReLU moves between wavenumbers.

    For one sample and channel the output splits as ``ReLU(h) = g h + moved`` with
    ``g = mean(ReLU(h)^2) / mean(h^2)``, the least-squares gain. A gain keeps every mode
    where it is, and what remains is orthogonal to it, so the energies add up:
    ``share = mean(moved^2) / mean(ReLU(h)^2) = 1 - g``. For a symmetric h, g is the
    active fraction, the coefficient of the term p = k of the circular convolution.

    Args:
        model: A built model.
        x: Inputs, or an iterable of batches, as in `activation_spectra`.
        layers: A selector or names, as in `activation_spectra`; by default all.
        batch_size: Samples a batch when ``x`` is an array.

    Returns:
        Layer name to `EnergyMoved`, energies summed over samples and channels. Layers
        that are not a ReLU are absent; one that is never active moves nothing.

    Example:
        >>> import keras
        >>> model = keras.Sequential([keras.Input((16, 16, 1)), keras.layers.ReLU()])
        >>> wave = np.cos(2 * np.pi * np.arange(16) / 16)
        >>> x = np.broadcast_to(wave[:, None, None], (1, 16, 16, 1))
        >>> round(list(relu_energy_moved(model, x).values())[0].share, 6)
        0.5
    """
    moved: dict[str, NDArray[np.float64]] = {}
    totals: dict[str, NDArray[np.float64]] = {}

    def accumulate(name: str, call: LayerCall) -> None:
        if not _is_relu(call):
            return
        for pre, post in zip(call.pre_activation, call.post_activation, strict=True):
            axes = tuple(range(1, pre.ndim))
            before, after = radial_spectrum(pre, axes), radial_spectrum(post, axes)
            energy = before.sum(axis=-1, keepdims=True)
            kept = after.sum(axis=-1, keepdims=True)
            gain = np.divide(kept, energy, out=np.zeros_like(kept), where=energy > 0)
            rest = after - 2 * gain * cross_spectrum(pre, post, axes) + gain**2 * before
            moved[name] = moved.get(name, 0.0) + rest.sum(axis=0)
            counts = np.array([after.sum(), np.count_nonzero(post > 0), post.size])
            totals[name] = totals.get(name, np.zeros(3)) + counts

    names = layer_names(model, layers)
    read_calls(model, x, accumulate, names, batch_size, _RANKS)
    result = {}
    for name, (energy, active, points) in totals.items():
        # Round-off may leave a negative 1e-17 in a shell without energy.
        by_wavenumber = np.maximum(moved[name], 0.0) / (energy if energy > 0 else 1.0)
        share = float(min(by_wavenumber.sum(), 1.0))
        result[name] = EnergyMoved(share, by_wavenumber, float(active / points))
    return result


def _is_relu(call: LayerCall) -> bool:
    """Whether the output is exactly max(pre-activation, 0)."""
    if call.pre_activation is call.post_activation:
        return False
    rectified = np.maximum(call.pre_activation, 0)
    return bool(np.array_equal(rectified, call.post_activation))


def _random_modes(shape: tuple[int, ...], count: int) -> list[tuple[int, ...]]:
    """Modes of the full plane: k = 0, then others at random without repetition."""
    rng = np.random.default_rng(0)
    others = rng.permutation(np.arange(1, np.prod(shape)))[: count - 1]
    vectors = np.stack(np.unravel_index([0, *others], shape), axis=-1)
    return [tuple(vector) for vector in vectors.tolist()]


def _relu_squared_errors(
    pre: NDArray[np.float64],
    post: NDArray[np.float64],
    modes: list[tuple[int, ...]],
) -> NDArray[np.float64]:
    """Squared norms of (actual - predicted) and of actual at some modes."""
    shape, axes = pre.shape[1:], tuple(range(1, pre.ndim))
    pre_hat, post_hat = np.fft.fftn(pre, axes=axes), np.fft.fftn(post, axes=axes)
    active_hat = np.fft.fftn((pre > 0).astype(np.float64), axes=axes)
    errors = np.zeros(2)
    for mode in modes:
        rest = [(k - np.arange(n)) % n for k, n in zip(mode, shape, strict=True)]
        partner = active_hat[:, *np.ix_(*rest)]
        predicted = np.sum(pre_hat * partner, axis=axes) / np.prod(shape)
        actual = post_hat.reshape(len(post), -1)[:, np.ravel_multi_index(mode, shape)]
        for index, values in enumerate((actual - predicted, actual)):
            errors[index] += np.sum(np.abs(values) ** 2)
    return errors
