"""How well a predicted field agrees with the true one, in NumPy and while training."""

from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import ArrayLike


def pattern_correlation(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """Return the mean over samples of the correlation of each sample with its truth.

    With t and p the values of one sample at all its points and channels, less their
    means, its Pearson correlation is sum(t p) / sqrt(sum(t^2) sum(p^2)), in [-1, 1].
    It does not see a wrong amplitude. A sample in which the truth or the prediction is
    constant has correlation 0. NaN or infinite values make the result NaN.

    Args:
        y_true: True values, shape (num_samples, ...).
        y_pred: Predicted values, same shape.

    Returns:
        The mean correlation, in float64.

    Raises:
        ValueError: If the shapes differ or there is nothing to correlate.

    Example:
        >>> round(pattern_correlation([[0.0, 1.0, 2.0]], [[5.0, 7.0, 9.0]]), 12)
        1.0
        >>> pattern_correlation([[0.0, 1.0, 2.0]], [[3.0, 3.0, 3.0]])
        0.0
    """
    true, pred = _samples(y_true, y_pred)
    with np.errstate(invalid="ignore"):
        constant = (np.ptp(true, axis=1) == 0) | (np.ptp(pred, axis=1) == 0)
        true, pred = _direction(true), _direction(pred)
        correlation = np.sum(true * pred, axis=1)
    return float(np.mean(np.where(constant, 0.0, correlation)))


def relative_rmse(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """Return the root-mean-square error over the root-mean-square of the truth.

    sqrt(sum((y_pred - y_true)^2) / sum(y_true^2)), sums over all samples and points: 0
    is perfect, 1 is what predicting zero gives.

    Args:
        y_true: True values, shape (num_samples, ...).
        y_pred: Predicted values, same shape.

    Returns:
        The relative error, in float64.

    Raises:
        ValueError: If the shapes differ, there are no values, or the truth is zero
            everywhere.

    Example:
        >>> relative_rmse([[3.0, 4.0]], [[3.0, 9.0]])
        1.0
    """
    true, pred = _samples(y_true, y_pred)
    scale = np.max(np.abs(true))
    if scale == 0:
        raise ValueError(
            "The relative error is undefined: y_true is zero at all "
            f"{true.size} points of {len(true)} samples."
        )
    true, pred = true / scale, pred / scale
    with np.errstate(over="ignore", invalid="ignore"):
        return float(np.sqrt(np.sum((pred - true) ** 2) / np.sum(true**2)))


def least_squares_gain(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """Return the factor of the prediction that fits the truth best.

    sum(y_true y_pred) / sum(y_pred^2), sums over all values, minimises
    sum((gain y_pred - y_true)^2).

    Args:
        y_true: True values.
        y_pred: Predicted values, same shape.

    Returns:
        The gain, in float64; NaN where y_pred is zero throughout, or not finite.

    Example:
        >>> least_squares_gain([2.0, 4.0], [1.0, 2.0])
        2.0
    """
    true, pred = np.asarray(y_true, np.float64), np.asarray(y_pred, np.float64)
    power = float(np.sum(pred**2))
    if power == 0.0 or not np.isfinite(power):
        return float("nan")
    return float(np.sum(true * pred)) / power


def _samples(y_true: ArrayLike, y_pred: ArrayLike) -> tuple[Any, Any]:
    true, pred = np.asarray(y_true, np.float64), np.asarray(y_pred, np.float64)
    if true.shape != pred.shape or true.ndim < 2 or true.size == 0:
        raise ValueError(
            "Expected y_true and y_pred of one shape (num_samples, ...) with at least "
            f"one value. Received shapes {true.shape} and {pred.shape}."
        )
    return true.reshape(len(true), -1), pred.reshape(len(pred), -1)


def _direction(samples: Any) -> Any:
    # Scaled before squaring, so that no amplitude over- or underflows.
    centred = samples - samples.mean(axis=1, keepdims=True)
    largest = np.max(np.abs(centred), axis=1, keepdims=True)
    centred = centred / np.where(largest == 0, 1.0, largest)
    norm = np.sqrt(np.sum(centred**2, axis=1, keepdims=True))
    return centred / np.where(norm == 0, 1.0, norm)


class _RatioMetric(keras.Metric):
    """Accumulates the sums of a numerator and a denominator over batches."""

    def __init__(self, name: str, dtype: Any = None) -> None:
        super().__init__(name=name, dtype=dtype)
        self.numerator = self.add_weight(name="numerator", initializer="zeros")
        self.denominator = self.add_weight(name="denominator", initializer="zeros")

    def _samples(self, values: Any) -> Any:
        values = ops.cast(values, self.dtype)
        return ops.reshape(values, (ops.shape(values)[0], -1))

    def _accumulate(self, above: Any, below: Any, sample_weight: Any) -> None:
        if sample_weight is not None:
            weight = ops.reshape(ops.cast(sample_weight, self.dtype), (-1,))
            above, below = above * weight, below * weight
        self.numerator.assign(self.numerator + ops.sum(above))
        self.denominator.assign(self.denominator + ops.sum(below))


@keras.saving.register_keras_serializable(package="keras_spectral_tl")
class PatternCorrelation(_RatioMetric):
    """Keras metric: mean over samples of the correlation with the truth.

    The streaming form of `pattern_correlation`, in the metric's own precision
    (float32 by default). Before any update the result is 0.

    Args:
        name: Name of the metric in logs and histories.
        dtype: Precision of the sums.

    Example:
        >>> metric = PatternCorrelation()
        >>> metric.update_state([[0.0, 1.0, 2.0]], [[5.0, 7.0, 9.0]])
        >>> round(float(metric.result()), 6)
        1.0
    """

    def __init__(self, name: str = "pattern_correlation", dtype: Any = None) -> None:
        super().__init__(name=name, dtype=dtype)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add a batch; `sample_weight` holds one weight a sample."""
        true, pred = self._samples(y_true), self._samples(y_pred)
        varies = ops.logical_and(_range(true) > 0, _range(pred) > 0)
        correlation = ops.sum(_direction_op(true) * _direction_op(pred), axis=1)
        # A sum of NaN must stay visible: only truly constant samples count as zero.
        undefined = ops.isnan(_range(true) + _range(pred))
        keep = ops.logical_or(varies, undefined)
        correlation = ops.where(keep, correlation, ops.zeros_like(correlation))
        self._accumulate(correlation, ops.ones_like(correlation), sample_weight)

    def result(self) -> Any:
        """Return the mean correlation so far."""
        return ops.divide_no_nan(self.numerator, self.denominator)


@keras.saving.register_keras_serializable(package="keras_spectral_tl")
class RelativeRMSE(_RatioMetric):
    """Keras metric: root-mean-square error over root-mean-square of the truth.

    The streaming form of `relative_rmse`: both sums run over all batches before the
    ratio is taken, so the batch size does not matter. While the truth seen so far is
    zero everywhere the result is NaN, or infinite if the prediction is not zero.

    Args:
        name: Name of the metric in logs and histories.
        dtype: Precision of the sums.

    Example:
        >>> metric = RelativeRMSE()
        >>> metric.update_state([[3.0, 4.0]], [[3.0, 9.0]])
        >>> float(metric.result())
        1.0
    """

    def __init__(self, name: str = "relative_rmse", dtype: Any = None) -> None:
        super().__init__(name=name, dtype=dtype)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add a batch; `sample_weight` holds one weight a sample."""
        true, pred = self._samples(y_true), self._samples(y_pred)
        error = ops.sum(ops.square(pred - true), axis=1)
        self._accumulate(error, ops.sum(ops.square(true), axis=1), sample_weight)

    def result(self) -> Any:
        """Return the relative error so far."""
        return ops.sqrt(self.numerator / self.denominator)


def _range(samples: Any) -> Any:
    return ops.max(samples, axis=1) - ops.min(samples, axis=1)


def _direction_op(samples: Any) -> Any:
    centred = samples - ops.mean(samples, axis=1, keepdims=True)
    largest = ops.max(ops.abs(centred), axis=1, keepdims=True)
    centred = centred / ops.where(largest == 0, ops.ones_like(largest), largest)
    norm = ops.sqrt(ops.sum(ops.square(centred), axis=1, keepdims=True))
    return centred / ops.where(norm == 0, ops.ones_like(norm), norm)
