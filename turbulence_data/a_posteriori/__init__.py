"""A posteriori tests: what a closure does inside an LES, over an ensemble.

`compare` runs an LES with each of several closures from the same start fields and
scores them against filtered DNS. Everything it computes is also a function of its own.
"""

from turbulence_data.a_posteriori.comparison import Comparison, compare
from turbulence_data.a_posteriori.ensemble_run import EnsembleRun, run_ensemble
from turbulence_data.a_posteriori.reference import Reference, reference_ensemble
from turbulence_data.a_posteriori.scores import (
    band_errors,
    correlations,
    decorrelation_times,
    integral_series,
    jackknife_error,
    mean_spectrum,
    tail_probability,
    thirds,
)
from turbulence_data.a_posteriori.statistics_of_run import (
    RunStatistics,
    member_statistics,
)
from turbulence_data.a_posteriori.table import markdown_table, with_uncertainty

__all__ = [
    "Comparison",
    "EnsembleRun",
    "Reference",
    "RunStatistics",
    "band_errors",
    "compare",
    "correlations",
    "decorrelation_times",
    "integral_series",
    "jackknife_error",
    "markdown_table",
    "mean_spectrum",
    "member_statistics",
    "reference_ensemble",
    "run_ensemble",
    "tail_probability",
    "thirds",
    "with_uncertainty",
]
