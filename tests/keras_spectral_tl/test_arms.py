"""Rows of arms are those of plain retrainings with the same recipe."""

import json
import math
import warnings

import keras
import numpy as np
import pytest

from keras_spectral_tl import metrics, scoring, spectra, transfer
from keras_spectral_tl.freezing import (
    BiasesOf,
    ChannelGainsOf,
    Depth,
    FiltersOf,
    KernelsOf,
    LowRankOf,
    NewWeights,
    OutputGain,
    select_layers,
)
from keras_spectral_tl.scoring import Arm
from keras_spectral_tl.transfer._arms import as_arms, layers_from_json, layers_to_json
from keras_spectral_tl.transfer._sweep_rows import RowTrainer
from tests.keras_spectral_tl.common import noise, planted

SINGLE = 1e-5  # float32 of whole and of cut networks, a few steps
QUICK = {"epochs": 2, "batch_size": 4, "run_eagerly": True, "seed": 3}
RNG = np.random.default_rng(5)
X = RNG.normal(size=(8, 4)).astype("float32")
Y = (X[:, :3] * X[:, 1:] + 0.1).astype("float32")
TEST = (X[::-1] + 0.1, Y[::-1])
BASE = (X - 0.2, np.tanh(Y))
ARMS = (
    Arm("nothing", ()),
    Arm("gain", OutputGain()),
    "b",
    Arm("biases", BiasesOf()),
    Arm("everything"),
    Arm("low rank", LowRankOf("a", 2)),
    Arm("channels", ChannelGainsOf("a")),
    Arm("scratch", NewWeights(seed=1)),
    Arm("last and gain", ["c", OutputGain(initial=0.5)]),
)


def _chain():
    keras.utils.set_random_seed(1)
    layers = [keras.layers.Dense(4, activation="tanh", name=name) for name in "ab"]
    return keras.Sequential(
        [keras.Input((4,)), *layers, keras.layers.Dense(3, name="c")]
    )


def _assert_row(row, result, base):
    alone = result.row(TEST)
    for name in ("cc", "relative_rmse", "num_parameters"):
        assert row[name] == pytest.approx(alone[name], rel=SINGLE, abs=SINGLE), name
    outputs = result.model.predict(base[0], verbose=0)
    expected = metrics.pattern_correlation(base[1], outputs)
    assert row["base_correlation"] == pytest.approx(expected, abs=SINGLE)


def test_rows_of_arms_are_single_retrainings():
    model = _chain()
    sweep = transfer.oracle_sweep(
        model, (X, Y), TEST, arms=ARMS, base_test=BASE, **QUICK
    )
    arms = as_arms(ARMS)
    assert [row["layer"] for row in sweep.rows] == [arm.label for arm in arms]
    frame = sweep.to_frame()
    assert list(frame.index) == list(sweep.cc) and frame.index.name == "label"
    rows = dict(zip(sweep.cc, sweep.rows, strict=True))
    names = ["unchanged", "gain_only"]
    controls = transfer.baselines(model, (X, Y), TEST, include=names).rows
    for label, control in zip(("nothing", "gain"), controls, strict=True):
        for name in ("cc", "relative_rmse", "num_parameters"):
            assert rows[label][name] == pytest.approx(control[name], rel=SINGLE)
    for arm in arms[2:]:
        result = transfer.retrain(model, (X, Y), arm.layers, **QUICK)
        _assert_row(rows[arm.label], result, BASE)
    kept = {"nothing", "b", "biases", "everything"}
    assert set(sweep.weights) == kept  # the others have more weights than the model
    outputs = sweep.model(model, "biases").predict(TEST[0], verbose=0)
    found = metrics.pattern_correlation(TEST[1], outputs)
    assert found == pytest.approx(rows["biases"]["cc"], abs=SINGLE)


def test_frozen_arms_cost_nothing_and_base_samples_are_in_units_of_the_network():
    """Unchanged, the base skill is the model's, whatever normalizes the target."""
    model = _chain()
    row = transfer.oracle_sweep(
        model, (X, Y), TEST, arms=[()], base_test=BASE, epochs=1,
        normalization=transfer.RefitOnTarget(),
    ).rows[0]  # fmt: skip
    expected = metrics.pattern_correlation(BASE[1], model.predict(BASE[0], verbose=0))
    assert row["layer"] == "unchanged" and row["seconds"] == 0.0
    assert row["base_correlation"] == pytest.approx(expected, abs=SINGLE)


