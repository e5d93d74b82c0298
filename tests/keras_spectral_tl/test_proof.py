"""Frozen weights keep their bits and free ones move, however a model is trained."""

import contextlib

import keras
import numpy as np
import pytest

from keras_spectral_tl import freezing, models, scoring, transfer
from keras_spectral_tl._graph.layers import fetch, layers_with_weights
from keras_spectral_tl.freezing import (
    BiasesOf,
    KernelsOf,
    LowRankOf,
    NormalizationOf,
    OutputGain,
    StatisticsOf,
)
from tests.keras_spectral_tl.common import dense, nested, plain, shared

SINGLE = 1e-5  # float32 against float64
QUICK = {"epochs": 2, "batch_size": 4}
RNG = np.random.default_rng(5)
X = RNG.normal(size=(8, 4)).astype("float32")
Y = (X[:, :1] * X[:, 1:2] + 0.3).astype("float32")
IMAGES = RNG.normal(size=(4, 32, 32, 3)).astype("float32")


def _batch_normalized():
    norm = keras.layers.BatchNormalization(name="norm")
    layers = [dense("a"), norm, dense("c", 1, None)]
    return keras.Sequential([keras.Input((4,)), *layers])


def _without_scale_and_shift():
    norm = keras.layers.BatchNormalization(name="norm", center=False, scale=False)
    layers = [dense("a"), norm, dense("c", 1, None)]
    return keras.Sequential([keras.Input((4,)), *layers])


def _half_precision():
    with _policy("mixed_bfloat16"):
        return _batch_normalized()


@contextlib.contextmanager
def _policy(name):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _accumulating():
    return {"optimizer": keras.optimizers.Adam(1e-2, gradient_accumulation_steps=2)}


@pytest.mark.parametrize(
    ("build", "chosen", "options"),
    [
        (plain, "b", {}),
        (plain, BiasesOf("b"), {}),
        (plain, [KernelsOf("a"), BiasesOf("c")], {}),
        (nested, "in/b", {}),
        (nested, KernelsOf("in/b"), {}),
        (shared, "shared", {}),
        (shared, KernelsOf("shared"), {}),
        (_batch_normalized, "a", {}),
        (_batch_normalized, NormalizationOf(), {}),
        (_half_precision, ["a", BiasesOf("c")], {}),
        (plain, KernelsOf("b"), "accumulating"),
        (plain, BiasesOf(["a", "b"]), {"jit_compile": True}),
        (plain, BiasesOf(["a", "b"]), {"jit_compile": False}),
        (plain, "b", {"steps_per_execution": 2}),
    ],
)
def test_chosen_weights_move_and_all_others_keep_their_bits(build, chosen, options):
    if keras.backend.backend() == "torch" and isinstance(options, dict):
        # Keras has no steps_per_execution there, and compiling takes a C++ compiler
        # and a minute.
        options = {name: False for name in options if name == "jit_compile"}
    options = _accumulating() if options == "accumulating" else options
    model = build()
    before = freezing.weight_hashes(model)
    selection = freezing.select_layers(model, chosen)
    result = transfer.retrain(model, (X, Y), chosen, **QUICK, **options)
    free = set(selection.variables) | set(selection.statistics)
    assert set(result.changed_weights) == free
    assert freezing.weight_hashes(model) == before == result.weight_hashes_before
    assert result.trained == result.changed == selection.names


@pytest.mark.parametrize("build", [plain, nested, shared, _batch_normalized])
def test_flags_set_before_compile_hold_in_a_plain_fit(build):
    model = build()
    weights = list(freezing.weight_hashes(model))
    freezing.freeze_layers(model, KernelsOf())
    model.compile("sgd", "mse")
    before = freezing.weight_hashes(model)
    model.fit(X, Y, epochs=1, batch_size=4, verbose=0)
    after = freezing.weight_hashes(model)
    for path in weights:
        assert (after[path] == before[path]) == path.endswith("kernel"), path


@pytest.mark.parametrize("build", [plain, nested])
def test_flags_changed_after_a_fit_hold_after_compiling_again(build):
    model = build()
    last = list(layers_with_weights(model))[-1]
    model.compile("sgd", "mse")
    model.fit(X, Y, epochs=1, verbose=0)
    with pytest.warns(UserWarning, match="compile"):
        record = freezing.freeze_layers(model, [KernelsOf(last), 0])
    assert record.compile_again
    model.compile("sgd", "mse")
    before = freezing.weight_hashes(model)
    model.fit(X, Y, epochs=1, verbose=0)
    after = freezing.weight_hashes(model)
    still = {path for path in before if after[path] == before[path]}
    first = next(iter(layers_with_weights(model)))
    assert still == {f"{first}/kernel", f"{first}/bias", f"{last}/kernel"}


