"""Correlations and errors: identities first, then the streaming metrics."""

import keras
import numpy as np
import pytest

from keras_spectral_tl import metrics

ROUND_OFF = 1e-13  # float64 sums over about 100 values
SINGLE = 2e-6  # each batch is summed in float32, the batches without loss
SPECTRUM = 1e-5  # float32 transforms of shells that hold 1e-6 of the energy, relative

RNG = np.random.default_rng(7)
TRUE = RNG.normal(size=(6, 5, 7, 1))
PRED = TRUE + 0.3 * RNG.normal(size=TRUE.shape)


def test_correlation_equals_numpy_corrcoef():
    pairs = zip(TRUE, PRED, strict=True)
    each = [np.corrcoef(true.ravel(), pred.ravel())[0, 1] for true, pred in pairs]
    difference = metrics.pattern_correlation(TRUE, PRED) - np.mean(each)
    assert abs(difference) < ROUND_OFF


@pytest.mark.parametrize(("gain", "expected"), [(3.0, 1.0), (-0.2, -1.0)])
def test_correlation_ignores_gain_and_offset(gain, expected):
    value = metrics.pattern_correlation(TRUE, gain * TRUE + 11.0)
    assert abs(value - expected) < ROUND_OFF


@pytest.mark.parametrize("amplitude", [1e-200, 1e200])
def test_correlation_neither_over_nor_underflows(amplitude):
    value = metrics.pattern_correlation(amplitude * TRUE, amplitude * PRED)
    assert abs(value - metrics.pattern_correlation(TRUE, PRED)) < ROUND_OFF


def test_correlation_of_orthogonal_waves_is_zero():
    x = 2 * np.pi * np.arange(16) / 16
    value = metrics.pattern_correlation(np.sin(x)[None], np.cos(x)[None])
    assert abs(value) < ROUND_OFF


def test_weights_of_whole_numbers_are_repeated_points():
    rng = np.random.default_rng(3)
    true, pred = rng.normal(size=(2, 4, 5, 6, 2))
    counts = rng.integers(0, 4, size=(5, 1, 1))
    rows = np.repeat(np.arange(5), counts[:, 0, 0])
    for function in (metrics.pattern_correlation, metrics.relative_rmse):
        weighted = function(true, pred, weights=counts)
        repeated = function(true[:, rows], pred[:, rows])
        assert weighted == pytest.approx(repeated, rel=1e-13)
        assert function(true, pred, np.full(pred.shape, 0.5)) == pytest.approx(
            function(true, pred), rel=1e-13
        )


@pytest.mark.parametrize("fill", [np.nan, np.inf])
@pytest.mark.parametrize("side", [0, 1])
def test_the_gain_does_not_depend_on_points_without_weight(side, fill):
    rng = np.random.default_rng(3)
    true, pred = rng.normal(size=(2, 3, 8))
    weights = np.r_[0.0, rng.uniform(1, 2, size=7)]
    expected = metrics.least_squares_gain(true[:, 1:], pred[:, 1:], weights[1:])
    (true, pred)[side][:, 0] = fill
    gain = metrics.least_squares_gain(true, pred, weights)
    assert gain == pytest.approx(expected, rel=1e-14)


def test_areas_of_cells_make_a_mean_over_the_sphere():
    """sin(latitude) and longitude waves are orthogonal on the sphere."""
    nodes, weights = np.polynomial.legendre.leggauss(8)
    longitude = 2 * np.pi * np.arange(16) / 16
    wave = np.sqrt(1 - nodes[:, None] ** 2) * np.cos(longitude)
    zonal = np.broadcast_to(nodes[:, None], wave.shape)
    pair = zonal[None], (0.6 * zonal + 0.8 * wave)[None]
    # On the sphere the mean square of each is 1/3.
    areas = weights[:, None]
    assert metrics.pattern_correlation(*pair, areas) == pytest.approx(0.6, rel=1e-12)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones(5), r"broadcast to the shape of y_true, \(2, 4\).*\(5,\)"),
        ([-1.0, 1.0, 1.0, 1.0], "at least 0"),
        ([0.0] * 4, "one above 0 in each sample"),
        ([np.nan, 1.0, 1.0, 1.0], "finite"),
    ],
)
def test_bad_weights_are_refused(weights, message):
    rows = np.arange(8.0).reshape(2, 4)
    for function in (metrics.pattern_correlation, metrics.relative_rmse):
        with pytest.raises(ValueError, match=message):
            function(rows, rows, weights)


