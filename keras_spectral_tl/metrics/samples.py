"""Checks of the arrays that are compared, and correlations of their rows."""

from typing import Any

import numpy as np
from keras import ops
from numpy.typing import ArrayLike, NDArray

from keras_spectral_tl._checks import real_array

Samples = NDArray[np.float64]


def matching_samples(y_true: ArrayLike, y_pred: ArrayLike) -> tuple[Samples, Samples]:
    """Truth and prediction as float64 arrays (num_samples, values of a sample).

    Args:
        y_true: True values, shape (num_samples, ...).
        y_pred: Predicted values, same shape.

    Raises:
        ValueError: If the shapes differ or there are no values.

    Example:
        >>> matching_samples([[[1.0], [2.0]]], [[[3.0], [4.0]]])
        (array([[1., 2.]]), array([[3., 4.]]))
    """
    true, pred = real_array("y_true", y_true), real_array("y_pred", y_pred)
    if true.shape != pred.shape or true.ndim < 2 or true.size == 0:
        raise ValueError(
            "Expected y_true and y_pred of one shape (num_samples, ...) with at least "
            f"one value. Received shapes {true.shape} and {pred.shape}."
        )
    return true.reshape(len(true), -1), pred.reshape(len(pred), -1)


def correlations(true: Samples, pred: Samples, chosen: NDArray[np.bool_]) -> Samples:
    """Pearson correlation of each row over its chosen points, in float64.

    Args:
        true: Array (num_samples, points).
        pred: The same of the prediction.
        chosen: Which points count, same shape, at least one a row.

    Returns:
        Array (num_samples,): 0 where truth or prediction is constant.

    Example:
        >>> rows = np.array([[0.0, 1.0, 9.0]])
        >>> correlations(rows, -rows, np.array([[True, True, False]]))
        array([-1.])
    """
    with np.errstate(invalid="ignore"):
        constant = (_range(true, chosen) == 0) | (_range(pred, chosen) == 0)
        product = np.sum(_direction(true, chosen) * _direction(pred, chosen), axis=1)
    return np.where(constant, 0.0, product)


def tensor_correlations(true: Any, pred: Any, chosen: Any) -> Any:
    """`correlations` of tensors on any backend, in their own precision.

    Args:
        true: Tensor (num_samples, points).
        pred: The same of the prediction.
        chosen: Boolean tensor of the same shape. A row without any gives 0.

    Returns:
        Tensor (num_samples,); NaN where a chosen value is NaN.

    Example:
        >>> rows = np.array([[0.0, 1.0, 9.0]], "float32")
        >>> points = np.array([[True, True, False]])
        >>> round(float(tensor_correlations(rows, 2 * rows, points)[0]), 6)
        1.0
    """
    true, pred = ops.convert_to_tensor(true), ops.convert_to_tensor(pred)
    spread = _tensor_range(true, chosen), _tensor_range(pred, chosen)
    # A sum of NaN must stay visible: only truly constant samples count as zero.
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


def _direction(rows: Samples, chosen: NDArray[np.bool_]) -> Samples:
    # Scaled before squaring, so that no amplitude over- or underflows.
    rows = np.where(chosen, rows, 0.0)
    mean = rows.sum(axis=1, keepdims=True) / chosen.sum(axis=1, keepdims=True)
    centred = np.where(chosen, rows - mean, 0.0)
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
