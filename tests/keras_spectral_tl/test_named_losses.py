"""A loss by the name of the output is that of the one output."""

import numpy as np
import pytest

from keras_spectral_tl import transfer
from tests.keras_spectral_tl.common import nested


@pytest.mark.parametrize(
    "named",
    [
        {"loss": {"c": "mae"}},
        {"loss": ["mae"]},
        {"loss": {"c": "mae"}, "loss_weights": {"c": 3.0}},
    ],
)
def test_a_loss_may_be_given_by_the_name_of_the_output(named):
    """Although the part of the network that is trained names its output otherwise."""
    x = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")
    data, test = (x[:6], x[:6, :1]), (x[6:], x[6:, :1])
    model, scaled = nested(), {n: 3.0 for n in ("loss_weights",) if n in named}
    how = {"epochs": 2, "batch_size": 4}
    plainly = {"loss": "mae"} | {name: [value] for name, value in scaled.items()}
    found, expected = (
        transfer.oracle_sweep(model, data, test, layers=["c"], **how, **each)
        for each in (named, plainly)
    )
    assert found.rows[0]["relative_rmse"] == expected.rows[0]["relative_rmse"]
    result = transfer.retrain(model, data, "c", **how, **named)
    assert result.hashes_after == (
        transfer.retrain(model, data, "c", **how, **plainly).hashes_after
    )
    with pytest.raises(KeyError, match=r"name of the output, 'c'.*'wrong'"):
        transfer.retrain(model, data, "c", loss={"wrong": "mae"}, **how)
