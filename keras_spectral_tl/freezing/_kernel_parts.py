"""Parts of kernels: a factor per output channel, and the span of a few filters."""

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_spectral_tl._checks import check_finite, real_array, whole_number
from keras_spectral_tl._graph.layers import fetch
from keras_spectral_tl._keras_internals import (
    add_weight_when_built,
    own_trainable_variables,
)
from keras_spectral_tl.freezing._parts import AddedPart
from keras_spectral_tl.layers import PeriodicConv2D

Array = NDArray[np.float64]

_GAIN = "channel_gain"
_SMOOTH_DEGREE = 2
# Least singular value of independent filters; float32 round-off is below it.
_INDEPENDENT = 1e-6


class ChannelScaled(keras.layers.Layer):
    """Base of layers whose kernel is multiplied by a gain per output channel."""

    def build(self, input_shape: Any) -> None:
        """Create the weights of the layer and the gains, initially 1."""
        super().build(input_shape)  # locks the layer if it adds a low-rank update
        shape = super().kernel.shape[-1:]
        self.channel_gain = add_weight_when_built(self, _GAIN, shape, "ones")

    @property
    def kernel(self) -> Any:
        """Kernel times gain; the stored kernel is unchanged."""
        return keras.ops.multiply(super().kernel, self.channel_gain)

    def save_own_variables(self, store: Any) -> None:
        # Not merged, and by name: a low-rank update may come before or after the gain.
        for variable in own_trainable_variables(self):
            store[variable.name] = variable

    def load_own_variables(self, store: Any) -> None:
        own = own_trainable_variables(self)
        names = [variable.name for variable in own]
        places = [str(place) for place in range(len(own))]  # in older files
        saved = sorted(store.keys())
        if saved not in (sorted(names), sorted(places)):
            raise ValueError(
                f"Layer {self.name!r} expected the weights {sorted(names)}. Received a "
                f"file with {saved}: enable the same low-rank update, or none, in both."
            )
        for variable, place in zip(own, places, strict=True):
            key = variable.name if variable.name in saved else place
            variable.assign(store[key])


@keras.saving.register_keras_serializable(package="keras_spectral_tl")
class ScaledConv1D(ChannelScaled, keras.layers.Conv1D):
    """`Conv1D` with a gain per output channel."""


@keras.saving.register_keras_serializable(package="keras_spectral_tl")
class ScaledConv2D(ChannelScaled, keras.layers.Conv2D):
    """`Conv2D` with a gain per output channel."""


@keras.saving.register_keras_serializable(package="keras_spectral_tl")
class ScaledConv3D(ChannelScaled, keras.layers.Conv3D):
    """`Conv3D` with a gain per output channel."""


@keras.saving.register_keras_serializable(package="keras_spectral_tl")
class ScaledDense(ChannelScaled, keras.layers.Dense):
    """`Dense` with a gain per output."""


@keras.saving.register_keras_serializable(package="keras_spectral_tl")
class ScaledPeriodicConv2D(ChannelScaled, PeriodicConv2D):
    """`PeriodicConv2D` with a gain per output channel."""


_SCALED: dict[type, type[ChannelScaled]] = {
    keras.layers.Conv1D: ScaledConv1D,
    keras.layers.Conv2D: ScaledConv2D,
    keras.layers.Conv3D: ScaledConv3D,
    keras.layers.Dense: ScaledDense,
    PeriodicConv2D: ScaledPeriodicConv2D,
}
_WITH_FILTERS = (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)


class ChannelGainsOf(AddedPart):
    """A trainable gain per output channel, and the bias, with frozen kernels.

    outputs_o = activation(gain_o * (kernel_o * inputs) + bias_o), with gains initially
    1. `transfer.retrain` adds them to its copy of the model, whose layers are saved and
    loaded with them; elsewhere call `prepare` first.

    Args:
        layers: The layers, see `freezing.select_layers`; None means all that can have
            gains: Dense, Conv1D, Conv2D, Conv3D and `layers.PeriodicConv2D`.

    Example:
        >>> from keras_spectral_tl.freezing import select_layers
        >>> convolution = keras.layers.Conv2D(4, 3, name="conv")
        >>> model = keras.Sequential([keras.Input((8, 8, 2)), convolution])
        >>> gains = ChannelGainsOf("conv")
        >>> gains.prepare({"conv": convolution})
        >>> select_layers(model, gains).variables
        ('conv/bias', 'conv/channel_gain')
    """

    def accepts(self, layer: keras.Layer, weight: str) -> bool:
        return isinstance(layer, ChannelScaled) and weight in (_GAIN, "bias")

    def everywhere(self) -> Any:
        return lambda layer: type(layer) in _SCALED or isinstance(layer, ChannelScaled)

    def prepare(self, layers: Mapping[str, keras.Layer]) -> None:
        """Add gains to the layers in place, without changing their outputs.

        Raises:
            ValueError: If a layer is of another class, or quantized.
        """
        for name, layer in layers.items():
            if type(layer) not in _SCALED and not isinstance(layer, ChannelScaled):
                raise ValueError(
                    f"Layer {name!r} ({type(layer).__name__}) cannot have channel "
                    "gains. Expected Dense, Conv1D, Conv2D, Conv3D or PeriodicConv2D "
                    "themselves, no subclass, whose kernel has output channels last."
                )
            if getattr(layer, "quantization_mode", None):
                raise ValueError(
                    f"Layer {name!r} is quantized ({layer.quantization_mode}), so its "
                    "kernel cannot be scaled exactly. Add the gains before quantizing."
                )
        for layer in layers.values():
            if isinstance(layer, ChannelScaled):
                continue
            shape = layer.kernel.shape[-1:]
            # Bypass Keras, which would track the class as state of the layer.
            object.__setattr__(layer, "__class__", _SCALED[type(layer)])
            layer.channel_gain = add_weight_when_built(layer, _GAIN, shape, "ones")


