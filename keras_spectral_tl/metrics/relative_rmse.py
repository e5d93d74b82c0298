"""The error of a predicted field relative to the true one."""

from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import ArrayLike

from keras_spectral_tl.metrics.ratio_metric import RatioMetric
from keras_spectral_tl.metrics.samples import matching_samples


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
    true, pred = matching_samples(y_true, y_pred)
    scale = np.max(np.abs(true))
    if scale == 0:
        raise ValueError(
            "The relative error is undefined: y_true is zero at all "
            f"{true.size} points of {len(true)} samples."
        )
    true, pred = true / scale, pred / scale
    with np.errstate(over="ignore", invalid="ignore"):
        return float(np.sqrt(np.sum((pred - true) ** 2) / np.sum(true**2)))


@keras.saving.register_keras_serializable(package="keras_spectral_tl")
class RelativeRMSE(RatioMetric):
    """Keras metric: root-mean-square error over root-mean-square of the truth.

    The streaming form of `relative_rmse`: both sums run over all batches before the
    ratio is taken, so the batch size does not matter (float32 by default: within 2e-6
    of it, relatively, for any number of samples). While the truth seen so far is zero
    everywhere the result is NaN, or infinite if the prediction is not zero.

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
        true, pred = self.samples(y_true), self.samples(y_pred)
        error = ops.sum(ops.square(pred - true), axis=1)
        self.accumulate(error, ops.sum(ops.square(true), axis=1), sample_weight)

    def result(self) -> Any:
        """Return the relative error so far."""
        return ops.sqrt(self.numerator.value() / self.denominator.value())
