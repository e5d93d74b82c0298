"""What comes after a cut of a network, with the activations at the cut."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import keras

from keras_spectral_tl import introspection, models
from keras_spectral_tl.transfer.prefix import LayerGraph
from keras_spectral_tl.transfer.prefix_activations import Activations, PrefixCache


class Suffix(NamedTuple):
    """The part of a network from one layer on.

    Attributes:
        name: of the layer, in the whole network.
        model: the part; its own name of the layer is `layer`.
        layer: name of the layer in `model`.
        inputs: for each set of samples the inputs of `model`.
    """

    name: str
    model: keras.Model
    layer: str
    inputs: list[Any]


def suffixes(
    model: keras.Model, names: tuple[str, ...], sets: list[Any], batch_size: int
) -> Iterator[Suffix]:
    """Yields for each layer the part of the network that its weights act on.

    Frozen layers in front of it are evaluated once in all, as in a sweep. Models
    without a graph (subclassed ones) are yielded whole.

    Args:
        model: a built Keras model; not changed.
        names: names of layers, in the order of the model.
        sets: inputs of the model, one entry for each set of samples.
        batch_size: samples computed at once.
    """
    copy = models.copy_model(model)
    layers = list(introspection.weight_layers(model))
    copied = introspection.weight_layers(copy)
    counterpart = dict(zip(layers, copied, strict=True))
    graph = LayerGraph.of(copy)
    arrays = [] if graph is None else [graph.arrays(x) for x in sets]
    known = [part for part in arrays if part is not None]
    if graph is None or len(known) < len(sets):
        for name in names:
            yield Suffix(name, copy, counterpart[name], sets)
        return
    activations = Activations(graph, known, PrefixCache(batch_size=batch_size))
    for name in names:
        cut = graph.cut(counterpart[name])
        at_cut = None if cut is None else activations.at(cut)
        if cut is None or at_cut is None:
            yield Suffix(name, copy, counterpart[name], sets)
            continue
        _, part = graph.part(cut, graph.outputs)
        chosen = copied[counterpart[name]]
        inside = introspection.weight_layers(part)
        layer = next(key for key, value in inside.items() if value is chosen)
        inputs = [tensors[0] if len(tensors) == 1 else tensors for tensors in at_cut]
        yield Suffix(name, part, layer, inputs)
