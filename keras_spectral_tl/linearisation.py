"""A network linearised in the weights of one layer, on any Keras backend."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
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

# Half precision keeps two to three digits; a missing branch of a network is more.
_ADJOINT = 0.05


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
        ValueError: if the layer has no weights that training changes; on the first
            product, if the backend cannot differentiate the model.

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
        self._layer, self._checked = layer, False

    @property
    def num_parameters(self) -> int:
        """Number of weights, the length of a direction."""
        return sum(self._sizes)

    def apply(self, direction: Array, x: Any) -> Array:
        """Returns `J direction`, of the shape of the model's output on `x`.

        Args:
            direction: flat change of the weights, shape `(num_parameters,)`.
            x: inputs, shape `(samples, ...)`, or a nest of such arrays.
        """
        if not self._checked:
            self._check_products(next(self._batches(x))[1])
        tangents = self._split(direction)
        parts = [self._jvp(tangents, batch) for _, batch in self._batches(x)]
        return np.concatenate([np.asarray(part, np.float64) for part in parts])

    def apply_transpose(self, cotangent: Array, x: Any) -> Array:
        """Returns `J^T cotangent`, flat, summed over the samples.

        Args:
            cotangent: array of the shape of the model's output on `x`.
            x: inputs, shape `(samples, ...)`.
        """
        total = np.zeros(self.num_parameters)
        for rows, batch in self._batches(x):
            gradients = self._vjp(cotangent[rows].astype("float32"), batch)
            total += np.concatenate(
                [np.asarray(g, np.float64).ravel() for g in gradients]
            )
        return total

    def _check_products(self, batch: Any) -> None:
        """Refuses a backend that drops an operation from the forward product.

        With g = J^T r for a random r, `<r, J g> = |g|^2` holds whatever J is.
        """
        try:
            output = np.asarray(
                self._jvp(self._split(np.zeros(self.num_parameters)), batch)
            )
            cotangent = np.random.default_rng(0).standard_normal(output.shape)
            gradient = self.apply_transpose(cotangent, batch)
            image = np.asarray(self._jvp(self._split(gradient), batch), np.float64)
        except Exception as error:
            raise ValueError(self._refusal("failed to compute")) from error
        square = float(gradient @ gradient)
        if abs(float(np.sum(cotangent * image)) - square) > _ADJOINT * square:
            raise ValueError(self._refusal("wrongly computes"))
        self._checked = True

    def _refusal(self, what: str) -> str:
        return (
            f"the {keras.backend.backend()} backend {what} the derivative of the "
            f"output in the direction of layer {self._layer!r}: it has no second "
            "derivative of some operation behind it, on TensorFlow bilinear resizing "
            "for example. Use another operation (nearest-neighbour resizing, a "
            "transposed convolution) or set KERAS_BACKEND=jax."
        )

    def _split(self, direction: Array) -> list[NDArray[Any]]:
        pieces = np.split(direction.astype(self._dtype), np.cumsum(self._sizes)[:-1])
        return [
            piece.reshape(shape)
            for piece, shape in zip(pieces, self._shapes, strict=True)
        ]

    def _batches(self, x: Any) -> Iterator[tuple[slice, Any]]:
        """Rows and inputs of each batch; `x` is an array or a nest of arrays."""
        num_samples = len(keras.tree.flatten(x)[0])
        for start in range(0, num_samples, self.batch_size):
            rows = slice(start, start + self.batch_size)
            yield rows, keras.tree.map_structure(operator.itemgetter(rows), x)


def _stateless_function(
    model: keras.Model, variables: Sequence[keras.Variable]
) -> Callable[[Sequence[Any], Any], Any]:
    """Returns `(values of the variables, x) -> output`, free of side effects."""

    def function(values: Sequence[Any], x: Any) -> Any:
        # Not stateless_call: it hands `training` to models that do not take it.
        mapping = list(zip(variables, values, strict=True))
        with keras.StatelessScope(state_mapping=mapping):
            outputs = model(x, training=False)
        # Mixed precision models answer in half precision; sums of products need more.
        return keras.ops.cast(outputs, "float32")

    return function


Jvp = Callable[[Sequence[NDArray[Any]], Any], Any]
Vjp = Callable[[NDArray[Any], Any], Sequence[Any]]


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

    def jvp(tangents: Sequence[Any], x: Any) -> Any:
        # The transpose of the transpose: TensorFlow's forward mode takes operations
        # that lack it for constants, without a word, and more lack that than this.
        with tf.GradientTape(watch_accessed_variables=False) as outer:
            with tf.GradientTape(watch_accessed_variables=False) as inner:
                inner.watch(primals)
                outputs = function(primals, x)
            probe = tf.zeros_like(outputs)
            outer.watch(probe)
            pulled = inner.gradient(outputs, primals, probe)
        return outer.gradient(pulled, probe, tangents, unconnected_gradients="zero")

    def vjp(cotangent: Any, x: Any) -> Any:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(primals)
            outputs = function(primals, x)
        return tape.gradient(outputs, primals, cotangent, unconnected_gradients="zero")

    return _traced(jvp, False, True), _traced(vjp, True, True)


def _traced(product: Callable[..., Any], *batched: bool) -> Callable[..., Any]:
    """Compiles a function on its first call, for any number of samples.

    Args:
        product: the function.
        *batched: for each argument, whether its arrays have samples on axis 0.
    """
    import tensorflow as tf

    compiled: list[Any] = []

    def specification(argument: Any, free: bool) -> Any:
        def of_array(part: NDArray[Any]) -> Any:
            shape = (None, *part.shape[1:]) if free else part.shape
            return tf.TensorSpec(shape, part.dtype)

        return keras.tree.map_structure(of_array, argument)

    def call(*arguments: Any) -> Any:
        if not compiled:
            signature = list(map(specification, arguments, batched))
            compiled.append(tf.function(product, input_signature=signature))
        return compiled[0](*arguments)

    return call


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
