"""The order in which a model calls its layers, and the shapes that pass through."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import keras

from keras_spectral_tl import introspection
from keras_spectral_tl.introspection import SampleShape

Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class LayerCall:
    """One call of one layer.

    Attributes:
        layer: The layer.
        inputs: Shapes of the tensors that went in, batch axis included.
        outputs: Shapes of the tensors that came out.
    """

    layer: keras.Layer
    inputs: tuple[Shape, ...]
    outputs: tuple[Shape, ...]


def trace_calls(
    model: keras.Model,
    input_shape: SampleShape | None = None,
    unknown: int = 0,
) -> tuple[LayerCall, ...]:
    """Trace one sample through `model`, in inference mode, without computing anything.

    Works for functional, sequential, nested and subclassed models alike, since the
    calls themselves are recorded. A layer that is used twice is recorded twice, a
    container after what is in it.

    Args:
        model: A built Keras model; not changed.
        input_shape: Shape of one sample; that of the model if not given.
        unknown: Size assumed where the model leaves one open; 0 refuses.

    Returns:
        The calls in order.

    Raises:
        ValueError: If the shape of a sample is not known.

    Example:
        >>> layers = [keras.layers.Dense(n, name=f"dense_{n}") for n in (4, 2)]
        >>> model = keras.Sequential([keras.Input((3,)), *layers])
        >>> [(call.layer.name, call.outputs) for call in trace_calls(model)][:2]
        [('dense_4', ((1, 4),)), ('dense_2', ((1, 2),))]
    """
    inputs = introspection.symbolic_inputs(model, input_shape, unknown)
    calls: list[LayerCall] = []
    with _recorded(introspection.parents_first(model), calls):
        _Whole(model).compute_output_spec(inputs)
    return tuple(calls)


class _Whole(keras.layers.Layer):
    """A model as one opaque layer: its shapes are found by really calling it."""

    def __init__(self, model: keras.Model) -> None:
        super().__init__()
        self.function: Callable[..., Any] = lambda x: model(x, training=False)

    def call(self, inputs: Any) -> Any:
        return self.function(inputs)


@contextlib.contextmanager
def _recorded(layers: list[keras.Layer], calls: list[LayerCall]) -> Iterator[None]:
    # Keras calls `layer.call`, of quantized layers `layer.quantized_call`; an attribute
    # of the instance hides that of the class. Set past Keras's own __setattr__, which
    # would track it as state of the layer.
    places = [(layer, introspection.call_name(layer)) for layer in layers]
    kept = [layer.__dict__.get(name) for layer, name in places]
    try:
        for layer, name in places:
            object.__setattr__(layer, name, _recording(layer, name, calls))
        yield
    finally:
        for (layer, name), own in zip(places, kept, strict=True):
            layer.__dict__.pop(name, None)
            if own is not None:
                object.__setattr__(layer, name, own)


def _recording(
    layer: keras.Layer, name: str, calls: list[LayerCall]
) -> Callable[..., Any]:
    call = getattr(layer, name)

    def record(*args: Any, **kwargs: Any) -> Any:
        outputs = call(*args, **kwargs)
        calls.append(LayerCall(layer, _shapes(args), _shapes(outputs)))
        return outputs

    return record


def _shapes(nest: Any) -> tuple[Shape, ...]:
    return tuple(
        tuple(int(size) for size in part.shape)
        for part in keras.tree.flatten(nest)
        if hasattr(part, "shape")
    )
