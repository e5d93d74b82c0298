"""Private attributes of Keras that the package relies on, all in one place.

`tests/keras_spectral_tl/test_keras_internals.py` has a test for each, so that a new
version of Keras that changes one of them is noticed by name.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray


def sublayers(layer: keras.Layer) -> list[keras.Layer]:
    """Return the layers that `layer` tracks directly, in the order it tracks them."""
    return list(layer._layers)


def own_trainable_variables(layer: keras.Layer) -> list[keras.Variable]:
    """Return the variables `layer` itself created as trainable, whatever its flags say.

    Sublayers' variables are not included, nor are the moving statistics of a
    normalization layer, which no gradient ever updates.
    """
    return list(layer._trainable_variables)


def own_statistics(layer: keras.Layer) -> list[keras.Variable]:
    """Return the weights of `layer` itself that no gradient updates: moving averages.

    A layer that is frozen as a whole leaves them as they are.
    """
    return list(layer._non_trainable_variables)


def own_seed_generators(layer: keras.Layer) -> list[keras.random.SeedGenerator]:
    """Return the random generators that `layer` itself holds."""
    return list(layer._seed_generators)


def give_seed(generator: keras.random.SeedGenerator, seed: int) -> None:
    """Give a random generator a seed where it has none.

    On torch, Keras lets a dropout layer without a seed draw from the global generator.
    """
    if generator._initial_seed is None:
        generator._initial_seed = seed


def low_rank_base(layer: keras.Layer) -> keras.Variable | None:
    """Return the kernel beside a low-rank update, which stays as it is, or None."""
    if not getattr(layer, "lora_enabled", False):
        return None
    base = getattr(layer, "_kernel", None)
    return getattr(layer, "_embeddings", None) if base is None else base


def add_weight_when_built(
    layer: keras.Layer, name: str, shape: Sequence[int], initializer: str
) -> keras.Variable:
    """Add a trainable weight to a layer that is built, which Keras locks then."""
    layer._tracker.unlock()
    try:
        return layer.add_weight(name=name, shape=shape, initializer=initializer)
    finally:
        layer._tracker.lock()


def initial_epoch(model: keras.Model) -> int:
    """Return the epoch at which the next `fit` begins, if a callback set it."""
    return int(model._initial_epoch or 0)


def set_initial_epoch(model: keras.Model, epoch: int) -> None:
    """Let the `fit` that is beginning start at an epoch, as `BackupAndRestore` does."""
    model._initial_epoch = epoch


def predicted(model: keras.Model, x: Any, batch_size: int = 32) -> NDArray[Any]:
    """Return the outputs of a model, batch after batch.

    TensorFlow warns of every sixth model that is traced, as if one were traced anew.
    """
    logger = logging.getLogger("tensorflow")
    logger.addFilter(_is_no_retracing)
    try:
        return np.asarray(model.predict(x, batch_size=batch_size, verbose=0))
    finally:
        logger.removeFilter(_is_no_retracing)


def _is_no_retracing(record: logging.LogRecord) -> bool:
    return "triggered tf.function retracing" not in record.getMessage()


MOVING_AVERAGES = "_model_variables_moving_average"
"""Slot of the averages that an optimizer with `use_ema` keeps of the weights."""

_NOT_SLOTS = ("_variables", "_trainable_variables")


def optimizer_weights(optimizer: Any) -> Sequence[keras.Variable]:
    """Return the weights that a built optimizer works on."""
    weights: Sequence[keras.Variable] = optimizer._trainable_variables
    return weights


def optimizer_slots(optimizer: Any) -> dict[str, list[Any]]:
    """Return the lists of a built optimizer with one entry a weight, by attribute."""
    # By place in the lists: layers of two nested models may have equal variable paths.
    count = len(optimizer_weights(optimizer))
    return {
        name: value
        for name, value in vars(optimizer).items()
        if isinstance(value, list)
        and name not in _NOT_SLOTS
        and len(value) == count
        and any(isinstance(entry, keras.Variable) for entry in value)
    }


def set_optimizer_weights(
    optimizer: Any, weights: Sequence[keras.Variable], slots: Mapping[str, list[Any]]
) -> None:
    """Make a built optimizer work on these weights with these slots."""
    # Not by setattr: it would track the lists again as if they were new state.
    attributes = vars(optimizer)
    attributes["_trainable_variables"] = weights
    attributes["_trainable_variables_indices"] = {
        optimizer._var_key(weight): place for place, weight in enumerate(weights)
    }
    attributes.update(slots)


def optimizer_batches(optimizer: Any) -> int:
    """Return the number of batches an optimizer has seen, accumulated ones too."""
    return int(np.asarray(optimizer._iterations))


def drop_compiled_functions(model: keras.Model) -> bool:
    """Let the next `fit`, `evaluate` and `predict` compile their functions anew.

    A function compiled before the flags changed trains the old weights. On JAX the
    other two are concerned as well: they take the weights as a list of trainable ones
    and one of others, so those of equal shapes would be swapped.
    """
    if keras.backend.backend() == "jax" and isinstance(model, keras.Model):
        model.test_function = model.predict_function = None
    if getattr(model, "train_function", None) is None:
        return False
    model.train_function = None
    return True


@contextmanager
def replaced(layer: keras.Layer, name: str, value: Any) -> Iterator[None]:
    """Replace an attribute of a layer for a moment, and put it back exactly.

    An attribute of the instance hides that of the class. It is set past Keras' own
    `__setattr__`, which would track the value as state of the layer.
    """
    attributes = vars(layer)
    had_own, own = name in attributes, attributes.get(name)
    attributes[name] = value
    try:
        yield
    finally:
        if had_own:
            attributes[name] = own
        else:
            del attributes[name]


def calling_method(layer: keras.Layer) -> tuple[str, Callable[..., Any]]:
    """Return the name of the method in which Keras runs a layer, and the method."""
    quantized = getattr(layer, "quantization_mode", None) is not None
    name = "quantized_call" if quantized else "call"
    return name, getattr(layer, name)
