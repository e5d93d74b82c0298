"""Multiply-adds of a model per sample: forward, and in a training step."""

import dataclasses
import math
from collections.abc import Iterable, Mapping

import keras

from keras_spectral_tl._graph.calls import LayerCall, trace_calls
from keras_spectral_tl._graph.layers import (
    DEPTHWISE,
    PLAIN,
    SEPARABLE,
    TRANSPOSED,
    ModelLayers,
    SampleShape,
    own_weights,
)
from keras_spectral_tl._keras_internals import sublayers

_CONVOLUTIONS = (*PLAIN, *DEPTHWISE, *SEPARABLE)


@dataclasses.dataclass(frozen=True)
class TrainingCost:
    """Multiply-adds of one sample; a multiply-add is two floating-point operations.

    With F_k the multiply-adds of the k-th call of a layer, l the first call of a layer
    that trains, and T the layers that train,

        step = sum F_k  +  sum over k in T of F_k  +  sum over k > l of F_k:

    the forward pass, the gradients of the trained weights, and the gradients that pass
    through the layers after the first trained one. Below it nothing goes backward. In a
    branched network some of the layers after l are not fed by it, so there the step is
    an upper bound.

    Dense and EinsumDense layers and convolutions (also depthwise, separable, grouped,
    transposed) are counted by their kernels. Every other layer, such as activations,
    normalizations, pooling, attention products and recurrent cells, counts one
    operation for each value it returns.

    Attributes:
        layers: Forward multiply-adds of each weight-bearing layer, all its calls.
        forward: Forward multiply-adds of the model.
        step: Those of one training step.
        cached_step: Those of a step that starts from stored activations below l.
    """

    layers: Mapping[str, int]
    forward: int
    step: int
    cached_step: int


def training_cost(
    named: ModelLayers,
    trained: Iterable[keras.Variable],
    input_shape: SampleShape | None = None,
) -> TrainingCost:
    """Count the multiply-adds of a training step that changes the given weights."""
    calls = trace_calls(named.model, input_shape)
    costs = [_multiply_adds(call) for call in calls]
    training_ids = {id(variable) for variable in trained}
    whole: dict[int, bool] = {}
    for layer in named.layers.values():
        active = [v for v in own_weights(layer) if id(v) in training_ids]
        if active:
            whole[id(layer)] = any(len(v.shape) > 1 for v in active)
    training = [
        place for place, call in enumerate(calls) if id(call.operation) in whole
    ]
    first = min(training, default=len(calls))
    through = sum(costs[first + 1 :])
    # A bias or a gain is a sum over the outputs; a kernel costs what it costs forward.
    weights = sum(
        costs[k] if whole[id(calls[k].operation)] else _values(calls[k])
        for k in training
    )
    forward = sum(costs)
    names = {id(layer): name for name, layer in named.layers.items()}
    by_layer = dict.fromkeys(named.names, 0)
    for call, cost in zip(calls, costs, strict=True):
        if id(call.operation) in names:
            by_layer[names[id(call.operation)]] += cost
    return TrainingCost(
        layers=by_layer,
        forward=forward,
        step=forward + weights + through,
        cached_step=sum(costs[first:]) + weights + through,
    )


def _multiply_adds(call: LayerCall) -> int:
    layer = call.operation
    kernels: int = sum(
        math.prod(weight.shape)
        for weight in own_weights(layer)
        if weight.name.endswith("kernel")
    )
    if isinstance(layer, keras.layers.Dense):  # quantized kernels may be packed
        return math.prod(call.output_shapes[0][1:]) * call.input_shapes[0][-1]
    if isinstance(layer, TRANSPOSED):  # each input point meets the whole kernel
        return math.prod(_spatial(layer, call.input_shapes[0])) * kernels
    if isinstance(layer, _CONVOLUTIONS):
        return math.prod(_spatial(layer, call.output_shapes[0])) * kernels
    if isinstance(layer, keras.layers.EinsumDense):
        return _values(call) * _contracted(layer)
    # What a container does beside its layers is left out, or all would count twice.
    return 0 if sublayers(layer) else _values(call)


def _values(call: LayerCall) -> int:
    return sum(math.prod(shape[1:]) for shape in call.output_shapes)


def _spatial(layer: keras.Layer, shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape[1:-1] if layer.data_format == "channels_last" else shape[2:]


def _contracted(layer: keras.layers.EinsumDense) -> int:
    """Number of products summed for each output value."""
    terms, output = layer.equation.replace(" ", "").split("->")
    letters = terms.split(",")[1]
    sizes = zip(letters, layer.kernel.shape, strict=True)
    return math.prod(size for letter, size in sizes if letter not in output)
