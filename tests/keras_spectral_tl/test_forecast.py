"""Forecasts: what is predicted, chosen and refused, and what they leave alone."""

import dataclasses
import json
import math

import keras
import numpy as np
import pytest

import keras_spectral_tl as kst
from keras_spectral_tl import freezing, metrics, models, transfer
from keras_spectral_tl.scoring import Arm, default_arms
from keras_spectral_tl.transfer._arms import joined_arms
from tests.keras_spectral_tl.common import SHAPE, answer, noise, planted

STEPS = {"steps": 30, "batch_size": 4, "progress": False}
GAIN = Arm("output gain", freezing.OutputGain())


@pytest.fixture(scope="module")
def question():
    """A network and samples of both systems, with hashes of the network before."""
    model, base, target = planted()
    return model, base, target, freezing.layer_hashes(model)


@pytest.fixture(scope="module")
def found(question):
    """A forecast of a gain, a layer and all layers."""
    model, base, target, _ = question
    arms = [GAIN, "conv_2", Arm("all layers")]
    return kst.forecast(model, base, target, arms, **STEPS)


def test_there_are_arms_from_nothing_to_everything(question):
    labels = [arm.label for arm in default_arms(question[0])]
    assert labels[:2] == ["unchanged", "output gain"]
    assert labels[-3:] == ["all layers", "all layers pulled", "from scratch"]
    assert {"biases", "low rank", "conv_1", "conv_2", "conv_3"} < set(labels)


