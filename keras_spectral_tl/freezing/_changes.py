"""SHA-256 of weights, and freezing of layers by their `trainable` flags."""

import contextlib
import dataclasses
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import keras

from keras_spectral_tl._files import sha256_of_arrays
from keras_spectral_tl._graph.layers import (
    ModelLayers,
    fetch,
    own_weights,
    parents_first,
)
from keras_spectral_tl._keras_internals import (
    drop_compiled_functions,
    own_statistics,
    own_trainable_variables,
    sublayers,
)
from keras_spectral_tl.freezing._selection import (
    Choice,
    LayerSelection,
    Selector,
    choose,
    note,
    notes_of,
    remember,
    select_layers,
)


def layer_hashes(layers: keras.Model | ModelLayers) -> dict[str, str]:
    """Return the SHA-256 of the weights of each weight-bearing layer.

    Moving statistics are included. Two equal hashes mean that the weights are equal bit
    for bit, with the same shapes and dtypes.

    Args:
        layers: A built Keras model, or its layers by name.

    Returns:
        Hexadecimal digests by layer name, as in `layers_with_weights`.

    Example:
        >>> import keras
        >>> dense = keras.layers.Dense(2, name="hidden")
        >>> model = keras.Sequential([keras.Input((3,)), dense])
        >>> before = layer_hashes(model)
        >>> _ = dense.bias.assign([0.0, 1.0])
        >>> layer_hashes(model) == before
        False
    """
    return {
        name: hash_of(own_weights(layer))
        for name, layer in _named(layers).layers.items()
    }


def weight_hashes(layers: keras.Model | ModelLayers) -> dict[str, str]:
    """Return the SHA-256 of each single weight, statistics included.

    Args:
        layers: A built Keras model, or its layers by name.

    Returns:
        Hexadecimal digests by path, as in `named_weights`.

    Example:
        >>> import keras
        >>> dense = keras.layers.Dense(2, name="hidden")
        >>> model = keras.Sequential([keras.Input((3,)), dense])
        >>> before = weight_hashes(model)
        >>> _ = dense.bias.assign([0.0, 1.0])
        >>> [path for path, digest in weight_hashes(model).items()
        ...  if digest != before[path]]
        ['hidden/bias']
    """
    weights = _named(layers).weights
    return {path: hash_of([weight]) for path, weight in weights.items()}


def hash_of(weights: Iterable[keras.Variable]) -> str:
    """Return one SHA-256 of the dtypes, shapes and values of some weights."""
    return sha256_of_arrays(map(fetch, weights))


def _named(layers: keras.Model | ModelLayers) -> ModelLayers:
    return layers if isinstance(layers, ModelLayers) else ModelLayers.of(layers)


@dataclasses.dataclass(frozen=True)
class TrainableFlags:
    """Snapshot of every `trainable` flag of a model, to be restored exactly.

    `restore_notes` does so for the records of who froze single weights.
    """

    flags: tuple[tuple[keras.Layer | keras.Variable, bool], ...]
    restore_notes: Callable[[], None] = dataclasses.field(compare=False, repr=False)

    @classmethod
    def of(cls, model: keras.Model) -> "TrainableFlags":
        # Containers first, then their contents, then weights.
        layers = parents_first(model)
        weights = [v for layer in layers for v in own_weights(layer)]
        flags = tuple((part, part.trainable) for part in (*layers, *weights))
        return cls(flags, notes_of(layers))

    def restore(self) -> None:
        for part, flag in self.flags:
            part.trainable = flag
        self.restore_notes()


