"""Parts of layers to train: some of their weights, or weights added for retraining."""

import abc
import dataclasses
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from keras_spectral_tl._checks import real_number, whole_number
from keras_spectral_tl._graph.calls import in_call_order
from keras_spectral_tl._graph.layers import new_inputs
from keras_spectral_tl._keras_internals import is_low_rank, own_trainable_variables


@dataclasses.dataclass(frozen=True)
class Depth:
    """The layers from one depth to another, in the order in which they are called.

    Depth 1 is the first layer with trainable weights, -1 the last one; both ends are
    included. The order is that of the calls, also in nested and subclassed models.

    Args:
        first: Depth of the first layer, not 0.
        last: Depth of the last layer; by default `first`.

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
        """Return the names of the layers of `model` in this range of depths.

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
        """Return whether a layer's weight of this name belongs to the part."""

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
        return weight.endswith("kernel") or weight == "embeddings"


class BiasesOf(Part):
    """The biases of layers, without the shifts of normalization layers.

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
        normalizes = type(layer).__name__.endswith("Normalization")
        return weight in ("gamma", "beta") or (normalizes and weight == "scale")


class StatisticsOf(Part):
    """The moving statistics of BatchNormalization, without its scale and shift.

    A frozen BatchNormalization runs in inference mode with its stored statistics. A
    layer chosen by this part keeps gamma and beta frozen, but normalizes by the
    statistics of each batch and updates its moving mean and variance.

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
        return weight.startswith("moving_")


_GAIN = "output_gain"
_SMALL_GAIN = 0.1  # smaller ones are trained in units of their initial value


@dataclasses.dataclass(frozen=True)
class AddedPart(Part):
    """Weights that are added to layers in order to be trained."""

    @abc.abstractmethod
    def prepare(self, layers: Mapping[str, keras.Layer]) -> None:
        """Add the weights to these layers (by name) in place.

        The outputs of the layers do not change.
        """

    def advice(self) -> str:
        return (
            f"No layer there has the weights that {type(self).__name__} trains. "
            "transfer.retrain adds them to its copy of the model; elsewhere use "
            f"{self!r}.prepare({{name: layer}})."
        )

    def everywhere(self) -> Any:
        """Return the selector of all layers that the part is meant for."""
        return KernelsOf()


@dataclasses.dataclass(frozen=True)
class LowRankOf(AddedPart):
    """A trainable low-rank update (LoRA) of frozen kernels.

    kernel + (alpha / rank) a b, with a of shape (..., rank), b of shape (rank, outputs)
    and initially b = 0. Keras offers it for Dense, EinsumDense, Embedding, and in newer
    versions for convolutions (`enable_lora`). `transfer.retrain` adds the update to its
    copy of the model; elsewhere call `prepare` first.

    Args:
        layers: The layers, see `freezing.select_layers`; None means all.
        rank: Rank of the update, at least 1.

    Raises:
        TypeError, ValueError: If the rank is not a positive int; on use, if a layer
            cannot have such an update.

    References:
        Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models",
        https://doi.org/10.48550/arXiv.2106.09685

    Example:
        >>> from keras_spectral_tl.freezing import select_layers
        >>> dense = keras.layers.Dense(4, name="hidden")
        >>> model = keras.Sequential([keras.Input((3,)), dense])
        >>> update = LowRankOf("hidden", rank=2)
        >>> update.prepare({"hidden": dense})
        >>> select_layers(model, update).num_trainable == 3 * 2 + 2 * 4
        True
    """

    rank: int = 4

    def __post_init__(self) -> None:
        whole_number("rank", self.rank, at_least=1)

    def accepts(self, layer: keras.Layer, weight: str) -> bool:
        return is_low_rank(weight)

    def prepare(self, layers: Mapping[str, keras.Layer]) -> None:
        """Enable the update in the given layers, which are changed in place.

        Raises:
            ValueError: If Keras offers no low-rank update for a layer, or it has one of
                another rank.
        """
        for name, layer in layers.items():
            if not hasattr(layer, "enable_lora"):
                raise ValueError(
                    f"Keras {keras.__version__} offers no low-rank update for layer "
                    f"{name!r} ({type(layer).__name__}). Choose layers that have an "
                    "enable_lora method, such as Dense and EinsumDense."
                )
            if layer.lora_enabled and layer.lora_rank != self.rank:
                raise ValueError(
                    f"Layer {name!r} has a low-rank update of rank {layer.lora_rank} "
                    f"already. Received rank={self.rank}: train that one, rank="
                    f"{layer.lora_rank}. Or save the model, which merges the update "
                    "into the kernel, build the model anew and load the weights."
                )
        for name, layer in layers.items():
            if not layer.lora_enabled:  # seed by the name, for reproducible results
                seed = zlib.crc32(name.encode())
                first = keras.initializers.HeUniform(seed)
                layer.enable_lora(self.rank, a_initializer=first)


