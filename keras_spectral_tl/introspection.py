"""Which layers of a Keras model hold weights, and what they are called.

This is the only module that looks at how Keras keeps track of sublayers and variables.
"""

import difflib
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

SampleShape = Sequence[int] | Sequence[Sequence[int]]
"""Shape of one sample without the batch axis; of several inputs one each."""


def sublayers(layer: keras.Layer) -> list[keras.Layer]:
    """Return the layers that `layer` tracks directly, in the order it tracks them."""
    return list(layer._layers)


def own_trainable_variables(layer: keras.Layer) -> list[keras.Variable]:
    """Return the variables `layer` itself created as trainable, whatever its flags say.

    Sublayers' variables are not included, nor are the moving statistics of a
    normalization layer, which no gradient ever updates.
    """
    return list(layer._trainable_variables)


def own_weights(layer: keras.Layer) -> list[keras.Variable]:
    """Return the weights `layer` itself holds: trainable ones first, then statistics.

    Sublayers' weights and the states of random generators are not included.
    """
    return [*layer._trainable_variables, *layer._non_trainable_variables]


def own_statistics(layer: keras.Layer) -> list[keras.Variable]:
    """Return the weights of `layer` itself that no gradient updates: moving averages.

    A layer that is frozen as a whole leaves them as they are.
    """
    return list(layer._non_trainable_variables)


def seed_generators(model: keras.Layer) -> list[keras.random.SeedGenerator]:
    """Return the random generators of all layers, each once, containers first."""
    found = {
        id(generator): generator
        for layer in parents_first(model)
        for generator in layer._seed_generators
    }
    return list(found.values())


def optimizer_is_built(model: keras.Model) -> bool:
    """Whether `model` has an optimizer that was built for certain weights already."""
    return bool(getattr(getattr(model, "optimizer", None), "built", False))


def drop_training_function(model: keras.Model) -> bool:
    """Let the next `fit` make its function anew; the old one trains the old weights.

    On JAX also the functions of `evaluate` and `predict`: they take the weights as a
    list of trainable ones and one of others, so those of equal shapes would be swapped.

    Returns:
        Whether there was a training function.
    """
    if keras.backend.backend() == "jax" and isinstance(model, keras.Model):
        model.test_function = model.predict_function = None
    if getattr(model, "train_function", None) is None:
        return False
    model.train_function = None
    return True


def fetch(variable: keras.Variable) -> NDArray[Any]:
    """Return the value of `variable` as a NumPy array."""
    # Not convert_to_numpy: it copies in a way that NumPy 2 deprecates for variables.
    return np.asarray(variable)


def count_parameters(variables: list[keras.Variable]) -> int:
    """Return the number of scalars in `variables`."""
    return sum(math.prod(variable.shape) for variable in variables)


def parents_first(model: keras.Layer) -> list[keras.Layer]:
    """Return the model and every layer in it, each once, containers before contents.

    Setting `trainable` on a container overwrites the flag of everything inside, so
    flags have to be written in this order. It also holds for a layer that is shared by
    two containers (the list is a topological order, not an execution order).
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


def layers_with_weights(model: keras.Model) -> dict[str, keras.Layer]:
    """Return every layer that directly owns weights, keyed by a unique name.

    Nested and subclassed models, wrappers and recurrent cells are flattened: a
    container is listed only when it holds weights of its own. A layer of the model has
    its plain name as key, a layer inside another one a path such as `"encoder/conv_1"`.
    A shared layer appears once, under the first name found. Should two layers have the
    same name (possible in subclassed models), the later ones end in `_2`, `_3`, ...

    The order is the graph order of functional and sequential models. A subclassed model
    does not tell the order of its calls, so there it is the order in which its layers
    became attributes.

    Args:
        model: A built Keras model.

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
        raise TypeError(
            "Expected a Keras model (or layer). Received "
            f"{model!r} of type {type(model).__name__}."
        )
    if not model.built:
        raise ValueError(
            f"Model {model.name!r} is not built, so its weights do not exist yet. Call "
            "it once on data, or give it a keras.Input, before asking for its layers."
        )
    found: dict[str, keras.Layer] = {}
    seen: set[int] = set()
    for path, layer in _walk(model, "", seen):
        if own_weights(layer):
            found[_unique(path or layer.name, found)] = layer
    return found


def trainable_layer_names(model: keras.Model) -> tuple[str, ...]:
    """Return the names of the layers that training can change, in order.

    Layers that hold statistics alone, such as Normalization, are left out.

    Args:
        model: A built Keras model.

    Example:
        >>> import keras
        >>> dense = keras.layers.Dense(2, name="hidden")
        >>> norm = keras.layers.Normalization(mean=0.0, variance=1.0)
        >>> trainable_layer_names(keras.Sequential([keras.Input((3,)), norm, dense]))
        ('hidden',)
    """
    layers = layers_with_weights(model).items()
    return tuple(name for name, layer in layers if own_trainable_variables(layer))


