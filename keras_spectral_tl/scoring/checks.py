"""Checks of the numbers that scorers are made with."""

from __future__ import annotations

import math
import numbers
from typing import Any


def check_whole_number(name: str, value: Any, least: int) -> None:
    """Refuses what is not a whole number of at least `least`.

    Raises:
        ValueError: with the name and the value received.
    """
    whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not whole or value < least:
        raise ValueError(
            f"{name} must be a whole number of at least {least}; received {value!r}."
        )


def check_positive(name: str, value: Any) -> None:
    """Refuses what is not a finite number above 0.

    Raises:
        ValueError: with the name and the value received.
    """
    real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not real or not math.isfinite(value) or value <= 0:
        raise ValueError(f"{name} must be a finite number above 0; received {value!r}.")
