"""Calls that train, with models and data so small that many of them take seconds."""

from typing import Any

import numpy as np
import pytest

from keras_spectral_tl import models, score_layers, scoring, transfer
from tests.fuzz.junk import DOCUMENTED, fuzz

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(4, 8, 8, 2)), RNG.normal(size=(4, 8, 8, 1))
MODEL = models.build_sgs_cnn((8, 8, 2), num_layers=2, num_filters=2, kernel_size=3)
FIT = {
    "optimizer": "adam", "loss": "mse", "seed": 0, "batch_size": 4, "shuffle": True,
    "verbose": 0, "callbacks": None, "early_stopping": None, "normalization": None,
    "learning_rates": None, "optimizer_state_from": None,
}  # fmt: skip
ALWAYS: dict[str, Any] = {"epochs": 1, "run_eagerly": True}  # no graph for each call
TESTED = {"model": MODEL, "target_data": (X, Y), "test_data": (X[:2], Y[:2])}
CASES: dict[str, tuple[Any, dict[str, Any]]] = {
    "retrain": (
        lambda **arguments: transfer.retrain(**arguments, **ALWAYS),
        {"model": MODEL, "target_data": (X, Y), "layers": "conv_2", **FIT},
    ),
    "oracle_sweep": (
        lambda **arguments: transfer.oracle_sweep(**arguments, **ALWAYS),
        {**TESTED, "layers": ["conv_2"], "progress": None, "executor": None, **FIT},
    ),
    "transfer.baselines": (
        lambda **arguments: transfer.baselines(**arguments, **ALWAYS),
        {**TESTED, "include": ["last_layer"], "progress": None, **FIT},
    ),
    "score_layers": (
        score_layers,
        {
            "model": MODEL, "base_data": (X, Y), "target_data": (X[:2], Y[:2]),
            "scorers": [scoring.HeldOutRetraining(steps=2)], "seed": 0, "max_layers": 1,
        },
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_only_documented_errors(name):
    errors = (*DOCUMENTED, KeyError, FloatingPointError)
    fuzz(f"keras_spectral_tl.{name}", *CASES[name], errors)
