"""A network linearised in the weights of one layer, on any Keras backend."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_spectral_tl.introspection import (
    fetch,
    own_trainable_variables,
    resolve_layer_name,
    weight_layers,
)

Array = NDArray[np.float64]


class LayerLinearisation:
    """The Jacobian J of a model's output with respect to one layer's weights.

        f(x; theta + d) = f(x; theta) + J d + O(|d|^2)

    Neither product forms J: `apply` is forward mode, `apply_transpose` reverse mode,
    each about the cost of two forward passes. Batches are computed one by one, so
    memory holds one batch. Inference mode (no dropout, frozen statistics).

    Args:
        model: a built Keras model; not changed.
        layer: name of a layer with trainable weights, see
            `introspection.weight_layers`.
        batch_size: samples computed at once.

    Raises:
        KeyError: if there is no such layer.
        ValueError: if the layer has no weights that training changes.

    Example:
        >>> dense = keras.layers.Dense(1, name="linear")
        >>> model = keras.Sequential([keras.Input((2,)), dense])
        >>> jacobian = LayerLinearisation(model, "linear")
        >>> jacobian.apply(np.array([1.0, 2.0, 3.0]), np.array([[1.0, 1.0]]))
        array([[6.]])
    """

    def __init__(self, model: keras.Model, layer: str, batch_size: int = 8) -> None:
        found = weight_layers(model)[resolve_layer_name(model, layer)]
        own = {id(variable) for variable in own_trainable_variables(found)}
        # Frozen flags move variables between Keras's two lists, so ask for all.
        variables = [v for v in model.variables if id(v) in own]
        if not variables:
            raise ValueError(
                f"Layer {layer!r} of model {model.name!r} holds statistics but no "
                "trainable weights, so there is nothing to linearise. Choose another."
            )
        self.batch_size = batch_size
        self._shapes = [tuple(variable.shape) for variable in variables]
        self._sizes = [int(np.prod(shape)) for shape in self._shapes]
        self._dtype = keras.backend.standardize_dtype(variables[0].dtype)
        function = _stateless_function(model, variables)
        values = [fetch(variable) for variable in variables]
        self._jvp, self._vjp = _products(function, values)

    @property
    def num_parameters(self) -> int:
        """Number of weights, the length of a direction."""
        return sum(self._sizes)

    def apply(self, direction: Array, x: NDArray[Any]) -> Array:
        """Returns `J direction`, of the shape of the model's output on `x`.

        Args:
            direction: flat change of the weights, shape `(num_parameters,)`.
            x: inputs, shape `(samples, ...)`.
        """
        tangents = self._split(direction)
        parts = [self._jvp(tangents, x[rows]) for rows in self._batches(len(x))]
        return np.concatenate([np.asarray(part, np.float64) for part in parts])

    def apply_transpose(self, cotangent: Array, x: NDArray[Any]) -> Array:
        """Returns `J^T cotangent`, flat, summed over the samples.

        Args:
            cotangent: array of the shape of the model's output on `x`.
            x: inputs, shape `(samples, ...)`.
        """
        total = np.zeros(self.num_parameters)
        for rows in self._batches(len(x)):
            gradients = self._vjp(cotangent[rows].astype(self._dtype), x[rows])
            total += np.concatenate(
                [np.asarray(g, np.float64).ravel() for g in gradients]
            )
        return total

    def _split(self, direction: Array) -> list[NDArray[Any]]:
        pieces = np.split(direction.astype(self._dtype), np.cumsum(self._sizes)[:-1])
        return [
            piece.reshape(shape)
            for piece, shape in zip(pieces, self._shapes, strict=True)
        ]

    def _batches(self, num_samples: int) -> list[slice]:
        return [
            slice(i, min(i + self.batch_size, num_samples))
            for i in range(0, num_samples, self.batch_size)
        ]


def _stateless_function(
    model: keras.Model, variables: Sequence[keras.Variable]
) -> Callable[[Sequence[Any], Any], Any]:
    """Returns `(values of the variables, x) -> output`, free of side effects."""

    def function(values: Sequence[Any], x: Any) -> Any:
        # Not stateless_call: it hands `training` to models that do not take it.
        mapping = list(zip(variables, values, strict=True))
        with keras.StatelessScope(state_mapping=mapping):
            return model(x, training=False)

    return function


Jvp = Callable[[Sequence[NDArray[Any]], NDArray[Any]], Any]
Vjp = Callable[[NDArray[Any], NDArray[Any]], Sequence[Any]]


def _products(
    function: Callable[[Sequence[Any], Any], Any], values: Sequence[NDArray[Any]]
) -> tuple[Jvp, Vjp]:
    """Returns Jacobian products at `values`, compiled by the backend in use."""
    backend = keras.backend.backend()
    makers = {
        "tensorflow": _tensorflow_products,
        "jax": _jax_products,
        "torch": _torch_products,
    }
    if backend not in makers:
        raise ValueError(
            f"the Keras backend {backend!r} has no automatic differentiation here; "
            f"expected one of {sorted(makers)}. Set KERAS_BACKEND."
        )
    return makers[backend](function, values)


def _tensorflow_products(
    function: Callable[[Sequence[Any], Any], Any], values: Sequence[NDArray[Any]]
) -> tuple[Jvp, Vjp]:
    import tensorflow as tf

    primals = [tf.constant(value) for value in values]
    tangent_specs = [tf.TensorSpec(value.shape, value.dtype) for value in primals]

    def any_batch(array: NDArray[Any]) -> Any:
        # One trace serves every batch size.
        return tf.TensorSpec((None, *array.shape[1:]), array.dtype)

    def jvp(tangents: Sequence[Any], x: Any) -> Any:
        with tf.autodiff.ForwardAccumulator(primals, tangents) as accumulator:
            outputs = function(primals, x)
        return accumulator.jvp(outputs, unconnected_gradients="zero")

    def vjp(cotangent: Any, x: Any) -> Any:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(primals)
            outputs = function(primals, x)
        return tape.gradient(outputs, primals, cotangent, unconnected_gradients="zero")

    @cache
    def compiled_jvp(x_spec: Any) -> Any:
        return tf.function(jvp, input_signature=[tangent_specs, x_spec])

    @cache
    def compiled_vjp(cotangent_spec: Any, x_spec: Any) -> Any:
        return tf.function(vjp, input_signature=[cotangent_spec, x_spec])

    return (
        lambda tangents, x: compiled_jvp(any_batch(x))(list(tangents), x),
        lambda cotangent, x: compiled_vjp(any_batch(cotangent), any_batch(x))(
            cotangent, x
        ),
    )


def _jax_products(
    function: Callable[[Sequence[Any], Any], Any], values: Sequence[NDArray[Any]]
) -> tuple[Jvp, Vjp]:
    import jax

    primals = list(values)

    @jax.jit
    def jvp(tangents: Sequence[Any], x: Any) -> Any:
        return jax.jvp(lambda v: function(v, x), (primals,), (list(tangents),))[1]

    @jax.jit
    def vjp(cotangent: Any, x: Any) -> Any:
        return jax.vjp(lambda v: function(v, x), primals)[1](cotangent)[0]

    return jvp, vjp


def _torch_products(
    function: Callable[[Sequence[Any], Any], Any], values: Sequence[NDArray[Any]]
) -> tuple[Jvp, Vjp]:
    import torch

    primals = tuple(keras.ops.convert_to_tensor(value) for value in values)

    def jvp(tangents: Sequence[Any], x: Any) -> Any:
        directions = tuple(keras.ops.convert_to_tensor(t) for t in tangents)
        inputs = keras.ops.convert_to_tensor(x)
        _, product = torch.func.jvp(lambda *v: function(v, inputs), primals, directions)
        return keras.ops.convert_to_numpy(product)

    def vjp(cotangent: Any, x: Any) -> Any:
        inputs = keras.ops.convert_to_tensor(x)
        _, pull_back = torch.func.vjp(lambda *v: function(v, inputs), *primals)
        gradients = pull_back(keras.ops.convert_to_tensor(cotangent))
        return [keras.ops.convert_to_numpy(gradient) for gradient in gradients]

    return jvp, vjp
