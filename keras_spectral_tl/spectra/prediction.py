"""How well a prediction holds the spectrum of the truth, wavenumber by wavenumber."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from keras_spectral_tl._checks import real_array
from keras_spectral_tl.spectra.fields import (
    Axes,
    cross_spectrum,
    last_complete_shell,
    radial_spectrum,
)

# A shell below this share of the mean square holds round-off of float64, not signal.
_ROUND_OFF_SHARE = 1e-26


def spectrum_rmse(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    axes: Axes = (1, 2),
    wavenumbers: Sequence[int] | None = None,
) -> float:
    """Mean relative error of the spectrum, which a correlation does not see.

    ``mean over k of |P(k) - T(k)| / T(k)`` with T and P the radial spectra (shell SUM)
    of truth and prediction, averaged over samples and channels before the ratio.
    A prediction with gain g scores ``|g^2 - 1|``; a perfect one scores 0.

    Args:
        y_true: Truth, (samples, nx, ny) or (samples, nx, ny, channels).
        y_pred: Prediction, same shape.
        axes: The axes along x and y.
        wavenumbers: The k to average over. By default 1 .. (min(nx, ny) - 1) // 2:
            every complete shell below the Nyquist wavenumber. k = 0 is left out as
            the subgrid forcing of a periodic flow has no mean.

    Returns:
        The error, dimensionless, at least 0.

    Raises:
        ValueError: If the shapes differ, values are not finite, a wavenumber is not
            on the grid, or the truth is empty at one of the wavenumbers.

    Source: the score used in arXiv:2504.15487.

    Example:
        >>> import numpy as np
        >>> truth = np.random.default_rng(0).normal(size=(4, 16, 16, 1))
        >>> round(spectrum_rmse(truth, 2 * truth), 12)
        3.0
    """
    truth, prediction = _matching_fields(y_true, y_pred, axes)
    true_spectrum = _mean_over_samples(radial_spectrum(truth, axes))
    predicted_spectrum = _mean_over_samples(radial_spectrum(prediction, axes))
    last = last_complete_shell(*(truth.shape[axis] for axis in axes))
    chosen = np.arange(1, last + 1)
    if wavenumbers is not None:
        chosen = _whole_numbers(wavenumbers)
    if chosen.size == 0 or chosen.min() < 0 or chosen.max() >= len(true_spectrum):
        raise ValueError(
            f"wavenumbers must lie in 0 .. {len(true_spectrum) - 1} and not be empty. "
            f"Received {chosen.tolist()}."
        )
    floor = _ROUND_OFF_SHARE * true_spectrum.sum()
    empty = chosen[true_spectrum[chosen] <= floor]
    if empty.size:
        raise ValueError(
            "The relative error needs a truth with energy at every wavenumber, but "
            f"y_true has none at k={empty.tolist()}. Pass wavenumbers= without them."
        )
    error = np.abs(predicted_spectrum[chosen] / true_spectrum[chosen] - 1.0)
    return float(error.mean())


def coherence(
    y_true: ArrayLike, y_pred: ArrayLike, axes: Axes = (1, 2)
) -> NDArray[np.float64]:
    """Correlation of prediction and truth at each wavenumber, in [-1, 1].

    ``co(k) / sqrt(T(k) P(k))`` with the co-spectrum and both spectra averaged over
    samples and channels before the ratio. It is blind to gain, as a correlation is;
    1 means equal phases, 0 unrelated ones, -1 opposite ones.

    Args:
        y_true: Truth, (samples, nx, ny) or (samples, nx, ny, channels).
        y_pred: Prediction, same shape.
        axes: The axes along x and y.

    Returns:
        Array (num_shells,); the wavenumber is the index. 0 where one of the two has
        no energy.

    Raises:
        ValueError: If the shapes differ or values are not finite.

    Example:
        >>> import numpy as np
        >>> truth = np.random.default_rng(0).normal(size=(4, 8, 8))
        >>> coherence(truth, -3 * truth).round(12)
        array([-1., -1., -1., -1., -1., -1., -1.])
    """
    truth, prediction = _matching_fields(y_true, y_pred, axes)
    product = _mean_over_samples(cross_spectrum(truth, prediction, axes))
    true_spectrum = _mean_over_samples(radial_spectrum(truth, axes))
    predicted_spectrum = _mean_over_samples(radial_spectrum(prediction, axes))
    norm = np.sqrt(true_spectrum) * np.sqrt(predicted_spectrum)
    ratio = np.divide(product, norm, out=np.zeros_like(product), where=norm > 0)
    clipped: NDArray[np.float64] = np.clip(ratio, -1.0, 1.0)
    return clipped


def energy_gain(
    y_true: ArrayLike, y_pred: ArrayLike, axes: Axes = (1, 2)
) -> NDArray[np.float64]:
    """Energy of the prediction over that of the truth at each wavenumber.

    ``P(k) / T(k)`` with both spectra averaged over samples and channels before the
    ratio: 1 is right, below 1 the prediction is too weak there. It is blind to phases,
    which `coherence` sees.

    Args:
        y_true: Truth, (samples, nx, ny) or (samples, nx, ny, channels).
        y_pred: Prediction, same shape.
        axes: The axes along x and y.

    Returns:
        Array (num_shells,); the wavenumber is the index. NaN where the truth has no
        energy.

    Raises:
        ValueError: If the shapes differ or values are not finite.

    Example:
        >>> import numpy as np
        >>> truth = np.random.default_rng(0).normal(size=(4, 8, 8))
        >>> energy_gain(truth, -3 * truth).round(12)
        array([9., 9., 9., 9., 9., 9., 9.])
    """
    truth, prediction = _matching_fields(y_true, y_pred, axes)
    true_spectrum = _mean_over_samples(radial_spectrum(truth, axes))
    predicted_spectrum = _mean_over_samples(radial_spectrum(prediction, axes))
    return spectral_ratio(predicted_spectrum, true_spectrum)


def spectral_ratio(
    above: NDArray[np.float64], below: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Ratio of two spectra, NaN where the lower one holds no more than round-off.

    Args:
        above: Spectrum (num_shells,).
        below: Spectrum (num_shells,), of at least 0.

    Raises:
        ValueError: If the shapes differ.

    Example:
        >>> spectral_ratio(np.array([1.0, 1.0]), np.array([4.0, 0.0]))
        array([0.25,  nan])
    """
    above, below = real_array("above", above), real_array("below", below)
    if above.shape != below.shape:
        raise ValueError(
            f"Expected two spectra of one shape. Received {above.shape} and "
            f"{below.shape}."
        )
    holds = below > _ROUND_OFF_SHARE * below.sum()
    empty = np.full(below.shape, np.nan)
    ratio: NDArray[np.float64] = np.divide(above, below, out=empty, where=holds)
    return ratio