def _trained(tmp_path, loaded):
    model = plain()
    model.get_layer("b").trainable = False
    model.compile("sgd", "mse")
    model.fit(X, Y, epochs=1, verbose=0)
    if not loaded:
        return model
    model.save(tmp_path / "model.keras")
    return keras.models.load_model(tmp_path / "model.keras")


def _told(model):
    # A model that was loaded has an optimizer, but no training function to ignore it.
    if model.train_function is None:
        return contextlib.nullcontext()
    return pytest.warns(UserWarning, match="compile")


def _refused(model):
    # On JAX the weights are gone then: Keras takes them out of the model for a step.
    with pytest.raises(ValueError, match="optimizer"):
        model.fit(X, Y, epochs=1, verbose=0)


@pytest.mark.parametrize("loaded", [False, True])
def test_a_change_that_keras_would_ignore_is_told_and_never_silent(tmp_path, loaded):
    """Without compiling again TensorFlow would train the weights of before."""
    model = _trained(tmp_path, loaded)
    with _told(model):
        assert freezing.freeze_layers(model, "c").compile_again
    if keras.backend.backend() == "jax":
        _refused(model)
        model = _trained(tmp_path, loaded)
    else:
        before = freezing.layer_hashes(model)
        model.fit(X, Y, epochs=1, verbose=0)
        after = freezing.layer_hashes(model)
        assert [after[name] == before[name] for name in "abc"] == [False, True, True]
    with _told(model):
        assert freezing.unfreeze_layers(model, "b").compile_again
    _refused(model)


def test_a_training_function_lasts_no_longer_than_a_block_of_only_trainable_layers():
    model = plain()
    model.compile("sgd", "mse")
    model.fit(X, Y, epochs=1, verbose=0)
    before = freezing.layer_hashes(model)
    with freezing.only_trainable(model, "b"):
        assert model.train_function is None
        model.compile("sgd", "mse")
        model.fit(X, Y, epochs=1, verbose=0)
    after = freezing.layer_hashes(model)
    assert [after[name] == before[name] for name in "abc"] == [True, False, True]
    _refused(model)


def test_statistics_alone_move_beside_a_trained_layer():
    model = _batch_normalized()
    result = transfer.retrain(model, (X, Y), ["c", StatisticsOf("norm")], **QUICK)
    moved = {"norm/moving_mean", "norm/moving_variance", "c/kernel", "c/bias"}
    assert set(result.changed_weights) == moved


@pytest.mark.parametrize("build", [_batch_normalized, _without_scale_and_shift])
def test_statistics_alone_move_without_a_weight(build):
    """Each of k passes takes 1 % of the way to the moments of the samples."""
    model = build()
    chosen = StatisticsOf("norm") if build is _batch_normalized else "norm"
    result = transfer.retrain(model, (X, Y), chosen, epochs=3, batch_size=8)
    moved = {"norm/moving_mean", "norm/moving_variance"}
    assert set(result.changed_weights) == moved and result.num_trainable == 0
    inputs = fetch(model.get_layer("a")(X)).astype(float)
    norm, left = result.model.get_layer("norm"), 0.99**3
    for values, start, end in (
        (norm.moving_mean, 0.0, inputs.mean(axis=0)),
        (norm.moving_variance, 1.0, inputs.var(axis=0)),
    ):
        expected = left * start + (1.0 - left) * end
        np.testing.assert_allclose(fetch(values), expected, rtol=0, atol=SINGLE)


@pytest.mark.parametrize("whole", [{}, {"cache": None}], ids=["cached", "whole"])
def test_a_sweep_has_a_row_of_statistics_alone(whole):
    model = _batch_normalized()
    options = {**QUICK, "learning_rates": transfer.LearningRates([("c", 0.5)])}
    swept = transfer.oracle_sweep(
        model, (X, Y), (X, Y), arms=[StatisticsOf(), "c"], **options, **whole
    )
    alone = transfer.retrain(model, (X, Y), StatisticsOf(), **options)
    row = {row["layer"]: row for row in swept.rows}["statistics"]
    assert row["relative_rmse"] == pytest.approx(
        alone.row((X, Y))["relative_rmse"], rel=SINGLE
    )