def test_every_arm_has_a_row_with_its_numbers(question, found):
    model = question[0]
    frame = found.to_frame()
    assert set(frame.index) == {"unchanged", "output gain", "conv_2", "all layers"}
    assert frame.index.name == "arm"
    assert list(frame.columns) == [
        *("correlation", "correlation_low", "correlation_high", "relative_rmse"),
        *("base_correlation", "parameters", "learning_rate", "steps", "batch_size"),
        *("cost", "measured_steps", "normalization", "pull"),
        *("relative_rmse_low", "relative_rmse_high"),
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


def test_an_arm_with_a_gain_of_its_own_has_one_gain_in_its_recipe(question):
    """The gain from which it starts where amplitudes differ, and no second one."""
    model, base, (x, y), _ = question
    target = x, y / 3.0
    arms = [Arm("both", ["conv_2", freezing.OutputGain()])]
    recipe = kst.forecast(model, base, target, arms, **STEPS).recipe_for("both")
    name, gain = recipe["layers"]
    assert name == "conv_2" and abs(gain.initial) < 0.5
    result = kst.retrain(model, target, **recipe | {"epochs": 1})
    assert result.trained == ("conv_2", "output_gain")


def test_what_is_given_is_in_the_recipe_as_it_is(question):
    """A rate is that of a cosine of all arms; an optimizer is taken whole."""
    model, base, target, _ = question
    steps = {"steps": 20, "batch_size": 4, "progress": False}
    found = kst.forecast(model, base, target, ["conv_1"], learning_rate=2e-3, **steps)
    recipe = found.recipe_for("conv_1")
    rate = recipe["optimizer"].get_config()["learning_rate"]["config"]
    assert found["conv_1"].learning_rate == rate["initial_learning_rate"] == 2e-3
    own = keras.optimizers.AdamW(3e-4, weight_decay=0.01)
    found = kst.forecast(model, base, target, ["conv_1"], optimizer=own, **steps)
    given = found.recipe_for("conv_1")["optimizer"]
    assert isinstance(given, keras.optimizers.AdamW)
    assert given.get_config() == own.get_config()
    fall = keras.optimizers.schedules.ExponentialDecay(1e-3, 5, 0.5)
    found = kst.forecast(model, base, target, ["conv_1"], learning_rate=fall, **steps)
    given = found.recipe_for("conv_1")["optimizer"].get_config()["learning_rate"]
    assert given["class_name"] == "ExponentialDecay"


def test_nothing_to_retrain_has_no_recipe(question):
    """The network is right on these samples already."""
    model, base, *_ = question
    result = kst.forecast(model, None, base, ["conv_1"], **STEPS)
    assert result.best_row.label == "unchanged"
    assert result.recipe is None
    assert "Leave it as it is" in result.reason
    assert math.isnan(result["conv_1"].base_correlation)
    flat = result.sample_curve()
    assert flat.at(1000)[0] == flat.at(1)[0] == result.best_row.correlation
    assert "would no longer help" in repr(flat)


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
    many = dataclasses.replace(found, rows=(*rows, *found.rows), reason="word " * 400)
    for one in (found, many):
        lines = repr(one).splitlines()
        assert len(lines) <= 25
        assert max(map(len, lines)) <= 100
        assert "<- best" in repr(one)
    assert "more arms" in repr(many)


def test_the_unchanged_network_is_printed_however_many_arms_are_better(found):
    """Also where the best, a cheap one, is not among the first rows."""
    row = found["conv_2"]
    better = [
        dataclasses.replace(row, arm=Arm(f"arm {i}", "conv_2")) for i in range(40)
    ]
    for best in ("arm 0", "arm 39", "unchanged"):
        record = {**found.provenance, "best": best}
        rows = (*better, found["unchanged"], found["output gain"])
        one = dataclasses.replace(found, rows=rows, provenance=record)
        lines = repr(one).splitlines()
        table = lines[lines.index("") + 2 :]
        labels = [line.split("  ")[0].strip() for line in table[:-1]]
        assert {best, "unchanged", "arm 0", "arm 11"} <= {*labels}
        assert len(labels) == len({*labels}) and len(lines) <= 25
        assert table[-1].startswith(f"... and {42 - len(labels)} more arms")
        assert ".rows" in table[-1]


def test_a_long_reason_ends_in_dots_and_says_where_the_rest_is(found):
    """Eight lines hold a reason or its beginning, after which there are dots."""
    words = [f"word{number:03d}" for number in range(100)]
    for count in (1, 70, 100):
        reason = " ".join(words[:count])
        one = dataclasses.replace(found, reason=reason)
        shown = " ".join(repr(one).split("\n\n")[0].splitlines())
        if count < 100:
            assert shown == reason
        else:
            begin, dots, rest = shown.partition(" ... ")
            assert reason.startswith(begin + " word")
            assert dots and rest == "(all of it: .reason)"


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
    with pytest.raises(ValueError, match="four target samples or more"):
        result.sample_curve("conv_2")


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


def test_a_layer_that_is_called_as_an_arm_is_an_arm_of_its_own():
    names = ("filters", "biases", "conv")
    layers = [keras.layers.Conv2D(2, 3, padding="same", name=n) for n in names]
    model = keras.Sequential([keras.Input(SHAPE), *layers])
    found = {arm.label: arm.layers for arm in default_arms(model)}
    assert len(found) == len(default_arms(model))
    labels = "layer filters", "layer biases", "conv"
    assert [found[label] for label in labels] == [*names]


def test_the_curve_of_a_forecast_ends_at_its_prediction(found):
    assert found.recipe is not None
    one = found.sample_curve()
    # Two of six samples are tested at a time: 1, 2 and 4 fitted stand for all six.
    assert list(one.num_samples) == [1.5, 3.0, 6.0]
    assert one.correlations[-1] == pytest.approx(found.best_row.correlation)
    low, high = one.asymptote, one.asymptote + one.slope
    assert 0.0 <= low <= high
    assert found.samples_for(0.05) == 1


def test_no_curve_is_of_another_network_than_the_forecast():
    model, base, target = planted()
    found = kst.forecast(model, base, target, ["conv_1"], steps=20)
    model.set_weights([0.5 * weight for weight in model.get_weights()])
    with pytest.raises(ValueError, match="have changed since"):
        found.sample_curve()


def test_every_arm_has_a_curve(found):
    for row in found.rows:
        one = found.sample_curve(row.label)
        assert one.correlations[-1] == pytest.approx(row.correlation, abs=1e-6)
        assert found.samples_for(0.05, row.label) == one.samples_for(0.05)
    with pytest.raises(KeyError, match="no arm 'conv_99'"):
        found.sample_curve("conv_99")


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
    arms = [GAIN, "conv_2"]
    result = kst.forecast(model, base, (x, y), arms, **STEPS)
    before, gain = result["unchanged"], result["output gain"]
    assert result.best_row.correlation >= before.correlation
    assert gain.correlation == pytest.approx(before.correlation, abs=1e-5)
    assert before.relative_rmse == pytest.approx(
        metrics.relative_rmse(y, answer(model, x)), rel=1e-4
    )
    assert gain.relative_rmse == pytest.approx(0.05, rel=0.2)


@pytest.mark.once
def test_a_recipe_gets_as_far_in_small_units_as_its_trials():
    """Gradients of a squared error in 1e-5 are below the usual epsilon of Adam."""
    model, base, (x, y) = planted("conv_2", count=16)
    unit = 1e-5
    scaled = keras.Sequential([model, keras.layers.Rescaling(unit)])
    small, arm = (x, unit * y), [Arm("one", "sgs_cnn/conv_2")]
    same = kst.forecast(model, base, (x, y), [Arm("one", "conv_2")], **STEPS)
    found = kst.forecast(scaled, (base[0], unit * base[1]), small, arm, **STEPS)
    assert found["one"].correlation == pytest.approx(same["one"].correlation, abs=0.01)
    reached = [
        kst.retrain(one, data, **recipe.recipe_for("one")).row(data)["cc"]
        for one, data, recipe in ((model, (x, y), same), (scaled, small, found))
    ]
    assert reached[1] == pytest.approx(reached[0], abs=0.01)
    with pytest.warns(UserWarning, match="y of the target has a variance of"):
        kst.forecast(scaled, None, (x, 1e-12 * y), arm, **STEPS)


def test_the_output_gain_of_a_recipe_is_the_best_one(question):
    model, (x, y), *_ = question
    found = kst.forecast(model, None, (x, 3.0 * y), ["conv_1", GAIN], **STEPS)
    result = kst.retrain(model, (x, 3.0 * y), **found.recipe_for("output gain"))
    assert result.row((x, 3.0 * y))["relative_rmse"] < 1e-3


def test_a_correlation_on_the_base_is_at_most_one_and_has_the_sign_of_the_gain():
    """Of base samples of which the network answers some far better than others."""
    model, (x, y), target = planted()
    x = np.concatenate([x] * 8)
    wrong = (
        noise(*x.shape[:-1], 1, seed=5) * (np.arange(len(x)) % 2)[:, None, None, None]
    )
    base = x, np.concatenate([y] * 8) + wrong
    opposite = target[0], -2.0 * answer(model, target[0])
    for data in (target, opposite):
        found = kst.forecast(model, base, data, ["conv_2", GAIN], **STEPS)
        assert all(abs(row.base_correlation) <= 1.0 for row in found.rows)
    unchanged, gain = found["unchanged"], found["output gain"]
    known = metrics.pattern_correlation(base[1], answer(model, x))
    assert unchanged.base_correlation == pytest.approx(known, abs=1e-6)
    assert gain.base_correlation == pytest.approx(-unchanged.base_correlation)


def test_an_optimizer_may_be_wrapped_and_gradients_are_not_added(question):
    model, base, target, _ = question
    adam = keras.optimizers.Adam(1e-3)
    wrapped = keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(1e-3))
    options = {"epochs": 3, "batch_size": 4, "progress": False}
    found = [
        kst.forecast(model, base, target, ["conv_2"], optimizer=one, **options)
        for one in (adam, wrapped)
    ]
    assert found[0]["conv_2"].correlation == found[1]["conv_2"].correlation
    adds = keras.optimizers.Adam(1e-3, gradient_accumulation_steps=4)
    with pytest.raises(ValueError, match=r"accumulation_steps=4: .* 4 times as large"):
        kst.forecast(model, base, target, ["conv_2"], optimizer=adds, **options)


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
    "epochs and steps": ({"epochs": 3}, TypeError, "epochs=3 and steps=30: leave one"),
    "two rates": (
        {"optimizer": "adam", "learning_rate": 0.1},
        TypeError,
        "optimizer or learning_rate .* not both",
    ),
    "another loss": ({"loss": "mae"}, TypeError, r"\*\*forecast\.recipe, loss=\.\.\."),
    "validation": ({"validation_split": 0.5}, TypeError, r"validation_split=0\.5"),
    "callbacks": (
        {"callbacks": [keras.callbacks.TerminateOnNaN()], "loss": "mae"},
        TypeError,
        r"retrain\(.*, callbacks=\.\.\., loss=\.\.\.\)",
    ),
    "early stopping": (
        {"early_stopping": transfer.HeldOutStopping()},
        TypeError,
        r"beside the recipe: .* early_stopping=\.\.\.",
    ),
    "a pull": ({"pull": 1.0}, TypeError, r"a pull belongs to an arm, Arm\("),
    "no batch": ({"batch_size": -1}, ValueError, "batch_size"),
    "no symmetry": ({"symmetries": [3]}, TypeError, "sequence of callables"),
    "a symmetry alone": ({"symmetries": max}, TypeError, "sequence of callables"),
    "no weights": ({"arms": ["fields"]}, KeyError, "fields"),
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
@pytest.mark.parametrize("value", [math.nan, math.inf, 1e200])
def test_samples_that_are_not_finite_are_refused(question, value):
    model, base, (x, y), _ = question
    y = y.astype("float64")
    y[2, 1, 1, 0] = value
    with pytest.raises(ValueError, match="NaN or infinite"):
        kst.forecast(model, base, (x, y), ["conv_1"], **STEPS)


@pytest.mark.once
def test_a_constant_target_is_refused(question):
    model, base, (x, y), _ = question
    with pytest.raises(ValueError, match="y of target_data is constant"):
        kst.forecast(model, base, (x, 0 * y + 2), ["conv_1"], **STEPS)


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
