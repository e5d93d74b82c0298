"""Weights of points, such as areas of cells and 0 on land, count in every figure."""

import dataclasses
import json

import keras
import numpy as np
import pytest

import keras_spectral_tl as kst
from keras_spectral_tl.__main__ import main
from keras_spectral_tl.cli._samples import read_weights
from keras_spectral_tl.freezing import OutputGain
from keras_spectral_tl.losses import WeightedMeanSquaredError
from keras_spectral_tl.metrics import pattern_correlation, relative_rmse
from keras_spectral_tl.scoring._network_parts import PartedNetwork
from keras_spectral_tl.transfer import (
    ChannelStatistics,
    RefitOnTarget,
    RetrainOptions,
    Samples,
    baselines,
    fit_output_gain,
)
from keras_spectral_tl.transfer._options import weighted

# (latitude, longitude, channels); a third of the points is land.
LAND = np.zeros((8, 8, 1), bool)
LAND[2:6, 2:7] = True
AREAS = np.cos(np.linspace(-1.2, 1.2, 8))[:, None, None] * ~LAND
LOSS = WeightedMeanSquaredError(AREAS)


def system(shift, count, seed):
    x = np.random.default_rng(seed).normal(size=(count, 8, 8, 2)).astype("float32")
    return x, np.roll(x[..., :1], shift, axis=1) + 0.2 * x[..., 1:]


def with_junk(data, seed):
    """Other values of y on land."""
    x, y = data
    junk = np.random.default_rng(seed).normal(size=y.shape, scale=50.0)
    return x, np.where(LAND, junk, y).astype("float32")


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    network = kst.build_sgs_cnn((8, 8, 2), num_layers=2, num_filters=4)
    network.compile(keras.optimizers.Adam(1e-2), "mse")
    network.fit(*system(0, 64, 0), epochs=10, verbose=0)
    return network


BASE, TARGET, TEST = system(0, 6, 1), system(1, 6, 2), system(1, 5, 3)
HOW = {"epochs": 3, "batch_size": 2}


def measured(weights, model, data):
    x, y = data
    outputs = model.predict(x, verbose=0)
    return {
        "cc": pattern_correlation(y, outputs, weights),
        "relative_rmse": relative_rmse(y, outputs, weights),
    }


def test_figures_of_a_retrained_network_have_the_weights_of_its_loss(model):
    result = kst.retrain(model, TARGET, "conv_1", loss=LOSS, **HOW)
    row = result.row(TEST)
    for name, value in measured(AREAS, result.model, TEST).items():
        assert row[name] == pytest.approx(value, rel=1e-6)
    assert row["cc"] != pytest.approx(measured(None, result.model, TEST)["cc"])


def test_rows_of_a_sweep_have_them_too_and_those_of_the_controls(model):
    arms = [kst.scoring.Arm("unchanged", ()), OutputGain(), "conv_1"]
    sweep = kst.oracle_sweep(
        model, TARGET, TEST, arms=arms, base_test=BASE, loss=LOSS, **HOW
    )
    unchanged, gained, layer = sweep.rows
    expected = measured(AREAS, model, TEST)
    assert unchanged["cc"] == pytest.approx(expected["cc"], rel=1e-6)
    on_base = measured(AREAS, model, BASE)["cc"]
    assert unchanged["base_correlation"] == pytest.approx(on_base, rel=1e-6)
    # The gain minimizes the weighted error of the target samples.
    outputs, truth = model.predict(TARGET[0], verbose=0), TARGET[1]
    gain = np.sum(AREAS * outputs * truth) / np.sum(AREAS * outputs**2)
    x, y = TEST
    error = relative_rmse(y, gain * model.predict(x, verbose=0), AREAS)
    assert gained["relative_rmse"] == pytest.approx(error, rel=1e-5)
    alone = kst.retrain(model, TARGET, "conv_1", loss=LOSS, **HOW).row(TEST)
    assert layer["cc"] == pytest.approx(alone["cc"], abs=1e-6)
    table = baselines(model, TARGET, TEST, include=["gain_only"], loss=LOSS, **HOW)
    assert table.rows[0]["relative_rmse"] == pytest.approx(error, rel=1e-5)


@pytest.mark.parametrize("count", [6, 1])
def test_values_on_land_change_no_forecast_and_no_recipe(model, count):
    target = tuple(part[:count] for part in TARGET)
    some = {"arms": ["conv_1", OutputGain(), None], "steps": 20, "loss": LOSS}
    found = [
        kst.forecast(model, with_junk(BASE, seed), with_junk(target, seed), **some)
        for seed in (1, 2)
    ]
    one, other = ([dataclasses.astuple(row) for row in each.rows] for each in found)
    assert one == other
    assert found[0].recipe["loss"] is LOSS
    results = [
        kst.retrain(model, with_junk(target, seed), **found[0].recipe_for("conv_1"))
        for seed in (1, 2)
    ]
    assert results[0].hashes_after == results[1].hashes_after


