"""Mixed models: a weighted sum of closures."""

from __future__ import annotations

from dataclasses import dataclass

from turbulence_data._checks import is_finite_number
from turbulence_data.solver._equation import Closure, evaluate
from turbulence_data.solver._grid import Field


@dataclass(frozen=True, init=False)
class SumOfClosures:
    """`Pi = sum_i weight_i Pi_i`, for example a gradient model with an eddy viscosity.

    Args:
        *closures: closures, at least one.
        weights: one number each; ones by default.

    Raises:
        ValueError: without closures, or for weights that do not fit.

    Example:
        >>> import numpy as np
        >>> drag = lambda vorticity, streamfunction: -vorticity
        >>> mixed = SumOfClosures(drag, drag, weights=(0.25, 0.5))
        >>> mixed(np.ones((4, 4)), np.ones((4, 4)))[0, 0]
        np.float64(-0.75)
    """

    closures: tuple[Closure, ...]
    weights: tuple[float, ...]

    accepts_batches = True

    def __init__(
        self, *closures: Closure, weights: tuple[float, ...] | None = None
    ) -> None:
        given = (1.0,) * len(closures) if weights is None else tuple(weights)
        if not closures or len(given) != len(closures):
            raise ValueError(
                "a sum needs closures and one weight each; received "
                f"{len(closures)} closures and weights={weights!r}."
            )
        if not all(is_finite_number(weight) for weight in given):
            raise ValueError(f"weights must be finite numbers; received {weights!r}.")
        object.__setattr__(self, "closures", closures)
        object.__setattr__(self, "weights", given)

    def __call__(self, vorticity: Field, streamfunction: Field) -> Field:
        """Returns the sum, shape `(..., nx, ny)`."""
        total = 0.0 * vorticity
        for weight, closure in zip(self.weights, self.closures, strict=True):
            total = total + weight * evaluate(closure, vorticity, streamfunction)
        return total
