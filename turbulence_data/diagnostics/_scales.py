"""Lengths and times of a flow, from its energy, enstrophy and spectra."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from turbulence_data._checks import TWO_PI, check_kind
from turbulence_data.config import FlowConfig
from turbulence_data.diagnostics._budgets import enstrophy_budget
from turbulence_data.diagnostics._spectra import (
    SQUARE,
    Lengths,
    Spectrum,
    energy,
    enstrophy,
    spectral,
    variance_spectrum,
)


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
    """Return `integral_scale / sqrt(2 E)`: how long the largest eddies live.

    Raises:
        ValueError: for a fluid at rest.
    """
    speed = math.sqrt(2.0 * energy(vorticity, lengths))
    return integral_scale(vorticity, lengths) / speed


def turnover_time_spectrum(
    vorticity: ArrayLike, lengths: Lengths = SQUARE
) -> tuple[Spectrum, Spectrum]:
    """Return wavenumbers and the time in which larger scales strain an eddy of size k.

        tau(k) = (sum of |vorticity_hat|^2 over all shells up to k)^(-1/2)

    Infinite below the first wavenumber that moves, `eddy_turnover_time` at the last.
    All larger eddies strain a smaller one: the sum is twice that of `p^2 E(p)` up to k,
    after Kraichnan (1971), doi:10.1017/S0022112071001216.

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

    A single wave gives `1 / |k|`. Definitions by one velocity component along one axis
    are twice as long in isotropic flow.

    Raises:
        ValueError: for a fluid at rest.
    """
    return math.sqrt(energy(vorticity, lengths) / _moving(enstrophy(vorticity)))


def enstrophy_dissipation_scale(vorticity: ArrayLike, flow: FlowConfig) -> float:
    """Return `(nu^3 / chi)^(1/6)`, chi the loss of enstrophy to viscosity.

        chi = nu <|grad vorticity|^2> = nu sum_k k^2 |vorticity_hat|^2

    The smallest scale of the enstrophy cascade. A DNS resolves it when its largest
    wavenumber times this scale is above about 1.

    Raises:
        ValueError: for an inviscid flow, a fluid at rest, or a field of another shape.
    """
    check_kind("flow", flow, FlowConfig)
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
