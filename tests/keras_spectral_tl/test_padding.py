"""Padded steps, which a network masks, count in no figure of merit."""

import keras
import numpy as np
import pytest

import keras_spectral_tl as kst
from keras_spectral_tl import metrics, transfer
from keras_spectral_tl.freezing import OutputGain
from keras_spectral_tl.losses import WeightedMeanSquaredError
from keras_spectral_tl.report import figures_row
from keras_spectral_tl.scoring import Arm
from keras_spectral_tl.transfer._pull import loss_before

L = keras.layers
RNG = np.random.default_rng(0)
STEPS = 4  # of 8 have values; one sample has none
X = RNG.normal(size=(12, 8, 3)).astype("float32")
X[:, STEPS:] = 0.0
X[-1] = 0.0
Y = np.tanh(X @ RNG.normal(size=(3, 2))).astype("float32")
PADDED = np.all(X == 0.0, axis=-1)
GARBAGE = np.where(PADDED[..., None], RNG.normal(size=Y.shape) * 50.0, Y)
GARBAGE = GARBAGE.astype("float32")
HOW = {"epochs": 2, "batch_size": 4}
BOTH = pytest.mark.parametrize("subclassed", [False, True])


@keras.saving.register_keras_serializable(package="tests_padding")
class Masked(keras.Model):
    """The same network without a graph."""

    def __init__(self, **options):
        super().__init__(**options)
        self.first = L.Masking()
        self.d, self.out = L.Dense(16, "tanh", name="d"), L.Dense(2, name="out")

    def call(self, x):
        return self.out(self.d(self.first(x)))

    def build(self, shape):
        self.d.build(shape)
        self.out.build((*shape[:-1], 16))


def network(subclassed=False):
    keras.utils.set_random_seed(0)
    if subclassed:
        model = Masked()
        model(X[:1])
    else:
        inputs = keras.Input((8, 3))
        hidden = L.Dense(16, "tanh", name="d")(L.Masking()(inputs))
        model = keras.Model(inputs, L.Dense(2, name="out")(hidden))
    model.compile(keras.optimizers.Adam(1e-2), "mse")
    model.fit(X, Y, epochs=5, verbose=0)
    return model


def figures(row):
    return {k: v for k, v in row.items() if k not in ("layer", "seconds")}


@BOTH
def test_figures_of_merit_are_those_of_the_other_steps(subclassed):
    model = network(subclassed)
    result = kst.retrain(model, (X, Y), "out", **HOW)
    outputs = result.model.predict(X, verbose=0)
    pair = Y[:-1, :STEPS], outputs[:-1, :STEPS]
    extra = {"sum": lambda true, found: float(np.sum(np.abs(true - found)))}
    for y in (Y, GARBAGE):
        found = result.figures_of_merit((X, y), extra=extra)
        expected = metrics.pattern_correlation(*pair)
        assert found["cc"] == pytest.approx(expected, abs=1e-6)
        error = metrics.relative_rmse(*pair)
        assert found["relative_rmse"] == pytest.approx(error, rel=1e-5)
        assert found["sum"] == pytest.approx(np.abs(pair[0] - pair[1]).sum(), rel=1e-5)
        row = figures_row("retrained", "all", result.model, (X, y))
        assert row["cc"] == found["cc"]


@BOTH
@pytest.mark.parametrize("cached", [False, True])
def test_garbage_in_the_padding_changes_no_row_of_a_sweep(subclassed, cached):
    model = network(subclassed)
    arms = ["out", Arm("unchanged", ()), Arm("gain", OutputGain())]
    arms.append(Arm("both", ["out", OutputGain(initial=None)]))
    how = {**HOW, **({} if cached else {"cache": None})}
    one, other = (
        kst.oracle_sweep(model, (X, y), (X, y), arms=arms, base_test=(X, y), **how)
        for y in (Y, GARBAGE)
    )
    for row, same in zip(one.rows, other.rows, strict=True):
        assert figures(row) == pytest.approx(figures(same), rel=1e-6)


