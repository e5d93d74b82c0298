"""Forecasts: what is predicted, chosen and refused, and what they leave alone."""

import dataclasses
import json
import math

import keras
import numpy as np
import pytest

import keras_spectral_tl as kst
from keras_spectral_tl import freezing, metrics, models
from keras_spectral_tl.scoring import Arm, ArmForecast, SampleCurve, default_arms
from keras_spectral_tl.scoring._arms import joined_arms
from keras_spectral_tl.scoring._contest import (
    _NOT_WORTH,
    _SCATTER,
    Effort,
    choose,
    usual_rate,
)
from keras_spectral_tl.scoring._holdout import Sizes, splits_of
from keras_spectral_tl.scoring._trials import pool_of
from keras_spectral_tl.transfer import Samples
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
        *("cost", "measured_steps"),
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


def test_the_json_file_holds_everything(found, tmp_path):
    document = json.loads(found.to_json(tmp_path / "forecast.json").read_text())
    assert set(document) == {
        *("best", "reason", "abstained", "ties", "arms", "spectra", "provenance"),
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


def dense():
    layers = [keras.layers.Dense(4, activation="tanh"), keras.layers.Dense(2)]
    return keras.Sequential([keras.Input((3,)), *layers])


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


def rng_of(seed):
    return np.random.default_rng(seed)


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


@pytest.mark.parametrize(("options", "kind", "match"), WRONG.values(), ids=list(WRONG))
def test_bad_input_is_refused_in_words(question, options, kind, match):
    model, _, target, before = question
    with pytest.raises(kind, match=match):
        kst.forecast(model, None, target, **{**STEPS, "arms": ["conv_1"], **options})
    assert freezing.layer_hashes(model) == before


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_samples_that_are_not_finite_are_refused(question, value):
    model, base, (x, y), _ = question
    y = y.copy()
    y[2, 1, 1, 0] = value
    with pytest.raises(ValueError, match="NaN or infinite"):
        kst.forecast(model, base, (x, y), ["conv_1"], **STEPS)


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
