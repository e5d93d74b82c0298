"""Scores of all layers of a network before any retraining, and a recommendation."""

import dataclasses
from collections.abc import Sequence
from typing import Any, cast

import keras
import numpy as np

from keras_spectral_tl._checks import whole_number
from keras_spectral_tl._progress import Progress, watched
from keras_spectral_tl.freezing import Selector
from keras_spectral_tl.metrics._plausibility import warn_of_doubts
from keras_spectral_tl.scoring._effort import COUNTED, path_of, usual_path
from keras_spectral_tl.scoring._explanation import (
    activation_shifts,
    kernel_profiles,
    system_spectra,
)
from keras_spectral_tl.scoring._holdout import in_groups
from keras_spectral_tl.scoring._network_parts import (
    kernels_of,
    question_record,
    refuse_fixed_batches,
    spatial_axes,
)
from keras_spectral_tl.scoring._recommendation import (
    Rehearse,
    further_layers,
    recommend,
)
from keras_spectral_tl.scoring._rehearsal import HeldOutRetraining
from keras_spectral_tl.scoring._result import (
    LayerScores,
    Scorer,
    ScorerResult,
    TogetherScorer,
    layers_to_score,
)
from keras_spectral_tl.transfer._loop import samples_an_epoch
from keras_spectral_tl.transfer._options import weighted
from keras_spectral_tl.transfer._retrain import check_fit
from keras_spectral_tl.transfer._samples import Samples


def score_layers(
    model: keras.Model,
    base_data: Any,
    target_data: Any,
    scorers: Sequence[Scorer] | None = None,
    seed: int = 0,
    max_layers: int = 1,
    layers: Selector | None = None,
    **recipe: Any,
) -> LayerScores:
    """Score every layer of a trained network for transfer to a target system.

    The model is not changed. The retraining of each layer is rehearsed in a few steps
    (`HeldOutRetraining`). Its score is the fraction of the target's error that this
    removes on held-out samples, beyond what a gain and an offset of the output remove.

    Args:
        model: A built network, trained on the base system.
        base_data: `(x, y)` of the base system, arrays or a finite `tf.data.Dataset`;
            normalized as the network expects. Inputs may be nests of arrays.
        target_data: The few samples of the target system, in the same form.
        scorers: `Scorer` objects to use instead of the rehearsal; the first decides.
        seed: Seed of all randomness.
        max_layers: Largest number of layers recommended. If more than 1, every other
            layer is rehearsed together with those recommended so far, and the best is
            added if together they remove significantly more error than those so far do
            in twice as many steps. Each addition costs as much as the scores of all
            layers, up to twice as much if it includes the first layers.
        layers: Layers to score, see `freezing.select_layers`; None means all.
        **recipe: Keyword arguments of the `retrain` to be predicted: optimizer,
            epochs, batch_size, ..., of which the sum of the learning rates counts, and
            weights of points in a `losses.WeightedMeanSquaredError`; or
            learning_rate (a number or schedule for Adam) and steps. Default: 500 steps
            at a rate that depends on the width of the network, see `usual_path`. Also
            `groups`, a label for each target sample, as for `forecast`; and `progress`,
            called with a mapping of layer, score, done and total after each layer; by
            default a bar is shown in terminals, with False nothing.

    Returns:
        Scores, ranking and recommendation.

    Raises:
        ValueError: For empty or non-finite data, data that do not fit the model, a
            model without trainable weights or with a fixed batch size, no scorers or
            two with the same name, a seed that is not a non-negative integer,
            `max_layers` below 1, a recipe without any steps, or a single group.
        TypeError: If `scorers` is not a sequence of scorers, or one of them does not
            return a `ScorerResult` with values, or the first one is not a
            `TogetherScorer` though `max_layers` > 1; for an unknown argument; or for
            a normalization, since samples are to be normalized before.
        KeyError: If there is no such layer.

    Example:
        >>> from keras_spectral_tl.models import build_sgs_cnn
        >>> model = build_sgs_cnn((8, 8, 2), num_layers=2, num_filters=2)
        >>> x = np.random.default_rng(0).normal(size=(4, 8, 8, 2)).astype("float32")
        >>> data = {"base_data": (x, x[..., :1]), "target_data": (x, x[..., 1:])}
        >>> scores = score_layers(model, **data, epochs=20)
        >>> sorted(scores.ranking)
        ['conv_1', 'conv_2']
    """
    whole_number("seed", seed, 0)
    watch = watched(recipe.pop("progress", None), "Scoring", "layers", "layer")
    refuse_fixed_batches(model)
    base, target, record = _samples(model, base_data, target_data, recipe)
    names = layers_to_score(model, layers)
    path = _path_of(model, target, recipe)
    usual = HeldOutRetraining().matching(path).on_fields(np.shape(target.y))
    chosen = _checked_scorers((usual,) if scorers is None else scorers, max_layers)
    doubts = warn_of_doubts(model, base, target)
    seeds = np.random.SeedSequence(seed).spawn(len(chosen) + 1)
    with watch as move:
        telling = _with_progress(chosen, move)
        results = {
            scorer.name: _scored(scorer, model, base, target, names, child)
            for scorer, child in zip(telling, seeds, strict=False)
        }
        decisive = results[chosen[0].name]
        found = recommend(decisive, len(target), np.random.default_rng(seeds[-1]))
        rehearse = _rehearse(telling[0], model, target, seeds[0])
        known = [name for name in names if name in decisive.values]
        recommended, further, together = further_layers(
            rehearse, found.recommended, known, max_layers
        )
    axes = spatial_axes(model, np.ndim(target.y))
    grid = tuple(int(target.y.shape[axis]) for axis in axes)
    return LayerScores(
        ranking=found.ranking,
        recommended=recommended,
        abstained=not found.recommended,
        reason=doubts + found.reason + further,
        scores={name: dict(result.values) for name, result in results.items()},
        intervals=found.intervals,
        chances=found.chances,
        results=results,
        provenance={
            "deciding_scorer": chosen[0].name,
            "settings": repr(chosen[0]),
            **question_record(model, base, target),
            **record,
            "grid": list(grid),
            "seed": int(seed),
            "max_layers": int(max_layers),
            "path": path,
        },
        systems=system_spectra(base.y, target.y, axes),
        kernels=kernel_profiles(model, found.ranking, grid),
        shifts=activation_shifts(model, base, target, axes),
        together=together,
    )


