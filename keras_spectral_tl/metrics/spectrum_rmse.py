"""The error of the spectrum of a prediction, while training."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_spectral_tl._checks import whole_numbers
from keras_spectral_tl.layers._spectra import tensor_spectra
from keras_spectral_tl.metrics.compensated_sum import CompensatedSum


@keras.saving.register_keras_serializable(package="keras_spectral_tl")
class SpectrumRMSE(keras.Metric):
    """Keras metric: mean relative error of the spectrum, which no correlation sees.

    ``mean over k of |P(k) - T(k)| / T(k)`` with T and P the radial spectra (shell SUM)
    of truth and prediction, the streaming form of `spectrum_rmse`: both are summed over
    ALL samples, channels and batches before the ratio is taken.

    Spectra are computed in float32 and summed without loss. The result is within 1e-5
    of float64 where each shell used holds at least 1e-6 of the energy; below some 1e-12
    a shell holds the round-off of float32 transforms: leave it out by `wavenumbers`. A
    truth without any energy at one of them makes the result NaN or infinite. Before any
    update it is 0.

    Args:
        wavenumbers: The k to average over. By default 1 .. ``(min(nx, ny) - 1) // 2``:
            every complete shell below the Nyquist wavenumber.
        data_format: "channels_last", "channels_first" or None (the Keras setting).
        name: Name of the metric in logs and histories.
        dtype: Precision of the sums.

    Raises:
        ValueError: If ``data_format`` is unknown or ``wavenumbers`` is empty or
            negative; at an update if a wavenumber is not on the grid, or the fields are
            not of one shape, rank 4 and known sizes.

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
        self.data_format = data_format or keras.config.image_data_format()
        if self.data_format not in ("channels_last", "channels_first"):
            raise ValueError(
                "data_format must be 'channels_last', 'channels_first' or None. "
                f"Received data_format={data_format!r}."
            )
        self._true: CompensatedSum | None = None
        self._predicted: CompensatedSum | None = None
        self._chosen: list[int] = []

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add a batch; `sample_weight` holds one weight a sample."""
        shape = tuple(y_pred.shape)
        if len(shape) != 4 or None in shape[1:] or tuple(y_true.shape[1:]) != shape[1:]:
            raise ValueError(
                "SpectrumRMSE needs a truth and a prediction of one shape, rank 4 and "
                f"known sizes. Received {tuple(y_true.shape)} and {shape}."
            )
        true, predicted = self._spectra(y_true), self._spectra(y_pred)
        if self._true is None or self._predicted is None:
            self._build(int(true.shape[-1]), shape)
        for total, spectra in ((self._true, true), (self._predicted, predicted)):
            if total is not None:
                total.add(self._summed(spectra, sample_weight))

    def result(self) -> Any:
        """Return the error of the spectra summed so far."""
        if self._true is None or self._predicted is None:
            return ops.zeros((), self.dtype)
        true = ops.take(self._true.value(), self._chosen)
        predicted = ops.take(self._predicted.value(), self._chosen)
        return ops.mean(ops.abs(predicted / true - 1.0))

    def get_config(self) -> dict[str, Any]:
        """Return what is needed to make this metric again."""
        config = {"wavenumbers": self.wavenumbers, "data_format": self.data_format}
        return {**super().get_config(), **config}

    def _build(self, num_shells: int, shape: tuple[int, ...]) -> None:
        """Makes the sums; their size is known from the first batch on."""
        spatial = shape[1:3] if self.data_format == "channels_last" else shape[2:]
        default = range(1, (min(spatial) - 1) // 2 + 1)
        self._chosen = list(default if self.wavenumbers is None else self.wavenumbers)
        if not self._chosen or max(self._chosen) >= num_shells:
            raise ValueError(
                f"wavenumbers must lie in 0 .. {num_shells - 1} and not be empty. "
                f"Received {self._chosen} for fields of {spatial} points."
            )
        self._true = CompensatedSum(self, "true_spectrum", (num_shells,))
        self._predicted = CompensatedSum(self, "predicted_spectrum", (num_shells,))

    def _spectra(self, fields: Any) -> Any:
        fields = ops.convert_to_tensor(fields)
        if self.data_format == "channels_last":
            fields = ops.transpose(fields, (0, 3, 1, 2))
        return tensor_spectra(fields)

    def _summed(self, spectra: Any, sample_weight: Any) -> Any:
        """Sum over samples and channels."""
        by_sample = ops.cast(ops.sum(spectra, axis=1), self.dtype)
        if sample_weight is not None:
            weight = ops.reshape(ops.cast(sample_weight, self.dtype), (-1, 1))
            by_sample = by_sample * weight
        return ops.sum(by_sample, axis=0)
