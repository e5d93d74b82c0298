"""Scores are those of the data and the network, not of the Keras backend."""

import importlib.util
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).with_name("scores_of_a_backend.py")
BACKENDS = ("tensorflow", "jax", "torch")

# Of the largest score, as docs/scores_benchmark.md states it.
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def scores():
    """Backend -> scorer -> layer -> score, of what is installed."""
    found = {}
    for backend in BACKENDS:
        if importlib.util.find_spec(backend) is not None:
            environment = {**os.environ, "KERAS_BACKEND": backend}
            run = subprocess.run(
                [sys.executable, SCRIPT],
                env=environment,
                capture_output=True,
                text=True,
            )
            assert run.returncode == 0, run.stderr[-2000:]
            found[backend] = json.loads(run.stdout)
    return found


def test_scores_are_equal_on_every_backend(scores):
    if len(scores) < 2:
        pytest.skip("one backend is installed")
    for one, other in itertools.combinations(scores, 2):
        for scorer, values in scores[one].items():
            assert list(values) == list(scores[other][scorer])
            np.testing.assert_allclose(
                list(scores[other][scorer].values()),
                list(values.values()),
                atol=TOLERANCE * max(map(abs, values.values())),
                err_msg=f"{scorer} on {one} and {other}",
            )


def test_each_scorer_tells_the_layers_apart(scores):
    """Or equal scores would say nothing."""
    for values in next(iter(scores.values())).values():
        gaps = np.diff(sorted(values.values()))
        assert min(gaps) > 100 * TOLERANCE * max(map(abs, values.values()))
