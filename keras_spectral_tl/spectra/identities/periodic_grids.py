"""The periodic grid on which a call of a convolution layer is one product in k."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from keras_spectral_tl.layers import PeriodicConv2D
from keras_spectral_tl.spectra.kernels.weights import ConvolutionKernel
from keras_spectral_tl.spectra.recording import LayerCall


class NotCoveredError(ValueError):
    """A call to which the convolution theorem does not apply; says why."""


@dataclass(frozen=True)
class _Axis:
    """One spatial axis of a call: sizes, and the steps and span of the kernel."""

    num_inputs: int
    num_outputs: int
    stride: int
    taps: int
    dilation: int

    @property
    def extent(self) -> int:
        return self.dilation * (self.taps - 1) + 1

    @property
    def centre(self) -> int:
        return (self.extent - 1) // 2


def periodic_inputs(call: LayerCall, kernel: ConvolutionKernel) -> NDArray[np.float64]:
    """Input of a call as a periodic field for a kernel that is centred at its origin.

    Along each axis, with strides s, dilation d, m output points and n = s m:

        convolution:  output[i] = sum_a kernel[a] field[(s i + d a - centre) mod n]
        transposed:   output[o] = sum_a kernel[a] field[(o - d a + centre) mod m]

    The transposed field has s - 1 zeros behind each point. The equations hold exactly
    wherever the layer reads no further than the field, or beyond it reads what the
    periodic continuation would be; zero padding along a border breaks them.

    Args:
        call: The call of a convolution layer.
        kernel: Its kernel.

    Returns:
        The field (samples, channels, ...) in float64: n points an axis, or m for a
        transposed layer.

    Raises:
        NotCoveredError: If no such field exists.
    """
    if call.inputs is None:
        raise NotCoveredError("its input has another number of axes than its output")
    field = call.inputs.astype(np.float64)
    strides = kernel.strides or (1,) * len(kernel.size)
    for axis, stride in enumerate(strides):
        sizes = _Axis(
            num_inputs=field.shape[axis + 2],
            num_outputs=call.pre_activation.shape[axis + 2],
            stride=stride,
            taps=kernel.size[axis],
            dilation=kernel.dilation[axis],
        )
        if kernel.transposed:
            field = _spread(field, axis + 2, sizes, call.layer)
        else:
            field = _placed(field, axis + 2, sizes, call.layer)
    return field


def _placed(
    field: NDArray[np.float64], axis: int, sizes: _Axis, layer: object
) -> NDArray[np.float64]:
    """Input of a convolution, moved so that the kernel is centred."""
    period = sizes.stride * sizes.num_outputs
    before = _points_before(sizes, layer)
    if before is None or (sizes.num_inputs < period and _pads_itself(sizes, layer)):
        raise NotCoveredError(
            f"{sizes.num_inputs} points with stride {sizes.stride} gave "
            f"{sizes.num_outputs}: no periodic grid explains that (the stride should "
            "divide the number of points)"
        )
    return np.roll(_resized(field, axis, period), before - sizes.centre, axis)


def _points_before(sizes: _Axis, layer: object) -> int | None:
    """Points that the layer reads in front of its input."""
    padding = str(getattr(layer, "padding", "valid"))
    is_whole = sizes.num_outputs == -(-sizes.num_inputs // sizes.stride)
    if padding == "causal":
        return sizes.extent - 1
    if padding == "same":
        reach = (sizes.num_outputs - 1) * sizes.stride + sizes.extent
        return max(reach - sizes.num_inputs, 0) // 2
    if _pads_itself(sizes, layer):
        return sizes.centre if is_whole else None
    return 0


def _pads_itself(sizes: _Axis, layer: object) -> bool:
    """Whether a layer that calls its padding "valid" must have padded inside."""
    if str(getattr(layer, "padding", "valid")) != "valid":
        return False
    plain = (sizes.num_inputs - sizes.extent) // sizes.stride + 1
    return isinstance(layer, PeriodicConv2D) or sizes.num_outputs != plain


def _spread(
    field: NDArray[np.float64], axis: int, sizes: _Axis, layer: object
) -> NDArray[np.float64]:
    """Input of a transposed convolution on the output's grid, zeros between points."""
    is_same = str(getattr(layer, "padding", "valid")) == "same"
    if is_same and getattr(layer, "output_padding", None) is not None:
        raise NotCoveredError("output_padding with padding='same' differs by backend")
    shape = list(field.shape)
    shape[axis] = max(sizes.stride * sizes.num_inputs, sizes.num_outputs)
    spread = np.zeros(shape)
    places = [slice(None)] * field.ndim
    places[axis] = slice(0, sizes.stride * sizes.num_inputs, sizes.stride)
    spread[tuple(places)] = field
    cut = max(sizes.extent - sizes.stride, 0) // 2 if is_same else 0
    return np.roll(_resized(spread, axis, sizes.num_outputs), sizes.centre - cut, axis)


def _resized(field: NDArray[np.float64], axis: int, size: int) -> NDArray[np.float64]:
    """The first ``size`` points along an axis, zeros where there are fewer."""
    field = np.take(field, np.arange(min(size, field.shape[axis])), axis)
    widths = [(0, 0)] * field.ndim
    widths[axis] = (0, size - field.shape[axis])
    return np.pad(field, widths)
