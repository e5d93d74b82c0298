"""Peak, bandwidth, orientation and class of the transfer functions of kernels."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_spectral_tl._checks import real_array
from keras_spectral_tl._results import Result
from keras_spectral_tl.plotting._kernels import plot_wavenumber_plane
from keras_spectral_tl.spectra._convolutions import (
    Array,
    Grid,
    extent_of,
    fine_grid,
    kernel_transform,
    mode_wavenumbers,
    mode_weights,
    points_of,
    spacings,
    transfer_chunks,
)
from keras_spectral_tl.spectra._gabor import explained_shares

KERNEL_CLASSES = ("low-pass", "band-pass", "high-pass", "all-pass", "unstructured")
# Least cosine of |F| and |k|^2 over the zone: 0.98 for the five-point Laplacian, 0.8
# for a Gaussian times a checkerboard.
_LAPLACIAN_COSINE = 0.9
# Least shares of symmetries of round filters and saddles; noise has a quarter each.
_ROUND, _SADDLE = 0.9, 0.7

# The passband ends at -3 dB.
HALF_POWER = 0.5
# Fraction of white-noise kernels that are called structured by mistake.
_LEVEL = 0.01
_NUM_NOISE = 2000
# If noise is explained to this share, structure is indistinguishable from noise.
_INDISTINCT = 0.9
# Peaks closer than this count as equal; the one at the smallest |k| is taken.
_TIE = 1e-9
_NUM_STEPS = 8
# Curvatures below this fraction of the power are a ridge: no step is taken along it.
_RIDGE = 1e-6
# -pi and pi are the same wavenumber; up to this round-off it is called pi.
_ROUND_OFF = 1e-9
# Sectors of the angular profile, 15 degrees each.
_NUM_SECTORS = 12


def peak_modes(transfer: Array, modulus: Array) -> NDArray[np.intp]:
    """Return the mode with the largest transfer; ties go to the smallest ``|k|``."""
    largest = transfer.max(axis=1, keepdims=True)
    # On the ridge of a derivative kernel all peaks are equal up to round-off.
    is_peak = transfer >= largest * (1.0 - _TIE)
    return np.asarray(np.where(is_peak, modulus, np.inf).argmin(axis=1))


def refine_peaks(kernels: Array, starts: Array, reach: float) -> tuple[Array, Array]:
    """Refine peaks from grid points to the nearby maxima of ``|F(k)|^2``, k continuous.

    Newton's method with the absolute curvatures, so that every step goes uphill; steps
    are at most ``reach`` long and taken only if they increase the power. Returns the
    wavenumbers (kernels, rank), in radians per kernel point, and the power there.
    """
    points = points_of(kernels.shape[1:])
    flat = kernels.reshape(len(kernels), -1)
    best = starts.copy()
    power, gradient, curvature = _power(flat, points, best)
    for _ in range(_NUM_STEPS):
        values, axes_of = np.linalg.eigh(curvature)
        moduli = np.maximum(np.abs(values), _RIDGE * power[:, None] + 1e-300)
        along = np.einsum("nij,ni->nj", axes_of, gradient) / moduli
        along[np.abs(values) <= _RIDGE * power[:, None]] = 0.0
        step = np.einsum("nij,nj->ni", axes_of, along)
        length = np.linalg.norm(step, axis=1, keepdims=True)
        step *= np.minimum(1.0, reach / np.maximum(length, reach))
        trial = best + step
        after = _power(flat, points, trial)
        gained = after[0] > power
        if not gained.any():
            break
        best[gained] = trial[gained]
        power, gradient, curvature = (
            np.where(gained.reshape(-1, *[1] * (new.ndim - 1)), new, old)
            for new, old in zip(after, (power, gradient, curvature), strict=True)
        )
    return wrapped(best), power


def wrapped(k: Array) -> Array:
    """Return wavenumbers modulo 2 pi, in (-pi, pi] up to round-off."""
    return np.asarray(k - 2 * np.pi * np.ceil((k - np.pi - _ROUND_OFF) / (2 * np.pi)))


def _power(flat: Array, points: Array, k: Array) -> tuple[Array, Array, Array]:
    """Return ``|F|^2``, its gradient (n, rank) and its Hessian (n, rank, rank)."""
    rank = points.shape[1]
    terms = flat * np.exp(-1j * (k @ points.T))
    pairs = (points[:, :, None] * points[:, None, :]).reshape(len(points), -1)
    value = terms.sum(axis=1)
    first = -1j * (terms @ points)
    second = -(terms @ pairs).reshape(-1, rank, rank)
    gradient = 2 * np.real(value.conj()[:, None] * first)
    curvature = 2 * np.real(
        first.conj()[:, :, None] * first[:, None, :]
        + value.conj()[:, None, None] * second
    )
    return np.abs(value) ** 2, gradient, curvature


@dataclass(frozen=True)
class KernelShapes(Result):
    """Properties of transfer functions F that do not depend on the grid of the fields.

    One row per kernel. Wavenumbers k are in radians per grid spacing, so that pi is the
    Nyquist wavenumber; <.> is the mean over the Brillouin zone [-pi, pi]^rank weighted
    with ``|F(k)|^2``, evaluated on a grid of 32 x 32 points (kernels up to 8 x 8).

    Attributes:
        peak_wavenumbers: (kernels, rank) k* = argmax ``|F(k)|``, k continuous; the sign
            makes the last nonzero component positive.
        peak_moduli: (kernels,) ``|k*|``; 0 for a kernel of zeros.
        mean_wavenumbers: (kernels,) ``<|k|>``.
        bandwidths: (kernels,) ``sqrt(<(|k| - <|k|>)^2>)``.
        orientations: (kernels, rank) unit vector: the principal axis of
            ``Q_ij = <k_i k_j / |k|^2>``, the main direction of the wave vectors that
            pass. As in a peak, the last component that is not 0 is positive.
        anisotropies: (kernels,) ``(rank q - 1) / (rank - 1)`` of the largest eigenvalue
            q of Q: 0 if all directions pass equally, 1 if only one; 0 with one axis.
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

    def plot(self, ax: Any = None) -> Any:
        """Plot the peaks in the wavenumber plane and return the axes."""
        return plot_wavenumber_plane("peaks", self.peak_wavenumbers, ax=ax)


