"""What was forecast is measured by the recipes of the forecast, and by no others."""

import keras
import numpy as np
import pytest

import keras_spectral_tl as kst
from keras_spectral_tl import freezing
from keras_spectral_tl.scoring import Arm
from keras_spectral_tl.scoring._explanation import dropout_note
from keras_spectral_tl.transfer import ChannelStatistics
from tests.keras_spectral_tl.common import dense, noise, planted

STEPS = {"steps": 12, "batch_size": 4, "progress": False}
ARMS = (
    Arm("output gain", freezing.OutputGain()),
    "conv_2",
    Arm("filters", freezing.FiltersOf()),
    Arm("pulled", pull=1.0),
    Arm("from scratch", freezing.NewWeights()),
)


@pytest.fixture(scope="module")
def question():
    """A network and samples of both systems, the target at a third of the amplitude."""
    model, base, (x, y) = planted(count=16)
    return model, base, (x[:8], y[:8] / 3.0), (x[8:], y[8:] / 3.0)


@pytest.fixture(scope="module")
def found(question):
    model, base, target, _ = question
    return kst.forecast(model, base, target, ARMS, seed=2, **STEPS)


def by_hand(model, target, recipe, seed):
    """The call that the recipe is for."""
    if recipe is None:
        return None
    if isinstance(recipe["layers"], freezing.OutputGain):
        return kst.fit_output_gain(model, target)
    return kst.retrain(model, target, seed=seed, **recipe)


def starts_from_a_gain(recipe):
    layers = recipe["layers"] if recipe else []
    return isinstance(layers, list) and isinstance(layers[-1], freezing.OutputGain)


@pytest.mark.slow
def test_every_arm_is_retrained_by_its_recipe(question, found):
    model, base, target, test = question
    result = found.measure(model, target, test, base_test=base, progress=False)
    assert [row["layer"] for row in result.rows] == [row.label for row in found.rows]
    assert starts_from_a_gain(found.recipe_for("conv_2"))  # amplitudes differ
    for row in result.rows:
        label = row["layer"]
        alone = by_hand(model, target, found.recipe_for(label), seed=2)
        if alone is None:
            continue
        expected = alone.row(test)
        for figure in ("cc", "relative_rmse"):
            assert row[figure] == pytest.approx(expected[figure], abs=1e-5), label
        left = alone.row(base)["cc"]
        assert row["base_correlation"] == pytest.approx(left, abs=1e-5), label
    recipe = found.recipe_for("conv_2")
    at_once = kst.retrain(model, target, seed=2, **{**recipe, "layers": "conv_2"})
    slower = kst.retrain(model, target, seed=2, **{**recipe, "epochs": 3})
    for other in (at_once, slower):  # without the gain, and with fewer steps
        assert abs(other.row(test)["cc"] - result.cc["conv_2"]) > 1e-3
    before = result.cc["unchanged"]
    assert result.cc["output gain"] == pytest.approx(before, abs=1e-6)


def test_some_arms_are_measured_in_the_order_asked_for(question, found, tmp_path):
    model, _, target, test = question
    options = {"directory": tmp_path / "rows", "progress": False}
    result = found.measure(model, target, test, arms=["unchanged", "conv_2"], **options)
    assert list(result.cc) == ["unchanged", "conv_2"]
    again = found.measure(model, target, test, arms=["conv_2"], **options)
    assert again.rows[0] == result.rows[1]  # from disk: its seconds too
    marks = [
        {float(x) for line in axes.lines for x in line.get_xdata()}
        for axes in (found.plot(measured=result), found.plot(measured=result.cc))
    ]
    assert marks[0] == marks[1] >= {*result.cc.values()}
    frame = found.to_frame(measured=result)
    for row in found.rows:
        cc, inside = frame.loc[row.label, ["measured", "inside"]]
        if row.label in result.cc:
            assert cc == result.cc[row.label]
            assert inside == (row.correlation_low <= cc <= row.correlation_high)
        else:
            assert cc is None or np.isnan(cc)
            assert inside is None
    narrow = found.to_frame({"conv_2": found["conv_2"].correlation_high + 1e-6})
    assert narrow.loc["conv_2", "inside"] is False
    with pytest.raises(KeyError, match="no arm 'conv_9'"):
        found.measure(model, target, test, arms=["conv_9"])


@pytest.mark.slow
def test_every_normalization_is_measured_with_its_statistics(question):
    model, base, target, test = question
    scaled = ChannelStatistics.of((target[0] * 3.0, target[1] * 3.0))
    both = {"few": ChannelStatistics.of(target), "wide": scaled}
    found = kst.forecast(
        model, base, target, ["conv_2"], normalization=both, seed=1, **STEPS
    )
    result = found.measure(model, target, test, progress=False)
    assert len(result.rows) == len(found.rows) == 4
    labels = [row.label for row in found.rows if not row.steps]
    fixed = found.measure(model, target, test, arms=labels, progress=False)
    assert fixed.cc == pytest.approx({label: result.cc[label] for label in labels})
    assert len(set(fixed.cc.values())) == 2
    for row in result.rows:
        recipe = found.recipe_for(row["layer"])
        if recipe is None:
            continue
        expected = kst.retrain(model, target, seed=1, **recipe).row(test)
        assert row["cc"] == pytest.approx(expected["cc"], abs=1e-5)
    cc = {row["layer"]: row["cc"] for row in result.rows if "conv_2" in row["layer"]}
    assert len(cc) == 2 and np.ptp(list(cc.values())) > 1e-4


