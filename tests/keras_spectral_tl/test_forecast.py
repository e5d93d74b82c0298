"""Forecasts: what is predicted, chosen and refused, and what they leave alone."""

import dataclasses
import json
import math

import keras
import numpy as np
import pytest

import keras_spectral_tl as kst
from keras_spectral_tl import freezing, metrics, models
from keras_spectral_tl._graph.layers import fetch, layers_with_weights, named_weights
from keras_spectral_tl.scoring import Arm, default_arms
from keras_spectral_tl.scoring._contest import (
    _NOT_WORTH,
    _SCATTER,
    choose,
)
from keras_spectral_tl.scoring._effort import Effort, usual_rate
from keras_spectral_tl.scoring._forecast_result import ArmForecast, SampleCurve
from keras_spectral_tl.scoring._holdout import Sizes, splits_of
from keras_spectral_tl.scoring._trials import Trials, pool_of
from keras_spectral_tl.transfer import Samples
from keras_spectral_tl.transfer._arms import joined_arms
from tests.keras_spectral_tl.common import noise

SHAPE = (8, 8, 2)
STEPS = {"steps": 30, "batch_size": 4, "progress": False}


def network(biases=0.1):
    """Three convolutions with the same weights on every backend."""
    model = models.build_sgs_cnn(SHAPE, num_layers=3, num_filters=4)
    rng = np.random.default_rng(0)
    model.set_weights(
        [
            rng.normal(0, np.sqrt(2.0 / np.prod((*w.shape[:-1], 1))), w.shape)
            if w.ndim > 1
            else biases * rng.standard_normal(w.shape)
            for w in model.get_weights()
        ]
    )
    return model


def answer(model, x):
    return np.array(keras.ops.convert_to_numpy(model(x)))


def planted(layer="conv_2", count=6):
    """A network, base samples that it answers, target samples of a changed layer."""
    model, rng = network(), np.random.default_rng(1)
    teacher = models.copy_model(model)
    changed = teacher.get_layer(layer)
    changed.set_weights(
        [w + 0.3 * rng.standard_normal(w.shape) for w in changed.get_weights()]
    )
    x = rng.standard_normal((count, *SHAPE)).astype("float32")
    return model, (x[:4], answer(model, x[:4])), (x, answer(teacher, x))


@pytest.fixture(scope="module")
def question():
    """A network and samples of both systems, with hashes of the network before."""
    model, base, target = planted()
    return model, base, target, freezing.layer_hashes(model)


@pytest.fixture(scope="module")
def found(question):
    """A forecast of a gain, a layer and all layers."""
    model, base, target, _ = question
    arms = [Arm("output gain", freezing.OutputGain()), "conv_2", Arm("all layers")]
    return kst.forecast(model, base, target, arms, **STEPS)


def test_there_are_arms_from_nothing_to_everything(question):
    labels = [arm.label for arm in default_arms(question[0])]
    assert labels[:2] == ["unchanged", "output gain"]
    assert labels[-2:] == ["all layers", "from scratch"]
    assert {"biases", "conv_1", "conv_2", "conv_3"} < set(labels)


def test_every_arm_has_a_row_with_its_numbers(question, found):
    model = question[0]
    frame = found.to_frame()
    assert set(frame.index) == {"unchanged", "output gain", "conv_2", "all layers"}
    assert frame.index.name == "arm"
    assert list(frame.columns) == [
        *("correlation", "correlation_low", "correlation_high", "relative_rmse"),
        *("base_correlation", "parameters", "learning_rate", "steps", "batch_size"),
        *("cost", "measured_steps", "normalization"),
    ]
    assert list(frame["correlation"]) == sorted(frame["correlation"], reverse=True)
    assert (frame["correlation_low"] <= frame["correlation"]).all()
    assert (frame["correlation"] <= frame["correlation_high"]).all()
    assert frame.drop(columns="arm", errors="ignore").notna().all(axis=None)
    for row in found.rows:
        assert found[row.label] is row
    weights = {w.path: math.prod(w.shape) for w in model.trainable_weights}
    counts = frame["parameters"]
    assert counts["unchanged"] == 0 and counts["output gain"] == 1
    assert counts["all layers"] == sum(weights.values())
    assert counts["conv_2"] == sum(n for p, n in weights.items() if "conv_2" in p)


