"""Early stopping, normalization, moments, learning rates, provenance, saved results."""

import dataclasses
import json
import math

import keras
import numpy as np
import pytest

from keras_spectral_tl import freezing, metrics, models, transfer
from keras_spectral_tl._graph.layers import (
    ModelLayers,
    fetch,
    layers_with_weights,
    named_weights,
)
from keras_spectral_tl.callbacks import CheckedBackup
from keras_spectral_tl.freezing import BiasesOf, OutputGain
from keras_spectral_tl.report import figures_row
from keras_spectral_tl.transfer import (
    ChannelStatistics,
    HeldOutStopping,
    LearningRates,
    RefitNormalizationLayers,
    RefitOnTarget,
    RetrainOptions,
    Samples,
)
from tests.keras_spectral_tl.common import dense, plain, probe_then_all

SINGLE = 1e-5  # float32 against float64, or another order of sums
QUICK = {"epochs": 2, "batch_size": 4}
# For tables of many fits, most of whose time would go into compiling.
EAGER = {**QUICK, "run_eagerly": True}
RNG = np.random.default_rng(7)
X = RNG.normal(size=(8, 4)).astype("float32")
Y = (X[:, :1] * X[:, 1:2] + 0.3).astype("float32")


def _normalizing():
    scale = keras.layers.Normalization(name="scale")
    scale.adapt(X + 5.0)
    return keras.Sequential([keras.Input((4,)), scale, dense("c", 1, None)])


def _weights(model):
    named = named_weights(layers_with_weights(model))
    return {path: fetch(v).copy() for path, v in named.items()}


# Early stopping


def test_early_stopping_returns_the_weights_of_the_best_epoch():
    stopping = HeldOutStopping(fraction=0.25, patience=2)
    options = {"optimizer": keras.optimizers.SGD(0.4), "batch_size": 3, "seed": 1}
    result = transfer.retrain(
        plain(), (X, Y), None, early_stopping=stopping, epochs=30, **options
    )
    held_out = result.history["val_loss"]
    assert len(held_out) < 30 and result.best_epoch == int(np.argmin(held_out))
    assert len(held_out) == result.best_epoch + 1 + stopping.patience
    _, (x, y) = stopping.split(Samples.of((X, Y)), seed=1)
    loss = result.model.evaluate(x, y, verbose=0)
    assert loss == pytest.approx(min(held_out), rel=SINGLE)


def test_a_decrease_too_small_to_go_on_still_counts_for_the_weights():
    stopping = HeldOutStopping(fraction=0.25, patience=4, min_delta=1e3)
    options = {"optimizer": keras.optimizers.SGD(0.02), "batch_size": 3, "seed": 1}
    result = transfer.retrain(
        plain(), (X, Y), None, early_stopping=stopping, epochs=30, **options
    )
    held_out = result.history["val_loss"]
    assert len(held_out) == 5 and result.best_epoch > 0  # it falls, and stops at once
    _, (x, y) = stopping.split(Samples.of((X, Y)), seed=1)
    loss = result.model.evaluate(x, y, verbose=0)
    assert loss == pytest.approx(min(held_out), rel=SINGLE)


@pytest.mark.parametrize("frequency", [2, [1, 4]])
def test_a_history_says_in_which_epochs_held_out_samples_were_looked_at(frequency):
    result = transfer.retrain(
        plain(), (X, Y), None, epochs=4, batch_size=8, validation_data=(X, Y, None),
        validation_freq=frequency, optimizer=keras.optimizers.SGD(0.01),
    )  # fmt: skip
    first = {2: 1}.get(frequency, 0) if isinstance(frequency, int) else 0
    looked_at = ~np.isnan(result.history["val_loss"])
    assert list(np.flatnonzero(looked_at)) == [first, 3]
    assert result.best_epoch == 3  # the loss falls
    assert list(result.to_frame()["val_loss"].notna()) == list(looked_at)
    drawn = {line.get_label(): line for line in result.plot().get_lines()}
    assert list(drawn["val_loss"].get_xdata()) == [first, 3]


