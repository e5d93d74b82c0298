"""Cuts of a network before its first trained layer, with cached activations.

Since all layers before the cut are frozen, the activations at the cut are the same in
every epoch. They are computed once, in memory or in a temporary file, and replace these
layers, so that training costs only the part after the cut.
"""

import contextlib
import dataclasses
import math
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_spectral_tl._checks import whole_number
from keras_spectral_tl._graph.calls import LayerCall
from keras_spectral_tl._graph.layers import (
    batches,
    fetch,
    layers_with_weights,
    parents_first,
)
from keras_spectral_tl._keras_internals import replaced
from keras_spectral_tl.freezing import Selector, select_layers


@dataclasses.dataclass(frozen=True, eq=False)
class LayerGraph:
    """The calls of a functional or sequential network, in an order of execution.

    Nested functional and sequential models are unfolded, so a cut may go through them.
    The layers are those of the network itself: a model built from a part of the graph
    shares its weights. Inputs and outputs are symbolic.
    """

    network: keras.Model
    inputs: tuple[keras.KerasTensor, ...]
    calls: tuple[LayerCall, ...]
    outputs: tuple[keras.KerasTensor, ...]

    @classmethod
    def of(cls, network: keras.Model) -> "LayerGraph | None":
        """Read the graph of a network; None if it cannot be cut.

        Subclassed models have no graph, or custom steps that a part would lose. A
        network with a fixed batch size is not cut either.
        """
        if not _has_graph(network) or any(t.shape[0] for t in network.inputs):
            return None
        graph = _opened(network)
        # A nested model may have outputs that nothing uses.
        calls, _ = _needed(graph.calls, graph.outputs)
        return dataclasses.replace(graph, calls=tuple(calls))

    def arrays(self, x: Any) -> list[Any] | None:
        """Return the arrays of a nest `x` in the order of `inputs`.

        A dict is matched by name, as Keras does. None if `x` does not fit.
        """
        if isinstance(x, dict) and not isinstance(_ends(self.network)[0], dict):
            names = [tensor.name for tensor in self.network.inputs]
            x = [x[name] for name in names] if x.keys() == set(names) else []
        arrays = keras.tree.flatten(x)
        return arrays if len(arrays) == len(self.inputs) else None

    def cut(self, layers: Selector) -> tuple[keras.KerasTensor, ...] | None:
        """Return the last tensors that do not depend on the given layers.

        All other layers are taken as frozen. Layers that draw random numbers (dropout)
        count as dependent, so the cut is before them. Masks cross the cut like other
        tensors. None if some output of the network does not depend on `layers`.
        """
        named = layers_with_weights(self.network)
        names = select_layers(self.network, layers).names
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
        """Return the known tensors needed, and the model from these to `wanted`."""
        calls, needed = _needed(self.calls, wanted, known)
        starts = tuple(tensor for tensor in known if id(tensor) in needed)
        table = {
            id(old): keras.Input(batch_shape=old.shape, dtype=old.dtype)
            for old in starts
        }
        inputs = list(table.values())
        for call in calls:
            args, kwargs = call.renamed(table).arguments
            outputs = keras.tree.flatten(call.operation(*args, **kwargs))
            for old, new in zip(call.outputs, outputs, strict=True):
                table.setdefault(id(old), new)
        with _different_names([call.operation for call in calls]):
            results = [table[id(tensor)] for tensor in wanted]
            model = keras.Model(_single(inputs), _single(results))
        model.dtype_policy = self.network.dtype_policy  # decides on loss scaling
        return starts, model


def _has_graph(model: Any) -> bool:
    by_keras = type(model).__module__.split(".")[0] == "keras"
    graph = isinstance(model, keras.Sequential) or hasattr(model, "operations")
    return by_keras and graph and model.built and hasattr(model, "inputs")


def _ends(model: keras.Model) -> tuple[Any, Any]:
    if isinstance(model, keras.Sequential):
        return _single(model.inputs), _single(model.outputs)
    return model.input, model.output


def _opened(model: keras.Model) -> LayerGraph:
    recorded = []

    def call(operation: Any, *args: Any, **kwargs: Any) -> Any:
        outputs = operation(*args, **kwargs)
        flat = tuple(keras.tree.flatten(outputs))
        recorded.append(LayerCall(operation, (args, kwargs), flat))
        return outputs

    # Replay the graph on new inputs to record every call; the layers are the same.
    replayed = keras.models.clone_model(
        keras.Model(*_ends(model)),
        clone_function=lambda layer: layer,
        call_function=call,
    )
    calls: list[LayerCall] = []
    table: dict[int, keras.KerasTensor] = {}
    for one in (one.renamed(table) for one in recorded):
        if not _can_be_opened(one):
            calls.append(one)
            continue
        inner = _opened(one.operation)
        names = dict(zip(map(id, inner.inputs), _symbolic(one), strict=True))
        calls.extend(inner_call.renamed(names) for inner_call in inner.calls)
        for old, new in zip(one.outputs, inner.outputs, strict=True):
            table[id(old)] = names.get(id(new), new)
    outputs = tuple(table.get(id(tensor), tensor) for tensor in replayed.outputs)
    return LayerGraph(model, tuple(replayed.inputs), tuple(calls), outputs)


