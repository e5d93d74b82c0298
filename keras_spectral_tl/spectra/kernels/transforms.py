"""Fourier transforms of kernels with one, two or three spatial axes."""

import math
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from keras_spectral_tl._checks import whole_numbers
from keras_spectral_tl.spectra.fields import mode_multiplicity

Grid = tuple[int, ...]

# Complex values held at once: 64 kernels on 128 x 128 points, 9 MB, fit the cache.
_VALUES_AT_ONCE = 64 * 128 * 65
# Points of the fixed grid, at least; its spacing is 1 / 16 of the Nyquist wavenumber.
_FINE = 32
# At most: transfer functions of more take gigabytes.
_MOST_POINTS = 2**22


def kernel_transform(
    kernels: NDArray[np.float64], num_points: Grid, dilation: Grid | None = None
) -> NDArray[np.complex128]:
    """Fourier transform of centred kernels on the half plane of a grid.

    ``F(k) = sum_a kernel[a] exp(-i k . x_a)``, along each axis with
    ``x_a = 2 pi (dilation a - (dilation (size - 1)) // 2) / n``: the origin is the
    point that "same" padding centres. Not divided by the number of points.

    Args:
        kernels: (..., *size), one axis of points for each axis of the grid.
        num_points: (nx,), (nx, ny) or (nx, ny, nz) of the grid.
        dilation: Spacing of the kernel points; by default 1.

    Returns:
        Array (..., nx, ny // 2 + 1) or alike, in the layout of ``numpy.fft.rfftn``.

    Example:
        >>> delta = np.zeros((3, 3))
        >>> delta[1, 1] = 2.0
        >>> kernel_transform(delta, (4, 4)).real
        array([[2., 2., 2.],
               [2., 2., 2.],
               [2., 2., 2.],
               [2., 2., 2.]])
    """
    rank = len(num_points)
    steps = spacings(dilation, rank)
    sizes = kernels.shape[kernels.ndim - rank :]
    *first, last = num_points
    frequencies = [*map(np.fft.fftfreq, first), np.fft.rfftfreq(last)]
    # A kernel of 5 x 5 points needs five columns, not an FFT of the whole grid.
    transform = kernels.astype(np.complex128)
    for axis in range(rank - 1, -1, -1):
        offsets = point_offsets(sizes[axis], steps[axis])
        waves = np.exp(-2j * np.pi * np.outer(offsets, frequencies[axis]))
        position = axis - rank
        if position == -1:
            transform = transform @ waves
        elif position == -2:
            transform = waves.T @ transform
        else:
            moved = np.moveaxis(transform, position, -1) @ waves
            transform = np.moveaxis(moved, -1, position)
    return transform


def spacings(dilation: Grid | None, rank: int) -> Grid:
    """Grid spacings between the kernel points along each axis, checked; by default 1.

    Args:
        dilation: One whole number, from 1 on, for each axis.
        rank: How many axes there are.

    Raises:
        ValueError: If they are other numbers, or more or fewer.

    Example:
        >>> spacings(None, 2), spacings((2, 1), 2)
        ((1, 1), (2, 1))
    """
    steps = (1,) * rank if dilation is None else whole_numbers("dilation", dilation, 1)
    if len(steps) != rank:
        raise ValueError(
            f"Expected dilation with one number for each of {rank} axes. Received "
            f"{dilation!r:.100}."
        )
    return tuple(steps)


def point_offsets(size: int, dilation: int = 1) -> NDArray[np.float64]:
    """Grid spacings of the kernel points from the point that "same" padding centres.

    Args:
        size: Number of points.
        dilation: Spacing of the points.

    Example:
        >>> point_offsets(4), point_offsets(3, dilation=2)
        (array([-1.,  0.,  1.,  2.]), array([-2.,  0.,  2.]))
    """
    return dilation * np.arange(size, dtype=np.float64) - (dilation * (size - 1)) // 2


def fine_grid(extent: Grid) -> Grid:
    """The grid on which properties of a kernel are defined, whatever the field's grid.

    Per axis the power of two that is at least 32 and four times the kernel's extent, so
    that ``|F|^2``, a trigonometric polynomial, is sampled twice as finely as needed.

    Args:
        extent: Grid spacings that the kernel covers along each axis.

    Raises:
        ValueError: If that are more than 4 million points.

    Example:
        >>> fine_grid((5, 5)), fine_grid((9,))
        ((32, 32), (64,))
    """
    grid = tuple(max(_FINE, 2 ** math.ceil(math.log2(4 * span))) for span in extent)
    if math.prod(grid) > _MOST_POINTS:
        raise ValueError(
            f"A kernel over {extent} grid spacings is too wide: its transfer function "
            f"would need {math.prod(grid):,} points; expected at most {_MOST_POINTS:,}."
        )
    return grid


def transform_chunks(
    kernels: NDArray[np.float64], num_points: Grid, dilation: Grid | None = None
) -> Iterator[tuple[slice, NDArray[np.complex128]]]:
    """Yields blocks of kernels and their transforms in bounded memory (some 10 MB).

    Args:
        kernels: (kernels, *size).
        num_points: Points of the grid.
        dilation: Spacing of the kernel points.

    Yields:
        Rows, and `kernel_transform` of these rows.
    """
    modes = math.prod(num_points[:-1]) * (num_points[-1] // 2 + 1)
    step = max(1, _VALUES_AT_ONCE // modes)
    for start in range(0, len(kernels), step):
        rows = slice(start, start + step)
        yield rows, kernel_transform(kernels[rows], num_points, dilation)


@lru_cache(maxsize=32)
def mode_wavenumbers(num_points: Grid) -> NDArray[np.float64]:
    """Wavenumber vectors of the modes of the half plane, in radians a grid spacing.

    Args:
        num_points: Points of the grid.

    Returns:
        Read-only array (modes, rank), each entry in [-pi, pi], flattened as ``rfftn``.

    Example:
        >>> mode_wavenumbers((4,)).round(3).ravel()
        array([0.   , 1.571, 3.142])
    """
    *first, last = num_points
    axes = [*map(np.fft.fftfreq, first), np.fft.rfftfreq(last)]
    planes = np.meshgrid(*axes, indexing="ij")
    vectors = 2 * np.pi * np.stack([plane.ravel() for plane in planes], axis=-1)
    vectors.flags.writeable = False
    return vectors


@lru_cache(maxsize=32)
def mode_weights(num_points: Grid) -> NDArray[np.float64]:
    """Share of the full plane that each mode of the half plane stands for.

    Args:
        num_points: Points of the grid.

    Returns:
        Read-only array (modes,), which sums to 1: a mean over the Brillouin zone is the
        product with it, and of ``|F[kernel]|^2`` that mean is ``sum(kernel**2)``.

    Example:
        >>> mode_weights((4,))
        array([0.25, 0.5 , 0.25])
    """
    counts = mode_multiplicity(num_points[-1])
    shape = (*num_points[:-1], counts.size)
    weights = np.broadcast_to(counts, shape).ravel() / math.prod(num_points)
    weights.flags.writeable = False
    return weights
