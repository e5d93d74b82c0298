"""Exact and reinitialized copies of any Keras model, and models as bytes."""

import contextlib
import pathlib
import random
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_spectral_tl._graph.layers import (
    batches,
    fetch,
    own_weights,
    paired_weights,
    parents_first,
    rows_of,
    seed_generators,
    set_single_flags,
    single_flags,
    symbolic_inputs,
)
from keras_spectral_tl._keras_internals import (
    give_seed,
    keras_mask,
    own_trainable_variables,
    sublayers,
)

_OPEN_SIZES = (8, 64)  # tried for open sizes; strides may need the larger one


def copy_model(model: keras.Model, sample: Any = None) -> keras.Model:
    """Return an independent copy of `model` with the same weights and outputs.

    Compile it to train it. The copy is made from the configuration if possible, else
    with a temporary `.keras` file. It has bitwise the same weights, of which the same
    are frozen one by one, and the other state of the layers: statistics and
    vocabularies of `adapt`, low-rank updates, quantization, and the states of random
    generators. Layers of the copy are in the
    same order; in a subclassed model their automatic names may differ.

    Then the outputs of both on one batch are compared, without lasting effects. The
    batch is random by default; if a model has an unknown input shape or does not accept
    random numbers, the outputs are compared only if a sample is given.

    Args:
        model: A built Keras model; not changed.
        sample: Inputs of the model, (samples, ...), to compare the outputs on.

    Raises:
        ValueError: If Keras can neither clone nor save and load the model, or the copy
            gives other outputs.

    Example:
        >>> from keras_spectral_tl.models import build_sgs_cnn
        >>> model = build_sgs_cnn((8, 8, 2), num_layers=1)
        >>> copy = copy_model(model)
        >>> bool(keras.ops.all(copy.weights[0] == model.weights[0]))
        True
    """
    try:
        with _random_state():
            copy = _rebuild(model)
    except (AttributeError, LookupError, NotImplementedError, TypeError, ValueError):
        copy = None
    if copy is not None and _same_structure(model, copy):
        _carry_state(model, copy)
        if computes_alike(model, copy, sample):
            return copy
    with _random_state():
        copy = _save_and_load(model)
    _carry_state(model, copy)
    if not computes_alike(model, copy, sample):
        raise ValueError(
            f"A copy of model {model.name!r} ({type(model).__name__}) has the same "
            "weights but computes other outputs, so a layer keeps state that Keras "
            "neither puts into its configuration nor saves. Implement get_config(), or "
            "save_own_variables() and load_own_variables(), on its class."
        )
    return copy


def fresh_model(model: keras.Model, seed: int) -> keras.Model:
    """Return a model of the same architecture with new random weights.

    Every initializer without its own seed uses `seed`, so equal seeds give equal
    weights. Layers without trainable weights keep theirs: the statistics of a
    Normalization layer belong to the data, not to the training.

    Keras takes default seeds from Python's `random`, whose state is set while the model
    is built and then restored, so do not use it in another thread meanwhile.

    Args:
        model: A built Keras model; not changed.
        seed: A non-negative int.

    Raises:
        ValueError: If the model cannot be rebuilt from its configuration.

    Example:
        >>> from keras_spectral_tl.models import build_sgs_cnn
        >>> model = build_sgs_cnn((8, 8, 2), num_layers=1)
        >>> first, again = fresh_model(model, seed=1), fresh_model(model, seed=1)
        >>> bool(keras.ops.all(first.weights[0] == again.weights[0]))
        True
    """
    with _random_state():
        random.seed(seed)
        fresh = _rebuild(model)
    if not _same_structure(model, fresh):
        raise ValueError(
            f"Model {model.name!r} ({type(model).__name__}) could not be built again "
            "with fresh weights: the configuration it gives does not lead to the same "
            f"weights. Expected shapes {_shapes(model)}, received {_shapes(fresh)}. "
            "Implement get_config() and build() on its class."
        )
    for old, new in _pairs(model, fresh):
        if not own_trainable_variables(old):
            _carry_layer(old, new)
    return fresh


def seed_random_states(model: keras.Model, seed: int) -> None:
    """Set the state of every random generator (dropout, noise, ...) in `model`.

    Each is seeded by the seed and its own index.
    """
    for number, generator in enumerate(seed_generators(model)):
        words = np.random.SeedSequence((seed, number)).generate_state(2)
        state = generator.state
        # 31 bits: the state is a signed int on some backends.
        state.assign((words >> 1).astype(keras.backend.standardize_dtype(state.dtype)))
        give_seed(generator, seed)


def computes_alike(model: keras.Model, other: keras.Model, sample: Any = None) -> bool:
    """Return whether two models give the same outputs in inference mode.

    They are compared up to round-off on a sample, by default random with a fixed seed.
    If `model` cannot be called or its outputs are random, nothing can be compared and
    the answer is True.
    """
    samples = _drawn_samples(model) if sample is None else [sample]
    for x in samples:
        try:
            expected = outputs_of(model, x)
        except Exception:
            continue
        try:
            received = outputs_of(other, x)
        except Exception:
            return False
        if _close(expected, received):
            return True
        return not _close(expected, outputs_of(model, x))
    return True


