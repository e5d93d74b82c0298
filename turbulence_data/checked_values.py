"""Arguments that Python would take for what they are not, refused in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


def real_array(name: str, values: ArrayLike, at_least: int = 1) -> NDArray[np.float64]:
    """Returns an array of float64; NumPy would drop imaginary parts with a warning.

    Args:
        name: what errors call it.
        values: anything that NumPy makes an array of numbers of.
        at_least: how many values there must be.

    Raises:
        ValueError: for complex numbers, text, objects, or too few values.
    """
    array = np.asarray(values)
    if array.dtype.kind == "O":
        array = np.asarray(values, np.float64)  # of Fractions, say
    check_real(name, array, at_least)
    return np.asarray(array, np.float64)


def check_real(name: str, array: NDArray[Any], at_least: int = 1) -> None:
    """Raises ValueError for complex numbers, text, objects, or too few values."""
    if array.dtype.kind not in "fiub":
        raise ValueError(
            f"{name} must be real numbers; received dtype {array.dtype}. Pass the real "
            "part of a complex field if that is meant."
        )
    if array.size < at_least:
        raise ValueError(
            f"{name} must hold at least {at_least} value(s); received the shape "
            f"{array.shape}."
        )


def check_kind(name: str, value: Any, kind: type) -> None:
    """Raises TypeError unless `value` is of the class that is meant."""
    if not isinstance(value, kind):
        raise TypeError(
            f"{name} must be a {kind.__name__}; received {type(value).__name__}: "
            f"{value!r:.80}."
        )


def check_example(example: Any) -> None:
    """Raises TypeError unless this is one decoded example, fields by their names."""
    if not isinstance(example, Mapping):
        raise TypeError(
            "expected examples as mappings of feature names to arrays, as TFDS decodes "
            f"them; received {type(example).__name__}. Pass the dataset itself, not "
            "arrays of it."
        )
