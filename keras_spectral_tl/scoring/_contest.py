"""Contest of arms: their trials, what follows for the retraining, and the choice."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from scipy import special

from keras_spectral_tl import freezing
from keras_spectral_tl._results import NOT_WORTH
from keras_spectral_tl.scoring._effort import Effort, usual_rate
from keras_spectral_tl.scoring._explanation import forecast_reason
from keras_spectral_tl.scoring._forecast_result import ArmForecast
from keras_spectral_tl.scoring._holdout import (
    FEW,
    LEVEL,
    Array,
    error_of_mean,
    half_interval,
    means_of_groups,
)
from keras_spectral_tl.scoring._network_parts import NetworkPart, kernels_of
from keras_spectral_tl.scoring._trials import Run, Trial, Trials
from keras_spectral_tl.transfer._arms import Arm, joined_arms
from keras_spectral_tl.transfer._retrain import adds_parts

# No more than this share of the error is taken off beyond the longest trial.
_MOST_BEYOND = 0.4
# Standard error of what is taken off beyond the longest trial, as a share of it.
_UNSURE = 0.4
# Standard error of any prediction: seeds of a retraining scatter by as much.
_SCATTER = 0.004
# Likewise of what follows from a short trial alone.
_SHORT_SCATTER = 0.02
# Correlation on the base that a retraining loses beyond its longest trial.
_FORGOTTEN = 0.01
# Rates to try, and how many arms are tried at others and for longer.
_FACTOR, _MOST_LOWER = 3.0, 2
# By how much a higher rate may make the error larger for a time.
_HOPELESS = 1.5
_WITH_RATES, _WITH_LONG = 6, 4


@dataclasses.dataclass(eq=False)
class Candidate:
    """An arm with its trials.

    Attributes:
        arm: The arm.
        trials: The bench on which it is tried.
        normalization: Whose statistics normalize there, or "".
        first_power: Power of 3 of the rate of its first trial.
        rate: Usual learning rate of a retraining.
        parameters: Weights that train.
        step: Forward passes that one training step of a sample takes.
        short: Trial of few steps by power of 3, at the usual rate times that.
        stopped: Powers of which the trial was stopped.
        long: Trial of more steps at the best of these, or None.
    """

    arm: Arm
    trials: Trials
    normalization: str
    first_power: int = 0
    rate: float = 0.0
    parameters: int = 0
    step: float = 0.0
    short: dict[int, Trial] = dataclasses.field(default_factory=dict)
    stopped: set[int] = dataclasses.field(default_factory=set)
    long: Trial | None = None

    @property
    def power(self) -> int:
        """Power of 3 that did best in short trials."""
        return max(self.short, key=lambda power: self.short[power].correlation)

    @property
    def was_lowered(self) -> bool:
        """True where the trial at three times the best rate was stopped."""
        return self.power + 1 in self.stopped

    def retraining_rate(self, effort: Effort) -> float:
        """Return the learning rate to retrain with.

        The usual rate times the power of 3 that did best in short trials. A trial goes
        higher than the retraining, by the square root of their steps; so where a lower
        power did best, the retraining goes as high as that trial, up to the usual rate.
        """
        if not self.short:
            return self.rate
        factor = _FACTOR**self.power
        possible = effort.rate_of_trial(factor, self.trials.short)
        return self.rate * max(factor, min(possible, 1.0))

    def long_rate(self, effort: Effort) -> float:
        """Return the rate of a long trial: no higher than what a short one bore."""
        rate = effort.rate_of_trial(self.retraining_rate(effort), self.trials.long)
        return min(rate, self.short[self.power].rate) if self.short else rate

    @property
    def trial(self) -> Trial:
        """The longest trial, of the best rate."""
        return self.long or self.short[self.power]


def progressed(candidate: Candidate, effort: Effort) -> Array:
    """Return the correlation of each sample tested after the whole retraining.

    What a short and a long trial differ by goes on as `Effort.beyond` says, times

        min(ln(n / m) / 2 / ln(n rate_n / (m rate_m)), 1)

    with m, n their steps and rate_m, rate_n their rates: 1 where rates fall with the
    square root of the steps. Where they do not, the rate adds the rest.
    """
    long = candidate.long
    if long is None or not candidate.short:
        return candidate.trial.correlations
    short = candidate.short[candidate.power]
    share = effort.beyond(short.passes, long.passes)
    longer = math.log(long.passes / short.passes) / 2.0
    further = 2.0 * longer + math.log(long.rate / short.rate)
    share *= min(longer / further, 1.0) if further > 0.0 else 1.0
    added = share * max(long.correlation - short.correlation, 0.0)
    added = min(added, _MOST_BEYOND * (1.0 - long.correlation))
    return long.correlations + added


def learned_from_nothing(candidate: Candidate, effort: Effort) -> float:
    """Return what new weights reach if they go on to learn as fast as in their trials.

    1 - correlation falls as that power of the passes with which it fell from the short
    to the long trial: for a network that has hardly begun. With few samples it will not
    go on for long, so this is an upper bound.
    """
    short, long = candidate.short[candidate.power], candidate.trial
    left, before = (max(1.0 - trial.correlation, 1e-9) for trial in (long, short))
    if long.passes <= short.passes or before <= left:
        return long.correlation
    power = math.log(before / left) / math.log(long.passes / short.passes)
    more = max(effort.passes / long.passes, 1.0)
    return 1.0 - left * float(more**-power)


def typical_progress(candidates: Sequence[Candidate], effort: Effort) -> float:
    """Return by how much arms with a long trial get further than their short one.

    The median of added / (removed by the short trial), both in 1 - correlation.
    """
    found = []
    for candidate in candidates:
        if candidate.long is None or not candidate.short:
            continue
        before = candidate.trials.unchanged()
        short = candidate.short[candidate.power].correlation
        removed = short - before.correlation
        reached = float(np.mean(progressed(candidate, effort)))
        if removed > 0.0:
            found.append((reached - short) / removed)
    return float(np.clip(np.median(found), 0.0, 1.0)) if found else 0.0


def row_of(
    candidate: Candidate,
    effort: Effort,
    typical: float,
    inflation: float,
    groups: Any = None,
) -> tuple[ArmForecast, Array]:
    """Return the prediction for an arm, and the correlation of each group tested."""
    before = candidate.trials.unchanged()
    trial = candidate.trial
    each, sure, scatter = trial.correlations, 0.0, _SCATTER
    if candidate.long is not None:
        each = progressed(candidate, effort)
        sure = 1.0 if candidate.arm.is_new else _UNSURE
    elif trial.passes:
        # Arms that learn from nothing have no correlation to begin with.
        start = min(before.correlation, max(trial.correlation, 0.0))
        added = typical * max(trial.correlation - start, 0.0)
        each = each + min(added, _MOST_BEYOND * (1.0 - trial.correlation))
        sure, scatter = _UNSURE, _SHORT_SCATTER
    correlation = float(np.mean(each))
    each = means_of_groups(each, groups)
    beyond = correlation - trial.correlation
    half = math.hypot(
        half_interval(each, inflation),
        special.ndtri(1.0 - LEVEL)
        * math.hypot(sure * beyond, scatter if trial.passes else 0.0),
    )
    highest = correlation
    if candidate.arm.is_new and candidate.long is not None and candidate.short:
        highest = max(highest, learned_from_nothing(candidate, effort))
    rmse = math.sqrt(float(np.mean(trial.errors)))
    if beyond and trial.correlation < 1.0:
        # What gain and pattern leave of the error falls with the pattern's.
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


def choose(
    rows: Sequence[ArmForecast],
    scatter: Callable[[int, int], float],
    keep: float,
) -> tuple[int, list[int], bool]:
    """Return the place of the arm to choose, those that tie with it, and if unsure.

    The value of an arm is its correlation, and with `keep` its share of that on the
    base. Arms tie with the first where they are behind by less than both the standard
    error of the difference and .002. Of those whose amplitude is right too, the one
    with the fewest weights is chosen.

    Args:
        rows: Predictions.
        scatter: Standard error of the difference in value of two rows, by their places.
        keep: Weight of the correlation on the base, from 0 to 1.
    """

    def value(row: ArmForecast) -> float:
        if not keep:
            return row.correlation
        return (1.0 - keep) * row.correlation + keep * row.base_correlation

    values = [value(row) for row in rows]
    first = int(np.argmax(values))
    ties, near = [first], []
    for place in range(len(rows)):
        behind, error = values[first] - values[place], scatter(first, place)
        if place != first and behind <= min(error, NOT_WORTH):
            ties.append(place)
        if place != first and behind <= special.ndtri(1.0 - LEVEL) * error:
            near.append(place)
    least = min(rows[place].relative_rmse for place in ties)
    right = [p for p in ties if rows[p].relative_rmse <= 1.05 * least + 0.01]
    best = min(right, key=lambda place: (rows[place].parameters, -values[place]))
    return best, sorted({*ties, *near} - {best}), bool(near)


@dataclasses.dataclass(frozen=True, eq=False)
class Verdict:
    """Predictions for all candidates, and the choice among them.

    Attributes:
        rows: Predictions.
        chosen: The candidate to choose.
        row: Its prediction.
        ties: Predictions of those that cannot be told from it.
        unsure: Whether there are any.
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

        Args:
            candidates: Arms with their trials.
            effort: Of the retraining.
            inflation: Factor on the variance, see `variance_inflation`.
            keep: Weight of the correlation on the base.
            groups: Group of each sample tested, or None; samples of a group are not
                independent, so they count as one.
        """
        typical = typical_progress(candidates, effort)
        found = [row_of(c, effort, typical, inflation, groups) for c in candidates]
        rows, each = [row for row, _ in found], [values for _, values in found]
        on_base = [c.trial.base_correlations for c in candidates]

        def scatter(one: int, other: int) -> float:
            few = FEW * (1.0 - rows[one].correlation)
            target = error_of_mean(each[one] - each[other], inflation, few)
            gap = on_base[one] - on_base[other]
            base = error_of_mean(gap, 1.0, few) if keep else 0.0
            seeds = any(rows[place].measured_steps for place in (one, other))
            return math.hypot(
                (1.0 - keep) * target, keep * base, _SCATTER if seeds else 0.0
            )

        best, ties, unsure = choose(rows, scatter, keep)
        tied = [rows[place] for place in ties]
        return cls(rows, candidates[best], rows[best], tied, unsure)

    def reason(self, spectra: Mapping[str, Any], num_samples: int, keep: float) -> str:
        """Return what to do and why, see `forecast_reason`."""
        before, own = self.chosen.trials.unchanged(), self.chosen.normalization
        rows = [row for row in self.rows if row.normalization == own]
        return forecast_reason(
            self.row, self.ties, rows, spectra, num_samples, before, keep > 0.0
        )


class Contest:
    """Trials of all candidates: short ones, then rates and longer ones of the best."""

    def __init__(self, model: keras.Model, effort: Effort, watch: Any) -> None:
        self._effort, self._watch = effort, watch
        self._kernels = kernels_of(model)
        self._model = model

    def run(self, candidates: list[Candidate], joined: bool) -> None:
        """Try all, and add pairs and blocks of the best layers where they are asked."""
        with self._watch as move:
            self._move, self._done = move, 0
            self._total = len(candidates) + 2 * (_WITH_RATES + _WITH_LONG)
            self._each(candidates, self._first)
            self._refine(candidates)
            if joined:
                more = self._joined(candidates)
                self._total = self._done + 4 * len(more)
                self._each(more, self._first)
                self._refine(more)
                candidates += more

    def _refine(self, candidates: Sequence[Candidate]) -> None:
        """Try other rates and more steps where that may decide.

        Longer trials are for the best arms and the best single layers, which need more
        steps the further they are from the output, and for whatever has the most
        weights, which has hardly begun after a short trial.
        """
        trained = [c for c in candidates if c.short]
        most = max((c.parameters for c in trained), default=0)
        slow = [c for c in trained if c.parameters == most]
        if self._effort.rate is None:
            more = [c for c in slow if not c.arm.is_new] + self._spoiled(trained)
            some = [c for c in _leading(trained, _WITH_RATES) if not c.was_lowered]
            self._each(_with(some, more), self._rates)
        layers = [c for c in trained if _single(c)]
        more = [*_leading(layers, _WITH_LONG), *slow]
        self._each(_with(_leading(trained, _WITH_LONG), more), self._longer)

    def _spoiled(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Return arms that are behind a part of themselves: their rate is too high."""
        weights = {
            id(c): set(freezing.select_layers(self._model, c.arm.layers).variables)
            for c in candidates
            if not adds_parts(c.arm.layers)
        }
        plain = [c for c in candidates if id(c) in weights]
        return [
            c
            for c in plain
            if any(
                other.trials is c.trials
                and weights[id(other)] < weights[id(c)]
                and other.trial.correlation > c.trial.correlation
                for other in plain
            )
        ]

    def _joined(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Return pairs and blocks, whose rates start from those of their members."""
        found = []
        known = {
            freezing.select_layers(self._model, c.arm.layers).variables
            for c in candidates
            if c.short and not adds_parts(c.arm.layers)
        }
        for name, bench in {c.normalization: c.trials for c in candidates}.items():
            own = [c for c in candidates if c.normalization == name and c.short]
            own = sorted(own, key=self._reached, reverse=True)
            ranked = [c.arm.label for c in own]
            powers = {c.arm.label: c.power for c in own}
            for arm in joined_arms(self._model, ranked):
                chosen = freezing.select_layers(self._model, arm.layers)
                if chosen.variables not in known:
                    members = [powers.get(name, 0) for name in chosen.names]
                    found.append(Candidate(arm, bench, name, round(np.mean(members))))
        return found

    def _reached(self, candidate: Candidate) -> tuple[bool, float]:
        """Return whether there is a long trial, and what the retraining would reach."""
        reached = np.mean(progressed(candidate, self._effort))
        return candidate.long is not None, float(reached)

    def _each(self, candidates: Sequence[Candidate], plan: Any) -> None:
        for bench in dict.fromkeys(c.trials for c in candidates):
            own = {c.arm.label: c for c in candidates if c.trials is bench}
            fixed = [c for c in own.values() if not _trained(c.arm)]
            for candidate in fixed:
                self._fixed(candidate)
            arms = [c.arm for c in own.values() if _trained(c.arm)]
            for arm, part, run in bench.of(arms):
                plan(own[arm.label], part, run)

    def _fixed(self, candidate: Candidate) -> None:
        if not candidate.arm.trains:
            candidate.long = candidate.trials.unchanged()
        else:
            candidate.long, gain = candidate.trials.with_gain()
            candidate.parameters, candidate.step = 1, 1.0
            # Twice the way that the gain has to go.
            way = max(abs(gain - 1.0), 0.01)
            candidate.rate = 4.0 * way / self._effort.steps
        self._report(candidate, candidate.long)

    def _first(self, candidate: Candidate, part: NetworkPart, run: Run) -> None:
        values = part.gradient.function.values
        candidate.parameters = part.gradient.function.num_parameters
        candidate.step = part.step
        given = self._effort.rate
        candidate.rate = given or usual_rate(values, self._kernels)
        free = given is None and not candidate.arm.is_new
        if free and any(np.ndim(value) > 1 for value in values):
            # Kernels change their outputs by as much as their inputs are large.
            candidate.rate /= candidate.trials.larger_inputs(part)
        # A rate that spoils what the network knows is too high for its inputs.
        highest = candidate.first_power if free else 0
        lowest = highest - _MOST_LOWER * free
        known = candidate.trials.unchanged().correlation
        for power in range(highest, lowest - 1, -1):
            give_up = 1.0 if power > lowest else math.inf
            trial = self._try(candidate, run, power, give_up)
            if not trial.stopped and trial.correlation >= known:
                break

    def _rates(self, candidate: Candidate, part: NetworkPart, run: Run) -> None:
        """Try three times the best rate so far, and a third if that is no better."""
        best, known = candidate.power, {*candidate.short, *candidate.stopped}
        for power in (best + 1, best - 1):
            if power not in known and candidate.power == best:
                new = candidate.arm.is_new
                self._try(candidate, run, power, math.inf if new else _HOPELESS)

    def _longer(self, candidate: Candidate, part: NetworkPart, run: Run) -> None:
        rate = candidate.long_rate(self._effort)
        candidate.long = run(rate, candidate.trials.long)
        self._report(candidate, candidate.long)

    def _try(self, candidate: Candidate, run: Run, power: int, give_up: float) -> Trial:
        steps = candidate.trials.short
        rate = candidate.rate * _FACTOR**power
        trial = run(self._effort.rate_of_trial(rate, steps), steps, give_up)
        if trial.stopped:
            candidate.stopped.add(power)
        else:
            candidate.short[power] = trial
        self._report(candidate, trial)
        return trial

    def _report(self, candidate: Candidate, trial: Trial) -> None:
        self._done += 1
        self._move(
            {
                "arm": candidate.arm.label,
                "correlation": trial.correlation,
                "done": self._done,
                "total": max(self._total, self._done),
            }
        )


def _single(candidate: Candidate) -> bool:
    return isinstance(candidate.arm.layers, str)


def _trained(arm: Arm) -> bool:
    return arm.trains and not isinstance(arm.layers, freezing.OutputGain)


def _leading(candidates: Sequence[Candidate], count: int) -> list[Candidate]:
    best = sorted(candidates, key=lambda c: -c.short[c.power].correlation)
    return best[:count]


def _with(some: Sequence[Candidate], others: Sequence[Candidate]) -> list[Candidate]:
    return [*some, *(other for other in others if other not in some)]
