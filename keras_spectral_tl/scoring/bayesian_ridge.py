"""The evidence of a Bayesian ridge regression."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_MAX_ITERATIONS = 100
# Relative: below it noise is round-off.
_LEAST_NOISE = 1e-12


def log_evidence(features: Array, truth: Array) -> float:
    """Highest log evidence of `y = F w + noise`, over the number of points.

        w ~ N(0, I / a),   noise ~ N(0, I / b),   y ~ N(0, F F^T / a + I / b)
        max over a, b of log p(y | F, a, b) / n

    by MacKay's fixed point in the singular vectors of F: with gamma the number of
    directions that the data determine, `a = gamma / |w|^2` and
    `b = (n - gamma) / |y - F w|^2`. Without a column that says anything this is the
    evidence of noise alone.

    Args:
        features: (n, columns).
        truth: (n,), not all 0.

    Returns:
        The evidence, in nats a point.

    References:
        MacKay, Bayesian Interpolation (1992), doi:10.1162/neco.1992.4.3.415
        You et al., LogME (2021), arXiv:2102.11005

    Example:
        >>> y = np.array([1.0, -1.0, 1.0, -1.0])
        >>> round(log_evidence(np.zeros((4, 1)), y), 6)  # -(log 2 pi + 1) / 2
        -1.418939
    """
    count = len(truth)
    total = float(truth @ truth)
    left, singular, _ = np.linalg.svd(features, full_matrices=False)
    kept = singular > 1e-10 * max(float(singular[0]), np.finfo(float).tiny)
    squares = singular[kept] ** 2
    along = (left[:, kept].T @ truth) ** 2
    outside = max(total - float(along.sum()), 0.0)
    # Precisions of prior and noise: y is all noise, w of a size that would explain it.
    noise = count / total
    best = _log_density(squares, along, outside, count, np.inf, noise)
    if not len(squares):
        return best / count
    prior = float(squares.mean()) * noise
    for _ in range(_MAX_ITERATIONS):
        shares = noise * squares / (prior + noise * squares)
        determined = float(shares.sum())
        weights = float(np.sum(along * (shares / np.sqrt(squares)) ** 2))
        rest = outside + float(np.sum(along * (1 - shares) ** 2))
        rest = max(rest, _LEAST_NOISE * total)
        reached = _log_density(squares, along, outside, count, prior, noise)
        settled = abs(reached - best) < 1e-10 * count
        best = max(best, reached)
        if settled or weights == 0.0:
            break
        prior = determined / weights
        noise = max(count - determined, _LEAST_NOISE * count) / rest
    return best / count


def _log_density(
    squares: Array, along: Array, outside: float, count: int, prior: float, noise: float
) -> float:
    """`log N(y; 0, F F^T / prior + I / noise)` from the singular values of F."""
    variances = squares / prior + 1.0 / noise
    exponent = float(np.sum(along / variances)) + noise * outside
    volume = float(np.sum(np.log(variances))) - (count - len(squares)) * np.log(noise)
    return -0.5 * float(exponent + volume + count * np.log(2.0 * np.pi))
