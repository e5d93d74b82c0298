"""Cut the graph of a network before the layers that are trained.

With everything upstream frozen, the activations at the cut are the same in every epoch:
computed once, they stand in for the prefix, and training costs only what comes after.
"""

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import keras

from keras_spectral_tl import freezing
from keras_spectral_tl._graph.calls import LayerCall
from keras_spectral_tl._graph.layers import layers_with_weights, parents_first


@dataclasses.dataclass(frozen=True, eq=False)
class LayerGraph:
    """The calls of a functional or sequential network, in an order of execution.

    Nested functional and sequential models are taken apart, so a cut may go through
    them. The layers are the very ones of the network: a model built from a part of the
    graph shares its weights.

    Attributes:
        network: The network.
        inputs: Its symbolic inputs.
        calls: All calls, each after those whose results it needs.
        outputs: Its symbolic outputs.
    """

    network: keras.Model
    inputs: tuple[keras.KerasTensor, ...]
    calls: tuple[LayerCall, ...]
    outputs: tuple[keras.KerasTensor, ...]

    @classmethod
    def of(cls, network: keras.Model) -> "LayerGraph | None":
        """Read the graph of a network; None where there is none.

        Subclassed models have no graph, or steps of their own that parts would lose. A
        network for one number of samples only is not taken apart either.
        """
        if not _has_graph(network) or any(t.shape[0] for t in network.inputs):
            return None
        return _without_loose_ends(_opened(network))

    def arrays(self, x: Any) -> list[Any] | None:
        """Return the arrays of a nest `x` in the order of `inputs`.

        A dict is matched by name, as Keras does. None if `x` does not fit.
        """
        if isinstance(x, dict) and not isinstance(_ends(self.network)[0], dict):
            names = [tensor.name for tensor in self.network.inputs]
            x = [x[name] for name in names] if x.keys() == set(names) else []
        arrays = keras.tree.flatten(x)
        return arrays if len(arrays) == len(self.inputs) else None

    def cut(self, layers: freezing.Selector) -> tuple[keras.KerasTensor, ...] | None:
        """Return the last tensors that do not depend on the given layers.

        All other layers are taken as frozen. What draws random numbers (dropout) counts
        as dependent: the cut lies before it. Masks are tensors and cross as others do.

        Args:
            layers: The layers to train, see `freezing.select_layers`.

        Returns:
            The tensors that calls after the cut need from before it, in the order of
            their use; None if some output of the network does not depend on `layers`.

        Raises:
            KeyError, TypeError, ValueError: As `freezing.select_layers`.
        """
        named = layers_with_weights(self.network)
        names = freezing.select_layers(self.network, layers).names
        trained = {id(named[name]) for name in names}
        after: set[int] = set()
        crossing: dict[int, keras.KerasTensor] = {}
        for call in self.calls:
            inputs = {id(tensor): tensor for tensor in _symbolic(call)}
            if after & inputs.keys() or _holds(call, trained) or _draws(call):
                after.update(id(tensor) for tensor in call.outputs)
                crossing.update((i, t) for i, t in inputs.items() if i not in after)
        if not all(id(output) in after for output in self.outputs):
            return None
        return tuple(crossing.values())

    def part(
        self, known: Sequence[keras.KerasTensor], wanted: Sequence[keras.KerasTensor]
    ) -> tuple[tuple[keras.KerasTensor, ...], keras.Model]:
        """Return the model that computes the wanted tensors from the known ones.

        Args:
            known: Tensors of the graph from which the wanted ones can be computed.
            wanted: Tensors of the graph.

        Returns:
            Those of the known tensors that are needed, and the model from these to the
            wanted ones. It consists of the layers of the network.
        """
        available = {id(tensor) for tensor in known}
        needed = {id(tensor) for tensor in wanted}
        calls = []
        for call in reversed(self.calls):
            if (needed - available).intersection(map(id, call.outputs)):
                calls.append(call)
                needed.update(map(id, _symbolic(call)))
        starts = tuple(tensor for tensor in known if id(tensor) in needed)
        table = {id(old): _input_like(old) for old in starts}
        inputs = list(table.values())
        for call in reversed(calls):
            args, kwargs = call.renamed(table).arguments
            outputs = keras.tree.flatten(call.operation(*args, **kwargs))
            for old, new in zip(call.outputs, outputs, strict=True):
                table.setdefault(id(old), new)
        with _different_names([call.operation for call in calls]):
            results = [table[id(tensor)] for tensor in wanted]
            model = keras.Model(_single(inputs), _single(results))
        model.dtype_policy = self.network.dtype_policy  # decides on loss scaling
        return starts, model