def test_held_out_samples_follow_the_seed_and_are_not_trained_with():
    data = Samples.of((np.arange(10.0)[:, None], np.arange(10.0)))
    kept, (_, held_out) = HeldOutStopping(0.3).split(data, seed=2)
    assert sorted([*kept.y, *held_out]) == list(range(10)) and len(held_out) == 3
    again, other = (HeldOutStopping(0.3).split(data, seed)[1][1] for seed in (2, 3))
    assert held_out.tolist() == again.tolist() != other.tolist()


def test_a_trajectory_is_held_out_whole():
    """Neighbours in time are so alike that one would give the other away."""
    groups = np.repeat(["a", "b", "c", "d"], [2, 3, 2, 1])
    data = dataclasses.replace(Samples.of((X, Y)), groups=groups)
    for seed in range(5):
        kept, (x, _) = HeldOutStopping(0.5).split(data, seed)
        held = np.flatnonzero(np.isin(X[:, 0], x[:, 0]))
        assert len(kept) + len(x) == 8 and len({*groups[held]}) == 2
        assert {*groups[held]}.isdisjoint(kept.groups)
    with pytest.raises(ValueError, match=r"0\.9 of 4 groups leaves none"):
        HeldOutStopping(0.9).split(data, 0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: HeldOutStopping(fraction=1.0), "fraction=1.0"),
        (lambda: HeldOutStopping(patience=0), "patience=0"),
        (lambda: HeldOutStopping(min_delta=-1.0), "min_delta=-1.0"),
        (
            lambda: HeldOutStopping().split(Samples.of((X[:1], Y[:1])), 0),
            "0.25 of 1 samples",
        ),
    ],
)
def test_bad_early_stopping_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# Normalization


def test_channel_statistics_are_exact_and_invertible():
    x = RNG.normal(3.0, 2.0, (5, 6, 2))
    y = 1e-4 * RNG.normal(size=(5, 6, 1))
    statistics = ChannelStatistics.of((x, y), source="base")
    u, v = statistics.normalize(x, y)
    np.testing.assert_allclose(u.mean((0, 1)), 0.0, atol=1e-12)
    np.testing.assert_allclose([u.std((0, 1)).max(), v.std()], 1.0, rtol=1e-12)
    for back, values in zip(statistics.denormalize(u, v), (x, y), strict=True):
        np.testing.assert_allclose(back, values, rtol=1e-12)


def test_base_statistics_are_kept_and_figures_are_in_physical_units():
    base = ChannelStatistics((1.0,) * 4, (2.0,) * 4, (0.5,), (0.25,), source="base")
    model = plain()
    normalized = base.normalize(X, Y)
    expected = transfer.retrain(model, normalized, "c", **QUICK)
    result = transfer.retrain(model, (X, Y), "c", normalization=base, **QUICK)
    assert result.hashes_after == expected.hashes_after
    outputs = 0.25 * result.model.predict(normalized[0], verbose=0) + 0.5
    error = metrics.relative_rmse(Y, outputs)
    assert result.row((X, Y))["relative_rmse"] == pytest.approx(error, rel=SINGLE)
    assert result.provenance["data"]["statistics"]["source"] == "base"


def test_of_several_outputs_each_counts_whatever_its_units():
    """A second output that is a thousand times smaller, and predicted as nothing."""
    x = np.random.default_rng(3).normal(size=(32, 4))
    y = np.stack([2.0 * x[:, 0], 2e-3 * x[:, 1]], axis=-1)
    statistics = ChannelStatistics.of((x, y))
    inputs = keras.Input((4,))
    layer = keras.layers.Dense(2, use_bias=False, name="c")
    model = keras.Model(inputs, layer(inputs))
    first_alone = np.zeros((4, 2))
    first_alone[0, 0] = 1.0
    layer.set_weights([first_alone])
    found = figures_row("base", "all", model, (x, y), statistics)
    predicted = statistics.normalize(x, y)[0] @ first_alone
    truth = statistics.normalize(x, y)[1]
    expected = metrics.relative_rmse(truth, predicted)
    # One of two outputs of equal variance is missed altogether.
    assert expected == pytest.approx(np.sqrt(0.5), rel=1e-6)
    assert found["relative_rmse"] == pytest.approx(expected, rel=SINGLE)
    cc = metrics.pattern_correlation(truth, predicted)
    assert found["cc"] == pytest.approx(cc, rel=SINGLE)


