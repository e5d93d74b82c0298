"""Radial spectra of periodic fields, exact in the sense of Parseval."""

from functools import lru_cache, reduce

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from keras_spectral_tl.shells import shell_numbers

# The spatial axes: one, two (x, y) or three.
Axes = tuple[int, ...]


def radial_spectrum(field: ArrayLike, axes: Axes = (-2, -1)) -> NDArray[np.float64]:
    """Mean square of a real field, split by wavenumber.

    ``spectrum[k] = sum over k - 1/2 <= |(kx, ky)| < k + 1/2 of |field_hat|^2`` with
    ``field_hat = FFT(field) / (nx * ny)`` on the domain [0, 2 pi)^2. Every Fourier
    mode lies in exactly one shell, those beyond the Nyquist wavenumber (the corners
    of the spectral plane) included, so ``sum(spectrum) == mean(field**2)``. A SUM over
    the shell, not a mean. Non-finite values propagate. With one or three spatial axes
    the same holds for |k| in one or three dimensions.

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
    values = _spatial_last(field, axes)
    field_hat = _transform(values, len(axes))
    power = field_hat.real**2 + field_hat.imag**2
    return _sum_over_shells(power, values.shape[-len(axes) :])


def cross_spectrum(
    first: ArrayLike, second: ArrayLike, axes: Axes = (-2, -1)
) -> NDArray[np.float64]:
    """Mean product of two real fields, split by wavenumber.

    ``co[k] = sum over the shell of Re(conj(first_hat) second_hat)``, normalized as
    `radial_spectrum`, so ``sum(co) == mean(first * second)`` and
    ``cross_spectrum(f, f) == radial_spectrum(f)``. The imaginary parts of a mode and
    of its mirror image cancel, so the shell sum of two real fields is real.

    Args:
        first: Real array.
        second: Real array of the same shape.
        axes: The spatial axes, by default x and y; all others are kept.

    Returns:
        Array of float64 (..., num_shells); the last index is the wavenumber.

    Raises:
        TypeError: If a field is not real.
        ValueError: If the shapes differ, or ``axes`` are not axes of the fields.

    Example:
        >>> import numpy as np
        >>> x = 2 * np.pi * np.arange(8) / 8
        >>> wave = np.sin(2 * x)[:, None] * np.ones(8)
        >>> cross_spectrum(wave, -wave).round(12)[:4]
        array([-0. , -0. , -0.5, -0. ])
    """
    first_values = _spatial_last(first, axes)
    second_values = _spatial_last(second, axes)
    if first_values.shape != second_values.shape:
        raise ValueError(
            "A cross spectrum needs two fields of one shape. Received "
            f"{np.shape(first)} and {np.shape(second)}."
        )
    first_hat = _transform(first_values, len(axes))
    second_hat = _transform(second_values, len(axes))
    product = first_hat.real * second_hat.real + first_hat.imag * second_hat.imag
    return _sum_over_shells(product, first_values.shape[-len(axes) :])


def last_complete_shell(*shape: int) -> int:
    """Largest wavenumber whose whole shell lies below Nyquist: ``(min(n) - 1) // 2``.

    Args:
        *shape: Points along each axis.

    Example:
        >>> last_complete_shell(16, 12)
        5
    """
    return (min(shape) - 1) // 2


@lru_cache(maxsize=32)
def shell_indices(*shape: int) -> NDArray[np.intp]:
    """Integer shell of every mode of the half plane, ``floor(|k| + 1/2)``.

    Args:
        *shape: Points along each axis, one to three: nx, ny.

    Returns:
        Read-only array (nx, ny // 2 + 1), in the layout of ``numpy.fft.rfftn``.

    Example:
        >>> shell_indices(4, 4)
        array([[0, 1, 2],
               [1, 1, 2],
               [2, 2, 3],
               [1, 1, 2]])
    """
    axes = [np.fft.fftfreq(n, d=1 / n) for n in shape[:-1]]
    axes.append(np.fft.rfftfreq(shape[-1], d=1 / shape[-1]))
    wavenumbers = np.meshgrid(*axes, indexing="ij", sparse=True)
    others = reduce(np.hypot, wavenumbers[:-1], np.zeros(1))
    shells: NDArray[np.intp] = shell_numbers(others, wavenumbers[-1]).astype(np.intp)
    shells.flags.writeable = False
    return shells


@lru_cache(maxsize=32)
def mode_multiplicity(ny: int) -> NDArray[np.float64]:
    """How many modes of the full plane each column of the half plane stands for.

    Args:
        ny: Number of points along the last axis.

    Returns:
        Read-only array (ny // 2 + 1,): 1 for ky = 0 and for Nyquist, else 2.

    Example:
        >>> mode_multiplicity(6)
        array([1., 2., 2., 1.])
    """
    multiplicity = np.full(ny // 2 + 1, 2.0)
    multiplicity[0] = 1.0
    if ny % 2 == 0:
        multiplicity[-1] = 1.0
    multiplicity.flags.writeable = False
    return multiplicity


@lru_cache(maxsize=32)
def shell_sum_matrix(*shape: int) -> sparse.csr_array:
    """Sparse matrix (num_shells, modes of the half plane) that sums the full plane.

    Args:
        *shape: Points along each axis, one to three: nx, ny.

    Returns:
        Matrix whose product with flattened half-plane values, Hermitian in k, is their
        sum over each shell of the full plane.

    Example:
        >>> shell_sum_matrix(4, 4).sum(axis=1)  # modes in each shell, 16 in all
        array([1., 8., 6., 1.])
    """
    shells = shell_indices(*shape)
    weights = np.broadcast_to(mode_multiplicity(shape[-1]), shells.shape)
    positions = np.arange(shells.size)
    return sparse.csr_array((weights.ravel(), (shells.ravel(), positions)))


def _transform(values: NDArray[np.float64], rank: int) -> NDArray[np.complex128]:
    """Fourier coefficients over the last axes, on the half plane."""
    axes = tuple(range(-rank, 0))
    field_hat: NDArray[np.complex128] = np.fft.rfftn(values, axes=axes, norm="forward")
    return field_hat


def _sum_over_shells(
    values: NDArray[np.float64], shape: tuple[int, ...]
) -> NDArray[np.float64]:
    """Sums half-plane values (..., nx, ny // 2 + 1) over each shell."""
    matrix = shell_sum_matrix(*shape)
    leading = values.shape[: -len(shape)]
    sums: NDArray[np.float64] = (matrix @ values.reshape(-1, matrix.shape[1]).T).T
    return sums.reshape(*leading, matrix.shape[0])


def _spatial_last(field: ArrayLike, axes: Axes) -> NDArray[np.float64]:
    """Checks a field and moves its spatial axes to the end, in float64."""
    values = np.asarray(field)
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
    return np.moveaxis(values, axes, last).astype(np.float64)