def named_weights(layers: Mapping[str, keras.Layer]) -> dict[str, keras.Variable]:
    """Return the weights that the layers hold themselves, by path.

    Args:
        layers: Layers by name, as from `layers_with_weights`.

    Returns:
        Weights by "layer name/weight name", layer by layer. Should a layer have two
        weights of one name, the later ones end in `_2`, `_3`, ...

    Example:
        >>> import keras
        >>> dense = keras.layers.Dense(2, name="hidden")
        >>> model = keras.Sequential([keras.Input((3,)), dense])
        >>> list(named_weights(layers_with_weights(model)))
        ['hidden/kernel', 'hidden/bias']
    """
    found: dict[str, keras.Variable] = {}
    for name, layer in layers.items():
        for weight in own_weights(layer):
            found[_unique(f"{name}/{weight.name}", found)] = weight
    return found


def corresponding_layers(
    model: keras.Model, other: keras.Model
) -> dict[str, keras.Layer]:
    """Return the weight-bearing layers of `other` under their names in `model`.

    Automatic names differ in a copy of a subclassed model; places do not.

    Args:
        model: A built Keras model.
        other: A copy of it, possibly with layers added at the end or wrapped around.

    Returns:
        Layers by name; what `other` has in addition comes last, under its own name.
    """
    found = layers_with_weights(other)
    names = list(layers_with_weights(model))
    extra = list(found)[len(names) :]
    return dict(zip([*names, *extra], found.values(), strict=True))


def symbolic_inputs(
    model: keras.Model,
    input_shape: SampleShape | None = None,
    unknown: int | None = 0,
) -> Any:
    """Return one symbolic sample of what `model` takes, to call or trace it with.

    Args:
        model: A built Keras model.
        input_shape: Shape of one sample; of several inputs a list, in their order.
        unknown: Size to assume along axes the model leaves open; None leaves them
            open, 0 refuses.

    Returns:
        A nest of `keras.KerasTensor` with a batch axis of 1.

    Raises:
        ValueError: If the shape is not known.
    """

    def sample(shape: Sequence[int | None], dtype: Any = None) -> Any:
        sizes = [size or unknown for size in shape]
        if 0 in sizes:
            raise ValueError(
                f"Model {model.name!r} leaves sizes of its input open: {tuple(shape)}. "
                "Pass input_shape, the shape of one sample without the batch axis."
            )
        return keras.Input(batch_shape=(1, *sizes), dtype=dtype)

    shapes: Any = input_shape
    if shapes is not None and all(map(np.isscalar, shapes)):
        return sample(shapes)
    if shapes is not None and getattr(model, "inputs", None):
        tensors = zip(shapes, keras.tree.flatten(model.input), strict=True)
        parts = [sample(shape, tensor.dtype) for shape, tensor in tensors]
        return keras.tree.pack_sequence_as(model.input, parts)
    if isinstance(model, keras.Sequential):
        return sample(model.inputs[0].shape[1:], model.inputs[0].dtype)
    if getattr(model, "inputs", None):
        return keras.tree.map_structure(
            lambda tensor: sample(tensor.shape[1:], tensor.dtype), model.input
        )
    shape = (model.get_build_config() or {}).get("input_shape")
    if not isinstance(shape, (tuple, list)) or not isinstance(shape[-1], int):
        raise ValueError(
            f"The input shape of model {model.name!r} ({type(model).__name__}) is not "
            "known. Pass input_shape, or wrap it in a functional keras.Model."
        )
    return sample(shape[1:])


def _walk(
    layer: keras.Layer, path: str, seen: set[int]
) -> Iterator[tuple[str, keras.Layer]]:
    if id(layer) in seen:
        return
    seen.add(id(layer))
    yield path, layer
    for inner in sublayers(layer):
        yield from _walk(inner, f"{path}/{inner.name}" if path else inner.name, seen)


def _unique(name: str, taken: Mapping[str, Any]) -> str:
    candidate, count = name, 1
    while candidate in taken:
        count += 1
        candidate = f"{name}_{count}"
    return candidate


def resolve_layer_name(model: keras.Model, name: str) -> str:
    """Return `name` if it is a key of `layers_with_weights(model)`, else explain.

    Args:
        model: A built Keras model.
        name: The name to look up.

    Returns:
        The name itself.

    Raises:
        KeyError: If no weight-bearing layer has this name; the message proposes the
            nearest names and lists all of them.

    Example:
        >>> import keras
        >>> dense = keras.layers.Dense(2, name="hidden")
        >>> model = keras.Sequential([keras.Input((3,)), dense])
        >>> resolve_layer_name(model, "hidden")
        'hidden'
    """
    return known_name(name, list(layers_with_weights(model)), model.name)


def known_name(name: str, names: Collection[str], model_name: str) -> str:
    """Return `name` if it is one of `names`, else explain as `resolve_layer_name`.

    Raises:
        KeyError: If it is not; the message proposes the nearest names.
    """
    if name in names:
        return name
    near = difflib.get_close_matches(str(name), names, n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
    raise KeyError(
        f"Model {model_name!r} has no weight-bearing layer named {name!r}.{hint} "
        f"Its layers with weights are: {', '.join(names) or 'none'}."
    )
