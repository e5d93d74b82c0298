"""Retraining moves the chosen layers only, repeats bit for bit, refuses bad input."""

import dataclasses
import json
import random
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_spectral_tl as kst
from keras_spectral_tl import freezing, metrics, models, transfer
from keras_spectral_tl._graph.layers import layers_with_weights
from keras_spectral_tl.freezing._changes import TrainableFlags
from keras_spectral_tl.transfer import _loop
from keras_spectral_tl.transfer._retrain import Trainee
from tests.keras_spectral_tl.common import dense, nested, shared

SINGLE = 1e-5  # float32 predictions against float64 sums
QUICK = {"epochs": 2, "batch_size": 4}

RNG = np.random.default_rng(11)
X = RNG.normal(size=(8, 4)).astype("float32")
Y = (X[:, :1] * X[:, 1:2] + 0.1).astype("float32")
FIELDS = RNG.normal(size=(4, 6, 8, 2)).astype("float32")
FORCING = (np.roll(FIELDS[..., :1], 1, axis=1) - FIELDS[..., 1:]).astype("float32")


class Subclassed(keras.Model):
    def __init__(self, **options):
        super().__init__(**options)
        self.first = keras.layers.Dense(3, activation="tanh")
        self.last = keras.layers.Dense(1)

    def call(self, inputs):
        return self.last(self.first(inputs))


def _sequential():
    layers = [dense("a"), keras.layers.Dropout(0.2), dense("b"), dense("c", 1, None)]
    return keras.Sequential([keras.Input((4,)), *layers])


def _skip():
    inputs = keras.Input((4,))
    hidden = keras.layers.Add()([inputs, dense("a")(inputs)])
    hidden = keras.layers.BatchNormalization(name="norm")(hidden)
    return keras.Model(inputs, dense("c", 1, None)(hidden))


def _subclassed():
    model = Subclassed()
    model(X)
    return model


def _depthwise():
    layers = [
        keras.layers.DepthwiseConv2D(3, padding="same", name="depthwise"),
        keras.layers.BatchNormalization(name="norm"),
        keras.layers.Conv2D(1, 1, name="point"),
    ]
    return keras.Sequential([keras.Input((6, 8, 2)), *layers])


def _data_for(build):
    return (FIELDS, FORCING) if build is _depthwise else (X, Y)


