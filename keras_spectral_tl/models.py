"""The convolutional closure, and exact or fresh copies of any Keras model."""

import numbers
import pathlib
import random
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_spectral_tl import introspection
from keras_spectral_tl.layers import PeriodicConv2D

_MOST_WEIGHTS = 2 * 10**9


def build_sgs_cnn(
    input_shape: Sequence[int | None],
    num_layers: int = 11,
    num_filters: int = 64,
    kernel_size: int = 5,
    periodic: bool = True,
) -> keras.Model:
    """Build a convolutional network from resolved fields to the subgrid forcing.

    (streamfunction, vorticity) -> conv_1 -> ReLU -> ... -> conv_n -> sgs_forcing: all
    convolutions keep the grid, hidden ones have ReLU, the last is linear with one
    channel. The only weights are [kernel_1, bias_1, kernel_2, bias_2, ...]; with the
    default sizes and two input channels they are 927,041 parameters.

    Args:
        input_shape: (n, m, channels) of one sample; n and m may be None.
        num_layers: Number of convolutions.
        num_filters: Channels of the hidden layers.
        kernel_size: Taps along each axis.
        periodic: Whether the fields are doubly periodic (`layers.PeriodicConv2D`);
            otherwise they are continued by zeros (`Conv2D(padding="same")`).

    Returns:
        An uncompiled model with layers conv_1 ... conv_n.

    Raises:
        ValueError: If `input_shape` is not (n, m, channels), a number is not a positive
            int, or there would be more than 2e9 weights.

    References:
        Architecture after Guan, Chattopadhyay, Subel, Hassanzadeh, "Stable a
        posteriori LES of 2D turbulence using convolutional neural networks",
        https://doi.org/10.1016/j.jcp.2022.111090

    Example:
        >>> model = build_sgs_cnn((16, 16, 2), num_layers=2, num_filters=3)
        >>> [layer.name for layer in model.layers[1:]], model.output_shape
        (['conv_1', 'conv_2'], (None, 16, 16, 1))
    """
    shape = tuple(input_shape)
    known = [size for size in shape if size is not None]
    if len(shape) != 3 or shape[2] is None or min(known) < 1:
        raise ValueError(
            "Expected input_shape = (n, m, channels), positive, for example "
            f"(64, 64, 2). Received input_shape={input_shape!r}."
        )
    sizes = {"num_filters": num_filters, "kernel_size": kernel_size}
    _check_sizes({"num_layers": num_layers, **sizes}, channels=shape[2])
    convolution = PeriodicConv2D if periodic else keras.layers.Conv2D
    options = {} if periodic else {"padding": "same"}
    inputs = keras.Input(shape, name="fields")
    outputs = inputs
    for number in range(1, num_layers + 1):
        last = number == num_layers
        outputs = convolution(
            1 if last else num_filters,
            kernel_size,
            activation=None if last else "relu",
            data_format="channels_last",
            name=f"conv_{number}",
            **options,
        )(outputs)
    return keras.Model(inputs, outputs, name="sgs_cnn")


def _check_sizes(sizes: Mapping[str, Any], channels: int) -> None:
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, numbers.Integral) or size < 1:
            raise ValueError(f"Expected {name} as a positive int. Received {size!r}.")
    layers, filters, taps = map(int, sizes.values())
    hidden = (layers - 2) * filters**2 + (channels + 1) * filters
    if (hidden if layers > 1 else channels) * taps**2 > _MOST_WEIGHTS:
        raise ValueError(
            f"Expected at most {_MOST_WEIGHTS:.0e} weights, which take 8 GB. Received "
            f"{sizes} for {channels} channel(s), which make more; choose fewer."
        )


def copy_model(model: keras.Model) -> keras.Model:
    """Return an independent copy of `model` with equal weights; compile it to train.

    The copy is made from the configuration where that is possible and by way of a
    temporary `.keras` file otherwise. Layers of the copy come in the same order; in a
    subclassed model their automatic names may differ.

    Args:
        model: A built Keras model; not changed.

    Returns:
        The copy.

    Raises:
        ValueError: If Keras can neither clone nor save and load the model.

    Example:
        >>> model = build_sgs_cnn((8, 8, 2), num_layers=1)
        >>> copy = copy_model(model)
        >>> bool(keras.ops.all(copy.weights[0] == model.weights[0]))
        True
    """
    try:
        copy = _rebuild(model)
    except (AttributeError, LookupError, NotImplementedError, TypeError, ValueError):
        copy = None
    if copy is None or not _same_structure(model, copy):
        copy = _save_and_load(model)
    _assign(copy, model)
    return copy


