"""Clusters of kernels with alike transfer functions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_spectral_tl._checks import real_array
from keras_spectral_tl.spectra.kernels.kmeans import (
    continue_on,
    fit_by_seed,
    silhouette,
    stability,
    tightest,
)
from keras_spectral_tl.spectra.kernels.transforms import mode_weights, transform_chunks

Array = NDArray[np.float64]

# Points of the images along each axis; three axes would make 4,096 features of them.
_POINTS = {1: 64, 2: 16, 3: 8}
# The silhouette compares all pairs; this many kernels represent a large layer.
_MOST_SAMPLES = 1000


@dataclass(frozen=True)
class KernelClusters:
    """Kernels grouped by the shape of their transfer function.

    Attributes:
        labels: (kernels,) number of each kernel's cluster, largest cluster first; -1
            for kernels of zeros, which have no shape.
        sizes: (clusters,) number of kernels in each.
        centres: (clusters, n, n) images of the cluster centres: normalized ``|F(k)|``
            over the full plane, k = 0 at index n // 2; (clusters, n) with one axis.
        silhouettes: Mean silhouette for each number of clusters tried, in [-1, 1].
        stability: Mean adjusted Rand index between the clusterings of all pairs of
            seeds at the chosen number: 1 if they agree, 0 as by chance.
        num_samples: Kernels that the silhouettes and the stability were measured on.
    """

    labels: NDArray[np.intp]
    sizes: NDArray[np.intp]
    centres: Array
    silhouettes: dict[int, float]
    stability: float
    num_samples: int

    def to_dict(self) -> dict[str, Any]:
        """The numbers as lists, for JSON."""
        return {
            name: values.tolist() if isinstance(values, np.ndarray) else values
            for name, values in vars(self).items()
        }


def cluster_kernels(
    kernels: Array,
    dilation: tuple[int, ...] | None = None,
    *,
    num_clusters: Sequence[int] = (2, 3, 4, 5, 6, 7, 8),
    seeds: Sequence[int] = (0, 1, 2),
) -> KernelClusters:
    """Groups kernels by k-means on their normalized transfer functions.

    The features are ``|F(k)| / sqrt(mean |F|^2)`` on a fixed grid of 16 x 16 points (64
    with one axis, 8 x 8 x 8 with three), weighted so that Euclidean distances are means
    over the full plane: gain, sign and position of a kernel do not count. k-means
    (scikit-learn, k-means++) runs on at most 1,000 kernels, drawn with the first seed,
    once a seed for each number of clusters; the seed with the tightest clusters counts.
    The number with the largest mean silhouette wins, and k-means then goes on with all
    kernels from its centres.

    Args:
        kernels: (kernels, *size) with one to three axes of points.
        dilation: Grid spacings between the kernel points; by default 1.
        num_clusters: Numbers to choose from; those above the number of different
            kernels less one are left out.
        seeds: At least two.

    Returns:
        The clusters.

    Raises:
        ImportError: If scikit-learn is not installed.
        ValueError: If fewer than two seeds or numbers below 2 are given, or there are
            fewer than three different kernels.

    Example:
        >>> smooth, edge = np.array([1.0, 2.0, 1.0]), np.array([-1.0, 2.0, -1.0])
        >>> gains = np.linspace(1.0, 2.0, 8)[:, None]
        >>> noise = 0.1 * np.random.default_rng(0).normal(size=(16, 3))
        >>> kernels = np.concatenate([gains * smooth, gains * edge]) + noise
        >>> cluster_kernels(kernels).labels.tolist()
        [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1]
    """
    if len(seeds) < 2 or min(num_clusters, default=0) < 2:
        raise ValueError(
            "Clusters need at least two seeds and numbers of clusters of at least 2. "
            f"Received seeds={tuple(seeds)}, num_clusters={tuple(num_clusters)}."
        )
    values = real_array("kernels", kernels)
    features, shaped = _features(values, dilation)
    sample = _sample(features, seeds[0])
    distinct = _num_distinct(sample)
    tried = [number for number in num_clusters if number < distinct]
    if not tried:
        raise ValueError(
            f"{distinct} different kernels of {len(values)} cannot be split into "
            f"{min(num_clusters)} clusters with a silhouette; expected at least "
            f"{min(num_clusters) + 1}."
        )
    fits = {number: fit_by_seed(sample, number, seeds) for number in tried}
    silhouettes = {number: silhouette(sample, fits[number]) for number in tried}
    best = max(silhouettes, key=lambda number: silhouettes[number])
    labels, centres = continue_on(features, tightest(fits[best]))
    every_label = np.full(len(values), -1, np.intp)
    every_label[shaped] = labels
    return KernelClusters(
        labels=every_label,
        sizes=np.bincount(labels, minlength=best),
        centres=_images(centres, values.ndim - 1),
        silhouettes=silhouettes,
        stability=stability(fits[best]),
        num_samples=len(sample),
    )


def count_spectra(kernels: Array, dilation: tuple[int, ...] | None = None) -> int:
    """Number of different normalized transfer functions among at most 1,000 kernels.

    Args:
        kernels: (kernels, *size).
        dilation: Grid spacings between the kernel points; by default 1.

    Example:
        >>> smooth, delta = np.array([1.0, 2.0, 1.0]), np.array([0.0, 1.0, 0.0])
        >>> count_spectra(np.stack([smooth, -2 * smooth, delta]))
        2
    """
    return _num_distinct(_sample(_features(kernels, dilation)[0], 0))


def _num_distinct(features: Array) -> int:
    # Digits that float32 weights do not have are no difference.
    return len(np.unique(features.round(6), axis=0))


def _features(
    kernels: Array, dilation: tuple[int, ...] | None
) -> tuple[Array, NDArray[np.bool_]]:
    """Weighted, normalized |F| of the kernels that are not zero; which these are."""
    rank = kernels.ndim - 1
    grid = (_POINTS[rank],) * rank
    shaped = np.any(kernels != 0, axis=tuple(range(1, rank + 1)))
    chosen = kernels[shaped]
    modes = mode_weights(grid)
    features = np.empty((len(chosen), len(modes)))
    for rows, transform in transform_chunks(chosen, grid, dilation):
        features[rows] = np.abs(transform).reshape(len(transform), -1) * np.sqrt(modes)
    return features / np.linalg.norm(features, axis=1, keepdims=True), shaped


def _sample(features: Array, seed: int) -> Array:
    if len(features) <= _MOST_SAMPLES:
        return features
    rows = np.random.default_rng(seed).permutation(len(features))[:_MOST_SAMPLES]
    return features[np.sort(rows)]


def _images(centres: Array, rank: int) -> Array:
    """Unweighted centres on the full plane, k = 0 in the middle."""
    size = _POINTS[rank]
    half = (centres / np.sqrt(mode_weights((size,) * rank))).reshape(
        -1, *(size,) * (rank - 1), size // 2 + 1
    )
    axes = tuple(range(1, rank))
    inner = half[..., 1:-1]
    mirrored = np.flip(inner, axis=tuple(range(1, rank + 1)))
    # Index n - j holds -k_j; flipping sends j to n - 1 - j, so shift by one.
    mirrored = np.roll(mirrored, 1, axis=axes) if axes else mirrored
    full = np.concatenate([half, mirrored], axis=-1)
    return np.fft.fftshift(full, axes=tuple(range(1, rank + 1)))
