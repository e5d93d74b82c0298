"""The linear part of any convolution layer, in one common form."""

from dataclasses import dataclass

import keras
import numpy as np
from numpy.typing import NDArray

_SEPARABLE = (keras.layers.SeparableConv1D, keras.layers.SeparableConv2D)
_DEPTHWISE = (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)
_TRANSPOSED = (
    keras.layers.Conv1DTranspose,
    keras.layers.Conv2DTranspose,
    keras.layers.Conv3DTranspose,
)
_PLAIN = (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)


@dataclass(frozen=True)
class ConvolutionKernel:
    """The linear part of a convolution layer with one, two or three spatial axes.

    Attributes:
        weights: (*size, inputs, outputs) float64, in 2-D (kx, ky, inputs, outputs).
            ``inputs`` are those of one group; a depthwise kernel is
            (*size, inputs, depth_multiplier).
        dilation: Spacing of the kernel points along each axis.
        depthwise: Whether each input channel has its own outputs.
        transposed: Whether the layer convolves (transposed layers) rather than
            cross-correlates (all others).
        groups: Number of groups the input channels are split into.
        strides: Steps of the layer along each axis; empty stands for ones.
    """

    weights: NDArray[np.float64]
    dilation: tuple[int, ...]
    depthwise: bool = False
    transposed: bool = False
    groups: int = 1
    strides: tuple[int, ...] = ()

    @property
    def size(self) -> tuple[int, ...]:
        """Number of points along each spatial axis."""
        return self.weights.shape[:-2]

    @property
    def extent(self) -> tuple[int, ...]:
        """Grid spacings from the first to the last point, plus one, along each axis."""
        pairs = zip(self.size, self.dilation, strict=True)
        return tuple((size - 1) * step + 1 for size, step in pairs)

    def fits(self, grid: tuple[int, ...]) -> bool:
        """Whether it spans no more points than a grid has, along every axis."""
        return all(n <= points for n, points in zip(self.extent, grid, strict=True))

    def stacked(self) -> NDArray[np.float64]:
        """The kernels as (inputs * outputs, *size), input channels outermost."""
        count = self.weights.shape[-2] * self.weights.shape[-1]
        rows = self.weights.reshape(*self.size, count)
        return np.ascontiguousarray(np.moveaxis(rows, -1, 0))


def convolution_kernel(layer: keras.Layer) -> ConvolutionKernel | None:
    """Kernel of a convolution layer in one common form.

    Covered are Conv1D / 2D / 3D and their subclasses (strided, dilated, grouped,
    channels first or last: Keras keeps one layout of kernels for all), the depthwise
    and transposed layers, and the separable ones, whose two kernels are multiplied into
    one: ``kernel[x, i, o] = sum_m depthwise[x, i, m] pointwise[i, m, o]``.

    Args:
        layer: Any built layer.

    Returns:
        The kernel in float64, or None if the layer is not a convolution.

    Example:
        >>> import keras
        >>> layer = keras.layers.Conv2D(4, 3)
        >>> layer.build((None, 8, 8, 2))
        >>> convolution_kernel(layer).weights.shape
        (3, 3, 2, 4)
    """
    if isinstance(layer, _SEPARABLE):
        depthwise = to_numpy(layer.depthwise_kernel)
        pointwise = to_numpy(layer.pointwise_kernel)
        pointwise = pointwise.reshape(*depthwise.shape[-2:], -1)
        weights = np.einsum("...im,imo->...io", depthwise, pointwise)
        return _described(layer, weights)
    if isinstance(layer, _DEPTHWISE):
        return _described(layer, to_numpy(layer.kernel), depthwise=True)
    if isinstance(layer, _TRANSPOSED):
        weights = to_numpy(layer.kernel).swapaxes(-1, -2)
        return _described(layer, weights, transposed=True)
    if isinstance(layer, _PLAIN):
        return _described(layer, to_numpy(layer.kernel))
    return None


def to_numpy(variable: keras.Variable) -> NDArray[np.float64]:
    """Fetches a weight as float64.

    Args:
        variable: A Keras variable or tensor.

    Returns:
        Its value.

    Example:
        >>> import keras
        >>> to_numpy(keras.Variable([1.0, 2.0]))
        array([1., 2.])
    """
    # `convert_to_numpy` of a variable warns under NumPy 2; `asarray` does not copy.
    is_variable = isinstance(variable, keras.Variable)
    values = variable if is_variable else keras.ops.convert_to_numpy(variable)
    return np.asarray(values).astype(np.float64)


def _described(
    layer: keras.Layer,
    weights: NDArray[np.float64],
    depthwise: bool = False,
    transposed: bool = False,
) -> ConvolutionKernel:
    """Joins the weights with what the layer says of its geometry."""
    rank = weights.ndim - 2
    return ConvolutionKernel(
        weights=weights,
        dilation=_per_axis(layer.dilation_rate, rank),
        depthwise=depthwise,
        transposed=transposed,
        groups=int(getattr(layer, "groups", 1)),
        strides=_per_axis(layer.strides, rank),
    )


def _per_axis(value: int | tuple[int, ...], rank: int) -> tuple[int, ...]:
    """One number an axis: some layers keep the integer they were given."""
    return tuple(int(step) for step in np.broadcast_to(np.asarray(value), (rank,)))