def test_a_forecast_with_weights_is_measured_on_its_own_samples(model):
    target = with_junk(TARGET, 1)
    some = {"arms": ["conv_1"], "steps": 4, "loss": LOSS}
    found = kst.forecast(model, None, target, **some)
    measured = found.measure(model, target, TEST, arms=["conv_1"])
    assert [row["layer"] for row in measured.rows] == ["conv_1"]
    with pytest.raises(ValueError, match="Expected the target samples of the forecast"):
        found.measure(model, with_junk(TARGET, 2), TEST)


def test_values_on_land_change_no_score(model):
    scores = [
        kst.score_layers(
            model, with_junk(BASE, seed), with_junk(TARGET, seed), loss=LOSS, **HOW
        )
        for seed in (1, 2)
    ]
    assert scores[0].scores == scores[1].scores
    assert scores[0].intervals == scores[1].intervals
    (result,) = scores[0].results.values()
    steps = result.evidence["conv_1"]["cc_by_step"]
    every = measured(AREAS, model, TARGET)["cc"]  # all samples are held out once
    assert steps[0] == pytest.approx(every, abs=1e-5)


def test_a_forecast_is_of_the_weighted_correlation(model):
    found = kst.forecast(model, BASE, TARGET, arms=["conv_1"], steps=5, loss=LOSS)
    row = next(row for row in found.rows if row.label == "unchanged")
    assert row.correlation == pytest.approx(
        measured(AREAS, model, TARGET)["cc"], abs=1e-6
    )
    assert row.base_correlation == pytest.approx(
        measured(AREAS, model, BASE)["cc"], abs=1e-6
    )


def test_the_scale_of_weights_has_no_effect(model):
    some = {"arms": ["conv_1"], "steps": 20}
    small = WeightedMeanSquaredError(1e-6 * AREAS)
    one, other = (
        kst.forecast(model, BASE, TARGET, **some, loss=loss).rows
        for loss in (LOSS, small)
    )
    for row, same in zip(one, other, strict=True):
        assert row.correlation == pytest.approx(same.correlation, abs=1e-6)


def test_equal_weights_are_as_none(model):
    some = {"arms": ["conv_1"], "steps": 20}
    equal = WeightedMeanSquaredError(np.ones(1))
    one, other = (
        kst.forecast(model, BASE, TARGET, **some, loss=loss).rows
        for loss in ("mse", equal)
    )
    for row, same in zip(one, other, strict=True):
        assert row.correlation == pytest.approx(same.correlation, abs=1e-6)
    assert "loss" not in kst.forecast(model, BASE, TARGET, **some, loss="mse").recipe


def test_a_single_sample_is_cut_where_half_of_the_weight_is(model):
    ocean = np.zeros((8, 8, 1))
    ocean[6:] = 1.0  # a half along the longest axis would be land
    loss = WeightedMeanSquaredError(ocean)
    target = tuple(part[:1] for part in TARGET)
    found = kst.forecast(model, BASE, target, arms=["conv_1"], steps=5, loss=loss)
    assert all(np.isfinite(row.correlation) for row in found.rows)
    ocean[7] = 0.0
    with pytest.raises(ValueError, match="cannot be divided"):
        kst.forecast(model, BASE, target, steps=5, loss=loss)