def test_refitting_on_the_target_is_recorded():
    result = transfer.retrain(
        plain(), (X, Y), "c", normalization=RefitOnTarget(), **QUICK
    )
    record = result.provenance["data"]
    assert record["normalization"] == {"class": "RefitOnTarget"}
    means = np.mean(X, axis=0, dtype=float)
    np.testing.assert_allclose(record["statistics"]["x_mean"], means, rtol=1e-12)


def test_normalization_layers_are_kept_unless_asked_for():
    model = _normalizing()
    assert transfer.retrain(model, (X, Y), "c", **QUICK).changed == ("c",)
    refit = RefitNormalizationLayers()
    result = transfer.retrain(model, (X, Y), "c", normalization=refit, **QUICK)
    assert result.changed == ("scale", "c")
    assert result.provenance["refitted"] == ["scale"]
    mean = fetch(result.model.get_layer("scale").adapt_mean)
    np.testing.assert_allclose(mean, X.mean(axis=0), atol=SINGLE)
    behind = ["c", OutputGain(initial=2.0)]
    gain = transfer.retrain(model, (X, Y), behind, normalization=refit, **QUICK)
    assert {"scale", "c"} <= {*gain.changed}


@pytest.mark.filterwarnings("ignore:When providing `inputs` as a dict")
def test_normalization_layers_of_inputs_by_name_are_refitted():
    inputs = {name: keras.Input((4,)) for name in ("u", "v")}  # tensors of other names
    scale = keras.layers.Normalization(name="scale")
    scale.adapt(X + 5.0)
    joined = keras.layers.Add()([scale(inputs["u"]), inputs["v"]])
    model = keras.Model(inputs, dense("c", 1, None)(joined))
    refit = RefitNormalizationLayers()
    data = {"u": X, "v": 2.0 * X}, Y
    result = transfer.retrain(model, data, "c", normalization=refit, **QUICK)
    mean = fetch(result.model.get_layer("scale").adapt_mean)
    np.testing.assert_allclose(mean, X.mean(axis=0), atol=SINGLE)


@pytest.mark.parametrize(
    ("normalization", "error", "message"),
    [
        (RefitNormalizationLayers(), ValueError, "has 0 Normalization layers"),
        ("base", TypeError, "Received 'base'"),
    ],
)
def test_a_normalization_that_does_not_fit_is_refused(normalization, error, message):
    with pytest.raises(error, match=message):
        transfer.retrain(plain(), (X, Y), "c", normalization=normalization, **QUICK)


def test_statistics_of_a_constant_channel_are_refused():
    with pytest.raises(ValueError, match=r"y_std=\(0.0,\)"):
        ChannelStatistics.of((X, np.ones_like(Y)))


@pytest.mark.parametrize("x_mean", [(1j,), "0", ((0.0, 1.0),) * 2, (np.nan,), None])
def test_statistics_are_a_number_for_each_channel(x_mean):
    with pytest.raises(ValueError, match="x_mean"):
        ChannelStatistics(x_mean, (1.0,), (0.0,), (1.0,))


# Moments


def _trained(optimizer):
    model = plain()
    model.compile(optimizer, "mse")
    model.fit(X, Y, epochs=3, batch_size=8, verbose=0, shuffle=False)
    return model


def test_carried_moments_continue_as_if_nothing_had_happened():
    model = _trained(keras.optimizers.Adam(1e-2))
    options = {"epochs": 2, "batch_size": 8, "shuffle": False}
    result = transfer.retrain(
        model, (X, Y), None, optimizer_state_from=model, **options
    )
    assert int(result.model.optimizer.iterations) == 5
    assert float(result.model.optimizer.learning_rate) == pytest.approx(1e-2)
    assert set(result.provenance["moments"]) == set(_weights(model))
    model.fit(X, Y, verbose=0, **options)
    for path, value in _weights(model).items():
        np.testing.assert_allclose(_weights(result.model)[path], value, atol=SINGLE)
    cold = transfer.retrain(model, (X, Y), None, optimizer="adam", **options)
    assert cold.provenance["moments"] == []


def test_moments_of_the_chosen_weights_alone_are_carried():
    model = _trained("adam")
    result = transfer.retrain(
        model, (X, Y), BiasesOf("b"), optimizer_state_from=model, **QUICK
    )
    assert result.provenance["moments"] == ["b/bias"]
    assert result.changed_weights == ("b/bias",)


