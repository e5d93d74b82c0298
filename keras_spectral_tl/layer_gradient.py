"""The gradient of a squared error in the weights of some layers, wherever they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras

from keras_spectral_tl.layer_function import (
    Array,
    LayerFunction,
    densified,
    flatten,
    for_backend,
    torch_inputs,
    traced_by_tensorflow,
)

Gradient = Callable[[Sequence[Any], Any, Any, Any], Sequence[Any]]


class LayerGradient:
    """The gradient of `sum w (f(x; v) - y)^2` in the weights v of some layers.

    The other layers stay as they are. Inference mode (no dropout, frozen statistics).

    Args:
        model: a built Keras model; not changed.
        layers: name of a layer with trainable weights, see
            `layers_with_weights`, or several.

    Attributes:
        function: outputs in dependence on the weights.

    Raises:
        KeyError: if there is no such layer.
        ValueError: if they have no weights that training changes; when called, if the
            backend cannot differentiate the model.

    Example:
        >>> import numpy as np
        >>> dense = keras.layers.Dense(1, use_bias=False, name="linear")
        >>> model = keras.Sequential([keras.Input((2,)), dense])
        >>> gradient = LayerGradient(model, "linear")
        >>> x, y = np.array([[1.0, 2.0]]), np.array([[1.0]])
        >>> gradient(np.zeros(2), x, y, weight=np.ones((1, 1)))
        array([-2., -4.])
    """

    def __init__(
        self,
        model: keras.Model,
        layers: str | Sequence[str],
        variables: Sequence[keras.Variable] | None = None,
    ) -> None:
        self.function = LayerFunction(model, layers, variables)
        maker = for_backend({"tensorflow": _tensorflow, "jax": _jax, "torch": _torch})
        self._gradient: Callable[..., Sequence[Any]] = maker(self.function)

    @property
    def values(self) -> Array:
        """The weights when this was made, flat."""
        return flatten(self.function.values)

    def outputs(self, values: Array, x: Any, batch_size: int = 8) -> Array:
        """Returns `f(x; v)` in double precision."""
        return self.function.outputs(values, x, batch_size)

    def __call__(self, values: Array, x: Any, y: Array, weight: Array) -> Array:
        """Returns the gradient, flat, in double precision.

        Args:
            values: weights of the layers, flat.
            x: inputs of the model, the first axis counts samples.
            y: what the outputs should be.
            weight: of every point of `y`.
        """
        y, weight = y.astype("float32"), weight.astype("float32")
        parts = self.function.split(values)
        try:
            return flatten(self._gradient(parts, x, y, weight))
        except Exception as error:
            raise ValueError(
                f"the {keras.backend.backend()} backend failed to differentiate the "
                f"model in the weights of layer {self.function.label}: "
                f"{type(error).__name__}: {str(error) or 'no message'!s:.300}"
            ) from error


def _jax(function: LayerFunction) -> Gradient:
    import jax
    import jax.numpy as jnp

    def loss(values: Sequence[Any], x: Any, y: Any, weight: Any) -> Any:
        return jnp.sum(weight * (function(values, x) - y) ** 2)

    return jax.jit(jax.grad(loss))


def _tensorflow(function: LayerFunction) -> Gradient:
    import tensorflow as tf

    def gradient(values: Sequence[Any], x: Any, y: Any, weight: Any) -> Any:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(values)
            loss = tf.reduce_sum(weight * (function(values, x) - y) ** 2)
        return densified(tape.gradient(loss, values, unconnected_gradients="zero"))

    traced: Gradient = traced_by_tensorflow(gradient, False, True, True, True)
    return traced


def _torch(function: LayerFunction) -> Gradient:
    import torch

    to_tensor = keras.ops.convert_to_tensor

    def of_inputs(values: Sequence[Any], x: Any, y: Any, weight: Any) -> Any:
        leaves = [to_tensor(value).detach().requires_grad_() for value in values]
        with torch.enable_grad():
            outputs = function(leaves, x)[: len(y)]
            loss = torch.sum(to_tensor(weight) * (outputs - to_tensor(y)) ** 2)
        found = torch.autograd.grad(loss, leaves, materialize_grads=True)
        return [keras.ops.convert_to_numpy(part) for part in found]

    def gradient(values: Sequence[Any], x: Any, y: Any, weight: Any) -> Any:
        try:
            return of_inputs(values, keras.tree.map_structure(to_tensor, x), y, weight)
        except RuntimeError:
            if len(y) > 1:
                raise
            return of_inputs(values, torch_inputs(x), y, weight)

    return gradient
