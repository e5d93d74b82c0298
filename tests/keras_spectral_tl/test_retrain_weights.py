"""Weights are matched by place, and a retraining that moved nothing is an error."""

import keras
import numpy as np
import pytest

from keras_spectral_tl import freezing, transfer
from keras_spectral_tl._graph.calls import called_layers
from keras_spectral_tl.transfer._sweep_rows import PackedModel
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


def _two():
    layers = [keras.layers.Dense(4, name="a"), keras.layers.Dense(2, name="b")]
    return keras.Sequential([keras.Input((3,)), *layers])


@pytest.mark.parametrize("nest", [lambda x, y: [[x], [y]], lambda x, y: ((x, y),)])
def test_a_part_inside_a_list_of_lists_is_added(nest):
    flat, inner = ["a", freezing.LowRankOf("b", rank=1)], None
    inner = transfer.retrain(_two(), (X, Y), nest(*flat), **QUICK)
    outer = transfer.retrain(_two(), (X, Y), flat, **QUICK)
    assert inner.num_trainable == outer.num_trainable == (3 * 4 + 4) + (4 + 2)
    gained = transfer.retrain(_two(), (X, Y), nest("a", freezing.OutputGain()), **QUICK)
    assert "output_gain" in gained.trained


def _by_hand(model):
    model.get_layer("a").kernel.trainable = False


def _by_function(model):
    freezing.freeze_layers(model, freezing.KernelsOf("a"))


@pytest.mark.parametrize("freeze", [_by_hand, _by_function])
def test_weights_frozen_one_by_one_stay_so_in_both_stages(freeze):
    model, names = _two(), ["all", "probe_then_all"]
    freeze(model)
    table = transfer.baselines(model, (X, Y), (X, Y), include=names, **QUICK)
    assert [row["num_parameters"] for row in table.rows] == [4 + 4 * 2 + 2] * 2
    copy = transfer.retrain(model, (X, Y), None, **QUICK).model
    assert not copy.get_layer("a").kernel.trainable
    packed = PackedModel(model).unpacked()
    assert freezing.select_layers(packed, None) == freezing.select_layers(model, None)


def test_weights_that_the_user_froze_stay_so_in_a_retraining_of_a_result():
    model = _two()
    _by_hand(model)
    last = transfer.retrain(model, (X, Y), "b", **QUICK).model
    result = transfer.retrain(last, (X, Y), None, **QUICK)
    assert set(result.changed_weights) == {"a/bias", "b/kernel", "b/bias"}


def test_a_second_gain_is_told_from_the_first():
    first = transfer.retrain(_two(), (X, Y), freezing.OutputGain(initial=2.0), **QUICK)
    second = transfer.retrain(first.model, (X, Y), freezing.OutputGain(), **QUICK)
    assert second.trained == ("output_gain_2",) and second.num_trainable == 1
    kept = first.weight_hashes_after["output_gain/output_gain"]
    assert second.weight_hashes_after["output_gain/output_gain"] == kept
    new = second.model.layers[-1].gain
    found = second.weight_hashes_after["output_gain_2/output_gain"]
    assert found == freezing._changes.hash_of([new])


@pytest.mark.parametrize("steps", [None, 3])
def test_moments_of_accumulated_gradients_are_carried(steps):
    model = _two()
    model.compile(keras.optimizers.Adam(gradient_accumulation_steps=2), "mse")
    model.fit(X, Y, batch_size=2, epochs=3, verbose=0)  # 12 batches, 6 steps
    optimizer = keras.optimizers.Adam(0.0, gradient_accumulation_steps=steps or 2)
    result = transfer.retrain(
        model, (X, Y), None, optimizer_state_from=model, optimizer=optimizer, epochs=3,
        batch_size=2,
    )  # fmt: skip
    assert int(result.model.optimizer.iterations) == 6 + 12 // (steps or 2)


def test_labels_leave_the_gain_out_of_the_baselines():
    labels = np.arange(8) % 2
    layers = [keras.layers.Dense(4), keras.layers.Dense(2, activation="softmax")]
    model = keras.Sequential([keras.Input((3,)), *layers])
    options = {**QUICK, "loss": "sparse_categorical_crossentropy"}
    table = transfer.baselines(model, (X, labels), (X, labels), **options)
    assert "gain_only" not in table.cc and "all" in table.cc
    with pytest.raises(ValueError, match="integer labels"):
        transfer.baselines(
            model, (X, labels), (X, labels), include=["gain_only"], **options
        )
    with pytest.raises(ValueError, match="normalization of y has changed"):
        transfer.retrain(
            model, (X, labels), None, normalization=transfer.RefitOnTarget(), **options
        )


def test_baselines_that_carry_moments_have_no_rates_by_layer():
    model = _two()
    model.compile("adam", "mse")
    model.fit(X, Y, verbose=0)
    options = {**QUICK, "optimizer_state_from": model}
    table = transfer.baselines(model, (X, Y), (X, Y), **options)
    assert "layerwise_rates" not in table.cc and "from_scratch" in table.cc
    rows = []
    with pytest.raises(TypeError, match="layerwise_rates needs"):
        transfer.baselines(
            model, (X, Y), (X, Y), include=["unchanged", "layerwise_rates"],
            progress=rows.append, **options,
        )  # fmt: skip
    assert not rows


class Unnamed(Reversed):
    """Copies have other automatic names."""

    def __init__(self, **options):
        keras.Model.__init__(self, **options)
        self.o, self.a = keras.layers.Dense(2), keras.layers.Dense(3)


def test_two_stages_of_a_subclassed_model_have_the_rates_of_its_layers():
    model = Unnamed()
    model(X)
    name = called_layers(model)[0]
    rates = {"learning_rates": transfer.LearningRates([(name, 0.1)])}
    names = ["probe_then_all"]
    table = transfer.baselines(model, (X, Y), (X, Y), include=names, **rates, **QUICK)
    assert table.rows[0]["num_parameters"] == model.count_params()


def test_a_sweep_that_refits_layers_has_no_models():
    norm = keras.layers.Normalization(name="norm")
    norm.adapt(X)
    model = keras.Sequential([keras.Input((3,)), norm, *_two().layers])
    refit = transfer.RefitNormalizationLayers()
    sweep = transfer.oracle_sweep(
        model, (X, Y), (X + 0.1, Y), normalization=refit, **QUICK
    )
    with pytest.raises(KeyError, match=r"RefitNormalizationLayers.*Retrain that arm"):
        sweep.model(model, "a")


def test_a_gain_of_zero_that_the_data_lead_to_is_explained():
    gain = freezing.OutputGain(initial=None)
    with pytest.raises(ValueError, match=r"best is 0.*initial=None"):
        transfer.retrain(_two(), (X, 0.0 * Y), ["a", gain], **QUICK)


@pytest.mark.parametrize("every", [3, [4]])
def test_held_out_samples_that_no_epoch_looks_at_are_refused(every):
    stopping = transfer.HeldOutStopping()
    with pytest.raises(ValueError, match=r"Received validation_freq=.*epochs=2"):
        transfer.retrain(
            _two(), (X, Y), "a", early_stopping=stopping, validation_freq=every, **QUICK
        )