@dataclasses.dataclass(frozen=True, eq=False)
class FiltersOf(AddedPart):
    """Kernel changes within the span of a few fixed filters, and the bias.

    kernel_io + sum_r coefficients[r, i, o] filters[r], with coefficients initially 0
    and a frozen kernel: each kernel has r trainable weights instead of one for each of
    its points. Keras' low-rank update holds both (`lora_kernel_a` the frozen filters,
    `lora_kernel_b` the coefficients) and merges them into the kernel when the model is
    saved. `transfer.retrain` adds them to its copy; elsewhere call `prepare`.

    Args:
        layers: The layers, see `freezing.select_layers`; None means all convolutions
            (Conv1D, Conv2D, Conv3D, `layers.PeriodicConv2D`) with kernels of more than
            one point.
        basis: "smooth" for cosines (DCT-II), lowest first: a constant, gradients and
            curvatures; or filters (r, *size), or `spectra.PrincipalFilters`, of the
            size of the kernels. Only their span matters; they are orthonormalized.
        number: Number of filters; by default the smooth ones up to second derivatives
            (3, 6 or 10), the significant principal filters, or all given filters.

    Raises:
        TypeError, ValueError: If the basis is unknown, or filters are linearly
            dependent or too few; on use, if a layer is not a convolution, its kernels
            are single points or of another size, or there are more filters than points.

    Example:
        >>> from keras_spectral_tl.freezing import select_layers
        >>> convolution = keras.layers.Conv2D(4, 5, name="conv")
        >>> model = keras.Sequential([keras.Input((8, 8, 2)), convolution])
        >>> part = FiltersOf("conv", "smooth", number=3)
        >>> part.prepare({"conv": convolution})
        >>> select_layers(model, part).num_trainable == 3 * 2 * 4 + 4
        True
    """

    basis: Any = dataclasses.field(default="smooth", repr=False)
    number: int | None = None

    def __post_init__(self) -> None:
        if self.number is not None:
            whole_number("number", self.number, at_least=1)
        if isinstance(self.basis, str):
            if self.basis != "smooth":
                raise ValueError(
                    'Expected basis "smooth", filters (r, *size) or PrincipalFilters. '
                    f"Received basis={self.basis!r}."
                )
        else:
            self._given()

    def accepts(self, layer: keras.Layer, weight: str) -> bool:
        return weight in ("lora_kernel_b", "bias") and _has_filters(layer)

    def everywhere(self) -> Any:
        return lambda layer: (
            isinstance(layer, _WITH_FILTERS) and math.prod(layer.kernel_size) > 1
        )

    def prepare(self, layers: Mapping[str, keras.Layer]) -> None:
        """Add filter coefficients to the layers, without changing their outputs.

        Raises:
            ValueError: If a layer cannot have them, or has a low-rank update.
        """
        filters = {name: self._filters(name, layer) for name, layer in layers.items()}
        for name, layer in layers.items():
            inputs = layer.kernel.shape[-2]
            weights = _as_factor(filters[name], inputs)
            rank = weights.shape[-1]
            if not layer.lora_enabled:
                layer.enable_lora(rank)
            elif np.array_equal(fetch(layer.lora_kernel_a), weights):
                continue  # keep the coefficients it already has
            elif layer.lora_rank != rank or np.any(fetch(layer.lora_kernel_b)):
                raise ValueError(
                    f"Layer {name!r} has a low-rank update already, and Keras allows "
                    "one a layer. Save the model, which merges the update into the "
                    "kernel, build the model anew and load the weights."
                )
            layer.lora_kernel_a.assign(weights)
            layer.lora_kernel_a.trainable = False

    def _filters(self, name: str, layer: keras.Layer) -> Array:
        """Return orthonormal filters (r, *size) for the kernels of a layer."""
        if not isinstance(layer, _WITH_FILTERS) or not hasattr(layer, "enable_lora"):
            raise ValueError(
                f"Layer {name!r} ({type(layer).__name__}) has no kernels in which to "
                "find filters. Expected Conv1D, Conv2D, Conv3D or PeriodicConv2D."
            )
        size = tuple(layer.kernel_size)
        points = math.prod(size)
        if points == 1:
            raise ValueError(
                f"Kernels of layer {name!r} are single points, so there are no filters "
                "to combine. Choose a layer with wider kernels, or ChannelGainsOf."
            )
        if (self.number or 0) > points:
            raise ValueError(
                f"Kernels of layer {name!r} have {points} points, so {points} filters "
                f"span all of them. Received number={self.number}."
            )
        if isinstance(self.basis, str):
            return smooth_filters(size, self.number)
        given = self._given()
        if given.shape[1:] != size:
            raise ValueError(
                f"Kernels of layer {name!r} have shape {size}. Received filters of "
                f"shape {given.shape[1:]}."
            )
        return given

    def _given(self) -> Array:
        """Return the orthonormalized filters of the basis."""
        filters = self.given_filters()
        count = len(filters)
        rows = filters.reshape(count, -1)
        check_finite("basis", rows, " Expected finite filters.")
        scale = np.linalg.norm(rows, axis=1, keepdims=True)
        columns = (rows / np.where(scale > 0, scale, 1.0)).T
        rank = np.linalg.matrix_rank(columns, tol=_INDEPENDENT)
        if rank < count:
            raise ValueError(
                "Expected linearly independent filters, at most one for each of "
                f"{len(columns)} points. Received {count} filters of rank {rank}."
            )
        return np.asarray(np.linalg.qr(columns)[0].T.reshape(filters.shape))

    def given_filters(self) -> Array:
        """Return those filters of a basis of filters that count, as they were given."""
        significant = getattr(self.basis, "significant", None)
        filters = real_array("basis", getattr(self.basis, "filters", self.basis))
        default = len(filters) if significant is None else int(np.sum(significant))
        count = default if self.number is None else self.number
        if not 2 <= filters.ndim <= 4 or not 1 <= count <= len(filters):
            raise ValueError(
                "Expected a basis of filters (r, *size) with one to three axes of "
                "points, and a number from 1 to r. Received shape "
                f"{filters.shape} and number {count}."
            )
        return filters[:count]


