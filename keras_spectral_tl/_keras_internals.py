"""All access to private attributes of Keras, in one place.

`tests/keras_spectral_tl/test_keras_internals.py` has a test for each, which fails if a
new version of Keras changes it.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
from keras.src.backend import get_keras_mask
from keras.src.saving.serialization_lib import ObjectSharingScope


def sublayers(layer: keras.Layer) -> list[keras.Layer]:
    """Return the layers that `layer` tracks directly, in the order it tracks them."""
    return list(layer._layers)


def own_trainable_variables(layer: keras.Layer) -> list[keras.Variable]:
    """Return the variables that `layer` itself created as trainable, even if frozen.

    Variables of sublayers are not included, nor are the moving statistics of a
    normalization layer, which no gradient updates.
    """
    return list(layer._trainable_variables)


def own_statistics(layer: keras.Layer) -> list[keras.Variable]:
    """Return the weights of `layer` itself that no gradient updates: moving averages.

    A layer that is frozen as a whole does not change them.
    """
    return list(layer._non_trainable_variables)


def own_seed_generators(layer: keras.Layer) -> list[keras.random.SeedGenerator]:
    """Return the random generators that `layer` itself holds."""
    return list(layer._seed_generators)


def give_seed(generator: keras.random.SeedGenerator, seed: int) -> None:
    """Set the seed of a random generator that has none.

    On torch, a Keras dropout layer without a seed uses the global generator.
    """
    if generator._initial_seed is None:
        generator._initial_seed = seed


def is_low_rank(name: str) -> bool:
    """Return whether a weight of this name belongs to a low-rank update."""
    return name.startswith("lora_")


def low_rank_base(layer: keras.Layer) -> keras.Variable | None:
    """Return the frozen kernel that a low-rank update is added to, or None."""
    if not getattr(layer, "lora_enabled", False):
        return None
    base = getattr(layer, "_kernel", None)
    return getattr(layer, "_embeddings", None) if base is None else base


def keras_mask(outputs: Any) -> Any:
    """Return the mask of a tensor, or None; not an attribute of it on every backend."""
    return get_keras_mask(outputs)


def add_weight_when_built(
    layer: keras.Layer, name: str, shape: Sequence[int], initializer: str
) -> keras.Variable:
    """Add a trainable weight to a built layer, which Keras normally forbids."""
    layer._tracker.unlock()
    try:
        return layer.add_weight(name=name, shape=shape, initializer=initializer)
    finally:
        layer._tracker.lock()


def initial_epoch(model: keras.Model) -> int:
    """Return the epoch at which the next `fit` begins, if a callback set it."""
    return int(model._initial_epoch or 0)


def set_initial_epoch(model: keras.Model, epoch: int) -> None:
    """Set the epoch at which the beginning `fit` starts, as `BackupAndRestore` does."""
    model._initial_epoch = epoch


def compile_as_saved(model: keras.Model, config: dict[str, Any]) -> None:
    """Compile a model by the `compile_config` of its file.

    Objects that are used twice in it, such as an optimizer of a `MultiOptimizer`, stay
    one object, as in `keras.models.load_model`.
    """
    with ObjectSharingScope():
        model.compile_from_config(config)


def callbacks_of_fit(callback: keras.callbacks.Callback) -> list[Any]:
    """Return all callbacks of the fit that is calling this one, in their order.

    Keras gives a callback no access to the others, so the list is looked for among the
    callers. It is empty if it is not Keras that calls.
    """
    frame = inspect.currentframe()
    while frame is not None:
        caller: Any = frame.f_locals.get("self")
        is_list = isinstance(caller, keras.callbacks.CallbackList)
        if is_list and callback in caller.callbacks:
            return list(caller.callbacks)
        frame = frame.f_back
    return []


MOVING_AVERAGES = "_model_variables_moving_average"
"""Slot of the moving averages of the weights in an optimizer with `use_ema`."""

ACCUMULATED_GRADIENTS = "_accumulated_gradients"
"""Slot of the gradients that an optimizer has not applied yet."""

_NOT_SLOTS = ("_variables", "_trainable_variables")


def optimizer_weights(optimizer: Any) -> Sequence[keras.Variable]:
    """Return the weights that a built optimizer updates."""
    weights: Sequence[keras.Variable] = optimizer._trainable_variables
    return weights


def learning_rate_of(optimizer: Any) -> Any:
    """Return the learning rate of an optimizer as given, which may be a schedule.

    `optimizer.learning_rate` is the value of a schedule at the current step.
    """
    return optimizer._learning_rate


def optimizer_slots(optimizer: Any) -> dict[str, list[Any]]:
    """Return the lists of a built optimizer with one entry per weight, by attribute."""
    # By position, since layers of two nested models may have equal variable paths.
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
    """Make a built optimizer update these weights with these slots."""
    # Not by setattr, which would track the lists as new state.
    attributes = vars(optimizer)
    attributes["_trainable_variables"] = weights
    attributes["_trainable_variables_indices"] = {
        optimizer._var_key(weight): place for place, weight in enumerate(weights)
    }
    attributes.update(slots)


def excluded_from_weight_decay(optimizer: Any) -> tuple[set[Any], str | None]:
    """Return keys of variables, and a pattern of names, without weight decay."""
    pattern = getattr(optimizer, "_exclude_from_weight_decay_pattern", None)
    variables = getattr(optimizer, "_exclude_from_weight_decay", None)
    return variables or set(), getattr(pattern, "pattern", None)


def optimizer_batches(optimizer: Any) -> int:
    """Return the number of batches an optimizer has seen, with accumulated ones."""
    return int(np.asarray(optimizer._iterations))


def set_optimizer_batches(optimizer: Any, batches: int) -> None:
    """Set the number of batches an optimizer has seen, with accumulated ones.

    If it accumulates gradients, `optimizer.iterations` is computed from it.
    """
    optimizer._iterations.assign(batches)


def drop_compiled_functions(model: keras.Model) -> bool:
    """Make the next `fit`, `evaluate` and `predict` recompile their functions.

    A function compiled before the flags changed trains the old weights. On JAX the
    other two are affected as well: they take lists of trainable and of other weights,
    so weights of equal shapes would be swapped.
    """
    if keras.backend.backend() == "jax" and isinstance(model, keras.Model):
        model.test_function = model.predict_function = None
    if getattr(model, "train_function", None) is None:
        return False
    model.train_function = None
    return True


@contextmanager
def replaced(layer: keras.Layer, name: str, value: Any) -> Iterator[None]:
    """Replace an attribute of a layer inside a block, and restore it exactly.

    An attribute of the instance hides that of the class. It bypasses the `__setattr__`
    of Keras, which would track the value as state of the layer.
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
