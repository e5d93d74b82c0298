"""Sweep over layers: retrain each alone from the same model, and test the result."""

import concurrent.futures
import contextlib
import dataclasses
import os
import pathlib
import pickle
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import keras
from numpy.typing import NDArray

from keras_spectral_tl import freezing, models
from keras_spectral_tl._graph.cut import (
    Activations,
    LayerGraph,
    PrefixCache,
    evaluated,
)
from keras_spectral_tl._graph.layers import (
    ModelLayers,
    fetch,
    own_weights,
    parents_first,
    trainable_layer_names,
)
from keras_spectral_tl.freezing._changes import set_trainable, weight_hashes
from keras_spectral_tl.transfer._options import RetrainOptions
from keras_spectral_tl.transfer._result import SweepResult, measured
from keras_spectral_tl.transfer._retrain import (
    Trainee,
    check_fit,
    check_trainable,
    check_weights,
)
from keras_spectral_tl.transfer._samples import Samples
from keras_spectral_tl.transfer._sweep_store import (
    Candidate,
    SweepDirectory,
    SweepRow,
    fingerprint,
)

Progress = Callable[[Mapping[str, Any]], None]


def oracle_sweep(
    model: keras.Model,
    target_data: Any,
    test_data: Any,
    *,
    layers: freezing.Selector | None = None,
    progress: Progress | None = None,
    executor: concurrent.futures.Executor | None = None,
    directory: str | os.PathLike[str] | None = None,
    **retrain_options: Any,
) -> SweepResult:
    """Retrain each layer alone, each time from the same model, and test the result.

    This is the exhaustive search that a recommendation is to replace, and the yardstick
    it is to be measured with. Equal seeds give equal correlations on a CPU.

    Layers in front of the first trained one do not change, so their activations are
    computed once and kept. The rows equal those of `retrain` to the round-off of single
    precision, amplified by the training. Models without a graph (subclassed ones), and
    rows whose outputs have a mask that comes from in front of the trained layer, are
    retrained as a whole.

    Args:
        model: A built Keras model; not changed.
        target_data: Samples to train with, as for `retrain`, or the path of an npz file
            with arrays x and y.
        test_data: Samples to evaluate on, of the same kind: raw, like the target, or
            `NormalizedSamples` of the same statistics.
        layers: The layers to try, see `freezing.select_layers`; a tuple within a list
            is trained together: `list(itertools.combinations(names, 2))` tries all
            pairs. None means every layer with trainable weights.
        progress: Called with each row as soon as it is known.
        executor: Where the rows are computed: a `ProcessPoolExecutor` with the "spawn"
            context, `client.get_executor()` of Dask, ...; the units of work are
            pickled. None means here, one after the other.
        directory: Folder that keeps each finished row. A sweep that was killed resumes
            there; another model, other data or options are refused.
        **retrain_options: Arguments of `retrain`: optimizer, loss, seed, epochs, ...
            Besides, `cache=PrefixCache(...)` says where activations are kept, and
            `cache=None` retrains the whole model for every row. With a cache, callbacks
            see the part of the model behind the frozen layers. `recipe="..."` is your
            name of the options that a folder cannot describe by value (callbacks,
            functions, objects of other libraries), needed to keep rows in one.

    Returns:
        One row for each layer or combination.

    Raises:
        FloatingPointError, KeyError, RuntimeError, TypeError, ValueError: As `retrain`;
            a note names the layer that was being trained. Also ValueError if the
            directory holds another sweep or cannot tell this one from others, and
            TypeError if an option cannot be sent to the executor.

    Example:
        >>> import numpy as np
        >>> from keras_spectral_tl.models import build_sgs_cnn
        >>> model = build_sgs_cnn((8, 8, 2), num_layers=2, num_filters=2)
        >>> x = np.random.default_rng(0).normal(size=(4, 8, 8, 2))
        >>> sweep = oracle_sweep(model, (x, x[..., :1]), (x, x[..., :1]), epochs=1)
        >>> list(sweep.cc)
        ['conv_1', 'conv_2']
    """
    check_progress(progress)
    if executor is not None and not callable(getattr(executor, "submit", None)):
        raise TypeError(
            "Expected executor as a concurrent.futures.Executor or None. Received "
            f"{executor!r:.100}."
        )
    target, test = Samples.of(target_data), Samples.of(test_data)
    arguments = dict(retrain_options)
    cache = arguments.pop("cache", PrefixCache())
    recipe = arguments.pop("recipe", None)
    options = RetrainOptions.of(arguments)
    check_weights(model)
    prepared, _ = options.prepare(target)
    check_fit(model, prepared, options.loss)
    check_fit(model, test.normalized(prepared.statistics), options.loss)
    candidates = _candidates(model, layers)
    store, found = None, {}
    if directory is not None:
        contents = fingerprint(model, target, test, arguments, recipe)
        store = SweepDirectory(directory, contents)
        rows = {candidate: store.load(candidate) for candidate in candidates}
        found = {c: row for c, row in rows.items() if row is not None}
    for row in found.values():
        report(progress, row.values)
    left = [candidate for candidate in candidates if candidate not in found]
    if executor is None:
        computed = _here(left, model, target, test, options, cache)
    else:
        _check_sendable(arguments)
        sources = _source(target_data, target), _source(test_data, test)
        computed = _through(executor, _units(left, model, sources, options, cache))
    for candidate, row in computed:
        found[candidate] = row
        if store is not None:
            store.save(candidate, row)
        report(progress, row.values)
    return _result(candidates, found)


