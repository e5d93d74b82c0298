"""Choose layers of a model, or parts of them, and see what was chosen."""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_spectral_tl import introspection
from keras_spectral_tl.freezing.costs import TrainingCost, training_cost
from keras_spectral_tl.freezing.depth import Depth
from keras_spectral_tl.freezing.parts import Part
from keras_spectral_tl.introspection import SampleShape

# Layer name -> names of its weights that are to train.
Choice = dict[str, tuple[str, ...]]


@dataclasses.dataclass(frozen=True)
class LayerSelection:
    """Layers, or parts of layers, chosen from one model; `str()` of it is a table.

    Attributes:
        names: Names as in `layers_with_weights`, in the order of the model.
        num_trainable: Trainable parameters chosen.
        num_frozen: All other parameters of the model, moving statistics included.
        variables: Paths of the chosen weights, as in `introspection.named_weights`.
        statistics: Paths of the moving statistics that are updated beside them.
        source: The model and its layers by name; not kept in a pickled selection.
    """

    names: tuple[str, ...]
    num_trainable: int
    num_frozen: int
    variables: tuple[str, ...]
    statistics: tuple[str, ...]
    source: tuple[keras.Model, Mapping[str, keras.Layer]] | None = dataclasses.field(
        default=None, repr=False, compare=False
    )

    def cost(self, input_shape: SampleShape | None = None) -> TrainingCost:
        """Count the multiply-adds per sample, forward and in one training step.

        Args:
            input_shape: Shape of one sample, where the model leaves it open.

        Returns:
            The counts; `freezing.TrainingCost` says what they hold.

        Raises:
            ValueError: If the shape of a sample is not known, or the model is not.

        Example:
            >>> layers = [keras.layers.Dense(4, name=name) for name in "ab"]
            >>> model = keras.Sequential([keras.Input((3,)), *layers])
            >>> cost = select_layers(model, "b").cost()
            >>> cost.forward == 3 * 4 + 4 * 4, cost.step == cost.forward + 4 * 4
            (True, True)
        """
        if self.source is None:
            raise ValueError(
                f"The model of the selection {', '.join(self.names)} is not known any "
                "more. Choose again with select_layers(model, ...)."
            )
        model, layers = self.source
        weights = introspection.named_weights(layers)
        trained = {
            name: [weights[path] for path in self.variables if _layer(path) == name]
            for name in self.names
        }
        return training_cost(model, trained, layers, input_shape)

    def __str__(self) -> str:
        total = self.num_trainable + self.num_frozen
        lines = [f"{'layer':24}  weights"]
        for name in self.names:
            paths = [*self.variables, *self.statistics]
            inside = [path for path in paths if _layer(path) == name]
            shown = ", ".join(path.rsplit("/", 1)[1] for path in inside)
            lines.append(f"{name:24}  {shown}")
        lines.append(f"{self.num_trainable:,} of {total:,} parameters train")
        try:
            cost = self.cost()
        except ValueError:
            lines.append("multiply-adds: call .cost(input_shape)")
        else:
            lines += [
                "multiply-adds per sample:",
                f"  {cost.forward:,} forward",
                f"  {cost.step:,} in a training step",
                f"  {cost.cached_step:,} in one from cached activations",
            ]
        return "\n".join(lines)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "source": None}


Selector = (
    str
    | int
    | slice
    | re.Pattern[str]
    | type
    | Callable[[keras.Layer], bool]
    | Depth
    | Part
    | LayerSelection
    | Sequence[Any]
)


def select_layers(model: keras.Model, selector: Selector | None) -> LayerSelection:
    """Choose weight-bearing layers, or parts of them.

    Args:
        model: A built Keras model.
        selector: A layer name (that of a container without weights of its own means
            all layers in it); an index or slice into `layers_with_weights`
            (negative ones count from the end); `freezing.Depth`, which counts in the
            order of the calls; a compiled regular expression, searched in the names; a
            subclass of `keras.Layer`; a layer of the model; a callable from layer to
            bool; a part such as `freezing.KernelsOf`, `BiasesOf`, `NormalizationOf`,
            `StatisticsOf`, `LowRankOf` or `OutputGain`; an earlier `LayerSelection`; or
            a sequence of any of these. None means all.

    Returns:
        What was chosen, with parameter counts and multiply-adds. A whole layer stands
        for its trainable weights, without those frozen one by one.

    Raises:
        KeyError: If no layer has a given name (near names are proposed).
        ValueError: If an index is out of range or nothing was chosen.
        TypeError: If the selector is of another type.

    Example:
        >>> import keras
        >>> layers = [keras.layers.Dense(2, name=name) for name in ("first", "last")]
        >>> model = keras.Sequential([keras.Input((3,)), *layers])
        >>> print(select_layers(model, "first"))
        layer                     weights
        first                     kernel, bias
        8 of 14 parameters train
        multiply-adds per sample:
          10 forward
          20 in a training step
          20 in one from cached activations
        >>> select_layers(model, -1).names
        ('last',)
    """
    layers = introspection.layers_with_weights(model)
    return select_from(model, layers, choose(model, layers, selector))


