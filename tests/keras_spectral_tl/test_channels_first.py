"""Networks with channels first get the normalization of the same network, last."""

import json

import keras
import numpy as np
import pytest

import keras_spectral_tl as kst
from keras_spectral_tl import transfer
from keras_spectral_tl._graph.grids import data_formats
from keras_spectral_tl.losses import WeightedMeanSquaredError
from keras_spectral_tl.report import picture_record, system_record
from keras_spectral_tl.transfer import ChannelStatistics, RefitOnTarget, Samples
from keras_spectral_tl.transfer._options import weighted
from tests.keras_spectral_tl.common import run

FIRST = "channels_first"
RNG = np.random.default_rng(0)
# Channels of different means and sizes: the axis matters.
X = RNG.normal([5.0, -2.0], [3.0, 0.1], size=(8, 6, 6, 2)).astype("float32")
Y = (np.roll(X, 1, axis=1) * [1.0, 7.0] + 0.3).astype("float32")
HOW = {"epochs": 2, "batch_size": 4, "normalization": RefitOnTarget()}


def first(*arrays):
    """The same samples with their channels first."""
    return tuple(np.moveaxis(array, -1, 1) for array in arrays)


def network(data_format, num_outputs=2):
    shape = (6, 6, 2) if data_format != FIRST else (2, 6, 6)
    how = {"padding": "same", "data_format": data_format}
    layers = [
        keras.layers.Conv2D(4, 3, activation="tanh", name="a", **how),
        keras.layers.Conv2D(num_outputs, 3, name="b", **how),
    ]
    return keras.Sequential([keras.Input(shape), *layers])


@pytest.fixture(scope="module", params=[1, 2], ids=["one output", "two outputs"])
def twins(request):
    """Networks of one function with channels last and first, and their samples."""
    keras.utils.set_random_seed(0)
    last, other = network("channels_last", request.param), network(FIRST, request.param)
    other.set_weights(last.get_weights())  # kernels have one layout
    pair = X, Y[..., : request.param]
    return (last, pair), (other, first(*pair))