def check_progress(progress: Any) -> None:
    """Refuse a `progress` that cannot be called, before any work is done.

    Raises:
        TypeError: If it is neither callable nor None.
    """
    if progress is not None and not callable(progress):
        raise TypeError(
            "Expected progress as a callable that takes the mapping of a row, or None. "
            f"Received {progress!r:.100}."
        )


def report(progress: Progress | None, row: Mapping[str, Any]) -> None:
    """Call `progress`, if there is one, with a row."""
    if progress is not None:
        progress(row)


class RowTrainer:
    """Training of one candidate after another, each time from the weights of `model`.

    Where the network can be cut, the frozen layers in front are not evaluated again:
    all candidates share one copy of the network and the activations at the last cut.
    A row holds no history: where nothing watches the epochs of a fit, they run through.

    Args:
        model: A built Keras model; not changed.
        target: Samples to train with.
        test: Samples to evaluate on.
        options: How to train.
        cache: Where activations are kept; None retrains whole copies of the model.
    """

    def __init__(
        self,
        model: keras.Model,
        target: Samples,
        test: Samples,
        options: RetrainOptions,
        cache: PrefixCache | None,
    ) -> None:
        self.model, self.test, self.cache = model, test, cache
        self.target, options = options.prepare(target)
        self.test_inputs = test.normalized(self.target.statistics).x
        self.options = dataclasses.replace(options, epoch_history=False)
        self._sample, _ = self.target.take(slice(0, 1))
        self._original = ModelLayers.of(model)
        self._network = models.copy_model(model, self._sample)
        self._named = self._original.of_copy(self._network)
        self._hashes = weight_hashes(self._named)
        self._start = [fetch(v).copy() for v in self._network.weights]
        self._activations = self._prepared_activations()

    def row(self, candidate: Candidate) -> SweepRow:
        """Retrain the layers of `candidate` and test the result.

        Raises:
            FloatingPointError, RuntimeError, ValueError: As `retrain`.
        """
        selection = freezing.select_layers(self.model, list(candidate.places))
        check_trainable(self.model, selection)
        part, named = self._part(selection), self._named
        if part is None:
            network = models.copy_model(self.model, self._sample)
            named = self._original.of_copy(network)
        trainee = Trainee(self._original, named, selection)
        start = time.perf_counter()
        if part is None:
            trainee.fit(self.target, self.options, before=self._hashes)
            seconds = time.perf_counter() - start
            outputs = named.model.predict(self.test_inputs, batch_size=32, verbose=0)
        else:
            trainee.fit(part.target, part.options, part.suffix, self._hashes)
            seconds = time.perf_counter() - start
            (outputs,) = evaluated(part.suffix, part.test_inputs, part.cache)
        values = {
            "layer": candidate.label,
            **measured(self.test, outputs, self.target.statistics),
            "num_parameters": selection.num_trainable,
            "seconds": seconds,
        }
        layers = list(named.layers.values())
        weights = [
            [fetch(v).copy() for v in own_weights(layer)]
            for layer in (layers[place] for place in candidate.places)
        ]
        return SweepRow(values, weights)

    def _prepared_activations(self) -> Activations | None:
        graph = None if self.cache is None else LayerGraph.of(self._network)
        if graph is None or self.cache is None or self.options.refits_layers:
            return None
        inputs = [self.target.x, self.test_inputs]
        validation = self.options.fit_options.get("validation_data")
        if validation is not None:
            if not isinstance(validation, tuple) or len(validation) != 2:
                return None
            inputs.append(validation[0])
        sets = [graph.arrays(x) for x in inputs]
        known = [arrays for arrays in sets if arrays is not None]
        if len(known) < len(sets):
            return None
        return Activations(graph, known, self.cache)

    def _part(self, selection: freezing.LayerSelection) -> "_Part | None":
        for variable, value in zip(self._network.weights, self._start, strict=True):
            variable.assign(value)
        if self._activations is None or self.cache is None:
            return None
        weights = [self._named.weights[path] for path in selection.variables]
        holders = {path.rsplit("/", 1)[0] for path in self._named.paths(weights)}
        if not holders <= set(selection.names):
            return None  # a layer in front of the cut may share a weight
        graph, everything = self._activations.graph, self._named.names
        places = [everything.index(name) for name in selection.names]
        names = freezing.select_layers(self._network, places).names
        set_trainable(self._network, names)
        cut = graph.cut(names)
        sets = None if cut is None else self._activations.at(cut)
        if cut is None or sets is None:
            return None
        _, suffix = graph.part(cut, graph.outputs)
        if _masked([*self._network.outputs, *graph.outputs]) != _masked(suffix.outputs):
            return None  # Keras weighs the loss by a mask that the cut would lose
        options = self.options
        if len(sets) == 3:
            outputs = options.fit_options["validation_data"][1]
            options = options.with_fit_options(
                validation_data=(_single(sets[2]), outputs)
            )
        target = dataclasses.replace(self.target, x=_single(sets[0]))
        return _Part(suffix, target, sets[1], options, self.cache)


