"""Weights are matched by place, and a retraining that moved nothing is an error."""

import keras
import numpy as np
import pytest

from keras_spectral_tl import freezing, transfer
from keras_spectral_tl._graph.calls import called_layers
from tests.keras_spectral_tl.common import probe_then_all

CosineDecay = keras.optimizers.schedules.CosineDecay
QUICK = {"epochs": 2, "batch_size": 4, "run_eagerly": True}
RNG = np.random.default_rng(3)
X = RNG.normal(size=(8, 3)).astype("float32")
Y = RNG.normal(size=(8, 2)).astype("float32")


class Linear(keras.layers.Layer):
    """Written as in the guide of Keras: its weights have no names."""

    def __init__(self, units=2, **options):
        super().__init__(**options)
        self.units = units

    def build(self, shape):
        self.w = self.add_weight(shape=(shape[-1], self.units), initializer="ones")
        self.b = self.add_weight(shape=(self.units,), initializer="zeros")

    def call(self, x):
        return keras.ops.matmul(x, self.w) + self.b

    def get_config(self):
        return {**super().get_config(), "units": self.units}


def _unnamed():
    return keras.Sequential([keras.Input((3,)), Linear(4, name="k"), Linear(name="l")])


def test_weights_without_a_name_are_retrained():
    model = _unnamed()
    result = transfer.retrain(model, (X, Y), "l", epochs=4, batch_size=4)
    assert result.trained == result.changed == ("l",)
    assert result.history["loss"][-1] < result.history["loss"][0]
    assert set(result.changed_weights) == {
        path for path in freezing.weight_hashes(model) if path.startswith("l/")
    }
    keras.utils.clear_session()  # names of the copy now overlap those of the model
    again = transfer.retrain(model, (X, Y), "l", epochs=4, batch_size=4)
    assert again.hashes_after == result.hashes_after
    everything = transfer.retrain_all(model, (X, Y), **QUICK)
    assert everything.changed == ("k", "l")
    assert transfer.from_scratch(model, (X, Y), **QUICK).changed == ("k", "l")
    assert everything.to_dict()["changed_weights"]


def test_weights_without_a_name_are_swept_and_keep_parts_apart():
    model = _unnamed()
    sweep = transfer.oracle_sweep(model, (X, Y), (X, Y), **QUICK)
    errors = [row["relative_rmse"] for row in sweep.rows]
    assert errors[0] != errors[1]
    for row in sweep.rows:
        alone = transfer.retrain(model, (X, Y), row["layer"], **QUICK).row((X, Y))
        assert row["relative_rmse"] == pytest.approx(alone["relative_rmse"], rel=1e-5)
    gain = transfer.retrain(model, (X, Y), ["l", freezing.OutputGain()], **QUICK)
    assert gain.changed == ("l",) and "output_gain" in gain.trained


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": keras.optimizers.SGD(1e-12)},
        {"optimizer": keras.optimizers.SGD(CosineDecay(1e-12, 2))},  # 0 at the end
        {"optimizer": keras.optimizers.Adam(gradient_accumulation_steps=50)},
    ],
)
def test_a_retraining_that_moved_nothing_is_an_error(options):
    model = _unnamed()
    model.layers[-1].w.assign(np.full((4, 2), 7.0))
    model.layers[-1].b.assign(np.full(2, 9.0))
    with pytest.raises(RuntimeError, match="No weight of l has moved"):
        transfer.retrain(model, (X, Y), "l", **options, **QUICK)


def test_a_learning_rate_of_zero_and_a_loss_of_zero_may_move_nothing():
    model = _unnamed()
    still = keras.optimizers.SGD(0.0)
    assert transfer.retrain(model, (X, Y), "l", optimizer=still, **QUICK).changed == ()
    for weight in model.weights[-2:]:
        weight.assign(np.zeros(weight.shape))
    exact = (X, np.zeros_like(Y))
    result = transfer.retrain(
        model, exact, "l", optimizer=keras.optimizers.SGD(), batch_size=8, epochs=1,
        run_eagerly=True,
    )  # fmt: skip
    assert result.changed == ()


class Reversed(keras.Model):
    """Attributes in another order than the calls."""

    def __init__(self, **options):
        super().__init__(**options)
        self.o = keras.layers.Dense(2, name="o")
        self.a = keras.layers.Dense(3, name="a")

    def call(self, inputs):
        return self.o(self.a(inputs))


def test_the_last_layer_is_the_last_one_called():
    model = Reversed()
    model(X)
    assert called_layers(model) == ("a", "o")
    table = transfer.baselines(model, (X, Y), (X, Y), include=["last_layer"], **QUICK)
    assert table.rows[0]["num_parameters"] == 3 * 2 + 2
    probe = probe_then_all(model, (X, Y), **QUICK)
    assert probe.provenance["first_stage"]["layers"] == ["o"]
    factors = transfer.LearningRates.decaying(model, decay=0.5).by_variable(model)
    assert factors["a/kernel"] == 0.5 and factors["o/kernel"] == 1.0


class Counter(keras.layers.Layer):
    """Counts its calls, frozen or not."""

    def build(self, shape):
        self.count = self.add_weight(shape=(), initializer="zeros", trainable=False)

    def call(self, inputs):
        self.count.assign(self.count + 1.0)
        return inputs


def test_checking_the_shape_leaves_the_state_of_the_model():
    layers = [Counter(name="ctr"), keras.layers.Dense(2, name="out")]
    model = keras.Sequential([keras.Input((3,)), *layers])
    before = freezing.weight_hashes(model)
    with pytest.raises(RuntimeError, match=r"ctr changed.*choose ctr as well"):
        transfer.retrain(model, (X, Y), "out", **QUICK)
    assert freezing.weight_hashes(model) == before


def test_one_epoch_is_refused_before_any_baseline_is_trained():
    seen = []
    with pytest.raises(ValueError, match=r"two stages.*epochs=1"):
        transfer.baselines(_unnamed(), (X, Y), (X, Y), epochs=1, progress=seen.append)
    assert seen == []


def test_a_dict_of_one_output_is_named_so():
    inputs = keras.Input((3,))
    model = keras.Model(inputs, {"y": keras.layers.Dense(2)(inputs)})
    with pytest.raises(ValueError, match=r"returns a dict of 1 output\(s\)"):
        transfer.retrain(model, (X, Y), None)


def test_results_print_in_a_few_lines():
    result = transfer.retrain(_unnamed(), (X, Y), "l", **QUICK)
    assert "'l'" in repr(result) and len(repr(result)) < 300
    rows = [
        {"layer": f"conv_{n}", "cc": 0.5 + n / 1000, "relative_rmse": 1.0}
        for n in range(40)
    ]
    text = repr(transfer.SweepResult(tuple(rows))).splitlines()
    assert len(text) <= 25 and "conv_39" in text[1] and "20 more" in text[-1]