def test_constant_samples_count_as_zero():
    true, pred = TRUE.copy(), TRUE.copy()
    pred[0], true[1] = 0.1, 0.1
    expected = (len(TRUE) - 2) / len(TRUE)
    assert abs(metrics.pattern_correlation(true, pred) - expected) < ROUND_OFF


def test_not_finite_predictions_stay_visible():
    for bad in (np.nan, np.inf):
        pred = PRED.copy()
        pred[2, 1, 1] = bad
        assert np.isnan(metrics.pattern_correlation(TRUE, pred))


def test_relative_rmse_of_nothing_perfect_and_noise():
    assert metrics.relative_rmse(TRUE, np.zeros_like(TRUE)) == 1.0
    assert metrics.relative_rmse(TRUE, TRUE) == 0.0
    expected = np.linalg.norm(PRED - TRUE) / np.linalg.norm(TRUE)
    assert abs(metrics.relative_rmse(TRUE, PRED) - expected) < ROUND_OFF


@pytest.mark.parametrize(
    "function", [metrics.pattern_correlation, metrics.relative_rmse]
)
@pytest.mark.parametrize(
    ("true", "pred"),
    [(TRUE, TRUE[..., 0]), (TRUE[:0], TRUE[:0]), (np.ones(3), np.ones(3))],
)
def test_bad_shapes_are_refused_with_the_shapes(function, true, pred):
    with pytest.raises(ValueError, match=r"Received shapes .*and") as caught:
        function(true, pred)
    assert str(true.shape) in str(caught.value)


def test_relative_rmse_of_a_zero_truth_is_refused():
    with pytest.raises(ValueError, match="zero at all 6 points of 2 samples"):
        metrics.relative_rmse(np.zeros((2, 3)), np.ones((2, 3)))


def test_condition_chooses_the_points():
    rng = np.random.default_rng(3)
    condition = rng.random(TRUE.shape) < 0.4
    each = [
        np.corrcoef(true[chosen], pred[chosen])[0, 1]
        for true, pred, chosen in zip(TRUE, PRED, condition, strict=True)
    ]
    value = metrics.conditioned_correlation(TRUE, PRED, condition)
    assert abs(value - np.mean(each)) < ROUND_OFF
    everywhere = np.ones(TRUE.shape, bool)
    whole = metrics.conditioned_correlation(TRUE, PRED, everywhere)
    assert whole == metrics.pattern_correlation(TRUE, PRED)


def test_prediction_right_only_in_forward_transfer_shows_in_the_conditions():
    transfer = np.random.default_rng(4).normal(size=TRUE.shape)
    pred = np.where(transfer < 0, TRUE, -TRUE)
    assert metrics.conditioned_correlation(TRUE, pred, transfer < 0) > 1 - ROUND_OFF
    assert metrics.conditioned_correlation(TRUE, pred, transfer > 0) < ROUND_OFF - 1


def test_samples_without_the_condition_are_left_out():
    condition = np.zeros(TRUE.shape, bool)
    condition[2] = True
    value = metrics.conditioned_correlation(TRUE, PRED, condition)
    assert value == metrics.pattern_correlation(TRUE[2:3], PRED[2:3])
    broken = PRED.copy()
    broken[0] = np.nan  # not chosen, so not seen
    assert metrics.conditioned_correlation(TRUE, broken, condition) == value


def test_bad_conditions_are_refused():
    with pytest.raises(ValueError, match="none of 210 points of 6 samples"):
        metrics.conditioned_correlation(TRUE, PRED, np.zeros(TRUE.shape, bool))
    with pytest.raises(
        ValueError, match=r"\(6, 5, 7, 1\)\. Received shape \(6, 5, 7\)"
    ):
        metrics.conditioned_correlation(TRUE, PRED, TRUE[..., 0] > 0)


PAIRS = [
    (metrics.PatternCorrelation, metrics.pattern_correlation),
    (metrics.RelativeRMSE, metrics.relative_rmse),
    (metrics.SpectrumRMSE, metrics.spectrum_rmse),
]


@pytest.mark.parametrize(("metric_class", "function"), PAIRS)
def test_metric_in_batches_equals_the_function(metric_class, function):
    metric = metric_class()
    for batch in (slice(0, 4), slice(4, 6)):
        metric.update_state(TRUE[batch], PRED[batch])
    assert abs(float(metric.result()) - function(TRUE, PRED)) < SINGLE
    metric.reset_state()
    metric.update_state(TRUE[:1], PRED[:1])
    assert abs(float(metric.result()) - function(TRUE[:1], PRED[:1])) < SINGLE


