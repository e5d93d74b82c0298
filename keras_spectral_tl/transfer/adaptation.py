"""Copies of a model with what a selection needs: low-rank updates, an output gain."""

from collections.abc import Sequence
from typing import Any

import keras

from keras_spectral_tl import freezing, models
from keras_spectral_tl.freezing.selection import choose, select_from
from keras_spectral_tl.introspection import ModelLayers


def adapted_copy(
    model: keras.Model, selector: Any, sample: Any = None
) -> tuple[keras.Model, freezing.LayerSelection]:
    """Return a copy of `model` and the selection, in names of the input model.

    Where the selector has parts that the model lacks (`LowRankOf`, `OutputGain`), the
    copy gets them; all weights of the input model are in it, with equal bits.

    Args:
        model: A built Keras model; not changed.
        selector: See `freezing.select_layers`.
        sample: Inputs on which the copy is compared, see `models.copy_model`.

    Raises:
        KeyError, TypeError, ValueError: As `freezing.select_layers`; also if Keras has
            no low-rank update for a chosen layer.
    """
    items = _items(selector)
    if not any(isinstance(item, _ADDED) for item in items):
        selection = freezing.select_layers(model, selector)
        return models.copy_model(model, sample), selection
    # The rest is chosen on the input model, to which objects and predicates refer.
    rest = [item for item in items if not isinstance(item, _ADDED)]
    plan: list[Any] = [freezing.select_layers(model, rest)] if rest else []
    copy = models.copy_model(model, sample)
    original = ModelLayers.of(model)
    layers = original.of_copy(copy).layers
    for item in items:
        if isinstance(item, freezing.LowRankOf):
            names = _kernel_layers(model, item.layers)
            item.prepare({name: layers[name] for name in names})
            plan.append(freezing.LowRankOf(names, item.rank))
    network = copy
    if any(isinstance(item, freezing.OutputGain) for item in items):
        network = freezing.OutputGain().prepare(copy)
        plan.append(freezing.OutputGain())
    named = original.of_copy(network)
    return network, select_from(named, choose(named, plan))


_ADDED = (freezing.LowRankOf, freezing.OutputGain)


def _items(selector: Any) -> Sequence[Any]:
    whole = not isinstance(selector, Sequence) or isinstance(selector, str)
    return [selector] if whole else selector


def _kernel_layers(model: keras.Model, selector: Any) -> list[str]:
    # Of all layers only those that have kernels; an explicit choice is taken at its
    # word, so that layers without an update are refused by name.
    if selector is None:
        return list(freezing.select_layers(model, freezing.KernelsOf()).names)
    return list(freezing.select_layers(model, selector).names)