@pytest.mark.parametrize(
    "build", [_sequential, _skip, nested, shared, _subclassed, _depthwise]
)
def test_exactly_the_chosen_layer_moves(build):
    model = build()
    before = freezing.layer_hashes(model)
    flags = TrainableFlags.of(model)
    chosen = list(before)[len(before) // 2]
    result = transfer.retrain(model, _data_for(build), chosen, **QUICK)
    assert result.trained == result.changed == (chosen,)
    assert result.hashes_before == before == freezing.layer_hashes(model)
    after = list(freezing.layer_hashes(result.model).values())
    assert list(result.hashes_after.values()) == after
    assert TrainableFlags.of(model) == flags
    assert len(result.history["loss"]) == QUICK["epochs"]
    total = result.num_trainable + result.num_frozen
    assert total == model.count_params() and result.label == chosen


def test_frozen_statistics_stay_and_trained_ones_move():
    model = _skip()
    assert transfer.retrain(model, (X, Y), "a", **QUICK).changed == ("a",)
    assert transfer.retrain(model, (X, Y), "norm", **QUICK).changed == ("norm",)


def test_several_layers_and_all_layers():
    model = _sequential()
    both = transfer.retrain(model, (X, Y), ["c", "a"], **QUICK)
    assert both.changed == ("a", "c") and both.label == "a+c"
    assert transfer.retrain_all(model, (X, Y), **QUICK).changed == ("a", "b", "c")


@pytest.mark.parametrize("build", [_sequential, _depthwise])
def test_equal_seeds_give_equal_bits(build):
    model, data = build(), _data_for(build)
    hashes = []
    for seed in (3, 3, 4):
        keras.utils.set_random_seed(len(hashes))  # must not matter
        result = transfer.retrain(model, data, None, seed=seed, **QUICK)
        hashes.append(result.hashes_after)
    assert hashes[0] == hashes[1] != hashes[2]


def test_global_random_state_is_untouched():
    model = _sequential()
    np.random.seed(4)  # noqa: NPY002 (the global state is the point)
    expected = np.random.get_state()[1].copy()  # noqa: NPY002
    seeds = random.getstate()  # from which Keras takes those of new layers
    transfer.retrain(model, (X, Y), "a", **QUICK)
    transfer.oracle_sweep(model, (X, Y), (X, Y), **QUICK)
    kst.score_layers(model, (X, Y), (X, Y), epochs=2)
    kst.forecast(model, None, (X, Y), ["a", freezing.OutputGain()], epochs=2)
    assert random.getstate() == seeds
    np.testing.assert_array_equal(np.random.get_state()[1], expected)  # noqa: NPY002


def test_every_epoch_shows_every_sample_once_in_a_new_order():
    data = transfer.Samples.of((np.arange(10.0)[:, None], np.arange(10.0)))
    batches = _loop.Batches(data, batch_size=4, seed=1, shuffle=True)
    epochs = []
    for epoch in (0, 1, 0):
        batches.set_epoch(epoch)
        parts = [batches[i] for i in range(len(batches))]
        x, y = (np.concatenate(part) for part in zip(*parts, strict=True))
        np.testing.assert_array_equal(x[:, 0], y)
        assert sorted(y) == list(range(10))
        epochs.append(y.tolist())
    assert epochs[0] == epochs[2] != epochs[1]
    together = _loop.Batches(data, 4, seed=1, shuffle=True, num_epochs=2)
    found = np.concatenate([together[i][1] for i in range(len(together))])
    assert found.tolist() == epochs[0] + epochs[1]


def test_epochs_that_run_through_take_the_same_steps():
    model = _sequential()
    options = {"epochs": 3, "batch_size": 3, "seed": 2, "run_eagerly": True}
    result, through = (
        transfer.retrain(model, (X, Y), "a", epoch_history=kept, **options)
        for kept in (True, False)
    )
    assert result.hashes_after == through.hashes_after
    assert (len(result.history["loss"]), len(through.history["loss"])) == (3, 1)
    seen = []
    watch = keras.callbacks.LambdaCallback(on_epoch_end=lambda e, _: seen.append(e))
    transfer.retrain(
        model, (X, Y), "a", epoch_history=False, callbacks=[watch], **options
    )
    assert seen == [0, 1, 2]


def test_without_shuffling_one_step_equals_keras_fit():
    model = nested()
    expected = models.copy_model(model)
    expected.compile(keras.optimizers.SGD(0.1), "mean_squared_error")
    expected.fit(X, Y, batch_size=8, epochs=1, verbose=0, shuffle=False)
    result = transfer.retrain(
        model, (X, Y), None, optimizer=keras.optimizers.SGD(0.1), epochs=1,
        batch_size=8, shuffle=False,
    )  # fmt: skip
    for new, old in zip(result.model.weights, expected.weights, strict=True):
        np.testing.assert_allclose(np.asarray(new), np.asarray(old), atol=SINGLE)


def test_the_given_optimizer_is_a_pattern_and_stays_unused():
    optimizer = keras.optimizers.SGD(0.05, momentum=0.9)
    for _ in range(2):
        result = transfer.retrain(nested(), (X, Y), "c", optimizer=optimizer, **QUICK)
    assert not optimizer.built
    assert isinstance(result.model.optimizer, keras.optimizers.SGD)
    assert float(result.model.optimizer.learning_rate) == pytest.approx(0.05)


def test_validation_split_takes_the_last_samples():
    result = transfer.retrain(nested(), (X, Y), "c", validation_split=0.5, **QUICK)
    assert len(result.history["val_loss"]) == QUICK["epochs"]
    loss = result.model.evaluate(X[4:], Y[4:], verbose=0)
    assert result.history["val_loss"][-1] == pytest.approx(loss, rel=1e-5)


def test_dataset_and_arrays_train_alike():
    dataset = tf.data.Dataset.from_tensor_slices((X, Y)).batch(3)
    model = nested()
    one = transfer.retrain(model, dataset, "c", **QUICK)
    two = transfer.retrain(model, (X, Y), "c", **QUICK)
    assert one.hashes_after == two.hashes_after
    with pytest.raises(ValueError, match="never ends"):
        transfer.retrain(model, dataset.repeat(), "c", **QUICK)


class _Meddler(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        bias = self.model.get_layer("b").bias
        bias.assign(np.ones(bias.shape))


def test_a_frozen_layer_that_moves_is_caught_and_named():
    with pytest.raises(RuntimeError, match=r"Frozen layer\(s\) b changed while only c"):
        transfer.retrain(_sequential(), (X, Y), "c", callbacks=_Meddler(), **QUICK)


NAN = np.where(np.arange(8)[:, None] == 7, np.nan, X)


@pytest.mark.parametrize(
    ("data", "layers", "error", "message"),
    [
        ((X[:0], Y[:0]), "a", ValueError, "no samples"),
        ((X, Y[:3]), "a", ValueError, r"\[8\] samples in x and 3 in y"),
        ((NAN, Y), "a", ValueError, "x of .* 4 NaN .* first in sample 7"),
        ((X, np.full_like(Y, np.inf)), "a", ValueError, "y of .* has 8 NaN"),
        ((X, Y[:, 0]), "a", ValueError, r"shape \(1,\), but y has .* shape \(\)"),
        ((X, Y.astype("complex64")), "a", ValueError, "in y of .* complex64"),
        ((X, 1.0), "a", ValueError, "Received a scalar"),
        (X, "a", TypeError, "Received ndarray"),
        ((X, Y), "aa", KeyError, "'aa'.*Did you mean 'a'"),
        ((X, Y), [], ValueError, "chose no layer"),
    ],
)
def test_bad_data_and_layers_are_refused(data, layers, error, message):
    with pytest.raises(error, match=message):
        transfer.retrain(_sequential(), data, layers, **QUICK)


def test_a_model_without_weights_is_refused():
    model = keras.Sequential([keras.Input((4,)), keras.layers.ReLU()], name="bare")
    with pytest.raises(ValueError, match="'bare' has no weights"):
        transfer.retrain(model, (X, X), None)


def test_layers_without_trainable_weights_are_refused():
    normalize = keras.layers.Normalization(name="scale")
    model = keras.Sequential([keras.Input((4,)), normalize, dense("c", 1)])
    normalize.adapt(X)
    with pytest.raises(ValueError, match=r"scale .*no trainable weights"):
        transfer.retrain(model, (X, Y), "scale")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"seed": -1}, ValueError, "seed=-1"),
        ({"seed": 1.5}, TypeError, "seed=1.5"),
        ({"x": X}, TypeError, r"fit option\(s\) x"),
        ({"steps_per_epoch": 2}, TypeError, "steps_per_epoch"),
        ({"loss": []}, ValueError, r"Expected a loss\. Received loss=\[\]"),
        ({"loss": [None]}, ValueError, "Expected a loss"),
        ({"callbacks": 0}, TypeError, "callbacks as .*Received 0"),
        ({"callbacks": [print]}, TypeError, "callbacks as .*print"),
        (
            {"batch_size": "4"},
            TypeError,
            "batch_size as a whole number .* batch_size='4'",
        ),
        ({"batch_size": 0}, ValueError, "batch_size=0"),
        ({"validation_split": 0.99}, ValueError, "validation_split=0.99 of 8"),
    ],
)
def test_bad_options_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        transfer.retrain(_sequential(), (X, Y), "a", **options)


