"""Energy, enstrophy and palinstrophy, their spectra and transfers between scales.

All are per unit area. Spectra and transfers are SUMS over shells `[k - 1/2, k + 1/2)`,
including corners beyond the Nyquist wavenumber, so that they add up exactly to the
integral; transfers by advection add up to zero.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from turbulence_data._checks import TWO_PI, real_array
from turbulence_data.solver._grid import (
    FieldHat,
    Grid,
    field_shape,
    jacobian_hat,
    streamfunction_hat,
    to_spectral,
)

Lengths = tuple[float, float]
SQUARE: Lengths = (TWO_PI, TWO_PI)
Spectrum = NDArray[np.float64]


def spectral(field: ArrayLike, lengths: Lengths) -> tuple[FieldHat, Grid]:
    """Return the Fourier coefficients of one plane field and their grid."""
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
    """Return the wavenumbers of shells and the sum in each, over both signs of ky.

    `density` has one real value per stored mode, shape `(nx, ny // 2 + 1)`.
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
    """Return wavenumbers and the variance spectrum, which sums to `<field^2>`."""
    hat, grid = spectral(field, lengths)
    return shell_sum(np.abs(hat) ** 2, grid)


def enstrophy_spectrum(
    vorticity: ArrayLike, lengths: Lengths = SQUARE
) -> tuple[Spectrum, Spectrum]:
    """Return wavenumbers and the enstrophy in each shell; sums to the enstrophy."""
    wavenumbers, variance = variance_spectrum(vorticity, lengths)
    return wavenumbers, 0.5 * variance


def transfer_spectrum(
    vorticity: ArrayLike,
    sgs_forcing: ArrayLike | None = None,
    lengths: Lengths = SQUARE,
) -> tuple[Spectrum, Spectrum]:
    """Return wavenumbers and the energy transfer of a term into each shell.

        T_E(k) = sum over the shell of Re(conj(psi_hat) term_hat)

    For `sgs_forcing` T_E is negative where resolved energy is drained, and sums to
    `<psi Pi>`. If it is None, the term is the advection `-J`, formed without aliasing,
    so that the sum over all shells is zero up to round-off; it ignores Nyquist
    wavenumbers.

    Args:
        vorticity: physical field, shape `(nx, ny)`.
        sgs_forcing: same shape; None for the transfer by advection.
        lengths: domain size.

    Raises:
        ValueError: for an sgs_forcing with another shape.

    Example:
        >>> field = np.random.default_rng(0).standard_normal((16, 16))
        >>> _, transfer = transfer_spectrum(field)
        >>> bool(abs(transfer.sum()) < 1e-14)
        True
    """
    hat, grid = spectral(vorticity, lengths)
    return _transfer(streamfunction_hat(hat, grid), hat, sgs_forcing, grid)


def enstrophy_transfer_spectrum(
    vorticity: ArrayLike,
    sgs_forcing: ArrayLike | None = None,
    lengths: Lengths = SQUARE,
) -> tuple[Spectrum, Spectrum]:
    """Return wavenumbers and the enstrophy transfer of a term into each shell.

        T_Z(k) = sum over the shell of Re(conj(vorticity_hat) term_hat)

    The term is `sgs_forcing`, with the sum `<vorticity Pi>`, or the advection, with the
    sum zero. Arguments and errors are those of `transfer_spectrum`.
    """
    hat, grid = spectral(vorticity, lengths)
    return _transfer(hat, hat, sgs_forcing, grid)


def energy_flux(
    vorticity: ArrayLike, lengths: Lengths = SQUARE
) -> tuple[Spectrum, Spectrum]:
    """Return wavenumbers and the energy flux by advection beyond each shell.

        Pi_E(k) = -sum_{k' <= k} T_E(k')

    This is the flux through the upper edge of shell k, positive towards larger
    wavenumbers and negative in an inverse cascade. It is zero at the last shell.

    Args:
        vorticity: physical field, shape `(nx, ny)`.
        lengths: domain size.
    """
    wavenumbers, transfer = transfer_spectrum(vorticity, None, lengths)
    return wavenumbers, 0.0 - np.cumsum(transfer)


def enstrophy_flux(
    vorticity: ArrayLike, lengths: Lengths = SQUARE
) -> tuple[Spectrum, Spectrum]:
    """Return wavenumbers and the enstrophy flux by advection beyond each shell.

    `Pi_Z(k) = -sum_{k' <= k} T_Z(k')`; sign and limits as in `energy_flux`.
    """
    wavenumbers, transfer = enstrophy_transfer_spectrum(vorticity, None, lengths)
    return wavenumbers, 0.0 - np.cumsum(transfer)


def _transfer(
    field_hat: FieldHat, vorticity_hat: FieldHat, term: ArrayLike | None, grid: Grid
) -> tuple[Spectrum, Spectrum]:
    """Return the shell sums of a field times a term (None: the advection)."""
    if term is None:
        term_hat = -jacobian_hat(vorticity_hat, grid)
    elif np.shape(term) != grid.num_points:
        raise ValueError(
            f"sgs_forcing must have the shape {grid.num_points} of the vorticity; "
            f"received {np.shape(term)}."
        )
    else:
        term_hat = spectral(term, grid.lengths)[0]
    return shell_sum((np.conj(field_hat) * term_hat).real, grid)
