"""Losses that compare spectra instead of points, or weight points by area."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_spectral_tl._checks import real_array, real_number, whole_number
from keras_spectral_tl._keras_internals import keras_mask
from keras_spectral_tl._shells import last_complete_shell
from keras_spectral_tl.layers._periodic import (
    check_alike,
    data_format_of,
    tensor_spectra,
)

# Keeps the logarithm of a shell finite if truth and prediction are both zero.
_SMALLEST = 1e-37

Mismatch = Callable[[Any, Any], Any]


@keras.saving.register_keras_serializable(package="keras_spectral_tl")
def squared_log_ratio(true: Any, predicted: Any) -> Any:
    """Return ``log(predicted / true)^2``, which is symmetric in truth and prediction.

    Args:
        true: Spectrum of the truth, above 0.
        predicted: Spectrum of the prediction, above 0.

    Returns:
        The mismatch by wavenumber.

    Example:
        >>> round(float(squared_log_ratio(1.0, 2.718282)), 5)
        1.0
    """
    return ops.square(ops.log(predicted) - ops.log(true))


@keras.saving.register_keras_serializable(package="keras_spectral_tl")
def squared_relative_error(true: Any, predicted: Any) -> Any:
    """Return ``(predicted / true - 1)^2``, which is at most 1 for too little energy.

    Args:
        true: Spectrum of the truth, above 0.
        predicted: Spectrum of the prediction.

    Returns:
        The mismatch by wavenumber.

    Example:
        >>> float(squared_relative_error(1.0, 3.0))
        4.0
    """
    return ops.square(predicted / true - 1.0)


@keras.saving.register_keras_serializable(package="keras_spectral_tl")
class SpectralLoss(keras.losses.Loss):
    """Mismatch of the radial spectra of prediction and truth, differentiable.

    With T(k) and P(k) the spectra (shell SUM) of one channel of one sample,

    ``loss = mean over channels of sum_k w(k) mismatch(T(k) + e, P(k) + e)``,

    over the wavenumbers k_min <= k <= k_max, with weights scaled to sum to 1. The floor
    ``e = floor * mean_k T(k)`` prevents nearly empty shells and round-off from
    dominating the loss: shells far below it count as equal. Phases are ignored, so a
    field in the wrong place costs nothing: add the loss to a pointwise one.

    It computes in float32 under every precision policy, so normalize fields whose
    values are below 1e-14 or above 1e15. Its gradient is finite
    everywhere, and exactly 0 for a prediction that is zero everywhere, since that has
    no phases: do not start there. A channel whose truth is zero everywhere has no
    scale: any nonzero prediction has a huge loss.

    Args:
        mismatch: Callable ``(true, predicted) -> mismatch`` of positive spectra;
            `squared_log_ratio`, `squared_relative_error` or your own (registered with
            `keras.saving.register_keras_serializable` if the model is to be saved).
        wavenumbers: ``(k_min, k_max)``, both included. ``k_max = None`` means
            ``(min(nx, ny) - 1) // 2``, the last complete shell below Nyquist.
        weights: w(k), one number for each k from k_min on; by default equal.
        floor: Floor of the spectra relative to the mean of the truth's, above 0.
        data_format: "channels_last", "channels_first" or None (the Keras setting).
        reduction: How samples are put together, as in every Keras loss.
        name: Name of the loss.

    Raises:
        TypeError: If `floor` is not a number, or `mismatch` not callable.
        ValueError: If an argument is out of range, or at the first call if a wavenumber
            is not on the grid or the fields are not of rank 4 with known sizes.

    Example:
        Added to a pointwise loss:

        >>> import numpy as np
        >>> spectral, pointwise = SpectralLoss(), keras.losses.MeanSquaredError()
        >>> def loss(y_true, y_pred):
        ...     return pointwise(y_true, y_pred) + 0.1 * spectral(y_true, y_pred)
        >>> truth = np.random.default_rng(0).normal(size=(2, 16, 16, 1))
        >>> round(float(spectral(truth, 2 * truth)), 3)  # nearly log(4)^2 = 1.922
        1.922
        >>> round(float(loss(truth, truth)), 6)
        0.0
    """

    def __init__(
        self,
        mismatch: Mismatch = squared_log_ratio,
        wavenumbers: tuple[int, int | None] = (1, None),
        weights: Sequence[float] | None = None,
        floor: float = 1e-6,
        data_format: str | None = None,
        reduction: str = "sum_over_batch_size",
        name: str = "spectral_loss",
    ) -> None:
        super().__init__(name=name, reduction=reduction, dtype="float32")
        self.mismatch = mismatch
        self.wavenumbers = _checked_range(wavenumbers)
        self.weights = None if weights is None else _checked_weights(weights)
        self.floor = real_number("floor", floor, above=0)
        self.data_format = data_format_of(data_format)
        if not callable(mismatch):
            raise TypeError(
                "mismatch must be a callable (true, predicted) -> mismatch. Received "
                f"{mismatch!r}."
            )

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the mismatch of each sample."""
        points = check_alike("SpectralLoss", y_true, y_pred, self.data_format)
        first, last = self._range(points)
        true, predicted = (
            tensor_spectra(fields, self.data_format)[:, :, first : last + 1]
            for fields in (y_true, y_pred)
        )
        floor = self.floor * ops.mean(true, axis=-1, keepdims=True) + _SMALLEST
        mismatch = self.mismatch(true + floor, predicted + floor)
        by_wavenumber = ops.mean(mismatch, axis=1)
        if self.weights is None:
            return ops.mean(by_wavenumber, axis=-1)
        weights = ops.convert_to_tensor(self.weights, "float32") / sum(self.weights)
        return ops.sum(by_wavenumber * weights, axis=-1)

    def get_config(self) -> dict[str, Any]:
        """Return what is needed to make this loss again."""
        return {
            "mismatch": keras.saving.serialize_keras_object(self.mismatch),
            "wavenumbers": self.wavenumbers,
            "weights": self.weights,
            "floor": self.floor,
            "data_format": self.data_format,
            "reduction": self.reduction,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "SpectralLoss":
        """Return the loss that `get_config` describes."""
        mismatch = keras.saving.deserialize_keras_object(config["mismatch"])
        return cls(**{**config, "mismatch": mismatch})

    def _range(self, num_points: tuple[int, int]) -> tuple[int, int]:
        """Return the first and last wavenumber on a grid of this size."""
        first, last = self.wavenumbers
        largest = last_complete_shell(*num_points)
        last = largest if last is None else last
        if not first <= last <= largest:
            raise ValueError(
                f"A grid of {num_points} points has complete shells up to k = "
                f"{largest}. Received wavenumbers={self.wavenumbers}."
            )
        if self.weights is not None and len(self.weights) != last - first + 1:
            raise ValueError(
                f"Expected one weight for each of k = {first} .. {last}, that is "
                f"{last - first + 1}. Received {len(self.weights)}."
            )
        return first, last


@keras.saving.register_keras_serializable(package="keras_spectral_tl")
class WeightedMeanSquaredError(keras.losses.Loss):
    """Mean squared error with a weight for each point of a sample.

    ``loss = sum(w (y_pred - y_true)^2) / sum(w)`` over the points and channels of a
    sample. With cell areas as weights it is the area mean on a sphere instead of the
    mean over a latitude-longitude grid.

    Args:
        weights: Finite, non-negative array, not all 0, that broadcasts to the shape of
            a sample of y, such as ``cos(latitude)[:, None, None]`` for fields
            (latitude, longitude, channels).
        reduction: How samples are put together, as in every Keras loss.
        name: Name of the loss.

    Raises:
        ValueError: If the weights are anything else; at the first call, if the shapes
            of truth and prediction differ in more than a last axis of 1, or the weights
            do not broadcast to a sample of the longer one.

    Example:
        >>> import numpy as np
        >>> loss = WeightedMeanSquaredError(np.array([[1.0], [3.0]]))
        >>> true = np.zeros((1, 2, 1))
        >>> float(loss(true, np.array([[[2.0], [0.0]]])))  # (1 * 4 + 3 * 0) / 4
        1.0
    """

    def __init__(
        self,
        weights: Any,
        reduction: str = "sum_over_batch_size",
        name: str = "weighted_mean_squared_error",
    ) -> None:
        super().__init__(name=name, reduction=reduction)
        self.weights = real_array("weights", weights)
        given = self.weights
        if not (np.isfinite(given).all() and given.min() >= 0 and given.max() > 0):
            raise ValueError(
                "Expected finite weights of at least 0, not all 0. Received weights "
                f"from {given.min():.4g} to {given.max():.4g}."
            )

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Return the reduced loss; points that the outputs mask do not count."""
        mask = keras_mask(y_pred)
        if mask is None or len(mask.shape) < 2:
            return super().__call__(y_true, y_pred, sample_weight)
        # Keras would weight the losses of samples by the mask of their points.
        masked = _OfMaskedPoints(self, mask)
        return masked(y_true, ops.multiply(y_pred, 1), sample_weight)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the weighted mean of each sample."""
        return self._of_points(y_true, y_pred)

    def _of_points(self, y_true: Any, y_pred: Any, mask: Any = None) -> Any:
        """Return the weighted mean of each sample, over the points of a mask if any."""
        # As in the losses of Keras, either may lack a last axis of 1, of channels.
        rank = max(len(y_true.shape), self.weights.ndim + 1, 2)
        true, pred = _of_rank(y_true, rank), _of_rank(y_pred, rank)
        sizes = zip(true.shape, pred.shape, strict=False)
        alike = all(None in pair or pair[0] == pair[1] for pair in sizes)
        points = zip(self.weights.shape[::-1], pred.shape[::-1], strict=False)
        fit = all(size in (1, number) or number is None for size, number in points)
        if not (len(true.shape) == len(pred.shape) == rank and alike and fit):
            raise ValueError(
                "Expected y_true and y_pred of one shape (samples, ...), and weights "
                "that broadcast to a sample. Received the shapes "
                f"{tuple(y_true.shape)} and {tuple(y_pred.shape)}, and weights of "
                f"shape {self.weights.shape}. Give y the axes of the network's outputs."
            )
        error = pred - true
        axes = tuple(range(1, len(error.shape)))
        weights = ops.cast(ops.convert_to_tensor(self.weights), error.dtype)
        weights = weights * ops.ones_like(error)
        if mask is not None:
            shape = (*ops.shape(mask), *(1,) * (rank - len(mask.shape)))
            weights = weights * ops.cast(ops.reshape(mask, shape), error.dtype)
        # The square of a fill value could be infinite, and infinity times 0 is NaN.
        error = ops.square(ops.where(weights > 0, error, ops.zeros_like(error)))
        summed = ops.sum(weights * error, axis=axes)
        return ops.divide_no_nan(summed, ops.sum(weights, axis=axes))

    def get_config(self) -> dict[str, Any]:
        """Return what is needed to make this loss again."""
        settings = {"reduction": self.reduction, "name": self.name}
        return {"weights": self.weights.tolist(), **settings}


class _OfMaskedPoints(keras.losses.Loss):
    """A `WeightedMeanSquaredError` where a mask says which points count."""

    def __init__(self, loss: WeightedMeanSquaredError, mask: Any) -> None:
        super().__init__(loss.name, loss.reduction, loss.dtype)
        self._loss, self._mask = loss, mask

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return self._loss._of_points(y_true, y_pred, self._mask)


def _of_rank(values: Any, rank: int) -> Any:
    """Return values with a last axis of 1 more or less, if that gives this rank."""
    if len(values.shape) == rank - 1:
        return ops.expand_dims(values, -1)
    if len(values.shape) == rank + 1 and values.shape[-1] == 1:
        return ops.squeeze(values, -1)
    return values


def _checked_range(wavenumbers: Any) -> tuple[int, int | None]:
    try:
        first, last = wavenumbers
        first = whole_number("k_min", first, 0)
        return first, None if last is None else whole_number("k_max", last, first)
    except (TypeError, ValueError) as error:
        raise ValueError(
            "wavenumbers must be (k_min, k_max) with 0 <= k_min <= k_max, or "
            f"(k_min, None). Received wavenumbers={wavenumbers!r}."
        ) from error


def _checked_weights(weights: Any) -> list[float]:
    values = real_array("weights", weights)
    total = float(values.sum())
    if values.ndim != 1 or not 0.0 < total < math.inf or values.min() < 0.0:
        raise ValueError(
            "weights must be a number for each wavenumber, finite, at least 0 and not "
            f"all 0. Received weights={weights!r:.100}."
        )
    return list(map(float, values))