@pytest.mark.once
def test_the_row_is_the_best_of_all_rates():
    model, factors = _chain(), (0.5, 1.0, 4.0)
    rates = {"b": 0.01, "unchanged": 0.0}
    row = transfer.oracle_sweep(
        model, (X, Y), TEST, arms=["b"], rates=rates, rate_factors=factors, **QUICK
    ).rows[0]
    found = {}
    for factor in factors:
        optimizer = keras.optimizers.Adam(0.01 * factor)
        result = transfer.retrain(model, (X, Y), "b", optimizer=optimizer, **QUICK)
        found[factor] = result.row(TEST)["cc"]
        assert row[f"cc_at_{factor:.3g}"] == pytest.approx(found[factor], abs=SINGLE)
    best = max(found, key=found.get)
    assert row["cc"] == row[f"cc_at_{best:.3g}"]
    assert row["learning_rate"] == pytest.approx(0.01 * best, rel=SINGLE)


def test_rates_are_the_first_of_a_schedule_and_may_diverge():
    model = _chain()

    def falling(rate):
        return keras.optimizers.SGD(keras.optimizers.schedules.CosineDecay(rate, 4))

    row = transfer.oracle_sweep(
        model, (X, Y), TEST, arms=["c"], optimizer=falling(0.5), rates={"c": 0.02},
        rate_factors=(1.0, 1e30), **QUICK,
    ).rows[0]  # fmt: skip
    result = transfer.retrain(model, (X, Y), "c", optimizer=falling(0.02), **QUICK)
    assert row["cc"] == pytest.approx(result.row(TEST)["cc"], abs=SINGLE)
    assert math.isnan(row["cc_at_1e+30"])
    with pytest.raises(FloatingPointError):
        transfer.oracle_sweep(
            model, (X, Y), TEST, arms=["c"], optimizer=falling(1e30), **QUICK
        )


@pytest.mark.once
def test_arms_on_disk_are_read_again_unless_the_label_means_another(
    tmp_path, monkeypatch
):
    model, trained = _chain(), []
    options = {**QUICK, "directory": tmp_path, "base_test": BASE}
    row = RowTrainer.row

    def watched(self, candidate):
        trained.append(candidate.label)
        return row(self, candidate)

    monkeypatch.setattr(RowTrainer, "row", watched)
    arms = [Arm("nothing", ()), Arm("mine", BiasesOf("a")), "b"]
    first = transfer.oracle_sweep(model, (X, Y), TEST, arms=arms, **options)
    again = transfer.oracle_sweep(model, (X, Y), TEST, arms=arms, **options)
    assert first.rows == again.rows and trained == ["nothing", "mine", "b"]
    transfer.oracle_sweep(model, (X, Y), TEST, layers="b", **options)
    assert len(trained) == 3  # one layer is the same row, by whatever way it was asked
    with pytest.warns(UserWarning, match="other weights"):
        transfer.oracle_sweep(
            model, (X, Y), TEST, arms=[Arm("mine", BiasesOf("b"))], **options
        )
    assert trained[3:] == ["mine"]
    with pytest.raises(ValueError, match="base_test"):
        transfer.oracle_sweep(
            model, (X, Y), TEST, arms=arms, **{**options, "base_test": TEST}
        )


@pytest.mark.once
@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"arms": "b"}, TypeError, "sequence of Arm"),
        ({"arms": []}, TypeError, "at least one"),
        ({"arms": ["b", Arm("b", "c")]}, ValueError, "different labels"),
        ({"arms": ["b"], "layers": ["c"]}, TypeError, "Received both"),
        ({"arms": [Arm("mine", "z")]}, KeyError, "named 'z'"),
        ({"arms": ["b"], "rates": [1.0]}, TypeError, "mapping"),
        ({"arms": ["b"], "rates": {"b": 0.0}}, ValueError, "positive learning rate"),
        ({"arms": ["b"], "rates": {"B": 0.1}}, ValueError, "no row 'B' .* rows: 'b'"),
        ({"layers": ["b"], "rates": {"c": 0.1}}, ValueError, "no row 'c' .* rows: 'b'"),
        ({"arms": ["b"], "rate_factors": (0.0,)}, ValueError, "rate_factors"),
        ({"arms": ["b"], "rate_factors": 2.0}, TypeError, "sequence"),
        ({"arms": ["b"], "base_test": (X, X)}, ValueError, "shape"),
    ],
)
def test_bad_arms_rates_and_base_samples_are_refused(options, error, match):
    with pytest.raises(error, match=match):
        transfer.oracle_sweep(_chain(), (X, Y), TEST, **QUICK, **options)


