"""Weights that were frozen one by one and stay so when their layer is unfrozen.

Freezing a layer overwrites the flags of its weights, in Keras. What they were is kept
here, as long as the layer lives, so that unfreezing does not thaw the kernel beside a
low-rank update or a weight that the user froze.
"""

import weakref

import keras

from keras_spectral_tl import introspection

# Places among a layer's own trainable weights: frozen by the user when the layer was
# frozen here; and frozen by functions of this package, weight by weight.
_BY_USER: weakref.WeakKeyDictionary[keras.Layer, set[int]] = weakref.WeakKeyDictionary()
_BY_US: weakref.WeakKeyDictionary[keras.Layer, set[int]] = weakref.WeakKeyDictionary()


def held_weights(layer: keras.Layer) -> list[keras.Variable]:
    """Return the weights that unfreezing the whole layer leaves frozen."""
    own = introspection.own_trainable_variables(layer)
    base = introspection.low_rank_base(layer)
    if layer.trainable:
        ours = _BY_US.get(layer, ())
        places = {i for i, v in enumerate(own) if not v.trainable and i not in ours}
    else:
        places = _BY_USER.get(layer, set())
    if len(places) == len(own):
        places = set()  # frozen as a whole, one by one
    return [v for i, v in enumerate(own) if i in places or v is base]


def remember(layer: keras.Layer) -> None:
    """Note which weights of a layer are frozen one by one, before it is frozen."""
    held = {id(variable) for variable in held_weights(layer)}
    own = introspection.own_trainable_variables(layer)
    _BY_USER[layer] = {i for i, v in enumerate(own) if id(v) in held}


def note(layer: keras.Layer, variable: keras.Variable, frozen: bool) -> None:
    """Note that a weight was frozen here by itself, or is not any more."""
    own = introspection.own_trainable_variables(layer)
    place = next(i for i, v in enumerate(own) if v is variable)
    ours = _BY_US.setdefault(layer, set())
    if frozen:
        ours.add(place)
    else:
        ours.discard(place)
