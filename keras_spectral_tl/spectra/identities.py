"""Exact spectral identities of a network, each computed and its residual reported."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_spectral_tl.spectra.fields import (
    cross_spectrum,
    mode_multiplicity,
    radial_spectrum,
)
from keras_spectral_tl.spectra.kernels import (
    ConvolutionKernel,
    convolution_kernel,
    kernel_transform,
    to_numpy,
)
from keras_spectral_tl.spectra.recording import LayerCall, read_calls


@dataclass(frozen=True)
class ConvolutionResiduals:
    """How well each convolution layer obeys the convolution theorem.

    Attributes:
        residuals: Layer name to ``||actual - predicted|| / ||actual||`` over all modes,
            channels and samples.
        left_out: Names of the convolution layers the theorem does not cover (stride
            above 1, or an output size that no padding explains).
    """

    residuals: dict[str, float]
    left_out: tuple[str, ...]

    def exact(self, tolerance: float = 1e-5) -> tuple[str, ...]:
        """Names of the layers that are diagonal in Fourier space, to ``tolerance``."""
        return tuple(name for name, r in self.residuals.items() if r <= tolerance)


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


def convolution_residuals(
    model: keras.Model,
    x: Any,
    layers: Sequence[str] | None = None,
    *,
    batch_size: int = 4,
) -> ConvolutionResiduals:
    """Residual of the convolution theorem through each convolution layer.

    A Keras convolution is a cross-correlation, so with periodic padding
    ``F[pre_j] = sum_b conj(F[kernel_bj]) F[input_b] + nx ny bias_j`` (the bias at k = 0
    only); a transposed convolution has no ``conj``. The prediction is made in float64
    from the fetched input, kernel and bias, so the residual is bounded by the precision
    in which the layer ran: some 1e-7 in float32 (3e-7 for 64 channels of 5 x 5 points),
    2e-4 in float16, 2e-3 in bfloat16. An accelerator that rounds the inputs of float32
    convolutions to TF32 gives the residual of float16. Zero padding breaks the
    theorem along the border: its squared residual is of the order of the share of
    border points.

    Padding done by a layer before a "valid" convolution is recognised: the input is
    cropped to the size of the output.

    Args:
        model: A built model.
        x: Inputs, or an iterable of batches, as in `activation_spectra`.
        layers: Names of the convolution layers; by default all.
        batch_size: Samples a batch when ``x`` is an array.

    Returns:
        One residual a layer.

    Raises:
        ValueError: If no 2-D convolution was called.

    Example:
        >>> import keras
        >>> conv = keras.layers.Conv2D(2, 1, name="pointwise")
        >>> model = keras.Sequential([keras.Input((8, 8, 3)), conv])
        >>> x = np.random.default_rng(0).normal(size=(2, 8, 8, 3))
        >>> convolution_residuals(model, x).exact()
        ('pointwise',)
    """
    sums: dict[str, NDArray[np.float64]] = {}
    left_out: dict[str, None] = {}
    kernels: dict[str, ConvolutionKernel | None] = {}

    def accumulate(name: str, call: LayerCall) -> None:
        kernel = kernels.setdefault(name, convolution_kernel(call.layer))
        if kernel is None:
            return
        field = _periodic_input(call, kernel)
        if field is None:
            left_out[name] = None
            return
        sums[name] = sums.get(name, np.zeros(2)) + _squared_errors(call, kernel, field)

    read_calls(model, x, accumulate, layers, batch_size)
    if not sums and not left_out:
        raise ValueError(
            f"No 2-D convolution was called in model {model.name!r}; layers called: "
            f"{sorted(kernels)}."
        )
    residuals = {name: _root_ratio(*totals) for name, totals in sums.items()}
    return ConvolutionResiduals(residuals, tuple(left_out))


def relu_residuals(
    model: keras.Model,
    x: Any,
    layers: Sequence[str] | None = None,
    *,
    num_wavenumbers: int = 32,
    batch_size: int = 4,
) -> dict[str, float]:
    """Residual of the ReLU written as a circular convolution.

    ``F[ReLU(h)](k) = (1 / (nx ny)) sum_p F[h](p) F[h > 0](k - p)``: a ReLU multiplies
    by the indicator of its active set, so it couples every wavenumber to every other.
    The sum is evaluated as written, in float64, at ``num_wavenumbers`` modes k chosen
    at random (seeded, k = 0 among them), as all of them would cost (nx ny)^2.

    A layer counts as a ReLU if its output is exactly ``max(h, 0)`` of its
    pre-activation.

    Args:
        model: A built model.
        x: Inputs, or an iterable of batches, as in `activation_spectra`.
        layers: Names of layers; by default all.
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
        modes = _random_modes(call.post_activation.shape[-2:], num_wavenumbers)
        for pre, post in zip(call.pre_activation, call.post_activation, strict=True):
            errors = _relu_squared_errors(
                pre.astype(np.float64), post.astype(np.float64), modes
            )
            sums[name] = sums.get(name, np.zeros(2)) + errors

    read_calls(model, x, accumulate, layers, batch_size)
    return {name: _root_ratio(*totals) for name, totals in sums.items()}


