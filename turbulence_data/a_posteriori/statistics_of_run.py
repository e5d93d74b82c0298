"""The statistics of one ensemble: spectra, distributions, transfers, time series."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from turbulence_data.a_posteriori.scores import (
    Spectrum,
    integral_series,
    mean_spectrum,
    tail_probability,
)
from turbulence_data.config import FlowConfig
from turbulence_data.diagnostics import (
    Distribution,
    energy_spectrum,
    enstrophy_spectrum,
    enstrophy_transfer_spectrum,
    probability_density,
    transfer_spectrum,
)

Fields = NDArray[np.floating]
ForcingOf = Callable[[Fields, NDArray[np.bool_]], Fields]

_MEANS = (
    "energy_spectrum",
    "enstrophy_spectrum",
    "energy_transfer",
    "enstrophy_transfer",
    "raw_moments",
    "tails",
)


@dataclasses.dataclass(frozen=True)
class RunStatistics:
    """Statistics over members of an ensemble and over time.

    Spectra are SUMS over shells, means over the fields. All are over the part of the
    run that is statistically used, time series over all of it.

    Attributes:
        times: shape `(T,)`.
        energy: per unit area, shape `(T, E)`.
        enstrophy: likewise.
        num_fields: how many finite fields the statistics are over; they are NaN for 0.
        wavenumbers: of the shells.
        energy_spectrum: mean energy in each shell.
        enstrophy_spectrum: mean enstrophy in each shell.
        energy_transfer: mean energy that the closure puts into each shell.
        enstrophy_transfer: likewise for enstrophy.
        distribution: of the vorticity.
        raw_moments: means of the first four powers of the vorticity.
        tails: part of the vorticity beyond the threshold of `member_statistics`.
    """

    times: NDArray[np.float64]
    energy: NDArray[np.float64]
    enstrophy: NDArray[np.float64]
    num_fields: int
    wavenumbers: Spectrum
    energy_spectrum: Spectrum
    enstrophy_spectrum: Spectrum
    energy_transfer: Spectrum
    enstrophy_transfer: Spectrum
    distribution: Distribution | None
    raw_moments: NDArray[np.float64]
    tails: float

    @property
    def kurtosis(self) -> float:
        """Of the vorticity, `<(w - <w>)^4> / <(w - <w>)^2>^2`."""
        one, two, three, four = self.raw_moments
        fourth = four - 4.0 * one * three + 6.0 * one**2 * two - 3.0 * one**4
        return float(fourth / (two - one**2) ** 2)

    @classmethod
    def together(cls, parts: Sequence[RunStatistics]) -> RunStatistics:
        """Returns the statistics of several sets of members of one ensemble."""
        finite = [part for part in parts if part.num_fields] or [parts[0]]
        counts = [part.num_fields for part in finite]
        weights = counts if sum(counts) else None
        means: dict[str, Any] = {
            name: np.average([getattr(part, name) for part in finite], 0, weights)
            for name in _MEANS
        }
        return dataclasses.replace(
            parts[0],
            energy=np.concatenate([part.energy for part in parts], axis=1),
            enstrophy=np.concatenate([part.enstrophy for part in parts], axis=1),
            num_fields=sum(counts),
            distribution=_pooled([part.distribution for part in finite]),
            **means,
        )


def member_statistics(
    times: NDArray[np.float64],
    vorticity: Fields,
    forcing_of: ForcingOf,
    flow: FlowConfig,
    edges: NDArray[np.float64],
    threshold: float,
    used: NDArray[np.bool_],
) -> list[RunStatistics]:
    """Returns the statistics of each member of fields of shape `(T, E, nx, ny)`.

    Args:
        times: shape `(T,)`.
        vorticity: the fields; NaN ones are left out.
        forcing_of: `(fields, which of all) -> sgs_forcing` of chosen fields of one
            member, which is evaluated on the finite ones only.
        flow: of the LES.
        edges: of the bins of the vorticity.
        threshold: beyond which `|vorticity|` is in the tails.
        used: which times count, shape `(T,)`.
    """
    lengths = flow.lengths
    series = integral_series(vorticity, lengths)
    result = []
    for member in range(vorticity.shape[1]):
        chosen = np.zeros(vorticity.shape[:2], bool)
        chosen[:, member] = used & np.isfinite(vorticity[:, member, 0, 0])
        fields = vorticity[chosen].astype(np.float64)
        of_used = vorticity[used, member]
        wavenumbers, energies = mean_spectrum(of_used, lengths, energy_spectrum)
        _, enstrophies = mean_spectrum(of_used, lengths, enstrophy_spectrum)
        forcing = forcing_of(fields, chosen) if len(fields) else fields
        result.append(
            RunStatistics(
                times,
                series["energy"][:, [member]],
                series["enstrophy"][:, [member]],
                len(fields),
                wavenumbers,
                energies,
                enstrophies,
                _mean_transfer(fields, forcing, lengths, transfer_spectrum),
                _mean_transfer(fields, forcing, lengths, enstrophy_transfer_spectrum),
                _distribution(fields, edges),
                np.array([_mean(fields**power) for power in (1, 2, 3, 4)]),
                tail_probability(fields, threshold),
            )
        )
    return result


def _mean(values: Fields) -> float:
    return float(np.mean(values)) if values.size else float("nan")


def _mean_transfer(
    fields: Fields,
    forcing: Fields,
    lengths: tuple[float, float],
    transfer: Callable[..., tuple[Spectrum, Spectrum]],
) -> Spectrum:
    if not len(fields):
        zero = np.zeros(fields.shape[-2:])
        return np.full_like(transfer(zero, zero, lengths)[1], np.nan)
    spectra = [
        transfer(w, pi, lengths)[1] for w, pi in zip(fields, forcing, strict=True)
    ]
    return np.asarray(np.mean(spectra, axis=0))


def _distribution(fields: Fields, edges: NDArray[np.float64]) -> Distribution | None:
    inside = fields.size and fields.min() < edges[-1] and fields.max() > edges[0]
    return probability_density(fields, edges) if inside else None


def _pooled(parts: Sequence[Distribution | None]) -> Distribution | None:
    known = [part for part in parts if part is not None]
    if not known:
        return None
    counts = [part.num_values for part in known]
    return dataclasses.replace(
        known[0],
        density=np.average([part.density for part in known], 0, counts),
        num_values=sum(counts),
        num_outside=sum(part.num_outside for part in known),
    )
