"""A network linearised in the weights of one layer, on any Keras backend."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_spectral_tl.layer_function import (
    LayerFunction,
    batches,
    densified,
    flatten,
    for_backend,
    torch_inputs,
    traced_by_tensorflow,
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
            `layers_with_weights`.
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
        self.batch_size = batch_size
        self._function = LayerFunction(model, layer)
        self._jvp, self._vjp = _products(self._function, self._function.values)
        self._layer, self._checked = layer, False

    @property
    def num_parameters(self) -> int:
        """Number of weights, the length of a direction."""
        return self._function.num_parameters

    def apply(self, direction: Array, x: Any) -> Array:
        """Returns `J direction`, of the shape of the model's output on `x`.

        Args:
            direction: flat change of the weights, shape `(num_parameters,)`.
            x: inputs, shape `(samples, ...)`, or a nest of such arrays.
        """
        if not self._checked:
            self._check_products(next(batches(x, self.batch_size))[1])
        tangents = self._function.split(direction)
        parts = [self._jvp(tangents, batch) for _, batch in batches(x, self.batch_size)]
        return np.concatenate([np.asarray(part, np.float64) for part in parts])

    def apply_transpose(self, cotangent: Array, x: Any) -> Array:
        """Returns `J^T cotangent`, flat, summed over the samples.

        Args:
            cotangent: array of the shape of the model's output on `x`.
            x: inputs, shape `(samples, ...)`.
        """
        total = np.zeros(self.num_parameters)
        for rows, batch in batches(x, self.batch_size):
            gradients = self._vjp(cotangent[rows].astype("float32"), batch)
            total += flatten(gradients)
        return total

    def _check_products(self, batch: Any) -> None:
        def push(direction: Array) -> Any:
            return self._jvp(self._function.split(direction), batch)

        try:
            shape = np.shape(push(np.zeros(self.num_parameters)))
        except Exception as error:
            raise ValueError(_refusal("failed to compute", self._layer)) from error
        check_adjoint(
            push, lambda c: self.apply_transpose(c, batch), shape, self._layer
        )
        self._checked = True


def check_adjoint(
    push: Callable[[Array], Any],
    pull: Callable[[NDArray[Any]], Array],
    shape: tuple[int, ...],
    layer: str,
) -> None:
    """Refuses a backend that drops an operation from the forward product.

    With g = J^T r for a random r, `<r, J g> = |g|^2` holds whatever J is.

    Args:
        push: `d -> J d`.
        pull: `r -> J^T r`.
        shape: of the output.
        layer: name for the message.

    Raises:
        ValueError: if the identity does not hold or a product fails.
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


Jvp = Callable[[Sequence[NDArray[Any]], Any], Any]
Vjp = Callable[[NDArray[Any], Any], Sequence[Any]]


def _products(
    function: Callable[[Sequence[Any], Any], Any], values: Sequence[NDArray[Any]]
) -> tuple[Jvp, Vjp]:
    """Returns Jacobian products at `values`, compiled by the backend in use."""
    makers = {
        "tensorflow": _tensorflow_products,
        "jax": _jax_products,
        "torch": _torch_products,
    }
    products: tuple[Jvp, Vjp] = for_backend(makers)(function, values)
    return products


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
            pulled = densified(
                inner.gradient(outputs, primals, probe, unconnected_gradients="zero")
            )
        return outer.gradient(pulled, probe, tangents, unconnected_gradients="zero")

    def vjp(cotangent: Any, x: Any) -> Any:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(primals)
            outputs = function(primals, x)
        return densified(
            tape.gradient(outputs, primals, cotangent, unconnected_gradients="zero")
        )

    return (
        traced_by_tensorflow(jvp, False, True),
        traced_by_tensorflow(vjp, True, True),
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

    to_tensor = keras.ops.convert_to_tensor
    primals = tuple(to_tensor(value) for value in values)

    def jvp(tangents: Sequence[Any], x: Any) -> Any:
        directions = tuple(to_tensor(tangent) for tangent in tangents)
        inputs = keras.tree.map_structure(to_tensor, x)
        _, product = torch.func.jvp(lambda *v: function(v, inputs), primals, directions)
        return keras.ops.convert_to_numpy(product)

    def vjp(cotangent: Any, x: Any) -> Any:
        leaves = [primal.detach().requires_grad_() for primal in primals]
        # The second of a pair has no part in the sum: its cotangent is 0.
        pair = np.concatenate([cotangent, 0 * cotangent])[: max(len(cotangent), 2)]
        gradients = torch.autograd.grad(
            function(leaves, torch_inputs(x)),
            leaves,
            to_tensor(pair),
            materialize_grads=True,
        )
        return [keras.ops.convert_to_numpy(gradient) for gradient in gradients]

    return jvp, vjp
