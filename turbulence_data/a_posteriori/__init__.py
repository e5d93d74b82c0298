"""A posteriori tests: what a closure does inside an LES, over an ensemble.

`compare` runs an LES with each of several closures from the same start fields and
scores them against filtered DNS. Everything it computes is also a function of its own.
"""

from turbulence_data.a_posteriori._comparison import (
    Comparison,
    compare,
    markdown_table,
    with_uncertainty,
)
from turbulence_data.a_posteriori._reference import (
    EnsembleRun,
    Reference,
    reference_ensemble,
    run_ensemble,
)
from turbulence_data.a_posteriori._scores import (
    band_errors,
    correlations,
    decorrelation_times,
    integral_series,
    jackknife_error,
    mean_spectrum,
    tail_probability,
    thirds,
)
from turbulence_data.a_posteriori._statistics import (
    ReferenceStatistics,
    RunStatistics,
    member_statistics,
)

__all__ = [
    "Comparison",
    "EnsembleRun",
    "Reference",
    "ReferenceStatistics",
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
