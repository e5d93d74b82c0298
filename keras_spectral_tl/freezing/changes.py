"""Freeze and unfreeze layers of a model, and say what changed."""

import contextlib
import dataclasses
import warnings
from collections.abc import Iterator

import keras

from keras_spectral_tl import introspection
from keras_spectral_tl.freezing import flags
from keras_spectral_tl.freezing.selection import (
    Choice,
    LayerSelection,
    Selector,
    choose,
    select_layers,
)


@dataclasses.dataclass(frozen=True)
class FreezeRecord:
    """What `freeze_layers` or `unfreeze_layers` did.

    Attributes:
        changed: Layers whose state changed, also where only some weights did.
        trainable: Layers that are trainable now, at least in part.
        frozen: Layers that are frozen now.
        compile_again: Whether the model's optimizer was built before the change, for
            other weights: call `model.compile` before the next `fit`.
        variables: Paths of the weights that were switched.
    """

    changed: tuple[str, ...]
    trainable: tuple[str, ...]
    frozen: tuple[str, ...]
    compile_again: bool
    variables: tuple[str, ...] = ()


def freeze_layers(model: keras.Model, layers: Selector | None = None) -> FreezeRecord:
    """Freeze the chosen layers, or parts, and leave the state of all others as it is.

    Freeze before `model.compile`. A BatchNormalization without trainable weights left
    runs in inference mode, so its moving statistics stay as they are. To let them
    follow the new data while scale and shift are frozen, freeze it and then
    `unfreeze_layers(model, StatisticsOf(...))`.

    Args:
        model: A built Keras model; changed in place.
        layers: A selector (see `select_layers`); None freezes everything.

    Returns:
        What changed. A UserWarning says so when the model has been trained since it
        was compiled, because Keras would not follow the change: TensorFlow would train
        as before without a word. The old training function is dropped, so that weights
        unknown to the optimizer are an error in the next fit.

    Raises:
        KeyError, TypeError, ValueError: As `select_layers`.

    Example:
        >>> import keras
        >>> layers = [keras.layers.Dense(2, name=name) for name in ("first", "last")]
        >>> model = keras.Sequential([keras.Input((3,)), *layers])
        >>> freeze_layers(model, "first").trainable
        ('last',)
        >>> unfreeze_layers(model).changed
        ('first',)
    """
    found = introspection.layers_with_weights(model)
    chosen = choose(model, found, layers, thawed=True)
    left: Choice = {}
    for name, weights in flags.trainable_choice(model, found).items():
        left[name] = tuple(w for w in weights if w not in chosen.get(name, ()))
        if name in chosen and not left[name]:
            del left[name]
    _refuse_statistics_alone(chosen, left)
    return _change(model, found, left)


def unfreeze_layers(model: keras.Model, layers: Selector | None = None) -> FreezeRecord:
    """Make the chosen layers, or parts, trainable and leave all others as they are.

    The mirror image of `freeze_layers`; a chosen layer inside a frozen container is
    made trainable without unfreezing its neighbours.

    Args:
        model: A built Keras model; changed in place.
        layers: A selector (see `select_layers`); None unfreezes everything.

    Returns:
        What changed; warns as `freeze_layers` does.

    Raises:
        KeyError, TypeError, ValueError: As `select_layers`.
    """
    found = introspection.layers_with_weights(model)
    after = flags.trainable_choice(model, found)
    for name, weights in choose(model, found, layers, thawed=True).items():
        after[name] = (*after.get(name, ()), *weights)
    return _change(model, found, after)


@contextlib.contextmanager
def only_trainable(
    model: keras.Model, layers: Selector | None
) -> Iterator[LayerSelection]:
    """Make exactly the chosen layers, or parts, trainable inside a `with` block.

    Compile inside the block to train there, and again behind it. On the way in and
    out the model's training function is dropped, since it would go on training the
    weights that it was made for. On the way out, also by an exception, every flag of
    every layer and weight is put back.

    Args:
        model: A built Keras model.
        layers: A selector (see `select_layers`).

    Yields:
        What was chosen.

    Raises:
        KeyError, TypeError, ValueError: As `select_layers`.

    Example:
        >>> import keras
        >>> layers = [keras.layers.Dense(2, name=name) for name in ("first", "last")]
        >>> model = keras.Sequential([keras.Input((3,)), *layers])
        >>> with only_trainable(model, "last"):
        ...     len(model.trainable_weights)
        2
        >>> len(model.trainable_weights)
        4
    """
    selection = select_layers(model, layers)
    before = flags.TrainableFlags.of(model)
    try:
        flags.set_trainable(model, selection)
        introspection.drop_training_function(model)
        yield selection
    finally:
        before.restore()
        introspection.drop_training_function(model)


def _change(
    model: keras.Model, layers: dict[str, keras.Layer], choice: Choice
) -> FreezeRecord:
    before = flags.trainable_choice(model, layers)
    flags.switch(model, layers, choice)
    now = flags.trainable_choice(model, layers)
    switched = _paths(before) ^ _paths(now)
    changed = tuple(
        name
        for name in layers
        if (name in before) != (name in now)
        or set(before.get(name, ())) != set(now.get(name, ()))
    )
    if changed and introspection.drop_training_function(model):
        warnings.warn(
            f"Model {model.name!r} has been trained since it was compiled, before "
            f"layers changed ({', '.join(changed)}). Call model.compile(...) before "
            "the next fit, or use the FreezeLayers callback to switch during a fit.",
            UserWarning,
            stacklevel=3,
        )
    return FreezeRecord(
        changed=changed,
        trainable=tuple(now),
        frozen=tuple(name for name in layers if name not in now),
        compile_again=bool(changed) and introspection.optimizer_is_built(model),
        variables=tuple(
            p for p in introspection.named_weights(layers) if p in switched
        ),
    )


def _refuse_statistics_alone(chosen: Choice, left: Choice) -> None:
    for name, weights in chosen.items():
        if not weights and left.get(name):
            raise ValueError(
                f"The statistics of layer {name!r} move as long as its weights "
                f"{', '.join(left[name])} train: Keras has one flag for both. Freeze "
                f"the whole layer, freeze_layers(model, {name!r})."
            )


def _paths(choice: Choice) -> set[str]:
    return {f"{name}/{weight}" for name in choice for weight in choice[name]}