def select_from(
    model: keras.Model, layers: Mapping[str, keras.Layer], choice: Choice
) -> LayerSelection:
    """Return the choice with its counts, in the order of the model."""
    names = tuple(name for name in layers if name in choice)
    weights = introspection.named_weights(layers)
    running = {id(v) for n in names for v in introspection.own_statistics(layers[n])}
    chosen = [path for path in weights if _last(path) in choice.get(_layer(path), ())]
    count = introspection.count_parameters([weights[path] for path in chosen])
    total = introspection.count_parameters(model.weights)
    return LayerSelection(
        names=names,
        num_trainable=count,
        num_frozen=total - count,
        variables=tuple(chosen),
        statistics=tuple(path for path, v in weights.items() if id(v) in running),
        source=(model, layers),
    )


def choose(
    model: keras.Model,
    layers: Mapping[str, keras.Layer],
    selector: Any,
    thawed: bool = False,
) -> Choice:
    """Return the weights that a selector chooses, by layer.

    Args:
        model: A built Keras model.
        layers: Its weight-bearing layers by name.
        selector: See `select_layers`.
        thawed: Whether a whole layer includes weights frozen one by one.

    Raises:
        KeyError, TypeError, ValueError: As `select_layers`.
    """
    choice = _chosen(model, layers, selector, thawed)
    if choice:
        return choice
    mend = f" {selector.mend()}" if isinstance(selector, Part) else ""
    raise ValueError(
        f"The selector {selector!r} chose no layer of model {model.name!r}. Its "
        f"layers with weights are: {', '.join(layers) or 'none'}.{mend}"
    )


def _chosen(
    model: keras.Model, layers: Mapping[str, keras.Layer], selector: Any, thawed: bool
) -> Choice:
    if isinstance(selector, LayerSelection):
        return _of_selection(model, layers, selector)
    if isinstance(selector, Part):
        inside = _whole(layers, _names(model, layers, selector.layers), thawed=True)
        return _of_part(layers, inside, selector)
    if isinstance(selector, Sequence) and not isinstance(selector, str):
        choice: Choice = {}
        for item in selector:
            for name, weights in _chosen(model, layers, item, thawed).items():
                choice[name] = (*choice.get(name, ()), *weights)
        return choice
    return _whole(layers, _names(model, layers, selector), thawed)


def _of_selection(
    model: keras.Model, layers: Mapping[str, keras.Layer], selection: LayerSelection
) -> Choice:
    choice: Choice = {}
    for name in selection.names:
        introspection.known_name(name, list(layers), model.name)
        choice[name] = tuple(
            _last(path) for path in selection.variables if _layer(path) == name
        )
    return choice


def _of_part(layers: Mapping[str, keras.Layer], inside: Choice, part: Part) -> Choice:
    choice: Choice = {}
    for name in inside:
        paths = introspection.named_weights({name: layers[name]})
        own = {id(v) for v in introspection.own_trainable_variables(layers[name])}
        accepted = [
            path for path, v in paths.items() if part.accepts(layers[name], v.name)
        ]
        if accepted:
            choice[name] = tuple(_last(p) for p in accepted if id(paths[p]) in own)
    return choice


def _whole(
    layers: Mapping[str, keras.Layer], names: Sequence[str], thawed: bool
) -> Choice:
    choice: Choice = {}
    for name in names:
        paths = introspection.named_weights({name: layers[name]})
        own = introspection.own_trainable_variables(layers[name])
        # A user may have frozen one weight; a layer frozen as a whole has no such.
        active = own if thawed else [v for v in own if v.trainable] or own
        ids = {id(variable) for variable in active}
        choice[name] = tuple(_last(path) for path, v in paths.items() if id(v) in ids)
    return choice


def _names(
    model: keras.Model, layers: Mapping[str, keras.Layer], selector: Any
) -> list[str]:
    names = list(layers)
    if selector is None:
        return names
    if isinstance(selector, LayerSelection):
        return [introspection.known_name(n, names, model.name) for n in selector.names]
    if isinstance(selector, str):
        inside = [name for name in names if name.startswith(f"{selector}/")]
        if inside and selector not in layers:
            return inside
        return [introspection.known_name(selector, names, model.name)]
    if isinstance(selector, (int, np.integer)) and not isinstance(selector, bool):
        return [_name_at(names, int(selector))]
    if isinstance(selector, slice):
        return names[selector]
    if isinstance(selector, Depth):
        return list(selector.names(model, layers))
    if isinstance(selector, Sequence):
        return [name for item in selector for name in _names(model, layers, item)]
    accepts = _as_predicate(selector)
    return [name for name, layer in layers.items() if accepts(name, layer)]


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
        "A layer selector is a name, an index, a slice, a depth, a compiled regular "
        "expression, a subclass of keras.Layer, a layer, a callable from layer to "
        "bool, a part such as BiasesOf, or a sequence of these. Received "
        f"{selector!r} of type {type(selector).__name__}."
    )


def _layer(path: str) -> str:
    return path.rsplit("/", 1)[0]


def _last(path: str) -> str:
    return path.rsplit("/", 1)[1]
