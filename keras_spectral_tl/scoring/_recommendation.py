"""Recommendation of layers to retrain from their scores, or the reason to abstain."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from keras_spectral_tl._results import percent
from keras_spectral_tl.scoring._evidence import (
    far_gain,
    half_width,
    least_removed,
    removed,
    samples_needed,
    shares_removed,
    standard_error,
)
from keras_spectral_tl.scoring._holdout import Array
from keras_spectral_tl.scoring._result import Cost, ScorerResult

_NUM_RESAMPLES = 1000
# Probability of recommending a layer although none removes anything.
_LEVEL = 0.05
# The smallest share of the error that is worth a retraining.
_WORTH = 0.01
# In few steps two layers improve more than one even if one is enough, so the layers
# already chosen get more steps in the comparison.
_EFFORT = 2


@dataclass(frozen=True)
class Recommendation:
    """Layers in the order of their scores, and the best or none, see `LayerScores`.

    In the ranking nan is last, and ties are in the order of the model.
    """

    ranking: tuple[str, ...]
    recommended: tuple[str, ...]
    reason: str
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    chances: Mapping[str, float] = field(default_factory=dict)


Rehearse = Callable[..., ScorerResult]
"""`(choices, effort=1) -> ScorerResult`: a `TogetherScorer` of one model and samples"""


def recommend(
    scored: ScorerResult, num_samples: int, rng: np.random.Generator
) -> Recommendation:
    """Rank layers, and recommend the best if its score is significant.

    The best layer is recommended if its score is at least 1 % and its lower confidence
    bound (Student's t, 5 % divided by the number of layers) is above 0; without moments
    in the evidence of the deciding scorer, without a test.
    """

    def key(name: str) -> float:
        value = scored.values[name]
        return np.inf if np.isnan(value) else -value

    ranking = tuple(sorted(scored.values, key=key))
    best, value = ranking[0], scored.values[ranking[0]]
    if np.isnan(value):
        reason = (
            f"{_samples(num_samples)} cannot be divided into some to fit and some to "
            "test, so layers cannot be compared. Add samples."
        )
        return Recommendation(ranking, (), reason)
    rows = {n: e for n, e in scored.evidence.items() if "moments_before" in e}
    if best not in rows:
        return Recommendation(
            ranking, (best,), f"{best} has the highest score, {value:.3g}."
        )
    shares = {name: shares_removed(evidence) for name, evidence in rows.items()}
    errors = {
        name: standard_error(shares[name], rows[name].get("inflation", 1.0))
        for name in rows
    }
    intervals = {
        name: _interval(shares[name], errors[name])
        for name in rows
        if np.isfinite(errors[name])
    }
    chances = _chances(rows, rng)
    unit = " groups" if rows[best].get("by_group") else ""
    refusal = _refusal(
        best, value, shares[best], errors[best], len(rows), num_samples, unit
    )
    gain = _on_gain(far_gain(rows[best]["moments_before"].sum(axis=0)))
    if refusal:
        return Recommendation(ranking, (), refusal + gain, intervals, chances)
    near = [
        name
        for name in ranking[1:]
        if name in shares and not _apart(shares[best], shares[name], rows[best])
    ]
    low, high = intervals[best]
    reason = (
        f"Retraining {best} removes {percent(value)} of the error on held-out target "
        f"samples (90 % interval {percent(low)} to {percent(high)}) that is left after "
        "rescaling the output."
    )
    if near:
        reason += f" With these samples it is indistinguishable from {_listed(near)}."
    return Recommendation(ranking, (best,), reason + gain, intervals, chances)


def _on_gain(gain: float | None) -> str:
    """Return a sentence on the best output gain, if the output amplitude is wrong."""
    if gain is None:
        return ""
    return (
        f" On the target the best gain of the output is {gain:.2g}, which a layer that "
        "is retrained alone has to learn too: a forecast may start from it, and put "
        "another layer first."
    )


def _refusal(
    best: str,
    value: float,
    shares: Array,
    error: float,
    num_layers: int,
    num_samples: int,
    unit: str,
) -> str:
    """Return why the best layer is not recommended; empty if it is.

    `unit` names what counts as independent instead of samples, such as groups.
    """
    count, level = len(shares) - 1, _LEVEL / num_layers
    if num_samples == 1:
        return (
            "1 target sample says nothing about how samples differ. On its two halves "
            f"{best} removes most, {percent(value)} of the error. Add samples."
        )
    if value < _WORTH:
        found = (
            f"removes {percent(value, 1)} of" if value > 0.0 else "removes nothing of"
        )
        return (
            f"No layer is worth retraining: the best, {best}, {found} the error on "
            "held-out target samples that is left after rescaling the output, by a "
            "gain and an offset."
        )
    width = half_width(error, count, level)
    if value > width:
        return ""
    found = (
        f"{best} seems best: it removes {percent(value)} of the error on held-out "
        "target samples left after rescaling the output (a gain and an offset), but "
        f"{_samples(num_samples)} do not show that this is more than chance: "
    )
    needed = samples_needed(value, error, count, level) if np.isfinite(error) else None
    if width < 1.0:
        found += (
            f"with {count}{unit} of them tested, the best of {num_layers} layers would "
            f"have to remove {percent(width)}. "
        )
    else:
        found += f"with {count}{unit} of them tested, no score could. "
    if needed is None:
        return found + "The number of samples needed cannot be predicted."
    if unit:
        return found + f"About {needed}{unit} would, if the score stays."
    if needed <= num_samples:
        return found + (
            f"Testing {needed} of them would, if the score stays (num_tested of "
            "scoring.HeldOutRetraining)."
        )
    return found + f"About {needed} would, all tested, if the score stays."


def _apart(best: Array, other: Array, evidence: Mapping[str, Any]) -> bool:
    """Return whether the best layer removes significantly more, at the 5 % level."""
    gap = best - other
    error = standard_error(gap, evidence.get("inflation", 1.0))
    return bool(gap[0] > half_width(error, len(gap) - 1, _LEVEL))


def _interval(shares: Array, error: float) -> tuple[float, float]:
    width = half_width(error, len(shares) - 1, 0.05)
    return float(shares[0] - width), min(float(shares[0] + width), 1.0)


def _chances(
    rows: Mapping[str, Mapping[str, Any]], rng: np.random.Generator
) -> dict[str, float]:
    """Return how often each layer ranks first on resampled target samples."""
    draws, values = None, []
    for evidence in rows.values():
        before, after = evidence["moments_before"], evidence["moments_after"]
        if draws is None:
            draws = rng.integers(0, len(before), (_NUM_RESAMPLES, len(before)))
        values.append(removed(*(s[draws].sum(axis=1) for s in (before, after))))
    firsts = np.stack(values) == np.max(values, axis=0)
    shares = np.mean(firsts / firsts.sum(axis=0), axis=1)  # those that tie share
    return {name: float(share) for name, share in zip(rows, shares, strict=True)}


def _samples(count: int) -> str:
    return "1 target sample" if count == 1 else f"{count} target samples"


def _listed(names: Sequence[str]) -> str:
    """Return the first few names and the number of others, as text."""
    if len(names) <= 5:
        return ", ".join(names)
    return f"{', '.join(names[:4])} and {len(names) - 4} others"


def further_layers(
    rehearse: Rehearse,
    recommended: tuple[str, ...],
    names: Sequence[str],
    max_layers: int,
) -> tuple[tuple[str, ...], str, ScorerResult]:
    """Add layers to the best one by one, as long as each helps significantly.

    Every remaining layer is scored together with those chosen so far. The best is added
    if it significantly reduces the error that the chosen layers leave after twice as
    many steps: by the bound of a single layer (`least_removed`), divided by the number
    of layers tried. Returns the layers chosen, why, and the scores of all together.
    """
    chosen, reason, found = recommended, "", ScorerResult({}, Cost(0))
    while 0 < len(chosen) < min(max_layers, len(names)):
        others = [name for name in names if name not in chosen]
        so_far = _ordered(names, chosen)
        choices = [_ordered(names, (*chosen, other)) for other in others]
        before = _checked(rehearse([so_far], effort=_EFFORT), [so_far])
        scored = _checked(rehearse(choices), choices)
        found = ScorerResult(
            {**found.values, **scored.values},
            found.cost + before.cost + scored.cost,
            {**found.evidence, **scored.evidence},
        )
        other, together = max(
            zip(others, choices, strict=True),
            key=lambda pair: np.nan_to_num(scored.values[_label(pair[1])], nan=-np.inf),
        )
        more = scored.values[_label(together)]
        alone = (
            f"{_label(so_far)} alone removes "
            f"{percent(before.values[_label(so_far)])}, even in twice as many steps."
        )
        beyond = {
            "moments_before": before.evidence[_label(so_far)]["moments_after"],
            "moments_after": scored.evidence[_label(together)]["moments_after"],
            "inflation": scored.evidence[_label(together)].get("inflation", 1.0),
        }
        if least_removed(beyond, _LEVEL / len(choices)) <= 0.0:
            reason += (
                " No further layer is sure to remove more: with the best of them, "
                f"{other}, it is {percent(more)}; {alone}"
            )
            return chosen, reason, found
        chosen = (*chosen, other)
        reason += f" Retraining {other} as well removes {percent(more)}; {alone}"
    return chosen, reason, found


def _ordered(names: Sequence[str], some: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in names if name in some)


def _label(names: tuple[str, ...]) -> str:
    return "+".join(names)


def _checked(scored: Any, choices: list[tuple[str, ...]]) -> ScorerResult:
    labels = [_label(names) for names in choices]
    known = isinstance(scored, ScorerResult) and all(
        label in scored.values and "moments_after" in scored.evidence.get(label, {})
        for label in labels
    )
    if not known:
        raise TypeError(
            "rehearse must return ScorerResult with a value and moments_after for each "
            f"choice, {labels}; received {scored!r:.200}. See "
            "HeldOutRetraining.rehearse."
        )
    result: ScorerResult = scored
    return result
