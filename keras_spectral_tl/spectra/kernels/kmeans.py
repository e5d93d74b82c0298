"""k-means by scikit-learn: several seeds, one thread, the same result every time."""

import importlib
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def fit_by_seed(features: Array, number: int, seeds: Sequence[int]) -> list[Any]:
    """Fits one k-means a seed, from centres drawn by k-means++.

    Args:
        features: (samples, features).
        number: Number of clusters.
        seeds: One fit each.

    Returns:
        Fitted ``sklearn.cluster.KMeans``.

    Raises:
        ImportError: If scikit-learn is not installed.

    Example:
        >>> features = np.array([[0.0], [0.1], [5.0], [5.1]])
        >>> [round(fit.inertia_, 3) for fit in fit_by_seed(features, 2, (0, 1))]
        [0.01, 0.01]
    """
    return [_fitted(features, number, "k-means++", seed) for seed in seeds]


def tightest(fits: Sequence[Any]) -> Any:
    """The fit with the smallest sum of squared distances to the centres.

    Args:
        fits: What `fit_by_seed` returns.
    """
    return min(fits, key=lambda fitted: fitted.inertia_)


def silhouette(features: Array, fits: Sequence[Any]) -> float:
    """Mean silhouette of the tightest fit.

    Args:
        features: (samples, features), those of the fits.
        fits: What `fit_by_seed` returns.

    References:
        Rousseeuw, https://doi.org/10.1016/0377-0427(87)90125-7
    """
    score = _import("sklearn.metrics").silhouette_score
    return float(score(features, tightest(fits).labels_))


def stability(fits: Sequence[Any]) -> float:
    """Mean adjusted Rand index over pairs of fits.

    Args:
        fits: What `fit_by_seed` returns, at least two.

    References:
        Hubert and Arabie, https://doi.org/10.1007/BF01908075
    """
    score = _import("sklearn.metrics").adjusted_rand_score
    pairs = combinations([fitted.labels_ for fitted in fits], 2)
    return float(np.mean([score(*pair) for pair in pairs]))


def continue_on(features: Array, fitted: Any) -> tuple[NDArray[np.intp], Array]:
    """Goes on from the centres of a fit with all samples.

    Args:
        features: (samples, features).
        fitted: A fit to some of them.

    Returns:
        Labels (samples,) and centres (clusters, features), the largest cluster first;
        of equally large ones that with the first sample.
    """
    number = len(fitted.cluster_centers_)
    final = _fitted(features, number, fitted.cluster_centers_)
    counts = np.bincount(final.labels_, minlength=number)
    first_members = [np.argmax(final.labels_ == label) for label in range(number)]
    order = np.lexsort(np.stack([first_members, -counts]))
    place = np.empty(number, np.intp)
    place[order] = np.arange(number)
    return place[final.labels_], final.cluster_centers_[order]


def _fitted(features: Array, number: int, start: Any, seed: int = 0) -> Any:
    k_means = _import("sklearn.cluster").KMeans
    # Sums over one thread do not depend on how many there are, and threads that wait
    # for each other cost more than they save at this size.
    with _import("threadpoolctl").threadpool_limits(1):
        return k_means(number, init=start, n_init=1, random_state=seed).fit(features)


def _import(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            "Clusters of kernels need scikit-learn, which is not installed. Install it "
            "with `pip install scikit-learn`."
        ) from error
