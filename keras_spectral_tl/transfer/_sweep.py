"""Sweep over layers: retrain each alone from the same model and test the result."""

import concurrent.futures
import os
import pickle
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_spectral_tl._checks import noted
from keras_spectral_tl._graph.cut import PrefixCache
from keras_spectral_tl._progress import check_progress, watched
from keras_spectral_tl.freezing import Selector
from keras_spectral_tl.metrics._plausibility import INTRODUCTION
from keras_spectral_tl.transfer._arms import Candidate, SelfWritten, candidates_of
from keras_spectral_tl.transfer._options import RetrainOptions
from keras_spectral_tl.transfer._result import SweepResult
from keras_spectral_tl.transfer._retrain import check_fit, check_weights
from keras_spectral_tl.transfer._samples import Samples
from keras_spectral_tl.transfer._sweep_rows import (
    PackedModel,
    RowTrainer,
    Search,
    row_in_worker,
)
from keras_spectral_tl.transfer._sweep_store import (
    SweepDirectory,
    SweepRow,
    fingerprint,
)


def oracle_sweep(
    model: keras.Model,
    target_data: Any,
    test_data: Any,
    *,
    layers: Selector | None = None,
    arms: Sequence[Any] | None = None,
    base_test: Any = None,
    directory: str | os.PathLike[str] | None = None,
    **retrain_options: Any,
) -> SweepResult:
    """Retrain each layer or arm, always from the same model, and test the result.

    This is the exhaustive search that a recommendation should replace, and the
    reference to judge it by. Equal seeds give equal correlations on a CPU.

    Layers before the first trained one do not change, so their activations are
    computed once and cached. The rows then equal those of `retrain` up to round-off in
    the precision of the layers, amplified by the training; without a cache they are
    equal. The whole model is retrained if it has no graph (subclassed models), for arms
    that add or reinitialize weights, if `symmetries` change the inputs every epoch, and
    if the outputs have a mask that comes from a layer before the trained one.

    Args:
        model: A built Keras model; not changed.
        target_data: Samples to train with, as for `retrain`, or the path of an npz file
            with arrays x and y.
        test_data: Samples to evaluate on, of the same kind: raw, like the target, or
            normalized by the same statistics (`Samples.normalized`).
        layers: The whole layers to try, see `freezing.select_layers`; a tuple within a
            list is trained together: `list(itertools.combinations(names, 2))` tries all
            pairs. None means every layer with trainable weights, without those that
            `retrain` refuses (with a warning). For parts of layers and gains use
            `arms`.
        arms: Ways to retrain, instead of layers: `scoring.Arm` objects, or what
            `retrain` accepts as layers. `Arm("unchanged", ())` is the model as it is;
            `OutputGain()` alone is fitted in closed form (`fit_output_gain`). The pull
            of an arm overrides one given for all rows.
        base_test: Samples `(x, y)` of the base system in the units of the network; adds
            the correlation on them to each row as base_correlation.
        directory: Folder that keeps each finished row, so that an interrupted sweep
            resumes there; it must not hold a sweep of another model, data or options.
        **retrain_options: Arguments of `retrain`: optimizer, loss, seed, epochs, ...
            In addition:
            `progress` is called with each row as soon as it is known; by default a bar
            is shown in terminals, with False nothing.
            `executor` computes the rows: a `ProcessPoolExecutor` with the "spawn"
            context, `client.get_executor()` of Dask, ...; the units of work are
            pickled. None computes them one after the other in this process.
            `cache=PrefixCache(...)` sets where activations are cached, and
            `cache=None` retrains the whole model for every row. With a cache, callbacks
            receive the part of the model after the frozen layers. `recipe="..."` is a
            name you give to options that cannot be compared by value (callbacks,
            functions, objects of other libraries), required to keep rows in a folder.
            `rates` maps labels of rows to learning rates (of a schedule, the first
            one) or optimizers, which replace the common one. A label without a row is
            an error, unless every row that trains has its rate.
            `rate_factors=(1/3, 1, 3)` retrains each arm at its rate times each of
            these. The row is the best of them, with its learning_rate and the
            correlations of all, cc_at_0.333, cc_at_1, ... (nan if it diverged).

    Returns:
        One row for each layer, combination or arm.

    Raises:
        FloatingPointError, KeyError, RuntimeError, TypeError, ValueError: As `retrain`;
            a note names the layer that was being trained. Also ValueError if the
            directory holds another sweep or an option needs `recipe`, and TypeError if
            an option cannot be sent to the executor.

    Example:
        >>> import numpy as np
        >>> from keras_spectral_tl.models import build_sgs_cnn
        >>> model = build_sgs_cnn((8, 8, 2), num_layers=2, num_filters=2)
        >>> x = np.random.default_rng(0).normal(size=(4, 8, 8, 2))
        >>> sweep = oracle_sweep(model, (x, x[..., :1]), (x, x[..., :1]), epochs=1)
        >>> list(sweep.cc)
        ['conv_1', 'conv_2']
    """
    arguments = dict(retrain_options)
    progress, executor = (arguments.pop(n, None) for n in ("progress", "executor"))
    _check_calls(progress, executor)
    target = Samples.of(target_data, "target_data")
    test = Samples.of(test_data, "test_data")
    _refuse_zeros(test)
    cache = arguments.pop("cache", PrefixCache())
    recipe = arguments.pop("recipe", None)
    search = Search(
        None if base_test is None else Samples.of(base_test, "base_test"),
        arguments.pop("rates", {}),
        arguments.pop("rate_factors", (1.0,)),
    )
    options = RetrainOptions.of(arguments)
    arguments |= search.arguments()
    check_weights(model)
    prepared, ready = options.prepare(target, model)
    check_fit(model, prepared, ready.loss)
    check_fit(model, test.normalized(prepared.statistics), ready.loss)
    if search.base_test is not None:
        check_fit(model, search.base_test, ready.loss)
    _warn_of_shared(target, test)
    candidates = _retrainable(model, layers, arms, prepared.x)
    search.check_labels(candidates)
    store, found = None, {}
    if directory is not None:
        contents = fingerprint(model, target, test, arguments, recipe)
        store = SweepDirectory(directory, contents)
        rows = {candidate: store.load(candidate) for candidate in candidates}
        found = {c: row for c, row in rows.items() if row is not None}
    left = [candidate for candidate in candidates if candidate not in found]
    how = options, cache, search
    if executor is None:
        computed = _here(left, model, target, test, *how)
    else:
        _check_sendable({**arguments, "arms": [c.selector for c in left]})
        sources = _source(target_data, target), _source(test_data, test)
        computed = _through(executor, left, PackedModel(model), *sources, *how)
    with watched(progress, "Sweep", "layers", "layer", len(candidates)) as move:
        for row in list(found.values()):
            move(row.values)
        for candidate, row in computed:
            found[candidate] = row
            if store is not None:
                store.save(candidate, row)
            move(row.values)
    return _result(candidates, found, options.refits_layers)