def test_statistics_are_those_of_the_channels():
    expected = ChannelStatistics.of((X, Y))
    found = ChannelStatistics.of(first(X, Y), data_format=FIRST)
    for name in ("x_mean", "x_std", "y_mean", "y_std"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name))
    normalized = found.normalize(*first(X, Y))
    for one, other in zip(normalized, expected.normalize(X, Y), strict=True):
        np.testing.assert_allclose(one, *first(other), rtol=1e-5, atol=1e-6)
    for one, other in zip(found.denormalize(*normalized), first(X, Y), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_statistics_leave_out_points_without_weight():
    weights = np.ones((6, 6, 2))
    weights[2:, :, 0] = 0.0
    known = [
        ChannelStatistics.of(
            weighted(Samples.of(pair), WeightedMeanSquaredError(points)), "", layout
        )
        for pair, points, layout in (
            ((X, Y), weights, "channels_last"),
            (first(X, Y), np.moveaxis(weights, -1, 0), FIRST),
        )
    ]
    for name in ("x_mean", "x_std", "y_mean", "y_std"):
        one, other = (getattr(each, name) for each in known)
        np.testing.assert_allclose(one, other, rtol=1e-6)


def test_samples_without_fields_have_their_channels_last():
    """As the outputs of a network that ends in a dense layer."""
    y = Y.mean(axis=(1, 2))
    found = ChannelStatistics.of((*first(X), y), data_format=FIRST)
    np.testing.assert_allclose(found.normalize(*first(X), y)[1].mean(0), 0, atol=1e-5)


def test_retraining_sweep_and_baselines_do_not_depend_on_the_axis(twins):
    rows = []
    for model, pair in twins:
        result = kst.retrain(model, pair, "b", **HOW)
        assert len(result.normalization.x_mean) == 2
        sweep = kst.oracle_sweep(model, pair, pair, layers=["b"], cache=None, **HOW)
        names = ["unchanged", "gain_only"]
        table = transfer.baselines(model, pair, pair, include=names, **HOW)
        rows.append([result.row(pair), *sweep.rows, *table.rows])
    for one, other in zip(*rows, strict=True):
        assert one["cc"] == pytest.approx(other["cc"], abs=1e-4)
        assert one["relative_rmse"] == pytest.approx(other["relative_rmse"], rel=1e-4)


def test_the_data_format_is_in_the_record(twins):
    _, (model, pair) = twins
    result = kst.retrain(model, pair, "b", **HOW)
    assert result.provenance["data"]["statistics"]["data_format"] == FIRST
    assert result.normalization == ChannelStatistics.of(pair, data_format=FIRST)
    assert result.normalization != ChannelStatistics.of(pair)


def test_a_forecast_does_not_depend_on_the_axis(twins):
    found = [
        kst.forecast(
            model, None, pair, ["b"], steps=8, normalization=RefitOnTarget()
        ).rows
        for model, pair in twins
    ]
    for one, other in zip(*found, strict=True):
        assert one.label == other.label
        assert one.correlation == pytest.approx(other.correlation, abs=1e-3)


def test_the_command_line_measures_statistics_of_the_channels(twins, tmp_path):
    _, (model, pair) = twins
    model.save(tmp_path / "base.keras")
    np.savez(tmp_path / "target.npz", x=pair[0], y=pair[1])
    files = (tmp_path / "base.keras", "--target", tmp_path / "target.npz")
    out = "--epochs", 1, "--out", tmp_path / "run"
    assert run("score", *files, "--base", tmp_path / "target.npz", *out) in (0, 1)
    assert run("retrain", *files, "--layers", "b", *out) == 0
    found = json.loads((tmp_path / "run" / "provenance.json").read_text())
    record = found["retrain"]["normalization"]["target"]
    expected = ChannelStatistics.of(pair, data_format=FIRST)
    assert record["data_format"] == FIRST
    np.testing.assert_allclose(record["x_std"], expected.x_std)
    np.testing.assert_allclose(record["y_mean"], expected.y_mean)
    shown = system_record(expected.normalize(*pair), data_format=FIRST)
    systems = json.loads((tmp_path / "run" / "systems.json").read_text())
    for side in ("x_spectra", "y_spectra"):
        np.testing.assert_allclose(systems["target"][side], shown[side], rtol=1e-5)
    pictures = json.loads((tmp_path / "run" / "pictures.json").read_text())["fields"]
    for channel, picture in enumerate(pictures[:2]):
        field = expected.normalize(*pair)[0][0, channel]
        np.testing.assert_allclose(picture["values"], field, rtol=1e-2)


def test_records_of_a_report_do_not_depend_on_the_axis(twins):
    """Spectra of each channel and pictures, with fewer channels than points or more."""
    (last, pair), (other, turned) = twins
    names = {"x": ["vorticity", "streamfunction"]}
    for what, shape in (("x_spectra", 2), ("y_spectra", pair[1].shape[-1])):
        expected = system_record(pair, channels=names)[what]
        found = system_record(turned, channels=names, data_format=FIRST)[what]
        np.testing.assert_allclose(found, expected, rtol=1e-5)
        assert len(found) == shape
    expected = picture_record({"target": pair}, {"after": last}, names)
    found = picture_record({"target": turned}, {"after": other}, names, FIRST)
    for kind, pictures in expected.items():
        for one, same in zip(found[kind], pictures, strict=True):
            assert one["title"] == same["title"]
            np.testing.assert_allclose(one["values"], same["values"], rtol=1e-2)


def test_statistics_on_another_axis_are_refused(twins):
    _, (model, pair) = twins
    on_last = {**HOW, "normalization": ChannelStatistics.of(pair)}
    with pytest.raises(ValueError, match="data_format='channels_first'"):
        kst.retrain(model, pair, "b", **on_last)
    normalized = Samples.of(pair).normalized(ChannelStatistics.of(pair))
    with pytest.raises(ValueError, match="Received statistics that are channels_last"):
        kst.retrain(model, normalized, "b", epochs=1)


def test_one_number_for_all_channels_fits_any_axis():
    model, pair = network(FIRST, 1), first(X, Y[..., :1])
    one = ChannelStatistics((1.0,), (2.0,), (0.5,), (3.0,))
    found = kst.retrain(model, pair, "b", **{**HOW, "normalization": one})
    assert found.normalization is one


@pytest.mark.parametrize("mixed", [False, True])
def test_an_axis_that_the_layers_do_not_tell_is_asked_for(mixed):
    """The samples have channels last, although the first convolution has not."""
    layers = [
        keras.layers.Permute((3, 1, 2), name="turn"),
        keras.layers.Conv2D(3, 3, padding="same", data_format=FIRST, name="a"),
        keras.layers.Permute((2, 3, 1)),
    ]
    if mixed:
        layers.append(keras.layers.Conv2D(2, 1, name="b"))
    model = keras.Sequential([keras.Input((6, 6, 2)), *layers])
    pair = X, Y if mixed else Y[..., [0, 1, 0]]
    with pytest.raises(ValueError, match=r"Permute 'turn'.*Pass statistics"):
        kst.retrain(model, pair, "a", **HOW)
    given = {**HOW, "normalization": ChannelStatistics.of(pair)}
    assert kst.retrain(model, pair, "a", **given).changed == ("a",)


def test_layers_turned_within_are_those_of_the_samples_axes():
    """Convolutions with channels first between `Permute` layers: x, y stay channels
    last, so scores, grids and compositions are those of the network without them."""
    keras.utils.set_random_seed(0)
    how = {"padding": "same", "data_format": FIRST}
    turned = [
        keras.layers.Permute((3, 1, 2)),
        keras.layers.Conv2D(4, 3, activation="tanh", name="a", **how),
        keras.layers.Conv2D(1, 3, name="b", **how),
        keras.layers.Permute((2, 3, 1)),
    ]
    how["data_format"] = "channels_last"
    plain = [
        keras.layers.Conv2D(4, 3, activation="tanh", name="a", **how),
        keras.layers.Conv2D(1, 3, name="b", **how),
    ]
    shape = (16, 8, 2)
    models = [keras.Sequential([keras.Input(shape), *ls]) for ls in (turned, plain)]
    models[1].set_weights(models[0].get_weights())
    x = RNG.normal(size=(4, *shape)).astype("float32")
    pair = x, np.roll(x[..., :1], 1, axis=1) + np.arange(16.0)[:, None, None] / 8
    scorer = kst.scoring.HeldOutRetraining(steps=4, learning_rate=1e-2)
    one, other = (kst.score_layers(m, pair, pair, [scorer]) for m in models)
    assert one.provenance["grid"] == other.provenance["grid"] == [16, 8]
    for name, score in other.scores[scorer.name].items():
        assert one.scores[scorer.name][name] == pytest.approx(score, abs=1e-4)
    grids = [{n: s.grid for n, s in kst.kernel_spectra(m).items()} for m in models]
    assert grids[0] == grids[1] == {"a": (16, 8), "b": (16, 8)}
    gains = [kst.spectra.measured_composition(m, x[:1], [2]).gains for m in models]
    np.testing.assert_allclose(*gains, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("place", ["behind", "between", "beside", "two inputs"])
def test_operations_that_are_no_layers_do_not_hide_the_axes(place):
    def turned(fields):
        moved = keras.layers.Permute((3, 1, 2))(fields)
        moved = keras.ops.relu(moved) if place == "between" else moved
        conv = keras.layers.Conv2D(2, 3, padding="same", data_format=FIRST)
        return keras.layers.Permute((2, 3, 1))(conv(moved))

    inputs = keras.Input((16, 8, 2))
    outputs = turned(inputs)
    if place == "behind":
        outputs = keras.ops.tanh(outputs)
    if place == "beside":
        outputs = outputs + inputs
    if place == "two inputs":
        other = keras.Input((16, 8, 2))
        outputs, inputs = outputs * turned(other), [inputs, other]
    formats = data_formats(keras.Model(inputs, outputs))
    assert formats == ("channels_last", "channels_last")
