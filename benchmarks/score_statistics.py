"""How well scores agree with measured sweeps, and how sure one can be of it.

Everything here takes plain mappings layer -> number, and answers in plain numbers. A
score that is not a number says nothing of its layer: it counts as lower than any other,
so that abstaining on a layer is not rewarded. A measured figure has to be a number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Scores = Mapping[str, float]


def ranked(scores: Scores) -> list[str]:
    """Names from the highest score down; nan last, ties in the order given."""
    return sorted(scores, key=lambda name: -_ordinal(scores[name]))


def kendall_tau(scores: Scores, measured: Scores) -> float:
    """Kendall's tau-b of scores and measured figures over the layers measured.

        tau_b = (concordant - discordant) / sqrt((pairs - ties_s) (pairs - ties_m))

    Pairs tied in one of them count neither way (Kendall 1945,
    doi:10.1093/biomet/33.3.239).
    0 if all scores are tied: no order agrees with nothing. nan with one layer or if all
    measured figures are equal.
    """
    names = _common(scores, measured)
    s = np.sign(_differences([_ordinal(scores[name]) for name in names]))
    m = np.sign(_differences([measured[name] for name in names]))
    untied = np.count_nonzero(s), np.count_nonzero(m)
    if untied[1] == 0:
        return float("nan")
    if untied[0] == 0:
        return 0.0
    return float(np.sum(s * m) / np.sqrt(float(untied[0]) * untied[1]))


def pairs_ordered(scores: Scores, measured: Scores, apart: float) -> float:
    """Share of the pairs of layers that scores put in the order measured.

    Of the pairs whose measured figures differ by more than `apart`; a pair tied in the
    scores is not in order. nan if there is no such pair.
    """
    names = _common(scores, measured)
    s = _differences([_ordinal(scores[name]) for name in names])
    figures = np.array([measured[name] for name in names])
    first, second = np.triu_indices(len(names), 1)
    gaps = figures[first] - figures[second]
    counted = np.abs(gaps) > apart
    if not counted.any():
        return float("nan")
    return float(np.mean((s == np.sign(gaps))[counted]))


def is_top_1(scores: Scores, best: str) -> bool:
    """Whether `best` has the highest score, alone or first among equals."""
    return ranked(scores)[0] == best


def regret(scores: Scores, measured: Scores) -> float:
    """How much worse the layer with the highest score is than the best one.

    Args:
        scores: layer -> score.
        measured: layer -> figure of merit; higher is better (a pattern correlation).
    """
    names = _common(scores, measured)
    picked = ranked({name: scores[name] for name in names})[0]
    return float(max(measured[name] for name in names) - measured[picked])


def regret_in_error(scores: Scores, relative_rmse: Scores) -> float:
    """The regret in relative mean squared error, `relative_rmse` squared.

    Args:
        scores: layer -> score.
        relative_rmse: layer -> rms of the error / rms of the truth; lower is better.
    """
    return regret(scores, {name: -(v**2) for name, v in relative_rmse.items()})


def cost_fraction(score_passes: float, sweep_passes: float) -> float:
    """Passes of a score over those of the sweep it stands in for.

    Raises:
        ValueError: if the sweep took nothing.
    """
    if not sweep_passes > 0:
        raise ValueError(
            f"a sweep takes passes; received sweep_passes={sweep_passes!r}."
        )
    return float(score_passes) / float(sweep_passes)


@dataclass(frozen=True)
class Interval:
    """A statistic with its bootstrap interval.

    Attributes:
        value: of all settings.
        low: end of the interval.
        high: end of the interval.
        num_clusters: independent groups that were drawn.
    """

    value: float
    low: float
    high: float
    num_clusters: int

    def __str__(self) -> str:
        return f"{self.value:.4g} [{self.low:.4g}, {self.high:.4g}]"


def bootstrap_interval(
    values: Sequence[float],
    clusters: Sequence[Any],
    statistic: Callable[[np.ndarray], Any] = np.mean,
    *,
    level: float = 0.95,
    num_draws: int = 2000,
    seed: int = 0,
) -> Interval:
    """A statistic over settings and its interval by a bootstrap over clusters.

    Settings that share a base network or a flow are not independent: whole clusters are
    drawn, with replacement, and all settings of one stay together (the cluster
    bootstrap; Field & Welsh 2007, doi:10.1111/j.1467-9868.2007.00593.x). Values that
    are nan are left out. With one cluster there is no spread to learn from and both
    ends are nan.

    Args:
        values: one for each setting.
        clusters: for each setting what it shares with others: a case, a seed, a pair.
        statistic: of an array of values.
        level: share of draws within the interval (percentiles).
        num_draws: bootstrap draws.
        seed: of the draws.

    Raises:
        ValueError: for lengths that differ, no value, or a level outside (0, 1).
    """
    numbers = np.asarray(values, float)
    if len(numbers) != len(clusters):
        raise ValueError(
            f"one cluster for each value; received {len(numbers)} values and "
            f"{len(clusters)} clusters."
        )
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must be between 0 and 1; received {level!r}.")
    groups: dict[Any, list[float]] = {}
    for number, cluster in zip(numbers, clusters, strict=True):
        if not np.isnan(number):
            groups.setdefault(cluster, []).append(float(number))
    if not groups:
        raise ValueError("no value is a number, so there is nothing to resample.")
    parts = [np.array(group) for group in groups.values()]
    value = float(statistic(np.concatenate(parts)))
    if len(parts) == 1:
        return Interval(value, float("nan"), float("nan"), 1)
    rng = np.random.default_rng(seed)
    draws = [
        statistic(np.concatenate([parts[i] for i in row]))
        for row in rng.integers(0, len(parts), (num_draws, len(parts)))
    ]
    tail = 50.0 * (1.0 - level)
    low, high = np.percentile(draws, (tail, 100.0 - tail))
    return Interval(value, float(low), float(high), len(parts))


def _ordinal(score: float) -> float:
    return -np.inf if np.isnan(score) else float(score)


def _differences(values: Sequence[float]) -> np.ndarray:
    """Of all pairs; equal infinities differ by nothing."""
    array = np.asarray(values, float)
    first, second = np.triu_indices(len(array), 1)
    greater = (array[first] > array[second]).astype(float)
    return greater - (array[first] < array[second])


def _common(scores: Scores, measured: Scores) -> list[str]:
    """Layers measured, all of which need a score."""
    missing = [name for name in measured if name not in scores]
    bad = [name for name, value in measured.items() if np.isnan(value)]
    if missing or bad or not measured:
        raise ValueError(
            "every measured layer needs a score and a figure that is a number; "
            f"received no score for {missing}, no number for {bad}, "
            f"{len(measured)} layers in all."
        )
    return list(measured)
