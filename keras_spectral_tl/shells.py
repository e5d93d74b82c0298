"""The shells of wavenumbers that every radial spectrum sums or averages over."""

import numpy as np
from numpy.typing import NDArray


def shell_numbers(
    kx: NDArray[np.floating], ky: NDArray[np.floating]
) -> NDArray[np.floating]:
    """Return ``floor(|k| + 1/2)``: shell n holds |k| in [n - 1/2, n + 1/2).

    |k| is the root of an integer and never a half-integer, so no mode sits on an edge.

    Args:
        kx: Whole wavenumbers along x.
        ky: Whole wavenumbers along y, broadcast against ``kx``.

    Example:
        >>> shell_numbers(np.array([1.0, 1.0]), np.array([1.0, 2.0]))
        array([1., 2.])
    """
    shells: NDArray[np.floating] = np.floor(np.hypot(kx, ky) + 0.5)
    return shells
