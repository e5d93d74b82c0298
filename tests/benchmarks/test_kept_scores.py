"""Kept scores come out again, with the rate and the divisions they were made with."""

import itertools
from pathlib import Path

import bench_scores
import numpy as np
import pytest
from score_settings import CASES, Setting
from score_statistics import kendall_tau

from keras_spectral_tl.scoring import HeldOutRetraining
from keras_spectral_tl.transfer import Samples

PAGES = Path(__file__).parents[2] / "docs"


def divisions(num_samples, rng):
    """One division of three quarters; each sample alone where there are few."""
    order = rng.permutation(num_samples)
    if num_samples < 8:
        return [(np.setdiff1d(order, [one]), [one]) for one in order]
    count = 3 * num_samples // 4
    return [(order[:count], order[count:])]


@pytest.mark.slow
@pytest.mark.parametrize(
    "label", ["ks_thick_to_thin-n16-seed0", "ks_thin_to_thick-n4-seed0"]
)
def test_kept_scores_are_those_of_the_old_rate_and_divisions(label):
    task = next(task for task in bench_scores.ks_tasks() if task.label == label)
    model, base, target, _ = task.load()
    samples = [Samples.of(tuple(data)) for data in (base, target)]
    rng = np.random.default_rng(0)
    splits = divisions(len(samples[1]), rng)
    scorer = HeldOutRetraining(learning_rate=3e-3, offset=False, splits=splits)
    kept = bench_scores.read("ks_scores")[label]["held_out_retraining"]["values"]
    found = scorer(model, *samples, rng).values
    assert found == pytest.approx(kept, abs=1e-6)


def mean_tau(one, other):
    """Mean over cases and statistics of tau between sweeps (samples, seed)."""
    kept = bench_scores.read("turbulence_sweeps")
    found = []
    for (base, target), statistics in itertools.product(CASES, ("own", "base")):
        first, second = (
            kept[Setting(base, target, statistics, *which).label]["layers"]
            for which in (one, other)
        )
        pair = [
            {name: row["cc"] for name, row in rows.items()} for rows in (first, second)
        ]
        found.append(kendall_tau(*pair))
    return np.mean(found)


def test_the_pages_say_how_alike_sweeps_are():
    pages = [PAGES / f"{name}.md" for name in ("randomness", "scores_benchmark")]
    with_more = np.mean([mean_tau((16, seed), (64, seed)) for seed in range(4)])
    pairs = [
        mean_tau((16, one), (16, other))
        for one, other in itertools.combinations(range(4), 2)
        if (one, other) != (0, 3)  # these share 15 samples
    ]
    numbers = with_more, np.mean(pairs), min(pairs), max(pairs)
    for page in pages:
        for number in numbers:
            assert f"{number:.2f}".removeprefix("0") in page.read_text()
