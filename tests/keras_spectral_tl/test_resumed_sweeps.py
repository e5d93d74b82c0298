"""Rows that a sweep finds in its folder are those that it would train."""

import keras
import numpy as np
import pytest

from keras_spectral_tl.freezing import FiltersOf, KernelsOf, OutputGain, freeze_layers
from keras_spectral_tl.transfer import LearningRates, oracle_sweep
from tests.keras_spectral_tl.common import noise, plain

pytestmark = pytest.mark.once

X, TEST_X = noise(8, 4), noise(8, 4, seed=1)
DATA, TEST = (X, X[:, :1] * X[:, 1:2]), (TEST_X, TEST_X[:, :1] * TEST_X[:, 1:2])
QUICK = {"epochs": 2, "batch_size": 4, "progress": False}


def _rows(model, folder, data=DATA, test=TEST, **options):
    """Rows of a sweep in a folder, without the time that they took."""
    found = oracle_sweep(model, data, test, directory=folder, **{**QUICK, **options})
    return [{**row, "seconds": 0.0} for row in found.rows]


def test_filters_of_another_basis_are_trained_anew(tmp_path):
    model = keras.Sequential(
        [keras.Input((6, 2)), keras.layers.Conv1D(1, 3, padding="same", name="a")]
    )
    fields, other = noise(4, 6, 2), noise(4, 6, 2, seed=1)
    data, test = (fields, fields[..., :1]), (other, other[..., :1])
    first, second = ([FiltersOf("a", basis=np.eye(3)[rows])] for rows in ([0], [1]))
    before = _rows(model, tmp_path / "one", data, test, arms=first)
    assert _rows(model, tmp_path / "one", data, test, arms=first) == before
    with pytest.warns(UserWarning, match="other weights"):
        found = _rows(model, tmp_path / "one", data, test, arms=second)
    assert found == _rows(model, tmp_path / "fresh", data, test, arms=second)
    assert found != before


@pytest.mark.parametrize(
    "how", [{"layers": ["a"]}, {"arms": [["a", OutputGain()]]}], ids=["layers", "arms"]
)
def test_a_layer_of_which_a_weight_was_frozen_meanwhile_is_trained_anew(how, tmp_path):
    model = plain()
    whole = _rows(model, tmp_path / "one", **how)
    assert _rows(model, tmp_path / "one", **how) == whole
    freeze_layers(model, KernelsOf("a"))
    with pytest.warns(UserWarning, match="other weights"):
        parts = _rows(model, tmp_path / "one", **how)
    assert whole[0]["num_parameters"] - parts[0]["num_parameters"] == 4 * 4
    assert parts == _rows(model, tmp_path / "fresh", **how)
    assert parts == _rows(model, tmp_path / "one", **how)


def test_weights_without_decay_make_another_sweep(tmp_path):
    model = plain()
    optimizers = [keras.optimizers.AdamW(0.01, weight_decay=1.0) for _ in range(2)]
    optimizers[1].exclude_from_weight_decay(var_names=["kernel"])
    _rows(model, tmp_path, layers="a", optimizer=optimizers[0])
    with pytest.raises(ValueError, match=r"rows of another sweep.*optimizer"):
        _rows(model, tmp_path, layers="a", optimizer=optimizers[1])


def test_rates_of_another_layer_make_another_sweep(tmp_path):
    model = plain()

    def rates(name):
        return LearningRates([(model.get_layer(name), 0.1)])

    first = _rows(model, tmp_path, layers=["b"], learning_rates=rates("a"))
    again = _rows(model, tmp_path, layers=["b"], learning_rates=rates("a"))
    assert again == first
    with pytest.raises(ValueError, match=r"rows of another sweep.*learning_rates"):
        _rows(model, tmp_path, layers=["b"], learning_rates=rates("b"))
