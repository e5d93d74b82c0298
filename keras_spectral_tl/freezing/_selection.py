"""Choose layers of a model, or parts of them, and count their training cost."""

import dataclasses
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_spectral_tl._graph.calls import LayerCall, trace_calls
from keras_spectral_tl._graph.layers import (
    BY_US,
    BY_USER,
    DEPTHWISE,
    PLAIN,
    SEPARABLE,
    TRANSPOSED,
    ModelLayers,
    SampleShape,
    count_parameters,
    own_weights,
    parents_first,
    spatial_sizes,
)
from keras_spectral_tl._keras_internals import (
    low_rank_base,
    own_statistics,
    own_trainable_variables,
    sublayers,
)
from keras_spectral_tl.freezing._parts import Depth, Part

_CONVOLUTIONS = (*PLAIN, *DEPTHWISE, *SEPARABLE)

Choice = dict[str, tuple[str, ...]]
"""Maps a layer name to the paths of its weights that should train."""


@dataclasses.dataclass(frozen=True)
class TrainingCost:
    """Multiply-adds per sample; a multiply-add is two floating-point operations.

    With F_k the multiply-adds of the k-th call of a layer, l the first call of a layer
    that trains, and T the layers that train,

        step = sum F_k  +  sum over k in T of F_k  +  sum over k > l of F_k:

    the forward pass, the gradients of the trained weights, and the gradients that pass
    through the layers after the first trained one. No gradients pass through layers
    before it. In a branched network some layers after l do not depend on it, so the
    step is an upper bound.

    Dense and EinsumDense layers and convolutions (also depthwise, separable, grouped,
    transposed) are counted by their kernels. Every other layer, such as activations,
    normalizations, pooling, attention products and recurrent cells, counts one
    operation for each value it returns.

    Attributes:
        layers: Forward multiply-adds of each weight-bearing layer, over all its calls.
        forward: Forward multiply-adds of the model.
        step: Multiply-adds of one training step.
        cached_step: Those of a step that starts from cached activations before l.
    """

    layers: Mapping[str, int]
    forward: int
    step: int
    cached_step: int


def _multiply_adds(call: LayerCall) -> int:
    layer = call.operation
    kernels: int = sum(
        math.prod(weight.shape)
        for weight in own_weights(layer)
        if weight.name.endswith("kernel")
    )
    if isinstance(layer, keras.layers.Dense):  # quantized kernels may be packed
        return math.prod(call.output_shapes[0][1:]) * call.input_shapes[0][-1]
    if isinstance(layer, TRANSPOSED):  # each input point meets the whole kernel
        sizes = spatial_sizes(call.input_shapes[0], layer.data_format)
        return math.prod(sizes) * kernels
    if isinstance(layer, _CONVOLUTIONS):
        sizes = spatial_sizes(call.output_shapes[0], layer.data_format)
        return math.prod(sizes) * kernels
    if isinstance(layer, keras.layers.EinsumDense):
        return _values(call) * _contracted(layer)
    # Containers count only by their layers, or everything would count twice.
    return 0 if sublayers(layer) else _values(call)


def _values(call: LayerCall) -> int:
    return sum(math.prod(shape[1:]) for shape in call.output_shapes)


def _contracted(layer: keras.layers.EinsumDense) -> int:
    """Return the number of products summed for each output value."""
    terms, output = layer.equation.replace(" ", "").split("->")
    letters = terms.split(",")[1]
    sizes = zip(letters, layer.kernel.shape, strict=True)
    return math.prod(size for letter, size in sizes if letter not in output)


