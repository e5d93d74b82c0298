"""Peak, bandwidth, orientation and anisotropy of transfer functions."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_spectral_tl._checks import real_array
from keras_spectral_tl.spectra.kernels.peaks import peak_modes, refine_peaks, wrapped
from keras_spectral_tl.spectra.kernels.transforms import (
    fine_grid,
    kernel_transform,
    mode_wavenumbers,
    mode_weights,
    spacings,
    transform_chunks,
)

Array = NDArray[np.float64]

# Sectors of the angular profile, 15 degrees each.
NUM_SECTORS = 12
_ROUND_OFF = 1e-9


@dataclass(frozen=True)
class KernelShapes:
    """Properties of transfer functions F that do not depend on any grid of fields.

    One row a kernel. Wavenumbers k are in radians a grid spacing, so that pi is the
    Nyquist wavenumber; <.> is the mean over the Brillouin zone [-pi, pi]^rank weighted
    with ``|F(k)|^2``, evaluated on `kernel_transforms.fine_grid`.

    Attributes:
        peak_wavenumbers: (kernels, rank) k* = argmax ``|F(k)|``, k continuous; of k and
            -k the one with the last component that is not 0 positive.
        peak_moduli: (kernels,) ``|k*|``; 0 for a kernel of zeros.
        mean_wavenumbers: (kernels,) ``<|k|>``.
        bandwidths: (kernels,) ``sqrt(<(|k| - <|k|>)^2>)``.
        orientations: (kernels, rank) unit vector: the principal axis of
            ``Q_ij = <k_i k_j / |k|^2>``, the direction in which the waves that pass
            vary. Signed as the peak.
        anisotropies: (kernels,) ``(rank q - 1) / (rank - 1)`` of the largest eigenvalue
            q of Q: 0 if all directions pass alike, 1 if one does; 0 with one axis.
        dc_shares: (kernels,) ``|F(0)|^2 / |F(k*)|^2``.
        edge_shares: (kernels,) largest ``|F|^2`` on the edge of the Brillouin zone
            (a component of k at pi) over ``|F(k*)|^2``.
        angular_profiles: (kernels, 12) MEAN of ``|F|`` over the sectors of 15 degrees
            around the angles 0, 15, ... 165 of k (0 is axis 0, 90 axis 1) with
            ``0 < |k| <= pi``; None unless the kernels have two axes.
    """

    peak_wavenumbers: Array
    peak_moduli: Array
    mean_wavenumbers: Array
    bandwidths: Array
    orientations: Array
    anisotropies: Array
    dc_shares: Array
    edge_shares: Array
    angular_profiles: Array | None

    def to_dict(self) -> dict[str, Any]:
        """The numbers as lists, for JSON."""
        return {
            name: None if values is None else values.tolist()
            for name, values in vars(self).items()
        }


def kernel_shapes(
    kernels: Array, dilation: tuple[int, ...] | None = None
) -> KernelShapes:
    """Measures the transfer function of each kernel.

    Args:
        kernels: (kernels, *size) with one to three axes of points.
        dilation: Grid spacings between the kernel points; by default 1.

    Returns:
        One row a kernel.

    Raises:
        ValueError: If there is no kernel, none of its axes of points, or `dilation` is
            not one whole number from 1 on for each axis.

    Example:
        >>> difference = np.array([[1.0, 0.0, -1.0]])  # |F(k)| = 2 |sin k|
        >>> shapes = kernel_shapes(difference)
        >>> (shapes.peak_moduli / np.pi).round(6), shapes.dc_shares.round(6)
        (array([0.5]), array([0.]))
    """
    values = real_array("kernels", kernels)
    rank = values.ndim - 1
    if not 1 <= rank <= 3 or values.size == 0:
        raise ValueError(
            "Expected kernels of shape (kernels, *size) with one to three axes of "
            f"points. Received shape {values.shape}."
        )
    steps = spacings(dilation, rank)
    pairs = zip(values.shape[1:], steps, strict=True)
    grid = fine_grid(tuple((size - 1) * step + 1 for size, step in pairs))
    parts: list[tuple[Array, ...]] = []
    for rows, transform in transform_chunks(values, grid, steps):
        transfer = np.abs(transform).reshape(len(transform), -1)
        peak, power = _peaks(values[rows], steps)
        measured = (
            peak,
            np.linalg.norm(peak, axis=1),
            *_means(transfer, grid, peak),
            *_end_shares(transfer, grid, power),
        )
        profile = (transfer @ _sectors(grid),) if rank == 2 else ()
        parts.append((*measured, *profile))
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    return KernelShapes(*columns, *() if rank == 2 else (None,))


def _peaks(kernels: Array, dilation: tuple[int, ...]) -> tuple[Array, Array]:
    """k* of each kernel and the power there.

    Dilation repeats the spectrum of the kernel without it; this is the first copy.
    """
    grid = fine_grid(kernels.shape[1:])
    vectors = mode_wavenumbers(grid)
    transfer = np.abs(kernel_transform(kernels, grid)).reshape(len(kernels), -1)
    start = vectors[peak_modes(transfer, np.linalg.norm(vectors, axis=1))]
    peak, power = refine_peaks(kernels, start, 2 * np.pi / min(grid))
    return wrapped(peak * _sign(peak)) / np.array(dilation), power


def _means(transfer: Array, grid: tuple[int, ...], peak: Array) -> tuple[Array, ...]:
    """Mean |k|, bandwidth, orientation and anisotropy, as in `KernelShapes`."""
    vectors, weights = mode_wavenumbers(grid), mode_weights(grid)
    rank = len(grid)
    weighted = transfer**2 * weights
    total = weighted.sum(axis=1)
    weighted /= np.where(total > 0, total, 1.0)[:, None]
    modulus = np.linalg.norm(vectors, axis=1)
    mean = weighted @ modulus
    spread = np.sqrt(np.maximum(weighted @ modulus**2 - mean**2, 0.0))
    directions = vectors / np.where(modulus > 0, modulus, 1.0)[:, None]
    tensors = directions[:, :, None] * directions[:, None, :]
    # A mode on the edge stands for k_i = pi and -pi, whose products cancel.
    inside = np.abs(vectors) < np.pi * (1 - _ROUND_OFF)
    tensors *= inside[:, :, None] & inside[:, None, :] | np.eye(rank, dtype=bool)
    tensors[modulus == 0] = np.eye(rank) / rank
    moments = (weighted @ tensors.reshape(len(tensors), -1)).reshape(-1, rank, rank)
    eigenvalues, axes = np.linalg.eigh(moments)
    principal = axes[:, :, -1]
    principal = principal * _sign(principal)
    anisotropy = (rank * eigenvalues[:, -1] - 1) / max(rank - 1, 1)
    anisotropy = np.clip(anisotropy, 0.0, 1.0) * (rank > 1)
    return mean, spread, principal, anisotropy


def _end_shares(
    transfer: Array, grid: tuple[int, ...], peak_power: Array
) -> tuple[Array, Array]:
    """Power at k = 0 and the largest on the zone's edge, as shares of the peak's."""
    largest = np.where(peak_power > 0, peak_power, 1.0)
    is_edge = np.abs(mode_wavenumbers(grid)).max(axis=1) > np.pi * (1 - _ROUND_OFF)
    edge = transfer[:, is_edge].max(axis=1) ** 2 / largest
    return transfer[:, 0] ** 2 / largest, edge


def _sectors(grid: tuple[int, ...]) -> Array:
    """(modes, sectors): the product with it is the mean over each sector."""
    vectors, weights = mode_wavenumbers(grid), mode_weights(grid)
    angle = np.arctan2(vectors[:, 1], vectors[:, 0])
    sector = np.rint(angle / np.pi * NUM_SECTORS).astype(int) % NUM_SECTORS
    modulus = np.linalg.norm(vectors, axis=1)
    inside = (modulus > 0) & (modulus <= np.pi * (1 + _ROUND_OFF))
    members = np.equal.outer(sector, np.arange(NUM_SECTORS)).astype(np.float64)
    members *= (weights * inside)[:, None]
    return np.asarray(members / members.sum(axis=0))


def _sign(vectors: Array) -> Array:
    """(n, 1) signs that make the last component that is not 0 positive."""
    signs = np.ones(len(vectors))
    for column in vectors.T:
        signs = np.where(np.abs(column) > 1e-12, np.sign(column), signs)
    return signs[:, None]
