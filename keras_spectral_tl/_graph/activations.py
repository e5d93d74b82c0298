"""The activations at a cut, computed once, in memory or in a temporary file."""

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
from keras_spectral_tl._graph.cut import LayerGraph

Arrays = list[NDArray[Any]]
_COMPARED = 8  # samples on which training and inference are compared


@dataclasses.dataclass(frozen=True)
class PrefixCache:
    """Where the activations of frozen layers are kept and how they are computed.

    Attributes:
        memory_limit: Bytes of activations held in memory at a time. What does not fit
            is written to a temporary file and mapped, with 0 everything; the system
            removes the file with its last user, even when the process is killed.
        directory: Folder of the temporary files; None means the system's.
        batch_size: Samples computed at a time. It decides the memory needed beside the
            activations kept, and the last bits where a library sums in another order
            for other sizes.

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
        """Return an array to be filled, in memory if it fits beside `held` bytes."""
        size = math.prod(shape) * np.dtype(dtype).itemsize
        if held + size <= self.memory_limit:
            return np.empty(shape, dtype)
        with tempfile.TemporaryFile(dir=self.directory) as file:
            return np.memmap(file, dtype, "w+", shape=shape)


class Activations:
    """Activations of several sets of samples at one cut after another.

    Those at a new cut are computed from those at hand, so walking through all cuts of a
    network in order costs one forward pass in all. Only those at the last cut are kept.

    Args:
        graph: The graph of the network; its frozen weights must not change meanwhile.
        sets: For each set of samples one array for each input of the graph.
        cache: Where activations are kept.
    """

    def __init__(
        self, graph: LayerGraph, sets: Sequence[Arrays], cache: PrefixCache
    ) -> None:
        self.graph, self.cache = graph, cache
        ids = [id(tensor) for tensor in graph.inputs]
        self._inputs = [dict(zip(ids, arrays, strict=True)) for arrays in sets]
        self._kept: list[dict[int, NDArray[Any]]] = [{} for _ in sets]
        self._known: dict[int, keras.KerasTensor] = {}

    def at(self, cut: Sequence[keras.KerasTensor]) -> list[Arrays] | None:
        """Return the arrays at the cut for each set of samples.

        Args:
            cut: Tensors of the graph, as `LayerGraph.cut` returns them.

        Returns:
            For each set one array (num_samples, ...) for each tensor. None if what
            comes before the cut acts differently in training than in inference, draws
            random numbers, adds a loss or changes variables: found out by doing it.
        """
        known = {id(tensor): tensor for tensor in self.graph.inputs} | self._known
        missing = [tensor for tensor in cut if id(tensor) not in known]
        if missing:
            starts, model = self.graph.part(tuple(known.values()), missing)
            sources = [
                [(inputs | kept)[id(tensor)] for tensor in starts]
                for inputs, kept in zip(self._inputs, self._kept, strict=True)
            ]
            if not acts_alike(model, [part[:_COMPARED] for part in sources[0]]):
                return None
            for arrays, kept in zip(sources, self._kept, strict=True):
                results = self._computed(model, arrays)
                kept.update(zip(map(id, missing), results, strict=True))
        self._forget_all_but(cut)
        return [
            [(inputs | kept)[id(tensor)] for tensor in cut]
            for inputs, kept in zip(self._inputs, self._kept, strict=True)
        ]

    def _forget_all_but(self, cut: Sequence[keras.KerasTensor]) -> None:
        inputs = {id(tensor) for tensor in self.graph.inputs}
        self._known = {id(t): t for t in cut if id(t) not in inputs}
        for kept in self._kept:
            for key in kept.keys() - self._known.keys():
                del kept[key]

    def _computed(self, model: keras.Model, arrays: Arrays) -> Arrays:
        held = sum(
            array.nbytes
            for kept in self._kept
            for array in kept.values()
            if not isinstance(array, np.memmap)
        )
        return evaluated(model, arrays, self.cache, held)


def evaluated(
    model: keras.Model, arrays: Arrays, cache: PrefixCache, held: int = 0
) -> Arrays:
    """Return the outputs of a model in inference mode, batch by batch.

    The model is called without compiling it: each part of a network is used only once.

    Args:
        model: A built Keras model.
        arrays: One array (num_samples, ...) for each input.
        cache: Where the outputs are kept.
        held: Bytes in memory already.
    """
    results: Arrays = []
    for start, batch in _batches(arrays, cache.batch_size):
        outputs = [
            _fetched(p) for p in keras.tree.flatten(model(batch, training=False))
        ]
        if not results:
            for part in outputs:
                shape = (len(arrays[0]), *part.shape[1:])
                results.append(cache.empty(shape, part.dtype, held))
                held += 0 if isinstance(results[-1], np.memmap) else results[-1].nbytes
        for result, part in zip(results, outputs, strict=True):
            result[start : start + len(part)] = part
    return results


def _batches(arrays: Arrays, size: int) -> Iterator[tuple[int, Any]]:
    for start in range(0, len(arrays[0]), size):
        parts = [array[start : start + size] for array in arrays]
        yield start, parts[0] if len(parts) == 1 else parts


def acts_alike(model: keras.Model, sample: Arrays) -> bool:
    """Tell whether a frozen model does in training bit for bit what it does otherwise.

    It is called in both modes on the sample, without lasting effects. Random numbers,
    losses of its own, and variables that it changes make the answer False. Inputs that
    are zero everywhere, which a factor of noise would leave so, are replaced.
    """
    sample = [_not_zero(part) for part in sample]
    trainable = [variable.value for variable in model.trainable_variables]
    others = [variable.value for variable in model.non_trainable_variables]
    batch = sample[0] if len(sample) == 1 else sample
    seen = []
    for training in (False, True):
        outputs, after, losses = model.stateless_call(
            trainable, others, batch, training=training, return_losses=True
        )
        if losses or not _equal(map(_fetched, others), map(_fetched, after)):
            return False
        seen.append([_fetched(output) for output in keras.tree.flatten(outputs)])
    return _equal(*seen)


def _not_zero(values: NDArray[Any]) -> NDArray[Any]:
    if values.dtype.kind in "iub" or np.any(values):
        return values
    drawn = np.random.default_rng(0).normal(size=values.shape)
    return drawn.astype(values.dtype)


def _equal(first: Iterable[Any], second: Iterable[Any]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def _fetched(tensor: Any) -> NDArray[Any]:
    return np.asarray(keras.ops.convert_to_numpy(tensor))
