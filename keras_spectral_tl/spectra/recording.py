"""Reads what flows through the layers of any Keras model, batch by batch."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_spectral_tl.introspection import (
    call_name,
    layers_with_weights,
    resolve_layer_name,
    sublayers,
)

# Layers that are an activation and keep it elsewhere than in an `activation` attribute.
_ACTIVATION_LAYERS = (
    keras.layers.ReLU,
    keras.layers.LeakyReLU,
    keras.layers.PReLU,
    keras.layers.ELU,
)


@dataclass(frozen=True)
class LayerCall:
    """One call of one layer with a spatial output, channels moved to axis 1.

    Attributes:
        layer: The layer.
        inputs: (samples, channels, nx, ny), or None if the input is not such an array.
        pre_activation: (samples, channels, nx, ny): what the activation received. For
            a layer without an activation this is the output, the very same array.
        post_activation: (samples, channels, nx, ny): the output. One or three spatial
            axes are read where asked for.
    """

    layer: keras.Layer
    inputs: NDArray[Any] | None
    pre_activation: NDArray[Any]
    post_activation: NDArray[Any]


CallReader = Callable[[str, LayerCall], None]


def read_calls(
    model: keras.Model,
    x: Any,
    reader: CallReader,
    layers: Sequence[str] | None = None,
    batch_size: int = 16,
    ranks: tuple[int, ...] = (2,),
) -> int:
    """Runs a model on data and hands every layer call to a reader as it happens.

    Only one batch of one layer is held at a time. The model runs eagerly in inference
    mode, whatever its type (sequential, functional, nested, subclassed); while it runs
    the `call` and the `activation` of its layers are replaced, and both are put back
    exactly, also after an exception.

    Args:
        model: A built model.
        x: Array (samples, ...), or an iterable of batches; a batch that is a tuple is
            taken as (inputs, targets).
        reader: Called with the layer's name and the `LayerCall`.
        layers: Names of the layers to read; by default all of them.
        batch_size: Samples a batch when ``x`` is an array.
        ranks: Numbers of spatial axes of the outputs to read: any of 1, 2, 3. With 1,
            every output (samples, steps, channels) counts as a field.

    Returns:
        The number of samples read.

    Raises:
        KeyError: If a name is not one of a layer of the model.
        ValueError: If ``x`` is empty or not finite, or a named layer was not called or
            has no spatial output of these ranks.

    Example:
        >>> import keras
        >>> conv = keras.layers.Conv2D(3, 3, activation="relu", name="conv")
        >>> model = keras.Sequential([keras.Input((6, 6, 1)), conv])
        >>> def show(name, call):
        ...     print(name, call.pre_activation.shape)
        >>> read_calls(model, np.ones((2, 6, 6, 1)), show)
        conv (2, 3, 4, 4)
        2
    """
    chosen = _chosen_layers(model, layers)
    default_format = _model_data_format(chosen.values())
    seen: set[str] = set()

    def read(name: str, call: LayerCall) -> None:
        seen.add(name)
        reader(name, call)

    num_samples = 0
    with ExitStack() as stack:
        for name, layer in chosen.items():
            data_format = getattr(layer, "data_format", None) or default_format
            wrapped = _reading_call(name, layer, data_format, ranks, read)
            stack.enter_context(_replaced(layer, call_name(layer), wrapped))
        for batch in _batches(x, batch_size):
            with keras.StatelessScope():  # counters and states stay as they are
                model(batch, training=False)
            num_samples += len(keras.tree.flatten(batch)[0])
    if num_samples == 0:
        raise ValueError("x holds no samples. Pass at least one.")
    missing = [name for name in layers or () if name not in seen]
    if missing:
        raise ValueError(
            f"These layers were not called or have no output with {ranks} spatial axes "
            f"(2: samples, nx, ny, channels): {missing}. Layers that have: "
            f"{sorted(seen)}."
        )
    return num_samples


def _reading_call(
    name: str,
    layer: keras.Layer,
    data_format: str,
    ranks: tuple[int, ...],
    read: CallReader,
) -> Callable[..., Any]:
    """Wraps the `call` of a layer so that `read` sees its inputs and outputs."""
    call = getattr(layer, call_name(layer))

    @wraps(call)
    def reading_call(*args: Any, **kwargs: Any) -> Any:
        received: list[Any] = []
        with _reading_activation(layer, received):
            outputs = call(*args, **kwargs)
        inputs = next(iter([*args, *kwargs.values()]), None)
        if isinstance(layer, _ACTIVATION_LAYERS):
            received.append(inputs)
        if _rank(outputs) in ranks:
            read(name, _layer_call(layer, inputs, received, outputs, data_format))
        return outputs

    return reading_call


@contextmanager
def _reading_activation(layer: keras.Layer, received: list[Any]) -> Iterator[None]:
    """Notes what the `activation` of a layer receives, if it has one."""
    activation = getattr(layer, "activation", None)
    if activation is None:
        yield
        return

    def reading_activation(values: Any, *rest: Any, **options: Any) -> Any:
        received.append(values)
        return activation(values, *rest, **options)

    with _replaced(layer, "activation", reading_activation):
        yield


def _layer_call(
    layer: keras.Layer,
    inputs: Any,
    received: list[Any],
    outputs: Any,
    data_format: str,
) -> LayerCall:
    """Fetches one call as NumPy arrays."""
    post = _channels_first(outputs, data_format)
    pre = post
    # A layer that applies its activation more than once has no one pre-activation.
    is_applied_once = len(received) == 1 and received[0] is not outputs
    if is_applied_once and tuple(received[0].shape) == tuple(outputs.shape):
        pre = _channels_first(received[0], data_format)
    is_alike = _rank(inputs) == _rank(outputs)
    fetched = _channels_first(inputs, data_format) if is_alike else None
    return LayerCall(layer, fetched, pre, post)


@contextmanager
def _replaced(layer: keras.Layer, name: str, value: Any) -> Iterator[None]:
    """Replaces one attribute of a layer for a moment.

    Goes through the instance dictionary, as `setattr` would make Keras track the new
    value and forget where the old one came from.
    """
    attributes = vars(layer)
    had_own = name in attributes
    own = attributes.get(name)
    attributes[name] = value
    try:
        yield
    finally:
        if had_own:
            attributes[name] = own
        else:
            del attributes[name]


def _chosen_layers(
    model: keras.Model, names: Sequence[str] | None
) -> dict[str, keras.Layer]:
    """The layers to read: those asked for, or every one that is not a container."""
    if isinstance(names, str):
        raise TypeError(
            f"layers must be a sequence of names. Received layers={names!r}; pass "
            f"[{names!r}]."
        )
    readable = _readable_layers(model)
    if names is None:
        return readable
    for name in names:
        if name not in readable:
            resolve_layer_name(model, name)
    return {name: readable[name] for name in names}


def _readable_layers(model: keras.Model) -> dict[str, keras.Layer]:
    """Layers with weights by their usual names, then those without by their paths."""
    readable = layers_with_weights(model)
    seen = {id(layer) for layer in readable.values()}

    def visit(container: keras.Layer, prefix: str) -> None:
        for layer in sublayers(container):
            name = prefix + layer.name
            is_leaf = not sublayers(layer)
            is_new = id(layer) not in seen and name not in readable
            if is_leaf and is_new and not isinstance(layer, keras.layers.InputLayer):
                readable[name] = layer
            seen.add(id(layer))
            visit(layer, f"{name}/")

    visit(model, "")
    return {name: layer for name, layer in readable.items() if layer is not model}


def _model_data_format(layers: Iterable[keras.Layer]) -> str:
    """Layout of layers that do not say theirs: that of the first layer that does."""
    for layer in layers:
        data_format = getattr(layer, "data_format", None)
        if data_format is not None:
            return str(data_format)
    return str(keras.config.image_data_format())


def _batches(x: Any, batch_size: int) -> Iterator[Any]:
    """Yields batches of inputs and refuses values that are not finite."""
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1. Received {batch_size}.")
    if isinstance(x, tuple):
        raise ValueError(
            f"x is a tuple of {len(x)}. Pass the inputs alone, without the targets, or "
            "an iterable of batches such as a tf.data.Dataset."
        )
    if hasattr(x, "shape"):
        starts = range(0, len(x), batch_size)
        stream: Iterable[Any] = (x[start : start + batch_size] for start in starts)
    else:
        stream = x
    for batch in stream:
        inputs = batch[0] if isinstance(batch, tuple) else batch
        for values in keras.tree.flatten(inputs):
            fetched = keras.ops.convert_to_numpy(values)
            bad = int(np.count_nonzero(~np.isfinite(fetched)))
            if bad:
                raise ValueError(f"x has {bad} values that are NaN or infinite.")
        yield inputs


def _rank(values: Any) -> int:
    """Number of spatial axes of a tensor; below 1 for anything else."""
    return len(getattr(values, "shape", ())) - 2


def _channels_first(values: Any, data_format: str) -> NDArray[Any]:
    """Fetches a tensor and moves its channels to axis 1 (a view)."""
    if keras.backend.standardize_dtype(values.dtype) == "bfloat16":
        values = keras.ops.cast(values, "float32")  # NumPy has no bfloat16.
    fetched = np.asarray(keras.ops.convert_to_numpy(values))
    if data_format == "channels_last":
        return np.moveaxis(fetched, -1, 1)
    return fetched