def test_a_sweep_keeps_the_mask_of_a_nested_model():
    """Whose symbolic outputs do not tell that it masks them."""
    inside = [keras.Input((8, 3)), L.Masking(), L.Dense(16, "tanh", name="d")]
    inputs = keras.Input((8, 3))
    hidden = keras.Sequential(inside)(inputs)
    model = keras.Model(inputs, L.Dense(2, name="out")(hidden))
    one, other = (
        kst.oracle_sweep(model, (X, y), (X, y), layers=["out"], **HOW).rows[0]
        for y in (Y, GARBAGE)
    )
    assert figures(one) == pytest.approx(figures(other), rel=1e-6)


def test_garbage_in_the_padding_changes_no_baseline():
    model = network()
    one, other = (
        transfer.baselines(model, (X, y), (X, y), **HOW).rows for y in (Y, GARBAGE)
    )
    for row, same in zip(one, other, strict=True):
        assert figures(row) == pytest.approx(figures(same), rel=1e-6)
    gain, same = (transfer.fit_output_gain(model, (X, y)) for y in (Y, GARBAGE))
    assert gain.history == same.history


def test_garbage_in_the_padding_changes_no_measured_forecast():
    model = network()
    rows = []
    for y in (Y, GARBAGE):
        found = kst.forecast(model, (X, Y), (X, y), ["d", OutputGain()], steps=20)
        rows.append(found.measure(model, (X, y), (X, y)).rows)
    for row, same in zip(*rows, strict=True):
        assert figures(row) == pytest.approx(figures(same), rel=1e-6)


@pytest.mark.parametrize("loss", ["mse", keras.losses.MeanAbsoluteError()])
def test_the_loss_that_sets_a_pull_is_that_of_keras(loss):
    model = network()
    model.compile("sgd", loss)
    for y in (Y, GARBAGE):
        expected = model.evaluate(X, y, batch_size=len(X), verbose=0)
        found = loss_before(model, transfer.Samples.of((X, y)), loss)
        assert found == pytest.approx(expected, rel=1e-5)


def test_weights_of_points_count_along_with_the_mask():
    """Without weight, the second output adds nothing, nor do padded steps."""
    result = kst.retrain(network(), (X, Y), "out", **HOW)
    weights = np.broadcast_to([1.0, 0.0], (8, 2))
    found = [
        transfer.RetrainResult.figures_of_merit(
            kst.transfer.fit_output_gain(
                result.model, (X, y), loss=WeightedMeanSquaredError(weights)
            ),
            (X, y),
        )
        for y in (Y, GARBAGE * [1.0, -7.0])
    ]
    assert found[0] == pytest.approx(found[1], rel=1e-6)


@BOTH
def test_statistics_that_would_move_the_padding_are_refused(subclassed):
    model = network(subclassed)
    shifted = transfer.ChannelStatistics((0.5,), (2.0,), (0.0,), (1.0,))
    for how in (shifted, transfer.RefitOnTarget()):
        with pytest.raises(ValueError, match="masks steps whose inputs are all 0"):
            kst.retrain(model, (X, Y), "d", normalization=how, **HOW)
    scaled = transfer.ChannelStatistics((0.0,), (2.0,), (0.0,), (1.0,))
    kept = kst.retrain(model, (X, Y), "d", normalization=scaled, **HOW)
    plain = kst.retrain(model, (X / 2.0, Y), "d", **HOW)
    figures = [
        r.figures_of_merit(d)["cc"] for r, d in ((kept, (X, Y)), (plain, (X / 2, Y)))
    ]
    assert figures[0] == pytest.approx(figures[1], abs=1e-6)


def test_only_masks_of_the_inputs_are_asked():
    shifted = transfer.ChannelStatistics((0.5,), (2.0,), (0.0,), (1.0,))
    inputs = keras.Input((8, 3))
    inside = keras.Sequential([keras.Input((8, 3)), L.Masking(), L.Dense(4)])
    nested = keras.Model(inputs, L.Dense(2, name="out")(inside(inputs)))
    with pytest.raises(ValueError, match="masks steps whose inputs are all 0"):
        shifted.check_fits(nested)
    inputs = keras.Input((8, 3))
    hidden = L.Masking()(L.Dense(4, "relu")(inputs))
    shifted.check_fits(keras.Model(inputs, L.Dense(2)(hidden)))
    inputs = keras.Input((8, 3))
    of_nan = keras.Model(inputs, L.Dense(2)(L.Masking(float("nan"))(inputs)))
    transfer.ChannelStatistics((0.0,), (1.0,), (0.0,), (1.0,)).check_fits(of_nan)