def split(
    network: keras.Model, layers: freezing.Selector
) -> tuple[keras.Model, keras.Model] | None:
    """Split a network before the layers that are trained: network = suffix o prefix.

    Both parts are built from the very layers of the network, so training the suffix
    trains the network. The prefix has an output, and the suffix an input, for every
    tensor that crosses the cut: skip connections do, and so do those inputs of the
    network that the suffix needs.

    Args:
        network: A built Keras model. All layers but the given ones are taken as frozen
            (a frozen BatchNormalization uses its moving statistics).
        layers: The layers to train, see `freezing.select_layers`.

    Returns:
        Prefix and suffix; None if there is nothing to save (the cut is at the inputs)
        or the network has no graph to cut (subclassed models).

    Raises:
        KeyError, TypeError, ValueError: As `freezing.select_layers`.

    Example:
        >>> from keras_spectral_tl.models import build_sgs_cnn
        >>> network = build_sgs_cnn((8, 8, 2), num_layers=4, num_filters=3)
        >>> prefix, suffix = split(network, "conv_3")
        >>> prefix.output_shape, [layer.name for layer in suffix.layers[1:]]
        ((None, 8, 8, 3), ['conv_3', 'conv_4'])
        >>> split(network, "conv_1") is None
        True
    """
    selection = freezing.select_layers(network, layers)
    graph = LayerGraph.of(network)
    cut = graph.cut(selection) if graph else None
    if graph is None or cut is None:
        return None
    if {id(tensor) for tensor in cut} <= {id(tensor) for tensor in graph.inputs}:
        return None
    _, prefix = graph.part(graph.inputs, cut)
    _, suffix = graph.part(cut, graph.outputs)
    return prefix, suffix


def _has_graph(model: Any) -> bool:
    by_keras = type(model).__module__.split(".")[0] == "keras"
    graph = isinstance(model, keras.Sequential) or hasattr(model, "operations")
    return by_keras and graph and model.built and hasattr(model, "inputs")


def _ends(model: keras.Model) -> tuple[Any, Any]:
    if isinstance(model, keras.Sequential):
        return _single(model.inputs), _single(model.outputs)
    return model.input, model.output


def _recorded(model: keras.Model) -> LayerGraph:
    calls = []

    def call(operation: Any, *args: Any, **kwargs: Any) -> Any:
        outputs = operation(*args, **kwargs)
        flat = tuple(keras.tree.flatten(outputs))
        calls.append(LayerCall(operation, (args, kwargs), flat))
        return outputs

    # Replaying the graph on new inputs shows every call; the layers stay the same.
    replayed = keras.models.clone_model(
        keras.Model(*_ends(model)),
        clone_function=lambda layer: layer,
        call_function=call,
    )
    return LayerGraph(
        model, tuple(replayed.inputs), tuple(calls), tuple(replayed.outputs)
    )


def _opened(model: keras.Model) -> LayerGraph:
    closed = _recorded(model)
    calls: list[LayerCall] = []
    table: dict[int, keras.KerasTensor] = {}
    for call in (call.renamed(table) for call in closed.calls):
        if not _can_be_opened(call):
            calls.append(call)
            continue
        inner = _opened(call.operation)
        names = dict(zip(map(id, inner.inputs), _symbolic(call), strict=True))
        calls.extend(inner_call.renamed(names) for inner_call in inner.calls)
        for old, new in zip(call.outputs, inner.outputs, strict=True):
            table[id(old)] = names.get(id(new), new)
    outputs = tuple(table.get(id(tensor), tensor) for tensor in closed.outputs)
    return LayerGraph(model, closed.inputs, tuple(calls), outputs)


def _without_loose_ends(graph: LayerGraph) -> LayerGraph:
    # A nested model may have outputs that nothing uses.
    needed, calls = {id(tensor) for tensor in graph.outputs}, []
    for call in reversed(graph.calls):
        if needed.intersection(map(id, call.outputs)):
            needed.update(map(id, _symbolic(call)))
            calls.append(call)
    return dataclasses.replace(graph, calls=tuple(reversed(calls)))


def _can_be_opened(call: LayerCall) -> bool:
    args, kwargs = call.arguments
    if not _has_graph(call.operation) or len(args) != 1:
        return False
    try:
        keras.tree.assert_same_structure(args[0], _ends(call.operation)[0])
    except (TypeError, ValueError):
        return False  # Keras matches them by name
    return all(value is None for value in kwargs.values())


def _holds(call: LayerCall, layers: set[int]) -> bool:
    if not isinstance(call.operation, keras.Layer):
        return False
    return not layers.isdisjoint(map(id, parents_first(call.operation)))


def _draws(call: LayerCall) -> bool:
    # Whatever `training` a layer was called with, Keras overrides it during a fit.
    variables = getattr(call.operation, "variables", ())
    return any(variable.name == "seed_generator_state" for variable in variables)


@contextlib.contextmanager
def _different_names(operations: Sequence[Any]) -> Iterator[None]:
    """Give operations different names for a moment, as a Keras model demands.

    Layers of two nested models may have the same name.
    """
    names = {id(operation): operation.name for operation in operations}
    by_id = {id(operation): operation for operation in operations}
    try:
        for number, operation in enumerate(by_id.values()):
            operation.name = f"{operation.name}_{number}"
        yield
    finally:
        for key, operation in by_id.items():
            operation.name = names[key]


def _symbolic(call: LayerCall) -> list[keras.KerasTensor]:
    """Return the symbolic tensors among the arguments; others are constants."""
    return [part for part in call.inputs if isinstance(part, keras.KerasTensor)]


def _input_like(tensor: keras.KerasTensor) -> keras.KerasTensor:
    return keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype)


def _single(parts: Sequence[Any]) -> Any:
    return parts[0] if len(parts) == 1 else list(parts)
