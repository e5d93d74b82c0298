"""How convex a line through a loss landscape is."""

import numpy as np
from numpy.typing import ArrayLike


def line_convexity(steps: ArrayLike, losses: ArrayLike) -> float:
    """``1 - max(L - hull) / (max L - min L)`` of samples of a function of one variable.

    ``hull`` is the largest convex function below the samples (their lower convex hull):
    1 if the samples are those of a convex function, smaller the higher a barrier stands
    above the chord under it, relative to all the relief there is. At least 0. It does
    not change with the units of either axis, so it compares layers. 1 where the losses
    are constant.

    Args:
        steps: (points,) places, rising, at least three.
        losses: (points,) values there, finite.

    Returns:
        The convexity, in [0, 1].

    Raises:
        ValueError: If the shapes are not as above, or values are not finite.

    Example:
        >>> steps = np.linspace(-1.5, 1.5, 31)
        >>> line_convexity(steps, steps**2)
        1.0
        >>> round(line_convexity(steps, (steps**2 - 1) ** 2), 2)  # barrier 1 of 1.5625
        0.36
    """
    x, y = np.asarray(steps, float), np.asarray(losses, float)
    if x.ndim != 1 or x.shape != y.shape or len(x) < 3 or not np.all(np.diff(x) > 0):
        raise ValueError(
            "A line needs steps that rise and a loss at each, at least three. Received "
            f"shapes {x.shape} and {y.shape}."
        )
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError(
            f"The losses hold {int(np.count_nonzero(~np.isfinite(y)))} values that are "
            "NaN or infinite. Take shorter steps."
        )
    relief = float(np.ptp(y))
    if relief == 0.0:
        return 1.0
    corners: list[int] = []
    for point in range(len(x)):
        while len(corners) > 1 and _is_above(x, y, corners[-2], corners[-1], point):
            corners.pop()
        corners.append(point)
    hull = np.interp(x, x[corners], y[corners])
    # Round-off of the interpolation is no barrier.
    barrier = float(np.max(y - hull))
    return 1.0 - barrier / relief if barrier > 1e-12 * relief else 1.0


def _is_above(x: np.ndarray, y: np.ndarray, first: int, middle: int, last: int) -> bool:
    """Whether the middle point lies on or above the chord of the other two."""
    rise = (y[last] - y[first]) * (x[middle] - x[first])
    return bool((y[middle] - y[first]) * (x[last] - x[first]) >= rise)
