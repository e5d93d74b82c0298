"""Layers of a model that hold weights, and unique names of layers and weights."""

import dataclasses
import math
import operator
import os
import re
import reprlib
import weakref
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_spectral_tl._checks import did_you_mean
from keras_spectral_tl._keras_internals import (
    own_seed_generators,
    own_statistics,
    own_trainable_variables,
    sublayers,
)

SampleShape = Sequence[int] | Sequence[Sequence[int]]
"""Shape of one sample without the batch axis, or one shape for each input."""

OWN = "own"
"""Last part of the name under which the own weights of a container are listed."""

PLAIN = (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)
DEPTHWISE = (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)
SEPARABLE = (keras.layers.SeparableConv1D, keras.layers.SeparableConv2D)
TRANSPOSED = (
    keras.layers.Conv1DTranspose,
    keras.layers.Conv2DTranspose,
    keras.layers.Conv3DTranspose,
)

_AUTOMATIC = re.compile(r"variable(_\d+)?")


def own_weights(layer: keras.Layer) -> list[keras.Variable]:
    """Return the weights that `layer` itself holds: trainable ones, then statistics.

    Sublayers' weights and the states of random generators are not included.
    """
    return [*own_trainable_variables(layer), *own_statistics(layer)]


def is_kernel(weight: keras.Variable) -> bool:
    """Return whether a weight has filters; biases of GRU have two axes as well."""
    return len(weight.shape) > 1 and not weight.name.endswith("bias")


def axes_of_filter(layer: keras.Layer, weight: keras.Variable) -> tuple[int, ...]:
    """Return the axes of a weight that one filter spans (for a vector, all axes)."""
    rank, name = len(weight.shape), weight.name
    outputs = {rank - 1} if rank > 1 else set()
    if isinstance(layer, DEPTHWISE) or name == "depthwise_kernel":
        outputs = {rank - 2, rank - 1}
    elif isinstance(layer, TRANSPOSED):
        outputs = {rank - 2}
    elif isinstance(layer, keras.layers.EinsumDense) and name == "kernel":
        terms, result = layer.equation.replace(" ", "").split("->")
        kernel = terms.split(",")[1]
        outputs = {axis for axis, index in enumerate(kernel) if index in result}
        if len(outputs) == rank:  # each weight acts on a number of its own
            outputs = set()
    return tuple(axis for axis in range(rank) if rank == 1 or axis not in outputs)


def seed_generators(model: keras.Layer) -> list[keras.random.SeedGenerator]:
    """Return the random generators of all layers, each once, containers first."""
    found = {
        id(generator): generator
        for layer in parents_first(model)
        for generator in own_seed_generators(layer)
    }
    return list(found.values())


def fetch(value: Any) -> NDArray[Any]:
    """Return the value of a variable or a tensor as a NumPy array."""
    # convert_to_numpy copies variables in a way deprecated by NumPy 2.
    is_variable = isinstance(value, keras.Variable)
    return np.asarray(value if is_variable else keras.ops.convert_to_numpy(value))


def rows_of(nest: Any, rows: Any) -> Any:
    """Return some rows of each array of a nest."""
    return keras.tree.map_structure(operator.itemgetter(rows), nest)


def batches(x: Any, batch_size: int) -> Iterator[tuple[slice, Any]]:
    """Yield rows and inputs of each batch; `x` is an array or a nest of arrays."""
    num_samples = len(keras.tree.flatten(x)[0])
    for start in range(0, num_samples, batch_size):
        rows = slice(start, start + batch_size)
        yield rows, rows_of(x, rows)


# Keras overwrites the flags of the weights when a layer is frozen. So the individually
# frozen ones are recorded here as long as the layer lives, so that unfreezing does not
# unfreeze the kernel of a low-rank update or a weight that the user froze.
# Indices among a layer's own trainable weights: frozen by the user when the layer was
# frozen here; and frozen by functions of this package, weight by weight.
BY_USER: weakref.WeakKeyDictionary[keras.Layer, set[int]] = weakref.WeakKeyDictionary()
BY_US: weakref.WeakKeyDictionary[keras.Layer, set[int]] = weakref.WeakKeyDictionary()

SingleFlags = tuple[set[int], set[int], set[int]]