@pytest.mark.parametrize(
    ("source", "options", "error", "message"),
    [
        (plain, {}, ValueError, "has no moments"),
        (lambda: _trained("sgd"), {"optimizer": "adam"}, TypeError, "of a SGD .* Adam"),
        (lambda: "base", {}, TypeError, "optimizer_state_from as a Model"),
        (
            lambda: _trained("adam"),
            {"learning_rates": LearningRates([(0, 0.1)])},
            TypeError,
            "not both",
        ),
    ],
)
def test_moments_that_cannot_be_carried_are_refused(source, options, error, message):
    with pytest.raises(error, match=message):
        transfer.retrain(
            plain(), (X, Y), None, optimizer_state_from=source(), **options, **QUICK
        )


# Learning rates


def test_layers_step_by_their_own_learning_rates():
    model = plain()
    rates = LearningRates([("a", 0.5), (BiasesOf(), 0.25)], default=2.0)
    step = {"epochs": 1, "batch_size": 8, "optimizer": keras.optimizers.SGD(0.1)}
    start = _weights(model)
    uniform = _weights(transfer.retrain(model, (X, Y), None, **step).model)
    scaled = transfer.retrain(model, (X, Y), None, learning_rates=rates, **step)
    for path, value in _weights(scaled.model).items():
        factor = 0.25 if "bias" in path else 0.5 if path.startswith("a/") else 2.0
        expected = factor * (uniform[path] - start[path])
        np.testing.assert_allclose(value - start[path], expected, atol=SINGLE)


def test_learning_rates_scale_schedules_and_can_be_saved(tmp_path):
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.5)
    rates = LearningRates.decaying(plain(), decay=0.5)
    result = transfer.retrain(
        plain(), (X, Y), "b", learning_rates=rates,
        optimizer=keras.optimizers.SGD(schedule), **QUICK,
    )  # fmt: skip
    assert result.changed == ("b",)
    inner = result.model.optimizer.optimizers[0]
    step = int(inner.iterations)
    rate = float(keras.ops.convert_to_numpy(inner.learning_rate))
    assert rate == pytest.approx(0.5 * 0.1 * 0.5 ** (step / 10))
    folder = result.save(tmp_path / "result")
    loaded = keras.models.load_model(folder / "model.keras")
    assert freezing.layer_hashes(loaded) == freezing.layer_hashes(result.model)


def test_decaying_rates_fall_towards_the_input():
    factors = LearningRates.decaying(plain(), decay=0.5).by_variable(plain())
    kernels = [factors[f"{name}/kernel"] for name in "abc"]
    assert kernels == [0.25, 0.5, 1.0]


def test_early_stopping_and_a_backup_are_refused_together(tmp_path):
    backups = CheckedBackup(tmp_path), keras.callbacks.BackupAndRestore(tmp_path / "b")
    for backup in backups:
        with pytest.raises(TypeError, match="would end with others"):
            transfer.retrain(
                plain(), (X, Y), "c", early_stopping=HeldOutStopping(),
                callbacks=[backup],
            )  # fmt: skip


def test_factors_by_layer_are_a_mapping_or_pairs():
    assert LearningRates({"a": 0.1}).factors == LearningRates([("a", 0.1)]).factors
    for factors in (3, "abc", [("a",)], None):
        with pytest.raises(TypeError, match="Expected factors as pairs"):
            LearningRates(factors)


@pytest.mark.parametrize("factor", [0.0, -1.0, math.inf, 1j, "0.1", True, None])
def test_bad_factors_are_refused(factor):
    with pytest.raises(ValueError, match=f"{factor!r} for 'a'"):
        LearningRates([("a", factor)])


# Options and records


def test_unknown_options_propose_the_right_one():
    with pytest.raises(TypeError, match=r"'jit_compil'.*Did you mean 'jit_compile'"):
        transfer.retrain(plain(), (X, Y), None, jit_compil=True)
    with pytest.raises(TypeError, match=r"optimizer=keras\.optimizers\.Adam"):
        transfer.retrain(plain(), (X, Y), None, learning_rate=1e-3)
    with pytest.raises(TypeError, match=r"holds out samples itself.*validation_split"):
        RetrainOptions.of(
            {"early_stopping": HeldOutStopping(), "validation_split": 0.5}
        )
    with pytest.raises(TypeError, match=r"early_stopping as a HeldOutStopping.*True"):
        RetrainOptions.of({"early_stopping": True})


