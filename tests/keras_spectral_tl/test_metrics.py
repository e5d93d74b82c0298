"""Correlation and relative error: identities first, then the streaming metrics."""

import keras
import numpy as np
import pytest

from keras_spectral_tl import metrics

ROUND_OFF = 1e-13  # float64 sums over about 100 values
SINGLE = 2e-6  # the metrics accumulate in float32

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


PAIRS = [
    (metrics.PatternCorrelation, metrics.pattern_correlation),
    (metrics.RelativeRMSE, metrics.relative_rmse),
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


def test_metric_before_any_update_is_zero():
    assert float(metrics.PatternCorrelation().result()) == 0.0


@pytest.mark.parametrize(("metric_class", "function"), PAIRS)
def test_metric_round_trip_and_use_in_compile(metric_class, function):
    metric = metric_class(name="agreement")
    again = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(metric)
    )
    assert type(again) is metric_class and again.name == "agreement"
    model = keras.Sequential([keras.Input((5, 7, 1)), keras.layers.Rescaling(1.0)])
    model.compile(loss="mse", metrics=[again])
    logs = model.evaluate(PRED, TRUE, batch_size=4, verbose=0, return_dict=True)
    assert abs(logs["agreement"] - function(TRUE, PRED)) < SINGLE
