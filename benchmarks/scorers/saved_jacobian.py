"""The Jacobian of a network in one layer's weights, kept for fixed inputs."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
from numpy.typing import NDArray

from keras_spectral_tl.linearization import (
    LayerFunction,
    batches,
    check_adjoint,
    flatten,
)

Array = NDArray[np.float64]


class SavedProducts(NamedTuple):
    """The products of one batch, whose activations are kept.

    Attributes:
        outputs: the output of the model.
        push: change of the weights -> change of the output.
        pull: cotangent of the output -> gradients.
    """

    outputs: NDArray[Any]
    push: Callable[[Sequence[Any]], Any]
    pull: Callable[[NDArray[Any]], Sequence[Any]]


class SavedJacobian:
    """The Jacobian J of a model's output at `x` with respect to one layer's weights.

        f(x; theta + d) = f(x; theta) + J d + O(|d|^2)

    As `LayerLinearization`, for many products at the same inputs: the activations are
    computed once and kept, so `apply` costs one pass through the layers from the chosen
    one on, and `apply_transpose` one pass back. Memory grows with the samples.

    Args:
        function: the model as a function of the layer's weights. Jacobians at inputs of
            one shape share what the backend compiles of it.
        x: inputs, shape `(samples, ...)`, or a nest of such arrays.
        batch_size: samples computed at once.

    Attributes:
        outputs: `f(x; theta)`, float64.

    Raises:
        ValueError: if the backend cannot differentiate the model.

    Example:
        >>> dense = keras.layers.Dense(1, name="linear")
        >>> model = keras.Sequential([keras.Input((2,)), dense])
        >>> function = LayerFunction(model, "linear")
        >>> jacobian = SavedJacobian(function, np.array([[1.0, 1.0]]))
        >>> jacobian.apply(np.array([1.0, 2.0, 3.0]))
        array([[6.]])
    """

    def __init__(self, function: LayerFunction, x: Any, batch_size: int = 8) -> None:
        self._function = function
        layer = function.label
        makers = {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}
        maker = makers[keras.backend.backend()]
        self._parts: list[tuple[slice, SavedProducts]] = []
        for rows, batch in batches(x, batch_size):
            try:
                products = maker(self._function, self._function.values, batch)
            except Exception as error:
                raise ValueError(_failed(layer)) from error
            self._parts.append((rows, products))
        self.outputs = np.concatenate(
            [np.asarray(part.outputs, np.float64) for _, part in self._parts]
        )
        first = self._parts[0][1]
        check_adjoint(
            lambda d: first.push(self._function.split(d)),
            lambda c: flatten(first.pull(c)),
            first.outputs.shape,
            layer,
        )

    @property
    def num_parameters(self) -> int:
        """Number of weights, the length of a direction."""
        return self._function.num_parameters

    def apply(self, direction: Array) -> Array:
        """Returns `J direction`, of the shape of `outputs`."""
        tangents = self._function.split(direction)
        return np.concatenate(
            [np.asarray(part.push(tangents), np.float64) for _, part in self._parts]
        )

    def apply_transpose(self, cotangent: Array) -> Array:
        """Returns `J^T cotangent`, flat, for a cotangent of the shape of `outputs`."""
        total = np.zeros(self.num_parameters)
        for rows, part in self._parts:
            total += flatten(part.pull(cotangent[rows].astype("float32")))
        return total

    def outputs_after(self, direction: Array, x: Any, batch_size: int = 8) -> Array:
        """Returns `f(x; theta + direction)`, not linearised, at any inputs."""
        values = flatten(self._function.values)
        return self._function.outputs(values + direction, x, batch_size)


def _failed(layer: str) -> str:
    return (
        f"the {keras.backend.backend()} backend failed to differentiate the model in "
        f"the weights of layer {layer}. Use differentiable operations only behind it."
    )


def _tensors(gradients: Sequence[Any]) -> list[Any]:
    """Returns TensorFlow's gradients as tensors: that of an embedding is sparse."""
    import tensorflow as tf

    return [tf.convert_to_tensor(gradient) for gradient in gradients]


