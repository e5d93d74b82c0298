"""Kernels of convolution layers in one common form, and their Fourier transforms."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_spectral_tl._checks import whole_numbers
from keras_spectral_tl._graph.layers import (
    DEPTHWISE,
    PLAIN,
    SEPARABLE,
    TRANSPOSED,
    fetch,
    layers_with_weights,
)
from keras_spectral_tl._shells import mode_multiplicity, shell_sum_matrix

Array = NDArray[np.float64]
Grid = tuple[int, ...]

# Complex values held at once: 64 kernels on 128 x 128 points (9 MB) fit the cache.
_VALUES_AT_ONCE = 64 * 128 * 65
_KERNELS_AT_ONCE = 4096
# Smallest size of the fixed grid; its spacing is 1 / 16 of the Nyquist wavenumber.
_FINE = 32
# Largest number of points: transfer functions on more take gigabytes.
_MOST_POINTS = 2**22


@dataclass(frozen=True)
class ConvolutionKernel:
    """Linear part of a convolution layer with one, two or three spatial axes.

    Attributes:
        weights: (*size, inputs, outputs) float64. ``inputs`` counts those of one group;
            a depthwise kernel is (*size, inputs, depth_multiplier).
        dilation: Spacing of the kernel points along each axis.
        depthwise: Whether each input channel has its own outputs.
        transposed: Whether the layer convolves (transposed layers) rather than
            cross-correlates (all others).
        groups: Number of groups the input channels are split into.
        strides: Strides of the layer along each axis; empty means 1.
    """

    weights: Array
    dilation: Grid
    depthwise: bool = False
    transposed: bool = False
    groups: int = 1
    strides: Grid = ()

    @property
    def size(self) -> Grid:
        """Number of points along each spatial axis."""
        return self.weights.shape[:-2]

    @property
    def channels(self) -> tuple[int, int]:
        """(inputs, outputs)."""
        return self.weights.shape[-2], self.weights.shape[-1]

    @property
    def extent(self) -> Grid:
        """Grid spacings from the first to the last point, plus one, along each axis."""
        return extent_of(self.size, self.dilation)

    def fits(self, grid: Grid) -> bool:
        """Return whether the kernel spans no more points than the grid has."""
        return all(n <= points for n, points in zip(self.extent, grid, strict=True))

    def check_fits(self, name: str, grid: Grid) -> None:
        """Raise ValueError if the kernels of layer `name` are wider than a grid."""
        if not self.fits(grid):
            raise ValueError(
                f"The kernels of layer {name!r} span {self.extent} points and do not "
                f"fit a grid of {grid}. Pass num_points of at least {max(self.extent)}."
            )

    def stacked(self) -> Array:
        """Return the kernels as (inputs * outputs, *size), input channels outermost."""
        rows = self.weights.reshape(*self.size, math.prod(self.channels))
        return np.ascontiguousarray(np.moveaxis(rows, -1, 0))


def grid_shape(num_points: Any) -> Grid:
    """Return the numbers of points along the axes of a grid."""
    several = isinstance(num_points, Sequence)
    sizes = tuple(num_points) if several else (num_points, num_points)
    if not 1 <= len(sizes) <= 3 or not all(
        isinstance(n, int | np.integer) for n in sizes
    ):
        raise TypeError(
            "num_points must be an integer or a tuple of one to three integers, such "
            f"as (nx, ny). Received num_points={num_points!r}."
        )
    if min(sizes) < 2:
        raise ValueError(f"num_points must be at least 2. Received {num_points}.")
    return tuple(int(n) for n in sizes)


def convolution_kernel(layer: keras.Layer) -> ConvolutionKernel | None:
    """Return the kernel of a convolution layer in one common form.

    Supported are Conv1D / 2D / 3D and their subclasses (strided, dilated, grouped,
    channels first or last: Keras uses one kernel layout for all), the depthwise and
    transposed layers, and the separable ones, whose two kernels are multiplied into
    one: ``kernel[x, i, o] = sum_m depthwise[x, i, m] pointwise[i, m, o]``.
    """
    depthwise, transposed = (isinstance(layer, k) for k in (DEPTHWISE, TRANSPOSED))
    if isinstance(layer, SEPARABLE):
        first = to_numpy(layer.depthwise_kernel)
        pointwise = to_numpy(layer.pointwise_kernel).reshape(*first.shape[-2:], -1)
        weights = np.einsum("...im,imo->...io", first, pointwise)
    elif transposed:
        weights = to_numpy(layer.kernel).swapaxes(-1, -2)
    elif depthwise or isinstance(layer, PLAIN):
        weights = to_numpy(layer.kernel)
    else:
        return None
    rank = weights.ndim - 2
    # Some layers store an integer as given instead of a tuple.
    dilation, strides = (
        tuple(int(step) for step in np.broadcast_to(np.asarray(value), (rank,)))
        for value in (layer.dilation_rate, layer.strides)
    )
    groups = int(getattr(layer, "groups", 1))
    return ConvolutionKernel(weights, dilation, depthwise, transposed, groups, strides)


def convolution_kernels(model: keras.Model) -> dict[str, ConvolutionKernel]:
    """Return the kernels of all convolution layers of a model, by layer name."""
    layers = layers_with_weights(model).items()
    found = {name: convolution_kernel(layer) for name, layer in layers}
    return {name: kernel for name, kernel in found.items() if kernel is not None}


def to_numpy(variable: keras.Variable) -> Array:
    """Return the value of a Keras variable or tensor as float64."""
    return fetch(variable).astype(np.float64)


def kernel_transform(
    kernels: Array, num_points: Grid, dilation: Grid | None = None
) -> NDArray[np.complex128]:
    """Return the Fourier transform of centred kernels on the half plane of a grid.

    ``F(k) = sum_a kernel[a] exp(-i k . x_a)``, along each axis with
    ``x_a = 2 pi (dilation a - (dilation (size - 1)) // 2) / n``: the origin is the
    point that "same" padding centres. Not divided by the number of points. Shapes
    (..., *size) to (..., nx, ny // 2 + 1), the layout of ``numpy.fft.rfftn``.
    """
    rank = len(num_points)
    steps = spacings(dilation, rank)
    sizes = kernels.shape[kernels.ndim - rank :]
    *first, last = num_points
    frequencies = [*map(np.fft.fftfreq, first), np.fft.rfftfreq(last)]
    # A kernel of 5 x 5 points needs only five columns, no FFT of the whole grid.
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


def transfer_chunks(
    kernels: Array, num_points: Grid, dilation: Grid | None = None
) -> Iterator[tuple[slice, Array]]:
    """Yield blocks of kernels with their ``|F|``, (rows, modes), in about 10 MB."""
    modes = math.prod(num_points[:-1]) * (num_points[-1] // 2 + 1)
    step = max(1, _VALUES_AT_ONCE // modes)
    for start in range(0, len(kernels), step):
        rows = slice(start, start + step)
        transform = kernel_transform(kernels[rows], num_points, dilation)
        yield rows, np.abs(transform).reshape(len(transform), -1)


def spacings(dilation: Grid | None, rank: int) -> Grid:
    """Return the checked grid spacings between kernel points along each axis."""
    steps = (1,) * rank if dilation is None else whole_numbers("dilation", dilation, 1)
    if len(steps) != rank:
        raise ValueError(
            f"Expected dilation with one number for each of {rank} axes. Received "
            f"{dilation!r:.100}."
        )
    return tuple(steps)


def extent_of(size: Grid, dilation: Grid) -> Grid:
    """Return the grid spacings that a dilated kernel covers along each axis."""
    return tuple((n - 1) * step + 1 for n, step in zip(size, dilation, strict=True))


def point_offsets(size: int, dilation: int = 1) -> Array:
    """Return the offsets of kernel points from the one that "same" padding centres."""
    return dilation * np.arange(size, dtype=np.float64) - (dilation * (size - 1)) // 2


def points_of(size: Grid, dilation: Grid | None = None) -> Array:
    """Return the coordinates (points, rank) of the points of a kernel."""
    pairs = zip(size, dilation or (1,) * len(size), strict=True)
    grids = np.meshgrid(*(point_offsets(*pair) for pair in pairs), indexing="ij")
    return np.stack([grid.ravel() for grid in grids], axis=-1)


def fine_grid(extent: Grid) -> Grid:
    """Return the grid on which properties of a kernel are evaluated.

    Along each axis it is a power of two, at least 32 and four times the kernel's
    extent, so ``|F|^2``, a trigonometric polynomial, is oversampled by a factor of 2.
    """
    grid = tuple(max(_FINE, 2 ** math.ceil(math.log2(4 * span))) for span in extent)
    if math.prod(grid) > _MOST_POINTS:
        raise ValueError(
            f"A kernel over {extent} grid spacings is too wide: its transfer function "
            f"would need {math.prod(grid):,} points; expected at most {_MOST_POINTS:,}."
        )
    return grid


@lru_cache(maxsize=32)
def mode_wavenumbers(num_points: Grid) -> Array:
    """Return the wavenumber vectors (modes, rank) of the half plane, flattened.

    In radians per grid spacing, each entry in [-pi, pi]. Read-only.
    """
    *first, last = num_points
    axes = [*map(np.fft.fftfreq, first), np.fft.rfftfreq(last)]
    planes = np.meshgrid(*axes, indexing="ij")
    vectors = 2 * np.pi * np.stack([plane.ravel() for plane in planes], axis=-1)
    vectors.flags.writeable = False
    return vectors


@lru_cache(maxsize=32)
def mode_weights(num_points: Grid) -> Array:
    """Return the weights (modes,) of half-plane modes in a mean over the full plane.

    They sum to 1: a mean over the Brillouin zone is the product with them, which for
    ``|F[kernel]|^2`` is ``sum(kernel**2)`` (Parseval). Read-only.
    """
    counts = mode_multiplicity(num_points[-1])
    shape = (*num_points[:-1], counts.size)
    weights = np.broadcast_to(counts, shape).ravel() / math.prod(num_points)
    weights.flags.writeable = False
    return weights


def rms_transfer(name: str, kernel: ConvolutionKernel, grid: Grid) -> Array:
    """Return the root mean square transfer of the kernels of a layer by wavenumber.

        T(k)^2 = mean of |F[kernel]|^2 over kernels and the shell [k - 1/2, k + 1/2)

    The mean over kernels is the transform of their mean autocorrelation (Wiener and
    Khinchin), so one transform on the grid is enough for any number of kernels. For
    independent white noise of variance 1 in every input channel, the mean output
    channel has the spectral density ``inputs T(k)^2``.
    """
    kernel.check_fits(name, grid)
    kernels, lags = kernel.stacked(), tuple(2 * size - 1 for size in kernel.size)
    axes = tuple(range(1, kernels.ndim))
    power: Any = 0.0
    for start in range(0, len(kernels), _KERNELS_AT_ONCE):
        block = np.fft.rfftn(kernels[start : start + _KERNELS_AT_ONCE], lags, axes)
        power = power + np.sum(np.abs(block) ** 2, axis=0)
    mean = np.fft.irfftn(power / len(kernels), lags, tuple(range(len(lags))))
    # Lags in the order of an FFT: from 0 up, then from the most negative one.
    places = [
        dilation * np.fft.ifftshift(np.arange(1 - size, size)) % points
        for size, dilation, points in zip(
            kernel.size, kernel.dilation, grid, strict=True
        )
    ]
    correlation = np.zeros(grid)
    np.add.at(correlation, np.ix_(*places), mean)
    summing = shell_sum_matrix(*grid)
    shells = summing @ np.fft.rfftn(correlation).real.ravel() / summing.sum(axis=1)
    # Where kernels block a wavenumber, round-off of either sign may remain.
    return np.asarray(np.sqrt(np.maximum(shells, 0.0)))
