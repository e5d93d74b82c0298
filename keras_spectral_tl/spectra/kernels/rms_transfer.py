"""What the kernels of a layer let through, by wavenumber, all of them together."""

import numpy as np
from numpy.typing import NDArray

from keras_spectral_tl.spectra.fields import shell_sum_matrix
from keras_spectral_tl.spectra.kernels.layer_spectra import check_extent
from keras_spectral_tl.spectra.kernels.transforms import Grid
from keras_spectral_tl.spectra.kernels.weights import ConvolutionKernel

_KERNELS_AT_ONCE = 4096


def rms_transfer(
    name: str, kernel: ConvolutionKernel, grid: Grid
) -> NDArray[np.float64]:
    """Root mean square transfer of the kernels of one layer by wavenumber.

        T(k)^2 = mean of |F[kernel]|^2 over kernels and the shell [k - 1/2, k + 1/2)

    The mean over kernels is the transform of their mean autocorrelation (Wiener and
    Khinchin), so one transform on the grid is enough for any number of kernels. White
    noise in every input channel, of variance 1 and independent, leaves with spectral
    density ``inputs T(k)^2`` in the mean output channel.

    Args:
        name: Name of the layer, for messages.
        kernel: Its kernels.
        grid: Points of the grid along each axis.

    Returns:
        Array (num_shells,); the wavenumber is the index.

    Raises:
        ValueError: If a kernel spans more points than the grid has.

    Example:
        >>> kernel = ConvolutionKernel(np.array([3.0, 4.0]).reshape(1, 1, 2), (1,))
        >>> rms_transfer("conv", kernel, (4,)) ** 2  # (9 + 16) / 2 at every k
        array([12.5, 12.5, 12.5])
    """
    check_extent(name, kernel, grid)
    correlation = np.zeros(grid)
    lags = [
        dilation * np.fft.ifftshift(np.arange(1 - size, size)) % points
        for size, dilation, points in zip(
            kernel.size, kernel.dilation, grid, strict=True
        )
    ]
    np.add.at(correlation, np.ix_(*lags), _mean_autocorrelation(kernel))
    summing = shell_sum_matrix(*grid)
    power = summing @ np.fft.rfftn(correlation).real.ravel() / summing.sum(axis=1)
    # Of kernels that stop a wavenumber, round-off may be left, of either sign.
    transfer: NDArray[np.float64] = np.sqrt(np.maximum(power, 0.0))
    return transfer


def _mean_autocorrelation(kernel: ConvolutionKernel) -> NDArray[np.float64]:
    """By lag, from 0 up and then from the most negative one on, as FFTs have it."""
    kernels, lags = kernel.stacked(), tuple(2 * size - 1 for size in kernel.size)
    axes = tuple(range(1, kernels.ndim))
    power = sum(
        (
            np.abs(np.fft.rfftn(kernels[rows : rows + _KERNELS_AT_ONCE], lags, axes))
            ** 2
        ).sum(axis=0)
        for rows in range(0, len(kernels), _KERNELS_AT_ONCE)
    )
    mean: NDArray[np.float64] = np.fft.irfftn(
        power / len(kernels), lags, tuple(range(len(lags)))
    )
    return mean