def fresh_model(model: keras.Model, seed: int) -> keras.Model:
    """Return a model of the same architecture with newly drawn weights.

    Every initialiser without a seed of its own draws from `seed`, so equal seeds give
    equal weights. Layers without trainable weights keep theirs: the statistics of a
    Normalization layer belong to the data, not to the training.

    Keras takes default seeds from Python's `random`; its state is set for the moment
    of building and put back, so do not draw from it in another thread meanwhile.

    Args:
        model: A built Keras model; not changed.
        seed: A non-negative int.

    Returns:
        The new model.

    Raises:
        ValueError: If the model cannot be built again from its configuration.

    Example:
        >>> model = build_sgs_cnn((8, 8, 2), num_layers=1)
        >>> first, again = fresh_model(model, seed=1), fresh_model(model, seed=1)
        >>> bool(keras.ops.all(first.weights[0] == again.weights[0]))
        True
    """
    state = random.getstate()
    random.seed(seed)
    try:
        fresh = _rebuild(model)
    finally:
        random.setstate(state)
    if not _same_structure(model, fresh):
        raise ValueError(
            f"Model {model.name!r} ({type(model).__name__}) could not be built again "
            "with fresh weights: the configuration it gives does not lead to the same "
            f"weights. Expected shapes {_shapes(model)}, received {_shapes(fresh)}. "
            "Implement get_config() and build() on its class."
        )
    pairs = zip(_layers(model), _layers(fresh), strict=True)
    for old, new in pairs:
        if not introspection.own_trainable_variables(old):
            _assign(new, old)
    return fresh


def seed_random_states(model: keras.Model, seed: int) -> None:
    """Set the state of every random generator (dropout, noise, ...) in `model`.

    On torch, Keras lets a dropout layer without a seed draw from the global generator;
    here it gets a seed of its own.

    Args:
        model: A built Keras model; changed in place.
        seed: A non-negative int; every generator starts from it and from its number.
    """
    for number, generator in enumerate(introspection.seed_generators(model)):
        words = np.random.SeedSequence((seed, number)).generate_state(2)
        state = generator.state
        # 31 bits: the state is a signed int on some backends.
        state.assign((words >> 1).astype(keras.backend.standardize_dtype(state.dtype)))
        if generator._initial_seed is None:
            generator._initial_seed = seed


def _rebuild(model: keras.Model) -> keras.Model:
    rebuilt = keras.models.clone_model(model)
    if _shapes(rebuilt) != _shapes(model):
        # Subclassed models get their weights from a call; build() alone may not do.
        shape = (model.get_build_config() or {}).get("input_shape")
        if shape is not None:
            rebuilt(keras.ops.zeros([size or 1 for size in shape]), training=False)
    return rebuilt


def _save_and_load(model: keras.Model) -> keras.Model:
    # The file holds the caller's own model, so loading its code is no risk.
    classes = {type(layer).__name__: type(layer) for layer in _all_layers(model)}
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "model.keras"
            model.save(path)
            loaded = keras.models.load_model(
                path, custom_objects=classes, compile=False, safe_mode=False
            )
    except Exception as error:
        raise ValueError(
            f"Model {model.name!r} ({type(model).__name__}) can neither be cloned nor "
            "saved and loaded, so it cannot be retrained without changing it. "
            "Implement get_config() on its class and call it once on data. Keras said: "
            f"{error}"
        ) from error
    if not _same_structure(model, loaded):
        raise ValueError(
            f"Model {model.name!r} ({type(model).__name__}) came back from its saved "
            f"file with other weights. Expected shapes {_shapes(model)}, received "
            f"{_shapes(loaded)}. Implement build() or get_build_config() on its class."
        )
    return loaded


def _assign(layer: keras.Layer, source: keras.Layer) -> None:
    for weight, value in zip(layer.weights, source.weights, strict=True):
        weight.assign(introspection.fetch(value))


def _all_layers(model: keras.Model) -> list[keras.Layer]:
    return introspection.parents_first(model)


def _layers(model: keras.Model) -> list[keras.Layer]:
    return list(introspection.layers_with_weights(model).values())


def _shapes(model: keras.Model) -> list[tuple[int, ...]]:
    return [tuple(weight.shape) for weight in model.weights]


def _same_structure(model: keras.Model, other: keras.Model) -> bool:
    if not other.built or _shapes(model) != _shapes(other):
        return False
    return [type(layer) for layer in _layers(model)] == [
        type(layer) for layer in _layers(other)
    ]
