"""A posteriori tests: what a closure does inside an LES, over an ensemble.

`compare` runs an LES with each of several closures from the same start fields and
scores them against filtered DNS.
"""

from turbulence_data.a_posteriori._comparison import Comparison, compare, markdown_table
from turbulence_data.a_posteriori._reference import (
    Reference,
    reference_ensemble,
    run_ensemble,
)

__all__ = [
    "Comparison",
    "Reference",
    "compare",
    "markdown_table",
    "reference_ensemble",
    "run_ensemble",
]
