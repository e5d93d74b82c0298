"""Transfers of energy and enstrophy between scales, per unit area and time.

Transfers are SUMS over shells `[k - 1/2, k + 1/2)`, so they add up to the integral
exactly: to zero for the advection, which moves both quantities and changes neither.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from turbulence_data._checks import real_array
from turbulence_data.diagnostics._spectra import (
    SQUARE,
    Lengths,
    Spectrum,
    shell_sum,
    spectral,
)
from turbulence_data.solver._fields import jacobian_hat, streamfunction_hat
from turbulence_data.solver._grid import FieldHat, Grid


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
