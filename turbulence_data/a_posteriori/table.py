"""Rows of metrics as a table, with uncertainties in the usual short form."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

Row = dict[str, float | str]


def markdown_table(
    rows: Sequence[Row],
    columns: Sequence[str] | None = None,
    standard_errors: Sequence[Mapping[str, float]] | None = None,
) -> str:
    """Returns rows as a Markdown table; numbers with three digits.

    Args:
        rows: mappings of equal keys.
        columns: which, in order; all by default.
        standard_errors: of some numbers of each row; see `with_uncertainty`.

    Example:
        >>> print(markdown_table([{"closure": "none", "stable": 0.25}]))
        | closure | stable |
        |---|---|
        | none | 0.25 |
    """
    names = list(columns or rows[0])
    errors = standard_errors or [{}] * len(rows)
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    for row, of_row in zip(rows, errors, strict=True):
        cells = [_cell(row[name], of_row.get(name, math.nan)) for name in names]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(value: float | str, error: float) -> str:
    return value if isinstance(value, str) else with_uncertainty(value, error)


def with_uncertainty(value: float, error: float) -> str:
    """Returns a number with its standard error in units of the last digit shown.

    Three digits where the error is zero or not finite.

    Example:
        >>> with_uncertainty(0.8604, 0.0031), with_uncertainty(13.52, 2.4)
        ('0.860(3)', '14(2)')
        >>> with_uncertainty(13.52, 0.0)
        '13.5'
    """
    if not math.isfinite(value) or not math.isfinite(error) or error <= 0.0:
        return f"{value:.3g}"
    decimals = max(0, -math.floor(math.log10(error)))
    digit = round(error * 10**decimals)
    if digit == 10 and decimals:  # rounded up: 0.096 is 0.1
        decimals, digit = decimals - 1, 1
    return f"{value:.{decimals}f}({digit})"
