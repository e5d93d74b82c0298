"""Candidates: arms with their trials, and what follows for the whole retraining."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from keras_spectral_tl.freezing import OutputGain
from keras_spectral_tl.scoring._effort import Effort
from keras_spectral_tl.scoring._holdout import Array
from keras_spectral_tl.scoring._trials import Trial, Trials
from keras_spectral_tl.transfer._arms import Arm

# Between the learning rates that are tried.
FACTOR = 3.0
# No more than this share of the error is taken off beyond the longest trial.
MOST_BEYOND = 0.4


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
    def takes_steps(self) -> bool:
        """True where the arm trains step by step, not in closed form as gains."""
        return self.arm.trains and not isinstance(self.arm.layers, OutputGain)

    @property
    def power(self) -> int:
        """Power of 3 that did best in short trials."""
        return max(self.short, key=lambda power: self.short[power].correlation)

    @property
    def best_short(self) -> float:
        """Correlation of the best of short trials."""
        return self.short[self.power].correlation

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
        factor = FACTOR**self.power
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
    added = min(added, MOST_BEYOND * (1.0 - long.correlation))
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
