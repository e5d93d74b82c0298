"""A posteriori tests of closures in an ensemble of LES.

`compare` runs an LES with each of several closures from the same start fields and
compares them with filtered DNS.
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