def test_the_record_is_json_and_repeats(tmp_path):
    model, documents = plain(), []
    for name in ("one", "two"):
        result = transfer.retrain(
            model, (X, Y), BiasesOf(), early_stopping=HeldOutStopping(), **QUICK,
            metrics=["mae"], callbacks=[keras.callbacks.TerminateOnNaN()],
        )  # fmt: skip
        path = result.to_json(tmp_path / f"{name}.json")
        documents.append(json.loads(path.read_text()))
        del documents[-1]["seconds"]
    assert documents[0] == documents[1]
    record = documents[0]["provenance"]
    assert record["backend"] == keras.backend.backend() and record["seed"] == 0
    assert record["versions"]["keras"] == keras.__version__
    assert record["data"]["sha256"] == Samples.of((X, Y)).fingerprint()
    assert record["weights"] == ["a/bias", "b/bias", "c/bias"]
    assert record["early_stopping"]["patience"] == 5
    assert record["optimizer"]["class"] == "Adam"
    assert documents[0]["changed_weights"] == record["weights"]
    assert "mae" in documents[0]["history"]


def test_a_saved_result_can_be_loaded(tmp_path):
    result = transfer.retrain(plain(), (X, Y), OutputGain(), **QUICK)
    folder = result.save(tmp_path / "new" / "folder")
    assert sorted(path.name for path in folder.iterdir()) == [
        "model.keras",
        "retraining.json",
    ]
    loaded = keras.models.load_model(folder / "model.keras")
    np.testing.assert_array_equal(
        loaded.predict(X, verbose=0), result.model.predict(X, verbose=0)
    )


def test_data_hash_sees_shapes_and_values():
    prints = {
        Samples.of(pair).fingerprint()
        for pair in ((X, Y), (X, Y + 1), (X.reshape(8, 2, 2), Y), (X[:4], Y[:4]))
    }
    assert len(prints) == 4


def test_extra_figures_of_merit():
    result = transfer.fit_output_gain(plain(), (X, Y))
    bias = {"bias": lambda true, outputs: np.mean(outputs - true)}
    figures = result.figures_of_merit((X, Y), extra=bias)
    expected = np.mean(result.model.predict(X, verbose=0) - Y)
    assert figures["bias"] == pytest.approx(float(expected), rel=SINGLE)


# The table of all controls


def test_baselines_are_the_single_calls_in_one_table():
    model, seen = plain(), []
    options = {"seed": 3, **EAGER}
    table = transfer.baselines(model, (X, Y), (X, Y), progress=seen.append, **options)
    assert list(table.rows) == seen
    assert list(table.cc) == [
        "unchanged", "gain_only", "bias_only", "last_layer", "all", "layerwise_rates",
        "probe_then_all", "from_scratch",
    ]  # fmt: skip
    counts = [row["num_parameters"] for row in table.rows]
    assert counts == [0, 1, 9, 5, 45, 45, 45, 45]
    alone = transfer.retrain_all(model, (X, Y), **options).row((X, Y))
    assert table.cc["all"] == alone["cc"]
    assert table.best in table.cc
    rates = LearningRates.decaying(model)
    alone = transfer.retrain(model, (X, Y), None, learning_rates=rates, **options)
    assert table.cc["layerwise_rates"] == alone.row((X, Y))["cc"]


def test_baselines_follow_the_normalization():
    table = transfer.baselines(
        plain(), (X, Y), (X, Y), include=["unchanged", "gain_only", "all"],
        normalization=RefitOnTarget(), **QUICK,
    )  # fmt: skip
    gain = transfer.fit_output_gain(
        plain(), Samples.of((X, Y)).normalized(ChannelStatistics.of((X, Y)))
    )
    assert np.isfinite(gain.row((X, Y))["cc"])
    assert all(np.isfinite(row["relative_rmse"]) for row in table.rows)


