"""Recorded calls of the layers of a model, with data or with shapes only."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from functools import wraps
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_spectral_tl._checks import check_finite, refuse_masked, whole_number
from keras_spectral_tl._graph.layers import (
    ModelLayers,
    SampleShape,
    batches,
    data_format_of_layers,
    fetch,
    inputs_of,
    layers_with_weights,
    parents_first,
    symbolic_inputs,
    walk,
)
from keras_spectral_tl._keras_internals import calling_method, replaced, sublayers

Shape = tuple[int, ...]

# Size of open axes when only the order of calls matters; it stays positive after the
# usual strides and pooling.
OPEN_SIZE = 64

# Activation layers without an `activation` attribute.
_ACTIVATION_LAYERS = (
    keras.layers.ReLU,
    keras.layers.LeakyReLU,
    keras.layers.PReLU,
    keras.layers.ELU,
)


@dataclasses.dataclass(frozen=True, eq=False)
class LayerCall:
    """One call of a layer or operation; a shared layer has several.

    Attributes:
        operation: The layer or operation.
        arguments: (args, kwargs), which contain symbolic or real tensors.
        outputs: The tensors it returned, flattened.
        activated: The inputs of its `activation`, if they were recorded.
    """

    operation: Any
    arguments: tuple[tuple[Any, ...], dict[str, Any]]
    outputs: tuple[Any, ...]
    activated: tuple[Any, ...] = ()

    @property
    def inputs(self) -> list[Any]:
        """The tensors among the arguments."""
        leaves = keras.tree.flatten(self.arguments)
        return [leaf for leaf in leaves if hasattr(leaf, "shape")]

    @property
    def input_shapes(self) -> tuple[Shape, ...]:
        """Shapes of the input tensors, including the batch axis."""
        return tuple(map(_shape, self.inputs))

    @property
    def output_shapes(self) -> tuple[Shape, ...]:
        """Shapes of the output tensors, including the batch axis."""
        return tuple(_shape(part) for part in self.outputs if hasattr(part, "shape"))

    def renamed(self, table: Mapping[int, Any]) -> "LayerCall":
        """Return the call with tensors replaced; `table` maps an id to a new tensor."""
        arguments = keras.tree.map_structure(
            lambda leaf: table.get(id(leaf), leaf), self.arguments
        )
        return dataclasses.replace(self, arguments=arguments)


def trace_calls(
    model: keras.Model, input_shape: SampleShape | None = None, unknown: int = 0
) -> tuple[LayerCall, ...]:
    """Trace one sample through `model`, in inference mode, without computing anything.

    It works for functional, sequential, nested, subclassed and quantized models, since
    the calls themselves are recorded. A layer used twice is recorded twice, a container
    after its contents. Axes left open get size `unknown`; 0 raises an error instead.
    """
    inputs = symbolic_inputs(model, input_shape, unknown)
    calls: list[LayerCall] = []
    try:
        with _watched(parents_first(model), calls.append):
            _Whole(model).compute_output_spec(inputs)
    except Exception as error:
        shapes = [tuple(part.shape[1:]) for part in keras.tree.flatten(inputs)]
        raise ValueError(
            f"Model {model.name!r} could not be called on a sample of shape "
            f"{', '.join(map(str, shapes))}, from which the order and the cost of its "
            "layers are found. Where its input leaves a size open, pass input_shape= "
            "or choose layers by name."
        ) from error
    return tuple(calls)


def in_call_order(
    model: keras.Model, layers: Mapping[str, keras.Layer]
) -> tuple[str, ...]:
    """Return the names of layers by their first call; never called ones come last.

    In a subclassed model this may differ from the order of its attributes.
    """
    order: dict[int, int] = {}
    for place, call in enumerate(trace_calls(model, unknown=OPEN_SIZE)):
        order.setdefault(id(call.operation), place)
    return tuple(sorted(layers, key=lambda n: order.get(id(layers[n]), len(order))))


def called_layers(model: keras.Model) -> tuple[str, ...]:
    """Return the names of the layers with trainable weights by their first call.

    If the shape of a sample is unknown, so that no call can be traced, the order is
    that of `layers_with_weights`.
    """
    layers = layers_with_weights(model, trainable=True)
    try:
        return in_call_order(model, layers)
    except ValueError:
        return tuple(layers)


class _Whole(keras.layers.Layer):
    """A model as one opaque layer, whose output shapes are found by calling it."""

    def __init__(self, model: keras.Model) -> None:
        super().__init__()
        self.function: Callable[..., Any] = lambda x: model(x, training=False)

    def call(self, inputs: Any) -> Any:
        return self.function(inputs)


@contextmanager
def _watched(
    layers: Iterable[keras.Layer],
    watcher: Callable[[LayerCall], None],
    activations: bool = False,
) -> Iterator[None]:
    """Pass every call of the layers to a watcher when it has ended."""
    with ExitStack() as stack:
        for layer in layers:
            name, method = calling_method(layer)
            watched = _watched_method(layer, method, watcher, activations)
            stack.enter_context(replaced(layer, name, watched))
        yield


def _watched_method(
    layer: keras.Layer,
    method: Callable[..., Any],
    watcher: Callable[[LayerCall], None],
    activations: bool,
) -> Callable[..., Any]:
    activation = getattr(layer, "activation", None) if activations else None

    @wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        received: list[Any] = []

        def activate(values: Any, *rest: Any, **options: Any) -> Any:
            received.append(values)
            return activation(values, *rest, **options)  # type: ignore[misc]

        watching = activation is not None
        with replaced(layer, "activation", activate) if watching else nullcontext():
            outputs = method(*args, **kwargs)
        flat = tuple(keras.tree.flatten(outputs))
        watcher(LayerCall(layer, (args, kwargs), flat, tuple(received)))
        return outputs

    return call


def _shape(tensor: Any) -> Shape:
    return tuple(int(size) for size in tensor.shape)


@dataclasses.dataclass(frozen=True)
class LayerFields:
    """Arrays of one call of a layer with a spatial output, channels moved to axis 1.

    Attributes:
        layer: The layer.
        inputs: (samples, channels, nx, ny), or None if the input is not such an array.
        pre_activation: (samples, channels, nx, ny): input of the activation. For a
            layer without an activation it is the same array as the output.
        post_activation: (samples, channels, nx, ny): the output. There may be one or
            three spatial axes instead, if requested.
    """

    layer: keras.Layer
    inputs: NDArray[Any] | None
    pre_activation: NDArray[Any]
    post_activation: NDArray[Any]


CallReader = Callable[[str, LayerFields], None]


class NoSpatialLayerError(ValueError):
    """The model has no layer with a spatial output of the rank asked for."""


def read_calls(
    model: keras.Model,
    x: Any,
    reader: CallReader,
    layers: Sequence[str] | None = None,
    batch_size: int = 32,
    ranks: tuple[int, ...] = (2,),
) -> int:
    """Run a model on data and pass every layer call to a reader as it happens.

    Only one batch of one layer is held at a time. The model runs eagerly in inference
    mode and may be of any type (sequential, functional, nested, subclassed). While it
    runs, the `call` and the `activation` of its layers are replaced; both are restored
    exactly, also after an exception.

    Args:
        model: A built model.
        x: Array (samples, ...), a dict or list of the model's inputs, or an iterable of
            batches; a tuple as batch means (inputs, targets).
        reader: Called with the layer's name and the `LayerFields`.
        layers: Names of the layers to read; by default all of them.
        batch_size: Samples per batch when `x` is an array.
        ranks: Numbers of spatial axes of the outputs to read: any of 1, 2, 3. With 1,
            every output (samples, steps, channels) counts as a field.

    Returns:
        The number of samples read.

    Raises:
        KeyError: If the model has no layer of a given name.
        ValueError: If `x` is empty or not finite, or a named layer was not called or
            has no spatial output of these ranks, or no layer has one.

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
    default_format = data_format_of_layers(chosen.values())
    names = {id(layer): name for name, layer in chosen.items()}
    seen: set[str] = set()
    others: set[int] = set()

    def watch(call: LayerCall) -> None:
        rank = _rank(call.outputs[0]) if len(call.outputs) == 1 else 0
        others.add(rank)
        if len(call.outputs) == 1 and rank in ranks:
            name = names[id(call.operation)]
            seen.add(name)
            layout = getattr(call.operation, "data_format", None) or default_format
            reader(name, _fields(call, layout))

    num_samples = 0
    with _watched(chosen.values(), watch, activations=True):
        for batch in _batches(model, x, batch_size):
            with keras.StatelessScope():  # do not change counters and states
                model(batch, training=False)
            num_samples += len(keras.tree.flatten(batch)[0])
    if num_samples == 0:
        raise ValueError("x holds no samples. Pass at least one.")
    mend = _mend(others - set(ranks))
    missing = [name for name in layers or () if name not in seen]
    if missing:
        raise ValueError(
            f"These layers were not called or have no output with {_either(ranks)} "
            f"spatial axes (2: samples, nx, ny, channels): {missing}. Layers that "
            f"have: {sorted(seen)}.{mend}"
        )
    if not seen:
        unseen = (
            " Layers called inside a compiled function of the model's own, such as a "
            "tf.function, cannot be seen."
        )
        raise NoSpatialLayerError(
            f"No layer of model {model.name!r} was seen to give an output with "
            f"{_either(ranks)} spatial axes (2: samples, nx, ny, channels)."
            f"{mend or unseen}"
        )
    return num_samples


