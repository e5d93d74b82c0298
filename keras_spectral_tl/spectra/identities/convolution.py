"""The convolution theorem through every type of convolution layer."""

import math
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_spectral_tl.freezing import Selector
from keras_spectral_tl.spectra.activations import layer_names
from keras_spectral_tl.spectra.fields import mode_multiplicity
from keras_spectral_tl.spectra.identities.periodic_grids import (
    NotCoveredError,
    periodic_inputs,
)
from keras_spectral_tl.spectra.kernels.transforms import kernel_transform
from keras_spectral_tl.spectra.kernels.weights import (
    ConvolutionKernel,
    convolution_kernel,
    to_numpy,
)
from keras_spectral_tl.spectra.recording import LayerCall, read_calls


@dataclass(frozen=True)
class ConvolutionResiduals:
    """How well each convolution layer obeys the convolution theorem.

    Attributes:
        residuals: Layer name to ``||actual - predicted|| / ||actual||`` over all modes,
            channels and samples.
        left_out: Name of each convolution layer that the theorem does not cover, and
            why (strides that do not divide the period, say).
    """

    residuals: dict[str, float]
    left_out: dict[str, str]

    def exact(self, tolerance: float = 1e-5) -> tuple[str, ...]:
        """Names of the layers that obey the theorem to ``tolerance``."""
        return tuple(name for name, r in self.residuals.items() if r <= tolerance)


def convolution_residuals(
    model: keras.Model,
    x: Any,
    layers: Selector | None = None,
    *,
    batch_size: int = 4,
) -> ConvolutionResiduals:
    """Residual of the convolution theorem through each convolution layer.

    A Keras convolution is a cross-correlation, so with periodic padding

        F[pre_j](k) = sum_b conj(F[kernel_bj](k)) F[input_b](k)  +  N bias_j at k = 0

    on a grid of N points. Strides s keep every s-th point, which folds the spectrum:
    with n points in and m = n / s out along an axis,

        F_m[pre](k) = (1 / s) sum over j = 0 .. s-1 of F_n[unstrided pre](k + j m).

    A transposed layer first puts s - 1 zeros behind each point, which repeats the
    spectrum, ``F_m[spread](k) = F_n[input](k mod n)``, and convolves: no ``conj``.

    Covered are Conv1D / 2D / 3D and their subclasses, dilated, grouped, strided or
    causal, DepthwiseConv1D / 2D, SeparableConv1D / 2D (as one kernel) and
    Conv1D / 2D / 3DTranspose, with channels first or last.

    The prediction is made in float64 from the fetched input, kernel and bias, so the
    residual is bounded by the precision in which the layer ran: some 1e-7 in float32
    (3e-7 for 64 channels of 5 x 5 points), 2e-4 in float16, 2e-3 in bfloat16. An
    accelerator that rounds the inputs of float32 convolutions to TF32 gives the
    residual of float16. Zero padding breaks the theorem along the border: its squared
    residual is of the order of the share of border points. Without a border to pad
    (a transposed layer with "valid" padding; a "valid" layer whose kernel is no wider
    than its stride) it is exact for any field. Padding done by a layer before a "valid"
    convolution is recognised.

    Args:
        model: A built model.
        x: Inputs, or an iterable of batches, as in `activation_spectra`.
        layers: A selector or names, as in `activation_spectra`; by default all.
        batch_size: Samples a batch when ``x`` is an array.

    Returns:
        One residual a layer.

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
    sums: dict[str, NDArray[np.float64]] = {}
    left_out: dict[str, str] = {}
    kernels: dict[str, ConvolutionKernel | None] = {}

    def accumulate(name: str, call: LayerCall) -> None:
        kernel = kernels.setdefault(name, convolution_kernel(call.layer))
        if kernel is None:
            return
        try:
            field = periodic_inputs(call, kernel)
        except NotCoveredError as reason:
            left_out[name] = str(reason)
            return
        sums[name] = sums.get(name, np.zeros(2)) + _squared_errors(call, kernel, field)

    names = layer_names(model, layers)
    read_calls(model, x, accumulate, names, batch_size, ranks=(1, 2, 3))
    if not sums and not left_out:
        raise ValueError(
            f"No convolution was called in model {model.name!r}; layers called: "
            f"{sorted(kernels)}."
        )
    residuals = {name: root_ratio(*totals) for name, totals in sums.items()}
    return ConvolutionResiduals(residuals, left_out)


def root_ratio(error: float, norm: float) -> float:
    """Relative residual from squared norms; absolute where there is nothing.

    Args:
        error: Squared norm of the error.
        norm: Squared norm of the actual values.

    Example:
        >>> root_ratio(1.0, 4.0)
        0.5
    """
    return float(np.sqrt(error / norm)) if norm > 0 else float(np.sqrt(error))


def _squared_errors(
    call: LayerCall, kernel: ConvolutionKernel, field: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Squared norms of (actual - predicted) and of actual, for one call."""
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
    """Aliasing sum: transform of the field of which every s-th point is kept."""
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
    """All modes of a real field, F(-k) = conj(F(k)), from those with k_last >= 0."""
    others = tuple(range(1, half.ndim - 1))
    mirrored = half[..., 1 : (grid[-1] + 1) // 2].conj()
    mirrored = np.roll(np.flip(mirrored, others), 1, others)
    return np.concatenate([half, np.flip(mirrored, -1)], axis=-1)


def _feeding_kernels(
    kernel: ConvolutionKernel, output: int
) -> tuple[NDArray[np.float64], slice]:
    """Kernels (inputs, ...) of one output channel, and the inputs they act on."""
    group_size, num_outputs = kernel.weights.shape[-2:]
    if kernel.depthwise:
        source, copy = divmod(output, num_outputs)
        return kernel.weights[None, ..., source, copy], slice(source, source + 1)
    start = output * kernel.groups // num_outputs * group_size
    feeding = np.moveaxis(kernel.weights[..., output], -1, 0)
    return feeding, slice(start, start + group_size)
