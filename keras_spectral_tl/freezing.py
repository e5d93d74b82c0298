"""Choose layers of a model, freeze and unfreeze them, and prove what did not move."""

import contextlib
import dataclasses
import hashlib
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np

from keras_spectral_tl import introspection


@dataclasses.dataclass(frozen=True)
class LayerSelection:
    """Layers chosen from one model.

    Attributes:
        names: Names as in `introspection.weight_layers`, in the order of the model.
        num_trainable: Trainable parameters of the chosen layers.
        num_frozen: All other parameters of the model, moving statistics included.
    """

    names: tuple[str, ...]
    num_trainable: int
    num_frozen: int


Selector = (
    str
    | int
    | re.Pattern[str]
    | type
    | Callable[[keras.Layer], bool]
    | LayerSelection
    | Sequence[Any]
)


@dataclasses.dataclass(frozen=True)
class FreezeRecord:
    """What `freeze_layers` or `unfreeze_layers` did.

    Attributes:
        changed: Layers whose state changed.
        trainable: Layers that are trainable now.
        frozen: Layers that are frozen now.
        compile_again: Whether the model has a training function made before the change,
            which does not know of it: call `model.compile` before the next `fit`.
    """

    changed: tuple[str, ...]
    trainable: tuple[str, ...]
    frozen: tuple[str, ...]
    compile_again: bool


@dataclasses.dataclass(frozen=True)
class TrainableFlags:
    """Every `trainable` flag of a model at one moment, to be put back exactly."""

    layers: tuple[tuple[keras.Layer, bool], ...]
    variables: tuple[tuple[keras.Variable, bool], ...]

    @classmethod
    def of(cls, model: keras.Model) -> "TrainableFlags":
        """Read the flags of all layers and weights of `model`."""
        layers = introspection.parents_first(model)
        weights = [v for layer in layers for v in introspection.own_weights(layer)]
        return cls(
            layers=tuple((layer, layer.trainable) for layer in layers),
            variables=tuple((weight, weight.trainable) for weight in weights),
        )

    def restore(self) -> None:
        """Write the flags back: containers, then what is in them, then weights."""
        for layer, flag in self.layers:
            layer.trainable = flag
        for variable, flag in self.variables:
            variable.trainable = flag


def select_layers(model: keras.Model, selector: Selector | None) -> LayerSelection:
    """Choose weight-bearing layers by name, place, pattern, class or predicate.

    Args:
        model: A built Keras model.
        selector: A layer name (that of a container without weights of its
            own means all layers in it); an index
            into `introspection.weight_layers` (negative ones count from the end); a
            compiled regular expression, searched in the names; a subclass of
            `keras.Layer`; a layer of the model; a callable from layer to bool; an
            earlier `LayerSelection`; or a sequence of any of these. None means all.

    Returns:
        The chosen layers with their parameter counts.

    Raises:
        KeyError: If no layer has a given name (near names are proposed).
        ValueError: If an index is out of range or nothing was chosen.
        TypeError: If the selector is of another type.

    Example:
        >>> import keras
        >>> layers = [keras.layers.Dense(2, name=name) for name in ("first", "last")]
        >>> model = keras.Sequential([keras.Input((3,)), *layers])
        >>> select_layers(model, "first")
        LayerSelection(names=('first',), num_trainable=8, num_frozen=6)
        >>> select_layers(model, -1).names
        ('last',)
    """
    layers = introspection.weight_layers(model)
    chosen = set(layers) if selector is None else _matches(model, layers, selector)
    if not chosen:
        raise ValueError(
            f"The selector {selector!r} chose no layer of model {model.name!r}. Its "
            f"layers with weights are: {', '.join(layers) or 'none'}."
        )
    names = tuple(name for name in layers if name in chosen)
    trainable = [
        v for name in names for v in introspection.own_trainable_variables(layers[name])
    ]
    num_trainable = introspection.count_parameters(trainable)
    num_all = introspection.count_parameters(model.weights)
    return LayerSelection(names, num_trainable, num_all - num_trainable)


def _matches(
    model: keras.Model, layers: dict[str, keras.Layer], selector: Any
) -> set[str]:
    if isinstance(selector, LayerSelection):
        selector = selector.names
    if isinstance(selector, str):
        inside = {name for name in layers if name.startswith(f"{selector}/")}
        if inside and selector not in layers:
            return inside
        return {introspection.resolve_layer_name(model, selector)}
    if isinstance(selector, (int, np.integer)) and not isinstance(selector, bool):
        return {_name_at(list(layers), int(selector))}
    if isinstance(selector, Sequence):
        return {name for item in selector for name in _matches(model, layers, item)}
    accepts = _as_predicate(selector)
    return {name for name, layer in layers.items() if accepts(name, layer)}


def _name_at(names: list[str], index: int) -> str:
    if not -len(names) <= index < len(names):
        raise ValueError(
            f"Layer index {index} is out of range: the model has {len(names)} layers "
            f"with weights, 0 ... {len(names) - 1}: {', '.join(names)}."
        )
    return names[index]