def relu_energy_moved(
    model: keras.Model,
    x: Any,
    layers: Sequence[str] | None = None,
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
        layers: Names of layers; by default all.
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
            before, after = radial_spectrum(pre), radial_spectrum(post)
            energy = before.sum(axis=-1, keepdims=True)
            kept = after.sum(axis=-1, keepdims=True)
            gain = np.divide(kept, energy, out=np.zeros_like(kept), where=energy > 0)
            rest = after - 2 * gain * cross_spectrum(pre, post) + gain**2 * before
            moved[name] = moved.get(name, 0.0) + rest.sum(axis=0)
            counts = np.array([after.sum(), np.count_nonzero(post > 0), post.size])
            totals[name] = totals.get(name, np.zeros(3)) + counts

    read_calls(model, x, accumulate, layers, batch_size)
    result = {}
    for name, (energy, active, points) in totals.items():
        # Round-off may leave a negative 1e-17 in a shell without energy.
        by_wavenumber = np.maximum(moved[name], 0.0) / (energy if energy > 0 else 1.0)
        share = float(min(by_wavenumber.sum(), 1.0))
        result[name] = EnergyMoved(share, by_wavenumber, float(active / points))
    return result


def _periodic_input(
    call: LayerCall, kernel: ConvolutionKernel
) -> NDArray[np.float64] | None:
    """Input on the output's grid; None if the layer changes the grid otherwise."""
    strides = np.ravel(call.layer.strides)
    if call.inputs is None or np.any(strides != 1):
        return None
    field = call.inputs
    sizes = zip(kernel.weights.shape[:2], kernel.dilation, strict=True)
    for axis, (size, dilation) in zip((2, 3), sizes, strict=True):
        extra = dilation * (size - 1)
        surplus = field.shape[axis] - call.pre_activation.shape[axis]
        if surplus not in (0, extra):
            return None
        start = extra // 2 if surplus else 0
        stop = start + call.pre_activation.shape[axis]
        field = np.take(field, np.arange(start, stop), axis=axis)
    return field.astype(np.float64)


def _squared_errors(
    call: LayerCall, kernel: ConvolutionKernel, field: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Squared norms of (actual - predicted) and of actual, for one call."""
    nx, ny = field.shape[-2:]
    multiplicity = mode_multiplicity(ny)
    field_hat = np.fft.rfft2(field)
    bias = getattr(call.layer, "bias", None)
    biases = None if bias is None else to_numpy(bias)
    errors = np.zeros(2)
    for output in range(call.pre_activation.shape[1]):
        weights, inputs = _feeding_kernels(kernel, output, field.shape[1])
        transform = kernel_transform(weights, (nx, ny), kernel.dilation)
        if not kernel.transposed:
            transform = transform.conj()
        predicted = np.einsum("bcxy,cxy->bxy", field_hat[:, inputs], transform)
        if biases is not None:
            predicted[:, 0, 0] += nx * ny * float(biases[output])
        actual = np.fft.rfft2(call.pre_activation[:, output].astype(np.float64))
        for index, values in enumerate((actual - predicted, actual)):
            errors[index] += np.sum(np.abs(values) ** 2 * multiplicity)
    return errors


def _feeding_kernels(
    kernel: ConvolutionKernel, output: int, num_inputs: int
) -> tuple[NDArray[np.float64], slice]:
    """Kernels (inputs, kx, ky) of one output channel, and the inputs they act on."""
    weights = kernel.weights
    if kernel.depthwise:
        source, copy = divmod(output, weights.shape[3])
        return weights[None, :, :, source, copy], slice(source, source + 1)
    group_size = weights.shape[2]
    outputs_per_group = weights.shape[3] * group_size // num_inputs
    start = output // outputs_per_group * group_size
    return weights[..., output].transpose(2, 0, 1), slice(start, start + group_size)


def _is_relu(call: LayerCall) -> bool:
    """Whether the output is exactly max(pre-activation, 0)."""
    if call.pre_activation is call.post_activation:
        return False
    rectified = np.maximum(call.pre_activation, 0)
    return bool(np.array_equal(rectified, call.post_activation))


def _random_modes(shape: tuple[int, ...], count: int) -> list[tuple[int, int]]:
    """Modes of the full plane: k = 0, then others at random without repetition."""
    nx, ny = shape
    others = np.random.default_rng(0).permutation(np.arange(1, nx * ny))[: count - 1]
    return [divmod(int(mode), ny) for mode in [0, *others]]


def _relu_squared_errors(
    pre: NDArray[np.float64],
    post: NDArray[np.float64],
    modes: list[tuple[int, int]],
) -> NDArray[np.float64]:
    """Squared norms of (actual - predicted) and of actual at some modes."""
    nx, ny = pre.shape[-2:]
    pre_hat, post_hat = np.fft.fft2(pre), np.fft.fft2(post)
    active_hat = np.fft.fft2((pre > 0).astype(np.float64))
    errors = np.zeros(2)
    for kx, ky in modes:
        rows = (kx - np.arange(nx)) % nx
        columns = (ky - np.arange(ny)) % ny
        partner = active_hat[:, rows[:, None], columns[None, :]]
        predicted = np.einsum("cxy,cxy->c", pre_hat, partner) / (nx * ny)
        actual = post_hat[:, kx, ky]
        for index, values in enumerate((actual - predicted, actual)):
            errors[index] += np.sum(np.abs(values) ** 2)
    return errors


def _root_ratio(error: float, norm: float) -> float:
    """Relative residual from squared norms; absolute where there is nothing."""
    return float(np.sqrt(error / norm)) if norm > 0 else float(np.sqrt(error))