def trainable_choice(named: ModelLayers) -> Choice:
    """Return what training would change now, as paths of weights by layer.

    A layer that has only statistics, or whose scale and shift are frozen individually,
    is included if its flag is set, because its statistics are updated.
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

    A container with weights and sublayers is switched weight by weight, since its flag
    would also switch the sublayers. A layer with any chosen weight runs in training
    mode, every other one in inference mode. A weight shared by several layers trains if
    it is chosen in one of them.
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
                remember(layer)
            layer.trainable = id(layer) in running
    for layer in layers:
        for variable in own_trainable_variables(layer):
            wanted = id(variable) in training
            if variable.trainable != wanted:
                variable.trainable = wanted
                note(layer, variable, frozen=layer.trainable and not wanted)


@dataclasses.dataclass(frozen=True)
class FreezeRecord:
    """Record of what `freeze_layers` or `unfreeze_layers` did.

    Attributes:
        changed: Layers whose state changed, at least for some weights.
        trainable: Layers that are trainable now, at least in part.
        frozen: Layers that are frozen now.
        compile_again: Whether the model's optimizer was built for other weights before
            the change: call `model.compile` before the next `fit`.
        variables: Paths of the weights that were switched.
    """

    changed: tuple[str, ...]
    trainable: tuple[str, ...]
    frozen: tuple[str, ...]
    compile_again: bool
    variables: tuple[str, ...] = ()


def freeze_layers(model: keras.Model, layers: Selector | None = None) -> FreezeRecord:
    """Freeze the chosen layers or parts and leave the state of all others unchanged.

    Freeze before `model.compile`. A BatchNormalization without any trainable weights
    runs in inference mode, so its moving statistics do not change. To adapt them to new
    data while scale and shift are frozen, freeze the layer and then call
    `unfreeze_layers(model, StatisticsOf(...))`.

    Args:
        model: A built Keras model; changed in place.
        layers: A selector (see `select_layers`); None freezes everything.

    Returns:
        What changed. A UserWarning is issued if the model has been trained since it
        was compiled, because Keras would ignore the change: TensorFlow would silently
        train as before. The old training function is dropped, so that weights unknown
        to the optimizer are an error in the next fit.

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
    named = ModelLayers.of(model)
    chosen = choose(named, layers, thawed=True)
    stopped = {id(named.weights[p]) for paths in chosen.values() for p in paths}
    left: Choice = {}
    for name, paths in trainable_choice(named).items():
        kept = tuple(p for p in paths if id(named.weights[p]) not in stopped)
        if kept or (name not in chosen and not paths):
            left[name] = kept
    _refuse_statistics_alone(chosen, left)
    return _change(named, left)


def unfreeze_layers(model: keras.Model, layers: Selector | None = None) -> FreezeRecord:
    """Make the chosen layers or parts trainable and leave all others unchanged.

    The opposite of `freeze_layers`; a chosen layer inside a frozen container is made
    trainable without unfreezing its neighbours.

    Args:
        model: A built Keras model; changed in place.
        layers: A selector (see `select_layers`); None unfreezes everything.

    Returns:
        What changed; warns as `freeze_layers` does.

    Raises:
        KeyError, TypeError, ValueError: As `select_layers`.
    """
    named = ModelLayers.of(model)
    after = trainable_choice(named)
    for name, paths in choose(named, layers, thawed=True).items():
        after[name] = (*after.get(name, ()), *paths)
    return _change(named, after)


@contextlib.contextmanager
def only_trainable(
    model: keras.Model, layers: Selector | None
) -> Iterator[LayerSelection]:
    """Make exactly the chosen layers or parts trainable inside a `with` block.

    Compile inside the block to train there, and again after it. On entry and exit the
    model's training function is dropped, since it would continue to train the weights
    for which it was made. On exit, also by an exception, every flag of every layer and
    weight is restored.

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
    before = TrainableFlags.of(model)
    try:
        set_trainable(model, selection)
        drop_compiled_functions(model)
        yield selection
    finally:
        before.restore()
        drop_compiled_functions(model)


def set_trainable(model: keras.Model, selector: Any) -> None:
    """Make exactly the chosen weights trainable, without compiling the model.

    An empty selector freezes everything; individually frozen weights of whole layers
    stay frozen.
    """
    named = ModelLayers.of(model)
    nothing = isinstance(selector, Sequence) and not selector
    switch(named, {} if nothing else choose(named, selector))


def _change(named: ModelLayers, choice: Choice) -> FreezeRecord:
    model = named.model
    before = {name: set(paths) for name, paths in trainable_choice(named).items()}
    switch(named, choice)
    now = {name: set(paths) for name, paths in trainable_choice(named).items()}
    changed = tuple(name for name in named.names if before.get(name) != now.get(name))
    if changed and drop_compiled_functions(model):
        warnings.warn(
            f"Model {model.name!r} has been trained since it was compiled, before "
            f"layers changed ({', '.join(changed)}). Call model.compile(...) before "
            "the next fit, or use the FreezeLayers callback to switch during a fit.",
            UserWarning,
            stacklevel=3,
        )
    switched = set().union(*before.values()) ^ set().union(*now.values())
    built = getattr(getattr(model, "optimizer", None), "built", False)
    return FreezeRecord(
        changed=changed,
        trainable=tuple(now),
        frozen=tuple(name for name in named.names if name not in now),
        compile_again=bool(changed and built),
        variables=tuple(path for path in named.weights if path in switched),
    )


def _refuse_statistics_alone(chosen: Choice, left: Choice) -> None:
    for name, paths in chosen.items():
        if not paths and left.get(name):
            weights = ", ".join(path.rsplit("/", 1)[1] for path in left[name])
            raise ValueError(
                f"The statistics of layer {name!r} move as long as its weights "
                f"{weights} train: Keras has one flag for both. Freeze "
                f"the whole layer, freeze_layers(model, {name!r})."
            )
