"""Contest of arms: decides which trials to run, at which rates and how long."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_spectral_tl.freezing import LowRankOf, select_layers
from keras_spectral_tl.freezing._parts import adds_parts
from keras_spectral_tl.scoring._contest.candidate import FACTOR, Candidate, progressed
from keras_spectral_tl.scoring._effort import Effort, usual_rate
from keras_spectral_tl.scoring._network_parts import NetworkPart, kernels_of
from keras_spectral_tl.scoring._rehearsal import RateTooHighError
from keras_spectral_tl.scoring._trials import Run
from keras_spectral_tl.transfer._arms import joined_arms

# Number of arms tried at other rates, of those tried longer, and of lower first rates.
_WITH_RATES, _WITH_LONG, _MOST_LOWER = 6, 4, 2
# Factor by which a higher rate may temporarily increase the error.
_HOPELESS = 1.5


class Contest:
    """Runs short trials of all candidates, then other rates and longer trials."""

    def __init__(self, model: keras.Model, effort: Effort, watch: Any) -> None:
        self._effort, self._watch = effort, watch
        self._kernels = kernels_of(model)
        self._model = model

    def run(self, candidates: list[Candidate], joined: bool) -> None:
        """Try all candidates and, if `joined`, pairs and blocks of the best layers.

        Arms with a pull or of low rank come last, see `_briefly`.
        """
        last = [
            c
            for c in candidates
            if joined and (c.arm.pull or isinstance(c.arm.layers, LowRankOf))
        ]
        others = [c for c in candidates if c not in last]
        with self._watch as move:
            self._move, self._done = move, 0
            self._total = len(candidates) + 2 * (_WITH_RATES + _WITH_LONG)
            self._each(others, self._first)
            self._refine(others)
            if joined:
                more = self._joined(others)
                self._total = self._done + 4 * len(more) + len(last)
                self._each(more, self._first)
                self._refine(more)
                candidates += more
                self._briefly(last, [*others, *more])
        for bench in {c.trials for c in candidates}:
            bench.forget_parts()

    def _briefly(
        self, candidates: Sequence[Candidate], others: Sequence[Candidate]
    ) -> None:
        """Try arms in short trials; continue only those that beat all others.

        They train about as many weights as the largest of the others, so each step is
        as expensive. Arms with a pull start from the best rate without the pull.
        """
        others = [c for c in others if c.short]
        for candidate in (c for c in candidates if c.arm.pull):
            for other in others:
                same = other.arm.layers == candidate.arm.layers and not other.arm.pull
                if same and other.trials is candidate.trials:
                    candidate.first_power = other.power
        self._each(candidates, self._first)
        highest = max((c.best_short for c in others), default=-math.inf)
        ahead = [c for c in candidates if c.short and c.best_short > highest]
        if self._effort.rate is None:
            free = [c for c in ahead if not c.arm.pull and not c.was_lowered]
            self._each(free, self._rates)
        self._each(ahead, self._longer)

    def _refine(self, candidates: Sequence[Candidate]) -> None:
        """Try other rates and more steps for arms that may be the best.

        Longer trials are for the best arms, for the best single layers, which need more
        steps the further they are from the output, and for the arm with the most
        weights, which has learned little after a short trial.
        """
        trained = [c for c in candidates if c.short]
        most = max((c.parameters for c in trained), default=0)
        slow = [c for c in trained if c.parameters == most]
        if self._effort.rate is None:
            more = [c for c in slow if not c.arm.is_new] + self._spoiled(trained)
            some = [c for c in _leading(trained, _WITH_RATES) if not c.was_lowered]
            self._each(_with(some, more), self._rates)
        layers = [c for c in trained if isinstance(c.arm.layers, str)]
        more = [*_leading(layers, _WITH_LONG), *slow]
        self._each(_with(_leading(trained, _WITH_LONG), more), self._longer)

    def _spoiled(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Return arms that do worse than a subset of themselves: a rate too high."""
        weights = {
            id(c): set(select_layers(self._model, c.arm.layers).variables)
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
        """Return pairs and blocks of layers, with rates from those of their members."""
        found = []
        known = {
            select_layers(self._model, c.arm.layers).variables
            for c in candidates
            if c.short and not adds_parts(c.arm.layers)
        }
        for name, bench in {c.normalization: c.trials for c in candidates}.items():
            own = [c for c in candidates if c.normalization == name and c.short]
            # Those with a long trial first.
            own.sort(
                key=lambda c: (
                    c.long is not None,
                    np.mean(progressed(c, self._effort)),
                ),
                reverse=True,
            )
            powers = {
                c.arm.layers: c.power for c in own if isinstance(c.arm.layers, str)
            }
            for arm in joined_arms(self._model, [*powers]):
                chosen = select_layers(self._model, arm.layers)
                if chosen.variables not in known:
                    members = [powers.get(name, 0) for name in chosen.names]
                    found.append(Candidate(arm, bench, name, round(np.mean(members))))
        return found

    def _each(self, candidates: Sequence[Candidate], plan: Any) -> None:
        for bench in dict.fromkeys(c.trials for c in candidates):
            own = {c.arm.label: c for c in candidates if c.trials is bench}
            for candidate in own.values():
                if not candidate.takes_steps:
                    self._fixed(candidate)
            arms = [c.arm for c in own.values() if c.takes_steps]
            for arm, part, run in bench.of(arms):
                plan(own[arm.label], part, run)

    def _fixed(self, candidate: Candidate) -> None:
        if not candidate.arm.trains:
            candidate.long = candidate.trials.unchanged
        else:
            candidate.long, gain = candidate.trials.with_gain()
            candidate.parameters, candidate.step = 1, 1.0
            # A rate with which the gain can move twice the distance it has to.
            way = max(abs(gain - 1.0), 0.01)
            candidate.rate = 4.0 * way / self._effort.steps
        self._report(candidate, candidate.long.correlation)

    def _first(self, candidate: Candidate, part: NetworkPart, run: Run) -> None:
        candidate.parameters = part.function.num_parameters
        candidate.step = part.step
        given, usual = self._effort.rate, usual_rate(part.sizes, self._kernels)
        candidate.rate = given or self._effort.hurried(usual)
        free = given is None and not candidate.arm.is_new
        if free and any(np.ndim(value) > 1 for value in part.sizes):
            # The effect of a kernel on its outputs is proportional to its inputs.
            candidate.rate /= candidate.trials.larger_inputs(part)
        # A rate is too high if it makes the network worse than unchanged.
        highest = candidate.first_power if free else 0
        lowest = highest - _MOST_LOWER * free
        known = candidate.trials.unchanged.correlation
        for power in range(highest, lowest - 1, -1):
            give_up = 1.0 if power > lowest else math.inf
            self._try(candidate, run, power, give_up)
            trial = candidate.short.get(power)
            if trial is not None and trial.correlation >= known:
                break

    def _rates(self, candidate: Candidate, part: NetworkPart, run: Run) -> None:
        """Try three times the best rate so far, and a third if that is no better."""
        best, known = candidate.power, {*candidate.short, *candidate.stopped}
        for power in (best + 1, best - 1):
            if power not in known and candidate.power == best:
                new = candidate.arm.is_new
                self._try(candidate, run, power, math.inf if new else _HOPELESS)

    def _longer(self, candidate: Candidate, part: NetworkPart, run: Run) -> None:
        trials = candidate.trials
        if trials.long == trials.short:  # the short trial was the whole retraining
            candidate.long = candidate.trial
            return
        candidate.long = run(candidate.long_rate(self._effort), trials.long)
        self._report(candidate, candidate.long.correlation)

    def _try(self, candidate: Candidate, run: Run, power: int, give_up: float) -> None:
        steps, correlation = candidate.trials.short, 0.0
        rate = self._effort.rate_of_trial(candidate.rate * FACTOR**power, steps)
        try:
            candidate.short[power] = run(rate, steps, give_up)
            correlation = candidate.short[power].correlation
        except RateTooHighError:
            candidate.stopped.add(power)
        self._report(candidate, correlation)

    def _report(self, candidate: Candidate, correlation: float) -> None:
        self._done += 1
        self._move(
            {
                "arm": candidate.arm.label,
                "correlation": correlation,
                "done": self._done,
                "total": max(self._total, self._done),
            }
        )


def _leading(candidates: Sequence[Candidate], count: int) -> list[Candidate]:
    return sorted(candidates, key=lambda c: -c.best_short)[:count]


def _with(some: Sequence[Candidate], others: Sequence[Candidate]) -> list[Candidate]:
    return [*some, *(other for other in others if other not in some)]
