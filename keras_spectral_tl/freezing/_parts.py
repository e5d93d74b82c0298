"""Parts of layers to choose: kernels, biases, normalization, statistics."""

import abc
import dataclasses
from collections.abc import Mapping
from typing import Any

import keras

from keras_spectral_tl._checks import whole_number
from keras_spectral_tl._graph.calls import in_call_order
from keras_spectral_tl._keras_internals import own_trainable_variables


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
        for name in ("first", "last"):
            if not whole_number(name, getattr(self, name)):
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
        deep = [n for n in ordered if own_trainable_variables(layers[n])]
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


@dataclasses.dataclass(frozen=True)
class Part(abc.ABC):
    """Some weights of some layers.

    Attributes:
        layers: The layers, see `freezing.select_layers`; None means all.
    """

    layers: Any = None

    @abc.abstractmethod
    def accepts(self, layer: keras.Layer, weight: str) -> bool:
        """Return whether the weight of this name, of this layer, belongs to it."""

    def advice(self) -> str:
        """Return what to do where a model has no such part."""
        return "Choose other layers or another part."


class KernelsOf(Part):
    """The kernels and embeddings of layers, without biases.

    Args:
        layers: The layers, see `freezing.select_layers`; None means all.

    Example:
        >>> from keras_spectral_tl.freezing import select_layers
        >>> dense = keras.layers.Dense(2, name="hidden")
        >>> model = keras.Sequential([keras.Input((3,)), dense])
        >>> select_layers(model, KernelsOf("hidden")).variables
        ('hidden/kernel',)
    """

    def accepts(self, layer: keras.Layer, weight: str) -> bool:
        """Return whether the name ends in "kernel" (also of one stage or gate)."""
        return weight.endswith("kernel") or weight == "embeddings"


class BiasesOf(Part):
    """The biases of layers. The shifts of normalization layers are not among them.

    Args:
        layers: The layers, see `freezing.select_layers`; None means all.

    Example:
        >>> from keras_spectral_tl.freezing import select_layers
        >>> dense = keras.layers.Dense(2, name="hidden")
        >>> model = keras.Sequential([keras.Input((3,)), dense])
        >>> select_layers(model, BiasesOf()).variables
        ('hidden/bias',)
    """

    def accepts(self, layer: keras.Layer, weight: str) -> bool:
        """Return whether the name ends in "bias"."""
        return weight.endswith("bias")


class NormalizationOf(Part):
    """The scales and shifts (gamma, beta) of normalization layers.

    A BatchNormalization that trains runs in training mode, so its moving statistics
    are updated too: `LayerSelection.statistics` lists them.

    Args:
        layers: The layers, see `freezing.select_layers`; None means all.

    Example:
        >>> from keras_spectral_tl.freezing import select_layers
        >>> norm = keras.layers.LayerNormalization(name="norm")
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2), norm])
        >>> select_layers(model, NormalizationOf()).variables
        ('norm/gamma', 'norm/beta')
    """

    def accepts(self, layer: keras.Layer, weight: str) -> bool:
        """Return whether it is a gamma or beta, or a normalization layer's scale."""
        normalizes = type(layer).__name__.endswith("Normalization")
        return weight in ("gamma", "beta") or (normalizes and weight == "scale")


class StatisticsOf(Part):
    """The moving statistics of BatchNormalization, without its scale and shift.

    A frozen BatchNormalization runs in inference mode, with the statistics it has. A
    layer chosen by this part keeps gamma and beta frozen but normalizes each batch by
    itself and goes on updating its moving mean and variance.

    Args:
        layers: The layers, see `freezing.select_layers`; None means all.

    Example:
        >>> from keras_spectral_tl.freezing import select_layers
        >>> norm = keras.layers.BatchNormalization(name="norm")
        >>> model = keras.Sequential([keras.Input((3,)), norm])
        >>> selection = select_layers(model, StatisticsOf("norm"))
        >>> selection.variables, selection.statistics
        ((), ('norm/moving_mean', 'norm/moving_variance'))
    """

    def accepts(self, layer: keras.Layer, weight: str) -> bool:
        """Return whether it is a moving average."""
        return weight.startswith("moving_")
