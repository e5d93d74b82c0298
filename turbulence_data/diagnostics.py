"""Energy, enstrophy, spectra and budgets of physical vorticity fields.

Per unit area throughout. Spectra are SUMS over shells `[k - 1/2, k + 1/2)`, so that
they add up to the integral exactly, corners beyond the Nyquist wavenumber included.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from turbulence_data.config import TWO_PI, FlowConfig, as_pair
from turbulence_data.solver.forcing import forcing_of
from turbulence_data.solver.grid import Grid
from turbulence_data.solver.modes import padded_modes
from turbulence_data.solver.operators import streamfunction_hat
from turbulence_data.solver.transforms import FieldHat, to_spectral

Lengths = tuple[float, float]
_SQUARE: Lengths = (TWO_PI, TWO_PI)
Spectrum = NDArray[np.float64]


def _spectral(field: ArrayLike, lengths: Lengths) -> tuple[FieldHat, Grid]:
    values = np.asarray(field, np.float64)
    return to_spectral(values), Grid(as_pair(values.shape), lengths)


def energy(vorticity: ArrayLike, lengths: Lengths = _SQUARE) -> float:
    """Returns `1/2 <u^2 + v^2> = sum_k |vorticity_hat|^2 / (2 k^2)`."""
    hat, grid = _spectral(vorticity, lengths)
    density = np.abs(hat) ** 2 * grid.inverse_k_squared
    return 0.5 * float(np.sum(grid.hermitian_weights * density))


def enstrophy(vorticity: ArrayLike) -> float:
    """Returns `1/2 <vorticity^2> = sum_k |vorticity_hat|^2 / 2`."""
    return 0.5 * float(np.mean(np.asarray(vorticity, np.float64) ** 2))


def palinstrophy(vorticity: ArrayLike, lengths: Lengths = _SQUARE) -> float:
    """Returns `1/2 <|grad vorticity|^2> = sum_k k^2 |vorticity_hat|^2 / 2`."""
    hat, grid = _spectral(vorticity, lengths)
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
    vorticity: ArrayLike, lengths: Lengths = _SQUARE
) -> tuple[Spectrum, Spectrum]:
    """Returns wavenumbers and the energy in each shell.

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
    hat, grid = _spectral(vorticity, lengths)
    return shell_sum(0.5 * np.abs(hat) ** 2 * grid.inverse_k_squared, grid)


def variance_spectrum(
    field: ArrayLike, lengths: Lengths = _SQUARE
) -> tuple[Spectrum, Spectrum]:
    """Returns wavenumbers and the part of `<field^2>` in each shell; sums to it."""
    hat, grid = _spectral(field, lengths)
    return shell_sum(np.abs(hat) ** 2, grid)


def enstrophy_spectrum(
    vorticity: ArrayLike, lengths: Lengths = _SQUARE
) -> tuple[Spectrum, Spectrum]:
    """Returns wavenumbers and the enstrophy in each shell; sums to the enstrophy."""
    wavenumbers, variance = variance_spectrum(vorticity, lengths)
    return wavenumbers, 0.5 * variance


@dataclass(frozen=True)
class EnergyBudget:
    """What changes the kinetic energy, each term signed as it stands in dE/dt.

    Attributes:
        work: work of the forcing.
        viscosity: loss to viscosity, at most 0.
        hyperviscosity: loss to hyperviscosity, at most 0.
        drag: loss to linear drag, at most 0.
    """

    work: float
    viscosity: float
    hyperviscosity: float
    drag: float

    @property
    def total(self) -> float:
        """dE/dt; advection and beta move energy without changing it."""
        return self.work + self.viscosity + self.hyperviscosity + self.drag


def energy_budget(vorticity: ArrayLike, flow: FlowConfig) -> EnergyBudget:
    """Returns the terms of `dE/dt = <psi x (right-hand side)>` for a flow.

    viscosity = -nu sum |vorticity_hat|^2,   drag = -2 drag E,
    hyperviscosity = -nu_h sum k^(2p-2) |vorticity_hat|^2
    """
    if np.shape(vorticity) != flow.shape:
        raise ValueError(
            f"vorticity must have the shape {flow.shape} of the flow; received "
            f"{np.shape(vorticity)}."
        )
    hat, grid = _spectral(vorticity, flow.lengths)
    variance = grid.hermitian_weights * np.abs(hat) ** 2
    steep = grid.k_squared ** (flow.hyperviscosity_order - 1)
    modes = padded_modes(grid)
    source = np.zeros(modes.shape, complex)
    forcing_of(flow, modes)(source, 0.0)
    psi = modes.from_physical(np.asarray(vorticity, np.float64))
    psi *= modes.inverse_k_squared
    return EnergyBudget(
        work=float(np.sum(modes.hermitian_weights * (np.conj(psi) * source).real)),
        viscosity=-flow.viscosity * float(variance.sum()),
        hyperviscosity=-flow.hyperviscosity * float(np.sum(steep * variance)),
        drag=-2.0 * flow.linear_drag * energy(vorticity, flow.lengths),
    )


def transfer_spectrum(
    vorticity: ArrayLike, sgs_forcing: ArrayLike, lengths: Lengths = _SQUARE
) -> tuple[Spectrum, Spectrum]:
    """Returns wavenumbers and the energy that `sgs_forcing` puts into each shell.

        T(k) = sum over the shell of Re(conj(psi_hat) sgs_forcing_hat)

    Negative where the subgrid drains resolved energy; sums to `<psi Pi>`.
    """
    hat, grid = _spectral(vorticity, lengths)
    forcing_hat, _ = _spectral(sgs_forcing, lengths)
    psi = streamfunction_hat(hat, grid)
    return shell_sum((np.conj(psi) * forcing_hat).real, grid)
