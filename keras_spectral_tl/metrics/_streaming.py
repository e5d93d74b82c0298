"""Keras metrics that accumulate running sums over batches."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_spectral_tl._checks import one_of, whole_numbers
from keras_spectral_tl.layers._periodic import (
    check_alike,
    data_format_of,
    tensor_spectra,
)
from keras_spectral_tl.metrics._functions import tensor_correlations
from keras_spectral_tl.spectra._fields import shells_on


class CompensatedSum:
    """A running sum with compensated rounding errors.

    Two variables of a metric hold the sum and its rounding error (Neumaier's variant of
    Kahan's sum, https://doi.org/10.1002/zamm.19740540106). The error of the result is
    one or two roundings for any number of terms; a plain float32 sum would stop growing
    once a term is 6e-8 of it. Only the errors of the terms themselves remain. It works
    inside compiled steps of every backend, none of which reorders sums.
    """

    def __init__(
        self, metric: keras.Metric, name: str, shape: tuple[int, ...] = ()
    ) -> None:
        self.total = metric.add_weight(name=name, shape=shape, initializer="zeros")
        self.lost = metric.add_weight(
            name=f"{name}_lost", shape=shape, initializer="zeros"
        )

    def add(self, term: Any) -> None:
        """Add a term of the shape and precision of the sum."""
        term = ops.cast(term, self.total.dtype)
        total = ops.convert_to_tensor(self.total)
        grown = total + term
        added = grown - total
        error = (total - (grown - added)) + (term - added)
        self.lost.assign(self.lost + error)
        self.total.assign(grown)

    def value(self) -> Any:
        return self.total + self.lost


def _of_samples(sample_weight: Any, dtype: Any) -> Any:
    """Return weights of samples, (num_samples,); raise ValueError for other weights."""
    weight = ops.cast(sample_weight, dtype)
    if any(size not in (1, None) for size in weight.shape[1:]):
        raise ValueError(
            "Expected as sample_weight one number for each sample. Received the shape "
            f"{tuple(weight.shape)}: metrics of this package do not weight points."
        )
    return ops.reshape(weight, (-1,))


def _without_last_one(shape: Sequence[int | None]) -> Sequence[int | None]:
    """Return a shape without a last axis of 1, which Keras adds to one side or not."""
    return shape[:-1] if len(shape) > 1 and shape[-1] == 1 else shape


class RatioMetric(keras.Metric):
    """Accumulates a numerator and a denominator over batches, with compensated sums.

    The ratio is taken at the end, so the size and order of the batches matter only by
    the rounding within each batch.
    """

    def __init__(self, name: str, dtype: Any = None) -> None:
        super().__init__(name=name, dtype=dtype)
        self.numerator = CompensatedSum(self, "numerator")
        self.denominator = CompensatedSum(self, "denominator")

    def pair(self, y_true: Any, y_pred: Any) -> tuple[Any, Any]:
        """Return the samples of truth and prediction, of one shape."""
        y_true, y_pred = map(ops.convert_to_tensor, (y_true, y_pred))
        true, pred = self.samples(y_true), self.samples(y_pred)
        shapes = [_without_last_one(part.shape) for part in (y_true, y_pred)]
        alike = len(shapes[0]) == len(shapes[1]) and all(
            None in pair or pair[0] == pair[1] for pair in zip(*shapes, strict=True)
        )
        if not alike:
            raise ValueError(
                f"Metric {self.name!r} expected y_true and y_pred of one shape. "
                f"Received {tuple(y_true.shape)} and {tuple(y_pred.shape)}."
            )
        return true, pred

    def samples(self, values: Any) -> Any:
        """Return `values` as (num_samples, values) in the precision of the metric."""
        values = ops.cast(values, self.dtype)
        return ops.reshape(values, (ops.shape(values)[0], -1))

    def accumulate(self, above: Any, below: Any, sample_weight: Any) -> None:
        """Add one weighted number per sample to each sum."""
        if sample_weight is not None:
            weight = _of_samples(sample_weight, self.dtype)
            above, below = above * weight, below * weight
        self.numerator.add(ops.sum(above))
        self.denominator.add(ops.sum(below))

    def result(self) -> Any:
        return self.numerator.value() / self.denominator.value()


@keras.saving.register_keras_serializable(package="keras_spectral_tl")
class PatternCorrelation(RatioMetric):
    """Keras metric: mean over samples of the correlation with the truth.

    The streaming form of `pattern_correlation`, in the metric's own precision. In
    float32, the default, both agree to 2e-6 for any number of samples whose mean is at
    most 1e4 standard deviations. Beyond, float32 limits the accuracy: at 1e6 the error
    is about 1e-3. Normalize such fields first, and those in units that make values
    below 1e-14 or above 1e15, whose squares float32 does not hold. Before any update
    the result is 0. As in all metrics here, a `sample_weight` is a number for each
    sample, and points that the outputs mask count.

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
        true, pred = self.pair(y_true, y_pred)
        correlation = tensor_correlations(true, pred, ops.ones_like(true, dtype="bool"))
        self.accumulate(correlation, ops.ones_like(correlation), sample_weight)

    def result(self) -> Any:
        return ops.divide_no_nan(self.numerator.value(), self.denominator.value())


@keras.saving.register_keras_serializable(package="keras_spectral_tl")
class RelativeRMSE(RatioMetric):
    """Keras metric: root-mean-square error over root mean square of the truth.

    The streaming form of `relative_rmse`: both sums run over all batches before the
    ratio is taken, so the batch size does not matter (in float32, the default, both
    agree to a relative 2e-6 for any number of samples, if values are between 1e-14 and
    1e15). While the truth so far is zero
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
        true, pred = self.pair(y_true, y_pred)
        error = ops.sum(ops.square(pred - true), axis=1)
        self.accumulate(error, ops.sum(ops.square(true), axis=1), sample_weight)

    def result(self) -> Any:
        return ops.sqrt(super().result())


@keras.saving.register_keras_serializable(package="keras_spectral_tl")
class TransferCorrelation(RatioMetric):
    """Keras metric: correlation with the truth where the transfer has one direction.

    The streaming form of `conditioned_correlation` with ``field * sgs_forcing > 0`` for
    backscatter and ``< 0`` for forward transfer, by the TRUE forcing. With the
    streamfunction as field this is the transfer of energy, with the vorticity that of
    enstrophy. A metric does not receive model inputs, so the field must be appended as
    the last channel of ``y_true``: (batch, nx, ny, 2) for a prediction (batch, nx, ny,
    1). Only its sign counts, so it may be scaled but not shifted. Samples without such
    points are left out; before any such sample the result is NaN.

    Args:
        direction: "backscatter", to the resolved scales, or "forward", from them.
        data_format: "channels_last", "channels_first" or None (the Keras setting).
        name: Name of the metric in logs and histories; by default
            "backscatter_correlation" or "forward_correlation".
        dtype: Precision of the sums.

    Raises:
        ValueError: If ``direction`` or ``data_format`` is unknown, or at an update if
            `y_true` does not have one channel more than the prediction.

    Example:
        The loss uses only the channel of the truth:

        >>> import numpy as np
        >>> layers = keras.Input((8, 8, 2)), keras.layers.Conv2D(1, 1)
        >>> model = keras.Sequential(layers)
        >>> def loss(y_true, y_pred):
        ...     return keras.losses.mean_squared_error(y_true[..., :1], y_pred)
        >>> model.compile("adam", loss, metrics=[TransferCorrelation("backscatter")])
        >>> x = np.random.default_rng(0).normal(size=(4, 8, 8, 2))
        >>> sgs_forcing, streamfunction = x[..., 1:] - x[..., :1], x[..., :1]
        >>> y = np.concatenate([sgs_forcing, streamfunction], axis=-1)
        >>> sorted(model.evaluate(x, y, verbose=0, return_dict=True))
        ['backscatter_correlation', 'loss']
    """

    def __init__(
        self,
        direction: str,
        data_format: str | None = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        self.direction = one_of("direction", direction, ("backscatter", "forward"))
        super().__init__(name=name or f"{direction}_correlation", dtype=dtype)
        self.data_format = data_format_of(data_format)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add a batch; the last channel of `y_true` is the field of the transfer."""
        axis = -1 if self.data_format == "channels_last" else 1
        y_true = ops.convert_to_tensor(y_true)
        y_pred = ops.convert_to_tensor(y_pred)
        channels = y_pred.shape[axis]
        if len(y_true.shape) != len(y_pred.shape) or y_true.shape[axis] != channels + 1:
            raise ValueError(
                "TransferCorrelation needs y_true with the channels of y_pred and one "
                "more, the streamfunction or the vorticity. Received shapes "
                f"{tuple(y_true.shape)} and {tuple(y_pred.shape)}."
            )
        true, field = ops.split(y_true, [channels], axis=axis)
        # Of signs, since a product of small numbers would vanish.
        transfer = self.samples(ops.sign(true) * ops.sign(field))
        chosen = transfer > 0 if self.direction == "backscatter" else transfer < 0
        true, pred = self.samples(true), self.samples(y_pred)
        counted = ops.cast(ops.any(chosen, axis=1), self.dtype)
        correlation = tensor_correlations(true, pred, chosen)
        self.accumulate(correlation, counted, sample_weight)

    def get_config(self) -> dict[str, Any]:
        config = {"direction": self.direction, "data_format": self.data_format}
        return {**super().get_config(), **config}


@keras.saving.register_keras_serializable(package="keras_spectral_tl")
class SpectrumRMSE(keras.Metric):
    """Keras metric: mean relative error of the spectrum.

    ``mean over k of |P(k) - T(k)| / T(k)`` with T and P the radial spectra (shell SUM)
    of truth and prediction, the streaming form of `spectrum_rmse`: both are summed over
    ALL samples, channels and batches before the ratio is taken.

    Spectra are computed in float32, for values between 1e-14 and 1e15 or zero, and
    summed with compensation. The result is within
    1e-5 of float64 if each shell used holds at least 1e-6 of the energy; below about
    1e-12 a shell holds float32 round-off: exclude it by `wavenumbers`. A truth without
    any energy at one of them gives NaN or infinity. Before any update, and if all
    fields are zero, it is 0.

    Args:
        wavenumbers: The k to average over. By default 1 .. ``(min(nx, ny) - 1) // 2``:
            every complete shell below the Nyquist wavenumber.
        data_format: "channels_last", "channels_first" or None (the Keras setting).
        name: Name of the metric in logs and histories.
        dtype: Precision of the sums.

    Raises:
        ValueError: If ``data_format`` is unknown or ``wavenumbers`` is empty or
            negative; at an update if a wavenumber is not on the grid, or the fields are
            not of one shape, rank 4 and known sizes, those of the updates before.

    Source: the score used in arXiv:2504.15487.

    Example:
        >>> import numpy as np
        >>> truth = np.random.default_rng(0).normal(size=(4, 16, 16, 1))
        >>> metric = SpectrumRMSE()
        >>> metric.update_state(truth[:3], 2 * truth[:3])
        >>> metric.update_state(truth[3:], 2 * truth[3:])
        >>> round(float(metric.result()), 4)
        3.0
    """

    def __init__(
        self,
        wavenumbers: Sequence[int] | None = None,
        data_format: str | None = None,
        name: str = "spectrum_rmse",
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        self.wavenumbers = (
            None if wavenumbers is None else whole_numbers("wavenumbers", wavenumbers)
        )
        self.data_format = data_format_of(data_format)
        self._sums: tuple[CompensatedSum, CompensatedSum] | None = None
        self._points: tuple[int, ...] = ()
        self._chosen: list[int] = []

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        points = check_alike("SpectrumRMSE", y_true, y_pred, self.data_format)
        both = [
            tensor_spectra(ops.convert_to_tensor(fields), self.data_format)
            for fields in (y_true, y_pred)
        ]
        shape = (int(both[0].shape[-1]),)
        if not self._points:
            self._points = points
            self._chosen = shells_on(points, self.wavenumbers)
        if self._sums is None:  # whose size is known from the first batch on
            self._sums = (
                CompensatedSum(self, "true_spectrum", shape),
                CompensatedSum(self, "predicted_spectrum", shape),
            )
        if points != self._points or shape != tuple(self._sums[0].total.shape):
            raise ValueError(
                "Expected fields on the grid of the updates before, with "
                f"{self._sums[0].total.shape[0]} shells. Received a grid of {points}, "
                f"with {shape[0]}. Use one metric for each grid."
            )
        for total, spectra in zip(self._sums, both, strict=True):
            by_sample = ops.cast(ops.sum(spectra, axis=1), self.dtype)
            if sample_weight is not None:
                weight = _of_samples(sample_weight, self.dtype)
                by_sample = by_sample * ops.expand_dims(weight, -1)
            total.add(ops.sum(by_sample, axis=0))

    def result(self) -> Any:
        if self._sums is None:
            return ops.zeros((), self.dtype)
        sums = [total.value() for total in self._sums]
        is_reset = ops.sum(sums[0]) + ops.sum(sums[1]) == 0.0
        true, predicted = (ops.take(spectrum, self._chosen) for spectrum in sums)
        error = ops.mean(ops.abs(predicted / true - 1.0))
        return ops.where(is_reset, ops.zeros_like(error), error)

    def get_config(self) -> dict[str, Any]:
        config = {"wavenumbers": self.wavenumbers, "data_format": self.data_format}
        return {**super().get_config(), **config}
