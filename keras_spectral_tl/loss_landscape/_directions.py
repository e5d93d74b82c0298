"""Directions in the weights of one layer, in units of the size of its filters."""

import keras
import numpy as np
from numpy.typing import NDArray

from keras_spectral_tl.loss_landscape._layer_loss import LayerLoss

Array = NDArray[np.float64]

_DEPTHWISE = (
    keras.layers.DepthwiseConv1D,
    keras.layers.DepthwiseConv2D,
)
_TRANSPOSED = (
    keras.layers.Conv1DTranspose,
    keras.layers.Conv2DTranspose,
    keras.layers.Conv3DTranspose,
)


def filter_scales(loss: LayerLoss) -> Array:
    """Return for each weight the norm of the filter it belongs to.

    A filter is what makes one output: the weights of one output channel (of one channel
    of a depthwise kernel). Biases and other vectors are not moved by the directions of
    this module and get 0, unless the layer has nothing else; then each vector counts as
    one filter.

    Args:
        loss: The loss whose layer is meant.

    Returns:
        Flat, (num_parameters,).

    References:
        Li, Xu, Taylor, Studer and Goldstein, Visualizing the Loss Landscape of Neural
        Nets (2018), https://arxiv.org/abs/1712.09913

    Example:
        >>> dense = keras.layers.Dense(2, name="dense")
        >>> model = keras.Sequential([keras.Input((2,)), dense])
        >>> dense.set_weights([np.array([[3.0, 0.0], [4.0, 1.0]]), np.ones(2)])
        >>> filter_scales(LayerLoss(model, "dense", np.ones((1, 2)), np.ones((1, 2))))
        array([5., 1., 5., 1., 0., 0.])
    """
    return _filter_norms(loss, loss.weights)


def random_direction(loss: LayerLoss, seed: int = 0) -> Array:
    """Draw a random direction, every filter as long as the filter it moves.

    Args:
        loss: The loss whose layer is meant.
        seed: Of the direction.

    Returns:
        Flat, (num_parameters,).

    Example:
        >>> dense = keras.layers.Dense(2, use_bias=False, name="dense")
        >>> model = keras.Sequential([keras.Input((2,)), dense])
        >>> dense.set_weights([np.array([[3.0, 0.0], [4.0, 1.0]])])
        >>> loss = LayerLoss(model, "dense", np.ones((1, 2)), np.ones((1, 2)))
        >>> np.linalg.norm(random_direction(loss).reshape(2, 2), axis=0).round(6)
        array([5., 1.])
    """
    draws = np.random.default_rng(seed).standard_normal(loss.function.num_parameters)
    return normalized(loss, draws)


def gradient_direction(loss: LayerLoss) -> Array:
    """Return the direction of steepest ascent in units of the filters it moves.

    The gradient of each filter keeps its direction; how the filters share the step is
    that of the normalization. The loss rises along it (at first), as
    ``<gradient, d> = sum |gradient of filter| |filter|``. 0 where the gradient is.

    Args:
        loss: The loss whose layer is meant.

    Returns:
        Flat, (num_parameters,).
    """
    return normalized(loss, loss.gradient())


def normalized(loss: LayerLoss, direction: Array) -> Array:
    """Scale each filter of a direction to the norm of the filter it moves.

    Args:
        loss: The loss whose layer is meant.
        direction: Flat, (num_parameters,).

    Returns:
        The direction; 0 where `filter_scales` is, or the filter of the direction.
    """
    size = _filter_norms(loss, direction)
    unit = direction / np.where(size > 0, size, 1.0)
    return np.asarray(np.where(size > 0, unit, 0.0) * filter_scales(loss))


def _filter_norms(loss: LayerLoss, flat: Array) -> Array:
    """Return for each weight the norm of its filter in a flat vector; 0 for vectors."""
    function = loss.function
    has_filters = any(value.ndim > 1 for value in function.values)
    norms, start = [], 0
    for variable, value in zip(function.variables, function.values, strict=True):
        part = flat[start : start + value.size].reshape(value.shape)
        start += value.size
        axes = _axes_within(function.layers[0], variable.name, value.ndim)
        squares = np.sum(part**2, axis=axes, keepdims=True)
        is_moved = value.ndim > 1 or not has_filters
        size = np.broadcast_to(np.sqrt(squares) * is_moved, value.shape)
        norms.append(size.ravel())
    return np.concatenate(norms)


def _axes_within(layer: keras.Layer, name: str, rank: int) -> tuple[int, ...]:
    """The axes of a weight along which one filter extends; all of a vector's."""
    outputs = {rank - 1} if rank > 1 else set()
    if isinstance(layer, _DEPTHWISE) or name == "depthwise_kernel":
        outputs = {rank - 2, rank - 1}
    elif isinstance(layer, _TRANSPOSED):
        outputs = {rank - 2}
    return tuple(axis for axis in range(rank) if rank == 1 or axis not in outputs)
