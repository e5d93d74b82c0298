"""Energy, enstrophy, palinstrophy and their spectra.

Per unit area throughout. Spectra are SUMS over shells `[k - 1/2, k + 1/2)`, so that
they add up to the integral exactly, corners beyond the Nyquist wavenumber included.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from turbulence_data._checks import TWO_PI, real_array
from turbulence_data.solver._fields import field_shape
from turbulence_data.solver._grid import FieldHat, Grid, to_spectral

Lengths = tuple[float, float]
SQUARE: Lengths = (TWO_PI, TWO_PI)
Spectrum = NDArray[np.float64]


def spectral(field: ArrayLike, lengths: Lengths) -> tuple[FieldHat, Grid]:
    """Return the coefficients of a physical field and the grid they belong to.

    Raises:
        ValueError: for anything but one plane field.
    """
    grid = Grid(field_shape(field, "the field"), lengths)
    return to_spectral(real_array("the field", field)), grid


def energy(vorticity: ArrayLike, lengths: Lengths = SQUARE) -> float:
    """Return `1/2 <u^2 + v^2> = sum_k |vorticity_hat|^2 / (2 k^2)`."""
    hat, grid = spectral(vorticity, lengths)
    density = np.abs(hat) ** 2 * grid.inverse_k_squared
    return 0.5 * float(np.sum(grid.hermitian_weights * density))


def enstrophy(vorticity: ArrayLike) -> float:
    """Return `1/2 <vorticity^2> = sum_k |vorticity_hat|^2 / 2`."""
    return 0.5 * float(np.mean(real_array("vorticity", vorticity) ** 2))


def palinstrophy(vorticity: ArrayLike, lengths: Lengths = SQUARE) -> float:
    """Return `1/2 <|grad vorticity|^2> = sum_k k^2 |vorticity_hat|^2 / 2`."""
    hat, grid = spectral(vorticity, lengths)
    density = np.abs(hat) ** 2 * grid.k_squared
    return 0.5 * float(np.sum(grid.hermitian_weights * density))


def shell_sum(density: NDArray[np.float64], grid: Grid) -> tuple[Spectrum, Spectrum]:
    """Sums a real density over spectral shells.

    Args:
        density: one value a stored mode, shape `(nx, ny // 2 + 1)`.
        grid: the grid of the modes.

    Returns:
        Wavenumbers of the shells (0, dk, 2 dk, ...) and the sums, which add up to the
        sum over all modes, both signs of ky counted.
    """
    weights = (density * grid.hermitian_weights).ravel()
    sums: Spectrum = np.asarray(np.bincount(grid.shells.ravel(), weights), np.float64)
    return np.arange(sums.size, dtype=np.float64) * grid.shell_width, sums


def energy_spectrum(
    vorticity: ArrayLike, lengths: Lengths = SQUARE
) -> tuple[Spectrum, Spectrum]:
    """Return wavenumbers and the energy in each shell.

        E(k) = sum over the shell of |vorticity_hat|^2 / (2 |k|^2)

    The sum over all k is the kinetic energy per unit area.

    Args:
        vorticity: physical field, shape `(nx, ny)`.
        lengths: domain size.

    Example:
        >>> x = np.arange(16) * 2 * np.pi / 16
        >>> field = 3 * np.sin(3 * x)[:, None] * np.ones((1, 16))  # v = -cos(3 x)
        >>> wavenumbers, spectrum = energy_spectrum(field)
        >>> int(wavenumbers[spectrum.argmax()]), round(float(spectrum.sum()), 12)
        (3, 0.25)
    """
    hat, grid = spectral(vorticity, lengths)
    return shell_sum(0.5 * np.abs(hat) ** 2 * grid.inverse_k_squared, grid)


def variance_spectrum(
    field: ArrayLike, lengths: Lengths = SQUARE
) -> tuple[Spectrum, Spectrum]:
    """Return wavenumbers and the part of `<field^2>` in each shell; sums to it."""
    hat, grid = spectral(field, lengths)
    return shell_sum(np.abs(hat) ** 2, grid)


def enstrophy_spectrum(
    vorticity: ArrayLike, lengths: Lengths = SQUARE
) -> tuple[Spectrum, Spectrum]:
    """Return wavenumbers and the enstrophy in each shell; sums to the enstrophy."""
    wavenumbers, variance = variance_spectrum(vorticity, lengths)
    return wavenumbers, 0.5 * variance