def _mend(ranks: set[int]) -> str:
    """Return advice to read the ranks that outputs have, empty if they have none."""
    spatial = sorted(ranks & {1, 2, 3})
    if not spatial:
        return ""
    found = _either(spatial)
    return f" There are outputs with {found}: pass rank={found}."


def _either(numbers: Sequence[int]) -> str:
    return " or ".join(map(str, numbers))


def _fields(call: LayerCall, data_format: str) -> LayerFields:
    """Fetch one call as NumPy arrays."""
    layer, outputs, received = call.operation, call.outputs[0], list(call.activated)
    args, kwargs = call.arguments
    inputs = next(iter([*args, *kwargs.values()]), None)
    if isinstance(layer, _ACTIVATION_LAYERS):
        received.append(inputs)
    post = _channels_first(outputs, data_format)
    pre = post
    # A layer that applies its activation more than once has no single pre-activation.
    is_applied_once = len(received) == 1 and received[0] is not outputs
    if is_applied_once and tuple(received[0].shape) == tuple(outputs.shape):
        pre = _channels_first(received[0], data_format)
    same_rank = _rank(inputs) == _rank(outputs)
    fetched = _channels_first(inputs, data_format) if same_rank else None
    return LayerFields(layer, fetched, pre, post)


def _chosen_layers(
    model: keras.Model, names: Sequence[str] | None
) -> dict[str, keras.Layer]:
    """Return the layers to read: the named ones, or all that are not containers."""
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
            ModelLayers.of(model).known(name)  # raises an error
    return {name: readable[name] for name in names}


