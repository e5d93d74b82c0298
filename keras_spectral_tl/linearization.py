"""A model linearized in the weights of one layer: products with its Jacobian."""

from collections.abc import Callable

import keras
import numpy as np
from numpy.typing import NDArray

from keras_spectral_tl._autodiff.function import (
    Array,
    LayerFunction,
    LayerGradient,
    backend,
    batches,
    flatten,
)

__all__ = [
    "LayerFunction",
    "LayerGradient",
    "LayerLinearization",
    "batches",
    "check_adjoint",
    "flatten",
]

# Half precision keeps two to three digits; a missing branch of a network is more.
_ADJOINT = 0.05


class LayerLinearization:
    """The Jacobian J of a model's output with respect to one layer's weights.

        f(x; theta + d) = f(x; theta) + J d + O(|d|^2)

    Neither product forms J: `apply` is forward mode, `apply_transpose` reverse mode,
    each about the cost of two forward passes. Batches are computed one by one, so
    memory holds one batch. Inference mode (no dropout, frozen statistics).

    Args:
        model: A built Keras model; not changed.
        layer: Name of a layer with trainable weights.
        batch_size: Samples computed at once.

    Raises:
        KeyError: If there is no such layer.
        ValueError: If the layer has no weights that training changes; on the first
            product, if the backend cannot differentiate the model.

    Example:
        >>> dense = keras.layers.Dense(1, name="linear")
        >>> model = keras.Sequential([keras.Input((2,)), dense])
        >>> jacobian = LayerLinearization(model, "linear")
        >>> jacobian.apply(np.array([1.0, 2.0, 3.0]), np.array([[1.0, 1.0]]))
        array([[6.]])
    """

    def __init__(self, model: keras.Model, layer: str, batch_size: int = 32) -> None:
        self.batch_size = batch_size
        self._function = LayerFunction(model, layer)
        self._jvp, self._vjp = backend().products(self._function, self._function.values)
        self._layer, self._checked = layer, False

    @property
    def num_parameters(self) -> int:
        """Number of weights, the length of a direction."""
        return self._function.num_parameters

    def apply(self, direction: Array, x: NDArray[np.floating]) -> Array:
        """Return `J direction`, of the shape of the model's output on `x`.

        Args:
            direction: Flat change of the weights, shape `(num_parameters,)`.
            x: Inputs, shape `(samples, ...)`, or a nest of such arrays.
        """
        if not self._checked:
            self._check_products(next(batches(x, self.batch_size))[1])
        tangents = self._function.split(direction)
        parts = [self._jvp(tangents, batch) for _, batch in batches(x, self.batch_size)]
        return np.concatenate([np.asarray(part, np.float64) for part in parts])

    def apply_transpose(self, cotangent: Array, x: NDArray[np.floating]) -> Array:
        """Return `J^T cotangent`, flat, summed over the samples.

        Args:
            cotangent: Array of the shape of the model's output on `x`.
            x: Inputs, shape `(samples, ...)`.
        """
        total = np.zeros(self.num_parameters)
        for rows, batch in batches(x, self.batch_size):
            total += flatten(self._vjp(cotangent[rows].astype("float32"), batch))
        return total

    def _check_products(self, batch: NDArray[np.floating]) -> None:
        def push(direction: Array) -> Array:
            pushed = self._jvp(self._function.split(direction), batch)
            return np.asarray(pushed, np.float64)

        try:
            shape = np.shape(push(np.zeros(self.num_parameters)))
        except Exception as error:
            raise ValueError(_refusal("failed to compute", self._layer)) from error
        check_adjoint(
            push, lambda c: self.apply_transpose(c, batch), shape, self._layer
        )
        self._checked = True


def check_adjoint(
    push: Callable[[Array], Array],
    pull: Callable[[Array], Array],
    shape: tuple[int, ...],
    layer: str,
) -> None:
    """Refuse a backend that drops an operation from the forward product.

    With g = J^T r for a random r, `<r, J g> = |g|^2` holds for every J.

    Args:
        push: `d -> J d`.
        pull: `r -> J^T r`.
        shape: Shape of the output.
        layer: Name for the message.

    Raises:
        ValueError: If the identity does not hold or a product fails.
    """
    cotangent = np.random.default_rng(0).standard_normal(shape).astype("float32")
    try:
        gradient = pull(cotangent)
        image = np.asarray(push(gradient), np.float64)
    except Exception as error:
        raise ValueError(_refusal("failed to compute", layer)) from error
    square = float(gradient @ gradient)
    if abs(float(np.sum(cotangent * image)) - square) > _ADJOINT * square:
        raise ValueError(_refusal("wrongly computes", layer))


def _refusal(what: str, layer: str) -> str:
    return (
        f"the {keras.backend.backend()} backend {what} the derivative of the "
        f"output in the direction of layer {layer!r}: it has no second "
        "derivative of some operation behind it, on TensorFlow bilinear resizing "
        "for example. Use another operation (nearest-neighbour resizing, a "
        "transposed convolution) or set KERAS_BACKEND=jax."
    )