@dataclasses.dataclass(frozen=True)
class LayerSelection:
    """Layers, or parts of layers, chosen from one model; `str()` shows a table.

    Attributes:
        names: Names as in `layers_with_weights`, in the order of the model.
        num_trainable: Trainable parameters chosen.
        num_frozen: All other parameters of the model, moving statistics included.
        variables: Paths of the chosen weights, as in `named_weights`.
        statistics: Paths of the moving statistics that are updated too.
        source: The layers of the model; not kept in a pickled selection.
    """

    names: tuple[str, ...]
    num_trainable: int
    num_frozen: int
    variables: tuple[str, ...]
    statistics: tuple[str, ...]
    source: ModelLayers | None = dataclasses.field(
        default=None, repr=False, compare=False
    )

    def cost(self, input_shape: SampleShape | None = None) -> TrainingCost:
        """Count the multiply-adds per sample, forward and in one training step.

        Args:
            input_shape: Shape of one sample, if the model leaves it open.

        Raises:
            ValueError: If the shape of a sample or the model is not known.

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
        calls = trace_calls(self.source.model, input_shape)
        costs = [_multiply_adds(call) for call in calls]
        trained = {id(self.source.weights[path]) for path in self.variables}
        whole: dict[int, bool] = {}
        for layer in self.source.layers.values():
            active = [v for v in own_weights(layer) if id(v) in trained]
            if active:
                whole[id(layer)] = any(len(v.shape) > 1 for v in active)
        training = [k for k, call in enumerate(calls) if id(call.operation) in whole]
        first = min(training, default=len(calls))
        through = sum(costs[first + 1 :])
        # The gradient of a bias or gain sums over the outputs; that of a kernel costs
        # as much as its forward pass.
        weights = sum(
            costs[k] if whole[id(calls[k].operation)] else _values(calls[k])
            for k in training
        )
        names = {id(layer): name for name, layer in self.source.layers.items()}
        by_layer = dict.fromkeys(self.source.names, 0)
        for call, cost in zip(calls, costs, strict=True):
            if id(call.operation) in names:
                by_layer[names[id(call.operation)]] += cost
        return TrainingCost(
            layers=by_layer,
            forward=sum(costs),
            step=sum(costs) + weights + through,
            cached_step=sum(costs[first:]) + weights + through,
        )

    def __str__(self) -> str:
        total = self.num_trainable + self.num_frozen
        lines = [f"{'layer':24}  weights"]
        for name in self.names:
            paths = [*self.variables, *self.statistics]
            inside = [path for path in paths if path.rsplit("/", 1)[0] == name]
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
        selector: A layer name (that of a container means all layers in it); an index or
            slice into `layers_with_weights` (negative ones count from the end);
            `freezing.Depth`, which counts in the order of the calls; a compiled regular
            expression, searched in the names; a subclass of `keras.Layer`, for its
            instances and the layers inside them; a layer of the model and those in it;
            a callable from layer to bool; a part such as `freezing.KernelsOf`,
            `BiasesOf`, `NormalizationOf`, `StatisticsOf`, `LowRankOf`, `FiltersOf`,
            `ChannelGainsOf` or `OutputGain`; an earlier `LayerSelection`; or a sequence
            of any of these. None means all.

    Returns:
        What was chosen, with parameter counts and multiply-adds. A whole layer means
        its trainable weights, without individually frozen ones.

    Raises:
        KeyError: If no layer has a given name (similar names are suggested).
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
    named = ModelLayers.of(model)
    return select_from(named, choose(named, selector))


def select_from(named: ModelLayers, choice: Choice) -> LayerSelection:
    """Return the choice with its counts, in the order of the model."""
    names = tuple(name for name in named.names if name in choice)
    chosen = [named.weights[path] for paths in choice.values() for path in paths]
    running = [v for n in names for v in own_statistics(named.layers[n])]
    count = count_parameters({id(v): v for v in chosen}.values())
    total = count_parameters(named.model.weights)
    return LayerSelection(
        names=names,
        num_trainable=count,
        num_frozen=total - count,
        variables=named.paths(chosen),
        statistics=named.paths(running),
        source=named,
    )


def choose(named: ModelLayers, selector: Any, thawed: bool = False) -> Choice:
    """Return the paths of the weights that a selector chooses, by layer.

    With `thawed`, a whole layer means all weights that unfreezing it makes trainable,
    not only those trainable now.
    """
    choice = _chosen(named, selector, thawed)
    if choice:
        return choice
    hint = f" {selector.advice()}" if isinstance(selector, Part) else ""
    raise ValueError(
        f"The selector {selector!r} chose no layer of model {named.model.name!r}. Its "
        f"layers with weights are: {', '.join(named.names) or 'none'}.{hint}"
    )


def _chosen(named: ModelLayers, selector: Any, thawed: bool) -> Choice:
    if isinstance(selector, LayerSelection):
        return _of_selection(named, selector)
    if isinstance(selector, Part):
        return _of_part(named, _names(named, selector.layers), selector)
    if isinstance(selector, Sequence) and not isinstance(selector, str):
        choice: Choice = {}
        for item in selector:
            for name, paths in _chosen(named, item, thawed).items():
                choice[name] = (*choice.get(name, ()), *paths)
        return choice
    return {name: _whole(named, name, thawed) for name in _names(named, selector)}


def _of_selection(named: ModelLayers, selection: LayerSelection) -> Choice:
    chosen = set(selection.variables)
    return {
        named.known(name): tuple(p for p in named.weights_of(name) if p in chosen)
        for name in selection.names
    }


def _of_part(named: ModelLayers, names: Sequence[str], part: Part) -> Choice:
    choice: Choice = {}
    for name in names:
        layer = named.layers[name]
        own = {id(v) for v in own_trainable_variables(layer)}
        accepted = {
            path: weight
            for path, weight in named.weights_of(name).items()
            if part.accepts(layer, weight.name)
        }
        if accepted:
            choice[name] = tuple(p for p, v in accepted.items() if id(v) in own)
    return choice


def _whole(named: ModelLayers, name: str, thawed: bool) -> tuple[str, ...]:
    layer = named.layers[name]
    own = own_trainable_variables(layer)
    # The user may have frozen single weights, unless the whole layer is frozen.
    active = [] if thawed else [v for v in own if v.trainable]
    if not active:
        held = held_places(layer)
        active = [v for i, v in enumerate(own) if i not in held]
    ids = {id(variable) for variable in active}
    return tuple(p for p, v in named.weights_of(name).items() if id(v) in ids)


def _names(named: ModelLayers, selector: Any) -> list[str]:
    names = list(named.names)
    if selector is None:
        return names
    if isinstance(selector, LayerSelection):
        return [named.known(name) for name in selector.names]
    if isinstance(selector, str):
        inside = [name for name in names if name.startswith(f"{selector}/")]
        return inside if inside and selector not in names else [named.known(selector)]
    if isinstance(selector, int | np.integer) and not isinstance(selector, bool):
        if not -len(names) <= selector < len(names):
            raise ValueError(
                f"Layer index {selector} is out of range: the model has {len(names)} "
                f"layers with weights, 0 ... {len(names) - 1}: {', '.join(names)}."
            )
        return [names[selector]]
    if isinstance(selector, slice):
        return names[selector]
    if isinstance(selector, Depth):
        return list(selector.names(named.model, named.layers))
    if isinstance(selector, Sequence):
        return [name for item in selector for name in _names(named, item)]
    accepts = _as_predicate(named.model, selector)
    return [name for name, layer in named.layers.items() if accepts(name, layer)]


def _as_predicate(
    model: keras.Model, selector: Any
) -> Callable[[str, keras.Layer], bool]:
    if isinstance(selector, re.Pattern):
        return lambda name, layer: selector.search(name) is not None
    if isinstance(selector, type) and issubclass(selector, keras.Layer):
        # Recurrent and attention layers hold their weights in inner layers.
        parts = parents_first(model)[1:]
        inside = _inside([part for part in parts if isinstance(part, selector)])
        return lambda name, layer: isinstance(layer, selector) or id(layer) in inside
    if isinstance(selector, keras.Layer):
        inside = _inside([selector])
        return lambda name, layer: id(layer) in inside
    if callable(selector) and not isinstance(selector, type):
        return lambda name, layer: bool(selector(layer))
    raise TypeError(
        "A layer selector is a name, an index, a slice, a depth, a compiled regular "
        "expression, a subclass of keras.Layer, a layer, a callable from layer to "
        "bool, a part such as BiasesOf, or a sequence of these. Received "
        f"{selector!r} of type {type(selector).__name__}."
    )


def _inside(containers: Sequence[keras.Layer]) -> set[int]:
    return {id(layer) for container in containers for layer in parents_first(container)}


def held_places(layer: keras.Layer) -> set[int]:
    """Return the indices of the weights that unfreezing the layer leaves frozen."""
    own = own_trainable_variables(layer)
    base = low_rank_base(layer)
    if layer.trainable:
        ours = BY_US.get(layer, ())
        places = {i for i, v in enumerate(own) if not v.trainable and i not in ours}
    else:
        places = BY_USER.get(layer, set())
    if len(places) == len(own):
        places = set()  # the whole layer is frozen by single weights
    return places | {i for i, v in enumerate(own) if v is base}


def notes_of(layers: Sequence[keras.Layer]) -> Callable[[], None]:
    """Return a function that restores what is recorded of these layers now."""
    kept = [
        (records, layer, set(records[layer]) if layer in records else None)
        for records in (BY_USER, BY_US)
        for layer in layers
    ]

    def restore() -> None:
        for records, layer, places in kept:
            if places is None:
                records.pop(layer, None)
            else:
                records[layer] = set(places)

    return restore


def remember(layer: keras.Layer) -> None:
    """Record which weights of a layer are frozen individually, before it is frozen."""
    BY_USER[layer] = held_places(layer)


def note(layer: keras.Layer, variable: keras.Variable, frozen: bool) -> None:
    """Record that a weight was frozen individually here, or no longer is."""
    own = own_trainable_variables(layer)
    place = next(i for i, v in enumerate(own) if v is variable)
    ours = BY_US.setdefault(layer, set())
    if frozen:
        ours.add(place)
    else:
        ours.discard(place)
