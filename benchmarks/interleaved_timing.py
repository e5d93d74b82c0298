"""Times of several functions, taken in turn so that a busy moment hits them all."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

Run = Callable[[], object]


@dataclass(frozen=True)
class Effort:
    """How long to measure.

    Attributes:
        repetitions: rounds; every function is timed once in each.
        seconds_each: how long one function runs in one round, at least two calls.
        clock: `time.perf_counter`, or `time.process_time` for one thread on a machine
            that others use at the same time.
    """

    repetitions: int = 9
    seconds_each: float = 0.1
    clock: Callable[[], float] = time.perf_counter


@dataclass(frozen=True)
class Times:
    """Seconds a call of each function, one value a round."""

    rounds: Mapping[str, list[float]]

    def median(self, name: str) -> float:
        return statistics.median(self.rounds[name])

    def ratio(self, name: str, to: str) -> float:
        """Median over the rounds of `name / to`: drift of the machine cancels."""
        pairs = zip(self.rounds[name], self.rounds[to], strict=True)
        return statistics.median(a / b for a, b in pairs)


def seconds_a_call(
    run: Run, num_calls: int, clock: Callable[[], float] = time.perf_counter
) -> float:
    start = clock()
    for _ in range(num_calls):
        run()
    return (clock() - start) / num_calls


def interleaved(runs: Mapping[str, Run], effort: Effort) -> Times:
    """Times every function once a round, after a call that warms it up."""
    num_calls = {}
    for name, run in runs.items():
        run()
        once = seconds_a_call(run, 2, effort.clock)
        num_calls[name] = max(2, int(effort.seconds_each / max(once, 1e-9)))
    rounds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(effort.repetitions):
        for name, run in runs.items():
            rounds[name].append(seconds_a_call(run, num_calls[name], effort.clock))
    return Times(rounds)