@pytest.mark.parametrize(("metric_class", "function"), PAIRS)
def test_sample_weights_choose_samples(metric_class, function):
    metric = metric_class()
    metric.update_state(TRUE, PRED, sample_weight=[1, 0, 0, 1, 0, 0])
    rows = [0, 3]
    assert abs(float(metric.result()) - function(TRUE[rows], PRED[rows])) < SINGLE


def test_metric_counts_constant_samples_as_zero_and_shows_nan():
    metric = metrics.PatternCorrelation()
    metric.update_state(TRUE[:2], np.stack([TRUE[0], np.full_like(TRUE[0], 0.1)]))
    assert abs(float(metric.result()) - 0.5) < SINGLE
    metric.update_state(TRUE[:1], np.full_like(TRUE[:1], np.nan))
    assert np.isnan(float(metric.result()))


@pytest.mark.parametrize(("mean", "error"), [(1e2, SINGLE), (1e4, SINGLE), (1e6, 1e-2)])
def test_correlation_of_fields_with_a_large_mean(mean, error):
    true, pred = (np.asarray(part + mean, "float32") for part in (TRUE, PRED))
    metric = metrics.PatternCorrelation()
    metric.update_state(true, pred)
    expected = metrics.pattern_correlation(true, pred)
    assert abs(float(metric.result()) - expected) < error


def test_metric_before_any_update_is_zero():
    assert float(metrics.PatternCorrelation().result()) == 0.0
    assert float(metrics.SpectrumRMSE().result()) == 0.0


def test_sums_over_batches_lose_nothing():
    metric = metrics.RelativeRMSE()
    ones = np.ones((1, 4), "float32")
    # A plain float32 sum of 2^24 stays there, whatever is added one by one.
    metric.update_state(2.0**11 * ones, 2.0**11 * ones)
    for _ in range(64):
        metric.update_state(ones, 3 * ones)
    expected = np.sqrt(64 * 16 / (2**24 + 64 * 4))
    assert float(metric.result()) == pytest.approx(expected, rel=2e-7)
    assert float(metric.denominator.value()) == 2**24 + 64 * 4


def test_compiled_evaluation_loses_nothing_either():
    # 129 batches of one sample: a plain sum would never leave the first one.
    x = np.ones((129, 4), "float32")
    x[0] = 2.0**12
    metric = metrics.RelativeRMSE()
    model = keras.Sequential([keras.Input((4,)), keras.layers.Rescaling(2.0)])
    model.compile(loss="mse", metrics=[metric])
    model.evaluate(x, x, batch_size=1, verbose=0)
    assert float(metric.denominator.total) + float(metric.denominator.lost) == (
        2**26 + 512
    )
    assert float(metric.result()) == pytest.approx(1.0, rel=1e-7)


def steep_fields(num_samples, seed):
    """Fields whose energy falls by six decades over the shells."""
    k = np.hypot(*np.meshgrid(np.fft.fftfreq(32, 1 / 32), np.arange(17), indexing="ij"))
    noise = np.random.default_rng(seed).normal(size=(num_samples, 32, 32))
    steep_hat = np.fft.rfft2(noise) / np.maximum(k, 1) ** 3
    return np.fft.irfft2(steep_hat, s=(32, 32))[..., None]


def test_spectrum_metric_is_that_of_the_mean_spectra_over_all_batches():
    true, pred = steep_fields(5, 1), steep_fields(5, 2)
    metric = metrics.SpectrumRMSE()
    for batch in (slice(0, 1), slice(1, 3), slice(3, 5)):
        metric.update_state(true[batch], pred[batch])
    expected = metrics.spectrum_rmse(true, pred)
    assert float(metric.result()) == pytest.approx(expected, rel=SPECTRUM)
    parts = [
        metrics.spectrum_rmse(t, p)
        for t, p in zip(true[:, None], pred[:, None], strict=True)
    ]
    assert abs(np.mean(parts) / expected - 1) > 0.02  # the mean of batches differs


def test_spectrum_metric_takes_wavenumbers_and_channels_first():
    true, pred = TRUE[..., 0][:, None], PRED[..., 0][:, None]
    metric = metrics.SpectrumRMSE([0, 2], data_format="channels_first")
    metric.update_state(true, pred)
    expected = metrics.spectrum_rmse(TRUE, PRED, wavenumbers=[0, 2])
    assert float(metric.result()) == pytest.approx(expected, rel=SPECTRUM)