def _needed(
    calls: Sequence[LayerCall], wanted: Sequence[Any], known: Sequence[Any] = ()
) -> tuple[list[LayerCall], set[int]]:
    """Return the calls that lead from known to wanted tensors, and ids of all used."""
    needed, available = set(map(id, wanted)), set(map(id, known))
    found = []
    for call in reversed(calls):
        if (needed - available).intersection(map(id, call.outputs)):
            needed.update(map(id, _symbolic(call)))
            found.append(call)
    return found[::-1], needed


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
    # Keras overrides the `training` argument of a layer call during a fit.
    variables = getattr(call.operation, "variables", ())
    return any(variable.name == "seed_generator_state" for variable in variables)


@contextlib.contextmanager
def _different_names(operations: Sequence[Any]) -> Iterator[None]:
    """Temporarily give operations unique names, which a Keras model requires.

    Layers of two nested models may have the same name.
    """
    by_id = {id(operation): operation for operation in operations}
    with contextlib.ExitStack() as stack:
        for number, operation in enumerate(by_id.values()):
            name = f"{operation.name}_{number}"
            stack.enter_context(replaced(operation, "name", name))
        yield


def _symbolic(call: LayerCall) -> list[keras.KerasTensor]:
    """Return the symbolic tensors among the arguments; others are constants."""
    return [part for part in call.inputs if isinstance(part, keras.KerasTensor)]


def _single(parts: Sequence[Any]) -> Any:
    return parts[0] if len(parts) == 1 else list(parts)


Arrays = list[NDArray[Any]]
_COMPARED = 8  # samples on which training and inference are compared


@dataclasses.dataclass(frozen=True)
class PrefixCache:
    """Storage and computation of the activations of frozen layers.

    Attributes:
        memory_limit: Bytes of activations held in memory at a time. The rest (with 0,
            everything) is written to a memory-mapped temporary file; the system removes
            the file when it is no longer used, even if the process is killed.
        directory: Folder of the temporary files; None means the system's.
        batch_size: Samples computed at a time. It determines the additional memory, and
            affects the last bits if a library sums in an order that depends on it.

    Raises:
        TypeError: If a number is not an int.
        ValueError: If a number is negative or the batch size zero.

    Example:
        >>> PrefixCache(memory_limit=10**9).batch_size
        8
    """

    memory_limit: int = 2 * 1024**3
    directory: str | os.PathLike[str] | None = None
    batch_size: int = 8

    def __post_init__(self) -> None:
        whole_number("memory_limit", self.memory_limit, at_least=0)
        whole_number("batch_size", self.batch_size, at_least=1)

    def empty(self, shape: tuple[int, ...], dtype: Any, held: int) -> NDArray[Any]:
        """Return an empty array, in memory if it fits in addition to `held` bytes."""
        size = math.prod(shape) * np.dtype(dtype).itemsize
        if held + size <= self.memory_limit:
            return np.empty(shape, dtype)
        with tempfile.TemporaryFile(dir=self.directory) as file:
            return np.memmap(file, dtype, "w+", shape=shape)


