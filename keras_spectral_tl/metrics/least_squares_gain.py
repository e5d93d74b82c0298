"""The one factor that repairs a prediction best."""

import numpy as np
from numpy.typing import ArrayLike


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