def test_a_loss_that_is_not_finite_stops_with_epoch_and_remedy():
    optimizer = keras.optimizers.SGD(1e30)
    with pytest.raises(FloatingPointError, match=r"in epoch 2.*smaller learning rate"):
        transfer.retrain(
            _sequential(), (X, Y), "c", optimizer=optimizer, epochs=9, batch_size=8
        )


def test_weights_that_are_not_finite_at_the_end_are_caught():
    optimizer = keras.optimizers.SGD(1e30)
    with pytest.raises(FloatingPointError, match="weights of layer 'c'"):
        transfer.retrain(
            _sequential(), (X, 1e10 * Y), "c", optimizer=optimizer, epochs=1,
            batch_size=8,
        )  # fmt: skip


def _tail_of_nested(network):
    inputs = keras.Input((4,))
    return keras.Model(inputs, network.get_layer("c")(inputs))


def _train_nested(model, build_suffix):
    trainee = Trainee.of(model, "c")
    suffix, samples = build_suffix(trainee.network.model)
    options = transfer.RetrainOptions.of(QUICK)
    return trainee, suffix, trainee.fit(samples, options, suffix)


def _behind_the_encoder(network):
    activations = network.get_layer("in").predict(X, verbose=0)
    return _tail_of_nested(network), transfer.Samples.of((activations, Y))