def test_the_unchanged_network_is_evaluated_on_all_samples(question, found):
    model, _, target, _ = question
    row = found["unchanged"]
    x, y = target
    outputs = answer(model, x)
    assert row.correlation == pytest.approx(metrics.pattern_correlation(y, outputs))
    assert row.relative_rmse == pytest.approx(metrics.relative_rmse(y, outputs))
    assert row.base_correlation == pytest.approx(1.0)
    assert (row.steps, row.cost, row.measured_steps) == (0, 0.0, 0)
    assert found.provenance["num_tested"] == len(x)


def test_a_gain_changes_no_pattern(question, found):
    row, before = found["output gain"], found["unchanged"]
    assert row.correlation == pytest.approx(before.correlation, abs=1e-6)
    assert row.relative_rmse < before.relative_rmse


def test_the_network_is_left_as_it_was(question, found):
    model, *_, before = question
    assert freezing.layer_hashes(model) == before
    assert found.provenance["weights_sha256"] == before
    assert not model.compiled
    assert all(layer.trainable for layer in model.layers)


def test_a_seed_decides_everything(question):
    model, base, target, _ = question
    keras.utils.set_random_seed(5)
    one = kst.forecast(model, base, target, ["conv_3"], 3, **STEPS)
    keras.utils.set_random_seed(6)
    same = kst.forecast(model, base, target, ["conv_3"], 3, **STEPS)
    assert one.to_dict()["arms"] == same.to_dict()["arms"]
    other = kst.forecast(model, base, target, ["conv_3"], 4, **STEPS)
    assert one["conv_3"].correlation != other["conv_3"].correlation
    assert one["unchanged"].correlation == pytest.approx(
        other["unchanged"].correlation, rel=1e-6
    )