def _whole_numbers(wavenumbers: ArrayLike) -> NDArray[np.intp]:
    numbers = np.atleast_1d(real_array("wavenumbers", wavenumbers))
    if not np.array_equal(numbers, np.round(numbers)) or np.isinf(numbers).any():
        raise ValueError(
            f"wavenumbers must be whole numbers. Received {numbers.tolist()}."
        )
    return numbers.clip(-1, np.iinfo(np.int32).max).astype(np.intp)


def _mean_over_samples(spectra: NDArray[np.float64]) -> NDArray[np.float64]:
    """Averages (..., num_shells) over all axes but the last."""
    mean: NDArray[np.float64] = spectra.reshape(-1, spectra.shape[-1]).mean(axis=0)
    return mean


def _matching_fields(
    y_true: ArrayLike, y_pred: ArrayLike, axes: Axes
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Checks that truth and prediction are finite, of one shape, and have ``axes``."""
    truth = real_array("y_true", y_true)
    prediction = real_array("y_pred", y_pred)
    if truth.shape != prediction.shape:
        raise ValueError(
            "y_true and y_pred must have one shape. Received "
            f"{truth.shape} and {prediction.shape}."
        )
    if truth.size == 0 or max(axes) >= truth.ndim:
        raise ValueError(
            "Expected (samples, nx, ny) or (samples, nx, ny, channels) with the "
            f"spatial axes {axes}. Received shape {truth.shape}."
        )
    for name, values in (("y_true", truth), ("y_pred", prediction)):
        bad = int(np.count_nonzero(~np.isfinite(values)))
        if bad:
            raise ValueError(f"{name} has {bad} values that are NaN or infinite.")
    return truth, prediction