@dataclasses.dataclass(frozen=True, eq=False)
class _Part:
    """The part of a network behind a cut, with the activations that go into it."""

    suffix: keras.Model
    target: Samples
    test_inputs: list[NDArray[Any]]
    options: RetrainOptions
    cache: PrefixCache


def _masked(tensors: Iterable[Any]) -> bool:
    return any(getattr(t, "_keras_mask", None) is not None for t in tensors)


def _single(parts: list[Any]) -> Any:
    return parts[0] if len(parts) == 1 else tuple(parts)  # tf.data knows no lists


@dataclasses.dataclass(frozen=True, eq=False)
class PackedModel:
    """A model as bytes, with the hashes that prove that it was unpacked unchanged.

    Attributes:
        content: The model in the .keras format.
        classes: Its classes by name, so that the user's own are found again.
        hashes: SHA-256 of each of its layers, in order.
    """

    content: bytes
    classes: Mapping[str, type]
    hashes: tuple[str, ...]

    @classmethod
    def of(cls, model: keras.Model) -> "PackedModel":
        """Pack a model.

        Raises:
            ValueError: If Keras cannot save it.
        """
        parts = parents_first(model)
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "model.keras"
            try:
                model.save(path)
            except Exception as error:
                raise ValueError(
                    f"Model {model.name!r} ({type(model).__name__}) cannot be saved, "
                    "so it cannot be sent to an executor. Implement get_config() on "
                    f"its class, or sweep without an executor. Keras said: {error}"
                ) from error
            return cls(
                path.read_bytes(),
                {type(layer).__name__: type(layer) for layer in parts},
                tuple(freezing.layer_hashes(model).values()),
            )

    def model(self) -> keras.Model:
        """Unpack the model.

        Raises:
            ValueError: If it came back with other weights.
        """
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "model.keras"
            path.write_bytes(self.content)
            # The bytes are those of the caller's own model: no code is new to him.
            model = keras.models.load_model(
                path, custom_objects=dict(self.classes), compile=False, safe_mode=False
            )
        if tuple(freezing.layer_hashes(model).values()) != self.hashes:
            raise ValueError(
                f"Model {model.name!r} ({type(model).__name__}) came back from its "
                "saved file with other weights. Implement build() or "
                "get_build_config() on its class, or sweep without an executor."
            )
        return model


