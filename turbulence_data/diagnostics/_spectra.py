"""Energy, enstrophy, palinstrophy: their spectra and their transfers between scales.

Per unit area throughout. Spectra and transfers are SUMS over shells `[k - 1/2,
k + 1/2)`, so that they add up to the integral exactly, corners beyond the Nyquist
wavenumber included; transfers by the advection add up to zero.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from turbulence_data._checks import TWO_PI, real_array
from turbulence_data.solver._fields import field_shape, jacobian_hat, streamfunction_hat
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


def transfer_spectrum(
    vorticity: ArrayLike, sgs_forcing: ArrayLike, lengths: Lengths = SQUARE
) -> tuple[Spectrum, Spectrum]:
    """Return wavenumbers and the energy that `sgs_forcing` puts into each shell.

        T(k) = sum over the shell of Re(conj(psi_hat) sgs_forcing_hat)

    Negative where the subgrid drains resolved energy; sums to `<psi Pi>`.
    """
    hat, grid = spectral(vorticity, lengths)
    forcing_hat = _same_grid(sgs_forcing, grid)
    return _product(streamfunction_hat(hat, grid), forcing_hat, grid)


def enstrophy_transfer_spectrum(
    vorticity: ArrayLike, sgs_forcing: ArrayLike, lengths: Lengths = SQUARE
) -> tuple[Spectrum, Spectrum]:
    """Return wavenumbers and the enstrophy that `sgs_forcing` puts into each shell.

        T(k) = sum over the shell of Re(conj(vorticity_hat) sgs_forcing_hat)

    Negative where the subgrid drains resolved enstrophy; sums to `<vorticity Pi>`.
    """
    hat, grid = spectral(vorticity, lengths)
    return _product(hat, _same_grid(sgs_forcing, grid), grid)


def advective_energy_transfer(
    vorticity: ArrayLike, lengths: Lengths = SQUARE
) -> tuple[Spectrum, Spectrum]:
    """Return wavenumbers and the energy that advection brings into each shell.

        T_E(k) = -sum over the shell of Re(conj(psi_hat) J_hat),   sum_k T_E = -<psi J>

    J is formed without aliasing, so the sum over all shells is zero to round-off.
    Nyquist wavenumbers are ignored, as in `solver.operators.jacobian_hat`.

    Args:
        vorticity: physical field, shape `(nx, ny)`.
        lengths: domain size.

    Example:
        >>> field = np.random.default_rng(0).standard_normal((16, 16))
        >>> _, transfer = advective_energy_transfer(field)
        >>> bool(abs(transfer.sum()) < 1e-14)
        True
    """
    hat, grid = spectral(vorticity, lengths)
    return _product(streamfunction_hat(hat, grid), -jacobian_hat(hat, grid), grid)


def advective_enstrophy_transfer(
    vorticity: ArrayLike, lengths: Lengths = SQUARE
) -> tuple[Spectrum, Spectrum]:
    """Return wavenumbers and the enstrophy that advection brings into each shell.

        T_Z(k) = -sum over the shell of Re(conj(vorticity_hat) J_hat),
        sum_k T_Z = -<vorticity J>

    Zero in sum, as `advective_energy_transfer`.

    Args:
        vorticity: physical field, shape `(nx, ny)`.
        lengths: domain size.
    """
    hat, grid = spectral(vorticity, lengths)
    return _product(hat, -jacobian_hat(hat, grid), grid)


def energy_flux(
    vorticity: ArrayLike, lengths: Lengths = SQUARE
) -> tuple[Spectrum, Spectrum]:
    """Return wavenumbers and the energy that advection carries beyond each shell.

        Pi_E(k) = -sum_{k' <= k} T_E(k')

    The flux through the upper edge of shell k, towards larger wavenumbers where
    positive; an inverse cascade is negative. Zero at the last shell.

    Args:
        vorticity: physical field, shape `(nx, ny)`.
        lengths: domain size.
    """
    wavenumbers, transfer = advective_energy_transfer(vorticity, lengths)
    return wavenumbers, cumulative_flux(transfer)


def enstrophy_flux(
    vorticity: ArrayLike, lengths: Lengths = SQUARE
) -> tuple[Spectrum, Spectrum]:
    """Return wavenumbers and the enstrophy that advection carries beyond each shell.

        Pi_Z(k) = -sum_{k' <= k} T_Z(k')

    Signed and bounded as `energy_flux`.

    Args:
        vorticity: physical field, shape `(nx, ny)`.
        lengths: domain size.
    """
    wavenumbers, transfer = advective_enstrophy_transfer(vorticity, lengths)
    return wavenumbers, cumulative_flux(transfer)


def cumulative_flux(transfer: ArrayLike) -> Spectrum:
    """Return `-sum_{k' <= k} T(k')`: what leaves the shells up to each k.

    Example:
        >>> cumulative_flux([0.0, 1.0, -3.0, 2.0]).tolist()
        [0.0, -1.0, 2.0, 0.0]
    """
    flux: Spectrum = 0.0 - np.cumsum(real_array("transfer", transfer, at_least=0))
    return flux


def _product(
    field_hat: FieldHat, term_hat: FieldHat, grid: Grid
) -> tuple[Spectrum, Spectrum]:
    return shell_sum((np.conj(field_hat) * term_hat).real, grid)


def _same_grid(sgs_forcing: ArrayLike, grid: Grid) -> FieldHat:
    if np.shape(sgs_forcing) != grid.num_points:
        raise ValueError(
            f"sgs_forcing must have the shape {grid.num_points} of the vorticity; "
            f"received {np.shape(sgs_forcing)}."
        )
    return spectral(sgs_forcing, grid.lengths)[0]
