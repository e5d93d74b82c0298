"""The correlation where energy goes one way: forward, or back to larger scales."""

from abc import abstractmethod
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


def conditioned_correlation(
    y_true: ArrayLike, y_pred: ArrayLike, condition: ArrayLike
) -> float:
    """Return the mean correlation of each sample with its truth at chosen points.

    Means, variances and covariance run over the points of a sample at which the
    condition holds. The usual conditions are those on the transfer by the TRUE subgrid
    forcing Pi, which is added to the right-hand side of the vorticity equation: with
    lap(streamfunction) = -vorticity,

        d(energy)/dt gets + <streamfunction Pi>,  d(enstrophy)/dt + <vorticity Pi>,

    so ``streamfunction * y_true > 0`` chooses backscatter of energy and ``< 0`` its
    forward transfer; ``vorticity`` instead of ``streamfunction`` that of enstrophy. The
    field has to have its physical zero: normalized by its scale alone.

    Args:
        y_true: True values, shape (num_samples, ...).
        y_pred: Predicted values, same shape.
        condition: Booleans, same shape.

    Returns:
        The mean over the samples in which the condition holds anywhere, in float64. A
        sample in which truth or prediction is constant at the chosen points counts 0.

    Raises:
        ValueError: If the shapes differ, or the condition holds nowhere.

    Example:
        >>> true = np.array([[1.0, 2.0, -1.0, -2.0]])
        >>> pred = np.array([[1.0, 2.0, -2.0, -1.0]])
        >>> round(conditioned_correlation(true, pred, true > 0), 12)
        1.0
        >>> round(conditioned_correlation(true, pred, true < 0), 12)
        -1.0
    """
    true, pred = matching_samples(y_true, y_pred)
    chosen = np.asarray(condition, bool)
    if chosen.shape != np.shape(y_true):
        raise ValueError(
            "Expected a condition of the shape of y_true, "
            f"{np.shape(y_true)}. Received shape {chosen.shape}."
        )
    chosen = chosen.reshape(true.shape)
    counted = chosen.any(axis=1)
    if not counted.any():
        raise ValueError(
            f"The condition holds at none of {true.size} points of {len(true)} samples:"
            " there is nothing to correlate."
        )
    rows = correlations(true[counted], pred[counted], chosen[counted])
    return float(np.mean(rows))


class ConditionedCorrelation(RatioMetric):
    """Base of the metrics of `conditioned_correlation`; a subclass says the condition.

    Args:
        data_format: "channels_last", "channels_first" or None (the Keras setting).
        name: Name of the metric in logs and histories.
        dtype: Precision of the sums.

    Raises:
        ValueError: If ``data_format`` is unknown, or at an update if `y_true` has not
            one channel more than `y_pred`.
    """

    def __init__(self, data_format: str | None, name: str, dtype: Any = None) -> None:
        super().__init__(name=name, dtype=dtype)
        self.data_format = data_format or keras.config.image_data_format()
        if self.data_format not in ("channels_last", "channels_first"):
            raise ValueError(
                "data_format must be 'channels_last', 'channels_first' or None. "
                f"Received data_format={data_format!r}."
            )

    @abstractmethod
    def condition(self, transfer: Any) -> Any:
        """Return at which points the transfer is of the wanted kind."""

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add a batch; the last channel of `y_true` is the field that transfers."""
        axis = -1 if self.data_format == "channels_last" else 1
        y_true = ops.convert_to_tensor(y_true)
        y_pred = ops.convert_to_tensor(y_pred)
        channels = y_pred.shape[axis]
        if len(y_true.shape) != len(y_pred.shape) or y_true.shape[axis] != channels + 1:
            raise ValueError(
                f"{type(self).__name__} needs y_true with the channels of y_pred and "
                "one more, the streamfunction or the vorticity. Received shapes "
                f"{tuple(y_true.shape)} and {tuple(y_pred.shape)}."
            )
        true, field = ops.split(y_true, [channels], axis=axis)
        transfer = self.samples(true * field)
        chosen = self.condition(transfer)
        true, pred = self.samples(true), self.samples(y_pred)
        counted = ops.cast(ops.any(chosen, axis=1), self.dtype)
        correlation = tensor_correlations(true, pred, chosen)
        self.accumulate(correlation, counted, sample_weight)

    def result(self) -> Any:
        """Return the mean so far; NaN before the condition held anywhere."""
        return self.numerator.value() / self.denominator.value()

    def get_config(self) -> dict[str, Any]:
        """Return what is needed to make this metric again."""
        return {**super().get_config(), "data_format": self.data_format}