@pytest.mark.parametrize("fill", [-999.0, 1e20])
def test_a_normalization_leaves_out_points_without_weight(model, fill):
    x, y = TARGET
    filled = np.where(LAND, fill, x), np.where(LAND, fill, y)
    ocean = np.repeat(~LAND[None], len(x), 0)[..., 0]
    equal = WeightedMeanSquaredError(1.0 * ~LAND)
    how = {"loss": equal, "normalization": RefitOnTarget(), **HOW}
    samples, _ = RetrainOptions.of(how).prepare(filled, model)
    found = samples.statistics
    np.testing.assert_allclose(found.x_mean, x[ocean].mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(found.y_std, y[ocean].std(axis=0), rtol=1e-5)
    # x on land is seen by the network: a fill value there is not 0.
    target = x, filled[1]
    results = [kst.retrain(model, data, "conv_1", **how) for data in (TARGET, target)]
    assert results[0].hashes_after == results[1].hashes_after


def test_weights_may_leave_out_a_channel():
    keras.utils.set_random_seed(0)
    model = kst.build_sgs_cnn((8, 8, 2), num_layers=2, num_filters=4, num_outputs=2)
    x, y = system(1, 6, 2)
    both = [np.concatenate([y, junk * y], -1) for junk in (1.0, -300.0)]
    loss = WeightedMeanSquaredError(np.array([1.0, 0.0]))
    one, other = (kst.score_layers(model, (x, y), (x, y), loss=loss) for y in both)
    assert one.scores == other.scores


def test_a_channel_without_weight_is_not_scaled():
    x, y = np.arange(8.0).reshape(2, 4, 1), np.arange(16.0).reshape(2, 4, 2)
    loss = WeightedMeanSquaredError(np.array([1.0, 0.0]))
    found = ChannelStatistics.of(weighted(Samples.of((x, y)), loss))
    np.testing.assert_allclose(found.x_mean, [3.5])
    np.testing.assert_allclose(found.y_mean[0], 7.0)
    assert found.y_std[1] == 1.0


def turned(x, y):
    """A quarter turn, which keeps these weights of no field."""
    return np.rot90(x, axes=(1, 2)), -np.rot90(y, axes=(1, 2))


def mirrored(x, y):
    """From west to east."""
    return x[:, :, ::-1], -y[:, :, ::-1]


def test_symmetries_that_move_weights_are_refused(model):
    symmetric = WeightedMeanSquaredError(AREAS[:, 7:])  # the same at each longitude
    kst.retrain(model, TARGET, "conv_1", loss=symmetric, symmetries=[mirrored], **HOW)
    for call in (
        lambda: kst.retrain(
            model, TARGET, "conv_1", loss=symmetric, symmetries=[turned], **HOW
        ),
        lambda: kst.forecast(
            model, BASE, TARGET, loss=LOSS, symmetries=[mirrored], steps=5
        ),
    ):
        with pytest.raises(ValueError, match="places of other weights"):
            call()


def test_a_symmetry_that_works_in_place_is_refused_as_any_other(model):
    symmetric = WeightedMeanSquaredError(AREAS[:, 7:])
    before = [np.array(part) for part in TARGET]

    def in_place(x, y):
        x[...], y[...] = turned(np.array(x), np.array(y))
        return x, y

    with pytest.raises(ValueError, match="places of other weights"):
        kst.retrain(
            model, TARGET, "conv_1", loss=symmetric, symmetries=[in_place], **HOW
        )
    for part, kept in zip(TARGET, before, strict=True):
        np.testing.assert_array_equal(part, kept)


def test_the_images_of_weights_leave_out_what_a_symmetry_adds(model):
    def shifted(x, y):
        return x + 1.0, y + 1.0

    kst.retrain(model, TARGET, "conv_1", loss=LOSS, symmetries=[shifted], **HOW)
    with pytest.raises(TypeError, match="Expected a pair"):
        kst.retrain(
            model, TARGET, "conv_1", loss=LOSS, symmetries=[lambda x, y: x], **HOW
        )


def test_fill_values_overflow_nowhere(model):
    x, y = TARGET
    filled = x, np.where(LAND, np.float32(1e30), y)
    histories = [
        kst.retrain(
            model, data, "conv_1", loss=LOSS, validation_data=data, replay=data, **HOW
        ).history
        for data in (TARGET, filled)
    ]
    assert histories[0] == histories[1]
    assert np.isfinite(histories[0]["val_loss"]).all()


def test_samples_have_weights_only_with_their_loss(model):
    samples = Samples(*TARGET, weights=np.ones((8, 8, 1)))
    assert weighted(samples, "mse").weights is None


def test_a_gain_of_its_own_has_the_weights(model):
    outputs, truth = model.predict(TARGET[0], verbose=0), TARGET[1]
    gain = np.sum(AREAS * outputs * truth) / np.sum(AREAS * outputs**2)
    found = fit_output_gain(model, TARGET, loss=LOSS).history["gain"]
    assert found == pytest.approx([gain], rel=1e-5)


def test_masks_and_weights_are_multiplied():
    inputs = keras.Input((3, 1))
    outputs = keras.layers.Dense(1)(keras.layers.Masking(0.0)(inputs))
    x = np.array([[[1.0], [2.0], [0.0]]])
    weights = np.array([[1.5], [0.5], [1.0]])
    network = PartedNetwork(keras.Model(inputs, outputs), x, 1, weights)
    np.testing.assert_array_equal(network.weights[0, :, 0], [1.5, 0.5, 0.0])


def test_weights_of_another_shape_are_refused(model):
    loss = WeightedMeanSquaredError(np.ones((5, 1, 1)))
    for call in (
        lambda: kst.forecast(model, BASE, TARGET, loss=loss),
        lambda: kst.score_layers(model, BASE, TARGET, loss=loss),
        lambda: kst.retrain(model, TARGET, "conv_1", loss=loss),
    ):
        with pytest.raises(ValueError, match=r"\(8, 8, 1\).*shape \(5, 1, 1\)"):
            call()


def test_points_without_a_value_lead_to_the_weights():
    x, y = TARGET
    with pytest.raises(ValueError, match=r"land, put 0 .*WeightedMeanSquaredError"):
        Samples.of((x, np.where(LAND, np.nan, y)))


@pytest.mark.once
def test_weights_in_the_file_of_the_target_count_in_every_command(files, tmp_path):
    folders = []
    for seed in (1, 2):  # of values on land
        folder = tmp_path / str(seed)
        folder.mkdir()
        for name in ("base", "target", "test"):
            with np.load(files / f"{name}.npz") as file:
                x, y = with_junk((file["x"], file["y"]), seed)
            weights = {"weights": AREAS} if name == "target" else {}
            np.savez(folder / f"{name}.npz", x=x, y=y, **weights)
        data = [str(files / "base.keras"), "--out", str(folder / "run")]
        data += ["--normalize", "none", "--target", str(folder / "target.npz")]
        base = ["--base", str(folder / "base.npz")]
        assert main(["forecast", *data, *base, "--steps", "10"]) in (0, 1)
        assert main(["score", *data, *base, "--epochs", "10"]) in (0, 1)
        how = ["--test", str(folder / "test.npz"), "--layers", "conv_2", "--sweep"]
        assert main(["retrain", *data, *how, "--epochs", "2"]) == 0
        folders.append(folder / "run")
    one, other = (
        {
            "arms": json.loads((folder / "forecast.json").read_text())["arms"],
            "scores": json.loads((folder / "scores.json").read_text())["scores"],
            "rows": [
                {name: row[name] for name in ("network", "cc", "relative_rmse")}
                for row in json.loads((folder / "a_priori.json").read_text())
            ],
            "sweep": [
                row["cc"]
                for row in json.loads((folder / "sweep.json").read_text())["rows"]
            ],
        }
        for folder in folders
    )
    assert one == other
    (row,) = [row for row in one["rows"] if row["network"] == "conv_2 retrained"]
    retrained = kst.transfer.load_retrained(folders[0] / "retrained")
    with np.load(files / "test.npz") as file:
        expected = measured(AREAS, retrained, (file["x"], file["y"]))
    assert row["cc"] == pytest.approx(expected["cc"], rel=1e-5)


@pytest.mark.once
def test_weights_of_a_file_need_the_squared_error(files, tmp_path, capsys):
    with np.load(files / "target.npz") as file:
        np.savez(tmp_path / "target.npz", **file, weights=AREAS)
    data = [str(files / "base.keras"), "--target", str(tmp_path / "target.npz")]
    data += ["--layers", "conv_2", "--loss", "mae", "--out", str(tmp_path / "run")]
    assert main(["retrain", *data]) == 2
    assert "weights of points" in capsys.readouterr().err


@pytest.mark.once
def test_weights_in_a_zarr_file(tmp_path):
    zarr = pytest.importorskip("zarr")
    group = zarr.open_group(tmp_path / "target.zarr", mode="w")
    x, y = TARGET
    for name, array in (("x", x), ("y", y), ("weights", AREAS)):
        group.create_array(name, data=array)
    read = read_weights(str(tmp_path / "target.zarr"))
    np.testing.assert_array_equal(read, AREAS)


@pytest.mark.parametrize("batch_size", [4, 8])
def test_masks_of_outputs_leave_out_points(batch_size):
    """Time steps 2 and 3 of the first samples; of the last sample all."""
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(8, 4, 3)), rng.normal(size=(8, 4, 1))
    x[:4, 2:] = x[7] = 0.0
    counts = np.any(x != 0.0, axis=2, keepdims=True)
    weights = np.arange(1.0, 5.0)[:, None]
    inputs = keras.Input((4, 3))
    hidden = keras.layers.Masking()(inputs)
    outputs = keras.layers.LSTM(1, return_sequences=True)(hidden)
    network = keras.Model(inputs, outputs)
    network.compile("sgd", WeightedMeanSquaredError(weights))
    squares = (network.predict(x, verbose=0) - y) ** 2
    used = weights * counts
    above, below = np.sum(used * squares, axis=(1, 2)), np.sum(used, axis=(1, 2))
    expected = np.divide(above, below, out=np.zeros(8), where=below > 0)
    found = network.evaluate(x, y, batch_size=batch_size, verbose=0)
    assert found == pytest.approx(expected.mean(), rel=1e-5)
