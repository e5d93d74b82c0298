"""The statistics of one ensemble: spectra, distributions, transfers, time series."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from turbulence_data.a_posteriori.scores import (
    Spectrum,
    integral_series,
    mean_spectrum,
)
from turbulence_data.config import FlowConfig
from turbulence_data.diagnostics import (
    Distribution,
    energy_spectrum,
    enstrophy_spectrum,
    enstrophy_transfer_spectrum,
    kurtosis,
    probability_density,
    transfer_spectrum,
)

Fields = NDArray[np.floating]
ForcingOf = Callable[[Fields, NDArray[np.bool_]], Fields]


@dataclass(frozen=True)
class RunStatistics:
    """Statistics of an ensemble over its members and over time.

    Spectra are SUMS over shells, means over the fields. All are over the part of the
    run that is statistically used, time series over all of it.

    Attributes:
        times: shape `(T,)`.
        energy: per unit area, shape `(T, E)`.
        enstrophy: likewise.
        wavenumbers: of the shells.
        energy_spectrum: mean energy in each shell.
        enstrophy_spectrum: mean enstrophy in each shell.
        energy_transfer: mean energy that the closure puts into each shell.
        enstrophy_transfer: likewise for enstrophy.
        distribution: of the vorticity.
        kurtosis: of the vorticity.
    """

    times: NDArray[np.float64]
    energy: NDArray[np.float64]
    enstrophy: NDArray[np.float64]
    wavenumbers: Spectrum
    energy_spectrum: Spectrum
    enstrophy_spectrum: Spectrum
    energy_transfer: Spectrum
    enstrophy_transfer: Spectrum
    distribution: Distribution | None
    kurtosis: float


def run_statistics(
    times: NDArray[np.float64],
    vorticity: Fields,
    forcing_of: ForcingOf,
    flow: FlowConfig,
    edges: NDArray[np.float64],
    used: NDArray[np.bool_],
) -> RunStatistics:
    """Returns the statistics of fields of shape `(T, E, nx, ny)`; NaN ones left out.

    Args:
        times: shape `(T,)`.
        vorticity: the fields.
        forcing_of: `(fields, which of all) -> sgs_forcing` of chosen fields, which is
            evaluated on the finite ones only.
        flow: of the LES.
        edges: of the bins of the vorticity.
        used: which times count, shape `(T,)`.
    """
    lengths = flow.lengths
    chosen = used[:, None] & np.isfinite(vorticity[..., 0, 0])
    fields = vorticity[chosen].astype(np.float64)
    wavenumbers, energies = mean_spectrum(vorticity[used], lengths, energy_spectrum)
    _, enstrophies = mean_spectrum(vorticity[used], lengths, enstrophy_spectrum)
    transfers = [np.full_like(energies, np.nan)] * 2
    if len(fields):
        forcing = forcing_of(fields, chosen)
        transfers = [
            np.mean(
                [of(w, pi, lengths)[1] for w, pi in zip(fields, forcing, strict=True)],
                axis=0,
            )
            for of in (transfer_spectrum, enstrophy_transfer_spectrum)
        ]
    series = integral_series(vorticity, lengths)
    inside = fields.size and fields.min() < edges[-1] and fields.max() > edges[0]
    return RunStatistics(
        times,
        series["energy"],
        series["enstrophy"],
        wavenumbers,
        energies,
        enstrophies,
        transfers[0],
        transfers[1],
        probability_density(fields, edges) if inside else None,
        kurtosis(fields) if len(fields) else float("nan"),
    )
