"""The loss of a model as a function of the weights of one layer."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_spectral_tl._autodiff.function import (
    LayerFunction,
    backend,
    batches,
    flatten,
)
from keras_spectral_tl.linearization import LayerLinearization

Array = NDArray[np.float64]
Loss = Callable[[Any, Any], Any]


class LayerLoss:
    """Loss, gradient and Hessian products around a model, one layer's weights moving.

        L(theta + d) = mean over samples of loss(y, f(x; theta + d))

    with d a flat vector and every other weight as it is. In inference mode, so without
    dropout, and without the regularisation of layers. Sums over batches are in double
    precision, each batch in the model's own. The model is not changed.

    Args:
        model: A built Keras model.
        layer: Name of a layer with trainable weights.
        x: Inputs, shape `(samples, ...)`, or a nest of such arrays.
        y: Targets, shape `(samples, ...)`.
        loss: `(y, outputs) -> values`, whose mean over a batch is taken; a Keras loss.
        batch_size: Samples computed at once.

    Raises:
        KeyError: If there is no such layer.
        ValueError: If the layer has no weights that training changes, `x` and `y` are
            empty, differ in their numbers of samples or are not finite.

    Example:
        >>> dense = keras.layers.Dense(1, use_bias=False, name="linear")
        >>> model = keras.Sequential([keras.Input((1,)), dense])
        >>> dense.set_weights([np.array([[2.0]])])
        >>> x = np.array([[1.0], [3.0]], "float32")
        >>> loss = LayerLoss(model, "linear", x, 0 * x)  # L = 5 (2 + d)^2
        >>> loss.value(), loss.gradient(), loss.hessian_product(np.ones(1))
        (20.0, array([20.]), array([10.]))
    """

    def __init__(
        self,
        model: keras.Model,
        layer: str,
        x: Any,
        y: Any,
        loss: Loss = keras.losses.mean_squared_error,
        batch_size: int = 32,
    ) -> None:
        self.function = LayerFunction(model, layer)
        self.layer = layer
        self._model, self._checked = model, False
        self.batch_size = batch_size
        self._x = keras.tree.map_structure(np.asarray, x)
        self._y = np.asarray(y)
        self._num_samples = _checked_count(self._x, self._y)

        def mean_loss(outputs: Any, targets: Any) -> Any:
            return keras.ops.mean(loss(keras.ops.cast(targets, outputs.dtype), outputs))

        self._value, self._gradient, self._product = backend().derivatives(
            self.function, mean_loss
        )

    @property
    def weights(self) -> Array:
        """The layer's weights theta, flat."""
        return flatten(self.function.values)

    def value(self, change: Array | None = None) -> float:
        """Return `L(theta + change)`."""
        return float(self._mean(self._value, self._moved(change))[0])

    def gradient(self, change: Array | None = None) -> Array:
        """Return the gradient of L at `theta + change`, flat."""
        return self._mean(self._gradient, self._moved(change))

    def hessian_product(self, direction: Array, change: Array | None = None) -> Array:
        """Return `H direction`, H the Hessian of L at `theta + change`.

        Where an activation has a kink, H is that of the smooth pieces: of a ReLU
        network with a squared error it is what Gauss and Newton use.

        Raises:
            ValueError: If the backend lacks a second derivative on the way.
        """
        tangents = self.function.split(direction)
        self._check_backend()
        try:
            return self._mean(self._product, self._moved(change), tangents)
        except (LookupError, NotImplementedError) as error:
            raise ValueError(
                f"the {keras.backend.backend()} backend has no second derivative of "
                f"some operation behind layer {self.layer!r}, on TensorFlow bilinear "
                "resizing for example. Use another operation (nearest-neighbour "
                "resizing, a transposed convolution) or set KERAS_BACKEND=jax."
            ) from error

    def _check_backend(self) -> None:
        """Refuse second derivatives that TensorFlow takes for zero, without a word."""
        if not self._checked and keras.backend.backend() == "tensorflow":
            first = next(batches(self._x, self.batch_size))[1]
            jacobian = LayerLinearization(self._model, self.layer, self.batch_size)
            jacobian.apply(np.zeros(self.function.num_parameters), first)
        self._checked = True

    def _moved(self, change: Array | None) -> list[NDArray[Any]]:
        if change is None:
            return self.function.values
        return self.function.split(self.weights + change)

    def _mean(self, compute: Callable[..., Any], *weights: Any) -> Array:
        """Mean over the samples of what `compute` gives for each batch, flat."""
        total: Array = np.zeros(1)
        for rows, x in batches(self._x, self.batch_size):
            y = self._y[rows]
            total = total + flatten(compute(*weights, x, y)) * len(y)
        return total / self._num_samples


def _checked_count(x: Any, y: NDArray[Any]) -> int:
    counts = {len(part) for part in [*keras.tree.flatten(x), y]}
    if len(counts) != 1 or 0 in counts:
        raise ValueError(
            "A loss needs as many targets as inputs, at least one. Received "
            f"{sorted(counts)} samples."
        )
    for part in [*keras.tree.flatten(x), y]:
        if not np.isfinite(part).all():
            raise ValueError(
                "A loss needs finite samples. Received "
                f"{int(np.count_nonzero(~np.isfinite(part)))} values that are NaN or "
                "infinite."
            )
    return counts.pop()
