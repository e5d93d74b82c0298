"""Where a transfer function is largest: on a grid, and between its points."""

import numpy as np
from numpy.typing import NDArray

from keras_spectral_tl.spectra.kernels.transforms import point_offsets

Array = NDArray[np.float64]

# Peaks closer than this count as equal; the one at the smallest |k| is taken.
TIE = 1e-9
_NUM_STEPS = 8
# Curvatures below this share of the power are a ridge: no step is taken along it.
_RIDGE = 1e-6
# -pi and pi are one wavenumber, called pi also when round-off is in the way.
_ROUND_OFF = 1e-9


def peak_modes(transfer: Array, modulus: Array) -> NDArray[np.intp]:
    """The mode with the largest transfer; of equal ones that with the smallest |k|.

    Args:
        transfer: (kernels, modes), non-negative.
        modulus: (modes,) |k|.

    Example:
        >>> peak_modes(np.array([[1.0, 2.0, 2.0]]), np.array([0.0, 5.0, 4.0]))
        array([2])
    """
    largest = transfer.max(axis=1, keepdims=True)
    # Along the ridge of a derivative kernel all peaks are equal but for round-off.
    is_peak = transfer >= largest * (1.0 - TIE)
    found: NDArray[np.intp] = np.where(is_peak, modulus, np.inf).argmin(axis=1)
    return found


def refine_peaks(kernels: Array, starts: Array, reach: float) -> tuple[Array, Array]:
    """Climbs from grid points to the nearby maxima of ``|F(k)|^2``, k continuous.

    Newton's method with the moduli of the curvatures, so that every step goes uphill;
    steps are at most ``reach`` long and taken only if they gain.

    Args:
        kernels: (kernels, *size).
        starts: (kernels, rank) wavenumbers in radians a kernel point.
        reach: Length of the longest step.

    Returns:
        Wavenumbers (kernels, rank) and the power there, (kernels,).

    Example:
        >>> kernel = np.array([[1.0, 0.0, -1.0]])  # |F| = 2 sin(k), largest at pi / 2
        >>> k, power = refine_peaks(kernel, np.array([[1.5]]), 0.1)
        >>> bool(abs(k[0, 0] - np.pi / 2) < 1e-9), power.round(9)
        (True, array([4.]))
    """
    grids = np.meshgrid(*map(point_offsets, kernels.shape[1:]), indexing="ij")
    points = np.stack([grid.ravel() for grid in grids], axis=-1)
    flat = kernels.reshape(len(kernels), -1)
    best = starts.copy()
    power, gradient, curvature = _power(flat, points, best)
    for _ in range(_NUM_STEPS):
        values, axes_of = np.linalg.eigh(curvature)
        moduli = np.maximum(np.abs(values), _RIDGE * power[:, None] + 1e-300)
        along = np.einsum("nij,ni->nj", axes_of, gradient) / moduli
        along[np.abs(values) <= _RIDGE * power[:, None]] = 0.0
        step = np.einsum("nij,nj->ni", axes_of, along)
        length = np.linalg.norm(step, axis=1, keepdims=True)
        step *= np.minimum(1.0, reach / np.maximum(length, reach))
        trial = best + step
        after = _power(flat, points, trial)
        gained = after[0] > power
        if not gained.any():
            break
        best[gained] = trial[gained]
        power, gradient, curvature = (
            np.where(gained.reshape(-1, *[1] * (new.ndim - 1)), new, old)
            for new, old in zip(after, (power, gradient, curvature), strict=True)
        )
    return wrapped(best), power


def wrapped(k: Array) -> Array:
    """Wavenumbers modulo 2 pi, in (-pi, pi] to round-off.

    Example:
        >>> wrapped(np.array([-np.pi, 4.0])).round(3)
        array([ 3.142, -2.283])
    """
    return np.asarray(k - 2 * np.pi * np.ceil((k - np.pi - _ROUND_OFF) / (2 * np.pi)))


def _power(flat: Array, points: Array, k: Array) -> tuple[Array, Array, Array]:
    """``|F|^2``, its gradient (n, rank) and its second derivatives (n, rank, rank)."""
    rank = points.shape[1]
    terms = flat * np.exp(-1j * (k @ points.T))
    pairs = (points[:, :, None] * points[:, None, :]).reshape(len(points), -1)
    value = terms.sum(axis=1)
    first = -1j * (terms @ points)
    second = -(terms @ pairs).reshape(-1, rank, rank)
    gradient = 2 * np.real(value.conj()[:, None] * first)
    curvature = 2 * np.real(
        first.conj()[:, :, None] * first[:, None, :]
        + value.conj()[:, None, None] * second
    )
    return np.abs(value) ** 2, gradient, curvature