def test_a_suffix_behind_a_frozen_prefix_trains_the_network():
    model = nested()
    trainee, suffix, fitted = _train_nested(model, _behind_the_encoder)
    whole = transfer.retrain(model, (X, Y), "c", **QUICK)
    before = whole.weight_hashes_before
    assert {p for p in before if fitted.hashes[p] != before[p]} == {
        "c/kernel",
        "c/bias",
    }
    pairs = zip(trainee.network.model.weights, whole.model.weights, strict=True)
    for new, old in pairs:
        np.testing.assert_allclose(np.asarray(new), np.asarray(old), atol=SINGLE)
    assert int(suffix.optimizer.iterations) == 4


def test_a_suffix_with_other_weights_is_refused():
    other = models.copy_model(nested())
    with pytest.raises(RuntimeError, match=r"expected .*c/kernel.*another weight"):
        _train_nested(nested(), lambda network: _behind_the_encoder(other))


def test_sweep_rows_are_single_retrainings():
    model, seen = nested(), []
    sweep = transfer.oracle_sweep(
        model, (X, Y), (X, Y), progress=seen.append, seed=5, **QUICK
    )
    assert list(sweep.cc) == ["in/a", "in/b", "c"] and list(sweep.rows) == seen
    alone = transfer.retrain(model, (X, Y), "in/b", seed=5, **QUICK)
    outputs = alone.model.predict(X, verbose=0)
    row = sweep.rows[1]
    # The sweep starts from stored activations: equal to round-off. A sample holds one
    # value here, so the pattern is that of all samples.
    cc = np.corrcoef(Y[:, 0], outputs[:, 0])[0, 1]
    error = metrics.relative_rmse(Y, outputs)
    assert row["cc"] == sweep.cc["in/b"] == pytest.approx(cc, abs=SINGLE)
    assert row["relative_rmse"] == pytest.approx(error, rel=SINGLE)
    assert row["num_parameters"] == alone.num_trainable and row["seconds"] > 0
    assert freezing.layer_hashes(alone.model) == alone.hashes_after


def test_sweep_tries_chosen_layers_and_skips_statistics():
    normalize = keras.layers.Normalization(name="scale")
    layers = [normalize, dense("a"), dense("c", 1, None)]
    model = keras.Sequential([keras.Input((4,)), *layers])
    normalize.adapt(X)
    assert list(transfer.oracle_sweep(model, (X, Y), (X, Y), epochs=1).cc) == ["a", "c"]
    some = transfer.oracle_sweep(model, (X, Y), (X, Y), layers=["c"], epochs=1)
    assert list(some.cc) == ["c"]


def test_sweep_errors_name_the_layer():
    with pytest.raises(FloatingPointError) as caught:
        transfer.oracle_sweep(
            _sequential(), (X, Y), (X, Y), layers="c", epochs=5,
            optimizer=keras.optimizers.SGD(1e30),
        )  # fmt: skip
    assert "'c' was retrained alone" in caught.value.__notes__[0]


ROWS = (
    {"layer": "a", "cc": float("nan"), "relative_rmse": 2.0, "seconds": 1.0},
    {"layer": "b", "cc": 0.5, "relative_rmse": 1.0, "seconds": 1.0},
    {"layer": "c", "cc": 0.25, "relative_rmse": 1.5, "seconds": 1.0},
)