def _tensorflow(
    function: LayerFunction, values: Sequence[NDArray[Any]], x: Any
) -> SavedProducts:
    import tensorflow as tf

    primals = [tf.constant(value) for value in values]
    # J is the transpose of J^T, which is linear in what it is applied to: no operation
    # needs a forward rule, see `linearization`.
    outer, inner = (
        tf.GradientTape(persistent=True, watch_accessed_variables=False)
        for _ in range(2)
    )
    with outer:
        with inner:
            inner.watch(primals)
            outputs = function(primals, x)
        probe = tf.zeros_like(outputs)
        outer.watch(probe)
        pulled = _tensors(
            inner.gradient(outputs, primals, probe, unconnected_gradients="zero")
        )

    def push(tangents: Sequence[Any]) -> Any:
        return outer.gradient(pulled, probe, tangents, unconnected_gradients="zero")

    def pull(cotangent: Any) -> Any:
        return _tensors(
            inner.gradient(
                outputs, primals, tf.constant(cotangent), unconnected_gradients="zero"
            )
        )

    return SavedProducts(outputs.numpy(), push, pull)


def _jax(
    function: LayerFunction, values: Sequence[NDArray[Any]], x: Any
) -> SavedProducts:
    compiled = _jitted(function)
    outputs, pullback = compiled.forward(list(values), x)
    return SavedProducts(
        np.asarray(outputs),
        lambda tangents: compiled.push(pullback, outputs, list(tangents)),
        lambda cotangent: compiled.pull(pullback, cotangent),
    )


class _Jitted(NamedTuple):
    """The products compiled for batches of a shape; kept activations are arguments."""

    forward: Callable[..., Any]
    pull: Callable[..., Any]
    push: Callable[..., Any]


@functools.lru_cache(maxsize=8)
def _jitted(function: LayerFunction) -> _Jitted:
    import jax

    def pull(pullback: Any, cotangent: Any) -> Any:
        return pullback(cotangent)[0]

    def push(pullback: Any, like: Any, tangents: Any) -> Any:
        return jax.linear_transpose(lambda c: pullback(c)[0], like)(tangents)[0]

    def forward(values: Any, batch: Any) -> Any:
        return jax.vjp(lambda v: function(v, batch), values)

    return _Jitted(jax.jit(forward), jax.jit(pull), jax.jit(push))


def _torch_inputs(x: Any) -> Any:
    """Returns a batch as tensors, a single sample twice.

    PyTorch refuses ("grad_weight must be contiguous") the gradient of a convolution to
    one channel where the batch has one sample and the kernel three points a side.
    """

    def doubled(part: Any) -> Any:
        tensor = keras.ops.convert_to_tensor(part)
        return keras.ops.concatenate([tensor] * 2) if len(tensor) == 1 else tensor

    return keras.tree.map_structure(doubled, x)


def _torch(
    function: LayerFunction, values: Sequence[NDArray[Any]], x: Any
) -> SavedProducts:
    import torch

    to_tensor, to_numpy = keras.ops.convert_to_tensor, keras.ops.convert_to_numpy
    leaves = [to_tensor(value).detach().requires_grad_() for value in values]
    with torch.enable_grad():
        outputs = function(leaves, _torch_inputs(x))
        probe = torch.zeros_like(outputs, requires_grad=True)
        pulled = torch.autograd.grad(
            outputs, leaves, probe, create_graph=True, materialize_grads=True
        )
    count = len(keras.tree.flatten(x)[0])

    def push(tangents: Sequence[Any]) -> Any:
        (image,) = torch.autograd.grad(
            pulled,
            probe,
            [to_tensor(tangent) for tangent in tangents],
            retain_graph=True,
            materialize_grads=True,
        )
        return to_numpy(image)[:count]

    def pull(cotangent: Any) -> Any:
        # The second of a pair has no part in the sum: its cotangent is 0.
        pair = np.concatenate([cotangent, 0 * cotangent])[: len(outputs)]
        gradients = torch.autograd.grad(
            outputs, leaves, to_tensor(pair), retain_graph=True, materialize_grads=True
        )
        return [to_numpy(gradient) for gradient in gradients]

    return SavedProducts(to_numpy(outputs)[:count], push, pull)
