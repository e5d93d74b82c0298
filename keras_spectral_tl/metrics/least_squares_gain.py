"""The one factor that repairs a prediction best."""

import numpy as np
from numpy.typing import ArrayLike

from keras_spectral_tl._checks import real_array


def least_squares_gain(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """Return the factor of the prediction that fits the truth best.

    sum(y_true y_pred) / sum(y_pred^2), sums over all values, minimises
    sum((gain y_pred - y_true)^2).

    Args:
        y_true: True values.
        y_pred: Predicted values, same shape.

    Returns:
        The gain, in float64; NaN where y_pred is zero throughout, or not finite.

    Raises:
        ValueError: If the shapes differ.

    Example:
        >>> least_squares_gain([2.0, 4.0], [1.0, 2.0])
        2.0
    """
    true, pred = real_array("y_true", y_true), real_array("y_pred", y_pred)
    if true.shape != pred.shape:
        raise ValueError(
            "Expected y_true and y_pred of one shape. Received shapes "
            f"{true.shape} and {pred.shape}."
        )
    power = float(np.sum(pred**2))
    if power == 0.0 or not np.isfinite(power):
        return float("nan")
    return float(np.sum(true * pred)) / power
