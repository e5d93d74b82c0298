"""Real and whole numbers, from whatever NumPy can make arrays of them of."""

import numbers
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


def real_array(name: str, values: ArrayLike) -> NDArray[np.float64]:
    """Return an array of float64; NumPy would drop imaginary parts with a warning.

    Args:
        name: What errors call it.
        values: Anything that NumPy makes an array of numbers of.

    Raises:
        ValueError: If they are complex numbers, text or other objects.

    Example:
        >>> real_array("weights", [1, 2])
        array([1., 2.])
    """
    array = np.asarray(values)
    if array.dtype.kind not in "fiub" and array.dtype.name != "bfloat16":
        raise ValueError(
            f"Expected real numbers in {name}. Received dtype {array.dtype}. Pass the "
            "real part of a complex field if that is meant."
        )
    return np.asarray(array, np.float64)


def whole_numbers(name: str, values: Any, at_least: int = 0) -> list[int]:
    """Return whole numbers as ints; a fraction, text or nothing is no number of these.

    Args:
        name: What errors call them.
        values: A sequence of at least one.
        at_least: The lowest one allowed.

    Raises:
        ValueError: If they are not.

    Example:
        >>> whole_numbers("wavenumbers", (1, np.int64(2)))
        [1, 2]
    """
    try:
        found = list(values)
    except TypeError:
        found = []
    whole = [
        not isinstance(value, bool)
        and isinstance(value, numbers.Integral)
        and int(value) >= at_least
        for value in found
    ]
    if not found or not all(whole):
        raise ValueError(
            f"{name} must be at least one whole number, each at least {at_least}. "
            f"Received {name}={values!r:.100}."
        )
    return [int(v) for v in found]
