"""What retraining each single layer really gives: the measured answer for scores."""

import concurrent.futures
import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import keras

from keras_spectral_tl import freezing
from keras_spectral_tl.introspection import trainable_layer_names
from keras_spectral_tl.transfer._samples import Samples
from keras_spectral_tl.transfer.prefix_activations import PrefixCache
from keras_spectral_tl.transfer.progress import Progress, check_progress, report
from keras_spectral_tl.transfer.retraining import check_fit
from keras_spectral_tl.transfer.sweep_directory import SweepDirectory, fingerprint
from keras_spectral_tl.transfer.sweep_result import SweepResult as SweepResult
from keras_spectral_tl.transfer.sweep_row import Candidate, RowTrainer, SweepRow
from keras_spectral_tl.transfer.sweep_unit import PackedModel, SweepUnit, read_samples
from keras_spectral_tl.transfer.training import Training


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
    computed once and kept (`prefix.LayerGraph.cut`): retraining a layer costs only what
    comes after it. The rows equal those of `retrain` to the round-off of single
    precision, amplified by the training. Models without a graph (subclassed ones) are
    retrained as a whole.

    Args:
        model: A built Keras model; not changed.
        target_data: Samples to train with, as for `retrain`, or the path of an npz file
            with arrays x and y.
        test_data: Samples to evaluate on, of the same kind.
        layers: The layers to try, see `freezing.select_layers`; a tuple within a list
            is trained together: `list(itertools.combinations(names, 2))` tries all
            pairs. None means every layer with trainable weights.
        progress: Called with each row as soon as it is known.
        executor: Where the rows are computed: a `ProcessPoolExecutor` with the "spawn"
            context, `client.get_executor()` of Dask, ...; the units of work are
            pickled. None means here, one after the other.
        directory: Folder that keeps each finished row. A sweep that was killed goes on
            there; another model, other data or options are refused.
        **retrain_options: Arguments of `retrain`: optimizer, loss, seed, epochs, ...
            Besides, `cache=PrefixCache(...)` says where activations are kept, and
            `cache=None` retrains the whole model for every row. With a cache, callbacks
            see the part of the model behind the frozen layers.

    Returns:
        One row for each layer or combination.

    Raises:
        FloatingPointError, KeyError, RuntimeError, TypeError, ValueError: As `retrain`;
            a note names the layer that was being trained. Also ValueError if the
            directory holds another sweep.

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
    _check_executor(executor)
    target, test = read_samples(target_data), read_samples(test_data)
    options = dict(retrain_options)
    cache = options.pop("cache", PrefixCache())
    training = Training.of(options)
    check_fit(model, target)
    check_fit(model, test)
    candidates = _candidates(model, layers)
    store = None
    if directory is not None:
        store = SweepDirectory(directory, fingerprint(model, target, test, options))
    found = _stored(store, candidates)
    for row in found.values():
        report(progress, row.values)
    left = [c for c in candidates if c not in found]
    if executor is None:
        computed = _here(left, model, target, test, training, cache)
    else:
        sources = _source(target_data, target), _source(test_data, test)
        units = _units(left, model, sources, training, cache)
        computed = _through(executor, units)
    for candidate, row in computed:
        found[candidate] = row
        if store is not None:
            store.save(candidate, row)
        report(progress, row.values)
    return _result(candidates, found)


def _check_executor(executor: Any) -> None:
    if executor is not None and not callable(getattr(executor, "submit", None)):
        raise TypeError(
            "Expected executor as a concurrent.futures.Executor or None. Received "
            f"{executor!r:.100}."
        )


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


def _stored(
    store: SweepDirectory | None, candidates: Iterable[Candidate]
) -> dict[Candidate, SweepRow]:
    if store is None:
        return {}
    rows = {candidate: store.load(candidate) for candidate in candidates}
    return {candidate: row for candidate, row in rows.items() if row is not None}


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


def _units(
    candidates: Iterable[Candidate],
    model: keras.Model,
    sources: tuple[Samples | str, Samples | str],
    training: Training,
    cache: PrefixCache | None,
) -> dict[Candidate, SweepUnit]:
    packed, backend = PackedModel.of(model), keras.backend.backend()
    return {
        candidate: SweepUnit(packed, candidate, *sources, training, cache, backend)
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
