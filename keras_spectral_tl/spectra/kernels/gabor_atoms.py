"""A dictionary of Gabor atoms: where a fit starts, and what noise can be told from."""

import itertools
import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from keras_spectral_tl.spectra.kernels.transforms import point_offsets

_NUM_WIDTHS = 5
# Values of the product kernels x atoms held at once, 8 MB.
_VALUES_AT_ONCE = 1_000_000
# A quadrature with less of its norm left after projection is no second direction.
_INDEPENDENT = 1e-6
# A carrier and its negative are the same atom.
_SAME = 1e-9


@lru_cache(maxsize=16)
def atom_parameters(size: tuple[int, ...]) -> NDArray[np.float64]:
    """Parameters of the atoms for kernels of one size.

    An atom is the pair ``exp(-|x - c|^2 / (2 s^2)) cos(k . (x - c))`` and ``... sin``.
    Centres c are the middle of the kernel and its neighbours, carriers k a grid of
    spacing pi / 4 over half the Brillouin zone (pi / 2 with three axes), widths s five
    values in geometric progression from 0.3 to 0.6 of the largest size.

    Args:
        size: Points of the kernel along each axis.

    Returns:
        Read-only array (atoms, 2 rank + 1): centre, carrier, width; in kernel points.

    Example:
        >>> atom_parameters((5,)).shape  # 3 centres x 5 carriers x 5 widths
        (75, 3)
    """
    rank = len(size)
    steps = 4 if rank < 3 else 2
    line = np.arange(-steps + 1, steps + 1) * np.pi / steps
    carriers = [k for k in itertools.product(line, repeat=rank) if _is_first(k)]
    reach = [(-1.0, 0.0, 1.0) if points > 2 else (0.0,) for points in size]
    centres = list(itertools.product(*reach))
    widths = np.geomspace(0.3, max(0.6 * max(size), 0.3), _NUM_WIDTHS)
    # Of atoms that fit equally, argmax takes the first: the central, the smoothest.
    centres.sort(key=np.linalg.norm)
    carriers.sort(key=np.linalg.norm)
    rows = [
        [*centre, *carrier, width]
        for centre, carrier, width in itertools.product(centres, carriers, widths)
    ]
    parameters = np.array(rows)
    parameters.flags.writeable = False
    return parameters


def explained_shares(
    kernels: NDArray[np.float64], num_best: int = 1
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Share of each kernel's energy in its best atoms.

    ``share = |projection of the kernel on (cos, sin)|^2 / |kernel|^2``: amplitude and
    phase are linear, so each atom is fitted exactly, and one matrix product fits all
    atoms to all kernels. The best atoms returned differ in width, so that they are
    different starts for a fit.

    Args:
        kernels: (kernels, *size).
        num_best: How many atoms to return for each kernel, at most 5.

    Returns:
        Shares in [0, 1], (kernels, num_best), best first (0 for a kernel of zeros), and
        the rows of `atom_parameters` they belong to.

    Example:
        >>> delta = np.zeros((1, 5, 5))
        >>> delta[0, 2, 2] = -3.0
        >>> explained_shares(delta)[0].round(3)
        array([[1.]])
    """
    flat = kernels.reshape(len(kernels), -1)
    basis = _orthonormal_basis(kernels.shape[1:])
    num_atoms = basis.shape[1] // 2
    energy = np.sum(flat**2, axis=1)
    shares = np.zeros((len(flat), num_best))
    best = np.zeros((len(flat), num_best), np.intp)
    step = max(1, _VALUES_AT_ONCE // basis.shape[1])
    for start in range(0, len(flat), step):
        rows = slice(start, start + step)
        products = flat[rows] @ basis
        np.square(products, out=products)
        explained = products[:, :num_atoms] + products[:, num_atoms:]
        by_width = explained.reshape(len(explained), -1, _NUM_WIDTHS)
        place = by_width.argmax(axis=1)
        values = np.take_along_axis(by_width, place[:, None], axis=1)[:, 0]
        order = np.argsort(-values, axis=1, kind="stable")[:, :num_best]
        shares[rows] = np.take_along_axis(values, order, axis=1)
        best[rows] = np.take_along_axis(place, order, axis=1) * _NUM_WIDTHS + order
    safe = np.where(energy > 0, energy, 1.0)
    return np.minimum(shares / safe[:, None], 1.0), best


@lru_cache(maxsize=16)
def _orthonormal_basis(size: tuple[int, ...]) -> NDArray[np.float64]:
    """(points, 2 atoms): first directions of all atoms, then the second ones."""
    parameters = atom_parameters(size)
    rank = len(size)
    centre, carrier, width = np.split(parameters, [rank, 2 * rank], axis=1)
    grids = np.meshgrid(*map(point_offsets, size), indexing="ij")
    points = np.stack([grid.ravel() for grid in grids], axis=-1)
    distance = points[None] - centre[:, None]
    envelope = np.exp(-0.5 * np.sum(distance**2, axis=-1) / width**2)
    phase = np.einsum("apr,ar->ap", distance, carrier)
    first = envelope * np.cos(phase)
    second = envelope * np.sin(phase)
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    length = np.linalg.norm(second, axis=1, keepdims=True)
    second -= np.sum(first * second, axis=1, keepdims=True) * first
    left = np.linalg.norm(second, axis=1, keepdims=True)
    independent = left > _INDEPENDENT * np.maximum(length, 1.0)
    second = np.where(independent, second / np.where(independent, left, 1.0), 0.0)
    return np.ascontiguousarray(np.concatenate([first, second]).T)


def _is_first(carrier: tuple[float, ...]) -> bool:
    """Whether a carrier, and not its negative modulo 2 pi, stands for the pair."""
    mirrored = tuple(math.pi if abs(k - math.pi) < _SAME else -k for k in carrier)
    return tuple(carrier) >= mirrored
