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

    One digit of the error, two where the first is 1; three digits of the number where
    the error is zero or not finite.

    Example:
        >>> with_uncertainty(0.8604, 0.0031), with_uncertainty(0.04, 0.098)
        ('0.860(3)', '0.04(10)')
        >>> with_uncertainty(13.52, 0.0)
        '13.5'
    """
    if not math.isfinite(value) or not math.isfinite(error) or error <= 0.0:
        return f"{value + 0.0:.3g}"  # not -0
    exponent = math.floor(math.log10(error / 0.95))  # 0.096 is 0.10
    digits = 2 if error < 1.95 * 10.0**exponent else 1
    decimals = max(0, digits - 1 - exponent)
    return f"{value:.{decimals}f}({round(error * 10.0**decimals)})"
