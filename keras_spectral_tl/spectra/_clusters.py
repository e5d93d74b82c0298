"""Clusters of kernels with similar transfer functions."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_spectral_tl import plotting
from keras_spectral_tl._checks import real_array, require
from keras_spectral_tl._results import Result
from keras_spectral_tl._shells import full_plane
from keras_spectral_tl.spectra._convolutions import (
    Array,
    Grid,
    mode_weights,
    transfer_chunks,
)

# Points of the images along each axis; for three axes it would give 4,096 features.
_POINTS = {1: 64, 2: 16, 3: 8}
# The silhouette compares all pairs, so a large layer is sampled at this many kernels.
_MOST_SAMPLES = 1000


@dataclass(frozen=True)
class KernelClusters(Result):
    """Kernels grouped by the shape of their transfer function.

    Attributes:
        labels: (kernels,) index of each kernel's cluster, largest cluster first; -1
            for kernels of zeros, which have no shape.
        sizes: (clusters,) number of kernels in each.
        centres: (clusters, n, n) images of the cluster centres: normalized ``|F(k)|``
            over the full plane, k = 0 at index n // 2; (clusters, n) with one axis.
        silhouettes: Mean silhouette for each number of clusters tried, in [-1, 1].
        stability: Mean adjusted Rand index between the clusterings of all pairs of
            seeds at the chosen number: 1 if they agree, 0 at chance level.
        num_samples: Number of kernels used for silhouettes and stability.
    """

    labels: NDArray[np.intp]
    sizes: NDArray[np.intp]
    centres: Array
    silhouettes: dict[int, float]
    stability: float
    num_samples: int

    def plot(self, ax: Any = None) -> Any:
        """Plot the cluster centres of kernels with two axes and return the axes."""
        return plotting.plot_kernel_clusters(self.centres, self.sizes.tolist(), ax=ax)


def cluster_kernels(
    kernels: Array,
    dilation: Grid | None = None,
    *,
    num_clusters: Sequence[int] = (2, 3, 4, 5, 6, 7, 8),
    seeds: Sequence[int] = (0, 1, 2),
) -> KernelClusters:
    """Group kernels by k-means on their normalized transfer functions.

    The features are ``|F(k)| / sqrt(mean |F|^2)`` on a fixed grid of 16 x 16 points (64
    with one axis, 8 x 8 x 8 with three), weighted so that Euclidean distances are means
    over the full plane. They do not depend on the gain, sign and position of a kernel.
    k-means (scikit-learn, k-means++) runs on at most 1,000 kernels, drawn with the
    first seed, once per seed for each number of clusters; the tightest clusters count.
    The number with the largest mean silhouette
    (https://doi.org/10.1016/0377-0427(87)90125-7) is chosen, and k-means then continues
    from its centres with all kernels.

    Args:
        kernels: (kernels, *size) with one to three axes of points.
        dilation: Grid spacings between the kernel points; by default 1.
        num_clusters: Numbers to choose from; those not below the number of different
            kernels are left out.
        seeds: Seeds of k-means, at least two.

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
    measures = require("sklearn.metrics", "Clusters of kernels", "scikit-learn")
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
    fits = {
        number: [_fitted(sample, number, "k-means++", seed) for seed in seeds]
        for number in tried
    }
    tightest = {n: min(fits[n], key=lambda fit: fit.inertia_) for n in tried}
    silhouettes = {
        n: float(measures.silhouette_score(sample, tightest[n].labels_)) for n in tried
    }
    best = max(silhouettes, key=lambda number: silhouettes[number])
    pairs = combinations([fit.labels_ for fit in fits[best]], 2)
    agreements = [measures.adjusted_rand_score(*pair) for pair in pairs]
    whole = _fitted(features, best, tightest[best].cluster_centers_)
    counts = np.bincount(whole.labels_, minlength=best)
    # Among clusters of equal size, the one that contains the first kernel comes first.
    first_members = [np.argmax(whole.labels_ == label) for label in range(best)]
    order = np.lexsort(np.stack([first_members, -counts]))
    labels = np.full(len(values), -1, np.intp)
    labels[shaped] = np.argsort(order)[whole.labels_]
    return KernelClusters(
        labels=labels,
        sizes=counts[order],
        centres=_images(whole.cluster_centers_[order], values.ndim - 1),
        silhouettes=silhouettes,
        stability=float(np.mean(agreements)),
        num_samples=len(sample),
    )


def count_spectra(kernels: Array, dilation: Grid | None = None) -> int:
    """Return the number of different normalized transfer functions.

    They are counted among at most 1,000 kernels.
    """
    return _num_distinct(_sample(_features(kernels, dilation)[0], 0))


def _num_distinct(features: Array) -> int:
    # Ignore differences below the precision of float32 weights.
    return len(np.unique(features.round(6), axis=0))


def _features(kernels: Array, dilation: Grid | None) -> tuple[Array, NDArray[np.bool_]]:
    """Return weighted, normalized |F| of the nonzero kernels, and a mask of these."""
    rank = kernels.ndim - 1
    grid = (_POINTS[rank],) * rank
    shaped = np.any(kernels != 0, axis=tuple(range(1, rank + 1)))
    chosen = kernels[shaped]
    modes = mode_weights(grid)
    features = np.empty((len(chosen), len(modes)))
    for rows, transfer in transfer_chunks(chosen, grid, dilation):
        features[rows] = transfer * np.sqrt(modes)
    return features / np.linalg.norm(features, axis=1, keepdims=True), shaped


def _sample(features: Array, seed: int) -> Array:
    if len(features) <= _MOST_SAMPLES:
        return features
    rows = np.random.default_rng(seed).permutation(len(features))[:_MOST_SAMPLES]
    return features[np.sort(rows)]


def _fitted(features: Array, number: int, start: Any, seed: int = 0) -> Any:
    cluster = require("sklearn.cluster", "Clusters of kernels", "scikit-learn")
    threads = require("threadpoolctl", "Clusters of kernels", "scikit-learn")
    # With one thread, sums do not depend on the number of cores; at this size more
    # threads would save no time.
    with threads.threadpool_limits(1):
        k_means = cluster.KMeans(number, init=start, n_init=1, random_state=seed)
        return k_means.fit(features)


def _images(centres: Array, rank: int) -> Array:
    """Return unweighted centres on the full plane, k = 0 in the middle."""
    size = _POINTS[rank]
    half = centres / np.sqrt(mode_weights((size,) * rank))
    shape = (*(size,) * (rank - 1), size // 2 + 1)
    return np.stack([full_plane(image.reshape(shape), size) for image in half])