class Activations:
    """Activations of several sets of samples at successive cuts.

    Activations at a new cut are computed from those at the last one, so all cuts of a
    network in order cost one forward pass. Only those at the last cut are kept.
    """

    def __init__(
        self, graph: LayerGraph, sets: Sequence[Arrays], cache: PrefixCache
    ) -> None:
        self.graph, self.cache = graph, cache
        ids = [id(tensor) for tensor in graph.inputs]
        self._inputs = [dict(zip(ids, arrays, strict=True)) for arrays in sets]
        self._kept: list[dict[int, NDArray[Any]]] = [{} for _ in sets]
        self._known: dict[int, keras.KerasTensor] = {}

    @classmethod
    def of(
        cls, network: keras.Model, inputs: Sequence[Any], cache: PrefixCache
    ) -> "Activations | None":
        """Prepare sets of inputs; None if the network cannot be cut or does not fit."""
        graph = LayerGraph.of(network)
        sets = [None if graph is None else graph.arrays(x) for x in inputs]
        known = [arrays for arrays in sets if arrays is not None]
        if graph is None or len(known) < len(sets):
            return None
        return cls(graph, known, cache)

    def at(self, cut: Sequence[keras.KerasTensor]) -> list[Arrays] | None:
        """Return the arrays (num_samples, ...) at the cut for each set of samples.

        None if the layers before the cut behave differently in training than in
        inference, draw random numbers, add a loss or change variables, which is tested
        by calling them.
        """
        known = {id(tensor): tensor for tensor in self.graph.inputs} | self._known
        missing = [tensor for tensor in cut if id(tensor) not in known]
        if missing:
            starts, model = self.graph.part(tuple(known.values()), missing)
            sources = self._arrays_at(starts)
            if not acts_alike(model, [part[:_COMPARED] for part in sources[0]]):
                return None
            for arrays, kept in zip(sources, self._kept, strict=True):
                x = _single(arrays)
                results = evaluated(model, x, self.cache, self._held())
                kept.update(zip(map(id, missing), results, strict=True))
        inputs = {id(tensor) for tensor in self.graph.inputs}
        self._known = {id(t): t for t in cut if id(t) not in inputs}
        for kept in self._kept:
            for key in kept.keys() - self._known.keys():
                del kept[key]
        return self._arrays_at(cut)

    def from_cut(self, layers: Selector) -> tuple[list[Any], keras.Model] | None:
        """Return the rest of the network from the cut before some layers on.

        With its inputs, for each set of samples an array, or a tuple of several:
        `(inputs, rest)`. None if the network cannot be cut there, see `at`.
        """
        cut = self.graph.cut(layers)
        inputs = self._inputs_at(cut)
        if cut is None or inputs is None:
            return None
        return inputs, self.graph.part(cut, self.graph.outputs)[1]

    def before(self, layers: Selector) -> list[Any] | None:
        """Return the inputs alone of what `from_cut` returns."""
        return self._inputs_at(self.graph.cut(layers))

    def _inputs_at(self, cut: Sequence[keras.KerasTensor] | None) -> list[Any] | None:
        sets = None if cut is None else self.at(cut)
        # tf.data knows no lists.
        return sets and [a[0] if len(a) == 1 else tuple(a) for a in sets]

    def _arrays_at(self, tensors: Sequence[keras.KerasTensor]) -> list[Arrays]:
        return [
            [(inputs | kept)[id(tensor)] for tensor in tensors]
            for inputs, kept in zip(self._inputs, self._kept, strict=True)
        ]

    def _held(self) -> int:
        """Return the bytes of activations in memory."""
        arrays = [array for kept in self._kept for array in kept.values()]
        return sum(a.nbytes for a in arrays if not isinstance(a, np.memmap))


def evaluated(model: keras.Model, x: Any, cache: PrefixCache, held: int = 0) -> Arrays:
    """Return the outputs of a model in inference mode, batch by batch.

    The model is not compiled, because each part of a network is used only once.
    """
    results: Arrays = []
    num_samples = len(keras.tree.flatten(x)[0])
    for rows, batch in batches(x, cache.batch_size):
        outputs = [fetch(p) for p in keras.tree.flatten(model(batch, training=False))]
        if not results:
            for part in outputs:
                shape = (num_samples, *part.shape[1:])
                results.append(cache.empty(shape, part.dtype, held))
                held += 0 if isinstance(results[-1], np.memmap) else results[-1].nbytes
        for result, part in zip(results, outputs, strict=True):
            result[rows] = part
    return results


def acts_alike(model: keras.Model, sample: Arrays) -> bool:
    """Return whether a frozen model gives bitwise equal outputs in training mode.

    It is called in both modes on the sample, without lasting effects. The answer is
    False if it draws random numbers, adds losses or changes variables. Inputs that are
    zero everywhere are replaced, because multiplicative noise would not change them.
    """
    sample = [_not_zero(part) for part in sample]
    trainable = [variable.value for variable in model.trainable_variables]
    others = [variable.value for variable in model.non_trainable_variables]
    batch = _single(sample)
    seen = []
    for training in (False, True):
        outputs, after, losses = model.stateless_call(
            trainable, others, batch, training=training, return_losses=True
        )
        if losses or not _equal(map(fetch, others), map(fetch, after)):
            return False
        seen.append([fetch(output) for output in keras.tree.flatten(outputs)])
    return _equal(*seen)


def _not_zero(values: NDArray[Any]) -> NDArray[Any]:
    if values.dtype.kind in "iub" or np.any(values):
        return values
    drawn = np.random.default_rng(0).normal(size=values.shape)
    return drawn.astype(values.dtype)


def _equal(first: Iterable[Any], second: Iterable[Any]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
