"""The `trainable` flags of layers and weights: read, written and put back exactly.

Freezing a layer overwrites the flags of its weights, in Keras. Which of them were
frozen one by one before is kept here as long as the layer lives, so that unfreezing
does not thaw the kernel beside a low-rank update or a weight that the user froze.
"""

import dataclasses
import weakref

import keras

from keras_spectral_tl._graph.layers import ModelLayers, own_weights, parents_first
from keras_spectral_tl._keras_internals import (
    low_rank_base,
    own_statistics,
    own_trainable_variables,
    sublayers,
)

Choice = dict[str, tuple[str, ...]]
"""Layer name -> paths of those of its weights that are to train."""

# Places among a layer's own trainable weights: frozen by the user when the layer was
# frozen here; and frozen by functions of this package, weight by weight.
_BY_USER: weakref.WeakKeyDictionary[keras.Layer, set[int]] = weakref.WeakKeyDictionary()
_BY_US: weakref.WeakKeyDictionary[keras.Layer, set[int]] = weakref.WeakKeyDictionary()


@dataclasses.dataclass(frozen=True)
class TrainableFlags:
    """Every `trainable` flag of a model at one moment, to be put back exactly."""

    layers: tuple[tuple[keras.Layer, bool], ...]
    variables: tuple[tuple[keras.Variable, bool], ...]

    @classmethod
    def of(cls, model: keras.Model) -> "TrainableFlags":
        """Read the flags of all layers and weights of `model`."""
        layers = parents_first(model)
        weights = [v for layer in layers for v in own_weights(layer)]
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
        own = own_trainable_variables(layer)
        inside = named.weights_of(name)
        moving = tuple(path for path, v in inside.items() if id(v) in active)
        leaf = not sublayers(layer)
        by_flag = not own or (leaf and bool(own_statistics(layer)))
        if moving or (by_flag and layer.trainable):
            choice[name] = moving
    return choice


def switch(named: ModelLayers, choice: Choice) -> None:
    """Make exactly the chosen weights trainable.

    A container that holds weights beside sublayers is switched weight by weight, since
    its flag would switch the sublayers too. A layer with any chosen weight runs in
    training mode, every other one in inference mode. A weight that several layers share
    trains if it is chosen in one of them.
    """
    running = {id(named.layers[name]) for name in choice}
    training = {id(named.weights[path]) for paths in choice.values() for path in paths}
    layers = parents_first(named.model)
    for layer in layers:
        if sublayers(layer):
            inside = {id(inner) for inner in parents_first(layer)}
            if inside & running and not layer.trainable:
                layer.trainable = True
        elif own_weights(layer) and (layer.trainable != (id(layer) in running)):
            if layer.trainable:
                _remember(layer)
            layer.trainable = id(layer) in running
    for layer in layers:
        for variable in own_trainable_variables(layer):
            wanted = id(variable) in training
            if variable.trainable != wanted:
                variable.trainable = wanted
                _note(layer, variable, frozen=layer.trainable and not wanted)


def held_weights(layer: keras.Layer) -> list[keras.Variable]:
    """Return the weights that unfreezing the whole layer leaves frozen."""
    own = own_trainable_variables(layer)
    base = low_rank_base(layer)
    if layer.trainable:
        ours = _BY_US.get(layer, ())
        places = {i for i, v in enumerate(own) if not v.trainable and i not in ours}
    else:
        places = _BY_USER.get(layer, set())
    if len(places) == len(own):
        places = set()  # frozen as a whole, one by one
    return [v for i, v in enumerate(own) if i in places or v is base]


def _remember(layer: keras.Layer) -> None:
    """Note which weights of a layer are frozen one by one, before it is frozen."""
    held = {id(variable) for variable in held_weights(layer)}
    own = own_trainable_variables(layer)
    _BY_USER[layer] = {i for i, v in enumerate(own) if id(v) in held}


def _note(layer: keras.Layer, variable: keras.Variable, frozen: bool) -> None:
    """Note that a weight was frozen here by itself, or is not any more."""
    own = own_trainable_variables(layer)
    place = next(i for i, v in enumerate(own) if v is variable)
    ours = _BY_US.setdefault(layer, set())
    if frozen:
        ours.add(place)
    else:
        ours.discard(place)