def test_the_recipe_retrains_what_it_says(question, found):
    model, _, target, before = question
    row = found.best_row
    assert found.best is row.arm
    result = kst.retrain(model, target, **found.recipe)
    # Beside the arm the gain of the output may train.
    assert result.num_trainable - row.parameters in (0, 1)
    batches = -(-len(target[0]) // row.batch_size)
    steps = len(result.history["loss"]) * batches
    assert row.steps <= steps < row.steps + batches
    if isinstance(row.arm.layers, str | tuple | None | freezing.BiasesOf):
        chosen = freezing.select_layers(model, row.arm.layers)
        assert set(result.changed_weights) == set(chosen.variables)
    schedule = found.recipe["optimizer"].get_config()["learning_rate"]["config"]
    assert schedule["initial_learning_rate"] == pytest.approx(row.learning_rate)
    assert schedule["decay_steps"] == row.steps
    assert freezing.layer_hashes(model) == before


def test_nothing_to_retrain_has_no_recipe(question):
    """The network is right on these samples already."""
    model, base, *_ = question
    result = kst.forecast(model, None, base, ["conv_1"], **STEPS)
    assert result.best_row.label == "unchanged"
    assert result.recipe is None
    assert "Leave it as it is" in result.reason
    assert math.isnan(result["conv_1"].base_correlation)
    with pytest.raises(ValueError, match="Nothing is retrained"):
        result.sample_curve()


def test_the_json_file_holds_everything(found, tmp_path):
    document = json.loads(found.to_json(tmp_path / "forecast.json").read_text())
    assert set(document) == {
        *("best", "reason", "abstained", "ties", "arms", "recipes", "spectra"),
        "provenance",
    }
    assert document["best"] == found.best_row.label
    assert document["abstained"] is found.abstained is bool(document["ties"])
    frame = found.to_frame()
    for label, row in document["arms"].items():
        assert row == {k: pytest.approx(v) for k, v in frame.loc[label].items()}
    assert document["spectra"].keys() >= {"residual_spectrum_before", "systems"}
    assert document["provenance"]["num_target_samples"] == 6


def test_at_most_twenty_five_lines_are_printed(found):
    rows = [
        dataclasses.replace(row, arm=Arm(f"{row.label} {number}"))
        for number in range(5)
        for row in found.rows
    ]
    many = dataclasses.replace(found, rows=(*found.rows, *rows), reason="word " * 400)
    for one in (found, many):
        lines = repr(one).splitlines()
        assert len(lines) <= 25
        assert max(map(len, lines)) <= 100
    assert "<- best" in repr(found)
    assert "more arms" in repr(many)


def test_what_is_measured_is_drawn_beside_the_forecast(found):
    axes = found.plot(measured={"conv_2": 0.9})
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == [row.label for row in found.rows]
    marks = [line.get_xdata() for line in axes.lines if line.get_marker() == "x"]
    assert [0.9] in [list(mark) for mark in marks]


def test_an_unknown_arm_is_refused_with_the_known_ones(found):
    with pytest.raises(KeyError, match=r"no arm 'conv_9'.*unchanged"):
        found["conv_9"]


@pytest.mark.once
def test_progress_is_called_after_each_trial(question):
    model, base, target, _ = question
    rows = []
    kst.forecast(model, base, target, ["conv_3"], **STEPS | {"progress": rows.append})
    assert [row["done"] for row in rows] == list(range(1, len(rows) + 1))
    assert {row["arm"] for row in rows} == {"unchanged", "conv_3"}
    assert rows[-1]["total"] >= len(rows)


def test_one_sample_is_fitted_and_tested_by_halves(question):
    model, base, (x, y), _ = question
    result = kst.forecast(model, base, (x[:1], y[:1]), ["conv_2"], **STEPS)
    assert result.provenance["num_tested"] == 1
    assert "1 target sample" in result.reason
    row = result["unchanged"]
    expected = metrics.pattern_correlation(y[:1], answer(model, x[:1]))
    assert row.correlation == pytest.approx(expected, rel=1e-5)
    assert row.correlation_low < row.correlation < row.correlation_high
    why = "four target samples or more" if result.recipe else "Nothing is retrained"
    with pytest.raises(ValueError, match=why):
        result.sample_curve()


def nested():
    inner = keras.Sequential(
        [keras.Input((8, 8, 3)), keras.layers.Conv2D(2, 3, padding="same")],
        name="inner",
    )
    inputs = keras.Input(SHAPE)
    hidden = keras.layers.Conv2D(3, 3, padding="same", activation="relu")(inputs)
    return keras.Model(inputs, inner(hidden))


def dense():
    layers = [keras.layers.Dense(4, activation="tanh"), keras.layers.Dense(2)]
    return keras.Sequential([keras.Input((3,)), *layers])


def one_dimension():
    layers = [keras.layers.Conv1D(n, 3, padding="same") for n in (3, 1)]
    return keras.Sequential([keras.Input((10, 2)), *layers])


def two_inputs():
    inputs = {name: keras.Input((4,), name=name) for name in ("first", "second")}
    joined = keras.layers.Concatenate()(list(inputs.values()))
    return keras.Model(inputs, keras.layers.Dense(2)(joined))


@pytest.mark.parametrize("build", [nested, dense, one_dimension, two_inputs])
def test_models_of_every_kind_are_forecast(build):
    keras.utils.set_random_seed(0)
    model = build()
    sequential = isinstance(model, keras.Sequential)  # has a list of inputs only
    inputs = model.inputs[0] if sequential else model.input
    x = keras.tree.map_structure(lambda t: noise(5, *t.shape[1:]), inputs)
    y = noise(5, *model.outputs[0].shape[1:], seed=9)
    last = list(freezing.layers_with_weights(model))[-1]
    result = kst.forecast(model, None, (x, y), [last, Arm("whole")], **STEPS)
    assert {row.label for row in result.rows} == {"unchanged", last, "whole"}
    count = sum(math.prod(w.shape) for w in model.trainable_weights)
    assert result["whole"].parameters == count
    assert 0 < result[last].parameters <= count
    assert all(np.isfinite(row.relative_rmse) for row in result.rows)


def test_arms_are_ones_own_or_what_retrain_takes(question):
    model, base, target, _ = question
    arms = [
        Arm("ends", ("conv_1", "conv_3")),
        ("conv_1", "conv_2"),
        Arm("biases of the last", freezing.BiasesOf(freezing.Depth(-1))),
        Arm("nothing", ()),
    ]
    result = kst.forecast(model, base, target, arms, **STEPS)
    known = {"ends", "conv_1+conv_2", "biases of the last", "nothing"}
    assert {row.label for row in result.rows} == known
    assert result["biases of the last"].parameters == 1


def test_the_best_layers_are_joined_to_a_pair_and_a_block():
    model = models.build_sgs_cnn(SHAPE, num_layers=5, num_filters=2)
    pair, block = joined_arms(model, ["conv_4", "conv_1", "conv_2"])
    assert pair.layers == ("conv_1", "conv_4")
    assert block.layers == ("conv_3", "conv_4", "conv_5")
    assert joined_arms(model, ["conv_1"]) == ()
    assert joined_arms(model, ["conv_1", "conv_2"])[1].layers == (
        *("conv_1", "conv_2", "conv_3"),
    )
    assert joined_arms(dense(), ["dense", "dense_1"]) == ()


# Trials under changes of the network and its samples that change no function.


def tried(model, target):
    """Rate and trial of each layer, and the unchanged network's."""
    samples = Samples.of(target)
    splits = splits_of(np.shape(target[1]), (1, 2), Sizes(4, 2, 2), rng_of(0))
    pool = pool_of(samples, None, None, (), rng_of(0))
    trials = Trials(model, pool, splits, np.random.SeedSequence(0))
    weights = named_weights(layers_with_weights(model)).values()
    kernels = [fetch(w) for w in weights if len(w.shape) > 1]
    found = {}
    arms = [Arm(name, name) for name in ("conv_1", "conv_2", "conv_3")]
    for arm, part, run in trials.of(arms):
        rate = usual_rate(part.gradient.function.values, kernels)
        found[arm.label] = rate, run(rate, 12)
    return found


def rng_of(seed):
    return np.random.default_rng(seed)


def rescaled(model, target):
    """Two ReLU layers times c and 1 / c, with the bias in between."""
    first, second = (model.get_layer(name) for name in ("conv_1", "conv_2"))
    first.set_weights([4.0 * w for w in first.get_weights()])
    kernel, bias = second.get_weights()
    second.set_weights([kernel / 4.0, bias])
    return target, {"conv_1": 4.0, "conv_3": 1.0}


def units_of_y(model, target):
    last = model.get_layer("conv_3")
    last.set_weights([8.0 * w for w in last.get_weights()])
    return (target[0], 8.0 * target[1]), {"conv_1": 1.0, "conv_2": 1.0, "conv_3": 8.0}


def units_of_x(model, target):
    first = model.get_layer("conv_1")
    kernel, bias = first.get_weights()
    first.set_weights([kernel / 2.0, bias])
    return (2.0 * target[0], target[1]), {"conv_2": 1.0, "conv_3": 1.0}


def channels_in_another_order(model, target):
    order = [2, 0, 3, 1]
    first, second = (model.get_layer(name) for name in ("conv_1", "conv_2"))
    kernel, bias = first.get_weights()
    first.set_weights([kernel[..., order], bias[order]])
    kernel, bias = second.get_weights()
    second.set_weights([kernel[:, :, order], bias])
    return target, dict.fromkeys(("conv_1", "conv_2", "conv_3"), 1.0)


@pytest.fixture(scope="module")
def before():
    model, _, target = planted()
    return tried(model, target)


@pytest.mark.once
@pytest.mark.parametrize(
    "change", [rescaled, units_of_y, units_of_x, channels_in_another_order]
)
def test_trials_do_not_depend_on_how_a_function_is_written(before, change):
    """The rate follows the size of the kernels, so Adam takes the same way.

    Not so where weights of one layer scale differently: the second of two rescaled
    layers, and the first where the units of x change, have a bias that does not scale.
    """
    model, _, target = planted()
    target, factors = change(model, target)
    after = tried(model, target)
    for label, factor in factors.items():
        (rate, trial), (scaled, other) = before[label], after[label]
        assert scaled == pytest.approx(factor * rate, rel=1e-6)
        np.testing.assert_allclose(other.correlations, trial.correlations, atol=2e-4)
        np.testing.assert_allclose(other.errors, trial.errors, rtol=2e-3, atol=1e-5)


@pytest.mark.once
def test_without_biases_both_rescaled_layers_take_the_same_way():
    trials = []
    for factor in (1.0, 4.0):
        layers = [
            keras.layers.Conv2D(
                n, 3, padding="same", activation=a, use_bias=False, name=f"conv_{i}"
            )
            for i, (n, a) in enumerate([(3, "relu"), (2, "relu"), (1, None)], 1)
        ]
        model = keras.Sequential([keras.Input(SHAPE), *layers])
        rng = rng_of(3)
        model.set_weights([rng.normal(0, 0.3, w.shape) for w in model.get_weights()])
        for layer, scale in ((layers[0], factor), (layers[1], 1.0 / factor)):
            layer.set_weights([scale * w for w in layer.get_weights()])
        x = noise(6, *SHAPE).astype("float32")
        trials.append(tried(model, (x, noise(6, 8, 8, 1, seed=1))))
    for label in ("conv_1", "conv_2", "conv_3"):
        one, other = (found[label][1] for found in trials)
        np.testing.assert_allclose(other.correlations, one.correlations, atol=2e-4)


def test_the_rate_is_that_of_the_kernels_alone():
    kernel, bias = 0.05 * np.ones((3, 3, 2, 2)), np.zeros(2)
    alone = usual_rate([kernel], [kernel])
    assert usual_rate([kernel, bias], [kernel]) == alone
    assert usual_rate([bias], [kernel]) == alone  # biases have no size of their own
    assert usual_rate([], []) == usual_rate([bias], [bias.reshape(1, 2)]) == 1e-3
    assert usual_rate([3.0 * kernel], []) == pytest.approx(3.0 * alone)
    # The mean is geometric: factors c and 1 / c cancel.
    both = usual_rate([kernel, kernel], [])
    assert usual_rate([5.0 * kernel, kernel / 5.0], []) == pytest.approx(both)


# What follows from trials.


def test_progress_beyond_the_trials_is_that_of_a_power_law():
    """Two points of a + b n^-.8 determine the third."""
    effort = Effort(steps=500, batch_size=8)

    def error(passes):
        return 0.1 + 2.0 * passes**-0.8

    added = effort.beyond(48, 160) * (error(48) - error(160))
    assert error(160) - added == pytest.approx(error(4000))


def test_no_more_is_to_come_than_there_are_passes():
    assert Effort(steps=20, batch_size=8).beyond(48, 160) == 0.0
    assert Effort(steps=500, batch_size=8).beyond(48, 48) == 0.0
    # A shorter retraining does not get as far, but at least as the short trial did.
    assert -1.0 < Effort(steps=10, batch_size=8).beyond(48, 160) < 0.0
    assert Effort(steps=6, batch_size=8).beyond(48, 160) == -1.0
    assert Effort(steps=10, batch_size=1).beyond(48, 160) == -1.0
    more = [Effort(steps, 8).beyond(48, 160) for steps in (30, 100, 1000, 10**9)]
    assert more == sorted(more)
    assert more[-1] == pytest.approx(160**-0.8 / (48**-0.8 - 160**-0.8), rel=1e-4)


def test_the_effort_is_read_off_the_recipe():
    assert Effort.of({}, 100) == Effort(500, 8)
    assert Effort.of({}, 3) == Effort(500, 3)
    assert Effort.of({"epochs": 60, "batch_size": 4}, 18) == Effort(300, 4)
    assert Effort.of({"steps": 7}, 16) == Effort(7, 8)
    # A constant rate counts as a cosine of the same sum, which is half as high.
    assert Effort.of({"steps": 100, "learning_rate": 1e-3}, 16).rate == 2e-3
    adam = {"optimizer": keras.optimizers.Adam(1e-3), "epochs": 50, "batch_size": 8}
    found = Effort.of(adam, 16)
    assert (found.steps, found.batch_size) == (100, 8)
    assert found.rate == pytest.approx(2e-3)
    assert Effort(480, 8).rate_of_trial(1e-3, 120) == pytest.approx(2e-3)


def rows_of(*rows):
    """Rows of (correlation, on the base, weights, relative error)."""
    return [
        ArmForecast(
            arm=Arm(f"arm {place}"),
            correlation=correlation,
            correlation_low=correlation,
            correlation_high=correlation,
            relative_rmse=rmse,
            base_correlation=base,
            parameters=parameters,
            learning_rate=1e-3,
            steps=100,
            batch_size=4,
            cost=1.0,
            measured_steps=48,
        )
        for place, (correlation, base, parameters, rmse) in enumerate(rows)
    ]


def chosen(rows, keep=0.0, error=_SCATTER):
    return choose(rows, lambda _one, _other: error, keep)


def test_of_arms_that_tie_the_cheapest_is_chosen():
    least = 0.5 * min(_SCATTER, _NOT_WORTH)
    rows = rows_of((0.9, 1, 100, 0.5), (0.9 - least, 1, 10, 0.5), (0.5, 1, 1, 0.5))
    assert chosen(rows) == (1, [0], True)


def test_an_arm_of_another_amplitude_does_not_tie_for_its_few_weights():
    rows = rows_of((0.9, 1, 1, 0.5), (0.9, 1, 0, 0.8), (0.5, 1, 9, 0.5))
    assert chosen(rows) == (0, [1], True)


def test_a_difference_that_is_sure_decides():
    rows = rows_of((0.9, 1, 100, 0.5), (0.9 - 5 * _SCATTER, 1, 10, 0.5))
    assert chosen(rows) == (0, [], False)


def test_a_difference_that_is_worth_it_but_not_sure_is_told():
    behind = 1.5 * max(_SCATTER, _NOT_WORTH)
    rows = rows_of((0.9, 1, 100, 0.5), (0.9 - behind, 1, 10, 0.5))
    assert chosen(rows, error=behind / 1.5) == (0, [1], True)
    assert chosen(rows, error=behind / 1.7) == (0, [], False)  # 1.645 for 5 %


def test_a_difference_without_error_decides_however_small_it_is():
    rows = rows_of((0.9, 1, 100, 0.5), (0.9 - 0.25 * _NOT_WORTH, 1, 0, 0.5))
    assert chosen(rows, error=0.0) == (0, [], False)


def test_the_base_counts_by_its_weight():
    rows = rows_of((0.9, 0.2, 1, 0.5), (0.7, 0.8, 1, 0.5))
    assert chosen(rows)[0] == 0
    assert chosen(rows, keep=0.2)[0] == 0  # .76 against .72
    assert chosen(rows, keep=0.3)[0] == 1  # .69 against .73
    assert chosen(rows, keep=1.0)[0] == 1


def curve(asymptote=0.125, slope=0.5, spread=0.0):
    counts = np.array([4, 8, 16])
    correlations = 1.0 - asymptote - slope * counts**-0.5
    return SampleCurve(counts, correlations, asymptote, slope, spread)


def test_a_sample_curve_is_read_both_ways():
    """1 - .125 - .5 / sqrt(n)."""
    one = curve()
    assert one.at(16)[0] == 0.75
    assert one.at(64)[0] == 0.8125
    assert one.samples_for(0.75) == 16
    assert one.samples_for(0.8125) == 64
    assert one.samples_for(0.1) == 1
    assert one.samples_for(0.875) is None  # not even with infinitely many
    assert one.samples_for(0.9) is None
    needed = one.samples_for(0.8)
    assert one.at(needed)[0] >= 0.8 > one.at(needed - 1)[0]


def test_a_sample_curve_has_the_forms_of_a_result(tmp_path):
    one = curve()
    assert list(one.to_frame()["num_samples"]) == list(one.num_samples)
    document = json.loads(one.to_json(tmp_path / "curve.json").read_text())
    assert document["asymptote"] == 0.125 and document["slope"] == 0.5
    pytest.importorskip("matplotlib")
    measured, fitted = one.plot().lines
    np.testing.assert_array_equal(measured.get_ydata(), one.correlations)
    last = int(fitted.get_xdata()[-1])
    assert fitted.get_ydata()[-1] == pytest.approx(one.at(last)[0])


def test_samples_that_bring_nothing_are_not_asked_for():
    flat = curve(slope=0.0)
    assert flat.at(10**6)[0] == flat.at(1)[0] == 0.875
    assert flat.samples_for(0.8) == 1
    assert flat.samples_for(0.9) is None


def test_the_interval_of_a_sample_curve_widens_away_from_the_samples():
    low, high = curve(spread=0.01).at(16)[1:]
    assert high - low == pytest.approx(2 * 1.64 * 0.01)
    found = curve().at(64)
    assert found[2] - found[0] == pytest.approx(1.64 * 0.5 * 0.0625)
    widths = [np.ptp(curve(spread=0.01).at(n)[1:]) for n in (16, 32, 64, 1024)]
    assert widths == sorted(widths)


@pytest.mark.parametrize("bad", [0, -1, math.nan, "many"])
def test_what_is_no_number_of_samples_is_refused(bad):
    with pytest.raises((TypeError, ValueError), match="num_samples"):
        curve().at(bad)


@pytest.mark.parametrize("bad", [0.0, 1.0, 1.5, math.nan])
def test_what_is_no_correlation_is_refused(bad):
    with pytest.raises(ValueError, match="correlation"):
        curve().samples_for(bad)


def test_the_curve_of_a_forecast_ends_at_its_prediction(found):
    assert found.recipe is not None
    one = found.sample_curve()
    assert one.num_samples[-1] == 4  # six samples, of which two are tested at a time
    assert list(one.num_samples) == [1, 2, 4]
    assert one.correlations[-1] == pytest.approx(found.best_row.correlation)
    low, high = one.asymptote, one.asymptote + one.slope
    assert 0.0 <= low <= high
    assert found.samples_for(0.05) == 1


# Planted problems, where the answer is known.


def measured(model, recipe, target, test):
    """The correlation on other samples after the retraining that a row stands for."""
    network = model
    if recipe is not None:
        network = kst.retrain(model, target, **recipe).model
    return metrics.pattern_correlation(test[1], answer(network, test[0]))


@pytest.mark.once
@pytest.mark.slow
@pytest.mark.parametrize("layer", ["conv_1", "conv_2"])
def test_the_best_arm_of_a_planted_problem_is_found(layer):
    model, base, (x, y) = planted(layer, count=24)
    target, test = (x[:8], y[:8]), (x[8:], y[8:])
    arms = ["conv_1", "conv_2", "conv_3", Arm("all layers")]
    result = kst.forecast(model, base, target, arms, **STEPS | {"steps": 150})
    gave = {
        row.label: measured(model, result.recipe_for(row.label), target, test)
        for row in result.rows
    }
    assert gave[result.best_row.label] >= max(gave.values()) - 0.01


@pytest.mark.once
def test_a_target_of_other_amplitude_needs_a_gain_at_most(question):
    """Twice the output and a little noise: the amplitude is half of what it should."""
    model, base, *_ = question
    x, y = base
    y = 2.0 * (y + 0.05 * np.std(y) * noise(*y.shape, seed=4))
    arms = [Arm("output gain", freezing.OutputGain()), "conv_2"]
    result = kst.forecast(model, base, (x, y), arms, **STEPS)
    before, gain = result["unchanged"], result["output gain"]
    assert result.best_row.correlation >= before.correlation
    assert gain.correlation == pytest.approx(before.correlation, abs=1e-5)
    assert before.relative_rmse == pytest.approx(
        metrics.relative_rmse(y, answer(model, x)), rel=1e-4
    )
    assert gain.relative_rmse == pytest.approx(0.05, rel=0.2)


# What is refused, in words.

WRONG = {
    "no arms": ({"arms": []}, TypeError, "arms must be a sequence"),
    "a name for arms": ({"arms": "conv_1"}, TypeError, "arms must be a sequence"),
    "equal labels": ({"arms": ["conv_1", "conv_1"]}, ValueError, "different labels"),
    "unknown layer": ({"arms": ["conv_9"]}, KeyError, "conv_9"),
    "keep without base": ({"keep": 0.5}, ValueError, "keep needs base_data"),
    "keep too large": ({"keep": 1.5}, ValueError, "keep"),
    "a seed below 0": ({"seed": -1}, ValueError, "seed"),
    "one trajectory": ({"groups": [7] * 6}, ValueError, "two or more"),
    "too few labels": ({"groups": [1, 2]}, ValueError, "each of the 6 target samples"),
    "unknown option": ({"learning_rat": 1.0}, TypeError, "learning_rat"),
    "no steps": ({"steps": 0}, ValueError, "steps"),
    "no batch": ({"batch_size": -1}, ValueError, "batch_size"),
    "no symmetry": ({"symmetries": [3]}, TypeError, "must be callables"),
    "no normalization": ({"normalization": {}}, ValueError, "at least one"),
    "shapes that change": (
        {"symmetries": [lambda x, y: (x[:, :4], y[:, :4])]},
        ValueError,
        "changes the shapes",
    ),
}


@pytest.mark.once
@pytest.mark.parametrize(("options", "kind", "match"), WRONG.values(), ids=list(WRONG))
def test_bad_input_is_refused_in_words(question, options, kind, match):
    model, _, target, before = question
    with pytest.raises(kind, match=match):
        kst.forecast(model, None, target, **{**STEPS, "arms": ["conv_1"], **options})
    assert freezing.layer_hashes(model) == before


@pytest.mark.once
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_samples_that_are_not_finite_are_refused(question, value):
    model, base, (x, y), _ = question
    y = y.copy()
    y[2, 1, 1, 0] = value
    with pytest.raises(ValueError, match="NaN or infinite"):
        kst.forecast(model, base, (x, y), ["conv_1"], **STEPS)


@pytest.mark.once
def test_samples_without_an_end_are_refused(question):
    model, _, (x, y), _ = question
    tf = pytest.importorskip("tensorflow")
    endless = tf.data.Dataset.from_tensor_slices((x, y)).batch(2).repeat()
    with pytest.raises(ValueError, match="never ends"):
        kst.forecast(model, None, endless, ["conv_1"], **STEPS)


def test_one_sample_without_space_is_refused():
    one = noise(1, 3), noise(1, 2)
    with pytest.raises(ValueError, match="cannot be divided"):
        kst.forecast(dense(), None, one, **STEPS)


@pytest.mark.once
def test_data_of_another_shape_are_refused(question):
    model, *_ = question
    with pytest.raises(ValueError, match="shape"):
        kst.forecast(model, None, (noise(4, 8, 8, 3), noise(4, 8, 8, 1)), **STEPS)


@pytest.mark.parametrize("label", ["", "  ", None, 3])
def test_an_arm_needs_a_label(label):
    with pytest.raises(TypeError, match="label"):
        Arm(label)


def test_every_image_of_a_sample_is_on_its_side():
    """Symmetries and replayed samples are fitted; what is tested is not among them."""
    target = Samples.of((np.arange(8.0).reshape(8, 1), np.arange(8.0).reshape(8, 1)))
    replay = (np.arange(20.0, 24).reshape(4, 1), np.zeros((4, 1)))
    flips = [lambda x, y: (x + 100.0, y), lambda x, y: (x + 200.0, y)]
    base = Samples.of((np.array([[50.0], [51.0]]), np.zeros((2, 1))))
    pool = pool_of(target, base, replay, flips, rng_of(0))
    for split in splits_of((8, 1), (), Sizes(48, 32, 8), rng_of(1)):
        fitted = pool.fitted(split)
        values = pool.x[fitted.fit].ravel()
        own = values[(values < 20.0) | (values >= 100.0)] % 100
        assert set(own) == set(split.fit.astype(float))
        assert not set(own) & set(split.held.astype(float))
        replayed = values[(values >= 20.0) & (values < 100.0)]
        assert len(replayed) == len(own) and set(replayed) == {20.0, 21.0, 22.0, 23.0}
        assert len(own) == 3 * len(split.fit)
    assert sorted(pool.x[pool.base].ravel()) == [50.0, 51.0]