def test_probe_then_all_is_both_stages_one_after_the_other():
    model = plain()
    result = probe_then_all(model, (X, Y), epochs=3, batch_size=4)
    probe = transfer.retrain(model, (X, Y), "c", epochs=1, batch_size=4)
    whole = transfer.retrain_all(probe.model, (X, Y), epochs=2, batch_size=4)
    assert result.hashes_after == whole.hashes_after
    assert result.hashes_before == freezing.layer_hashes(model)
    losses = [*probe.history["loss"], *whole.history["loss"]]
    assert result.history["loss"] == losses and result.changed == ("a", "b", "c")
    with pytest.raises(ValueError, match="epochs=1"):
        probe_then_all(model, (X, Y), epochs=1)


def test_models_without_biases_have_no_bias_row_and_errors_name_the_baseline():
    convolution = keras.layers.Dense(1, use_bias=False, name="c")
    model = keras.Sequential([keras.Input((4,)), convolution])
    names = transfer.baselines(model, (X, Y), (X, Y), **EAGER).cc
    assert "bias_only" not in names and "all" in names
    with pytest.raises(KeyError, match=r"no baseline 'al'.*unchanged"):
        transfer.baselines(model, (X, Y), (X, Y), include=["al"])
    with pytest.raises(ValueError, match="chose no layer") as caught:
        transfer.baselines(model, (X, Y), (X, Y), include=["bias_only"])
    assert "baseline 'bias_only'" in caught.value.__notes__[0]


def test_every_weight_of_a_copy_has_its_name_in_the_model():
    model = plain()
    copy = models.copy_model(model)
    assert list(ModelLayers.of(model).of_copy(copy).layers) == ["a", "b", "c"]
    scaled = OutputGain().prepare(copy)
    names = list(ModelLayers.of(model).of_copy(scaled).layers)
    assert names == ["a", "b", "c", "output_gain"]


# Weight decay


def _without_decay_of_biases():
    optimizer = keras.optimizers.AdamW(1e-6, weight_decay=1e5)  # halves to a tenth
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    return optimizer


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": _without_decay_of_biases()},
        {"optimizer": keras.optimizers.LossScaleOptimizer(_without_decay_of_biases())},
        {
            "optimizer": _without_decay_of_biases(),
            "learning_rates": LearningRates({"c": 0.5}),
        },
    ],
)
def test_weights_without_decay_have_none_in_a_retraining(options):
    model = plain()
    layer = model.get_layer("c")
    layer.bias.assign(np.ones_like(fetch(layer.bias)))
    before = fetch(layer.kernel).copy()
    result = transfer.retrain(model, (X, Y), "c", **options, **QUICK)
    after = result.model.get_layer("c")
    np.testing.assert_allclose(fetch(after.bias), 1.0, atol=1e-4)
    assert np.all(np.abs(fetch(after.kernel)) < 0.97 * np.abs(before))


def test_variables_of_another_model_cannot_be_without_decay():
    model, optimizer = plain(), keras.optimizers.AdamW(1e-3)
    optimizer.exclude_from_weight_decay(var_list=[model.get_layer("c").bias])
    with pytest.raises(ValueError, match=r"excludes 1 variable.*var_names=\['bias'\]"):
        transfer.retrain(model, (X, Y), "c", optimizer=optimizer, **QUICK)


@pytest.mark.parametrize("stopping", [None, HeldOutStopping(0.5)])
def test_a_value_that_a_callback_has_in_some_epochs_is_in_their_places(stopping):
    class Some(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch in (1, 2):
                logs["extra"] = float(epoch)

    options = {"epochs": 4, "batch_size": 4, "early_stopping": stopping}
    result = transfer.retrain(plain(), (X, Y), "c", callbacks=[Some()], **options)
    count = len(result.history["loss"])
    expected = [math.nan, 1.0, 2.0, math.nan][:count]
    np.testing.assert_array_equal(result.history["extra"], expected)
    assert not np.isnan(result.history["loss"]).any()


def test_probe_then_all_keeps_what_one_stage_alone_computes():
    options = {"epochs": 5, "validation_data": (X, Y), "validation_freq": 3}
    found = probe_then_all(plain(), (X, Y), batch_size=4, **options).history
    assert len(found["loss"]) == len(found["val_loss"]) == 5
    assert np.sum(~np.isnan(found["val_loss"])) == 1
