"""Integrals, spectra, transfers, budgets, scales and statistics of vorticity fields.

These are pure functions of physical fields on any periodic rectangle; integrals are per
unit area. Spectra are SUMS over shells `[k - 1/2, k + 1/2)`, which add up exactly to
the integral.
"""

from turbulence_data.diagnostics._budgets import (
    eddy_turnover_time,
    energy_budget,
    enstrophy_budget,
    enstrophy_dissipation_scale,
    integral_scale,
    large_eddy_turnover_time,
    taylor_scale,
    turnover_time_spectrum,
)
from turbulence_data.diagnostics._distributions import (
    kurtosis,
    probability_density,
    skewness,
    structure_functions,
    velocity,
)
from turbulence_data.diagnostics._layers import (
    barotropic_conversion,
    layer_energy_budget,
    layer_enstrophy_budget,
    layer_spectra,
)
from turbulence_data.diagnostics._spectra import (
    energy,
    energy_flux,
    energy_spectrum,
    enstrophy,
    enstrophy_flux,
    enstrophy_spectrum,
    enstrophy_transfer_spectrum,
    palinstrophy,
    transfer_spectrum,
    variance_spectrum,
)

__all__ = [
    "barotropic_conversion",
    "eddy_turnover_time",
    "energy",
    "energy_budget",
    "energy_flux",
    "energy_spectrum",
    "enstrophy",
    "enstrophy_budget",
    "enstrophy_dissipation_scale",
    "enstrophy_flux",
    "enstrophy_spectrum",
    "enstrophy_transfer_spectrum",
    "integral_scale",
    "kurtosis",
    "large_eddy_turnover_time",
    "layer_energy_budget",
    "layer_enstrophy_budget",
    "layer_spectra",
    "palinstrophy",
    "probability_density",
    "skewness",
    "structure_functions",
    "taylor_scale",
    "transfer_spectrum",
    "turnover_time_spectrum",
    "variance_spectrum",
    "velocity",
]
