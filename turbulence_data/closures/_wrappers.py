"""Wrappers of any closure: clipping, filtering, weighted sums, layer by layer."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from turbulence_data._checks import (
    TWO_PI,
    as_lengths,
    as_pair,
    check_callable,
    check_finite,
    check_object,
    check_positive,
)
from turbulence_data.closures._models import (
    ClassicClosure,
    GradientModel2,
    GradientModel4,
)
from turbulence_data.solver._equation import (
    CLOSURE_FORM,
    Closure,
    check_domain,
    evaluate,
    parts_of,
)
from turbulence_data.solver._grid import Field, Grid, to_physical, to_spectral

Criterion = Callable[[Field, Field, Field, Grid], Any]
"""`(vorticity, streamfunction, sgs_forcing, grid) -> field`, > 0 for backscatter."""


# Models of the flux of a transported quantity, not of a force.
_FLUXES = (GradientModel2, GradientModel4)


def _against_viscosity(
    vorticity: Field, streamfunction: Field, sgs_forcing: Field, grid: Grid
) -> Field:
    laplacian_hat = -grid.k_squared * to_spectral(vorticity)
    return -sgs_forcing * to_physical(laplacian_hat, grid.num_points)


CRITERIA: dict[str, Criterion] = {
    "viscosity": _against_viscosity,
    "energy": lambda vorticity, streamfunction, forcing, grid: streamfunction * forcing,
    "enstrophy": lambda vorticity, streamfunction, forcing, grid: vorticity * forcing,
}


@dataclass(frozen=True)
class ClippedBackscatter:
    """A closure whose sgs_forcing is set to zero wherever there is backscatter.

    It stabilizes at the cost of a wrong transfer. The mean of the result is not zero;
    the solver drops it.

    Attributes:
        closure: closure to clip.
        criterion: definition of backscatter: "viscosity" where `Pi / lap(vorticity) <
            0` (Maulik et al. 2019, doi:10.1017/jfm.2018.770), "energy" where
            `psi Pi > 0`, "enstrophy" where `vorticity Pi > 0`; or a function that is
            positive there, `(vorticity, streamfunction, sgs_forcing, grid) -> field`.
        lengths: domain size.

    Raises:
        ValueError: for an unknown criterion.

    Example:
        >>> x = np.arange(8) * 2 * np.pi / 8
        >>> vorticity = np.cos(x)[:, None] * np.ones((1, 8))
        >>> anti_drag = ClippedBackscatter(lambda vorticity, psi: 0.1 * vorticity)
        >>> bool(np.abs(anti_drag(vorticity, vorticity)).max() < 1e-15)
        True
    """

    closure: Closure
    criterion: str | Criterion = "viscosity"
    lengths: tuple[float, float] = (TWO_PI, TWO_PI)

    accepts_batches = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "lengths", as_lengths(self.lengths))
        known = isinstance(self.criterion, str) and self.criterion in CRITERIA
        if not (callable(self.criterion) or known):
            raise ValueError(
                f"criterion must be one of {sorted(CRITERIA)} or a callable "
                "(vorticity, streamfunction, sgs_forcing, grid) -> field; received "
                f"{self.criterion!r}."
            )

    def __call__(self, vorticity: Field, streamfunction: Field) -> Field:
        """Return the clipped forcing, shape `(..., nx, ny)`."""
        sgs_forcing = evaluate(self.closure, vorticity, streamfunction)
        grid = Grid(as_pair(vorticity.shape[-2:]), self.lengths)
        given = self.criterion
        criterion = given if callable(given) else CRITERIA[given]
        back = criterion(vorticity, streamfunction, sgs_forcing, grid) > 0.0
        return np.where(back, 0.0, sgs_forcing)


@dataclass(frozen=True)
class SpectralFilter:
    """Multiplies sgs_forcing by `exp(-log(2) (|k| / k_c)^order)`, k_c = cutoff k_max.

    Networks are least reliable near the Nyquist wavenumber k_max, where a small error
    grows fastest.

    Attributes:
        closure: closure to filter.
        cutoff: wavenumber at which the response is 1/2, relative to Nyquist.
        order: steepness.
        lengths: domain size.

    Raises:
        ValueError: for a cutoff or order that is not positive.

    Example:
        >>> x = np.arange(16) * 2 * np.pi / 16
        >>> wave = np.cos(4 * x)[:, None] * np.ones((1, 16))  # 4 is half of k_max
        >>> filtered = SpectralFilter(lambda vorticity, psi: vorticity, cutoff=0.5)
        >>> bool(np.allclose(filtered(wave, wave), 0.5 * wave))
        True
    """

    closure: Closure
    cutoff: float = 2.0 / 3.0
    order: float = 8.0
    lengths: tuple[float, float] = (TWO_PI, TWO_PI)

    accepts_batches = True

    def __post_init__(self) -> None:
        check_positive("cutoff", self.cutoff)
        check_positive("order", self.order)
        object.__setattr__(self, "lengths", as_lengths(self.lengths))

    def __call__(self, vorticity: Field, streamfunction: Field) -> Field:
        """Return the filtered forcing, shape `(..., nx, ny)`."""
        hat = to_spectral(evaluate(self.closure, vorticity, streamfunction))
        points = as_pair(vorticity.shape[-2:])
        return to_physical(
            hat * _response(points, self.lengths, self.cutoff, self.order), points
        )


@dataclass(frozen=True, init=False)
class SumOfClosures:
    """`Pi = sum_i weight_i Pi_i`, for example a gradient model with an eddy viscosity.

    Args:
        *closures: closures, at least one.
        weights: one number for each; by default 1.

    Raises:
        ValueError: without closures, or for another number of weights.

    Example:
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
        for weight in given:
            check_finite("weights (each)", weight)
        object.__setattr__(self, "closures", closures)
        object.__setattr__(self, "weights", given)

    def __call__(self, vorticity: Field, streamfunction: Field) -> Field:
        """Return the sum, shape `(..., nx, ny)`."""
        total = 0.0 * vorticity
        for weight, closure in zip(self.weights, self.closures, strict=True):
            total = total + weight * evaluate(closure, vorticity, streamfunction)
        return total