def _readable_layers(model: keras.Model) -> dict[str, keras.Layer]:
    """Return layers by name: those without weights are named by their paths."""
    readable = layers_with_weights(model)
    known = {id(layer) for layer in readable.values()}
    for name, layer in walk(model, "", set()):
        if sublayers(layer) or isinstance(layer, keras.layers.InputLayer):
            continue
        if id(layer) not in known and name not in readable:
            readable[name] = layer
    return {name: layer for name, layer in readable.items() if layer is not model}


def _batches(model: keras.Model, x: Any, batch_size: int) -> Iterator[Any]:
    """Yield batches of inputs, after checking that all values are finite."""
    whole_number("batch_size", batch_size, at_least=1)
    if isinstance(x, tuple):
        raise ValueError(
            f"x is a tuple of {len(x)}. Pass the inputs alone, without the targets, or "
            "an iterable of batches such as a tf.data.Dataset."
        )
    # A list holds the inputs of a model with several, or batches.
    count = len(getattr(model, "inputs", None) or [])  # 0 if it is not known
    listed = count > 1 and isinstance(x, list) and all(hasattr(p, "shape") for p in x)
    if listed and (misfit := misfit_of_inputs(model, x)):
        raise ValueError(misfit)
    if isinstance(x, dict):
        check_names(model, x)
    if listed or hasattr(x, "shape") or isinstance(x, dict):
        stream: Iterable[Any] = (batch for _, batch in batches(x, batch_size))
    else:
        stream = x
    for batch in stream:
        # A torch DataLoader yields lists, which of other models may be the inputs.
        pair = isinstance(batch, list) and len(batch) == 2
        pair = pair and (count == 1 or isinstance(batch[0], list | dict))
        inputs = batch[0] if pair or isinstance(batch, tuple) else batch
        for values in keras.tree.flatten(inputs):
            refuse_masked(values)
            check_finite("x", fetch(values))
        yield inputs