@dataclasses.dataclass(frozen=True)
class OutputGain(Part):
    """A gain of the model's output: outputs = gain * model(inputs).

    `transfer.retrain` appends the gain to its copy of the model; elsewhere call
    `prepare` first. Combined with layers, their training starts at the right amplitude:
    `["conv_2", OutputGain(initial=None)]`. To fit only the gain, in closed form for the
    mean squared error, use `transfer.fit_output_gain`.

    Steps of Adam are as large as its learning rate, whatever the units of y. A gain
    below 0.1, such as 3e-5 for y in kg m-2 s-1, is therefore trained as a factor of its
    initial value: no step exceeds it.

    Args:
        layers: Not used: there is one output.
        initial: Initial value of the gain, not 0; None for the best fit to the samples
            of `transfer.retrain` (1 without samples).

    Raises:
        TypeError: If the initial value is neither a number nor None.
        ValueError: If it is 0, so that no layer before it could learn, or not finite.

    Example:
        >>> from keras_spectral_tl.freezing import select_layers
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
        >>> scaled = OutputGain(initial=0.5).prepare(model)
        >>> select_layers(scaled, OutputGain()).num_trainable
        1
    """

    initial: float | None = 1.0

    def __post_init__(self) -> None:
        if self.initial is not None and not real_number("initial", self.initial):
            raise ValueError(
                "Expected initial, the first value of the gain, as a number other than "
                "0: before a gain of 0 no layer can learn. Received 0."
            )

    def accepts(self, layer: keras.Layer, weight: str) -> bool:
        return weight == _GAIN

    def advice(self) -> str:
        return (
            "The model has no output gain. transfer.retrain puts one behind its copy; "
            "elsewhere use OutputGain().prepare(model)."
        )

    @property
    def unit(self) -> float:
        """Ratio of the gain to the weight that trains: |initial| below 0.1, else 1."""
        initial = abs(self.initial or 1.0)
        return initial if initial < _SMALL_GAIN else 1.0

    def prepare(self, model: keras.Model) -> keras.Model:
        """Return a model that shares the layers of `model` and multiplies its output.

        Its inputs have the structure and names of those of `model`.

        Raises:
            ValueError: If the input shape of `model` is not known.
        """
        inputs = new_inputs(model)
        gain = ScalarGain(self.initial or 1.0, self.unit, name=_GAIN)
        outputs = gain(model(inputs))
        return keras.Model(inputs, outputs, name=f"{model.name}_with_gain")


@dataclasses.dataclass(frozen=True)
class NewWeights(Part):
    """All weights of layers, trained from new random values.

    `transfer.retrain` reinitializes them in its copy of the model with the initializers
    of the layers. For all layers, this is training from scratch.

    Args:
        layers: The layers, see `freezing.select_layers`; None means all.
        seed: Seed of the new values, a non-negative int.

    Raises:
        TypeError, ValueError: If the seed is not a non-negative int.

    Example:
        >>> from keras_spectral_tl.transfer import retrain
        >>> dense = keras.layers.Dense(1, name="hidden")
        >>> model = keras.Sequential([keras.Input((3,)), dense])
        >>> x = keras.ops.ones((4, 3))
        >>> retrain(model, (x, x[:, :1]), NewWeights(), epochs=1).trained
        ('hidden',)
    """

    seed: int = 0

    def __post_init__(self) -> None:
        whole_number("seed", self.seed, at_least=0)

    def accepts(self, layer: keras.Layer, weight: str) -> bool:
        return not weight.startswith("moving_")


@keras.saving.register_keras_serializable(package="keras_spectral_tl")
class ScalarGain(keras.layers.Layer):
    """Multiplies its input by one trainable number, times a fixed unit."""

    def __init__(self, initial: float = 1.0, unit: float = 1.0, **options: Any) -> None:
        super().__init__(**options)
        self.initial, self.unit = float(initial), float(unit)
        self.supports_masking = True

    def get_config(self) -> dict[str, Any]:
        own = {"initial": self.initial, "unit": self.unit}
        return {**super().get_config(), **own}

    def build(self, input_shape: Any) -> None:
        start = keras.initializers.Constant(self.initial / self.unit)
        self.gain = self.add_weight(shape=(), name=_GAIN, initializer=start)

    def call(self, inputs: Any) -> Any:
        return inputs * keras.ops.cast(self.gain * self.unit, inputs.dtype)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape


ADDED = (AddedPart, OutputGain, NewWeights)
"""Selectors of weights that a model does not have, or not yet."""


def items_of(layers: Any) -> list[Any]:
    """Return the items of a sequence of selectors, also of sequences inside it.

    A single selector is returned as a list.
    """
    if isinstance(layers, str) or not isinstance(layers, Sequence):
        return [layers]
    return [item for inner in layers for item in items_of(inner)]


def adds_parts(layers: Any) -> bool:
    """Return whether a selector adds weights that the model does not have."""
    return any(isinstance(item, ADDED) for item in items_of(layers))
