"""Arms that a forecast tries: ways to retrain, from nothing to everything."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_spectral_tl import freezing
from keras_spectral_tl._graph.calls import called_layers
from keras_spectral_tl._graph.layers import layers_with_weights, named_weights
from keras_spectral_tl.transfer._arms import Arm
from keras_spectral_tl.transfer._retrain import Trainee

# More layers than these are sampled at equal distances first.
_MOST_LAYERS = 16


def default_arms(model: keras.Model) -> tuple[Arm, ...]:
    """Return the arms that are tried where none are given.

    Nothing; the gain of the output; gains of the channels of convolutions; kernels in
    the span of a few smooth filters (`freezing.FiltersOf`); biases; each layer (of more
    than 16, that many at equal distances); the first and the last half of the layers;
    all layers; and all layers from new weights. The best layers are joined to a pair
    and a block once they are known.

    Args:
        model: A built network.

    Example:
        >>> from keras_spectral_tl.models import build_sgs_cnn
        >>> model = build_sgs_cnn((8, 8, 2), num_layers=2, num_filters=2)
        >>> [arm.label for arm in default_arms(model)][-4:]
        ['conv_1', 'conv_2', 'all layers', 'from scratch']
    """
    arms = [Arm("unchanged", ()), Arm("output gain", freezing.OutputGain())]
    names = called_layers(model)
    if applies(model, freezing.ChannelGainsOf()):
        arms.append(Arm("channel gains", freezing.ChannelGainsOf()))
    if applies(model, freezing.FiltersOf()):
        arms.append(Arm("filters", freezing.FiltersOf()))
    if any(p.endswith("bias") for p in named_weights(layers_with_weights(model))):
        arms.append(Arm("biases", freezing.BiasesOf()))
    places = np.linspace(0, len(names) - 1, min(len(names), _MOST_LAYERS))
    arms += [Arm(names[i], names[i]) for i in np.unique(places.round().astype(int))]
    half = len(names) // 2
    if half > 1:
        arms.append(Arm("first half", tuple(names[:half])))
        arms.append(Arm("last half", tuple(names[half:])))
    if len(names) > 1:
        arms.append(Arm("all layers"))
    return (*arms, Arm("from scratch", freezing.NewWeights()))


def joined_arms(model: keras.Model, ranked: Sequence[str]) -> tuple[Arm, ...]:
    """Return a pair and a block of layers around the best one.

    Args:
        model: A built network.
        ranked: Names of layers, the best first.
    """
    names = called_layers(model)
    order = {name: place for place, name in enumerate(names)}
    known = [name for name in ranked if name in order]
    if len(known) < 2 or len(names) < 3:
        return ()
    pair = sorted(known[:2], key=order.__getitem__)
    best = order[known[0]]
    first = min(max(best - 1, 0), len(names) - 3)
    block = names[first : first + 3]
    found = {"+".join(pair): pair}
    if len(names) > 3:
        found["+".join(block)] = list(block)
    return tuple(Arm(label, tuple(layers)) for label, layers in found.items())


def applies(model: keras.Model, selector: Any) -> bool:
    """Return whether a model has what a part can be added to or chosen from."""
    try:
        Trainee.of(model, selector)
    except (KeyError, TypeError, ValueError):
        return False
    return True
