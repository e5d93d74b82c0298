"""Parts of layers to choose: kernels, biases, normalization, moving statistics."""

import abc
import dataclasses
from typing import Any

import keras


@dataclasses.dataclass(frozen=True)
class Part(abc.ABC):
    """Some weights of some layers.

    Attributes:
        layers: The layers, see `freezing.select_layers`; None means all.
    """

    layers: Any = None

    @abc.abstractmethod
    def accepts(self, layer: keras.Layer, weight: str) -> bool:
        """Whether the weight of this name, of this layer, belongs to the part."""

    def mend(self) -> str:
        """What to do where a model has no such part."""
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
        """Whether the name ends in "kernel" (also of one stage or gate)."""
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
        """Whether the name ends in "bias"."""
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
        """Whether it is a gamma or beta, or the scale of a normalization layer."""
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
        """Whether it is a moving average."""
        return weight.startswith("moving_")
