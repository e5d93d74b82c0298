"""Layers that write their own weights while frozen: retrained whole or refused."""

import keras
import numpy as np
import pytest

import keras_spectral_tl as kst
from keras_spectral_tl.freezing import BiasesOf, OutputGain
from keras_spectral_tl.scoring import Arm
from keras_spectral_tl.transfer._arms import SelfWritten

L = keras.layers
RNG = np.random.default_rng(0)
X = RNG.normal(size=(10, 6, 6, 2)).astype("float32")
Y = (np.roll(X[..., :1], 1, axis=1) + 0.3).astype("float32")
TARGET, TEST = (X[:6], Y[:6]), (X[6:], Y[6:])
HOW = {"epochs": 1, "batch_size": 3}


@keras.saving.register_keras_serializable(package="tests_self_written")
class Counting(L.Layer):
    """Counts its calls in training mode, whatever its flags."""

    def build(self, shape):
        self.calls = self.add_weight(shape=(), name="calls", trainable=False)

    def call(self, inputs, training=False):
        if training:
            self.calls.assign_add(1.0)
        return inputs


def network(*between, spectral=True):
    keras.utils.set_random_seed(0)
    first = L.Conv2D(4, 3, padding="same", activation="tanh", name="c")
    if spectral:
        first = L.SpectralNormalization(first, name="s")
    last = L.Conv2D(1, 3, padding="same", name="o")
    return keras.Sequential([keras.Input((6, 6, 2)), first, *between, last])


def test_what_is_written_is_found_without_a_change_of_the_model():
    model = network(Counting(name="n"))
    before = [np.array(value) for value in model.get_weights()]
    found = SelfWritten.of(model, X)
    expected = {"s/own/kernel", "s/own/vector_u", "s/c/kernel", "n/calls"}
    assert set(found.paths) == expected
    assert found.layers == ("n", "s")
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    kept = network(L.BatchNormalization(), L.Dropout(0.5), spectral=False)
    assert SelfWritten.of(kept, X).paths == ()


def test_a_forecast_tries_only_what_can_be_retrained():
    model = network()
    found = kst.forecast(model, None, TARGET, steps=4, batch_size=3)
    labels = [row.label for row in found.rows]
    assert "s" in labels and "all layers" in labels
    assert not {"s/c", "o", "biases"} & set(labels)
    assert "Left out: " in found.reason and "Layer(s) s write" in found.reason
    rows = found.measure(model, TARGET, TEST).rows  # a retraining of each
    assert [row["layer"] for row in rows] == labels


@pytest.mark.parametrize(
    "layers", ["s/c", "o", BiasesOf(), ["o", OutputGain(initial=2.0)]]
)
def test_an_arm_that_would_be_refused_is_so_before_anything_trains(layers):
    model = network()
    message = r"Layer\(s\) s write their own weights.*Train s along with it"
    arms = [Arm("mine", layers)]
    with pytest.raises(ValueError, match=message):
        kst.forecast(model, None, TARGET, arms, steps=4)
    with pytest.raises(ValueError, match=message):
        kst.oracle_sweep(model, TARGET, TEST, arms=arms, **HOW)
    with pytest.raises(RuntimeError, match="Frozen"):
        kst.retrain(model, TARGET, layers, **HOW)


def test_a_sweep_leaves_out_what_would_be_refused_and_says_so():
    model = network()
    with pytest.warns(UserWarning, match=r"Left out: s/c, o\. Layer\(s\) s write"):
        sweep = kst.oracle_sweep(model, TARGET, TEST, **HOW)
    assert list(sweep.cc) == ["s/own", "s/own+s/c"]  # both hold the kernel
    arms = ["s", ("s", "o"), Arm("unchanged", ()), OutputGain()]
    assert len(kst.oracle_sweep(model, TARGET, TEST, arms=arms, **HOW).rows) == 4