def _path_of(model: keras.Model, target: Samples, recipe: dict[str, Any]) -> float:
    """Return the path (sum of learning rates) of a recipe, or the default path."""
    path = path_of(recipe, samples_an_epoch(len(target), recipe.get("replay")))
    if recipe.keys() & {*COUNTED}:
        return path
    return usual_path(kernels_of(model)) or path


def _samples(
    model: keras.Model, base: Any, target: Any, recipe: dict[str, Any]
) -> tuple[Samples, Samples, dict[str, Any]]:
    """Return the samples of both systems, and a record of them and their groups."""
    if recipe.get("normalization") is not None:
        raise TypeError(
            "score_layers does not normalize: expected samples in the units of the "
            f"network. Received normalization={recipe['normalization']!r:.60}: pass "
            "statistics.normalize(x, y) of both systems, or use forecast."
        )
    loss, groups = recipe.get("loss"), recipe.pop("groups", None)
    pairs = {"base_data": base, "target_data": target}
    given = {name: Samples.of(data, name) for name, data in pairs.items()}
    found = [weighted(samples, loss) for samples in given.values()]
    for samples in found:
        check_fit(model, samples)
    few, record = in_groups(found[1], groups)
    hashes = {f"{name}_sha256": data.fingerprint() for name, data in given.items()}
    return found[0], few, {**hashes, **record}


def _rehearse(
    scorer: Scorer, model: keras.Model, target: Samples, seed: np.random.SeedSequence
) -> Rehearse:
    def rehearse(choices: Sequence[tuple[str, ...]], effort: int = 1) -> ScorerResult:
        rng = np.random.default_rng(seed)  # always holds out the same samples
        together = cast(TogetherScorer, scorer)
        return together.rehearse(model, target, choices, rng, effort)

    return rehearse


def _with_progress(
    scorers: tuple[Scorer, ...], progress: Progress
) -> tuple[Scorer, ...]:
    """Return the scorers, with the rehearsals set to report progress."""
    return tuple(
        dataclasses.replace(scorer, progress=progress)
        if isinstance(scorer, HeldOutRetraining) and scorer.progress is None
        else scorer
        for scorer in scorers
    )


def _checked_scorers(scorers: Sequence[Scorer], max_layers: int) -> tuple[Scorer, ...]:
    given: Any = scorers  # whatever the caller passed
    if not isinstance(given, Sequence) or not all(
        isinstance(getattr(one, "name", None), str)
        and callable(one)
        and not isinstance(one, type)
        for one in given
    ):
        raise TypeError(
            "scorers must be a sequence of objects with a name that are called with "
            f"(model, base, target, rng), see Scorer; received {given!r:.100}."
        )
    names = [scorer.name for scorer in scorers]
    if not names or len(set(names)) != len(names):
        raise ValueError(
            "scorers must be at least one, with different names; received names "
            f"{names}."
        )
    whole_number("max_layers", max_layers, 1)
    if max_layers > 1 and not isinstance(scorers[0], TogetherScorer):
        raise TypeError(
            f"max_layers = {max_layers} needs a first scorer with a method rehearse, "
            "which scores layers together; received "
            f"{names[0]!r}. Use HeldOutRetraining, or max_layers=1."
        )
    return tuple(scorers)


def _scored(
    scorer: Scorer,
    model: keras.Model,
    base: Samples,
    target: Samples,
    names: tuple[str, ...],
    seed: np.random.SeedSequence,
) -> ScorerResult:
    """Return a scorer's result for the named layers, after checking it."""
    rng = np.random.default_rng(seed)
    result: Any
    if isinstance(scorer, HeldOutRetraining):
        result = scorer.rehearse(model, target, [(name,) for name in names], rng)
    else:
        result = scorer(model, base, target, rng)
    if not isinstance(result, ScorerResult) or not result.values:
        raise TypeError(
            f"the scorer {scorer.name!r} must return a ScorerResult with a value for "
            f"each layer; received {result!r:.100}."
        )
    unwanted = set(layers_to_score(model)) - set(names)
    wanted = {name: v for name, v in result.values.items() if name not in unwanted}
    return dataclasses.replace(result, values=wanted)