@pytest.mark.slow
def test_replayed_samples_are_fitted_in_front_of_the_gain(question):
    """The target has a third of the amplitude: the base asks for none of that.

    A network that is right on the base, and on the target but for the amplitude, has
    nothing to learn from either.
    """
    model, base, (x, _), _ = question
    base, same = ((z, model.predict(z, verbose=0)) for z in (base[0], x))
    target = same[0], same[1] / 3.0
    told = {"replay": base, "arms": ["conv_2", "conv_3"], **STEPS}
    found = kst.forecast(model, base, target, **told)
    for label in ("conv_2", "conv_3"):
        recipe = found.recipe_for(label)
        gain = recipe["layers"][-1].initial
        assert gain == pytest.approx(1.0 / 3.0, rel=1e-4)
        np.testing.assert_allclose(recipe["replay"].y, gain * base[1], rtol=1e-6)
        assert found[label].relative_rmse < 0.05
        assert found[label].base_correlation > 0.98  # a hundredth is taken off
        after = kst.retrain(model, target, **recipe)
        assert after.row(target)["relative_rmse"] < 0.05
        assert after.row(base)["cc"] > 0.9999
    plain = kst.forecast(model, base, same, **told)  # amplitudes alike: no gain
    assert (
        plain.recipe_for("conv_2")["replay"].y is plain.recipe_for("conv_3")["replay"].y
    )


@pytest.mark.parametrize("replayed", [True, False])
@pytest.mark.parametrize("effort", [{"epochs": 3}, {"steps": 12}])
def test_the_recipe_takes_the_epochs_and_steps_asked_for(replayed, effort):
    """8 samples are 2 batches an epoch, and 4 with as many replayed ones."""
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((3,)), dense("first"), dense("last", 2)])
    data, base = (noise(8, 3), noise(8, 2, seed=1)), (noise(5, 3), noise(5, 2, seed=2))
    replay = {"replay": base} if replayed else {}
    asked = {**effort, "batch_size": 4, **replay}
    found = kst.forecast(model, base, data, ["first"], progress=False, **asked)
    batches = 4 if replayed else 2
    steps = effort.get("steps", 3 * batches)
    assert found["first"].steps == found.provenance["steps"] == steps
    recipe, counter = found.recipe_for("first"), _Steps()
    assert recipe["epochs"] == steps // batches
    kst.retrain(model, data, callbacks=[counter], **recipe)
    assert counter.steps == steps
    # A constant rate of 1e-3 adds up to the path of the scores.
    scores = kst.score_layers(model, base, data, progress=False, **asked)
    assert scores.provenance["path"] == pytest.approx(steps * 1e-3)


def test_samples_of_one_number_each_may_have_groups():
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((3,)), dense("first"), dense("last", 1)])
    data, groups = (noise(16, 3), noise(16, 1, seed=1)), np.repeat(np.arange(4), 4)
    found = kst.forecast(model, None, data, ["first"], groups=groups, **STEPS)
    row = found["first"]
    assert row.correlation_low <= row.correlation <= row.correlation_high


class _Steps(keras.callbacks.Callback):
    """Counts the steps of a fit."""

    steps = 0

    def on_train_batch_end(self, batch, logs=None):
        self.steps += 1


def test_another_network_and_other_samples_are_refused(question, found):
    model, _, (x, y), test = question
    other = kst.models.copy_model(model)
    weight = other.trainable_weights[0]
    weight.assign(weight + 0.5)
    with pytest.raises(ValueError, match=r"network of the forecast.*SHA-256"):
        found.measure(other, (x, y), test)
    with pytest.raises(ValueError, match=r"target samples of the forecast"):
        found.measure(model, (x[1:], y[1:]), test)


@pytest.mark.once
@pytest.mark.slow
@pytest.mark.parametrize("steps", [8, 30])
def test_a_retraining_of_few_steps_gets_as_far_as_forecast(steps):
    """Longer trials in its place would be off by .2 and more."""
    model, base, (x, y) = planted("conv_1", count=24)
    target, test = (x[:8], y[:8]), (x[8:], y[8:])
    arms = ["conv_1", "conv_2", Arm("all layers")]
    found = kst.forecast(
        model, base, target, arms, steps=steps, batch_size=4, progress=False
    )
    gave = found.measure(model, target, test, progress=False).cc
    off = {row.label: row.correlation - gave[row.label] for row in found.rows}
    assert max(map(abs, off.values())) < 0.1, off


def test_dropout_that_trials_leave_out_is_named():
    inner = keras.Sequential([keras.Input((4,)), keras.layers.Dropout(0.3)])
    model = keras.Sequential([keras.Input((4,)), inner, keras.layers.Dense(4)])
    assert "dropout (rate 0.3)" in dropout_note(model)
    x = np.random.default_rng(0).normal(size=(6, 4))
    found = kst.forecast(model, None, (x, x), arms=[None], steps=3)
    assert ("dropout" in found.reason) == found.best.trains
    recurrent = [keras.Input((3, 4)), keras.layers.LSTM(2, recurrent_dropout=0.2)]
    assert "dropout (rate 0.2)" in dropout_note(keras.Sequential(recurrent))
    plain = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4)])
    assert dropout_note(plain) == ""
