"""Composition of convolutions: exact, mode by mode."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from keras_spectral_tl._checks import real_array
from keras_spectral_tl.spectra.composition.shell_composition import ShellComposition
from keras_spectral_tl.spectra.fields import shell_indices, shell_sum_matrix
from keras_spectral_tl.spectra.kernels.transforms import (
    Grid,
    mode_wavenumbers,
    point_offsets,
)
from keras_spectral_tl.spectra.kernels.weights import ConvolutionKernel

# Matrix entries held at once: 128 modes of 64 x 64 channels take 8 MB.
_ENTRIES_AT_ONCE = 128 * 64 * 64


def transfer_matrices(
    kernel: ConvolutionKernel, wavenumbers: NDArray[np.float64]
) -> NDArray[np.complex128]:
    """Matrix of a convolution layer from input to output channels, mode by mode.

    ``T[k, o, i] = conj(F[kernel_io](k))``, without ``conj`` for a transposed layer, 0
    where no kernel connects the channels (groups, depthwise layers). With periodic
    padding and stride 1, ``F[output](k) = T(k) F[input](k)`` but for the bias; a
    transposed layer may shift its output by less than its kernel, which changes the
    phase of all entries of T(k) alike.

    Args:
        kernel: What `convolution_kernel` returns.
        wavenumbers: (modes, rank) in radians a grid spacing.

    Returns:
        (modes, outputs, inputs) of the whole layer.

    Raises:
        TypeError: If `kernel` is not what `convolution_kernel` returns.
        ValueError: If the wavenumbers have another shape.

    Example:
        >>> kernel = ConvolutionKernel(np.full((1, 2, 3), 0.5), (1,))
        >>> transfer_matrices(kernel, np.zeros((1, 1))).shape
        (1, 3, 2)
    """
    if not isinstance(kernel, ConvolutionKernel):
        raise TypeError(
            "Expected kernel as convolution_kernel(layer) returns it. Received "
            f"{type(kernel).__name__}."
        )
    wavenumbers = real_array("wavenumbers", wavenumbers)
    if wavenumbers.ndim != 2 or wavenumbers.shape[1] != len(kernel.size):
        raise ValueError(
            f"Expected wavenumbers of shape (modes, {len(kernel.size)}). Received the "
            f"shape {wavenumbers.shape}."
        )
    pairs = zip(kernel.size, kernel.dilation, strict=True)
    grids = np.meshgrid(*(point_offsets(*pair) for pair in pairs), indexing="ij")
    points = np.stack([grid.ravel() for grid in grids], axis=-1)
    waves = np.exp(-1j * (wavenumbers @ points.T))
    num_inputs, num_outputs = kernel.weights.shape[-2:]
    entries = waves @ kernel.weights.reshape(len(points), -1)
    blocks = entries.reshape(-1, num_inputs, num_outputs).swapaxes(1, 2)
    if not kernel.transposed:
        blocks = blocks.conj()
    if kernel.depthwise:
        matrices = np.zeros((len(waves), num_inputs * num_outputs, num_inputs), complex)
        for source in range(num_inputs):
            rows = slice(source * num_outputs, (source + 1) * num_outputs)
            matrices[:, rows, source] = blocks[:, :, source]
        return matrices
    if kernel.groups == 1:
        return np.asarray(blocks)
    per_group = num_outputs // kernel.groups
    matrices = np.zeros((len(waves), num_outputs, num_inputs * kernel.groups), complex)
    for group in range(kernel.groups):
        rows = slice(group * per_group, (group + 1) * per_group)
        columns = slice(group * num_inputs, (group + 1) * num_inputs)
        matrices[:, rows, columns] = blocks[:, rows]
    return matrices


def linear_composition(
    kernels: Sequence[ConvolutionKernel], num_points: Grid
) -> ShellComposition:
    """Composition of a chain of periodic convolutions with stride 1, exactly.

    ``F[output](k) = T_L(k) ... T_1(k) F[input](k)``: each mode feeds itself alone, so
    ``gains[c, i, i]`` is the mean over the modes of shell i of ``sum_o |T(k)[o, c]|^2``
    and all else is 0. The matrices are multiplied from the input side and in blocks of
    modes, so memory holds some 10 MB whatever the grid.

    Args:
        kernels: What `convolution_kernel` returns for each layer, input side first.
        num_points: Points of the grid along each axis.

    Returns:
        The gains of all shells, with standard errors of 0.

    Raises:
        ValueError: If there is no kernel, a stride is not 1, or channels or axes do not
            fit.

    Example:
        >>> double = ConvolutionKernel(np.full((1, 1, 1, 1), 2.0), (1, 1))
        >>> gains = linear_composition([double, double], (4, 4)).gains
        >>> np.diagonal(gains[0])
        array([16., 16., 16., 16.])
    """
    rank = len(num_points)
    if not kernels or any(len(kernel.size) != rank for kernel in kernels):
        raise ValueError(
            f"Expected kernels with the {rank} axes of num_points={num_points}. "
            f"Received sizes {[kernel.size for kernel in kernels]}."
        )
    strided = [
        kernel.strides for kernel in kernels if max(kernel.strides, default=1) > 1
    ]
    if strided:
        raise ValueError(
            "The composition is exact for stride 1, where each mode feeds itself "
            f"alone. Received strides {strided}; use measured_composition."
        )
    vectors = mode_wavenumbers(num_points)
    power = [_power(kernels, vectors[rows]) for rows in _blocks(kernels, len(vectors))]
    summing = shell_sum_matrix(*num_points)
    means = (summing @ np.concatenate(power)) / summing.sum(axis=1)[:, None]
    num_shells = int(shell_indices(*num_points).max()) + 1
    gains = np.zeros((means.shape[1], num_shells, num_shells))
    gains[:, range(num_shells), range(num_shells)] = means.T
    return ShellComposition(gains, np.zeros_like(gains), tuple(range(num_shells)))


def _power(
    kernels: Sequence[ConvolutionKernel], wavenumbers: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(modes, inputs) of ``sum_o |T(k)[o, c]|^2``."""
    total = transfer_matrices(kernels[0], wavenumbers)
    for number, kernel in enumerate(kernels[1:], start=1):
        matrices = transfer_matrices(kernel, wavenumbers)
        if matrices.shape[2] != total.shape[1]:
            raise ValueError(
                f"Kernel {number} takes {matrices.shape[2]} channels, but the one "
                f"before gives {total.shape[1]}. Pass the layers of a chain in order."
            )
        total = matrices @ total
    return np.asarray(np.sum(total.real**2 + total.imag**2, axis=1))


def _blocks(kernels: Sequence[ConvolutionKernel], num_modes: int) -> Iterator[slice]:
    """Rows of modes whose matrices fit the bound on memory."""
    entries = max(math.prod(kernel.weights.shape[-2:]) for kernel in kernels)
    groups = max(kernel.groups for kernel in kernels)
    step = max(1, _ENTRIES_AT_ONCE // (entries * groups))
    for start in range(0, num_modes, step):
        yield slice(start, start + step)
