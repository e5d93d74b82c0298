"""The whole comparison in one call: closures x metrics, over an ensemble."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from turbulence_data.a_posteriori.ensemble_run import EnsembleRun, run_ensemble
from turbulence_data.a_posteriori.reference import Reference
from turbulence_data.a_posteriori.scores import (
    Bands,
    band_errors,
    correlations,
    decorrelation_times,
    tail_probability,
    thirds,
)
from turbulence_data.a_posteriori.statistics_of_run import (
    Fields,
    ForcingOf,
    RunStatistics,
    run_statistics,
)
from turbulence_data.closures import NoClosure, evaluate
from turbulence_data.diagnostics import kurtosis
from turbulence_data.solver.equations import Closure
from turbulence_data.solver.grid import Grid
from turbulence_data.solver.operators import streamfunction_of

# Bins of the vorticity reach this many of its standard deviations.
_TAIL, _EDGES = 3.0, np.linspace(-8.0, 8.0, 81)


@dataclass(frozen=True)
class Comparison:
    """How LES with several closures compare with filtered DNS.

    Attributes:
        rows: one mapping a closure, metric -> value, see `compare`.
        runs: closure -> what its ensemble did.
        statistics: closure -> its statistics; "filtered DNS" holds those of the truth.
        correlation: closure -> correlation of the vorticity with the filtered DNS from
            the same start, shape `(T, E)`.
        turnover_time: of the filtered DNS, the unit of the times in `rows`.
        bands: of the spectral errors.
    """

    rows: list[dict[str, float | str]]
    runs: Mapping[str, EnsembleRun]
    statistics: Mapping[str, RunStatistics]
    correlation: Mapping[str, NDArray[np.float64]]
    turnover_time: float
    bands: Bands

    def to_markdown(self, columns: list[str] | None = None) -> str:
        """Returns the table, a line a closure; numbers with three digits.

        Args:
            columns: which, in order; all by default.
        """
        return markdown_table(self.rows, columns)


def compare(
    closures: Mapping[str, Closure | None],
    reference: Reference,
    time_step: float | None = None,
    bands: Bands | None = None,
    discard: float = 0.5,
) -> Comparison:
    """Runs an LES with every closure from every start field, and scores them.

    Each row holds the name of the closure, what it is (its wrappers included), and

    - `stable`: part of the members that reached the end; `lasted`: mean time until a
      member blew up, or the whole duration, in eddy turnovers;
    - `energy`, `enstrophy`: means over those of the filtered DNS;
    - `E error <band>` and `Z error small scales`: mean over the shells of a band of
      `|S / S_DNS - 1|`;
    - `tails`: how often `|vorticity| > 3 std` of the filtered DNS, over how often it is
      there; `kurtosis`: over that of the filtered DNS;
    - `decorrelation`: median time, in turnovers, until the correlation with the
      filtered DNS from the same start is below 1/2;
    - `energy transfer`, `enstrophy transfer`: of the closure in its own flow, over the
      true ones. Positive: the same direction.

    Statistics are over the finite fields after the first part `discard` of the time.

    Args:
        closures: name -> closure; None is no closure.
        reference: filtered DNS; its members give the start fields.
        time_step: as in `run_ensemble`, the same for all.
        bands: wavenumbers of the spectral errors; thirds on a log axis by default.
        discard: part of the duration, at least 0 and below 1.

    Raises:
        ValueError: without closures, or for a part out of range.
    """
    if not closures or not 0.0 <= discard < 1.0:
        raise ValueError(
            "compare needs closures and a part of the time from 0 to below 1 to "
            f"discard; received {list(closures)} and discard={discard!r}."
        )
    scorer = _Scorer(reference, bands or thirds(min(reference.flow.shape)), discard)
    rows: list[dict[str, float | str]] = []
    runs, correlation, statistics = {}, {}, {"filtered DNS": scorer.truth}
    for name, closure in closures.items():
        used: Closure = (
            NoClosure(lengths=reference.flow.lengths) if closure is None else closure
        )
        run = run_ensemble(
            reference.start, reference.flow, used, list(reference.times), time_step
        )
        runs[name], statistics[name] = run, scorer.statistics(used, run.vorticity)
        correlation[name] = correlations(run.vorticity, reference.vorticity)
        scores = scorer.scores(run, statistics[name], correlation[name])
        rows.append({"closure": name, **scores, "definition": repr(used)})
    return Comparison(
        rows, runs, statistics, correlation, reference.turnover_time, scorer.bands
    )


def markdown_table(
    rows: list[dict[str, float | str]], columns: list[str] | None = None
) -> str:
    """Returns rows as a Markdown table.

    Example:
        >>> print(markdown_table([{"closure": "none", "stable": 0.25}]))
        | closure | stable |
        |---|---|
        | none | 0.25 |
    """
    names = columns or list(rows[0])
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    for row in rows:
        cells = [
            f"{row[name]:.3g}" if isinstance(row[name], float) else str(row[name])
            for name in names
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


class _Scorer:
    """Scores runs against one reference."""

    def __init__(self, reference: Reference, bands: Bands, discard: float) -> None:
        self.reference, self.bands = reference, bands
        self._used = reference.times >= discard * reference.times[-1]
        self._used &= reference.times > 0.0
        truth = reference.vorticity[self._used].astype(np.float64)
        self._std = float(np.std(truth))
        self._kurtosis = kurtosis(truth)
        self._tails = tail_probability(truth, _TAIL * self._std)
        self.truth = self._statistics(
            reference.vorticity, lambda _, chosen: reference.sgs_forcing[chosen]
        )

    def statistics(self, closure: Closure, vorticity: Fields) -> RunStatistics:
        """Statistics of a run, with the transfer of the closure in its own flow."""
        grid = Grid(self.reference.flow.shape, self.reference.flow.lengths)

        def forcing_of(fields: Fields, _: object) -> Fields:
            values = fields.astype(np.float64, copy=False)
            return evaluate(closure, values, streamfunction_of(values, grid))

        return self._statistics(vorticity, forcing_of)

    def _statistics(self, vorticity: Fields, forcing_of: ForcingOf) -> RunStatistics:
        reference = self.reference
        return run_statistics(
            reference.times,
            vorticity,
            forcing_of,
            reference.flow,
            _EDGES * self._std,
            self._used,
        )

    def scores(
        self, run: EnsembleRun, found: RunStatistics, correlation: NDArray[np.float64]
    ) -> dict[str, float]:
        """The metrics of one row."""
        truth, turnover = self.truth, self.reference.turnover_time
        end = float(self.reference.times[-1])
        lasted = np.minimum(run.failure_times, end)
        lost = decorrelation_times(run.times, correlation)
        k = truth.wavenumbers
        energies = band_errors(
            k, found.energy_spectrum, truth.energy_spectrum, self.bands
        )
        enstrophies = band_errors(
            k, found.enstrophy_spectrum, truth.enstrophy_spectrum, self.bands
        )
        tails = tail_probability(run.vorticity[self._used], _TAIL * self._std)
        smallest = list(self.bands)[-1]
        return {
            "stable": run.stable_fraction,
            "lasted": float(np.mean(lasted)) / turnover,
            "energy": _ratio(found.energy_spectrum, truth.energy_spectrum),
            "enstrophy": _ratio(found.enstrophy_spectrum, truth.enstrophy_spectrum),
            **{f"E error {band}": error for band, error in energies.items()},
            f"Z error {smallest}": enstrophies[smallest],
            "tails": tails / self._tails if self._tails else float("nan"),
            "kurtosis": found.kurtosis / self._kurtosis,
            "decorrelation": float(np.median(lost)) / turnover,
            "energy transfer": _ratio(found.energy_transfer, truth.energy_transfer),
            "enstrophy transfer": _ratio(
                found.enstrophy_transfer, truth.enstrophy_transfer
            ),
        }


def _ratio(spectrum: NDArray[np.float64], reference: NDArray[np.float64]) -> float:
    return float(np.sum(spectrum) / np.sum(reference))
