"""Wavenumbers of discrete Fourier transforms, and the shells of radial spectra."""

from functools import lru_cache, reduce

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse


def shell_numbers(
    kx: NDArray[np.floating], ky: NDArray[np.floating]
) -> NDArray[np.floating]:
    """Return ``floor(|k| + 1/2)``: shell n holds |k| in [n - 1/2, n + 1/2).

    |k| is the root of an integer, never a half-integer, so no mode is on an edge.
    """
    return np.asarray(np.floor(np.hypot(kx, ky) + 0.5))


def shells_of_all_modes(nx: int, ny: int) -> NDArray[np.int32]:
    """Return the shell of every mode of the full plane, flattened."""
    kx = np.fft.fftfreq(nx, d=1 / nx)[:, None]
    ky = np.fft.fftfreq(ny, d=1 / ny)[None, :]
    shells: NDArray[np.int32] = shell_numbers(kx, ky).astype(np.int32)
    return shells.ravel()


def last_complete_shell(*shape: int) -> int:
    """Return the last shell that lies below Nyquist: ``(min(n) - 1) // 2``."""
    return (min(shape) - 1) // 2


@lru_cache(maxsize=32)
def shell_indices(*shape: int) -> NDArray[np.intp]:
    """Return the shell of every mode (nx, ny // 2 + 1) of the half plane, read-only."""
    axes = [np.fft.fftfreq(n, d=1 / n) for n in shape[:-1]]
    axes.append(np.fft.rfftfreq(shape[-1], d=1 / shape[-1]))
    wavenumbers = np.meshgrid(*axes, indexing="ij", sparse=True)
    others = reduce(np.hypot, wavenumbers[:-1], np.zeros(1))
    shells: NDArray[np.intp] = shell_numbers(others, wavenumbers[-1]).astype(np.intp)
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
    mirrored = np.roll(np.flip(inner), (1,) * len(axes), axes) if axes else inner[::-1]
    return np.fft.fftshift(np.concatenate([values, mirrored], axis=-1))
