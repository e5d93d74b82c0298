"""Shells of wavenumbers that every radial spectrum sums or averages over."""

import numpy as np
from numpy.typing import NDArray


def shell_numbers(
    kx: NDArray[np.floating], ky: NDArray[np.floating]
) -> NDArray[np.floating]:
    """Return ``floor(|k| + 1/2)``: shell n holds |k| in [n - 1/2, n + 1/2).

    |k| is the root of an integer and never a half-integer, so no mode sits on an edge.
    """
    shells: NDArray[np.floating] = np.floor(np.hypot(kx, ky) + 0.5)
    return shells


def shells_of_all_modes(nx: int, ny: int) -> NDArray[np.int32]:
    """Return the shell of every mode of the full plane, flattened."""
    kx = np.fft.fftfreq(nx, d=1 / nx)[:, None]
    ky = np.fft.fftfreq(ny, d=1 / ny)[None, :]
    shells: NDArray[np.int32] = shell_numbers(kx, ky).astype(np.int32)
    return shells.ravel()
