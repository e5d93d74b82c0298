"""Extreme eigenvalues of a Hessian, and the loss along lines with its convexity."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import isotonic_regression
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

from keras_spectral_tl import plotting
from keras_spectral_tl._checks import check_finite, require
from keras_spectral_tl._results import Result

Array = NDArray[np.float64]

# Up to this many columns, the full matrix costs less than a Lanczos iteration.
_DENSE = 32


@dataclass(frozen=True)
class HessianEnds(Result):
    """Extreme eigenvalues of a Hessian.

    Attributes:
        largest: (count,) the largest eigenvalues in decreasing order.
        vectors: (parameters, count) their eigenvectors, of norm 1.
        smallest: The smallest (most negative) eigenvalue.
    """

    largest: Array
    vectors: Array
    smallest: float

    @property
    def negative_share(self) -> float:
        """``max(-smallest, 0) / max |eigenvalue|``: 0 if locally convex, at most 1.

        0 for a Hessian of zeros.
        """
        scale = max(abs(float(self.largest[0])), abs(self.smallest))
        return max(-self.smallest, 0.0) / scale if scale > 0 else 0.0


def hessian_ends(
    product: Callable[[Array], Array],
    scales: Array,
    count: int,
    tolerance: float,
    seed: int,
) -> HessianEnds:
    """Compute the extreme eigenvalues of ``D H D`` from `product`, v -> H v.

    D is the diagonal matrix of `scales`.
    """
    number = len(scales)

    def scaled(vector: Array) -> Array:
        # Normalize, as the loss may exceed the range of single precision.
        flat = np.ravel(vector) * scales
        length = float(np.linalg.norm(flat)) or 1.0
        return np.asarray(product(flat / length) * length * scales)

    start = np.random.default_rng(seed).standard_normal(number)
    if number <= max(_DENSE, 2 * count):
        columns = np.stack([scaled(row) for row in np.eye(number)])
        values, vectors = np.linalg.eigh((columns + columns.T) / 2)
        smallest = float(values[0])
        values, vectors = values[::-1][:count], vectors[:, ::-1][:, :count]
    elif not np.any(scaled(start)):
        values, vectors, smallest = np.zeros(count), np.eye(number)[:, :count], 0.0
    else:
        values, vectors = _largest(scaled, count, start, tolerance)
        top = max(float(values[0]), 0.0)
        # The largest eigenvalue of top - H is top - smallest. If top <= 0, use -H.
        turned, _ = _largest(
            lambda v: top * np.ravel(v) - scaled(v), 1, start, tolerance
        )
        smallest = top - float(turned[0])
    values, vectors = map(np.ascontiguousarray, (values, vectors))
    return HessianEnds(values, vectors, smallest)


def _largest(
    products: Callable[[Array], Array], count: int, start: Array, tolerance: float
) -> tuple[Array, Array]:
    """Return the largest eigenvalues in decreasing order, and their eigenvectors."""
    number = len(start)
    operator = LinearOperator((number, number), matvec=products, dtype=np.float64)
    try:
        values, vectors = eigsh(
            operator, k=count, which="LA", v0=start, tol=tolerance, maxiter=50 * count
        )
    except ArpackNoConvergence as error:
        raise RuntimeError(
            f"The Lanczos iteration found {len(error.eigenvalues)} of {count} "
            f"eigenvalues of {number} x {number}. Ask for fewer, or pass a larger "
            f"tolerance than {tolerance}."
        ) from error
    order = np.argsort(-values)
    return values[order], vectors[:, order]


@dataclass(frozen=True)
class LayerLandscape(Result):
    """The loss L around a model as one layer changes by ``step * direction``.

    Every filter of a direction has the norm of the filter it changes, so that a step of
    1 changes each filter by its own norm, in every layer.

    Attributes:
        num_parameters: Weights of the layer.
        loss: L at the model itself.
        steps: (steps,) along the lines.
        lines: Direction ("gradient", "random 1", ...) to the losses (steps,).
        curvature: Extreme eigenvalues of the Hessian in units of the filters.
    """

    num_parameters: int
    loss: float
    steps: Array
    lines: dict[str, Array]
    curvature: HessianEnds

    @property
    def convexity(self) -> float:
        """Mean of `line_convexity` over the lines: 1 if all are convex."""
        values = [line_convexity(self.steps, line) for line in self.lines.values()]
        return float(np.mean(values))

    def summary(self) -> dict[str, float]:
        """Return the numbers that summarize the layer."""
        return {
            "convexity": self.convexity,
            "largest_eigenvalue": float(self.curvature.largest[0]),
            "smallest_eigenvalue": self.curvature.smallest,
            "loss": self.loss,
        }

    def to_dict(self) -> dict[str, Any]:
        return {
            "num_parameters": self.num_parameters,
            "loss": self.loss,
            "steps": self.steps.tolist(),
            "lines": {name: line.tolist() for name, line in self.lines.items()},
            "eigenvalues": self.curvature.largest.tolist(),
            "smallest_eigenvalue": self.curvature.smallest,
            "negative_share": self.curvature.negative_share,
            "convexity": self.convexity,
        }

    def to_frame(self) -> Any:
        """Return a pandas DataFrame with a column for each line, indexed by step."""
        pandas = require("pandas", "Data frames", "pandas")
        return pandas.DataFrame(self.lines, pandas.Index(self.steps, name="step"))

    def plot(self, ax: Any = None) -> Any:
        """Draw the lines and return the axes."""
        (axes,) = plotting.plot_loss_lines(self.steps, {"": self.lines}, ax=ax)
        return axes


def line_convexity(steps: ArrayLike, losses: ArrayLike) -> float:
    """Return the convexity of a sampled function of one variable, from 0 to 1.

    ``1 - max(L - hull) / (max L - min L)``, where ``hull`` is the lower convex hull of
    the samples. It is 1 for a convex (or constant) function, and decreases with the
    height of a barrier above the chord below it, relative to the range of the losses.
    It does not depend on the units of either axis, so layers can be compared.
    """
    x, y = np.asarray(steps, float), np.asarray(losses, float)
    if x.ndim != 1 or x.shape != y.shape or len(x) < 3 or not np.all(np.diff(x) > 0):
        raise ValueError(
            "A line needs steps that rise and a loss at each, at least three. Received "
            f"shapes {x.shape} and {y.shape}."
        )
    check_finite("steps", x)
    check_finite("losses", y, " Take shorter steps.")
    relief = float(np.ptp(y))
    widths, rises = np.diff(x), np.diff(y)
    # The slopes of the hull are the best increasing fit to those of the samples.
    slopes = isotonic_regression(rises / widths, weights=widths).x
    # Ignore round-off.
    barrier = min(float(np.max(np.cumsum(rises - slopes * widths))), relief)
    return 1.0 - barrier / relief if barrier > 1e-12 * relief else 1.0
