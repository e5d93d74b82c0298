"""Arrays of real numbers, from whatever NumPy can make them of."""

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
