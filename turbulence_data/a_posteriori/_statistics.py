"""Statistics of ensembles, spectra to time series, and metrics against a reference."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from turbulence_data.a_posteriori._reference import EnsembleRun, Reference
from turbulence_data.a_posteriori._scores import (
    Bands,
    Spectrum,
    band_errors,
    decorrelation_times,
    integral_series,
    jackknife_error,
    mean_spectrum,
    tail_probability,
)
from turbulence_data.closures import evaluate
from turbulence_data.diagnostics import (
    energy_spectrum,
    enstrophy_spectrum,
    enstrophy_transfer_spectrum,
    probability_density,
    transfer_spectrum,
)
from turbulence_data.diagnostics._distributions import Distribution
from turbulence_data.solver._equation import Closure
from turbulence_data.solver._fields import streamfunction_of
from turbulence_data.solver._grid import Grid

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
# Tails begin, and bins of the vorticity reach, this many of its standard deviations.
_TAIL, _EDGES = 3.0, np.linspace(-8.0, 8.0, 81)


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
        tails: part of the vorticity beyond three standard deviations of the reference.
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
        """Return the statistics of several sets of members of one ensemble."""
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


Members = Sequence[RunStatistics]


class ReferenceStatistics:
    """Statistics of one reference, and the metrics of runs against it.

    Attributes:
        truth: statistics of each member of the reference.
    """

    def __init__(self, reference: Reference, bands: Bands, discard: float) -> None:
        self.reference, self.bands = reference, bands
        self._used = reference.times >= discard * reference.times[-1]
        self._used &= reference.times > 0.0
        self._std = float(np.std(reference.vorticity[self._used].astype(np.float64)))
        self.truth = self._of_reference(reference.vorticity)

    def _of_reference(self, vorticity: Fields) -> Members:
        return self._statistics(
            vorticity, lambda _, chosen: self.reference.sgs_forcing[chosen]
        )

    def _truth_for(self, run: EnsembleRun) -> Members:
        """The truth of the fields that the run has; others say nothing of it."""
        there = np.isfinite(run.vorticity[..., :1, :1])
        if there.all():
            return self.truth
        return self._of_reference(np.where(there, self.reference.vorticity, np.nan))

    def statistics(self, closure: Closure, vorticity: Fields) -> Members:
        """Statistics of each member, with the transfer of the closure in its flow."""
        grid = Grid(self.reference.flow.shape, self.reference.flow.lengths)

        def forcing_of(fields: Fields, _: object) -> Fields:
            values = fields.astype(np.float64, copy=False)
            return evaluate(closure, values, streamfunction_of(values, grid))

        return self._statistics(vorticity, forcing_of)

    def _statistics(self, vorticity: Fields, forcing_of: ForcingOf) -> Members:
        """Statistics of each member of fields `(T, E, nx, ny)`; NaN ones are left out.

        `forcing_of(fields, which of all)` is asked for the finite fields of one member.
        """
        lengths = self.reference.flow.lengths
        series = integral_series(vorticity, lengths)
        result = []
        for member in range(vorticity.shape[1]):
            chosen = np.zeros(vorticity.shape[:2], bool)
            chosen[:, member] = self._used & np.isfinite(vorticity[:, member, 0, 0])
            fields = vorticity[chosen].astype(np.float64)
            of_used = vorticity[self._used, member]
            wavenumbers, energies = mean_spectrum(of_used, lengths, energy_spectrum)
            _, enstrophies = mean_spectrum(of_used, lengths, enstrophy_spectrum)
            forcing = forcing_of(fields, chosen) if len(fields) else fields
            energy_transfer, enstrophy_transfer = (
                _mean_transfer(fields, forcing, lengths, transfer)
                for transfer in (transfer_spectrum, enstrophy_transfer_spectrum)
            )
            statistics = RunStatistics(
                self.reference.times,
                series["energy"][:, [member]],
                series["enstrophy"][:, [member]],
                len(fields),
                wavenumbers,
                energies,
                enstrophies,
                energy_transfer,
                enstrophy_transfer,
                _distribution(fields, _EDGES * self._std),
                np.array([_mean(fields**power) for power in (1, 2, 3, 4)]),
                tail_probability(fields, _TAIL * self._std),
            )
            result.append(statistics)
        return result

    def scores(
        self, run: EnsembleRun, found: Members, correlation: NDArray[np.float64]
    ) -> tuple[dict[str, float], dict[str, float]]:
        """The metrics of a run, and the standard error of each over the members."""
        truth = self._truth_for(run)

        def of(members: list[int]) -> dict[str, float]:
            return self._of_members(run, (found, truth), correlation, members)

        everyone = list(range(len(found)))
        values = of(everyone)
        left_out = everyone if len(everyone) > 1 else []
        without = [of([m for m in everyone if m != one]) for one in left_out]
        return values, {
            name: jackknife_error([scores[name] for scores in without])
            for name in values
        }

    def _of_members(
        self,
        run: EnsembleRun,
        statistics: tuple[Members, Members],
        correlation: NDArray[np.float64],
        members: list[int],
    ) -> dict[str, float]:
        here, truth = (
            RunStatistics.together([each[member] for member in members])
            for each in statistics
        )
        turnover, end = self.reference.turnover_time, float(self.reference.times[-1])
        failed = run.failure_times[members]
        lost = decorrelation_times(run.times, correlation[:, members])
        return {
            "stable": float(np.mean(np.isinf(failed))),
            "lasted": float(np.mean(np.minimum(failed, end))) / turnover,
            "energy": _ratio(here.energy_spectrum, truth.energy_spectrum),
            "enstrophy": _ratio(here.enstrophy_spectrum, truth.enstrophy_spectrum),
            **self._spectral_errors(here, truth),
            "tails": here.tails / truth.tails if truth.tails else float("nan"),
            "kurtosis": here.kurtosis / truth.kurtosis,
            "decorrelation": float(np.mean(lost)) / turnover,
            "energy transfer": _ratio(here.energy_transfer, truth.energy_transfer),
            "enstrophy transfer": _ratio(
                here.enstrophy_transfer, truth.enstrophy_transfer
            ),
        }

    def _spectral_errors(
        self, here: RunStatistics, truth: RunStatistics
    ) -> dict[str, float]:
        errors: dict[str, float] = {}
        for letter, name in (("E", "energy_spectrum"), ("Z", "enstrophy_spectrum")):
            found, true = getattr(here, name), getattr(truth, name)
            by_band = band_errors(truth.wavenumbers, found, true, self.bands)
            errors |= {f"{letter} error {band}": e for band, e in by_band.items()}
        return errors


def _ratio(spectrum: NDArray[np.float64], reference: NDArray[np.float64]) -> float:
    return float(np.sum(spectrum) / np.sum(reference))
