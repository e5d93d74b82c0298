"""Kept scores come out again, with the rate and the divisions they were made with."""

import bench_scores
import numpy as np
import pytest

from keras_spectral_tl.scoring import HeldOutRetraining
from keras_spectral_tl.transfer import Samples


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