def test_statistics_that_stand_still_are_told_of():
    still = keras.layers.BatchNormalization(name="norm", momentum=1.0)
    model = keras.Sequential([keras.Input((4,)), still, dense("c", 1, None)])
    with pytest.raises(RuntimeError, match=r"No statistic of norm has moved.*momentum"):
        transfer.retrain(model, (X, Y), StatisticsOf(), **QUICK)
    adapted = keras.layers.Normalization(name="norm")
    adapted.adapt(X)
    model = keras.Sequential([keras.Input((4,)), adapted, dense("c", 1, None)])
    with pytest.raises(ValueError, match=r"no moving averages.*RefitNormalizationLay"):
        transfer.retrain(model, (X, Y), "norm", **QUICK)


def test_a_forecast_has_no_arm_of_statistics_alone():
    model = _batch_normalized()
    with pytest.raises(
        ValueError, match=r"'statistics' changes only statistics.*sweep"
    ):
        scoring.forecast(model, None, (X, Y), [StatisticsOf(), "c"], progress=False)


class _Meddler(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        bias = self.model.get_layer("c").bias
        bias.assign(np.ones(bias.shape))


def test_a_frozen_weight_of_a_trained_layer_is_proven_too():
    with pytest.raises(RuntimeError, match=r"Frozen weight\(s\) c/bias changed.*c/k"):
        transfer.retrain(
            plain(), (X, Y), KernelsOf("c"), callbacks=[_Meddler()], **QUICK
        )


def test_low_rank_updates_leave_every_weight_of_the_model():
    model = nested()
    # Two more steps: the second factor starts at zero, so the first moves later.
    result = transfer.retrain(
        model, (X, Y), LowRankOf(["in/b", "c"], rank=1), epochs=4, batch_size=4
    )
    assert result.changed_weights == () and result.trained == ("in/b", "c")
    added = set(result.weight_hashes_after) - set(result.weight_hashes_before)
    expected = {f"{n}/lora_kernel_{f}" for n in ("in/b", "c") for f in "ab"}
    assert added == expected
    assert result.num_trainable == (4 + 4) + (4 + 1)
    before, after = model.predict(X, verbose=0), result.model.predict(X, verbose=0)
    assert np.max(np.abs(after - before)) > 0


def _tokens():
    layers = [
        keras.layers.Embedding(7, 5, name="words"),
        keras.layers.EinsumDense("abc,cd->abd", (3, 4), name="mixed"),
        keras.layers.Flatten(),
        dense("out", 1),
    ]
    return keras.Sequential([keras.Input((3,), dtype="int32"), *layers])


@pytest.mark.parametrize(
    ("build", "x", "kernels"),
    [
        (_tokens, np.arange(24).reshape(8, 3) % 7, "words/embeddings mixed/kernel"),
        (
            lambda: models.build_sgs_cnn((4, 4, 3), 2, 2, kernel_size=3),
            IMAGES[:, :4, :4],
            "conv_1/kernel conv_2/kernel",
        ),
    ],
)
def test_low_rank_updates_of_every_layer_that_keras_offers_them_for(build, x, kernels):
    model = build()
    names = [path.split("/")[0] for path in kernels.split()]
    before = model.predict(x, verbose=0)
    result = transfer.retrain(
        model, (x, before + 1.0), LowRankOf(names, rank=1), epochs=4, batch_size=2,
        run_eagerly=keras.backend.backend() != "jax",
    )  # fmt: skip
    added = set(result.weight_hashes_after) - set(result.weight_hashes_before)
    factors = [
        path.replace("/", "/lora_") + f"_{f}" for path in kernels.split() for f in "ab"
    ]
    assert added == set(factors) and result.changed_weights == ()
    assert np.max(np.abs(result.model.predict(x, verbose=0) - before)) > 0


def test_low_rank_beside_a_bias_and_with_an_output_gain():
    parts = [BiasesOf("a"), LowRankOf("b", rank=2), OutputGain()]
    result = transfer.retrain(plain(), (X, Y), parts, epochs=4, batch_size=4)
    assert result.changed_weights == ("a/bias",)
    assert result.trained == ("a", "b", "output_gain")


def test_one_newton_step_of_the_output_gain_is_the_closed_form():
    model = plain()
    outputs = model.predict(X, verbose=0)
    step = 1.0 / (2.0 * float(np.mean(outputs**2)))  # the loss is a parabola
    result = transfer.retrain(
        model, (X, Y), OutputGain(), optimizer=keras.optimizers.SGD(step), epochs=1,
        batch_size=8,
    )  # fmt: skip
    gain = float(fetch(result.model.get_layer("output_gain").gain))
    closed = transfer.fit_output_gain(model, (X, Y)).history["gain"][0]
    assert gain == pytest.approx(closed, abs=SINGLE)
    assert result.changed == () and result.num_trainable == 1


def test_a_training_begins_at_the_first_value_of_the_output_gain(tmp_path):
    """outputs = g f(x): a step of the last bias b is -2 rate g mean(residual)."""
    model, rate, gain = plain(), 0.125, 0.5
    residual = gain * model.predict(X, verbose=0) - Y
    result = transfer.retrain(
        model, (X, Y), [BiasesOf("c"), OutputGain(initial=gain)], epochs=1,
        optimizer=keras.optimizers.SGD(rate), batch_size=len(X),
    )  # fmt: skip
    assert result.history["loss"][0] == pytest.approx(np.mean(residual**2), rel=1e-5)
    moved = fetch(result.model.layers[1].get_layer("c").bias) - fetch(
        model.get_layer("c").bias
    )
    expected = -2.0 * rate * gain * np.sum(residual, axis=0) / residual.size
    np.testing.assert_allclose(moved, expected, atol=SINGLE)
    assert result.changed_weights == ("c/bias",)
    assert result.trained == ("c", "output_gain")
    loaded = transfer.load_retrained(result.save(tmp_path / "run"))
    assert loaded.get_layer("output_gain").initial == gain
    np.testing.assert_array_equal(
        loaded.predict(X, verbose=0), result.model.predict(X, verbose=0)
    )


def test_a_gain_without_a_first_value_begins_where_the_loss_is_least():
    """The loss of the first step is the least that a gain alone can reach."""
    model = plain()
    outputs = np.float64(model.predict(X, verbose=0))
    result = transfer.retrain(
        model, (X, Y), ["c", OutputGain(initial=None)], epochs=1, batch_size=len(X)
    )
    least = min(
        np.mean((gain * outputs - Y) ** 2) for gain in np.linspace(-5.0, 5.0, 10_001)
    )
    assert result.history["loss"][0] == pytest.approx(least, rel=1e-5)
    assert result.trained == ("c", "output_gain")
    initial = result.model.get_layer("output_gain").initial
    closed = transfer.fit_output_gain(model, (X, Y)).history["gain"][0]
    assert initial == pytest.approx(closed, rel=1e-5)


def test_no_gain_is_best_where_the_output_is_zero():
    model = plain()
    model.get_layer("c").set_weights([np.zeros((4, 1)), np.zeros(1)])
    with pytest.raises(ValueError, match="No gain fits"):
        transfer.retrain(model, (X, Y), ["a", OutputGain(initial=None)], epochs=1)


@pytest.mark.parametrize(
    ("initial", "error", "match"),
    [
        (0.0, ValueError, "other than 0"),
        (np.nan, ValueError, "finite"),
        (-np.inf, ValueError, "finite"),
        ("1", TypeError, "finite"),
        (True, TypeError, "finite"),
    ],
)
def test_first_values_of_a_gain_with_which_nothing_can_learn(initial, error, match):
    with pytest.raises(error, match=match):
        OutputGain(initial=initial)


def test_two_output_gains_contradict_each_other():
    with pytest.raises(ValueError, match="Expected one OutputGain"):
        transfer.retrain(plain(), (X, Y), [OutputGain(), OutputGain(initial=2.0)])


@pytest.mark.slow
def test_an_applications_network_goes_through_the_workflow():
    model = keras.applications.MobileNet((32, 32, 3), 0.25, weights=None, classes=3)
    target = np.eye(3, dtype="float32")[[0, 1, 2, 0]]
    # All normalizations in training mode: with the statistics it is built with, an
    # untrained network of this depth passes on next to nothing.
    parts = [freezing.Depth(-1), KernelsOf("conv_dw_6"), NormalizationOf()]
    selection = freezing.select_layers(model, parts)
    result = transfer.retrain(model, (IMAGES, target), parts, epochs=1, batch_size=4)
    free = {*selection.variables, *selection.statistics}
    assert set(result.changed_weights) == free
    cost = selection.cost()
    assert cost.forward < cost.step < 3 * cost.forward


def _u_net():
    inputs = keras.Input((16, 16, 2))
    convolution = {"padding": "same", "activation": "relu"}
    fine = keras.layers.Conv2D(3, 3, name="down", **convolution)(inputs)
    coarse = keras.layers.MaxPooling2D()(fine)
    coarse = keras.layers.Conv2D(4, 3, name="bottom", **convolution)(coarse)
    coarse = keras.layers.BatchNormalization(name="norm")(coarse)
    up = keras.layers.Conv2DTranspose(3, 2, strides=2, name="up")(coarse)
    joined = keras.layers.Concatenate()([fine, up])
    return keras.Model(inputs, keras.layers.Conv2D(1, 1, name="out")(joined))


@pytest.mark.slow
@pytest.mark.parametrize("layer", ["down", "up"])
def test_a_u_net_goes_through_the_workflow(layer):
    model, x = _u_net(), IMAGES[:, :16, :16, :2]
    result = transfer.retrain(model, (x, x[..., :1]), layer, **QUICK)
    assert result.changed == (layer,)
    copy = [list(layers_with_weights(m)) for m in (model, result.model)]
    assert copy[0] == copy[1] == ["down", "bottom", "norm", "up", "out"]


class _Linear(keras.layers.Layer):
    """Weights without names, as in the Keras guide."""

    def build(self, input_shape):
        self.w = self.add_weight(shape=(input_shape[-1], 4))
        self.v = self.add_weight(shape=(4,))

    def call(self, inputs):
        return keras.ops.matmul(inputs, self.w) + self.v


@pytest.mark.slow
def test_weights_without_a_name_are_retrained_and_only_those_chosen():
    layers = [_Linear(name="l1"), _Linear(name="l2")]
    model = keras.Sequential([keras.Input((4,)), *layers])
    keras.utils.clear_session()  # automatic names begin anew and overlap
    result = transfer.retrain(model, (X, np.repeat(Y, 4, 1)), "l1", epochs=20)
    assert result.trained == result.changed == ("l1",)
    assert result.changed_weights == ("l1/w", "l1/v")
    assert result.history["loss"][-1] < result.history["loss"][0]


def test_a_retraining_that_moves_nothing_is_refused():
    model = plain()
    waiting = keras.optimizers.Adam(1e-3, gradient_accumulation_steps=5)
    with pytest.raises(RuntimeError, match=r"No weight of c has moved in 0.*accumul"):
        transfer.retrain(model, (X, Y), "c", optimizer=waiting, **QUICK)
    large = keras.initializers.Constant(100.0)
    dense = keras.layers.Dense(1, kernel_initializer=large, dtype="bfloat16", name="d")
    half = keras.Sequential([keras.Input((4,)), dense])
    biased = freezing.KernelsOf("d")
    tiny = keras.optimizers.Adam(1e-4)
    with pytest.raises(
        RuntimeError, match=r"No weight of d has moved.*vanish in bfloat"
    ):
        transfer.retrain(half, (X, Y), biased, optimizer=tiny, **QUICK)
    still = keras.optimizers.SGD(0.0)  # asked for
    assert transfer.retrain(model, (X, Y), "c", optimizer=still, **QUICK).changed == ()


class _Counter(keras.layers.Layer):
    def build(self, input_shape):
        options = {"initializer": "zeros", "trainable": False, "name": "calls"}
        self.calls = self.add_weight(shape=(), **options)

    def call(self, inputs):
        self.calls.assign_add(1.0)
        return inputs


def test_a_layer_that_counts_its_calls_stays_in_the_input_model():
    model = keras.Sequential([keras.Input((4,)), _Counter(name="n"), dense("c", 1)])
    with pytest.raises(
        RuntimeError, match=r"n changed.*\(_Counter: .*choose n as well"
    ):
        transfer.retrain(model, (X, Y), "c", **QUICK)
    assert transfer.retrain(model, (X, Y), ["c", "n"], **QUICK).changed == ("n", "c")
    assert float(fetch(model.get_layer("n").calls)) == 0.0


def test_a_layer_with_spectral_normalization_is_retrained_as_a_whole():
    normalized = keras.layers.SpectralNormalization(dense("d"), name="s")
    model = keras.Sequential([keras.Input((4,)), normalized, dense("c", 1)])
    result = transfer.retrain(model, (X, Y), "s", **QUICK)
    assert result.changed == ("s/own", "s/d")
    with pytest.raises(
        RuntimeError, match=r"s/own, s/d changed.*SpectralNormalization"
    ):
        transfer.retrain(model, (X, Y), "c", **QUICK)
