"""Derivatives on torch, in eager mode."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import torch
from numpy.typing import NDArray

Compute = Callable[..., Any]


def inference(forward: Compute, variables: Callable[[], Sequence[Any]]) -> Compute:
    """Return `forward(x)` without gradients; it reads the variables itself."""

    def call(x: Any) -> NDArray[np.float32]:
        with torch.no_grad():
            outputs = forward(keras.ops.convert_to_tensor(x))
            return np.asarray(outputs.cpu().numpy())

    return call


def pushforward(function: Compute, values: Sequence[NDArray[Any]]) -> Compute:
    primals = tuple(tensors(list(values)))

    def jvp(tangents: Sequence[Any], x: Any) -> Any:
        inputs, directions = tensors(x), tuple(tensors(list(tangents)))
        _, product = torch.func.jvp(lambda *v: function(v, inputs), primals, directions)
        return keras.ops.convert_to_numpy(product)

    return jvp


def derivatives(function: Compute, loss: Compute) -> tuple[Any, Any, Any]:
    def value(values: Any, x: Any, *rest: Any) -> Any:
        with torch.no_grad():
            outputs = function(tensors(values), tensors(x))
            return _arrays([loss(outputs, *tensors(list(rest)))])

    def slopes(outputs: Any, leaves: Any, rest: Any, create_graph: bool = False) -> Any:
        return torch.autograd.grad(
            loss(outputs, *tensors(list(rest))),
            leaves,
            create_graph=create_graph,
            materialize_grads=True,
        )

    def gradient(values: Any, x: Any, *rest: Any) -> Any:
        return _differentiated(
            function, values, x, lambda outputs, leaves: slopes(outputs, leaves, rest)
        )

    def product(values: Any, tangents: Any, x: Any, *rest: Any) -> Any:
        def curved(outputs: Any, leaves: Any) -> Any:
            first = slopes(outputs, leaves, rest, create_graph=True)
            pairs = zip(first, tensors(tangents), strict=True)
            along = sum(torch.sum(slope * part) for slope, part in pairs)
            return torch.autograd.grad(along, leaves, materialize_grads=True)

        return _differentiated(function, values, x, curved)

    return value, gradient, product


def tensors(parts: Any) -> Any:
    return keras.tree.map_structure(keras.ops.convert_to_tensor, parts)


def _arrays(parts: Sequence[Any]) -> list[NDArray[Any]]:
    return [keras.ops.convert_to_numpy(part) for part in parts]


def _differentiated(
    function: Compute, values: Sequence[Any], x: Any, compute: Compute
) -> list[NDArray[Any]]:
    """Return `compute(outputs, weights)`, duplicating a single sample if necessary.

    For a batch of one sample, PyTorch fails ("grad_weight must be contiguous") on the
    gradient of a convolution with 3 x 3 points and one output channel. The duplicate is
    removed from the outputs, so it does not contribute to the gradient.
    """
    count = len(keras.tree.flatten(x)[0])

    def of_inputs(inputs: Any) -> list[NDArray[Any]]:
        leaves = [part.detach().requires_grad_() for part in tensors(list(values))]
        with torch.enable_grad():
            return _arrays(compute(function(leaves, inputs)[:count], leaves))

    inputs = tensors(x)
    try:
        return of_inputs(inputs)
    except RuntimeError:
        if count > 1:
            raise
        pair = keras.tree.map_structure(
            lambda part: keras.ops.concatenate([part, part]), inputs
        )
        return of_inputs(pair)