def outputs_of(model: keras.Model, x: Any) -> list[NDArray[Any]]:
    """Return the outputs of a model in inference mode as arrays, see `called`."""
    return [fetch(part) for part in keras.tree.flatten(called(model, x))]


def called(model: keras.Model, x: Any) -> Any:
    """Return the outputs in inference mode, without changing states or counters."""
    with keras.StatelessScope():
        return model(x, training=False)


def fewest_samples(model: keras.Model) -> int:
    """Return how many samples a call takes at least: 1, or a fixed batch size."""
    inputs = getattr(model, "inputs", None) or [None]
    return getattr(inputs[0], "shape", (None,))[0] or 1


def mask_of(outputs: Any) -> NDArray[np.float64] | None:
    """Return 1 for outputs that count in a Keras loss and 0 for masked ones.

    None if the outputs, as `called` returns them, have no mask. It broadcasts to them.
    """
    mask = keras_mask(outputs)
    if mask is None:
        return None
    counted = fetch(mask).astype(np.float64)
    return counted.reshape(counted.shape + (1,) * (len(outputs.shape) - counted.ndim))


def has_mask(model: keras.Model, x: Any) -> bool:
    """Return whether a model masks outputs, by calling it on a sample.

    Symbolic outputs do not tell: those of a nested model lack its mask.
    """
    some = rows_of(x, slice(0, fewest_samples(model)))
    return mask_of(called(model, some)) is not None


def unmasked(
    model: keras.Model,
    x: Any,
    weights: NDArray[np.float64] | None = None,
    batch_size: int = 32,
) -> NDArray[np.float64] | None:
    """Return the weights of points of all outputs, 0 for those that a model masks.

    `weights` are those of the points of a sample; without a mask they are returned as
    they are, with None for equal weights.
    """
    if not has_mask(model, x):
        return weights
    outputs = (called(model, batch) for _, batch in batches(x, batch_size))
    return counted_points(outputs, weights)


def counted_points(
    outputs: Iterable[Any], weights: NDArray[np.float64] | None = None
) -> NDArray[np.float64] | None:
    """Return the same for batches of outputs, which carry their masks."""
    masks = [mask for mask in map(mask_of, outputs) if mask is not None]
    if not masks:
        return weights
    counted = np.concatenate(masks)
    return counted if weights is None else counted * weights


def _drawn_samples(model: keras.Model) -> Iterator[Any]:
    generator = np.random.default_rng(0)

    def drawn(tensor: keras.KerasTensor) -> Any:
        dtype = keras.backend.standardize_dtype(tensor.dtype)
        if "int" in dtype or dtype == "bool":
            return generator.integers(0, 2, tensor.shape).astype(dtype)
        values = generator.normal(size=tensor.shape)
        return keras.ops.convert_to_tensor(values, dtype)

    for size in _OPEN_SIZES:
        try:
            yield keras.tree.map_structure(drawn, symbolic_inputs(model, unknown=size))
        except (TypeError, ValueError):  # unknown shape, or text
            return


def _close(expected: list[NDArray[Any]], received: list[NDArray[Any]]) -> bool:
    if [part.shape for part in expected] != [part.shape for part in received]:
        return False
    for first, second in zip(expected, received, strict=True):
        if first.dtype != second.dtype:
            return False
        if first.dtype.kind in "iubSUO":
            if not np.array_equal(first, second):
                return False
            continue
        # NumPy cannot compare bfloat16. Tolerance: a few ulp of the largest value.
        precise = 1e-5 if first.dtype.itemsize >= 4 else 1e-2
        a, b = first.astype(np.float64), second.astype(np.float64)
        largest = float(np.max(np.abs(a[np.isfinite(a)]), initial=0.0))
        if not np.allclose(a, b, rtol=0.0, atol=precise * largest, equal_nan=True):
            return False
    return True


@contextlib.contextmanager
def _random_state() -> Iterator[None]:
    """Restore the state of Python's `random`, from which Keras takes default seeds."""
    state = random.getstate()
    try:
        yield
    finally:
        random.setstate(state)


def _rebuild(model: keras.Model) -> keras.Model:
    rebuilt = keras.models.clone_model(model)
    if type(rebuilt) is not type(model):
        # Keras would clone a functional model of a user's class to a plain model, and
        # lose, for example, its train_step.
        with contextlib.suppress(Exception):
            rebuilt = type(model).from_config(model.get_config())
    if not rebuilt.built or not rebuilt.weights or not _same_structure(model, rebuilt):
        # Subclassed models create weights when called; build() may not be enough.
        shape = (model.get_build_config() or {}).get("input_shape")
        if shape is not None:
            rebuilt(keras.ops.zeros([size or 1 for size in shape]), training=False)
        _adapt_layers(model, rebuilt)
    return rebuilt


