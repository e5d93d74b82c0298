"""Metrics of arrays: correlations, relative error, least-squares gain."""

import math
from typing import Any

import numpy as np
from keras import ops
from numpy.typing import ArrayLike, NDArray

from keras_spectral_tl._checks import check_one_shape, real_array

Samples = NDArray[np.float64]


def pattern_correlation(
    y_true: ArrayLike, y_pred: ArrayLike, weights: ArrayLike | None = None
) -> float:
    """Return the mean over samples of the correlation of each sample with its truth.

    With t and p the values of one sample at all its points and channels, minus their
    means, its Pearson correlation is sum(t p) / sqrt(sum(t^2) sum(p^2)), in [-1, 1].
    It does not depend on the amplitude. A sample in which the truth or the prediction
    is constant has correlation 0. NaN or infinite values make the result NaN.

    Args:
        y_true: True values, shape (num_samples, ...).
        y_pred: Predicted values, same shape.
        weights: Non-negative weights of the points in means and sums, that broadcast to
            the shape of y, such as cell areas on a sphere:
            ``cos(latitude)[:, None, None]`` for (num_samples, latitude, longitude,
            channels). None means equal weights.

    Returns:
        The mean correlation, in float64.

    Raises:
        ValueError: If the shapes differ or there is nothing to correlate, or weights
            are negative, not finite, or all zero in a sample.

    Example:
        >>> round(pattern_correlation([[0.0, 1.0, 2.0]], [[5.0, 7.0, 9.0]]), 12)
        1.0
        >>> pattern_correlation([[0.0, 1.0, 2.0]], [[3.0, 3.0, 3.0]])
        0.0
        >>> true, pred = [[0.0, 1.0, 2.0, 9.0]], [[0.0, 1.0, 2.0, -9.0]]
        >>> round(pattern_correlation(true, pred, weights=[1.0, 1.0, 1.0, 0.0]), 12)
        1.0
    """
    true, pred = matching_samples(y_true, y_pred)
    chosen = _point_weights(weights, np.shape(y_true)).reshape(true.shape)
    return float(np.mean(correlations(true, pred, chosen)))


def relative_rmse(
    y_true: ArrayLike, y_pred: ArrayLike, weights: ArrayLike | None = None
) -> float:
    """Return the root-mean-square error divided by the root mean square of the truth.

    sqrt(sum((y_pred - y_true)^2) / sum(y_true^2)), sums over all samples and points: 0
    is perfect, 1 is the error of predicting zero.

    Args:
        y_true: True values, shape (num_samples, ...).
        y_pred: Predicted values, same shape.
        weights: Weights of the points in both sums, see `pattern_correlation`.

    Returns:
        The relative error, in float64.

    Raises:
        ValueError: If the shapes differ, there are no values, the truth is zero
            everywhere, or the weights are invalid, see `pattern_correlation`.

    Example:
        >>> relative_rmse([[3.0, 4.0]], [[3.0, 9.0]])
        1.0
    """
    true, pred = matching_samples(y_true, y_pred)
    weight = _point_weights(weights, np.shape(y_true)).reshape(true.shape)
    counted = weight > 0
    scale = np.max(np.abs(true), initial=0.0, where=counted)
    if scale == 0:
        raise ValueError(
            "The relative error is undefined: y_true is zero at all "
            f"{np.count_nonzero(counted)} points of {len(true)} samples."
        )
    true, pred = (np.where(counted, part, 0.0) / scale for part in (true, pred))
    with np.errstate(over="ignore", invalid="ignore"):
        error = np.sum(weight * (pred - true) ** 2)
        return float(np.sqrt(error / np.sum(weight * true**2)))


