"""The `trainable` flags of layers and weights: read, written and put back exactly."""

import dataclasses
from collections.abc import Mapping, Sequence

import keras

from keras_spectral_tl import introspection
from keras_spectral_tl.freezing.selection import Choice, LayerSelection, choose


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


def trainable_choice(model: keras.Model, layers: Mapping[str, keras.Layer]) -> Choice:
    """Return what training would change now: names of weights by layer.

    A layer without trainable weights (statistics only), and one whose scale and shift
    are frozen one by one, counts by its flag: its statistics move.
    """
    active = {id(variable) for variable in model.trainable_weights}
    choice: Choice = {}
    for name, layer in layers.items():
        paths = introspection.named_weights({name: layer})
        moving = [path for path, v in paths.items() if id(v) in active]
        leaf = not introspection.sublayers(layer)
        own = introspection.own_trainable_variables(layer)
        by_flag = not own or (leaf and bool(introspection.own_statistics(layer)))
        if moving or (by_flag and layer.trainable):
            choice[name] = tuple(path.rsplit("/", 1)[1] for path in moving)
    return choice


def trainable_names(model: keras.Model) -> tuple[str, ...]:
    """Return the weight-bearing layers that training would change now.

    A layer without trainable weights (statistics only) counts by its flag.
    """
    return tuple(trainable_choice(model, introspection.layers_with_weights(model)))


def set_trainable(model: keras.Model, names: Sequence[str] | LayerSelection) -> None:
    """Make exactly the given layers, or parts, trainable; compile is up to you.

    Args:
        model: A built Keras model; changed in place.
        names: Names as in `layers_with_weights`, for whole layers (a weight
            frozen by itself stays so), or a selection, of which exactly the chosen
            weights train.
    """
    layers = introspection.layers_with_weights(model)
    selector = names if isinstance(names, LayerSelection) else list(names)
    switch(model, layers, choose(model, layers, selector) if selector else {})


def switch(
    model: keras.Model, layers: Mapping[str, keras.Layer], choice: Choice
) -> None:
    """Make exactly the chosen weights trainable.

    A container that holds weights beside sublayers is switched weight by weight, since
    its flag would switch the sublayers too. A layer with any chosen weight runs in
    training mode, every other one in inference mode.
    """
    running = {id(layers[name]) for name in choice}
    training = {
        id(weight)
        for name in choice
        for path, weight in introspection.named_weights({name: layers[name]}).items()
        if path.rsplit("/", 1)[1] in choice[name]
    }
    for layer in introspection.parents_first(model):
        if introspection.sublayers(layer):
            inside = {id(inner) for inner in introspection.parents_first(layer)}
            if inside & running and not layer.trainable:
                layer.trainable = True
        elif introspection.own_weights(layer) and (
            layer.trainable != (id(layer) in running)
        ):
            layer.trainable = id(layer) in running
        for variable in introspection.own_trainable_variables(layer):
            if variable.trainable != (id(variable) in training):
                variable.trainable = id(variable) in training
