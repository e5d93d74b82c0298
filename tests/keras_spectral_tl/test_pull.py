"""The pull of trained weights to their start, against its formula."""

import keras
import numpy as np
import pytest

from keras_spectral_tl.freezing import NewWeights
from keras_spectral_tl.scoring import Arm
from keras_spectral_tl.transfer import (
    Samples,
    baselines,
    from_scratch,
    oracle_sweep,
    retrain,
)
from keras_spectral_tl.transfer._pull import loss_before
from tests.keras_spectral_tl.common import noise

RATE = 0.05
X = noise(6, 3).astype("float32")
Y = (noise(6, 2, seed=1) + 1.0).astype("float32")
WHOLE = {"batch_size": 6, "shuffle": False, "seed": 1}


def linear(**options):
    """A network y = x W + b whose loss is a quadratic of its weights."""
    keras.utils.set_random_seed(2)
    dense = keras.layers.Dense(2, name="dense", bias_initializer="ones", **options)
    return keras.Sequential([keras.Input((3,)), dense])


def weights(model):
    return np.concatenate([w.astype(float).ravel() for w in model.get_weights()])


def quadratic(model):
    """Matrix H and vector g of the loss L0 + g (w - w0) + (w - w0) H (w - w0) / 2."""
    design = np.zeros((12, 8))
    inputs = np.column_stack([X, np.ones(6)])
    for channel in range(2):
        design[channel::2, channel::2] = inputs
    residual = (Y - model.predict(X, verbose=0)).astype(float).ravel()
    return 2 * design.T @ design / 12, -2 * design.T @ residual / 12, residual


def factor(model, strength, residual):
    return strength * np.mean(residual**2) / np.sum(weights(model) ** 2)


def trained(model, strength, epochs, optimizer=None, data=(X, Y)):
    optimizer = optimizer or keras.optimizers.SGD(RATE)
    options = {**WHOLE, "epochs": epochs, "optimizer": optimizer}
    return retrain(model, data, None, pull=strength, **options)


@pytest.mark.parametrize("strength", [0.0, 0.5, 3.0])
def test_two_steps_follow_the_gradient_of_the_formula(strength):
    """The first step has no pull; in the second it is factor (w - w0)."""
    model = linear()
    hessian, slope, residual = quadratic(model)
    moved = -RATE * slope
    pull = factor(model, strength, residual) * moved
    moved = moved - RATE * (slope + hessian @ moved + pull)
    result = trained(model, strength, epochs=2)
    found = weights(result.model) - weights(model)
    np.testing.assert_allclose(found, moved, rtol=1e-4, atol=1e-6)


def test_training_ends_at_the_minimum_of_loss_and_pull():
    """(H + factor) (w - w0) = -g; so weights stay at their start as it grows."""
    model = linear()
    hessian, slope, residual = quadratic(model)
    distances = []
    for strength in (20.0, 60.0, 200.0):
        size = factor(model, strength, residual)
        expected = np.linalg.solve(hessian + size * np.eye(8), -slope)
        rate = 1.0 / (np.linalg.eigvalsh(hessian)[-1] + size)
        result = trained(model, strength, 40, keras.optimizers.SGD(rate))
        found = weights(result.model) - weights(model)
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)
        distances.append(np.linalg.norm(found))
    assert distances[0] > distances[1] > distances[2]
    assert distances[2] < np.linalg.norm(slope) / size


def test_no_strength_is_no_pull_bit_for_bit():
    model = linear()
    plain = retrain(model, (X, Y), None, epochs=3, **WHOLE)
    none = retrain(model, (X, Y), None, epochs=3, pull=0.0, **WHOLE)
    assert plain.hashes_after == none.hashes_after


def test_the_pull_does_not_know_the_units_of_the_output():
    """With the loss c^2 times as large, a rate of 1 / c^2 takes the same steps."""
    model, factor_of_y = linear(), 8.0
    scaled = linear()
    scaled.set_weights([factor_of_y * w for w in model.get_weights()])
    one = trained(model, 2.0, 3)
    other = trained(scaled, 2.0, 3, data=(X, factor_of_y * Y))
    np.testing.assert_allclose(
        weights(other.model), factor_of_y * weights(one.model), rtol=1e-4, atol=1e-5
    )