def test_best_ignores_nan_and_json_is_strict(tmp_path):
    sweep = transfer.SweepResult(ROWS)
    assert sweep.best == "b"
    text = sweep.to_json(tmp_path / "sweep.json").read_text()
    assert "NaN" not in text
    document = json.loads(text)
    assert document["best"] == "b" and document["rows"][0]["cc"] is None
    assert document["rows"][2] == ROWS[2]


def test_frame_has_one_row_a_layer():
    frame = transfer.SweepResult(ROWS).to_frame()
    assert list(frame["layer"]) == ["a", "b", "c"] and frame["cc"]["b"] == 0.5


def test_missing_pandas_is_explained(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="pip install pandas"):
        transfer.SweepResult(ROWS).to_frame()


@pytest.mark.parametrize("build", [nested, _subclassed, _depthwise])
def test_gain_is_the_least_squares_one(build):
    model, (x, y) = build(), _data_for(build)
    outputs = model.predict(x, verbose=0).astype(np.float64)
    result = transfer.fit_output_gain(model, (x, y))
    gain = result.history["gain"][0]
    expected = np.linalg.lstsq(outputs.reshape(-1, 1), y.ravel(), rcond=None)[0][0]
    assert gain == pytest.approx(expected, rel=SINGLE)
    scaled = result.model.predict(x, verbose=0)
    np.testing.assert_allclose(scaled, gain * outputs, atol=SINGLE)
    assert result.changed == () and result.hashes_before == result.hashes_after
    assert result.row((x, y))["num_parameters"] == 1


def test_gain_of_a_zero_output_is_refused():
    model = nested()
    for weight in model.weights:
        weight.assign(np.zeros(weight.shape))
    with pytest.raises(ValueError, match=r"No gain fits.* is 0.0"):
        transfer.fit_output_gain(model, (X, Y))


@pytest.mark.parametrize("build", [_sequential, _skip, _subclassed])
def test_from_scratch_forgets_the_model_and_repeats(build):
    model = build()
    first = transfer.from_scratch(model, (X, Y), seed=2, **QUICK)
    for weight in layers_with_weights(model).values():
        for variable in weight.weights:
            variable.assign(RNG.uniform(0.5, 1.0, variable.shape))
    again = transfer.from_scratch(model, (X, Y), seed=2, **QUICK)
    assert first.hashes_after == again.hashes_after
    assert again.changed == tuple(layers_with_weights(model))


def test_all_kinds_of_results_make_one_table():
    model = nested()
    results = [
        transfer.retrain(model, (X, Y), "c", **QUICK),
        transfer.fit_output_gain(model, (X, Y)),
        transfer.retrain_all(model, (X, Y), **QUICK),
        transfer.from_scratch(model, (X, Y), **QUICK),
    ]
    rows = [result.row((X, Y)) for result in results]
    assert [row["layer"] for row in rows] == ["c", "gain_only", "all", "from_scratch"]
    assert len({tuple(row) for row in rows}) == 1
    assert all(np.isfinite(row["cc"]) for row in rows)


def test_training_lowers_the_error():
    model = models.build_sgs_cnn((6, 8, 2), num_layers=2, num_filters=4, kernel_size=3)
    before = metrics.relative_rmse(FORCING, model.predict(FIELDS, verbose=0))
    optimizer = keras.optimizers.Adam(1e-2)
    result = transfer.retrain(
        model, (FIELDS, FORCING), "conv_2", optimizer=optimizer, epochs=20, batch_size=4
    )
    assert result.row((FIELDS, FORCING))["relative_rmse"] < 0.9 * before


def test_a_result_of_a_hundred_layers_is_printed_in_a_few_lines():
    result = transfer.retrain(_skip(), (X, Y), "a", **QUICK)
    names = [f"block_{number}_convolution" for number in range(100)]
    before, after = ({name: value for name in names} for value in "ab")
    many = dataclasses.replace(
        result, label="+".join(names), hashes_before=before, hashes_after=after
    )
    assert "block_4_convolution and 95 others" in repr(many)
    row = {"layer": many.label, "cc": 0.5, "relative_rmse": 0.5}
    sweep = transfer.SweepResult((row,))
    assert max(len(repr(one)) for one in (many, sweep)) < 400
