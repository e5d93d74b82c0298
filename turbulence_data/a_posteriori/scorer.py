"""The metrics of one run against filtered DNS, with their standard errors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from turbulence_data.a_posteriori.ensemble_run import EnsembleRun
from turbulence_data.a_posteriori.reference import Reference
from turbulence_data.a_posteriori.scores import (
    Bands,
    band_errors,
    decorrelation_times,
    jackknife_error,
)
from turbulence_data.a_posteriori.statistics_of_run import (
    Fields,
    ForcingOf,
    RunStatistics,
    member_statistics,
)
from turbulence_data.closures import evaluate
from turbulence_data.solver._equation import Closure
from turbulence_data.solver._fields import streamfunction_of
from turbulence_data.solver._grid import Grid

# Tails begin, and bins of the vorticity reach, this many of its standard deviations.
_TAIL, _EDGES = 3.0, np.linspace(-8.0, 8.0, 81)

Members = Sequence[RunStatistics]


class Scorer:
    """Scores runs against one reference.

    Args:
        reference: filtered DNS.
        bands: wavenumbers of the spectral errors.
        discard: first part of the time that statistics leave out.

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
        reference, std = self.reference, self._std
        return member_statistics(
            reference.times,
            vorticity,
            forcing_of,
            reference.flow,
            _EDGES * std,
            _TAIL * std,
            self._used,
        )

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
