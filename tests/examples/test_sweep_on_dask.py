"""A sweep through the executor of a Dask client gives the rows of a sweep here."""

import keras
import numpy as np
import pytest
from dask.distributed import Client, LocalCluster

from keras_spectral_tl import oracle_sweep

# Float32 training of a few steps in another process.
SINGLE = 1e-5


def test_dask_computes_the_rows_of_a_sweep(tmp_path):
    keras.utils.set_random_seed(1)
    layers = [keras.layers.Dense(4, activation="tanh", name=name) for name in "ab"]
    model = keras.Sequential([keras.Input((3,)), *layers, keras.layers.Dense(1)])
    x = np.random.default_rng(0).normal(size=(8, 3)).astype("float32")
    data, seen = (x, x[:, :1] * x[:, 1:2]), []
    options = {"layers": ["a", "b"], "epochs": 2, "batch_size": 4, "run_eagerly": True}
    here = oracle_sweep(model, data, data, **options)
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0") as it,
        Client(it) as client,
    ):
        there = oracle_sweep(
            model, data, data, executor=client.get_executor(), directory=tmp_path,
            progress=seen.append, **options,
        )  # fmt: skip
    assert sorted(row["layer"] for row in seen) == ["a", "b"]
    for layer, cc in here.cc.items():
        assert there.cc[layer] == pytest.approx(cc, abs=SINGLE)
    assert oracle_sweep(model, data, data, directory=tmp_path, **options).cc == there.cc