def smooth_filters(size: Sequence[int], number: int | None = None) -> Array:
    """Return orthonormal cosines (DCT-II) on a kernel, the lowest first: (r, *size).

    ``prod_d cos(pi n_d (x_d + 1/2) / size_d)``, ordered by ``sum n_d`` and then by
    ``sum n_d^2``; by default those with ``sum n_d <= 2``.

    Example:
        >>> smooth_filters((3,)).round(3)
        array([[ 0.577,  0.577,  0.577],
               [ 0.707,  0.   , -0.707],
               [ 0.408, -0.816,  0.408]])
    """
    orders = sorted(
        itertools.product(*map(range, size)),
        key=lambda order: (sum(order), sum(n * n for n in order), order),
    )
    if number is None:
        number = sum(sum(order) <= _SMOOTH_DEGREE for order in orders)
    filters = []
    for order in orders[:number]:
        values = np.ones(())
        for n, points in zip(order, size, strict=True):
            wave = np.cos(np.pi * n * (np.arange(points) + 0.5) / points)
            values = np.multiply.outer(values, wave / np.linalg.norm(wave))
        filters.append(values)
    return np.stack(filters)


def _as_factor(filters: Array, inputs: int) -> NDArray[np.float32]:
    """Return the factor a of the update, (*size, inputs, r * inputs), from filters.

    Each column holds one filter in one input channel.
    """
    spread = np.multiply.outer(np.moveaxis(filters, 0, -1), np.eye(inputs))
    return spread.swapaxes(-3, -2).reshape(*filters.shape[1:], inputs, -1).astype("f4")


def _has_filters(layer: keras.Layer) -> bool:
    """Return whether the low-rank update of a layer is made of filters."""
    if not isinstance(layer, _WITH_FILTERS) or not layer.lora_enabled:
        return False
    factor = fetch(layer.lora_kernel_a)
    inputs = factor.shape[-2]
    if factor.shape[-1] % inputs:
        return False
    blocks = factor.reshape(*factor.shape[:-1], -1, inputs)
    first = blocks[..., :1, :, :1]
    return np.array_equal(blocks, first * np.eye(inputs)[:, None, :])