@pytest.mark.once
@pytest.mark.parametrize(
    "layers",
    [
        BiasesOf(),
        ["c", OutputGain(initial=3.0)],
        ["c", FiltersOf("a")],
        ["c", ("b", BiasesOf("a"))],
        ["c", select_layers(_chain(), BiasesOf())],
    ],
    ids=str,
)
def test_parts_in_place_of_layers_are_refused_and_belong_to_arms(layers):
    match = r"(?s)whole layers.* a part\. Pass it as an arm.*arms=\["
    with pytest.raises(TypeError, match=match):
        transfer.oracle_sweep(_chain(), (X, Y), TEST, layers=layers, **QUICK)


@pytest.mark.once
def test_whole_layers_chosen_before_are_rows():
    model = _chain()
    layers = [select_layers(model, "b"), Depth(1)]
    sweep = transfer.oracle_sweep(model, (X, Y), TEST, layers=layers, **QUICK)
    assert list(sweep.cc) == ["a", "b"]


def test_rates_of_other_sweeps_are_left_where_every_row_has_its_own():
    model = _chain()
    arms, rates = [Arm("nothing", ()), "b"], {"b": 0.01, "a+b": 0.1}
    both, alone = (
        transfer.oracle_sweep(model, (X, Y), TEST, arms=arms, rates=given, **QUICK)
        for given in (rates, {"b": 0.01})
    )
    assert both.cc == alone.cc
    assert both.rows[1]["learning_rate"] == pytest.approx(0.01)


def test_rows_without_weights_say_how_to_get_their_model():
    model = _chain()
    gained = ("c", OutputGain(initial=0.5))
    arms = ["b", gained, OutputGain(), LowRankOf("a", 2), NewWeights(seed=1)]
    sweep = transfer.oracle_sweep(model, (X, Y), TEST, arms=arms, **QUICK)
    for label in list(sweep.cc)[1:]:
        with pytest.raises(KeyError) as caught:
            sweep.model(model, label)
        for part in (
            f"no weights for {label!r}",
            "add weights to the model",
            "It has those of: b.",
            "retrain(model, target_data, arm.layers, ...)",
            f"forecast.recipe_for({label!r})",
        ):
            assert part in caught.value.args[0]


LABELS = {
    "all layers": None,
    "unchanged": (),
    "a+b": ("a", "b"),
    "biases": BiasesOf(),
    "biases of conv_1": BiasesOf("conv_1"),
    "kernels of a+b": KernelsOf(["a", "b"]),
    "low rank of a (rank=2)": LowRankOf("a", 2),
    "channel gains": ChannelGainsOf(),
    "filters of a (number=3)": FiltersOf("a", number=3),
    "new weights (seed=1)": NewWeights(seed=1),
    "a+output gain (initial=0.5)": ["a", OutputGain(initial=0.5)],
    "depth -2 to -1": Depth(-2, -1),
}


@pytest.mark.once
@pytest.mark.parametrize("label", LABELS)
def test_selectors_have_short_labels_and_come_back_from_json(label):
    (arm,) = as_arms([LABELS[label]])
    assert arm.label == label
    document = json.loads(json.dumps(layers_to_json(arm.layers)))
    layers = arm.layers
    assert layers_from_json(document) == (
        list(layers) if isinstance(layers, tuple) else layers
    )


@pytest.mark.once
def test_all_layers_beside_a_gain_come_back_from_json():
    layers = [slice(None), OutputGain(initial=0.5)]
    assert layers_from_json(layers_to_json(layers)) == layers


@pytest.mark.once
def test_filters_that_are_given_come_back_from_json():
    kernels = noise(3, 3, 8, 8)
    kernels += 9.0 * noise(8, 8, seed=1) * np.hanning(5)[1:4, None, None, None]
    found = spectra.principal_filters(kernels)
    for part in (FiltersOf("a", found), FiltersOf("a", found, 2)):
        document = json.loads(json.dumps(layers_to_json(part)))
        again = layers_from_json(document)
        np.testing.assert_array_equal(again.given_filters(), part.given_filters())


@pytest.mark.once
def test_what_has_no_form_in_json_is_refused_when_it_is_read():
    document = layers_to_json(["a", len])
    assert document[0] == "a"
    with pytest.raises(ValueError, match="Retrain it from Python"):
        layers_from_json(document)


@pytest.mark.once
def test_scoring_offers_the_same_arm():
    assert scoring.Arm is Arm


def test_a_test_on_samples_of_the_training_is_told():
    model, _, (x, y) = planted(count=6)
    target, test = (x[:4], y[:4]), (x[2:], y[2:])
    told = {"arms": [Arm("unchanged", ())], "progress": False}
    with pytest.warns(UserWarning, match="2 of the 4 test samples are target samples"):
        transfer.oracle_sweep(model, target, test, **told)
    with warnings.catch_warnings(record=True) as caught:
        transfer.oracle_sweep(model, target, (x[4:], y[4:]), **told)
    assert not [one for one in caught if "test samples" in str(one.message)]
