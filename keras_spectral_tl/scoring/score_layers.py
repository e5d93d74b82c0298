"""Which layer to retrain, told before any retraining."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import keras
import numpy as np
from numpy.typing import NDArray

from keras_spectral_tl import freezing
from keras_spectral_tl.scoring.checks import check_whole_number
from keras_spectral_tl.scoring.explanation import kernel_profiles, system_spectra
from keras_spectral_tl.scoring.further_layers import Rehearse, further_layers
from keras_spectral_tl.scoring.gradient_norm import GradientNorm
from keras_spectral_tl.scoring.held_out_evidence import least_removed, unexplained
from keras_spectral_tl.scoring.held_out_retraining import HeldOutRetraining
from keras_spectral_tl.scoring.layer_scores import LayerScores
from keras_spectral_tl.scoring.protocol import (
    ScoredLayers,
    Scorer,
    TogetherScorer,
    layers_to_score,
)
from keras_spectral_tl.scoring.spatial_axes import spatial_axes
from keras_spectral_tl.scoring.spectral_shift import SpectralShiftScore
from keras_spectral_tl.transfer.provenance import versions
from keras_spectral_tl.transfer.retraining import Samples, check_fit

Array = NDArray[np.float64]

_NUM_RESAMPLES = 1000
_INTERVAL = (5.0, 95.0)
_LEVEL = 0.05  # how often a layer may be recommended where none removes anything


def default_scorers() -> tuple[Scorer, ...]:
    """The scorers used when none are given; the first one decides."""
    return HeldOutRetraining(), GradientNorm(), SpectralShiftScore()


def score_layers(
    model: keras.Model,
    base_data: Any,
    target_data: Any,
    scorers: Sequence[Scorer] | None = None,
    seed: int = 0,
    max_layers: int = 1,
) -> LayerScores:
    """Scores every layer of a trained network for transfer to a target system.

    The model is not changed. The first scorer decides the ranking; by default that is
    `HeldOutRetraining`, which rehearses the retraining of each layer at about a tenth
    of its cost, and asks how much of the target's error it removes on samples held out,
    beyond what a gain on the output does.

    Args:
        model: a built network, trained on the base system.
        base_data: `(x, y)` of the base system, arrays or a finite `tf.data.Dataset`;
            normalized as the network expects.
        target_data: the few samples of the target system, likewise.
        scorers: objects as described by `Scorer`; the first decides.
        seed: seed of all randomness.
        max_layers: most layers recommended. With more than one, every other layer is
            rehearsed together with those recommended so far, and the best is added if
            that is sure to remove more than those do in twice as many steps. Each time
            this costs as much as the scores of all layers, up to twice as much where
            the first layers are among them.

    Returns:
        Scores, ranking and recommendation.

    Raises:
        ValueError: for empty or non-finite data, data that do not fit the model, a
            model without trainable weights, no scorers or two of one name, a seed that
            is not a whole number from 0 on, `max_layers` below 1.
        TypeError: if `scorers` is no sequence of scorers, or one of them returns
            something else than `ScoredLayers` with values, or the first one is no
            `TogetherScorer` where `max_layers` is above 1.

    Example:
        >>> from keras_spectral_tl.models import build_sgs_cnn
        >>> model = build_sgs_cnn((8, 8, 2), num_layers=2, num_filters=2)
        >>> x = np.random.default_rng(0).normal(size=(4, 8, 8, 2)).astype("float32")
        >>> scores = score_layers(model, (x, x[..., :1]), (x, x[..., 1:]))
        >>> sorted(scores.ranking)
        ['conv_1', 'conv_2']
    """
    chosen = _checked_scorers(default_scorers() if scorers is None else scorers)
    check_whole_number("seed", seed, 0)
    _check_max_layers(max_layers, chosen[0])
    base, target = _samples(model, base_data), _samples(model, target_data)
    seeds = np.random.SeedSequence(seed).spawn(len(chosen) + 1)
    results = {
        scorer.name: _scored(scorer, model, base, target, np.random.default_rng(child))
        for scorer, child in zip(chosen, seeds, strict=False)
    }
    decisive = results[chosen[0].name]
    resampled = _resampled(decisive, np.random.default_rng(seeds[-1]))
    ranking, axes = _ranking(decisive), spatial_axes(model, np.ndim(target.y))
    recommended, reason = _recommendation(ranking, decisive, resampled, len(target))
    rehearse = _rehearse(chosen[0], model, target, seeds[0])
    known = [name for name in layers_to_score(model) if name in decisive.values]
    further = further_layers(rehearse, recommended, known, max_layers, _LEVEL)
    grid = tuple(int(target.y.shape[axis]) for axis in axes)
    return LayerScores(
        ranking=ranking,
        recommended=further.names,
        abstained=not recommended,
        reason=reason + further.reason,
        scores={name: dict(result.values) for name, result in results.items()},
        intervals={name: _interval(values) for name, values in resampled.items()},
        chances=_chances(resampled),
        results=results,
        provenance=_provenance(chosen[0], model, base, target)
        | {"grid": list(grid), "seed": int(seed), "max_layers": int(max_layers)},
        systems=system_spectra(base.y, target.y, axes),
        kernels=kernel_profiles(model, ranking, grid),
        together=further.scored,
    )


def _samples(model: keras.Model, data: Any) -> Samples:
    samples = Samples.of(data)
    check_fit(model, samples)
    return samples


def _rehearse(
    scorer: Scorer, model: keras.Model, target: Samples, seed: np.random.SeedSequence
) -> Rehearse:
    def rehearse(choices: Sequence[tuple[str, ...]], effort: int = 1) -> ScoredLayers:
        rng = np.random.default_rng(seed)  # the same samples are held out
        together = cast(TogetherScorer, scorer)
        return together.rehearse(model, target, choices, rng, effort)

    return rehearse


def _provenance(
    decisive: Scorer, model: keras.Model, base: Samples, target: Samples
) -> dict[str, Any]:
    return {
        "deciding_scorer": decisive.name,
        "settings": repr(decisive),
        "num_base_samples": len(base),
        "num_target_samples": len(target),
        "base_data_sha256": base.fingerprint(),
        "target_data_sha256": target.fingerprint(),
        "weights_sha256": freezing.layer_hashes(model),
        "backend": keras.backend.backend(),
        "versions": versions(),
    }


def _check_max_layers(max_layers: int, decisive: Scorer) -> None:
    check_whole_number("max_layers", max_layers, 1)
    if max_layers > 1 and not isinstance(decisive, TogetherScorer):
        raise TypeError(
            f"max_layers = {max_layers} needs a first scorer that scores layers "
            "together, with a method rehearse, see TogetherScorer; received "
            f"{decisive.name!r}. Use HeldOutRetraining, or max_layers=1."
        )


def _checked_scorers(scorers: Sequence[Scorer]) -> tuple[Scorer, ...]:
    """Returns the scorers if they are some, with different names."""
    given: Any = scorers  # whatever the caller passed
    if not isinstance(given, Sequence) or not all(map(_is_scorer, given)):
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
    return tuple(scorers)


def _is_scorer(given: Any) -> bool:
    named = isinstance(getattr(given, "name", None), str)
    return named and callable(given) and not isinstance(given, type)


def _scored(scorer: Scorer, *arguments: Any) -> ScoredLayers:
    """What a scorer returns, if it is what a scorer is to return."""
    result: Any = scorer(*arguments)
    if not isinstance(result, ScoredLayers) or not result.values:
        raise TypeError(
            f"the scorer {scorer.name!r} must return ScoredLayers with a value for "
            f"each layer; received {result!r:.100}."
        )
    return result


def _ranking(scored: ScoredLayers) -> tuple[str, ...]:
    """Names from the highest value down; nan last, ties in the order of the model."""

    def key(name: str) -> float:
        value = scored.values[name]
        return np.inf if np.isnan(value) else -value

    return tuple(sorted(scored.values, key=key))


def _resampled(scored: ScoredLayers, rng: np.random.Generator) -> dict[str, Array]:
    """Error removed by each layer on resampled target samples, the same for all."""
    found: dict[str, Array] = {}
    draws = None
    for name, evidence in scored.evidence.items():
        if "moments_before" not in evidence:
            continue
        before, after = evidence["moments_before"], evidence["moments_after"]
        if draws is None:
            draws = rng.integers(0, len(before), (_NUM_RESAMPLES, len(before)))
        total, left = unexplained(before[draws]), unexplained(after[draws])
        found[name] = np.where(
            total > 0.0, 1.0 - left / np.where(total > 0.0, total, 1.0), 0.0
        )
    return found


def _interval(values: Array) -> tuple[float, float]:
    low, high = np.percentile(values, _INTERVAL)
    return float(low), float(high)


def _chances(resampled: dict[str, Array]) -> dict[str, float]:
    """How often each layer comes first."""
    if not resampled:
        return {}
    values = np.stack(list(resampled.values()))
    firsts = values == values.max(axis=0)
    shares = np.mean(firsts / firsts.sum(axis=0), axis=1)  # those that tie share
    return {name: float(share) for name, share in zip(resampled, shares, strict=True)}


def _recommendation(
    ranking: tuple[str, ...],
    scored: ScoredLayers,
    resampled: dict[str, Array],
    num_samples: int,
) -> tuple[tuple[str, ...], str]:
    """The layers to retrain and why, or none and why not."""
    best = ranking[0]
    value = scored.values[best]
    if np.isnan(value):
        return (), (
            f"{num_samples} target sample(s) leave nothing to hold out, so no layer "
            "can be told from another; add samples."
        )
    if best not in resampled:
        return (best,), f"{best} has the highest score, {value:.3g}."
    if num_samples == 1:
        return (), (
            "1 target sample says nothing of how samples differ. On its two halves "
            f"{best} removes most, {value:.1%} of the error; add samples."
        )
    low, high = _interval(resampled[best])
    least = least_removed(scored.evidence[best], _LEVEL / len(resampled))
    if least <= 0.0:
        return (), (
            "no layer is sure to remove more of the target's error than a gain on the "
            f"output does: the best, {best}, removes {value:.1%}, but on {num_samples} "
            f"target samples the best of {len(resampled)} layers would have to remove "
            f"{value - least:.1%} to be sure of it."
        )
    behind = {n: resampled[best] - resampled[n] for n in ranking[1:] if n in resampled}
    near = [n for n, gap in behind.items() if np.percentile(gap, _INTERVAL[0]) <= 0.0]
    tied = f" Not to be told from it: {', '.join(near)}." if near else ""
    return (best,), (
        f"retraining {best} removes {value:.1%} ({low:.1%} to {high:.1%}) of the error "
        f"on held-out target samples that a gain on the output leaves.{tied}"
    )