def single_flags(layer: keras.Layer) -> SingleFlags:
    """Return which own weights of a layer are frozen one by one, and these records."""
    own = enumerate(own_trainable_variables(layer))
    frozen = {i for i, v in own if layer.trainable and not v.trainable}
    return frozen, set(BY_USER.get(layer, ())), set(BY_US.get(layer, ()))


def set_single_flags(layer: keras.Layer, flags: SingleFlags) -> None:
    """Freeze own weights of a copy of a layer as `single_flags` says of the layer."""
    own = own_trainable_variables(layer)
    frozen, BY_USER[layer], BY_US[layer] = map(set, flags)
    for place in frozen:
        own[place].trainable = False


def count_parameters(variables: Iterable[keras.Variable]) -> int:
    return sum(math.prod(variable.shape) for variable in variables)


def parents_first(model: keras.Layer) -> list[keras.Layer]:
    """Return the model and every layer in it, each once, containers before contents.

    Setting `trainable` on a container overwrites the flags of its contents, so flags
    must be written in this order. It is a topological order, not an execution order,
    and so also correct for a layer shared by two containers.
    """
    seen: set[int] = set()
    contents_first: list[keras.Layer] = []

    def visit(layer: keras.Layer) -> None:
        if id(layer) in seen:
            return
        seen.add(id(layer))
        for inner in sublayers(layer):
            visit(inner)
        contents_first.append(layer)

    visit(model)
    return contents_first[::-1]


