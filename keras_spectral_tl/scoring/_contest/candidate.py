"""Candidates: arms with their trials, extrapolated to the whole retraining."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from keras_spectral_tl.freezing import OutputGain
from keras_spectral_tl.scoring._effort import Effort
from keras_spectral_tl.scoring._holdout import Array
from keras_spectral_tl.scoring._trials import Trial, Trials
from keras_spectral_tl.transfer._arms import Arm

# Ratio of the learning rates that are tried.
FACTOR = 3.0
# Largest fraction of the error that extrapolation beyond the longest trial removes.
MOST_BEYOND = 0.4


@dataclasses.dataclass(eq=False)
class Candidate:
    """An arm with its trials.

    Attributes:
        normalization: Name of the normalization of the trials, or "".
        first_power: Exponent p of the first trial, whose rate is the usual one x 3^p.
        rate: Usual learning rate of a retraining.
        parameters: Number of weights that train.
        step: Cost of a training step of one sample in forward passes.
        short: Short trials by exponent p.
        stopped: Exponents of trials that were stopped.
        long: Long trial at the best of these rates, or None.
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
    def takes_steps(self) -> bool:
        """True if the arm trains step by step, not in closed form like a gain."""
        return self.arm.trains and not isinstance(self.arm.layers, OutputGain)

    @property
    def first_gain(self) -> float:
        """Output gain from which the retraining starts; 1 for none."""
        none = self.arm.is_new or not self.takes_steps
        return 1.0 if none else self.trials.gain

    @property
    def power(self) -> int:
        """Exponent p of the best short trial, whose rate is the usual one x 3^p."""
        return max(self.short, key=lambda power: self.short[power].correlation)

    @property
    def best_short(self) -> float:
        return self.short[self.power].correlation

    @property
    def was_lowered(self) -> bool:
        """True if the trial at three times the best rate was stopped."""
        return self.power + 1 in self.stopped

    def retraining_rate(self, effort: Effort) -> float:
        """Return the learning rate to retrain with.

        It is the usual rate times the best power of 3 in short trials. A trial has a
        higher rate than the retraining, by the square root of the ratio of steps; so if
        a lower power was best, the rate is that of the trial, at most the usual rate.
        """
        if not self.short:
            return self.rate
        factor = FACTOR**self.power
        possible = effort.rate_of_trial(factor, self.trials.short)
        return self.rate * max(factor, min(possible, 1.0))

    def long_rate(self, effort: Effort) -> float:
        """Return the rate of a long trial, at most that of the best short trial."""
        rate = effort.rate_of_trial(self.retraining_rate(effort), self.trials.long)
        return min(rate, self.short[self.power].rate) if self.short else rate

    @property
    def trial(self) -> Trial:
        """The longest trial at the best rate."""
        return self.long or self.short[self.power]


def progressed(candidate: Candidate, effort: Effort) -> Array:
    """Return the predicted correlation of each test sample after the whole retraining.

    The gain from the short to the long trial is extrapolated by `Effort.beyond`, times

        min(ln(n / m) / 2 / ln(n rate_n / (m rate_m)), 1)

    with m, n their steps and rate_m, rate_n their rates. This is 1 if rates decrease
    as the inverse square root of the steps; else part of the gain is due to the rate.
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
    added = min(added, MOST_BEYOND * (1.0 - long.correlation))
    return long.correlations + added


def learned_from_nothing(candidate: Candidate, effort: Effort) -> float:
    """Return the correlation of new weights if they keep learning as in their trials.

    1 - correlation is extrapolated by the power law in passes between the short and the
    long trial, for a network at the start of its training. With few samples this pace
    will not last, so it is an upper bound.
    """
    short, long = candidate.short[candidate.power], candidate.trial
    left, before = (max(1.0 - trial.correlation, 1e-9) for trial in (long, short))
    if long.passes <= short.passes or before <= left:
        return long.correlation
    power = math.log(before / left) / math.log(long.passes / short.passes)
    more = max(effort.passes / long.passes, 1.0)
    return 1.0 - left * float(more**-power)


def typical_progress(candidates: Sequence[Candidate], effort: Effort) -> float:
    """Return the median predicted gain beyond a short trial, relative to its own gain.

    Over arms with a long trial: added / (removed by the short trial), both in
    1 - correlation.
    """
    found = []
    for candidate in candidates:
        if candidate.long is None or not candidate.short:
            continue
        before = candidate.trials.unchanged
        short = candidate.short[candidate.power].correlation
        removed = short - before.correlation
        reached = float(np.mean(progressed(candidate, effort)))
        if removed > 0.0:
            found.append((reached - short) / removed)
    return float(np.clip(np.median(found), 0.0, 1.0)) if found else 0.0


def greatest_change(candidates: Sequence[Candidate], effort: Effort) -> float:
    """Return the greatest predicted change of the correlation over all arms.

    Arms with new weights do not count, as they start from nothing.
    """
    return max(
        abs(float(np.mean(progressed(one, effort))) - one.trials.unchanged.correlation)
        for one in candidates
        if not one.arm.is_new
    )
