"""What comes after a cut of a network, with the activations at the cut."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import keras

from keras_spectral_tl import introspection, models
from keras_spectral_tl.transfer.prefix import LayerGraph
from keras_spectral_tl.transfer.prefix_activations import Activations, PrefixCache


class Suffix(NamedTuple):
    """The part of a network from some layers on.

    Attributes:
        name: of the layers, in the whole network, joined by "+".
        model: the part; it may have other names for them.
        layers: names of the layers in `model`.
        inputs: for each set of samples the inputs of `model`.
    """

    name: str
    model: keras.Model
    layers: tuple[str, ...]
    inputs: list[Any]


def suffixes(
    model: keras.Model,
    choices: Sequence[tuple[str, ...]],
    sets: list[Any],
    batch_size: int,
) -> Iterator[Suffix]:
    """Yields for some layers at a time the part of the network their weights act on.

    Frozen layers in front of them are evaluated once in all, as in a sweep. Models
    without a graph (subclassed ones) are yielded whole.

    Args:
        model: a built Keras model; not changed.
        choices: names of layers; best in the order of the model, so that activations at
            one cut are computed from those at the last.
        sets: inputs of the model, one entry for each set of samples.
        batch_size: samples computed at once.
    """
    copy = models.copy_model(model)
    copied = introspection.layers_with_weights(copy)
    originals = introspection.layers_with_weights(model)
    counterpart = dict(zip(originals, copied, strict=True))
    named = [("+".join(c), tuple(counterpart[name] for name in c)) for c in choices]
    graph = LayerGraph.of(copy)
    arrays = [] if graph is None else [graph.arrays(x) for x in sets]
    known = [part for part in arrays if part is not None]
    if graph is None or len(known) < len(sets):
        for name, layers in named:
            yield Suffix(name, copy, layers, sets)
        return
    activations = Activations(graph, known, PrefixCache(batch_size=batch_size))
    for name, layers in named:
        cut = graph.cut(list(layers))
        at_cut = None if cut is None else activations.at(cut)
        if cut is None or at_cut is None:
            yield Suffix(name, copy, layers, sets)
            continue
        _, part = graph.part(cut, graph.outputs)
        inside = {
            id(v): key for key, v in introspection.layers_with_weights(part).items()
        }
        if any(id(copied[layer]) not in inside for layer in layers):
            # A layer that no output depends on is not in the part.
            yield Suffix(name, copy, layers, sets)
            continue
        there = tuple(inside[id(copied[layer])] for layer in layers)
        inputs = [tensors[0] if len(tensors) == 1 else tensors for tensors in at_cut]
        yield Suffix(name, part, there, inputs)
