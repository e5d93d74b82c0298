"""Transfer functions of the kernels of one layer on a grid, summarised."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from keras_spectral_tl.spectra.fields import shell_sum_matrix
from keras_spectral_tl.spectra.kernels.classes import KERNEL_CLASSES, classify_kernels
from keras_spectral_tl.spectra.kernels.peaks import peak_modes
from keras_spectral_tl.spectra.kernels.transforms import (
    Grid,
    mode_wavenumbers,
    transform_chunks,
)
from keras_spectral_tl.spectra.kernels.weights import ConvolutionKernel


@dataclass(frozen=True)
class LayerKernelSpectra:
    """Transfer functions ``|F[kernel]|`` of one layer, summarised per kernel.

    Attributes:
        grid: Points of the grid along each axis.
        mean_transfer: (nx, ny // 2 + 1) mean over all kernels, ``rfft2`` layout; alike
            with one and three axes.
        profiles: (inputs, outputs, num_shells) radial MEAN of each kernel's transfer
            function; the wavenumber is the index.
        mean_profile: (num_shells,) mean of ``profiles`` over all kernels.
        peak_wavenumbers: (inputs, outputs) modulus |k*| of the half-plane mode with
            the largest transfer; the smallest such modulus when several are equal.
        peak_fractions: (inputs, outputs) k* / k_max in [0, 1]: the larger of
            |kx*| / (nx / 2) and |ky*| / (ny / 2). It does not depend on the grid.
        classes: (inputs, outputs) strings, each one of `KERNEL_CLASSES`.
    """

    grid: Grid
    mean_transfer: NDArray[np.float64]
    profiles: NDArray[np.float64]
    mean_profile: NDArray[np.float64]
    peak_wavenumbers: NDArray[np.float64]
    peak_fractions: NDArray[np.float64]
    classes: NDArray[np.str_]

    def class_shares(self) -> dict[str, float]:
        """Share of the kernels in each class; the shares sum to 1."""
        return {name: float(np.mean(self.classes == name)) for name in KERNEL_CLASSES}


def layer_kernel_spectra(
    name: str, kernel: ConvolutionKernel, grid: Grid
) -> LayerKernelSpectra:
    """Summarises the transfer functions of one layer in bounded memory.

    Args:
        name: Name of the layer, for messages.
        kernel: Its kernel.
        grid: Points of the grid along each axis of the kernel.

    Returns:
        The spectra.

    Raises:
        ValueError: If the kernel spans more points than the grid has.

    Example:
        >>> kernel = ConvolutionKernel(np.ones((3, 1, 1)), (1,))
        >>> layer_kernel_spectra("conv", kernel, (4,)).mean_profile.round(9)
        array([3., 1., 1.])
    """
    check_extent(name, kernel, grid)
    kernels = kernel.stacked()
    vectors = mode_wavenumbers(grid)
    modulus = np.linalg.norm(vectors * np.array(grid) / (2 * np.pi), axis=1)
    fraction = np.abs(vectors).max(axis=1) / np.pi
    summing = shell_sum_matrix(*grid)
    modes_in_shell = summing.sum(axis=1)
    total = np.zeros(len(vectors))
    profiles = np.empty((len(kernels), summing.shape[0]))
    peaks = np.empty(len(kernels), np.intp)
    for rows, transform in transform_chunks(kernels, grid, kernel.dilation):
        transfer = np.abs(transform).reshape(len(transform), -1)
        total += transfer.sum(axis=0)
        profiles[rows] = (summing @ transfer.T).T / modes_in_shell
        peaks[rows] = peak_modes(transfer, modulus)
    per_kernel = kernel.weights.shape[-2:]
    return LayerKernelSpectra(
        grid=grid,
        mean_transfer=(total / len(kernels)).reshape(*grid[:-1], -1),
        profiles=profiles.reshape(*per_kernel, -1),
        mean_profile=profiles.mean(axis=0),
        peak_wavenumbers=modulus[peaks].reshape(per_kernel),
        peak_fractions=fraction[peaks].reshape(per_kernel),
        classes=classify_kernels(kernels, kernel.dilation).reshape(per_kernel),
    )


def check_extent(name: str, kernel: ConvolutionKernel, grid: Grid) -> None:
    """Refuses a kernel that spans more points than the grid has.

    Args:
        name: Name of the layer, for the message.
        kernel: Its kernel.
        grid: Points of the grid along each axis of the kernel.

    Raises:
        ValueError: If it does.
    """
    if not kernel.fits(grid):
        raise ValueError(
            f"The kernels of layer {name!r} span {kernel.extent} points and do not fit "
            f"a grid of {grid}. Pass num_points of at least {max(kernel.extent)}."
        )