def _rank(values: Any) -> int:
    """Return the number of spatial axes of a tensor, below 1 if it is not a field."""
    return len(getattr(values, "shape", ())) - 2


def _channels_first(values: Any, data_format: str) -> NDArray[Any]:
    """Fetch a tensor and move its channels to axis 1 (a view)."""
    if keras.backend.standardize_dtype(values.dtype) == "bfloat16":
        values = keras.ops.cast(values, "float32")  # NumPy has no bfloat16.
    fetched = fetch(values)
    if data_format == "channels_last":
        return np.moveaxis(fetched, -1, 1)
    return fetched


def misnamed_inputs(model: keras.Model, x: Any) -> str:
    """Return why the names of inputs do not fit a model; empty if they fit.

    Keras only warns of some misfits and then passes arrays by their places. The inputs
    of a subclassed model are free.
    """
    wanted = _shapes_of_inputs(model)
    if not wanted:
        return ""
    head = f"Model {model.name!r} takes the inputs {_told(wanted)}"
    if isinstance(x, dict):
        missing = [name for name in wanted if name not in x]
        unknown = [str(name) for name in x if name not in wanted]
        if missing:
            return (
                f"{head}, but x has no {', '.join(missing)}. "
                f"Received a dict with {', '.join(map(str, x))}."
            )
        if unknown:
            return (
                f"{head} and no {', '.join(unknown)}. Received a dict with "
                f"{', '.join(map(str, x))}: leave out {', '.join(unknown)}."
            )
    elif isinstance(getattr(model, "input", None), dict):
        return (
            f"{head}, but x holds {len(keras.tree.flatten(x))} array(s) without names. "
            "Pass a dict of arrays by these names."
        )
    return ""


def check_names(model: keras.Model, x: Any) -> None:
    """Raise ValueError if the names of inputs do not fit a model."""
    if misnamed := misnamed_inputs(model, x):
        raise ValueError(misnamed)


def _shapes_of_inputs(model: keras.Model) -> dict[str, tuple[int | None, ...]]:
    """Return the shapes of samples by names of inputs; none if they are unknown."""
    named = inputs_of(model)
    if named is None:
        return {}
    if not isinstance(named, dict):
        named = {tensor.name: tensor for tensor in keras.tree.flatten(named)}
    flat = all(hasattr(part, "shape") for part in named.values())
    return {name: tuple(t.shape[1:]) for name, t in named.items()} if flat else {}


def _told(wanted: Mapping[str, Any]) -> str:
    return ", ".join(f"{name!r} {shape}" for name, shape in wanted.items())


def misfit_of_inputs(model: keras.Model, x: Any) -> str:
    """Return why inputs do not fit a model; empty if they fit or it is unknown."""
    wanted = _shapes_of_inputs(model)
    if not wanted:
        return ""
    if misnamed := misnamed_inputs(model, x):
        return misnamed
    head = f"Model {model.name!r} takes"
    parts = (
        [x[name] for name in wanted] if isinstance(x, dict) else keras.tree.flatten(x)
    )
    if len(parts) != len(wanted):
        what = "a dict of arrays by these names" if len(wanted) > 1 else "one array"
        return (
            f"{head} {_told(wanted)}, but x holds {len(parts)} array(s). Pass {what}."
        )
    for (name, shape), part in zip(wanted.items(), parts, strict=True):
        found = tuple(part.shape[1:])
        fits = [size in (None, n) for size, n in zip(shape, found, strict=False)]
        if len(found) != len(shape) or not all(fits):
            of = f" of input {name!r}" if len(wanted) > 1 else ""
            mend = (
                "Pass them on the grid and with the channels that the model was built "
                "for (None: any size)."
            )
            if len(found) == len(shape) - 1:
                mend = (
                    "An axis is missing: add that of the channels, x[..., None], or "
                    "put single samples into batches, for example dataset.batch(32)."
                )
            return (
                f"{head} samples of shape {shape}{of}, but x has samples of shape "
                f"{found}. {mend}"
            )
    return ""