def test_spectrum_metric_shows_a_truth_without_energy():
    metric = metrics.SpectrumRMSE()
    metric.update_state(np.zeros((1, 8, 8, 1)), np.ones((1, 8, 8, 1)))
    assert not np.isfinite(float(metric.result()))


def test_spectrum_metric_refuses_bad_input():
    with pytest.raises(ValueError, match=r"wavenumbers=\[\]"):
        metrics.SpectrumRMSE([])
    with pytest.raises(ValueError, match=r"wavenumbers=\[-1\]"):
        metrics.SpectrumRMSE([-1])
    with pytest.raises(ValueError, match=r"wavenumbers=\[1, 2\.5\]"):
        metrics.SpectrumRMSE([1, 2.5])
    with pytest.raises(ValueError, match="'NCHW'"):
        metrics.SpectrumRMSE(data_format="NCHW")
    with pytest.raises(ValueError, match=r"between 0 and 4.*\(5, 7\).*\[9\]"):
        metrics.SpectrumRMSE([9]).update_state(TRUE, PRED)
    with pytest.raises(ValueError, match=r"\(6, 5, 7, 1\) and \(6, 5, 7\)"):
        metrics.SpectrumRMSE().update_state(TRUE, PRED[..., 0])
    metric = metrics.SpectrumRMSE()
    metric.update_state(TRUE, PRED)
    with pytest.raises(ValueError, match=r"grid of \(5, 6\)"):
        metric.update_state(TRUE[:, :, :6], PRED[:, :, :6])
    turned = [np.swapaxes(fields, 1, 2) for fields in (TRUE, PRED)]
    with pytest.raises(ValueError, match=r"grid of \(7, 5\)"):
        metric.update_state(*turned)
    metric.reset_state()
    assert float(metric.result()) == 0.0
    with pytest.raises(ValueError, match="Use one metric for each grid"):
        metric.update_state(*turned)


def test_the_error_of_spectra_is_right_in_every_epoch():
    """Keras resets metrics before each, and runs compiled steps again."""
    layer = keras.layers.Conv2D(1, 3, padding="same")
    model = keras.Sequential([keras.Input((7, 5, 1)), layer])
    model.compile(keras.optimizers.SGD(0.0), "mse", metrics=[metrics.SpectrumRMSE()])
    x = np.random.default_rng(0).normal(size=(4, 7, 5, 1)).astype("float32")
    history = model.fit(x, 2.0 * x, epochs=3, verbose=0).history["spectrum_rmse"]
    assert history[0] > 0.0
    np.testing.assert_allclose(history, history[0], rtol=SPECTRUM)


CONDITIONED = [
    ("backscatter", np.greater),
    ("forward", np.less),
]
FIELD = np.random.default_rng(9).normal(size=TRUE.shape)


@pytest.mark.parametrize(("direction", "compare"), CONDITIONED)
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_conditioned_metric_equals_the_function(direction, compare, data_format):
    field = FIELD.copy()
    field[4] = 0.0  # no transfer either way: left out
    axis = -1 if data_format == "channels_last" else 1
    truth = np.moveaxis(np.concatenate([TRUE, field], -1), -1, axis)
    metric = metrics.TransferCorrelation(direction, data_format)
    for batch in (slice(0, 4), slice(4, 6)):
        metric.update_state(truth[batch], np.moveaxis(PRED, -1, axis)[batch])
    expected = metrics.conditioned_correlation(TRUE, PRED, compare(field * TRUE, 0))
    assert abs(float(metric.result()) - expected) < SINGLE


def test_conditioned_metrics_in_training_and_evaluation():
    truth = np.concatenate([TRUE, FIELD], axis=-1)

    def loss(y_true, y_pred):
        return keras.losses.mean_squared_error(y_true[..., :1], y_pred)

    both = [metrics.TransferCorrelation(kind) for kind, _ in CONDITIONED]
    model = keras.Sequential([keras.Input((5, 7, 1)), keras.layers.Rescaling(1.0)])
    model.compile("sgd", loss, metrics=both)
    logs = model.evaluate(PRED, truth, batch_size=4, verbose=0, return_dict=True)
    back = metrics.conditioned_correlation(TRUE, PRED, FIELD * TRUE > 0)
    forward = metrics.conditioned_correlation(TRUE, PRED, FIELD * TRUE < 0)
    assert abs(logs["backscatter_correlation"] - back) < SINGLE
    assert abs(logs["forward_correlation"] - forward) < SINGLE
    assert abs(logs["loss"] - np.mean((PRED - TRUE) ** 2)) < SINGLE