@dataclasses.dataclass(frozen=True, eq=False)
class SweepUnit:
    """One row as a unit of work, to be done in any process.

    Attributes:
        model: The model.
        candidate: The layers to train.
        target: Samples to train with, or the path of an npz file with them.
        test: Samples to evaluate on, likewise.
        options: How.
        cache: Where activations are kept.
        backend: The Keras backend to use.
    """

    model: PackedModel
    candidate: Candidate
    target: Samples | str
    test: Samples | str
    options: RetrainOptions
    cache: PrefixCache | None
    backend: str

    def run(self) -> SweepRow:
        """Do the work.

        Raises:
            RuntimeError: If this process runs another Keras backend.
            FloatingPointError, ValueError: As `retrain`.
        """
        if keras.backend.backend() != self.backend:
            raise RuntimeError(
                f"The sweep runs on the Keras backend {self.backend!r}, this worker on "
                f"{keras.backend.backend()!r}. Start the workers with the environment "
                f"variable KERAS_BACKEND={self.backend}."
            )
        target, test = Samples.of(self.target), Samples.of(self.test)
        trainer = RowTrainer(self.model.model(), target, test, self.options, self.cache)
        return trainer.row(self.candidate)


def _candidates(
    model: keras.Model, selector: freezing.Selector | None
) -> list[Candidate]:
    items: list[Any] = [selector]
    if selector is None:
        items = list(trainable_layer_names(model))
    elif isinstance(selector, Sequence) and not isinstance(selector, str):
        items = list(selector)
    together = [item for item in items if isinstance(item, tuple)]
    alone = [item for item in items if not isinstance(item, tuple)]
    names = freezing.select_layers(model, alone).names if alone or not items else ()
    found = [Candidate.of(model, item) for item in (*names, *together)]
    return list(dict.fromkeys(found))


def _result(
    candidates: Iterable[Candidate], rows: Mapping[Candidate, SweepRow]
) -> SweepResult:
    weights = {
        candidate.label: dict(
            zip(candidate.names, rows[candidate].weights, strict=True)
        )
        for candidate in candidates
    }
    return SweepResult(tuple(rows[c].values for c in candidates), weights)


def _source(given: Any, samples: Samples) -> Samples | str:
    is_path = isinstance(given, str | os.PathLike)
    return os.path.abspath(given) if is_path else samples


def _check_sendable(options: Mapping[str, Any]) -> None:
    for name, value in options.items():
        try:
            pickle.dumps(value)
        except Exception as error:
            raise TypeError(
                f"The option {name}={value!r:.100} cannot be sent to the executor "
                f"({error}). Define it at the top level of a module, not as a lambda "
                "or inside a function; or sweep without an executor."
            ) from error


def _units(
    candidates: Iterable[Candidate],
    model: keras.Model,
    sources: tuple[Samples | str, Samples | str],
    options: RetrainOptions,
    cache: PrefixCache | None,
) -> dict[Candidate, SweepUnit]:
    packed, backend = PackedModel.of(model), keras.backend.backend()
    return {
        candidate: SweepUnit(packed, candidate, *sources, options, cache, backend)
        for candidate in candidates
    }


def _here(
    candidates: Sequence[Candidate], *arguments: Any
) -> Iterator[tuple[Candidate, SweepRow]]:
    if not candidates:
        return
    trainer = RowTrainer(*arguments)
    for candidate in candidates:
        with _named(candidate):
            row = trainer.row(candidate)
        yield candidate, row


def _through(
    executor: concurrent.futures.Executor, units: Mapping[Candidate, SweepUnit]
) -> Iterator[tuple[Candidate, SweepRow]]:
    futures = {executor.submit(unit.run): c for c, unit in units.items()}
    try:
        for future in concurrent.futures.as_completed(futures):
            with _named(futures[future]):
                row = future.result()
            yield futures[future], row
    finally:
        for future in futures:
            future.cancel()


@contextlib.contextmanager
def _named(candidate: Candidate) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        error.add_note(
            f"This happened while layer {candidate.label!r} was retrained alone."
        )
        raise
