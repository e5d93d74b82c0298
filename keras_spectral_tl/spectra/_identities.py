"""Exact spectral identities of convolution layers and ReLUs, with their residuals."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import keras
import numpy as np
from numpy.typing import NDArray

from keras_spectral_tl._checks import whole_number
from keras_spectral_tl._graph.calls import LayerFields, read_calls
from keras_spectral_tl._results import ByLayer, Result
from keras_spectral_tl._shells import mode_multiplicity
from keras_spectral_tl.freezing import Selector
from keras_spectral_tl.layers import PeriodicConv2D
from keras_spectral_tl.spectra._activations import layer_names
from keras_spectral_tl.spectra._convolutions import (
    Array,
    ConvolutionKernel,
    convolution_kernel,
    kernel_transform,
    to_numpy,
)
from keras_spectral_tl.spectra._fields import cross_spectrum, radial_spectrum

_RANKS = (1, 2, 3)


class ConvolutionResiduals(ByLayer[float]):
    """Residual ``||actual - predicted|| / ||actual||`` of each convolution layer.

    The norms run over all modes, channels and samples.

    Attributes:
        left_out: Name of each convolution layer to which the theorem does not apply,
            and why (such as strides that do not divide the period).
    """

    def __init__(self, residuals: Mapping[str, float], left_out: dict[str, str]):
        super().__init__(residuals, "residual")
        self.left_out = left_out

    def exact(self, tolerance: float = 1e-5) -> tuple[str, ...]:
        """Return the names of the layers whose residual is at most ``tolerance``."""
        return tuple(name for name, r in self.items() if r <= tolerance)


def convolution_residuals(
    model: keras.Model, x: Any, layers: Selector | None = None, *, batch_size: int = 32
) -> ConvolutionResiduals:
    """Compute the residual of the convolution theorem through each convolution.

    A Keras convolution is a cross-correlation, so with periodic padding

        F[pre_j](k) = sum_b conj(F[kernel_bj](k)) F[input_b](k)  +  N bias_j at k = 0

    on a grid of N points. A stride s keeps every s-th point, which aliases the
    spectrum: with n points in and m = n / s out along an axis,

        F_m[pre](k) = (1 / s) sum over j = 0 .. s-1 of F_n[unstrided pre](k + j m).

    A transposed layer first inserts s - 1 zeros after each point, which repeats the
    spectrum, ``F_m[spread](k) = F_n[input](k mod n)``, and convolves: no ``conj``.

    Supported are Conv1D / 2D / 3D and their subclasses, dilated, grouped, strided or
    causal, DepthwiseConv1D / 2D, SeparableConv1D / 2D (as one kernel) and
    Conv1D / 2D / 3DTranspose, with channels first or last.

    The prediction is made in float64 from the recorded input, kernel and bias, so the
    residual is the round-off of the layer: about 1e-7 in float32 (3e-7 for 64 channels
    of 5 x 5 points), 2e-4 in float16, 2e-3 in bfloat16. An accelerator that rounds the
    inputs of float32 convolutions to TF32 gives the residual of float16. Zero padding
    violates the theorem along the border: the squared residual is of the order of the
    fraction of border points. Without a border to pad (a transposed layer with "valid"
    padding; a "valid" layer whose kernel is no wider than its stride) the theorem is
    exact for any field. Padding by a layer before a "valid" convolution is recognised.

    Args:
        model: A built model.
        x: Inputs, or an iterable of batches, as in `activation_spectra`.
        layers: A selector or names, as in `activation_spectra`; by default all.
        batch_size: Samples per batch when ``x`` is an array.

    Returns:
        One residual per layer.

    Raises:
        ValueError: If no convolution was called.

    Example:
        >>> import keras
        >>> conv = keras.layers.Conv2D(2, 1, name="pointwise")
        >>> model = keras.Sequential([keras.Input((8, 8, 3)), conv])
        >>> x = np.random.default_rng(0).normal(size=(2, 8, 8, 3))
        >>> convolution_residuals(model, x).exact()
        ('pointwise',)
    """
    sums: dict[str, Array] = {}
    left_out: dict[str, str] = {}
    kernels: dict[str, ConvolutionKernel | None] = {}

    def accumulate(name: str, call: LayerFields) -> None:
        if name not in kernels:
            kernels[name] = convolution_kernel(call.layer)
        if (kernel := kernels[name]) is None:
            return
        try:
            field = _periodic_inputs(call, kernel)
        except _NotCoveredError as reason:
            left_out[name] = str(reason)
            return
        sums[name] = sums.get(name, np.zeros(2)) + _squared_errors(call, kernel, field)

    names = layer_names(model, layers)
    read_calls(model, x, accumulate, names, batch_size, _RANKS)
    if not sums and not left_out:
        raise ValueError(
            f"No convolution was called in model {model.name!r}; layers called: "
            f"{sorted(kernels)}."
        )
    residuals = {name: _root_ratio(*totals) for name, totals in sums.items()}
    return ConvolutionResiduals(residuals, left_out)


def _root_ratio(error: float, norm: float) -> float:
    """Return the relative residual from squared norms; absolute if the norm is 0."""
    return float(np.sqrt(error / norm)) if norm > 0 else float(np.sqrt(error))


def _squared_errors(
    call: LayerFields, kernel: ConvolutionKernel, field: Array
) -> Array:
    """Return the squared norms of (actual - predicted) and of actual, for one call."""
    axes = tuple(range(2 - field.ndim, 0))
    grid = field.shape[2:]
    shape = call.pre_activation.shape[2:]
    multiplicity = mode_multiplicity(shape[-1])
    field_hat = np.fft.rfftn(field, axes=axes)
    bias = getattr(call.layer, "bias", None)
    biases = None if bias is None else to_numpy(bias)
    errors = np.zeros(2)
    for output in range(call.pre_activation.shape[1]):
        weights, inputs = _feeding_kernels(kernel, output)
        transform = kernel_transform(weights, grid, kernel.dilation)
        if not kernel.transposed:
            transform = transform.conj()
        predicted = np.einsum("bc...,c...->b...", field_hat[:, inputs], transform)
        if not kernel.transposed:
            predicted = _folded(predicted, grid, shape)
        if biases is not None:
            predicted[(slice(None), *(0,) * len(shape))] += (
                math.prod(shape) * biases[output]
            )
        values = call.pre_activation[:, output].astype(np.float64)
        actual = np.fft.rfftn(values, axes=axes)
        errors += [
            np.sum(np.abs(actual - predicted) ** 2 * multiplicity),
            np.sum(np.abs(actual) ** 2 * multiplicity),
        ]
    return errors


def _folded(
    values_hat: NDArray[np.complex128], grid: tuple[int, ...], shape: tuple[int, ...]
) -> NDArray[np.complex128]:
    """Return the transform of a field's every s-th point, by the aliasing sum."""
    if grid == shape:
        return values_hat
    folded = _full_plane(values_hat, grid)
    for axis, (size, kept) in enumerate(zip(grid, shape, strict=True), start=1):
        split = (*folded.shape[:axis], size // kept, kept, *folded.shape[axis + 1 :])
        folded = folded.reshape(split).mean(axis=axis)
    return folded[..., : shape[-1] // 2 + 1]


def _full_plane(
    half: NDArray[np.complex128], grid: tuple[int, ...]
) -> NDArray[np.complex128]:
    """Return all modes of a real field from its half plane, by F(-k) = conj(F(k))."""
    others = tuple(range(1, half.ndim - 1))
    mirrored = half[..., 1 : (grid[-1] + 1) // 2].conj()
    mirrored = np.roll(np.flip(mirrored, others), 1, others)
    return np.concatenate([half, np.flip(mirrored, -1)], axis=-1)


def _feeding_kernels(kernel: ConvolutionKernel, output: int) -> tuple[Array, slice]:
    """Return the kernels (inputs, ...) of one output channel, and their inputs."""
    group_size, num_outputs = kernel.weights.shape[-2:]
    if kernel.depthwise:
        source, copy = divmod(output, num_outputs)
        return kernel.weights[None, ..., source, copy], slice(source, source + 1)
    start = output * kernel.groups // num_outputs * group_size
    feeding = np.moveaxis(kernel.weights[..., output], -1, 0)
    return feeding, slice(start, start + group_size)


class _NotCoveredError(ValueError):
    """The convolution theorem does not apply to a call; the message says why."""


class _Axis(NamedTuple):
    """One spatial axis of a call: sizes, stride and kernel extent."""

    num_inputs: int
    num_outputs: int
    stride: int
    extent: int

    @property
    def centre(self) -> int:
        return (self.extent - 1) // 2


def _periodic_inputs(call: LayerFields, kernel: ConvolutionKernel) -> Array:
    """Return the input of a call as a periodic field for a centred kernel.

    Along each axis, with strides s, dilation d, m output points and n = s m:

        convolution:  output[i] = sum_a kernel[a] field[(s i + d a - centre) mod n]
        transposed:   output[o] = sum_a kernel[a] field[(o - d a + centre) mod m]

    The transposed field has s - 1 zeros after each point. The equations are exact
    wherever the layer reads only points of the field or of its periodic continuation;
    zero padding along a border violates them.

    Returns (samples, channels, ...) in float64: n points per axis, or m for a
    transposed layer. Raises _NotCoveredError if no such field exists.
    """
    if call.inputs is None:
        raise _NotCoveredError("its input has another number of axes than its output")
    field = call.inputs.astype(np.float64)
    arrange = _spread if kernel.transposed else _placed
    steps = zip(kernel.strides, kernel.extent, strict=True)
    for axis, (stride, extent) in enumerate(steps, start=2):
        num_outputs = call.pre_activation.shape[axis]
        sizes = _Axis(field.shape[axis], num_outputs, stride, extent)
        lines = arrange(np.moveaxis(field, axis, 0), sizes, call.layer)
        field = np.moveaxis(lines, 0, axis)
    return np.ascontiguousarray(field)


def _placed(lines: Array, sizes: _Axis, layer: keras.Layer) -> Array:
    """Return the input of a convolution, shifted so that the kernel is centred."""
    period = sizes.stride * sizes.num_outputs
    before = _points_before(sizes, layer)
    if before is None or (sizes.num_inputs < period and _pads_itself(sizes, layer)):
        raise _NotCoveredError(
            f"{sizes.num_inputs} points with stride {sizes.stride} gave "
            f"{sizes.num_outputs}: no periodic grid explains that (the stride should "
            "divide the number of points)"
        )
    placed = np.zeros((period, *lines.shape[1:]))
    placed[: len(lines)] = lines[:period]
    return np.roll(placed, before - sizes.centre, 0)


def _points_before(sizes: _Axis, layer: keras.Layer) -> int | None:
    """Return how many points the layer reads before its input."""
    if layer.padding == "causal":
        return sizes.extent - 1
    if layer.padding == "same":
        reach = (sizes.num_outputs - 1) * sizes.stride + sizes.extent
        return max(reach - sizes.num_inputs, 0) // 2
    if _pads_itself(sizes, layer):
        is_whole = sizes.num_outputs == -(-sizes.num_inputs // sizes.stride)
        return sizes.centre if is_whole else None
    return 0


def _pads_itself(sizes: _Axis, layer: keras.Layer) -> bool:
    """Return whether a layer with "valid" padding must pad in its own call."""
    if layer.padding != "valid":
        return False
    plain = (sizes.num_inputs - sizes.extent) // sizes.stride + 1
    return isinstance(layer, PeriodicConv2D) or sizes.num_outputs != plain


def _spread(lines: Array, sizes: _Axis, layer: keras.Layer) -> Array:
    """Return the input of a transposed convolution on the output's grid, with zeros."""
    is_same = layer.padding == "same"
    if is_same and layer.output_padding is not None:
        raise _NotCoveredError("output_padding with padding='same' differs by backend")
    length = sizes.stride * sizes.num_inputs
    spread = np.zeros((max(length, sizes.num_outputs), *lines.shape[1:]))
    spread[: length : sizes.stride] = lines
    cut = max(sizes.extent - sizes.stride, 0) // 2 if is_same else 0
    return np.roll(spread[: sizes.num_outputs], sizes.centre - cut, 0)


@dataclass(frozen=True)
class ReluIdentity(Result):
    """A ReLU as a circular convolution, and the energy that it moves.

    Attributes:
        residual: ``||actual - predicted|| / ||actual||`` of the convolution over the
            evaluated modes, channels and samples: round-off of float64.
        share: Energy moved between wavenumbers over that of the output, in [0, 1].
        by_wavenumber: (num_shells,) the same by the wavenumber to which it is moved;
            sums to ``share``.
        active_fraction: Fraction of the points at which the ReLU is active.
    """

    residual: float
    share: float
    by_wavenumber: Array
    active_fraction: float

    def summary(self) -> dict[str, float]:
        """Return the residual, the share of energy moved and the active fraction."""
        return {
            "residual": self.residual,
            "share moved": self.share,
            "active fraction": self.active_fraction,
        }


def relu_identity(
    model: keras.Model,
    x: Any,
    layers: Selector | None = None,
    *,
    num_wavenumbers: int = 32,
    batch_size: int = 32,
) -> ByLayer[ReluIdentity]:
    """Check each ReLU as a circular convolution, and compute the energy it moves.

    ``F[ReLU(h)](k) = (1 / N) sum_p F[h](p) F[h > 0](k - p)`` on N = nx ny points: a
    ReLU multiplies by the indicator of its active set, so it couples all wavenumbers.
    The sum is evaluated as written, in float64, at ``num_wavenumbers`` random modes k
    (seeded, including k = 0), because all modes would cost N^2. Fields may have one,
    two or three axes.

    For one sample and channel the output splits as ``ReLU(h) = g h + moved`` with the
    least-squares gain ``g = mean(ReLU(h)^2) / mean(h^2)``. A gain does not move energy
    between modes, and the remainder is orthogonal to it, so the energies add up:
    ``share = mean(moved^2) / mean(ReLU(h)^2) = 1 - g``. For a symmetric h, g is the
    active fraction, the coefficient of the term p = k of the circular convolution.

    Args:
        model: A built model.
        x: Inputs, or an iterable of batches, as in `activation_spectra`.
        layers: A selector or names, as in `activation_spectra`; by default all.
        num_wavenumbers: Modes at which the sum is evaluated.
        batch_size: Samples per batch when ``x`` is an array.

    Returns:
        Layer name to residual and energy moved, summed over samples and channels. A
        layer counts as a ReLU if its output is exactly ``max(h, 0)`` of its
        pre-activation; others are left out. A ReLU that is never active moves nothing.

    Raises:
        ValueError: If ``num_wavenumbers`` is below 1.

    Example:
        >>> import keras
        >>> relu = keras.layers.ReLU(name="relu")
        >>> model = keras.Sequential([keras.Input((16, 16, 1)), relu])
        >>> wave = np.cos(2 * np.pi * np.arange(16) / 16)
        >>> x = np.broadcast_to(wave[:, None, None], (1, 16, 16, 1))
        >>> found = relu_identity(model, x)["relu"]
        >>> found.residual < 1e-12, round(found.share, 6)
        (True, 0.5)
    """
    num_wavenumbers = whole_number("num_wavenumbers", num_wavenumbers, 1)
    moved: dict[str, Array] = {}
    totals: dict[str, Array] = {}

    def accumulate(name: str, call: LayerFields) -> None:
        if not _is_relu(call):
            return
        modes = _random_modes(call.post_activation.shape[2:], num_wavenumbers)
        for pair in zip(call.pre_activation, call.post_activation, strict=True):
            pre, post = (fields.astype(np.float64) for fields in pair)
            axes = tuple(range(1, pre.ndim))
            before, after = radial_spectrum(pre, axes), radial_spectrum(post, axes)
            energy = before.sum(axis=-1, keepdims=True)
            kept = after.sum(axis=-1, keepdims=True)
            gain = np.divide(kept, energy, out=np.zeros_like(kept), where=energy > 0)
            rest = after - 2 * gain * cross_spectrum(pre, post, axes) + gain**2 * before
            moved[name] = moved.get(name, 0.0) + rest.sum(axis=0)
            counts = [after.sum(), np.count_nonzero(post > 0), post.size]
            sums = np.array([*counts, *_relu_squared_errors(pre, post, modes)])
            totals[name] = totals.get(name, np.zeros(5)) + sums

    names = layer_names(model, layers)
    read_calls(model, x, accumulate, names, batch_size, _RANKS)
    result = {}
    for name, (energy, active, points, error, norm) in totals.items():
        # Round-off may leave a negative 1e-17 in a shell without energy.
        by_wavenumber = np.maximum(moved[name], 0.0) / (energy if energy > 0 else 1.0)
        share = float(min(by_wavenumber.sum(), 1.0))
        residual, fraction = _root_ratio(error, norm), float(active / points)
        result[name] = ReluIdentity(residual, share, by_wavenumber, fraction)
    return ByLayer(result)


def _is_relu(call: LayerFields) -> bool:
    if call.pre_activation is call.post_activation:
        return False
    rectified = np.maximum(call.pre_activation, 0)
    return bool(np.array_equal(rectified, call.post_activation))


def _random_modes(shape: tuple[int, ...], count: int) -> list[tuple[int, ...]]:
    """Return modes of the full plane: k = 0, then random ones without repetition."""
    rng = np.random.default_rng(0)
    others = rng.permutation(np.arange(1, np.prod(shape)))[: count - 1]
    vectors = np.stack(np.unravel_index([0, *others], shape), axis=-1)
    return [tuple(vector) for vector in vectors.tolist()]


def _relu_squared_errors(
    pre: Array, post: Array, modes: list[tuple[int, ...]]
) -> Array:
    """Return the squared norms of (actual - predicted) and actual at some modes."""
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
