"""The `trainable` flags of layers and weights: read, written and put back exactly."""

import dataclasses
from collections.abc import Sequence

import keras

from keras_spectral_tl import introspection
from keras_spectral_tl.freezing import held
from keras_spectral_tl.freezing.selection import Choice, LayerSelection, choose
from keras_spectral_tl.introspection import ModelLayers


@dataclasses.dataclass(frozen=True)
class TrainableFlags:
    """Every `trainable` flag of a model at one moment, to be put back exactly."""

    layers: tuple[tuple[keras.Layer, bool], ...]
    variables: tuple[tuple[keras.Variable, bool], ...]

    @classmethod
    def of(cls, model: keras.Model) -> "TrainableFlags":
        """Read the flags of all layers and weights of `model`."""
        layers = introspection.parents_first(model)
        weights = [v for layer in layers for v in introspection.own_weights(layer)]
        return cls(
            layers=tuple((layer, layer.trainable) for layer in layers),
            variables=tuple((weight, weight.trainable) for weight in weights),
        )

    def restore(self) -> None:
        """Write the flags back: containers, then what is in them, then weights."""
        for layer, flag in self.layers:
            layer.trainable = flag
        for variable, flag in self.variables:
            variable.trainable = flag


def trainable_choice(named: ModelLayers) -> Choice:
    """Return what training would change now: paths of weights by layer.

    A layer without trainable weights (statistics only), and one whose scale and shift
    are frozen one by one, counts by its flag: its statistics move.
    """
    active = {id(variable) for variable in named.model.trainable_weights}
    choice: Choice = {}
    for name, layer in named.layers.items():
        own = introspection.own_trainable_variables(layer)
        inside = named.weights_of(name)
        moving = tuple(path for path, v in inside.items() if id(v) in active)
        leaf = not introspection.sublayers(layer)
        by_flag = not own or (leaf and bool(introspection.own_statistics(layer)))
        if moving or (by_flag and layer.trainable):
            choice[name] = moving
    return choice


def trainable_names(model: keras.Model) -> tuple[str, ...]:
    """Return the weight-bearing layers that training would change now.

    A layer without trainable weights (statistics only) counts by its flag.
    """
    return tuple(trainable_choice(ModelLayers.of(model)))


def set_trainable(model: keras.Model, names: Sequence[str] | LayerSelection) -> None:
    """Make exactly the given layers, or parts, trainable; compile is up to you.

    Args:
        model: A built Keras model; changed in place.
        names: Names as in `layers_with_weights`, for whole layers (a weight frozen by
            itself stays so), or a selection, of which exactly the chosen weights train.
    """
    named = ModelLayers.of(model)
    selector = names if isinstance(names, LayerSelection) else list(names)
    switch(named, choose(named, selector) if selector else {})


def switch(named: ModelLayers, choice: Choice) -> None:
    """Make exactly the chosen weights trainable.

    A container that holds weights beside sublayers is switched weight by weight, since
    its flag would switch the sublayers too. A layer with any chosen weight runs in
    training mode, every other one in inference mode. A weight that several layers share
    trains if it is chosen in one of them.
    """
    running = {id(named.layers[name]) for name in choice}
    training = {id(named.weights[path]) for paths in choice.values() for path in paths}
    layers = introspection.parents_first(named.model)
    for layer in layers:
        if introspection.sublayers(layer):
            inside = {id(inner) for inner in introspection.parents_first(layer)}
            if inside & running and not layer.trainable:
                layer.trainable = True
        elif introspection.own_weights(layer) and (
            layer.trainable != (id(layer) in running)
        ):
            if layer.trainable:
                held.remember(layer)
            layer.trainable = id(layer) in running
    for layer in layers:
        for variable in introspection.own_trainable_variables(layer):
            wanted = id(variable) in training
            if variable.trainable != wanted:
                variable.trainable = wanted
                held.note(layer, variable, frozen=layer.trainable and not wanted)
