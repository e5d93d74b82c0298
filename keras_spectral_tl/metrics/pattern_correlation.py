"""The correlation of a predicted field with the true one."""

from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import ArrayLike

from keras_spectral_tl.metrics.ratio_metric import RatioMetric
from keras_spectral_tl.metrics.samples import (
    correlations,
    matching_samples,
    tensor_correlations,
)


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
    true, pred = matching_samples(y_true, y_pred)
    return float(np.mean(correlations(true, pred, np.ones(true.shape, bool))))


@keras.saving.register_keras_serializable(package="keras_spectral_tl")
class PatternCorrelation(RatioMetric):
    """Keras metric: mean over samples of the correlation with the truth.

    The streaming form of `pattern_correlation`, in the metric's own precision
    (float32 by default: within 2e-6 of it for any number of samples). Before any
    update the result is 0.

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
        true, pred = self.samples(y_true), self.samples(y_pred)
        correlation = tensor_correlations(true, pred, ops.ones_like(true, dtype="bool"))
        self.accumulate(correlation, ops.ones_like(correlation), sample_weight)

    def result(self) -> Any:
        """Return the mean correlation so far."""
        return ops.divide_no_nan(self.numerator.value(), self.denominator.value())
