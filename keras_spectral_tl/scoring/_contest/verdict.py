"""Predictions for all candidates, and the choice among them."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy import special

from keras_spectral_tl._results import NOT_WORTH, as_cc, not_told_from
from keras_spectral_tl.scoring._contest.candidate import (
    MOST_BEYOND,
    Candidate,
    greatest_change,
    learned_from_nothing,
    progressed,
    typical_progress,
)
from keras_spectral_tl.scoring._effort import Effort
from keras_spectral_tl.scoring._evidence import (
    FEW,
    LEVEL,
    error_of_mean,
    half_interval,
    means_of_groups,
)
from keras_spectral_tl.scoring._explanation import explain_spectra
from keras_spectral_tl.scoring._forecast_result import ArmForecast
from keras_spectral_tl.scoring._holdout import Array

# Differences of correlations here are for correlations up to this one; nearer to 1 all
# of them shrink with 1 - correlation, see `_shrunk`.
_HIGH = 0.98
# Relative standard error of the extrapolation beyond the longest trial.
_UNSURE = 0.4
# Standard error of any prediction: the scatter between seeds of a retraining.
SCATTER = 0.004
# The same for predictions from a short trial alone: at least, as a fraction of the
# greatest change of any arm, and at most.
_LEAST_SHORT, _SHORT_SHARE, _MOST_SHORT = 0.002, 0.2, 0.02
# The same for a retraining of very few steps, as a fraction of the change: seeds and
# batches matter more, the fewer steps there are.
_BRIEF = 0.05
# Correlations this close are equal.
_EQUAL = 0.0002
# Correlation on the base that a retraining loses after its longest trial.
_FORGOTTEN = 0.01


def row_of(
    candidate: Candidate,
    effort: Effort,
    progress: tuple[float, float],
    inflation: float,
    groups: Any = None,
) -> tuple[ArmForecast, Array]:
    """Return the prediction for an arm, and the correlation of each test group.

    `progress` are the `typical_progress` and the `greatest_change` of all arms.
    """
    typical, change = progress
    before = candidate.trials.unchanged
    trial = candidate.trial
    each, sure, scatter = trial.correlations, 0.0, SCATTER
    if candidate.long is not None:
        each = progressed(candidate, effort)
        sure = 1.0 if candidate.arm.is_new else _UNSURE
    elif trial.passes:
        # New weights start without any correlation.
        start = min(before.correlation, max(trial.correlation, 0.0))
        added = typical * max(trial.correlation - start, 0.0)
        each = each + min(added, MOST_BEYOND * (1.0 - trial.correlation))
        sure, scatter = _UNSURE, min(_LEAST_SHORT + _SHORT_SHARE * change, _MOST_SHORT)
    correlation = float(np.mean(each))
    each = means_of_groups(each, groups)
    brief = _BRIEF * candidate.trials.shortened
    scatter *= _shrunk(correlation)
    scatter = math.hypot(scatter, brief * (correlation - before.correlation))
    beyond = correlation - trial.correlation
    half = math.hypot(
        half_interval(each, inflation, trial.without_piece),
        special.ndtri(1.0 - LEVEL)
        * math.hypot(sure * beyond, scatter if trial.passes else 0.0),
    )
    highest = correlation
    if candidate.arm.is_new and candidate.long is not None and candidate.short:
        highest = max(highest, learned_from_nothing(candidate, effort))
    rmse = math.sqrt(float(np.mean(trial.errors)))
    if beyond and trial.correlation < 1.0:
        # The error after the best gain scales with sqrt(1 - correlation^2).
        left, now = (1.0 - c**2 for c in (correlation, trial.correlation))
        rmse *= math.sqrt(max(left, 0.0) / now)
    steps = effort.steps if candidate.arm.trains else 0
    row = ArmForecast(
        arm=candidate.arm,
        correlation=correlation,
        correlation_low=max(correlation - half, -1.0),
        correlation_high=min(highest + half, 1.0),
        relative_rmse=rmse,
        base_correlation=trial.base_correlation - (_FORGOTTEN if trial.passes else 0.0),
        parameters=candidate.parameters,
        learning_rate=candidate.retraining_rate(effort),
        steps=steps,
        batch_size=effort.batch_size,
        cost=steps * effort.batch_size * candidate.step,
        measured_steps=trial.passes,
        normalization=candidate.normalization,
    )
    return row, each


def _shrunk(correlation: float) -> float:
    """Return the factor of differences at a correlation, 1 up to .98."""
    return min((1.0 - correlation) / (1.0 - _HIGH), 1.0)


def choose(
    rows: Sequence[ArmForecast],
    scatter: Callable[[int, int], float],
    keep: float,
) -> tuple[int, list[int], bool]:
    """Return the index of the arm to choose, the indices of its ties, and if unsure.

    The value of an arm is its correlation or, with `keep`, a weighted mean with that on
    the base. Arms tie with the best if they are behind by less than both the standard
    error of the difference (`scatter` of two indices) and .002. Of those that tie and
    whose amplitude is right too, the network as it is or its gain is chosen, or else
    the arm of the highest value; of values within .0002, that with the fewest weights.
    For correlations c above .98, .002 and .0002 are .1 and .01 times 1 - c.
    """

    def value(row: ArmForecast) -> float:
        if not keep:
            return row.correlation
        return (1.0 - keep) * row.correlation + keep * row.base_correlation

    values = [value(row) for row in rows]
    first = int(np.argmax(values))
    ties, near, shrunk = [first], [], _shrunk(rows[first].correlation)
    for place in range(len(rows)):
        behind, error = values[first] - values[place], scatter(first, place)
        if place != first and behind <= min(error, shrunk * NOT_WORTH):
            ties.append(place)
        if place != first and behind <= special.ndtri(1.0 - LEVEL) * error:
            near.append(place)
    least = min(rows[place].relative_rmse for place in ties)
    most = 1.05 * least + 0.01 * shrunk
    right = [place for place in ties if not rows[place].relative_rmse > most]
    still = [place for place in right if not rows[place].measured_steps]
    highest = max(values[place] for place in right)
    equal = [place for place in right if values[place] >= highest - shrunk * _EQUAL]
    best = min(still or equal, key=lambda p: (rows[p].parameters, -values[p]))
    return best, sorted({*ties, *near} - {best}), bool(near)


@dataclasses.dataclass(frozen=True, eq=False)
class Verdict:
    """Predictions for all candidates, and the choice among them.

    `row` is the prediction for the chosen candidate, `ties` are those of arms that are
    indistinguishable from it.
    """

    rows: Sequence[ArmForecast]
    chosen: Candidate
    row: ArmForecast
    ties: Sequence[ArmForecast]
    unsure: bool

    @classmethod
    def of(
        cls,
        candidates: Sequence[Candidate],
        effort: Effort,
        inflation: float,
        keep: float,
        groups: Any = None,
    ) -> "Verdict":
        """Predict what each candidate will give, and choose; see `choose`.

        `inflation` is the factor of `variance_inflation`. Test samples of a group are
        not independent, so they count as one.
        """
        tested = means_of_groups(candidates[0].trial.correlations, groups)
        # One or two samples do not tell how much a retraining on them may harm.
        change = greatest_change(candidates, effort) if len(tested) > 2 else math.inf
        progress = typical_progress(candidates, effort), change
        found = [row_of(c, effort, progress, inflation, groups) for c in candidates]
        rows, each = [row for row, _ in found], [values for _, values in found]
        on_base = [c.trial.base_correlations for c in candidates]

        def scatter(one: int, other: int) -> float:
            few = FEW * (1.0 - rows[one].correlation)
            target = error_of_mean(each[one] - each[other], inflation, few)
            gap = on_base[one] - on_base[other]
            base = error_of_mean(gap, 1.0, few) if keep else 0.0
            seeds = any(rows[place].measured_steps for place in (one, other))
            seed = SCATTER * _shrunk(rows[one].correlation) if seeds else 0.0
            return math.hypot((1.0 - keep) * target, keep * base, seed)

        best, ties, unsure = choose(rows, scatter, keep)
        tied = [rows[place] for place in ties]
        return cls(rows, candidates[best], rows[best], tied, unsure)

    def reason(self, spectra: Mapping[str, Any], num_samples: int, keep: float) -> str:
        """Return the advice in words: which arm, how certain, and its expected effect.

        `spectra` are those of the held-out error before and after, and of the systems.
        """
        best, before = self.row, self.chosen.trials.unchanged
        known = np.isfinite(before.base_correlation)
        on_base = f"{as_cc(before.base_correlation)} on the base system and "
        tested = len(before.correlations)
        some = f"{tested} of the " if tested < num_samples else ""
        text = [
            f"The network has a correlation of {on_base if known else ''}"
            f"{as_cc(before.correlation)} on {some}target samples."
        ]
        samples = f"{num_samples} target sample{'' if num_samples == 1 else 's'}"
        if not best.steps:
            whose = f" ({best.normalization} statistics)" if best.normalization else ""
            why = f"with {samples} no retraining is sure to help."
            if keep:
                why = "no retraining gains on the target what it loses on the base."
            text.append(f"Leave it as it is{whose}: {why}")
        else:
            count = f"{best.parameters:,} weight{'' if best.parameters == 1 else 's'}"
            article = "the " if best.label.startswith("output gain") else ""
            left = f", and {as_cc(best.base_correlation)} on the base system"
            low, high = map(as_cc, (best.correlation_low, best.correlation_high))
            gain = self.chosen.first_gain
            start = "" if gain == 1.0 else f" from an output gain of {gain:.2g}"
            text.append(
                f"Retrain {article}{best.label}{start} ({count}, Adam from "
                f"{best.learning_rate:.2g}, {best.steps} steps of {best.batch_size}): "
                f"with {samples} the forecast is {as_cc(best.correlation)} (90 % "
                f"interval {low} to {high}){left if known else ''}."
            )
        if self.ties:
            ties = {row.label: row.row() for row in self.ties}
            text.append(not_told_from(best.row(), ties, keep))
        if not best.steps:
            return " ".join(text)
        own = [row for row in self.rows if row.normalization == best.normalization]
        whole = next((row for row in own if row.arm.label == "all layers"), best)
        if whole is not best:
            text.append(f"All layers would give {as_cc(whole.correlation)}.")
        found = explain_spectra(spectra, spectra.get("systems", {}))
        if found.get("band") is not None:
            why = found["why"]
            text.append(f"On held-out samples, {why[0].lower()}{why[1:]}")
        return " ".join(text)
