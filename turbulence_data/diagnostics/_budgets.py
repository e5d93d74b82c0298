"""Budgets of energy and enstrophy per unit area, and length and time scales."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from turbulence_data._checks import TWO_PI, check_kind
from turbulence_data.config import FlowConfig
from turbulence_data.diagnostics._spectra import (
    SQUARE,
    Lengths,
    Spectrum,
    energy,
    enstrophy,
    spectral,
    variance_spectrum,
)
from turbulence_data.solver._forcing import ForcingLike, drive_of
from turbulence_data.solver._grid import FieldHat, Grid, resize
from turbulence_data.solver._modes import padded_modes

_LAYERS = " Of two layers see layer_energy_budget and layer_enstrophy_budget."


@dataclass(frozen=True)
class Budget:
    """The terms of dE/dt or dZ/dt, each with its sign in that equation.

    Attributes:
        work: work of the forcing; for a stochastic one the expected injection (mean
            over realisations), which does not depend on the field.
        viscosity: loss to viscosity, at most 0.
        hyperviscosity: loss to hyperviscosity, at most 0.
        drag: loss to linear drag, at most 0.
        subgrid: work of the sgs_forcing of an LES; 0 if none is given.
    """

    work: float
    viscosity: float
    hyperviscosity: float
    drag: float
    subgrid: float = 0.0

    @property
    def dissipation(self) -> float:
        """Rate of loss at small scales: viscosity and hyperviscosity, at least 0."""
        return -(self.viscosity + self.hyperviscosity)

    @property
    def total(self) -> float:
        """The time derivative; advection and beta conserve both quantities."""
        return self.work - self.dissipation + self.drag + self.subgrid


def energy_budget(
    vorticity: ArrayLike,
    flow: FlowConfig,
    sgs_forcing: ArrayLike | None = None,
    forcing: ForcingLike | None = None,
    time: float = 0.0,
) -> Budget:
    """Return the terms of `dE/dt = <psi x (right-hand side)>` for a flow.

        work = <psi source> + sum variance / (2 k^2),
        subgrid = <psi sgs_forcing>,
        viscosity = -nu <vorticity^2>     = -nu sum |vorticity_hat|^2,
        hyperviscosity                    = -nu_h sum k^(2p-2) |vorticity_hat|^2,
        drag = -drag <u^2 + v^2>          = -drag sum |vorticity_hat|^2 / k^2

    Args:
        vorticity: physical field of the shape of the flow.
        flow: the physics.
        sgs_forcing: subgrid forcing added to the right-hand side, same shape.
        forcing: forcing of the flow, as in `evolve`; None for the flow's own forcing.
            Its source is exact, its noise enters by its expected variance.
        time: time of the field, for a time-dependent forcing.

    Raises:
        ValueError: for fields or a forcing that do not fit the flow.
    """
    return _budget(True, vorticity, flow, sgs_forcing, forcing, time)


def enstrophy_budget(
    vorticity: ArrayLike,
    flow: FlowConfig,
    sgs_forcing: ArrayLike | None = None,
    forcing: ForcingLike | None = None,
    time: float = 0.0,
) -> Budget:
    """Return the terms of `dZ/dt = <vorticity x (right-hand side)>` for a flow.

        work = <vorticity source> + sum variance / 2,
        subgrid = <vorticity sgs_forcing>,
        viscosity = -nu <|grad vorticity|^2> = -nu sum k^2 |vorticity_hat|^2,
        hyperviscosity                       = -nu_h sum k^2p |vorticity_hat|^2,
        drag = -drag <vorticity^2>           = -drag sum |vorticity_hat|^2

    So viscosity removes `2 nu` times the palinstrophy, drag `2 drag` times the
    enstrophy. Arguments and errors are those of `energy_budget`.

    Example:
        >>> flow = FlowConfig(16, 10.0, linear_drag=0.5, forcing_wavenumber=None)
        >>> x = np.arange(16) * 2 * np.pi / 16
        >>> budget = enstrophy_budget(np.cos(3 * x)[:, None] * np.ones(16), flow)
        >>> round(budget.viscosity, 12), round(budget.drag, 12)  # -nu 9/2, -drag/2
        (-0.45, -0.25)
    """
    return _budget(False, vorticity, flow, sgs_forcing, forcing, time)


def _budget(
    is_of_energy: bool,
    vorticity: ArrayLike,
    flow: FlowConfig,
    sgs_forcing: ArrayLike | None,
    forcing: ForcingLike | None,
    time: float,
) -> Budget:
    """Return the mean product of psi or vorticity with each term of the equation."""
    check_kind("flow", flow, FlowConfig, _LAYERS)
    hat, grid = _checked("vorticity", vorticity, flow)
    # The mean is not part of the solution; it is 0 in the energy, and so here.
    weight = (
        grid.inverse_k_squared
        if is_of_energy
        else np.where(grid.k_squared > 0.0, 1.0, 0.0)
    )

    def mean(density: NDArray[np.float64]) -> float:
        # The sum over all modes is a mean over the domain (Parseval).
        return float(np.sum(grid.hermitian_weights * density))

    def product(term_hat: FieldHat) -> float:
        return mean(weight * (np.conj(hat) * term_hat).real)

    modes = padded_modes(grid)
    drive = drive_of(flow, forcing, modes)
    points = modes.quadrature.num_points, grid.num_points
    work = product(resize(drive.source(modes, time), *points))
    if drive.noise is not None:
        variance = resize(drive.noise.variance.astype(complex), *points)
        work += 0.5 * mean(weight * variance.real)
    steep = grid.k_squared**flow.hyperviscosity_order
    subgrid = 0.0
    if sgs_forcing is not None:
        subgrid = product(_checked("sgs_forcing", sgs_forcing, flow)[0])
    return Budget(
        work=work,
        viscosity=-flow.viscosity * product(grid.k_squared * hat),
        hyperviscosity=-flow.hyperviscosity * product(steep * hat),
        drag=-flow.linear_drag * product(hat),
        subgrid=subgrid,
    )


def _checked(name: str, field: ArrayLike, flow: FlowConfig) -> tuple[FieldHat, Grid]:
    if np.shape(field) != flow.shape:
        raise ValueError(
            f"{name} must have the shape {flow.shape} of the flow; received "
            f"{np.shape(field)}."
        )
    return spectral(field, flow.lengths)


def eddy_turnover_time(vorticity: ArrayLike) -> float:
    """Return `1 / rms(vorticity) = 1 / sqrt(2 Z) = (sum_k |vorticity_hat|^2)^(-1/2)`.

    Raises:
        ValueError: for a fluid at rest.

    Example:
        >>> x = np.arange(16) * 2 * np.pi / 16
        >>> field = 2.0**0.5 * 4.0 * np.sin(3 * x)[:, None] * np.ones(16)
        >>> round(eddy_turnover_time(field), 12)
        0.25
    """
    return 1.0 / math.sqrt(_moving(2.0 * enstrophy(vorticity)))


def large_eddy_turnover_time(vorticity: ArrayLike, lengths: Lengths = SQUARE) -> float:
    """Return `integral_scale / sqrt(2 E)`, the lifetime of the largest eddies.

    Raises:
        ValueError: for a fluid at rest.
    """
    speed = math.sqrt(2.0 * energy(vorticity, lengths))
    return integral_scale(vorticity, lengths) / speed


def turnover_time_spectrum(
    vorticity: ArrayLike, lengths: Lengths = SQUARE
) -> tuple[Spectrum, Spectrum]:
    """Return wavenumbers and the time in which larger scales strain eddies at k.

        tau(k) = (sum of |vorticity_hat|^2 over all shells up to k)^(-1/2)

    It is infinite below the first wavenumber with energy and `eddy_turnover_time` at
    the last. All larger eddies strain a smaller one: the sum is twice that of
    `p^2 E(p)` up to k, after Kraichnan (1971), doi:10.1017/S0022112071001216.

    Args:
        vorticity: physical field of zero mean, shape `(nx, ny)`.
        lengths: domain size.
    """
    wavenumbers, variance = variance_spectrum(vorticity, lengths)
    strain = np.sqrt(np.cumsum(variance))
    times = np.full_like(strain, np.inf)
    return wavenumbers, np.divide(1.0, strain, out=times, where=strain > 0.0)


def integral_scale(vorticity: ArrayLike, lengths: Lengths = SQUARE) -> float:
    """Return the energy-weighted wavelength `2 pi sum_k E_k / |k| / sum_k E_k`.

    `E_k = |vorticity_hat|^2 / (2 k^2)`; a single wave gives its own wavelength.

    Raises:
        ValueError: for a fluid at rest.
    """
    hat, grid = spectral(vorticity, lengths)
    energies = grid.hermitian_weights * np.abs(hat) ** 2 * grid.inverse_k_squared
    wavelengths = TWO_PI * np.sqrt(grid.inverse_k_squared)
    return float(np.sum(wavelengths * energies)) / _moving(float(energies.sum()))


def taylor_scale(vorticity: ArrayLike, lengths: Lengths = SQUARE) -> float:
    """Return `(<u^2 + v^2> / <vorticity^2>)^(1/2) = (E / Z)^(1/2)`.

    A single wave gives `1 / |k|`. Definitions with one velocity component along one
    axis give twice this length in isotropic flow.

    Raises:
        ValueError: for a fluid at rest.
    """
    return math.sqrt(energy(vorticity, lengths) / _moving(enstrophy(vorticity)))


def enstrophy_dissipation_scale(vorticity: ArrayLike, flow: FlowConfig) -> float:
    """Return `(nu^3 / chi)^(1/6)`, with chi the viscous dissipation of enstrophy.

        chi = nu <|grad vorticity|^2> = nu sum_k k^2 |vorticity_hat|^2

    It is the smallest scale of the enstrophy cascade. A DNS resolves it if its largest
    wavenumber times this scale is above about 1.

    Raises:
        ValueError: for an inviscid flow, a fluid at rest, or a field of another shape.
    """
    check_kind("flow", flow, FlowConfig, _LAYERS)
    if flow.viscosity == 0.0:
        raise ValueError(
            "an inviscid flow has no viscous scale; expected a finite reynolds, "
            f"received {flow.reynolds}."
        )
    loss = -enstrophy_budget(vorticity, flow).viscosity
    return float((flow.viscosity**3 / _moving(loss)) ** (1.0 / 6.0))


def _moving(value: float) -> float:
    if not value > 0.0:
        raise ValueError(
            "a fluid at rest has no eddies; expected a vorticity that is not zero "
            f"everywhere and finite, received one whose mean square is {value}."
        )
    return value