@pytest.mark.parametrize(("direction", "compare"), CONDITIONED)
def test_conditioned_metric_without_any_point_is_nan_and_survives(direction, compare):
    assert np.isnan(float(metrics.TransferCorrelation(direction).result()))
    metric = metrics.TransferCorrelation(direction, "channels_first", name="other")
    again = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(metric)
    )
    assert again.get_config() == metric.get_config()
    assert (again.direction, again.data_format) == (direction, "channels_first")


def test_conditioned_metric_refuses_bad_input():
    with pytest.raises(
        ValueError, match=r"one more.*\(6, 5, 7, 1\) and \(6, 5, 7, 1\)"
    ):
        metrics.TransferCorrelation("backscatter").update_state(TRUE, PRED)
    with pytest.raises(ValueError, match="'NHWC'"):
        metrics.TransferCorrelation("forward", "NHWC")
    with pytest.raises(ValueError, match=r"direction='back'.*'backscatter'"):
        metrics.TransferCorrelation("back")


@pytest.mark.parametrize(("metric_class", "function"), PAIRS)
def test_metric_round_trip_and_use_in_compile(metric_class, function):
    metric = metric_class(name="agreement")
    again = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(metric)
    )
    assert type(again) is metric_class and again.get_config() == metric.get_config()
    model = keras.Sequential([keras.Input((5, 7, 1)), keras.layers.Rescaling(1.0)])
    model.compile(loss="mse", metrics=[again])
    logs = model.evaluate(PRED, TRUE, batch_size=4, verbose=0, return_dict=True)
    assert abs(logs["agreement"] - function(TRUE, PRED)) < SINGLE


@pytest.mark.parametrize(
    "metric", [metrics.PatternCorrelation(), metrics.RelativeRMSE()]
)
def test_metrics_refuse_weights_of_points_and_other_shapes(metric):
    ones = np.ones((4, 8))
    with pytest.raises(ValueError, match=r"one number for each sample.*\(4, 8\)"):
        metric.update_state(ones, ones, sample_weight=ones)
    with pytest.raises(ValueError, match=r"one shape.*\(4, 8\) and \(4, 1\)"):
        metric.update_state(ones, ones[:, :1])
    fields = np.ones((4, 8, 6, 1))
    with pytest.raises(ValueError, match="one shape"):
        metric.update_state(fields, fields.swapaxes(1, 2))
    with pytest.raises(ValueError, match="one shape"):
        metric.update_state(fields[:1], fields)
    metric.update_state(fields[..., 0], fields)
    metric.update_state(ones, ones, sample_weight=ones[:, :1])


@pytest.mark.parametrize("size", [1e-3, 1e-25])
def test_only_the_sign_of_the_transfer_counts(size):
    dtype = "float16" if size == 1e-3 else "float32"
    true, field, pred = np.random.default_rng(2).normal(size=(3, 4, 8, 8, 1))
    values = {}
    for scale in (1.0, size):
        metric = metrics.TransferCorrelation("forward")
        both = np.concatenate([true, field], axis=-1) * scale
        metric.update_state(both.astype(dtype), (scale * pred).astype(dtype))
        values[scale] = float(metric.result())
    assert values[size] == pytest.approx(values[1.0], abs=2e-3)


def test_a_spectrum_metric_of_one_grid_refuses_another_after_a_reset_too():
    """Compiled evaluations keep the shells of the grid that they were traced with."""
    inputs = keras.Input((None, None, 1))
    network = keras.Model(inputs, keras.layers.Conv2D(1, 3, padding="same")(inputs))
    network.compile("sgd", "mse", metrics=[metrics.SpectrumRMSE()])
    rng = np.random.default_rng(3)
    fields = rng.normal(size=(4, 16, 12, 1)).astype("float32")
    others = rng.normal(size=(4, 20, 4, 1)).astype("float32")  # as many shells
    for _ in range(2):
        found = network.evaluate(fields, fields**2, verbose=0, return_dict=True)
        expected = metrics.spectrum_rmse(fields**2, network.predict(fields, verbose=0))
        assert found["spectrum_rmse"] == pytest.approx(expected, rel=SPECTRUM)
    if keras.backend.backend() != "tensorflow":  # which knows no sizes of two grids
        with pytest.raises(ValueError, match="Use one metric for each grid"):
            network.evaluate(others, others**2, verbose=0)
