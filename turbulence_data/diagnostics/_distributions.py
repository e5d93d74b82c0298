"""Distributions and moments of field values, and structure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from turbulence_data._checks import check_whole, real_array
from turbulence_data.diagnostics._spectra import SQUARE, Lengths, spectral
from turbulence_data.solver._grid import (
    Field,
    resize,
    streamfunction_hat,
    to_physical,
    velocity_hat,
)


@dataclass(frozen=True)
class Distribution:
    """A probability density, constant in each bin; `sum(density * widths) = 1`.

    Attributes:
        edges: edges of the bins, shape `(m + 1,)`.
        density: probability per unit of the values, shape `(m,)`.
        rule: how the bins were chosen.
        num_values: number of values in the bins.
        num_outside: number of values outside, only possible for given edges.
    """

    edges: NDArray[np.float64]
    density: NDArray[np.float64]
    rule: str
    num_values: int
    num_outside: int

    @property
    def widths(self) -> NDArray[np.float64]:
        """Widths of the bins, shape `(m,)`."""
        return np.diff(self.edges)

    @property
    def centres(self) -> NDArray[np.float64]:
        """Middles of the bins, shape `(m,)`."""
        return 0.5 * (self.edges[1:] + self.edges[:-1])


def probability_density(
    values: ArrayLike, bins: int | str | Sequence[float] | NDArray[np.float64]
) -> Distribution:
    """Return the probability density of all values of an array, as a histogram.

    Args:
        values: fields of any shape; several snapshots give one distribution.
        bins: a number of equal bins from the smallest to the largest value, the name of
            one of NumPy's rules ("fd", "scott", ...; see `numpy.histogram_bin_edges`),
            or edges. Use the same edges to compare two distributions.

    Raises:
        ValueError: for values that are not finite, fewer than two edges or ones that do
            not rise, or when no value lies in the bins.

    Example:
        >>> pdf = probability_density([0.0, 1.0, 2.0, 4.0], bins=2)
        >>> pdf.edges.tolist(), pdf.density.tolist(), pdf.rule
        ([0.0, 2.0, 4.0], [0.25, 0.25], '2 equal bins')
    """
    flat = _finite(values)
    if isinstance(bins, str):
        rule = f"numpy {bins!r}"
    elif isinstance(bins, int | np.integer):
        rule = f"{bins} equal bins"
    else:
        rule = "given edges"
        bins = real_array("bins, as edges,", bins, at_least=2)
        if bins.ndim != 1 or not np.all(np.diff(bins) > 0.0):
            raise ValueError(f"edges of bins must rise; received {bins.tolist()}.")
    counts, edges = np.histogram(flat, bins)
    inside = int(counts.sum())
    if inside == 0:
        raise ValueError(
            f"no value lies in the bins from {edges[0]} to {edges[-1]}; the values "
            f"reach from {flat.min()} to {flat.max()}. Give edges that cover them."
        )
    edges = edges.astype(np.float64)
    density = counts / (inside * np.diff(edges))
    return Distribution(edges, density, rule, inside, flat.size - inside)


def skewness(values: ArrayLike) -> float:
    """Return the skewness `<(a - <a>)^3> / <(a - <a>)^2>^(3/2)`, 0 if symmetric.

    Raises:
        ValueError: for values that are not finite, or all equal.
    """
    return _standardized_moment(values, 3)


def kurtosis(values: ArrayLike) -> float:
    """Return the kurtosis `<(a - <a>)^4> / <(a - <a>)^2>^2`, 3 for a Gaussian.

    Raises:
        ValueError: for values that are not finite, or all equal.

    Example:
        >>> kurtosis([-1.0, 1.0])
        1.0
    """
    return _standardized_moment(values, 4)


def _standardized_moment(values: ArrayLike, order: int) -> float:
    flat = _finite(values)
    if flat.min() == flat.max():
        raise ValueError(
            "values that are all equal have no standardized moments; expected some "
            f"spread, but all are {flat[0]}."
        )
    centred = flat - flat.mean()
    centred /= np.sqrt(np.mean(centred**2))
    return float(np.mean(centred**order))


def _finite(values: ArrayLike) -> NDArray[np.float64]:
    flat = real_array("values", values, at_least=0).ravel()
    wrong = int(np.count_nonzero(~np.isfinite(flat)))
    if wrong or not flat.size:
        raise ValueError(
            "expected at least one value and only finite ones; received "
            f"{flat.size} values, {wrong} of them not finite."
        )
    return flat


@dataclass(frozen=True)
class StructureFunctions:
    """Moments of velocity differences along one axis.

    Attributes:
        separations: r, shape `(m,)`, from 0 to half the domain.
        orders: powers, one for each row of the moments.
        longitudinal: moments of the velocity component along the separation, shape
            `(len(orders), m)`.
        transverse: moments of the component across it, same shape.
    """

    separations: NDArray[np.float64]
    orders: tuple[int, ...]
    longitudinal: NDArray[np.float64]
    transverse: NDArray[np.float64]


def velocity(vorticity: ArrayLike, lengths: Lengths = SQUARE) -> tuple[Field, Field]:
    """Return `u = d psi / dy` and `v = -d psi / dx` as physical fields.

    `1/2 <u^2 + v^2>` is the energy. Nyquist wavenumbers, whose derivative is undefined,
    are ignored.
    """
    hat, grid = spectral(vorticity, lengths)
    resolved = resize(hat, grid.num_points, grid.num_points)
    u_hat, v_hat = velocity_hat(streamfunction_hat(resolved, grid), grid)
    return to_physical(u_hat, grid.num_points), to_physical(v_hat, grid.num_points)


def structure_functions(
    vorticity: ArrayLike,
    axis: int,
    orders: Sequence[int] = (2, 3),
    lengths: Lengths = SQUARE,
) -> StructureFunctions:
    """Return longitudinal and transverse velocity structure functions along an axis.

        S_p(r) = <[w(x + r e) - w(x)]^p>,  signed, e along x (axis 0) or y (axis 1)

    with w the component along e (longitudinal) or across it (transverse). The second
    order follows from the spectrum: `S_2(r) = 2 sum_k |w_hat|^2 (1 - cos(k.e r))`.

    Args:
        vorticity: physical field, shape `(nx, ny)`.
        axis: 0 for separations along x, 1 along y.
        orders: whole powers, at least 1.
        lengths: domain size.

    Raises:
        ValueError: for an unknown axis or an order that is not a whole number.

    Example:
        >>> x = np.arange(16) * 2 * np.pi / 16
        >>> field = np.sin(x)[:, None] * np.ones(16)  # v = -cos(x), u = 0
        >>> result = structure_functions(field, axis=0, orders=[2])
        >>> result.transverse[0, [0, 8]].round(12).tolist()  # 1 - cos(r)
        [0.0, 2.0]
    """
    u, v = velocity(vorticity, lengths)
    along, across = (u, v) if axis == 0 else (v, u)
    separations, longitudinal = scalar_structure_function(along, axis, orders, lengths)
    _, transverse = scalar_structure_function(across, axis, orders, lengths)
    return StructureFunctions(separations, tuple(orders), longitudinal, transverse)


def scalar_structure_function(
    field: ArrayLike, axis: int, orders: Sequence[int] = (2,), lengths: Lengths = SQUARE
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return separations and `<[field(x + r e) - field(x)]^p>`, one row per order."""
    if axis not in (0, 1):
        raise ValueError(f"axis must be 0 (x) or 1 (y); received {axis!r}.")
    for order in orders:
        check_whole("orders (each)", order, at_least=1)
    values = real_array("the field", field)
    spacing = spectral(values, lengths)[1].spacing[axis]
    shifts = np.arange(values.shape[axis] // 2 + 1)
    moments = np.empty((len(orders), shifts.size))
    for column, shift in enumerate(shifts):
        difference = np.roll(values, -shift, axis) - values
        moments[:, column] = [np.mean(difference**order) for order in orders]
    return shifts * spacing, moments
