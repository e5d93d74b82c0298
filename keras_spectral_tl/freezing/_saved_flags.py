"""Trainable flags of saved models, of which Keras files hold only a part.

They store one flag for a recurrent, bidirectional or attention layer and none for the
layers inside it, none for layers of a subclassed model, and none for single weights.
"""

import json
import os
import zipfile
from collections.abc import Mapping
from typing import Any

import keras

from keras_spectral_tl._graph.layers import ModelLayers, parents_first
from keras_spectral_tl._keras_internals import (
    compile_as_saved,
    is_low_rank,
    own_trainable_variables,
    sublayers,
)
from keras_spectral_tl.freezing._changes import (
    TrainableFlags,
    switch,
    trainable_choice,
)

SavedFlags = Mapping[str, list[str] | None]
"""Names of the trainable weights of each layer, None for a frozen one, in order."""


def flags_to_save(model: keras.Model) -> dict[str, list[str] | None]:
    """Return which weights of each layer train, as plain values."""
    named = ModelLayers.of(model)
    choice = trainable_choice(named)
    return {
        name: [path.removeprefix(f"{name}/") for path in choice[name]]
        if name in choice
        else None
        for name in named.names
    }


def save_with_flags(model: keras.Model, path: str | os.PathLike[str]) -> None:
    """Save a model with the right flags for Keras alone, as far as files keep them.

    The layers around nothing but frozen layers are frozen in the file. A model of which
    single weights of layers are frozen is saved without its optimizer, which Keras
    alone fails to load. The model itself does not change.
    """
    before, compiled = TrainableFlags.of(model), model.compiled
    named = ModelLayers.of(model)
    running = {id(named.layers[name]) for name in trainable_choice(named)}
    trains_parts = any(
        layer.trainable and not variable.trainable
        for layer in named.layers.values()
        for variable in own_trainable_variables(layer)
    )
    try:
        model.compiled = compiled and not trains_parts
        for layer in parents_first(model):
            wraps = sublayers(layer) and not isinstance(layer, keras.Model)
            if wraps and running.isdisjoint(map(id, parents_first(layer))):
                layer.trainable = False
        model.save(path)
    finally:
        model.compiled = compiled
        before.restore()


def load_with_flags(
    path: str | os.PathLike[str],
    flags: SavedFlags,
    custom_objects: Mapping[str, Any] | None = None,
) -> keras.Model:
    """Load a model from a `.keras` file with the flags that it had.

    The optimizer is made when they are set, for the weights that it trained, so that
    its moments fit. Raises ValueError if the flags are not those of this model.
    """
    model = keras.models.load_model(path, custom_objects=custom_objects, compile=False)
    _set_flags(model, flags)
    with zipfile.ZipFile(path) as archive:
        compiled = json.loads(archive.read("config.json")).get("compile_config")
    if compiled:
        with keras.saving.custom_object_scope(dict(custom_objects or {})):
            compile_as_saved(model, compiled)
        model.load_weights(path)
    return model


def _set_flags(model: keras.Model, flags: SavedFlags) -> None:
    named = ModelLayers.of(model)
    # In a subclassed model, automatic names may differ.
    names = named.names if set(flags) != set(named.names) else tuple(flags)
    # A low-rank update that Keras merged into its kernel no longer exists.
    choice = {
        name: tuple(
            path
            for weight in trained
            if (path := f"{name}/{weight}") in named.weights or not is_low_rank(weight)
        )
        for name, trained in zip(names, flags.values(), strict=False)
        if trained is not None
    }
    unknown = {path for paths in choice.values() for path in paths} - {*named.weights}
    if unknown or len(flags) != len(names):
        weights = f", with the weights {', '.join(sorted(unknown))}" if unknown else ""
        raise ValueError(
            f"The record of trainable weights is not that of model {model.name!r}: "
            f"expected its layers, {', '.join(named.names)}. Received "
            f"{', '.join(flags)}{weights}. Save the result of the retraining again, or "
            "read the model by keras.models.load_model."
        )
    switch(named, choice)