@dataclass(frozen=True)
class ByLayer:
    """A closure for one plane, applied to each layer of a flow.

        Pi_i = closure(-lap(psi_i), psi_i)

    For closures that act on momentum, such as an eddy viscosity or a backscatter: the
    curl of a force is the same source of relative and of potential vorticity. A
    gradient model, which is a flux of the transported quantity, is applied to potential
    vorticity instead:

        Pi_i = -sum_n J(c_n psi_i, c_n q_i)

    Attributes:
        closure: closure for one plane.
        lengths: domain size, the same as of the closure.

    Raises:
        TypeError: for a closure that is not callable, and for a gradient model within
            another closure: put `ByLayer` around each part of a sum.
        ValueError: for a closure of another domain.

    Example:
        >>> x = np.arange(16) * 2 * np.pi / 16
        >>> psi = np.cos(4 * x)[:, None] * np.ones((2, 1, 16))
        >>> drag = ByLayer(lambda vorticity, psi: -vorticity)
        >>> bool(np.allclose(drag(psi, psi), -16.0 * psi))
        True
    """

    closure: Closure
    lengths: tuple[float, float] = (TWO_PI, TWO_PI)

    accepts_batches = True
    any_layers = True  # unlike the wrapped closure

    def __post_init__(self) -> None:
        check_object("a closure", self.closure)
        check_callable("closure", self.closure, CLOSURE_FORM)
        object.__setattr__(self, "lengths", as_lengths(self.lengths))
        for part in parts_of(self.closure):
            if part is not self.closure and isinstance(part, _FLUXES):
                raise TypeError(
                    f"{part!r} acts on potential vorticity, other closures on relative "
                    f"vorticity, so ByLayer cannot go around {self.closure!r}. Put it "
                    "around each: SumOfClosures(ByLayer(gradient_model), "
                    "ByLayer(other))."
                )
            if not getattr(part, "any_layers", False):
                check_domain(part, self.lengths)

    def __call__(self, potential_vorticity: Field, streamfunction: Field) -> Field:
        """Return the forcing of potential vorticity, shape `(..., 2, nx, ny)`."""
        if isinstance(self.closure, _FLUXES):
            return self.closure.of_tracer(potential_vorticity, streamfunction)
        points = as_pair(streamfunction.shape[-2:])
        k_squared = Grid(points, self.lengths).k_squared
        vorticity = to_physical(k_squared * to_spectral(streamfunction), points)
        return evaluate(self.closure, vorticity, streamfunction)


def with_filter_width(closure: Closure, filter_width: float | None) -> Closure:
    """Return a closure whose classic parts without a filter width have this one.

    A width of None leaves all as they are.
    """
    if filter_width is None:
        return closure
    if isinstance(closure, ClassicClosure):
        if closure.filter_width is not None:
            return closure
        filled = copy.copy(closure)  # whatever the signature of a subclass is
        object.__setattr__(filled, "filter_width", filter_width)
        return filled
    if isinstance(closure, SumOfClosures):
        parts = (with_filter_width(part, filter_width) for part in closure.closures)
        return SumOfClosures(*parts, weights=closure.weights)
    if isinstance(closure, ClippedBackscatter | SpectralFilter | ByLayer):
        inner = with_filter_width(closure.closure, filter_width)
        return replace(closure, closure=inner)
    return closure


@lru_cache(maxsize=16)
def _response(
    points: tuple[int, int], lengths: tuple[float, float], cutoff: float, order: float
) -> NDArray[np.float64]:
    grid = Grid(points, lengths)
    scaled = np.sqrt(grid.k_squared) * (max(grid.spacing) / (math.pi * cutoff))
    return np.asarray(np.exp(-math.log(2.0) * scaled**order))
