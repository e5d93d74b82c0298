"""Radial spectra of periodic fields, and comparisons of two fields by wavenumber."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from keras_spectral_tl._checks import (
    as_array,
    check_finite,
    check_one_shape,
    real_array,
    whole_numbers,
)
from keras_spectral_tl._shells import (
    last_complete_shell,
    shell_indices,
    shell_sum_matrix,
)

Array = NDArray[np.float64]
# The spatial axes: one, two (x, y) or three.
Axes = tuple[int, ...]

# A shell below this fraction of the mean square holds float64 round-off, no signal.
_ROUND_OFF_SHARE = 1e-26


def radial_spectrum(field: ArrayLike, axes: Axes = (-2, -1)) -> Array:
    """Return the mean square of a real field, split by wavenumber.

    ``spectrum[k] = sum over k - 1/2 <= |(kx, ky)| < k + 1/2 of |field_hat|^2`` with
    ``field_hat = FFT(field) / (nx * ny)`` on the domain [0, 2 pi)^2. Every Fourier
    mode lies in exactly one shell, including those beyond the Nyquist wavenumber (the
    corners of the spectral plane), so ``sum(spectrum) == mean(field**2)``. It is a SUM
    over the shell, not a mean. Non-finite values propagate. With one or three spatial
    axes the same holds for |k| in one or three dimensions.

    Args:
        field: Real array.
        axes: The spatial axes, by default x and y; all others are kept.

    Returns:
        Array of float64 (..., num_shells): the kept axes, then the wavenumber, whose
        value is its index. Units of field squared.

    Raises:
        TypeError: If ``field`` is not real.
        ValueError: If ``axes`` are not one to three different axes of ``field``.

    Example:
        >>> import numpy as np
        >>> x = 2 * np.pi * np.arange(16) / 16
        >>> field = np.sin(3 * x)[:, None] + np.zeros(12)
        >>> radial_spectrum(field).round(12)[:5]
        array([0. , 0. , 0. , 0.5, 0. ])
    """
    field_hat, grid = _transform(field, axes)
    return _sum_over_shells(field_hat.real**2 + field_hat.imag**2, grid)


def mean_spectrum(field: ArrayLike, axes: Axes = (-2, -1)) -> Array:
    """Return the `radial_spectrum` (num_shells,), averaged over all other axes."""
    spectra = radial_spectrum(field, axes)
    return np.asarray(spectra.reshape(-1, spectra.shape[-1]).mean(axis=0))


def cross_spectrum(first: ArrayLike, second: ArrayLike, axes: Axes = (-2, -1)) -> Array:
    """Return the mean product of two real fields, split by wavenumber.

    ``co[k] = sum over the shell of Re(conj(first_hat) second_hat)``, normalized as
    `radial_spectrum`, so ``sum(co) == mean(first * second)`` and
    ``cross_spectrum(f, f) == radial_spectrum(f)``. The imaginary parts of a mode and
    of its mirror image cancel, so the shell sum of two real fields is real.
    """
    fields = as_array(first), as_array(second)
    check_one_shape("the fields of a cross spectrum", *fields)
    (first_hat, grid), (second_hat, _) = (_transform(field, axes) for field in fields)
    product = first_hat.real * second_hat.real + first_hat.imag * second_hat.imag
    return _sum_over_shells(product, grid)


def _sum_over_shells(values: Array, shape: tuple[int, ...]) -> Array:
    """Sum half-plane values (..., nx, ny // 2 + 1) over each shell."""
    matrix = shell_sum_matrix(*shape)
    leading = values.shape[: -len(shape)]
    sums: Array = (matrix @ values.reshape(-1, matrix.shape[1]).T).T
    return sums.reshape(*leading, matrix.shape[0])


def _transform(
    field: ArrayLike, axes: Axes
) -> tuple[NDArray[np.complex128], tuple[int, ...]]:
    """Check a field; return its transform, spatial axes last, and its grid."""
    values = as_array(field)
    if not np.can_cast(values.dtype, np.float64, casting="same_kind"):
        raise TypeError(
            "A radial spectrum is defined here for real fields. Received dtype "
            f"{values.dtype}. Take the spectra of its real and imaginary parts."
        )
    named = {a % values.ndim for a in axes if -values.ndim <= a < values.ndim}
    if not 1 <= len(axes) <= 3 or len(named) != len(axes):
        raise ValueError(
            "axes must name one to three different axes of the field, such as x and y. "
            f"Received axes={axes} for a field of shape {values.shape}."
        )
    if 0 in (values.shape[axis] for axis in axes):
        raise ValueError(f"The field has no points: shape {values.shape}, axes={axes}.")
    last = tuple(range(-len(axes), 0))
    values = np.moveaxis(values, axes, last).astype(np.float64)
    transform = np.fft.rfftn(values, axes=last, norm="forward")
    return transform, values.shape[-len(axes) :]


def spectrum_rmse(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    axes: Axes = (1, 2),
    wavenumbers: Sequence[int] | None = None,
) -> float:
    """Return the mean relative error of the spectrum, which a correlation does not see.

    ``mean over k of |P(k) - T(k)| / T(k)`` with T and P the radial spectra (shell SUM)
    of truth and prediction, averaged over samples and channels before the ratio.
    A prediction with gain g scores ``|g^2 - 1|``; a perfect one scores 0.

    Args:
        y_true: Truth, (samples, nx, ny) or (samples, nx, ny, channels).
        y_pred: Prediction, same shape.
        axes: The axes along x and y.
        wavenumbers: The k to average over. By default 1 .. (min(nx, ny) - 1) // 2:
            every complete shell below the Nyquist wavenumber. k = 0 is left out
            because the subgrid forcing of a periodic flow has no mean.

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
    true_spectrum = mean_spectrum(truth, axes)
    predicted_spectrum = mean_spectrum(prediction, axes)
    chosen = np.array(shells_on(tuple(truth.shape[a] for a in axes), wavenumbers))
    floor = _ROUND_OFF_SHARE * true_spectrum.sum()
    empty = chosen[true_spectrum[chosen] <= floor]
    if empty.size:
        raise ValueError(
            "The relative error needs a truth with energy at every wavenumber, but "
            f"y_true has none at k={empty.tolist()}. Pass wavenumbers= without them."
        )
    error = np.abs(predicted_spectrum[chosen] / true_spectrum[chosen] - 1.0)
    return float(error.mean())


def shells_on(grid: tuple[int, ...], wavenumbers: Sequence[int] | None) -> list[int]:
    """Return checked wavenumbers; by default the complete shells except k = 0."""
    if wavenumbers is None:
        wavenumbers = range(1, last_complete_shell(*grid) + 1)
        if not wavenumbers:
            raise ValueError(
                f"Fields of {grid} points have no complete shell but k = 0. Expected "
                "at least 3 points along each axis, or wavenumbers to compare."
            )
    chosen = whole_numbers("wavenumbers", wavenumbers)
    last = int(shell_indices(*grid).max())
    if max(chosen) > last:
        raise ValueError(
            f"Expected wavenumbers between 0 and {last}, the shells of a grid of "
            f"{grid}. Received wavenumbers={chosen}."
        )
    return chosen


def coherence(y_true: ArrayLike, y_pred: ArrayLike, axes: Axes = (1, 2)) -> Array:
    """Return the correlation of prediction and truth by wavenumber, in [-1, 1].

    ``co(k) / sqrt(T(k) P(k))`` with the co-spectrum and both spectra averaged over
    samples and channels before the ratio. Like a correlation, it does not depend on
    gain; 1 means equal phases, 0 unrelated ones, -1 opposite ones.

    Args:
        y_true: Truth, (samples, nx, ny) or (samples, nx, ny, channels).
        y_pred: Prediction, same shape.
        axes: The axes along x and y.

    Returns:
        Array (num_shells,); the wavenumber is the index. 0 where one of the two fields
        has no energy but round-off.

    Raises:
        ValueError: If the shapes differ or values are not finite.

    Example:
        >>> import numpy as np
        >>> truth = np.random.default_rng(0).normal(size=(4, 8, 8))
        >>> coherence(truth, -3 * truth).round(12)
        array([-1., -1., -1., -1., -1., -1., -1.])
    """
    truth, prediction = _matching_fields(y_true, y_pred, axes)
    cross = cross_spectrum(truth, prediction, axes)
    product = cross.reshape(-1, cross.shape[-1]).mean(axis=0)
    spectra = np.stack([mean_spectrum(one, axes) for one in (truth, prediction)])
    floors = _ROUND_OFF_SHARE * spectra.sum(axis=1, keepdims=True)
    norm = np.prod(np.sqrt(spectra), axis=0)
    has_energy = np.all(spectra > floors, axis=0)
    ratio = np.divide(product, norm, out=np.zeros_like(product), where=has_energy)
    return np.asarray(np.clip(ratio, -1.0, 1.0))


def spectral_ratio(above: Array, below: Array) -> Array:
    """Return the ratio of two spectra, NaN where the denominator is only round-off.

    The ratio of a prediction's `mean_spectrum` to the truth's is its energy gain by
    wavenumber: 1 is right, below 1 too weak. Unlike `coherence`, it ignores phases.

    Args:
        above: Numerator (num_shells,).
        below: Denominator (num_shells,), non-negative.

    Raises:
        ValueError: If the shapes differ.

    Example:
        >>> spectral_ratio(np.array([1.0, 1.0]), np.array([4.0, 0.0]))
        array([0.25,  nan])
    """
    above, below = real_array("above", above), real_array("below", below)
    check_one_shape("two spectra", above, below)
    holds = below > _ROUND_OFF_SHARE * below.sum()
    empty = np.full(below.shape, np.nan)
    return np.asarray(np.divide(above, below, out=empty, where=holds))


def _matching_fields(
    y_true: ArrayLike, y_pred: ArrayLike, axes: Axes
) -> tuple[Array, Array]:
    """Check that truth and prediction are finite, of one shape, and have ``axes``."""
    truth = real_array("y_true", y_true)
    prediction = real_array("y_pred", y_pred)
    check_one_shape("y_true and y_pred", truth, prediction)
    if truth.size == 0 or max(axes) >= truth.ndim:
        raise ValueError(
            "Expected (samples, nx, ny) or (samples, nx, ny, channels) with the "
            f"spatial axes {axes}. Received shape {truth.shape}."
        )
    check_finite("y_true", truth)
    check_finite("y_pred", prediction)
    return truth, prediction
