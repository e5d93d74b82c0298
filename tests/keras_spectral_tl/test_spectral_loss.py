"""The spectral loss: known values, gradients by finite differences, use in compile."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_spectral_tl import transfer
from keras_spectral_tl.losses import (
    SpectralLoss,
    WeightedMeanSquaredError,
    squared_log_ratio,
    squared_relative_error,
)
from keras_spectral_tl.spectra import radial_spectrum
from tests.keras_spectral_tl.common import noise

# float32 spectra of 100 points, relative; a log or ratio of them squared.
FLOAT32 = 2e-5
# Central differences of a float32 loss: the better of truncation and cancellation.
FINITE_DIFFERENCE = 5e-3


def value(loss: SpectralLoss, true: np.ndarray, predicted: np.ndarray) -> float:
    return float(ops.convert_to_numpy(loss(true, predicted)))


TRUE, PREDICTED = noise(3, 12, 10, 2), noise(3, 12, 10, 2, seed=1)


def expected_loss(mismatch, first, last, weights, floor=1e-6) -> float:
    """The formula of the docstring in NumPy and float64."""
    shells = slice(first, last + 1)
    true = radial_spectrum(TRUE, axes=(1, 2))[..., shells]
    predicted = radial_spectrum(PREDICTED, axes=(1, 2))[..., shells]
    floors = floor * true.mean(axis=-1, keepdims=True)
    mismatches = mismatch(true + floors, predicted + floors)
    return float(np.average(mismatches, axis=-1, weights=weights).mean())


@pytest.mark.parametrize(
    ("mismatch", "in_numpy"),
    [
        (squared_log_ratio, lambda t, p: np.log(p / t) ** 2),
        (squared_relative_error, lambda t, p: (p / t - 1) ** 2),
    ],
)
@pytest.mark.parametrize(
    ("wavenumbers", "weights"),
    [((1, 4), None), ((1, 4), [4, 3, 2, 1]), ((2, 3), [0, 5]), ((0, 4), None)],
)
def test_value_is_the_documented_formula(mismatch, in_numpy, wavenumbers, weights):
    loss = SpectralLoss(mismatch, wavenumbers, weights)
    expected = expected_loss(in_numpy, *wavenumbers, weights)
    assert value(loss, TRUE, PREDICTED) == pytest.approx(expected, rel=FLOAT32)


def test_default_range_ends_at_the_last_complete_shell() -> None:
    default, explicit = SpectralLoss(), SpectralLoss(wavenumbers=(1, 4))
    assert value(default, TRUE, PREDICTED) == value(explicit, TRUE, PREDICTED)


def test_gain_costs_its_logarithm_and_shifts_cost_nothing() -> None:
    gain, tiny = 3.0, 1e-12
    loss = SpectralLoss(floor=tiny)
    expected = np.log(gain**2) ** 2
    assert value(loss, TRUE, gain * TRUE) == pytest.approx(expected, rel=FLOAT32)
    rolled = np.roll(TRUE, (3, 5), axis=(1, 2))
    assert value(loss, TRUE, rolled) < FLOAT32
    assert value(loss, TRUE, TRUE) == 0.0


def test_floor_hides_shells_that_hold_next_to_nothing() -> None:
    x = 2 * np.pi * np.arange(16) / 16
    wave = np.sin(3 * x)[None, :, None, None] * np.ones((1, 1, 16, 1))
    off = wave + 1e-5 * noise(1, 16, 16, 1)
    assert value(SpectralLoss(floor=1e-4), wave, off) < 1e-3
    assert value(SpectralLoss(floor=1e-14), wave, off) > 1.0


def test_channels_first_gives_the_same() -> None:
    first = SpectralLoss(data_format="channels_first")
    moved = [np.moveaxis(field, -1, 1) for field in (TRUE, PREDICTED)]
    last = value(SpectralLoss(data_format="channels_last"), TRUE, PREDICTED)
    assert value(first, *moved) == pytest.approx(last, rel=FLOAT32)


def test_sample_weights_choose_samples() -> None:
    loss = SpectralLoss(reduction="sum")
    chosen = float(loss(TRUE, PREDICTED, sample_weight=np.array([0.0, 1.0, 0.0])))
    alone = value(loss, TRUE[1:2], PREDICTED[1:2])
    assert chosen == pytest.approx(alone, rel=FLOAT32)


def gradient(loss: keras.losses.Loss, true, predicted) -> np.ndarray:
    """Gradient of the loss, read off one step of plain gradient descent."""
    field = keras.layers.EinsumDense("bs,sf->bf", predicted.size, name="field")
    inputs = keras.Input((1,))
    outputs = keras.layers.Reshape(predicted.shape[1:])(field(inputs))
    model = keras.Model(inputs, outputs)
    field.kernel.assign(predicted.reshape(1, -1))
    model.compile(keras.optimizers.SGD(1.0), loss=loss)
    model.fit(np.ones((1, 1)), true, batch_size=1, verbose=0)
    return (predicted.ravel() - np.asarray(field.kernel)[0]).reshape(predicted.shape)


@pytest.mark.parametrize("mismatch", [squared_log_ratio, squared_relative_error])
def test_gradient_is_that_of_finite_differences(mismatch) -> None:
    loss, step = SpectralLoss(mismatch), 3e-2
    true, predicted = TRUE[:1], PREDICTED[:1]
    exact = gradient(loss, true, predicted)
    for seed in range(3):
        direction = noise(*true.shape, seed=10 + seed)
        direction /= np.linalg.norm(direction)
        ahead = value(loss, true, predicted + step * direction)
        behind = value(loss, true, predicted - step * direction)
        slope = (ahead - behind) / (2 * step)
        scale = np.linalg.norm(exact)
        assert abs(slope - np.sum(exact * direction)) < FINITE_DIFFERENCE * scale


def test_gradient_at_a_zero_prediction_is_zero_and_finite() -> None:
    zeros = np.zeros_like(TRUE[:1])
    np.testing.assert_array_equal(gradient(SpectralLoss(), TRUE[:1], zeros), zeros)


def test_training_with_mse_and_the_spectral_loss_recovers_a_gain() -> None:
    spectral, pointwise = SpectralLoss(), keras.losses.MeanSquaredError()

    def loss(y_true, y_pred):
        return pointwise(y_true, y_pred) + 0.1 * spectral(y_true, y_pred)

    layer = keras.layers.Conv2D(1, 1, use_bias=False)
    model = keras.Sequential([keras.Input((12, 10, 1)), layer])
    layer.kernel.assign(np.full((1, 1, 1, 1), 0.4))
    model.compile(keras.optimizers.Adam(0.1), loss)
    x = noise(8, 12, 10, 1)
    model.fit(x, 2 * x, epochs=50, batch_size=8, verbose=0)
    assert float(np.asarray(layer.kernel).ravel()[0]) == pytest.approx(2.0, abs=0.1)


def test_mixed_precision_predictions_are_compared_in_float32() -> None:
    half = (1e-4 * PREDICTED).astype("float16")
    single = half.astype("float32")
    loss = SpectralLoss()
    assert value(loss, 1e-4 * TRUE, half) == value(loss, 1e-4 * TRUE, single)


def test_loss_survives_its_configuration_and_a_compiled_model(tmp_path) -> None:
    loss = SpectralLoss(squared_relative_error, (2, 4), [1, 2, 3], 1e-3)
    again = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(loss)
    )
    assert type(again) is SpectralLoss and again.get_config() == loss.get_config()
    assert again.mismatch is squared_relative_error
    model = keras.Sequential([keras.Input((12, 10, 2)), keras.layers.Conv2D(2, 1)])
    model.compile("sgd", loss=again)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    before = model.evaluate(TRUE, PREDICTED, verbose=0)
    assert loaded.evaluate(TRUE, PREDICTED, verbose=0) == pytest.approx(before)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"floor": 0.0}, r"floor=0\.0"),
        ({"wavenumbers": (3, 2)}, r"wavenumbers=\(3, 2\)"),
        ({"wavenumbers": 5}, "wavenumbers=5"),
        ({"weights": [0.0, 0.0]}, r"weights=\[0\.0, 0\.0\]"),
        ({"weights": [2.0, -1.0]}, r"weights=\[2\.0, -1\.0\]"),
        ({"weights": np.array([1j])}, "complex128"),
        ({"weights": [[1.0]]}, r"weights=\[\[1\.0\]\]"),
        ({"wavenumbers": (1j, None)}, r"wavenumbers=\(1j, None\)"),
        ({"data_format": "NHWC"}, "'NHWC'"),
    ],
)
def test_bad_arguments_are_refused(arguments, message) -> None:
    with pytest.raises(ValueError, match=message):
        SpectralLoss(**arguments)


def test_bad_mismatch_and_fields_are_refused() -> None:
    with pytest.raises(TypeError, match="'log'"):
        SpectralLoss("log")
    with pytest.raises(ValueError, match=r"up to k = 4.*wavenumbers=\(1, 5\)"):
        SpectralLoss(wavenumbers=(1, 5))(TRUE, PREDICTED)
    with pytest.raises(ValueError, match=r"k = 1 \.\. 4, that is 4\. Received 2"):
        SpectralLoss(weights=[1, 1])(TRUE, PREDICTED)
    with pytest.raises(ValueError, match=r"\(3, 12, 10, 1\)"):
        SpectralLoss()(TRUE, PREDICTED[..., :1])
    with pytest.raises(ValueError, match=r"\(3, 12, 10\)"):
        SpectralLoss()(TRUE[..., 0], PREDICTED[..., 0])


# WeightedMeanSquaredError


def test_weighted_loss_is_the_mean_over_areas_on_every_backend() -> None:
    rng = np.random.default_rng(0)
    true, pred = rng.normal(size=(2, 3, 4, 5, 2)).astype("float32")
    areas = rng.uniform(size=(4, 1, 1))
    expected = np.mean(areas * (pred - true) ** 2) / areas.mean()
    loss = WeightedMeanSquaredError(areas)
    assert float(loss(true, pred)) == pytest.approx(expected, rel=1e-6)
    uniform = WeightedMeanSquaredError(2.0)(true, pred)
    assert float(uniform) == pytest.approx(np.mean((pred - true) ** 2), rel=1e-6)


def test_points_without_weight_do_not_train_and_the_loss_is_saved(tmp_path) -> None:
    inputs = keras.Input((4, 1))
    model = keras.Model(inputs, keras.layers.Dense(1, name="gain")(inputs))
    x = np.random.default_rng(1).normal(size=(8, 4, 1))
    y = 3 * x
    y[:, 0] = 1e6  # nonsense where the weight is 0
    weights = np.array([0.0, 1.0, 1.0, 2.0])[:, None]
    loss = WeightedMeanSquaredError(weights)
    result = transfer.retrain(
        model,
        (x, y),
        "gain",
        loss=loss,
        optimizer=keras.optimizers.Adam(0.2),
        epochs=75,
        batch_size=2,
    )
    kernel = ops.convert_to_numpy(result.model.get_layer("gain").kernel).item()
    assert kernel == pytest.approx(3, rel=1e-2)
    result.model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.loss.weights, weights)


@pytest.mark.parametrize(
    ("lacking", "weights"),
    [
        ("y_true", 2.0),
        ("y_true", np.arange(16.0)),
        ("y_true", np.arange(16.0)[:, None]),
        ("y_pred", 2.0),
        ("y_pred", np.arange(16.0)[:, None]),
    ],
)
def test_an_axis_of_one_channel_may_be_missing(lacking, weights) -> None:
    """As in the losses of Keras, also where a batch has as many samples as points."""
    rng = np.random.default_rng(2)
    y = dict(zip(("y_true", "y_pred"), rng.normal(size=(2, 16, 16)), strict=True))
    square = np.square(y["y_true"] - y["y_pred"])
    by_point = np.broadcast_to(np.ravel(weights), 16)
    expected = np.average(np.mean(square, axis=0), weights=by_point)
    given = {k: v if k == lacking else v[..., None] for k, v in y.items()}
    loss = WeightedMeanSquaredError(weights)
    assert float(loss(**given)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("true", "predicted", "weights"),
    [
        ((4, 3, 1), (4, 3, 2), (3, 1)),
        ((4, 3), (4, 3, 2), (3, 1)),
        ((4, 1, 2), (4, 3, 2), ()),
        ((4, 3), (4, 3, 1, 1), ()),
        ((4, 3, 1), (4, 3, 1), (3,)),
        ((4, 3, 1), (4, 3, 1), (2, 3, 1)),
    ],
)
def test_shapes_that_differ_in_more_are_refused(true, predicted, weights) -> None:
    loss = WeightedMeanSquaredError(np.ones(weights))
    with pytest.raises(ValueError, match="Expected y_true and y_pred of one shape"):
        loss(np.ones(true), np.ones(predicted))


@pytest.mark.parametrize("weights", [[-1.0, 1.0], [0.0, 0.0], [np.inf, 1.0]])
def test_bad_point_weights_are_refused(weights) -> None:
    with pytest.raises(ValueError, match="at least 0, not all 0"):
        WeightedMeanSquaredError(weights)


@pytest.mark.parametrize("amplitude", [1.0, 1e-10, 1e-15])
def test_the_units_of_fields_do_not_matter(amplitude):
    fields = noise(4, 16, 16, 1) * np.float32(amplitude)
    expected = value(SpectralLoss(), noise(4, 16, 16, 1), 2 * noise(4, 16, 16, 1))
    assert value(SpectralLoss(), fields, 2 * fields) == pytest.approx(
        expected, rel=1e-3
    )