def _retrainable(model: keras.Model, layers: Any, arms: Any, x: Any) -> list[Candidate]:
    """Return the rows; of the default ones, those that a retraining does not refuse."""
    found, written = candidates_of(model, layers, arms), SelfWritten.of(model, x)
    default = layers is None and arms is None
    refused = written.refused({one.label: one.layers for one in found}, default)
    if not refused:
        return found
    warnings.warn(written.left_out(refused).strip(), UserWarning, stacklevel=3)
    some = [one for one in found if one.label not in refused]
    whole = Candidate.of(model, list(written.layers))
    return list(dict.fromkeys([*some, whole]))


def _warn_of_shared(target: Samples, test: Samples) -> None:
    shared = target.shared_with(test)
    if shared:
        warnings.warn(
            f"{INTRODUCTION} {shared} of the {len(test)} test samples are target "
            "samples too, which a retraining has seen: test on others.",
            UserWarning,
            stacklevel=3,
        )


def _refuse_zeros(test: Samples) -> None:
    if not np.any(test.y):
        raise ValueError(
            "y of test_data is zero at all points, so no error is relative to it. "
            "Expected test samples with values."
        )


def _check_calls(progress: Any, executor: Any) -> None:
    check_progress(progress)
    if executor is not None and not callable(getattr(executor, "submit", None)):
        raise TypeError(
            "Expected executor as a concurrent.futures.Executor or None. Received "
            f"{executor!r:.100}."
        )


def _result(
    candidates: Iterable[Candidate], rows: Mapping[Candidate, SweepRow], refits: bool
) -> SweepResult:
    weights = {
        candidate.label: dict(
            zip(candidate.names, rows[candidate].weights, strict=True)
        )
        for candidate in candidates
        # The statistics of refitted layers are not kept.
        if (candidate.names and not refits) or candidate.selector == ()
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


def _here(
    candidates: Sequence[Candidate], *arguments: Any
) -> Iterator[tuple[Candidate, SweepRow]]:
    if not candidates:
        return
    trainer = RowTrainer(*arguments)
    for candidate in candidates:
        with noted(_note(candidate)):
            row = trainer.row(candidate)
        yield candidate, row


def _through(
    executor: concurrent.futures.Executor,
    candidates: Iterable[Candidate],
    *arguments: Any,
) -> Iterator[tuple[Candidate, SweepRow]]:
    futures = {executor.submit(row_in_worker, c, *arguments): c for c in candidates}
    try:
        for future in concurrent.futures.as_completed(futures):
            with noted(_note(futures[future])):
                row = future.result()
            yield futures[future], row
    finally:
        for future in futures:
            future.cancel()


def _note(candidate: Candidate) -> str:
    return f"This happened while layer {candidate.label!r} was retrained alone."
