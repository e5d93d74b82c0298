"""Wavenumbers of discrete Fourier transforms, and the shells of radial spectra."""

from functools import lru_cache, reduce

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse


def last_complete_shell(*shape: int) -> int:
    """Return the last shell that lies below Nyquist: ``(min(n) - 1) // 2``."""
    return (min(shape) - 1) // 2


def mode_numbers(n: int) -> NDArray[np.float64]:
    """Return the mode numbers of n points, both signs, as exactly whole numbers."""
    # n (1 / n) differs from 1 by round-off for some n, of which 49 is the smallest.
    return np.asarray(np.rint(np.fft.fftfreq(n, 1.0 / n)), np.float64)


@lru_cache(maxsize=32)
def shell_indices(*shape: int, half_plane: bool = True) -> NDArray[np.intp]:
    """Return the shell ``floor(|k| + 1/2)`` of every mode, read-only.

    |k| is the root of an integer, never a half-integer, so no mode is on the edge of a
    shell. The modes are those of the half plane (nx, ny // 2 + 1), or all (nx, ny).
    """
    axes = [mode_numbers(n) for n in shape]
    if half_plane:
        axes[-1] = np.abs(axes[-1][: shape[-1] // 2 + 1])
    wavenumbers = np.meshgrid(*axes, indexing="ij", sparse=True)
    shells: NDArray[np.intp] = np.floor(
        reduce(np.hypot, wavenumbers, np.zeros(1)) + 0.5
    ).astype(np.intp)
    shells.flags.writeable = False
    return shells


@lru_cache(maxsize=32)
def mode_multiplicity(ny: int) -> NDArray[np.float64]:
    """Return how many modes of the full plane each half-plane column represents.

    A read-only array (ny // 2 + 1,): 1 for ky = 0 and for Nyquist, else 2.
    """
    multiplicity = np.full(ny // 2 + 1, 2.0)
    multiplicity[0] = 1.0
    if ny % 2 == 0:
        multiplicity[-1] = 1.0
    multiplicity.flags.writeable = False
    return multiplicity


@lru_cache(maxsize=32)
def shell_sum_matrix(*shape: int) -> sparse.csr_array:
    """Return the sparse matrix (num_shells, half-plane modes) that sums each shell.

    Its product with flattened half-plane values of a function even in k is the sum over
    each shell of the full plane.
    """
    shells = shell_indices(*shape)
    weights = np.broadcast_to(mode_multiplicity(shape[-1]), shells.shape)
    positions = np.arange(shells.size)
    return sparse.csr_array((weights.ravel(), (shells.ravel(), positions)))


def full_plane(half: ArrayLike, num_columns: int) -> NDArray[np.float64]:
    """Return a function even in k on the full plane, with k = 0 at index n // 2.

    ``half`` is (..., nx, ny // 2 + 1), as from ``numpy.fft.rfft2``; ny columns result.
    """
    values = np.asarray(half, float)
    axes = tuple(range(values.ndim - 1))
    inner = values[..., 1 : (num_columns + 1) // 2]
    # Index n - j holds -k_j; flipping sends j to n - 1 - j, so shift by one.
    mirrored = np.roll(np.flip(inner), 1, axes)
    return np.fft.fftshift(np.concatenate([values, mirrored], axis=-1))