def _as_predicate(selector: Any) -> Callable[[str, keras.Layer], bool]:
    if isinstance(selector, re.Pattern):
        return lambda name, layer: selector.search(name) is not None
    if isinstance(selector, type) and issubclass(selector, keras.Layer):
        return lambda name, layer: isinstance(layer, selector)
    if isinstance(selector, keras.Layer):
        inside = {id(layer) for layer in introspection.parents_first(selector)}
        return lambda name, layer: id(layer) in inside
    if callable(selector) and not isinstance(selector, type):
        return lambda name, layer: bool(selector(layer))
    raise TypeError(
        "A layer selector is a name, an index, a compiled regular expression, a "
        "subclass of keras.Layer, a layer, a callable from layer to bool, or a "
        f"sequence of these. Received {selector!r} of type {type(selector).__name__}."
    )


def trainable_names(model: keras.Model) -> tuple[str, ...]:
    """Return the weight-bearing layers that training would change now.

    A layer without trainable weights (statistics only) counts by its flag.
    """
    active = {id(variable) for variable in model.trainable_weights}

    def moves(layer: keras.Layer) -> bool:
        own = introspection.own_trainable_variables(layer)
        return any(id(v) in active for v in own) if own else bool(layer.trainable)

    layers = introspection.weight_layers(model)
    return tuple(name for name, layer in layers.items() if moves(layer))


def set_trainable(model: keras.Model, names: Sequence[str]) -> None:
    """Make exactly the named weight-bearing layers trainable; compile is up to you.

    A container that holds weights beside sublayers is switched weight by weight, since
    its flag would switch the sublayers too.
    """
    layers = introspection.weight_layers(model)
    targets = {id(layers[name]) for name in names}
    for layer in introspection.parents_first(model):
        selected = id(layer) in targets
        own = introspection.own_trainable_variables(layer)
        if introspection.sublayers(layer):
            inside = {id(inner) for inner in introspection.parents_first(layer)}
            if inside & targets and not layer.trainable:
                layer.trainable = True
            for variable in own:
                variable.trainable = selected
        elif introspection.own_weights(layer):
            # Left alone where it is right already: a user may have frozen one weight.
            stuck = selected and bool(own) and not any(v.trainable for v in own)
            if layer.trainable != selected or stuck:
                layer.trainable = selected


def _change(model: keras.Model, names: Sequence[str]) -> FreezeRecord:
    before = set(trainable_names(model))
    set_trainable(model, names)
    now = trainable_names(model)
    everything = tuple(introspection.weight_layers(model))
    changed = tuple(name for name in everything if (name in before) != (name in now))
    stale = bool(changed) and getattr(model, "train_function", None) is not None
    if stale:
        warnings.warn(
            f"Model {model.name!r} already has a training function, which ignores the "
            f"changed layers ({', '.join(changed)}). Call model.compile(...) before "
            "the next fit, or use the FreezeLayers callback to switch during a fit.",
            UserWarning,
            stacklevel=3,
        )
    frozen = tuple(name for name in everything if name not in now)
    return FreezeRecord(changed, now, frozen, stale)


def freeze_layers(model: keras.Model, layers: Selector | None = None) -> FreezeRecord:
    """Freeze the chosen layers and leave the state of all others as it is.

    Freeze before `model.compile`. A frozen BatchNormalization runs in inference mode,
    so its moving statistics stay as they are.

    Args:
        model: A built Keras model; changed in place.
        layers: A selector (see `select_layers`); None freezes everything.

    Returns:
        What changed. A UserWarning says so when the model has been trained since it
        was compiled, because its training function does not see the change.

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
    chosen = set(select_layers(model, layers).names)
    return _change(model, [n for n in trainable_names(model) if n not in chosen])


def unfreeze_layers(model: keras.Model, layers: Selector | None = None) -> FreezeRecord:
    """Make the chosen layers trainable and leave the state of all others as it is.

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
    chosen = select_layers(model, layers).names
    return _change(model, [*trainable_names(model), *chosen])


@contextlib.contextmanager
def only_trainable(
    model: keras.Model, layers: Selector | None
) -> Iterator[LayerSelection]:
    """Make exactly the chosen layers trainable inside a `with` block.

    Compile inside the block: a training function made before it does not see the
    change. On the way out, also by an exception, every flag of every layer and weight
    is put back.

    Args:
        model: A built Keras model.
        layers: A selector (see `select_layers`).

    Yields:
        The chosen layers.

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
    flags = TrainableFlags.of(model)
    try:
        set_trainable(model, selection.names)
        yield selection
    finally:
        flags.restore()


def weight_hashes(model: keras.Model) -> dict[str, str]:
    """Return the SHA-256 of the weights of each weight-bearing layer.

    Moving statistics are included. Two equal hashes mean that the weights are equal bit
    for bit, with the same shapes and dtypes.

    Args:
        model: A built Keras model.

    Returns:
        Hexadecimal digests by layer name, as in `introspection.weight_layers`.

    Example:
        >>> import keras
        >>> dense = keras.layers.Dense(2, name="hidden")
        >>> model = keras.Sequential([keras.Input((3,)), dense])
        >>> before = weight_hashes(model)
        >>> _ = dense.bias.assign([0.0, 1.0])
        >>> weight_hashes(model) == before
        False
    """
    layers = introspection.weight_layers(model)
    return {name: _layer_hash(layer) for name, layer in layers.items()}


def _layer_hash(layer: keras.Layer) -> str:
    digest = hashlib.sha256()
    for weight in introspection.own_weights(layer):
        values = introspection.fetch(weight)
        digest.update(f"{weight.dtype}{values.shape}".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()