@dataclasses.dataclass(frozen=True, eq=False)
class ModelLayers:
    """The weight-bearing layers of a model and their weights, under unique names.

    Attributes:
        model: The model.
        layers: The layers by name, in order (see `layers_with_weights`).
        weights: The weights that the layers hold themselves, by path "layer/weight". A
            weight shared by two layers has a path in each.
    """

    model: keras.Model
    layers: Mapping[str, keras.Layer]
    weights: Mapping[str, keras.Variable]

    @classmethod
    def of(cls, model: keras.Model) -> "ModelLayers":
        layers = layers_with_weights(model)
        return cls(model, layers, named_weights(layers))

    def of_copy(self, other: keras.Model) -> "ModelLayers":
        """Return the layers and weights of a copy under the names used here.

        They are matched by position, since automatic names differ in a copy.
        """
        theirs = list(layers_with_weights(other).items())
        names = list(self.layers)
        for name, _ in theirs[len(names) :]:  # that only the copy has
            names.append(_unique(name, names))
        layers = {n: layer for n, (_, layer) in zip(names, theirs, strict=False)}
        weights: dict[str, keras.Variable] = {}
        for name, layer in layers.items():
            known: dict[int, str] = {}
            if name in self.layers:
                paths = {id(v): path for path, v in self.weights_of(name).items()}
                pairs = paired_weights(self.layers[name], layer)
                known = {id(copied): paths[id(v)] for v, copied in pairs}
            for weight in own_weights(layer):
                own = f"{name}/{_weight_name(layer, weight)}"
                weights[known.get(id(weight)) or _unique(own, weights)] = weight
        missing = [path for path in self.weights if path not in weights]
        if missing:
            raise ValueError(
                f"Model {other.name!r} is not a copy of {self.model.name!r}: it has no "
                f"weights in the places of {', '.join(missing)}."
            )
        return ModelLayers(other, layers, weights)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the layers, in order."""
        return tuple(self.layers)

    def paths(self, variables: Iterable[keras.Variable]) -> tuple[str, ...]:
        """Return every path of the given weights, in order."""
        wanted = {id(variable) for variable in variables}
        return tuple(path for path, v in self.weights.items() if id(v) in wanted)

    def holders(self, variables: Iterable[keras.Variable]) -> set[str]:
        """Return the names of all layers that hold one of the given weights."""
        return {path.rsplit("/", 1)[0] for path in self.paths(variables)}

    def weights_of(self, name: str) -> dict[str, keras.Variable]:
        """Return the weights that one layer holds itself, by path."""
        return {
            path: weight
            for path, weight in self.weights.items()
            if path.rsplit("/", 1)[0] == name
        }

    def known(self, name: str) -> str:
        """Return `name` if a layer has this name, else raise KeyError."""
        if name in self.layers:
            return name
        raise KeyError(
            f"Model {self.model.name!r} has no weight-bearing layer named {name!r}."
            f"{did_you_mean(name, self.layers)} "
            f"Its layers with weights are: {', '.join(self.layers) or 'none'}."
        )


def paired_weights(
    layer: keras.Layer, copy: keras.Layer
) -> list[tuple[keras.Variable, keras.Variable]]:
    """Return pairs of corresponding weights of a layer and of its copy.

    Weights are matched by position among the trainable ones and among the others, or by
    name if all weights of the layer have different names: a quantized layer creates its
    weights in another order when it is rebuilt.
    """
    pairs: list[tuple[keras.Variable, keras.Variable]] = []
    for held in (own_trainable_variables, own_statistics):
        names = {_weight_name(layer, weight): weight for weight in held(layer)}
        copied = {_weight_name(copy, weight): weight for weight in held(copy)}
        named = len(names) == len(held(layer)) and len(copied) == len(held(copy))
        if named and names.keys() <= copied.keys():
            pairs += [(weight, copied[name]) for name, weight in names.items()]
        else:
            pairs += zip(held(layer), held(copy), strict=False)
    return pairs


def layers_with_weights(
    model: keras.Model, trainable: bool = False
) -> dict[str, keras.Layer]:
    """Return every layer that directly owns weights, keyed by a unique name.

    Nested and subclassed models, wrappers and recurrent cells are flattened: a
    container is listed only if it holds weights of its own. The key of a layer of the
    model is its plain name, that of a layer inside another one a path such as
    `"encoder/conv_1"`. Weights that a container itself holds are `"encoder/own"`. A
    shared layer appears once, under the first name found. If two layers have the same
    name (possible in subclassed models), the later ones end in `_2`, `_3`, ...

    Functional and sequential models are listed in graph order, subclassed models,
    whose order of calls is unknown, in the order in which layers became attributes.

    Args:
        model: A built Keras model.
        trainable: Whether to leave out layers that hold only statistics, such as
            Normalization, which training does not change.

    Returns:
        The layers by name, in order.

    Raises:
        TypeError: If `model` is not a Keras layer or model.
        ValueError: If the model is not built and so has no weights yet.

    Example:
        >>> import keras
        >>> dense = keras.layers.Dense(2, name="hidden")
        >>> model = keras.Sequential([keras.Input((3,)), dense, keras.layers.ReLU()])
        >>> list(layers_with_weights(model))
        ['hidden']
    """
    if not isinstance(model, keras.Layer):
        kind = f"{type(model).__module__}.{type(model).__qualname__}"
        mend = ""
        if isinstance(model, str | os.PathLike):
            mend = " Load it: keras.models.load_model(path)."
        elif kind.startswith("torch."):
            mend = " Build it in Keras with the weights of torch: docs/torch_models.md."
        raise TypeError(
            "Expected a Keras model (or layer) as the first argument. Received "
            f"{kind.removeprefix('builtins.')}: {reprlib.repr(model)}.{mend}"
        )
    if not model.built:
        raise ValueError(
            f"Model {model.name!r} is not built, so its weights do not exist yet. Call "
            "it once on data, or give it a keras.Input, before asking for its layers."
        )
    found: dict[str, keras.Layer] = {}
    for path, layer in walk(model, "", set()):
        if own_weights(layer):
            inside = parents_first(layer)[1:] if path else []
            holds_others = any(own_weights(inner) for inner in inside)
            name = f"{path}/{OWN}" if holds_others else path
            found[_unique(name or layer.name, found)] = layer
    if trainable:
        return {n: each for n, each in found.items() if own_trainable_variables(each)}
    return found


def trainable_layer_names(model: keras.Model) -> tuple[str, ...]:
    """Return the names of the layers that training can change, in order."""
    return tuple(layers_with_weights(model, trainable=True))


def has_biases(model: keras.Model) -> bool:
    """Return whether a model has weights whose names end in "bias"."""
    weights = named_weights(layers_with_weights(model))
    return any(path.endswith("bias") for path in weights)


def named_weights(layers: Mapping[str, keras.Layer]) -> dict[str, keras.Variable]:
    """Return the weights that the layers themselves hold, by "layer/weight"."""
    found: dict[str, keras.Variable] = {}
    for name, layer in layers.items():
        for weight in own_weights(layer):
            path = f"{name}/{_weight_name(layer, weight)}"
            found[_unique(path, found)] = weight
    return found


def _weight_name(layer: keras.Layer, weight: keras.Variable) -> str:
    """Return the name of a weight, or of its attribute if the name is automatic.

    `add_weight` gives automatic names such as "variable_5", which differ in copies.
    """
    name: str = weight.name
    if not _AUTOMATIC.fullmatch(name):
        return name
    attributes = (name for name, value in vars(layer).items() if value is weight)
    return next(attributes, "variable").lstrip("_")


def inputs_of(model: keras.Model) -> Any:
    """Return the nest of symbolic inputs of a model; None if they are unknown."""
    if not getattr(model, "inputs", None):
        return None
    # A sequential model that was never called has `inputs` but no `input`.
    return model.inputs[0] if isinstance(model, keras.Sequential) else model.input


def symbolic_inputs(
    model: keras.Model, input_shape: SampleShape | None = None, unknown: int | None = 0
) -> Any:
    """Return one symbolic input sample of `model`, to call or trace it.

    It has the structure and names of the model's inputs, if these are known. Axes left
    open get size `unknown`; None leaves them open, 0 raises an error.
    """

    def sample(shape: Sequence[int | None], like: Any = None) -> Any:
        sizes = [size or unknown for size in shape]
        if 0 in sizes:
            raise ValueError(
                f"Model {model.name!r} leaves sizes of its input open: {tuple(shape)}. "
                "Pass input_shape, the shape of one sample without the batch axis."
            )
        named = {} if like is None else {"dtype": like.dtype, "name": like.name}
        return keras.Input(batch_shape=(1, *sizes), **named)

    shapes: Any = input_shape
    if shapes is not None and all(map(np.isscalar, shapes)):
        return sample(shapes)
    inputs = inputs_of(model)
    if inputs is not None:
        tensors = keras.tree.flatten(inputs)
        shapes = [t.shape[1:] for t in tensors] if shapes is None else shapes
        parts = [sample(*pair) for pair in zip(shapes, tensors, strict=True)]
        return keras.tree.pack_sequence_as(inputs, parts)
    shape = (model.get_build_config() or {}).get("input_shape")
    if not isinstance(shape, (tuple, list)) or not isinstance(shape[-1], int):
        raise ValueError(
            f"The input shape of model {model.name!r} ({type(model).__name__}) is not "
            "known. Pass input_shape, or wrap it in a functional keras.Model."
        )
    return sample(shape[1:])


def new_inputs(model: keras.Model) -> Any:
    """Return new inputs for a model, with the structure and names of its own.

    Raises:
        ValueError: If the input shape of `model` is not known.
    """
    return keras.tree.map_structure(
        lambda part: keras.Input(part.shape[1:], dtype=part.dtype, name=part.name),
        symbolic_inputs(model, unknown=None),
    )


def data_format_of_layers(layers: Iterable[keras.Layer]) -> str:
    """Return the data format of the first layer with one, else the Keras setting."""
    formats = (getattr(layer, "data_format", None) for layer in layers)
    return str(next(filter(None, formats), keras.config.image_data_format()))


def spatial_sizes(shape: tuple[int, ...], data_format: str) -> tuple[int, ...]:
    """Return the sizes along the spatial axes of a shape with samples and channels."""
    return shape[1:-1] if data_format == "channels_last" else shape[2:]


def walk(
    layer: keras.Layer, path: str, seen: set[int]
) -> Iterator[tuple[str, keras.Layer]]:
    """Yield a layer and all layers in it, each once, with paths; containers first."""
    if id(layer) in seen:
        return
    seen.add(id(layer))
    yield path, layer
    for inner in sublayers(layer):
        yield from walk(inner, f"{path}/{inner.name}" if path else inner.name, seen)


def _unique(name: str, taken: Collection[str]) -> str:
    candidate, count = name, 1
    while candidate in taken:
        count += 1
        candidate = f"{name}_{count}"
    return candidate
