"""A posteriori tests: what a closure does inside an LES, over an ensemble.

`compare` runs an LES with each of several closures from the same start fields and
scores them against filtered DNS.
"""

from turbulence_data.a_posteriori._comparison import (
    Comparison,
    compare,
    markdown_table,
)
from turbulence_data.a_posteriori._reference import (
    Reference,
    reference_ensemble,
    run_ensemble,
)
from turbulence_data.a_posteriori._scores import (
    correlations,
    mean_spectrum,
)

__all__ = [
    "Comparison",
    "Reference",
    "compare",
    "correlations",
    "markdown_table",
    "mean_spectrum",
    "reference_ensemble",
    "run_ensemble",
]