def kernel_shapes(kernels: Array, dilation: Grid | None = None) -> KernelShapes:
    """Compute peak, bandwidth and orientation of each kernel's transfer function.

    Args:
        kernels: (kernels, *size) with one to three axes of points.
        dilation: Grid spacings between the kernel points; by default 1.

    Raises:
        ValueError: If there is no kernel, kernels have no axis of points, or `dilation`
            is not a positive integer for each axis.

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
    grid = fine_grid(extent_of(values.shape[1:], steps))
    is_edge = np.abs(mode_wavenumbers(grid)).max(axis=1) > np.pi * (1 - _ROUND_OFF)
    parts: list[tuple[Array, ...]] = []
    for rows, transfer in transfer_chunks(values, grid, steps):
        peak, power = _peaks(values[rows], steps)
        power = np.where(power > 0, power, 1.0)
        measured = (
            peak,
            np.linalg.norm(peak, axis=1),
            *_means(transfer, grid),
            transfer[:, 0] ** 2 / power,
            transfer[:, is_edge].max(axis=1) ** 2 / power,
        )
        profile = (transfer @ _sectors(grid),) if rank == 2 else ()
        parts.append((*measured, *profile))
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    return KernelShapes(*columns, *() if rank == 2 else (None,))


def _peaks(kernels: Array, dilation: Grid) -> tuple[Array, Array]:
    """Return k* of each kernel and the power there.

    Dilation repeats the spectrum of the undilated kernel; k* is in the first copy.
    """
    grid = fine_grid(kernels.shape[1:])
    vectors = mode_wavenumbers(grid)
    transfer = np.abs(kernel_transform(kernels, grid)).reshape(len(kernels), -1)
    start = vectors[peak_modes(transfer, np.linalg.norm(vectors, axis=1))]
    peak, power = refine_peaks(kernels, start, 2 * np.pi / min(grid))
    return wrapped(peak * _sign(peak)) / np.array(dilation), power


def _means(transfer: Array, grid: Grid) -> tuple[Array, ...]:
    """Return mean |k|, bandwidth, orientation and anisotropy, see `KernelShapes`."""
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
    # A mode on the edge represents both k_i = pi and -pi, whose products cancel.
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


def _sectors(grid: Grid) -> Array:
    """Return a matrix (modes, sectors) whose product is the mean over each sector."""
    vectors, weights = mode_wavenumbers(grid), mode_weights(grid)
    angle = np.arctan2(vectors[:, 1], vectors[:, 0])
    sector = np.rint(angle / np.pi * _NUM_SECTORS).astype(int) % _NUM_SECTORS
    modulus = np.linalg.norm(vectors, axis=1)
    inside = (modulus > 0) & (modulus <= np.pi * (1 + _ROUND_OFF))
    members = np.equal.outer(sector, np.arange(_NUM_SECTORS)).astype(np.float64)
    members *= (weights * inside)[:, None]
    return np.asarray(members / members.sum(axis=0))


def _sign(vectors: Array) -> Array:
    """Return signs (n, 1) that make the last nonzero component positive."""
    signs = np.ones(len(vectors))
    for column in vectors.T:
        signs = np.where(np.abs(column) > 1e-12, np.sign(column), signs)
    return signs[:, None]


def classify_kernels(
    kernels: Array, dilation: Grid | None = None, shapes: KernelShapes | None = None
) -> NDArray[np.str_]:
    """Return the class of each kernel (low-pass, high-pass, ...) by its passband.

    The passband is where ``|F(k)|^2`` is at least half its maximum. A kernel is

    - unstructured, if its best Gabor atom explains no more of its energy than for
      99 % of white-noise kernels of its size, or if it is zero or NaN;
    - low-pass, if its passband contains k = 0 but no point of the edge of the Brillouin
      zone, the Nyquist wavenumber of one of the axes;
    - high-pass, if it contains a point of the edge but not k = 0;
    - band-pass (the class of oriented Gabor filters), if it contains neither;
    - all-pass, if it contains both: a delta, or smoothing along one axis only.

    k is in radians per grid spacing and F the continuous transform, sampled on its own
    grid, so the class does not depend on the grid of the fields.

    Args:
        kernels: (kernels, *size) with one to three axes of points.
        dilation: Grid spacings between the kernel points; by default 1.
        shapes: `kernel_shapes` of the same kernels, if already computed.

    Returns:
        (kernels,) strings, each one of `KERNEL_CLASSES`.

    Example:
        >>> x = np.arange(5) - 2.0
        >>> smooth = np.exp(-np.add.outer(x**2, x**2) / 2)
        >>> checked = smooth * (-1) ** np.add.outer(x, x)
        >>> classify_kernels(np.stack([smooth, checked])).tolist()
        ['low-pass', 'high-pass']
    """
    values = real_array("kernels", kernels)
    measured = shapes or kernel_shapes(values, dilation)
    passes_dc = measured.dc_shares >= HALF_POWER
    passes_edge = measured.edge_shares >= HALF_POWER
    index = np.array([[1, 2], [0, 3]])[passes_dc.astype(int), passes_edge.astype(int)]
    # NaN explains nothing.
    stands_out = explained_shares(values)[0][:, 0] > noise_share(values.shape[1:])
    index[~stands_out] = KERNEL_CLASSES.index("unstructured")
    return np.asarray(np.array(KERNEL_CLASSES)[index])


@lru_cache(maxsize=32)
def noise_share(size: Grid) -> float:
    """Return the energy share of white-noise kernels that the best Gabor atom explains.

    It is the 0.99 quantile over 2,000 kernels (seeded), see `explained_shares`. Kernels
    of few points always resemble some atom: if the quantile is above 0.9, as for 5 or
    3 x 3 points, 0 is returned, and no kernel of that size is called unstructured.
    """
    noise = np.random.default_rng(0).standard_normal((_NUM_NOISE, *size))
    share = float(np.quantile(explained_shares(noise)[0], 1 - _LEVEL))
    return share if share <= _INDISTINCT else 0.0


def class_counts(classes: NDArray[np.str_]) -> dict[str, int]:
    """Return the number of kernels in each class, for classes of any shape."""
    return {name: int(np.count_nonzero(classes == name)) for name in KERNEL_CLASSES}


def filter_parities(filters: Array) -> Array:
    """Return the shares (r, 5) or (r, 2) of the symmetries, see `PrincipalFilters`."""
    axes = tuple(range(1, filters.ndim))
    energy = np.sum(filters**2, axis=axes)

    def share(part: Array) -> Array:
        return np.asarray(np.sum(part**2, axis=axes) / energy)

    inverted = np.flip(filters, axes)
    odd = share((filters - inverted) / 2)
    if filters.ndim != 3 or filters.shape[1] != filters.shape[2]:
        return np.stack([1 - odd, odd], axis=-1)
    even = (filters + inverted) / 2
    mirrored, turned = np.flip(even, 1), even.swapaxes(1, 2)
    both = np.flip(turned, 1)
    parts = [
        (even + a * mirrored + b * turned + a * b * both) / 4
        for a, b in ((1, 1), (-1, -1), (1, -1), (-1, 1))
    ]
    return np.stack([*map(share, parts), odd], axis=-1)


def filter_classes(
    filters: Array, dilation: Grid, transfer: Array, parities: Array
) -> NDArray[np.str_]:
    """Return the class of each filter, see `PrincipalFilters`."""
    kinds = classify_kernels(filters, dilation)
    grid = fine_grid(filters.shape[1:])
    weights = mode_weights(grid)
    square = np.sum(mode_wavenumbers(grid) ** 2, axis=1)
    norms = np.sqrt((transfer**2 @ weights) * (square**2 @ weights))
    is_laplacian = (transfer * square) @ weights > _LAPLACIAN_COSINE * norms
    found = np.array(kinds, dtype="<U12")
    found[kinds == "band-pass"] = "Gabor"
    found[(kinds == "high-pass") & is_laplacian] = "Laplacian"
    if parities.shape[1] == 5:
        is_round, saddle = parities[:, 0] > _ROUND, parities[:, 2] + parities[:, 3]
        found[(kinds == "band-pass") & is_round] = "Laplacian"
        few = np.isin(kinds, ("band-pass", "unstructured"))
        found[few & (saddle > _SADDLE)] = "saddle"
    found[(kinds != "unstructured") & (parities[:, -1] > 0.5)] = "gradient"
    return found