def conditioned_correlation(
    y_true: ArrayLike, y_pred: ArrayLike, condition: ArrayLike
) -> float:
    """Return the mean correlation of each sample with its truth at chosen points.

    Means, variances and covariance run over the points of a sample at which the
    condition holds. Usually the condition is the direction of the transfer by the TRUE
    subgrid forcing Pi on the right-hand side of the vorticity equation. With
    lap(streamfunction) = -vorticity, Pi contributes

        <streamfunction Pi> to d(energy)/dt,  <vorticity Pi> to d(enstrophy)/dt,

    so ``streamfunction * y_true > 0`` selects backscatter of energy and ``< 0`` its
    forward transfer; ``vorticity`` instead of ``streamfunction`` selects that of
    enstrophy. The field must keep its physical zero: normalize it by its scale only.

    Args:
        y_true: True values, shape (num_samples, ...).
        y_pred: Predicted values, same shape.
        condition: Booleans, same shape.

    Returns:
        The mean over the samples in which the condition holds anywhere, in float64. A
        sample in which truth or prediction is constant at these points counts as 0.

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


def least_squares_gain(
    y_true: ArrayLike, y_pred: ArrayLike, weights: ArrayLike | None = None
) -> float:
    """Return the gain of the prediction that fits the truth best (least squares).

    sum(y_true y_pred) / sum(y_pred^2), sums over all values, minimizes
    sum((gain y_pred - y_true)^2).

    Args:
        y_true: True values.
        y_pred: Predicted values, same shape.
        weights: Weights of the points in both sums, see `pattern_correlation`.

    Returns:
        The gain, in float64; NaN if y_pred is zero everywhere or not finite, or so
        small or large that its square is. Points without weight do not matter.

    Raises:
        ValueError: If the shapes differ, or the weights are invalid.

    Example:
        >>> least_squares_gain([2.0, 4.0], [1.0, 2.0])
        2.0
    """
    true, pred = real_array("y_true", y_true), real_array("y_pred", y_pred)
    check_one_shape("y_true and y_pred", true, pred)
    weight = _point_weights(weights, true.shape)
    counted = weight > 0
    true, pred, weight = true[counted], pred[counted], weight[counted]
    power = float(np.sum(weight * pred**2))
    if power == 0.0 or not np.isfinite(power):
        return float("nan")
    return float(np.sum(weight * true * pred)) / power


def matching_samples(y_true: ArrayLike, y_pred: ArrayLike) -> tuple[Samples, Samples]:
    """Return truth and prediction as float64 arrays (num_samples, values)."""
    true, pred = real_array("y_true", y_true), real_array("y_pred", y_pred)
    if true.shape != pred.shape or true.ndim < 2 or true.size == 0:
        raise ValueError(
            "Expected y_true and y_pred of one shape (num_samples, ...) with at least "
            f"one value. Received shapes {true.shape} and {pred.shape}."
        )
    return true.reshape(len(true), -1), pred.reshape(len(pred), -1)


def are_numbers(y: ArrayLike) -> bool:
    """Return whether each sample is a number: these are correlated over the samples."""
    return math.prod(np.shape(y)[1:]) == 1


def correlations(true: Samples, pred: Samples, chosen: NDArray[Any]) -> Samples:
    """Return the Pearson correlation of each row over its chosen or weighted points."""
    with np.errstate(invalid="ignore"):
        counted, weight = chosen > 0, np.asarray(chosen, np.float64)
        constant = (_range(true, counted) == 0) | (_range(pred, counted) == 0)
        product = np.sum(_direction(true, weight) * _direction(pred, weight), axis=1)
    return np.where(constant, 0.0, product)


def tensor_correlations(true: Any, pred: Any, chosen: Any) -> Any:
    """Return `correlations` of tensors on any backend, in their own precision."""
    true, pred = ops.convert_to_tensor(true), ops.convert_to_tensor(pred)
    spread = _tensor_range(true, chosen), _tensor_range(pred, chosen)
    # NaN must propagate: only truly constant samples count as zero.
    undefined = ops.isnan(spread[0] + spread[1])
    varies = ops.logical_and(spread[0] > 0, spread[1] > 0)
    directions = _tensor_direction(true, chosen) * _tensor_direction(pred, chosen)
    product = ops.sum(directions, axis=1)
    keep = ops.logical_or(varies, undefined)
    return ops.where(keep, product, ops.zeros_like(product))


def _range(rows: Samples, chosen: NDArray[np.bool_]) -> Samples:
    largest: Samples = np.max(np.where(chosen, rows, -np.inf), axis=1)
    smallest: Samples = np.min(np.where(chosen, rows, np.inf), axis=1)
    return largest - smallest


def _point_weights(weights: ArrayLike | None, shape: tuple[int, ...]) -> Samples:
    """Return weights of all points of samples of this shape, 1 for None."""
    if weights is None:
        return np.ones(shape)
    given = real_array("weights", weights)
    try:
        full = np.broadcast_to(given, shape)
    except ValueError as error:
        raise ValueError(
            f"Expected weights that broadcast to the shape of y_true, {shape}. "
            f"Received shape {given.shape}."
        ) from error
    largest = full.reshape(shape[0], -1).max(axis=1)
    if not (np.isfinite(given).all() and given.min() >= 0 and (largest > 0).all()):
        raise ValueError(
            "Expected finite weights of at least 0, one above 0 in each sample. "
            f"Received weights from {given.min():.4g} to {given.max():.4g}."
        )
    return full


def _direction(rows: Samples, weight: Samples) -> Samples:
    # Scale before squaring, to avoid overflow and underflow.
    rows = np.where(weight > 0, rows, 0.0)
    total = weight.sum(axis=1, keepdims=True)
    mean = (weight * rows).sum(axis=1, keepdims=True) / total
    centred = np.sqrt(weight) * np.where(weight > 0, rows - mean, 0.0)
    largest = np.max(np.abs(centred), axis=1, keepdims=True)
    centred = centred / np.where(largest == 0, 1.0, largest)
    norm = np.sqrt(np.sum(centred**2, axis=1, keepdims=True))
    return centred / np.where(norm == 0, 1.0, norm)


def _tensor_range(rows: Any, chosen: Any) -> Any:
    infinite = ops.full_like(rows, float("inf"))
    largest = ops.max(ops.where(chosen, rows, -infinite), axis=1)
    return largest - ops.min(ops.where(chosen, rows, infinite), axis=1)


def _tensor_direction(rows: Any, chosen: Any) -> Any:
    zeros = ops.zeros_like(rows)
    rows = ops.where(chosen, rows, zeros)
    count = ops.sum(ops.cast(chosen, rows.dtype), axis=1, keepdims=True)
    mean = ops.sum(rows, axis=1, keepdims=True) / ops.maximum(count, 1.0)
    centred = ops.where(chosen, rows - mean, zeros)
    largest = ops.max(ops.abs(centred), axis=1, keepdims=True)
    centred = centred / ops.where(largest == 0, ops.ones_like(largest), largest)
    norm = ops.sqrt(ops.sum(ops.square(centred), axis=1, keepdims=True))
    return centred / ops.where(norm == 0, ops.ones_like(norm), norm)