def check_made_again(model: keras.Model, what: str) -> None:
    """Raise ValueError if a model made from its configuration has other layers."""
    try:
        with _random_state():
            made = _rebuild(model)
    except Exception:  # then copies are made from a file, which has all layers
        return
    if [*map(type, parents_first(made)[1:])] == [*map(type, parents_first(model)[1:])]:
        return
    raise ValueError(
        f"Layers of model {model.name!r} cannot have {what}: its class makes the "
        "layers itself, so a copy or a file of the model would lack them. Use a "
        "functional model, or another part, such as BiasesOf."
    )


def _adapt_layers(model: keras.Model, copy: keras.Model) -> None:
    """Add low-rank updates and quantization that a configuration does not hold."""
    old_layers, new_layers = parents_first(model), parents_first(copy)
    if list(map(type, old_layers)) != list(map(type, new_layers)):
        return
    for old, new in zip(old_layers, new_layers, strict=True):
        mode = getattr(old, "quantization_mode", None)
        leaf = not sublayers(old) and new.built
        if mode and leaf and getattr(new, "quantization_mode", None) is None:
            new.quantize(mode)
        rank = getattr(old, "lora_rank", None)
        if getattr(old, "lora_enabled", False) and rank and new.built:
            if not new.lora_enabled:
                new.enable_lora(rank)
            new.lora_alpha = old.lora_alpha


def packed(model: keras.Model) -> tuple[bytes, dict[str, type]]:
    """Return a model in the .keras format, and its classes by name."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "model.keras"
        model.save(path)
        content = path.read_bytes()
    return content, {
        type(layer).__name__: type(layer) for layer in parents_first(model)
    }


def unpacked(content: bytes, classes: Mapping[str, type]) -> keras.Model:
    """Return the model from the bytes of `packed`.

    It is the caller's own model, so it may contain code.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "model.keras"
        path.write_bytes(content)
        return keras.models.load_model(
            path, custom_objects=dict(classes), compile=False, safe_mode=False
        )


def _save_and_load(model: keras.Model) -> keras.Model:
    try:
        loaded = unpacked(*packed(model))
    except Exception as error:
        said = (str(error) or repr(error)).splitlines()[0]
        raise ValueError(
            f"Model {model.name!r} ({type(model).__name__}) can neither be cloned nor "
            "saved and loaded, so it cannot be retrained without changing it. Call it "
            "once on data, and let __init__ of its class take **kwargs and pass them "
            "to super().__init__(**kwargs), or implement get_config() with all "
            f"arguments of __init__. Keras said: {said}"
        ) from error
    if not _same_structure(model, loaded):
        raise ValueError(
            f"Model {model.name!r} ({type(model).__name__}) came back from its saved "
            f"file with other weights. Expected shapes {_shapes(model)}, received "
            f"{_shapes(loaded)}. Implement build() or get_build_config() on its class."
        )
    return loaded


def _carry_state(model: keras.Model, copy: keras.Model) -> None:
    for old, new in _pairs(model, copy):
        _carry_layer(old, new)
    generators = map(seed_generators, (model, copy))
    for old, new in zip(*generators, strict=False):
        new.state.assign(fetch(old.state))


def _carry_layer(old: keras.Layer, new: keras.Layer) -> None:
    for value, weight in paired_weights(old, new):
        weight.assign(fetch(value))
    set_single_flags(new, single_flags(old))
    # Use the save methods of layers with more state than weights, except layers with
    # low-rank updates, which would merge these.
    if hasattr(old, "lora_enabled"):
        return
    if type(old).load_own_variables is not keras.Layer.load_own_variables:
        store: dict[str, Any] = {}
        old.save_own_variables(store)
        values = {key: np.asarray(value) for key, value in store.items()}
        new.load_own_variables(values)
    if hasattr(old, "load_assets"):
        with tempfile.TemporaryDirectory() as folder:
            old.save_assets(folder)
            new.load_assets(folder)


def _pairs(
    model: keras.Model, copy: keras.Model
) -> Iterator[tuple[keras.Layer, keras.Layer]]:
    return zip(parents_first(model), parents_first(copy), strict=True)


def _shapes(model: keras.Model) -> list[tuple[int, ...]]:
    return [tuple(weight.shape) for weight in model.weights]


def _same_structure(model: keras.Model, other: keras.Model) -> bool:
    """Return whether layers, weight shapes and tied weights agree, by position."""
    layers = parents_first(model), parents_first(other)
    # The class of the model may differ, see `_rebuild`.
    types = [[type(layer) for layer in part[1:]] for part in layers]
    if not other.built or types[0] != types[1]:
        return False
    partner: dict[int, keras.Variable] = {}
    for old, new in zip(*layers, strict=True):
        pairs = paired_weights(old, new)
        if any(len(own_weights(part)) != len(pairs) for part in (old, new)):
            return False
        for weight, copied in pairs:
            tied = partner.setdefault(id(weight), copied)
            if tied is not copied or tuple(weight.shape) != tuple(copied.shape):
                return False
    return len({id(copied) for copied in partner.values()}) == len(partner)
