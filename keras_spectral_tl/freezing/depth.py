"""Layers chosen by their depth in the network."""

import dataclasses
import numbers
from collections.abc import Mapping
from typing import Any

import keras

from keras_spectral_tl import introspection
from keras_spectral_tl.freezing.call_trace import trace_calls

# Only the order of the calls matters here: any size that strides and pooling leave
# positive will do where a model leaves its own open.
_OPEN_SIZE = 64


@dataclasses.dataclass(frozen=True)
class Depth:
    """The layers from one depth to another, in the order in which they are called.

    Depth 1 is the first layer with trainable weights, -1 the last one; both ends are
    included. The order is that of the calls, also in nested and subclassed models,
    whose attributes may come in any order.

    Args:
        first: Depth of the first layer, not 0.
        last: Depth of the last layer; that of `first` if not given.

    Raises:
        TypeError: If a depth is not an int.
        ValueError: If a depth is 0; on use, if the model is not that deep.

    Example:
        >>> from keras_spectral_tl.freezing import select_layers
        >>> layers = [keras.layers.Dense(2, name=name) for name in "abcd"]
        >>> model = keras.Sequential([keras.Input((3,)), *layers])
        >>> select_layers(model, Depth(2, -2)).names
        ('b', 'c')
    """

    first: int
    last: int | None = None

    def __post_init__(self) -> None:
        if self.last is None:
            object.__setattr__(self, "last", self.first)
        given: Any
        for given in (self.first, self.last):
            if isinstance(given, bool) or not isinstance(given, numbers.Integral):
                raise TypeError(f"Expected a depth as an int. Received {given!r}.")
            if given == 0:
                raise ValueError(
                    "Depths count from 1, the first layer, or from -1, the last. "
                    f"Received {self}."
                )

    def names(
        self, model: keras.Model, layers: Mapping[str, keras.Layer]
    ) -> tuple[str, ...]:
        """Return the names of the chosen ones among the layers of `model`.

        Raises:
            ValueError: If the model is not that deep, or cannot be traced.
        """
        ordered = in_call_order(model, layers)
        deep = [n for n in ordered if introspection.own_trainable_variables(layers[n])]
        places = [
            depth - 1 if depth > 0 else len(deep) + depth
            for depth in (self.first, self.last or self.first)
        ]
        chosen = tuple(deep[max(places[0], 0) : places[1] + 1])
        if not chosen or not all(0 <= place < len(deep) for place in places):
            raise ValueError(
                f"{self} chose no range of layers: model {model.name!r} has depths "
                f"1 ... {len(deep)} or -{len(deep)} ... -1: {', '.join(deep)}."
            )
        return chosen


def in_call_order(
    model: keras.Model, layers: Mapping[str, keras.Layer]
) -> tuple[str, ...]:
    """Return the names of the layers by their first call; never called ones come last.

    Raises:
        ValueError: If the shape of a sample of `model` is not known.
    """
    calls = trace_calls(model, unknown=_OPEN_SIZE)
    order: dict[int, int] = {}
    for place, call in enumerate(calls):
        order.setdefault(id(call.layer), place)
    return tuple(
        sorted(layers, key=lambda name: order.get(id(layers[name]), len(calls)))
    )