def test_own_regularizers_count_and_are_there_afterwards():
    model = linear(kernel_regularizer=keras.regularizers.L2(0.1))
    hessian, slope, residual = quadratic(model)
    kernel = np.repeat([1.0, 0.0], [6, 2])
    slope, hessian = slope + 0.2 * kernel * weights(model), hessian
    moved = -RATE * slope
    pull = factor(model, 2.0, residual) * moved
    moved = moved - RATE * (slope + (hessian + 0.2 * np.diag(kernel)) @ moved + pull)
    result = trained(model, 2.0, epochs=2)
    found = weights(result.model) - weights(model)
    np.testing.assert_allclose(found, moved, rtol=1e-4, atol=1e-6)
    layer = result.model.layers[-1]
    assert isinstance(layer.kernel.regularizer, keras.regularizers.L2)
    assert layer.bias.regularizer is None
    assert result.provenance["pull"] == 2.0


def test_a_sweep_pulls_all_of_its_rows():
    """Also where the layers in front are evaluated once."""
    keras.utils.set_random_seed(3)
    layers = [keras.layers.Dense(n, name=f"dense_{n}") for n in (4, 2)]
    model = keras.Sequential([keras.Input((3,)), *layers])
    options = {**WHOLE, "epochs": 3, "optimizer": keras.optimizers.SGD(RATE)}
    sweep = oracle_sweep(model, (X, Y), (X, Y), pull=5.0, progress=False, **options)
    for row in sweep.rows:
        alone = retrain(model, (X, Y), row["layer"], pull=5.0, **options)
        free = retrain(model, (X, Y), row["layer"], **options)
        here, there, without = (
            found["relative_rmse"]
            for found in (row, alone.row((X, Y)), free.row((X, Y)))
        )
        assert here == pytest.approx(there, rel=1e-5)
        assert here != pytest.approx(without, rel=1e-3)


@pytest.mark.parametrize("strength", [-1.0, np.nan, np.inf, "1", None])
def test_a_bad_strength_is_refused(strength):
    with pytest.raises((TypeError, ValueError), match="pull"):
        retrain(linear(), (X, Y), None, pull=strength)


def mean_square(model):
    return float(np.mean((model.predict(X, verbose=0) - Y) ** 2))


def test_the_model_that_comes_back_has_no_pull():
    """Neither in its functions for tests nor in those for a further training."""
    held_out = {"validation_data": (X, Y)}  # so that both kinds were compiled
    start, optimizer = linear(), keras.optimizers.SGD(RATE)
    options = {**WHOLE, "epochs": 3, "optimizer": optimizer, **held_out}
    model = retrain(start, (X, Y), None, pull=10.0, **options).model
    assert model.evaluate(X, Y, verbose=0) == pytest.approx(mean_square(model))
    before = weights(model)
    _, slope, _ = quadratic(model)
    model.fit(X, Y, batch_size=6, verbose=0)
    np.testing.assert_allclose(weights(model) - before, -RATE * slope, rtol=1e-3)


@pytest.mark.parametrize("copies", [1, 4])
def test_a_loss_that_sums_over_a_batch_is_pulled_as_strongly(copies):
    """Of equal batches, more do not change the strength."""
    data = np.tile(X, (copies, 1)), np.tile(Y, (copies, 1))
    total = keras.losses.MeanSquaredError(reduction="sum")
    found = loss_before(linear(), Samples.of(data), total, batch_size=6)
    assert found == pytest.approx(float(total(Y, linear().predict(X, verbose=0))))


def test_new_weights_have_no_start_to_be_pulled_to():
    model, new = linear(), [Arm("new", NewWeights())]
    with pytest.raises(ValueError, match="initial values, which mean nothing"):
        retrain(model, (X, Y), NewWeights(), pull=1.0, **WHOLE, epochs=1)
    with pytest.raises(ValueError, match="leave pull out"):
        from_scratch(model, (X, Y), pull=1.0, **WHOLE, epochs=1)
    figures = []
    for strength in (0.0, 100.0):  # of all rows of a table, it leaves out these
        options = {**WHOLE, "epochs": 2, "pull": strength, "progress": False}
        swept = oracle_sweep(model, (X, Y), (X, -Y), arms=new, **options)
        table = baselines(model, (X, Y), (X, -Y), include=["from_scratch"], **options)
        figures.append((swept.cc["new"], table.cc["from_scratch"]))
    assert figures[0] == figures[1]
