"""Coarsening operators of two-layer flow, and the subgrid forcing of each."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from turbulence_data._checks import as_pair, check_callable, check_kind, real_array
from turbulence_data.config import TwoLayerConfig
from turbulence_data.solver._grid import (
    Field,
    Grid,
    check_coarser,
    check_layers,
    check_response,
    resize,
    to_physical,
    to_spectral,
)
from turbulence_data.solver._modes import Modes, layers_hat, transport_hat

# The exponential filter of pyqg: its start as a fraction of the Nyquist wavenumber,
# and its strength.
_FILTER_START, _FILTER_STRENGTH = 0.65, 23.6


def small_scale_filter(
    on: Grid | Modes, spacing: tuple[float, float], strength: float
) -> NDArray[np.float64]:
    """Return the filter of pyqg: `exp(-strength (s - 0.65 pi)^4)` for s > 0.65 pi.

    s = sqrt((kx dx)^2 + (ky dy)^2), with the spacing (dx, dy) of a grid.
    """
    scaled = np.sqrt((on.kx * spacing[0]) ** 2 + (on.ky * spacing[1]) ** 2)
    beyond = np.maximum(scaled - _FILTER_START * math.pi, 0.0)
    return np.asarray(np.exp(-strength * beyond**4))


Transfer = Callable[[Grid, Grid], NDArray[np.float64]]
"""`(fine grid, coarse grid) -> transfer function` on the modes of the fine grid."""


def exponential_response(fine: Grid, coarse: Grid) -> NDArray[np.float64]:
    """Return the small-scale filter of pyqg on the coarse grid."""
    return small_scale_filter(fine, coarse.spacing, _FILTER_STRENGTH)


def gaussian_response(fine: Grid, coarse: Grid) -> NDArray[np.float64]:
    """Return `exp(-k^2 (2 dx)^2 / 24)`, with dx of the coarse grid."""
    width = 2.0 * max(coarse.spacing)
    return np.asarray(np.exp(-fine.k_squared * (width**2 / 24.0)))


def laplacian_response(fine: Grid, coarse: Grid) -> NDArray[np.float64]:
    """Return `exp(-s r^2 / 24)`, a Gaussian filter made of discrete Laplacians.

    s is `4 sin^2(kx dx / 2) + 4 sin^2(ky dy / 2)` on the fine grid, the symbol of minus
    the five-point Laplacian in grid units, and r the ratio of the resolutions: the
    target that GCM-Filters (doi:10.21105/joss.03947) approximates by a polynomial.
    """
    dx, dy = fine.spacing
    symbol = 4.0 * (np.sin(0.5 * fine.kx * dx) ** 2 + np.sin(0.5 * fine.ky * dy) ** 2)
    ratio = max(n / m for n, m in zip(fine.num_points, coarse.num_points, strict=True))
    return np.asarray(np.exp(-symbol * (ratio**2 / 24.0)))


@dataclass(frozen=True)
class CoarseningOperator:
    """A named filter with a way to coarsen the grid.

    The subgrid forcings of one snapshot under two operators differ much (correlations
    of 0.1 to 0.6, in part because means over blocks lie beside the points), so data and
    results must name their operator.

    Attributes:
        name: label of the data.
        transfer: transfer function of the filter.
        block_mean: if True, coarsen by means over blocks of r x r points that begin at
            the coarse points, as in the published data, so that their centres lie
            (r - 1) / 2 fine cells further along x and y: 3/8 of a coarse cell for
            r = 4. If False, by cutting off wavenumbers.
        aliased_products: form products on both grids without padding, as in the
            published data; must be the same as in the flow.

    Raises:
        ValueError: for an operator without a name; when called, for a transfer function
            that is not one of the modes of the fine grid.
        TypeError: for a transfer function that cannot be called.

    Example:
        >>> OPERATORS["operator_2"](np.zeros((2, 64, 64)), 16).shape
        (2, 16, 16)
    """

    name: str
    transfer: Transfer
    block_mean: bool = False
    aliased_products: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise ValueError(
                "an operator must have a name, which labels its data; received "
                f"{self.name!r}."
            )
        form = "(fine grid, coarse grid) -> transfer function on modes of the fine grid"
        check_callable("transfer", self.transfer, form)

    def __call__(
        self,
        fields: ArrayLike,
        num_points: int | tuple[int, int],
        lengths: tuple[float, float] = (1.0, 1.0),
    ) -> Field:
        """Return physical fields, shape `(..., nx, ny)`, filtered on the coarse grid.

        The Nyquist wavenumbers of the coarse grid are zero, as in `resize`.

        Raises:
            ValueError: for a grid that is not coarser, or not divisible into blocks.
        """
        values = real_array("fields", fields)
        fine = Grid(values.shape[-2:], lengths)
        coarse = Grid(as_pair(num_points), lengths)
        check_coarser(coarse, fine)
        self.check_points(fine.num_points, coarse.num_points)
        name = f"transfer of the operator {self.name!r}"
        response = check_response(name, self.transfer(fine, coarse), fine)
        hat, points = response * to_spectral(values), fine.num_points
        if self.block_mean:
            nx, ny = coarse.num_points
            blocks = to_physical(hat, points).reshape(
                *values.shape[:-2], nx, points[0] // nx, ny, points[1] // ny
            )
            hat, points = to_spectral(blocks.mean(axis=(-3, -1))), coarse.num_points
        return to_physical(resize(hat, points, coarse.num_points), coarse.num_points)

    def check_points(self, fine: tuple[int, int], coarse: tuple[int, int]) -> None:
        """Raise ValueError unless blocks of the points of one grid cover the other."""
        (fine_x, fine_y), (nx, ny) = fine, coarse
        if self.block_mean and (fine_x % nx or fine_y % ny):
            raise ValueError(
                f"{self.name} takes means over blocks: the points of the DNS must be a "
                f"multiple of those of the LES; received {fine} and {coarse}."
            )


_PLAIN = (
    CoarseningOperator("operator_1", exponential_response),
    CoarseningOperator("operator_2", gaussian_response),
    CoarseningOperator("operator_3", laplacian_response, block_mean=True),
)
OPERATORS: dict[str, CoarseningOperator] = {
    operator.name: operator
    for plain in _PLAIN
    for operator in (
        plain,
        replace(plain, name=f"{plain.name}_aliased", aliased_products=True),
    )
}
"""The operators of Ross et al. (2023, doi:10.1029/2022MS003258), by name.

    operator_1   cut-off, times the exponential filter of the coarse model
    operator_2   cut-off, times exp(-k^2 (2 dx)^2 / 24)
    operator_3   Gaussian of width dx, by discrete Laplacians; means over blocks, which
                 lie half a coarse cell less half a fine one further along x and y

Their products are free of aliasing; with the suffix `_aliased` they are formed on the
grids themselves, as in the published data.
"""


@dataclass(frozen=True)
class FilteredLayers:
    """Filtered fields of two layers on the LES grid, float64, upper layer first.

    Attributes:
        potential_vorticity: shape `(2, nx, ny)`.
        streamfunction: that of the filtered potential vorticity, same shape.
        velocity: `(u, v)` of this streamfunction, without the mean flow, shape
            `(2, 2, nx, ny)`: axis 0 is the layer, axis 1 the component.
        sgs_forcing: `div(u_bar q_bar) - bar(div(u q))`, to be ADDED to the right-hand
            side of the LES, shape `(2, nx, ny)`.
    """

    potential_vorticity: Field
    streamfunction: Field
    velocity: Field
    sgs_forcing: Field


def filtered_layers(
    potential_vorticity: ArrayLike,
    flow: TwoLayerConfig,
    num_points: int | tuple[int, int],
    operator: str | CoarseningOperator,
) -> FilteredLayers:
    """Return the filtered fields of a two-layer DNS and the forcing of its LES.

        S_i = div((u_i_bar + U_i) q_i_bar) - bar(div((u_i + U_i) q_i))

    The velocities of the LES are those of its own potential vorticity. Products are
    free of aliasing (3/2 padding) unless operator and flow say otherwise. For a filter
    that cuts off wavenumbers S is the only term missing in an LES on `replace(flow,
    num_points=...)`; means over blocks do not commute with derivatives, so that linear
    terms are missing too.

    Args:
        potential_vorticity: physical field of the DNS, shape `(2, nx, ny)`, upper layer
            first, axis 1 is x.
        flow: physics and grid of the DNS.
        num_points: LES points, one number or a pair, fewer than the DNS has.
        operator: a name in `OPERATORS`, or an operator; there is no default.

    Raises:
        TypeError: for a flow of another type.
        ValueError: for an invalid field, an LES grid that is not coarser, an unknown
            operator, or one that forms products differently than the flow.

    Example:
        >>> flow = TwoLayerConfig(32, 15e3, beta=1.5e-11, bottom_drag=5.787e-7)
        >>> x = np.arange(32) * 2 * np.pi / 32
        >>> wave = 1e-6 * np.cos(3 * x)[:, None] * np.ones((2, 1, 32))
        >>> forcing = filtered_layers(wave, flow, 16, "operator_2").sgs_forcing
        >>> bool(np.abs(forcing).max() < 1e-24)  # a plane wave does not advect itself
        True
    """
    check_kind("flow", flow, TwoLayerConfig)
    operator = operator_named(operator)
    check_products(flow, operator)
    fine = check_layers("potential_vorticity", potential_vorticity, flow.shape)
    coarse_flow = replace(flow, num_points=num_points)
    coarse = operator(fine, coarse_flow.shape, flow.lengths)
    psi, velocity, resolved = _advected(coarse, coarse_flow)
    forcing = resolved - operator(
        _advected(fine, flow)[2], coarse_flow.shape, flow.lengths
    )
    return FilteredLayers(coarse, psi, velocity, forcing)


def operator_named(operator: str | CoarseningOperator | None) -> CoarseningOperator:
    """Return an operator, given itself or its name.

    Raises:
        ValueError: for an unknown name, or a callable without one.
    """
    if isinstance(operator, CoarseningOperator):
        return operator
    if not isinstance(operator, str) or operator not in OPERATORS:
        raise ValueError(
            "operator must be the name of a coarsening operator, since forcings of "
            "different operators correlate little, and block means lie beside the "
            f"points of the others: one of {sorted(OPERATORS)}, or a "
            f"CoarseningOperator(name, ...); received {operator!r}."
        )
    return OPERATORS[operator]


def check_products(flow: TwoLayerConfig, operator: CoarseningOperator) -> None:
    """Raise ValueError unless flow and operator form products the same way."""
    if flow.aliased_products == operator.aliased_products:
        return
    ways = {True: "are aliased", False: "are free of aliasing"}
    raise ValueError(
        f"the products of the flow {ways[flow.aliased_products]}, those of "
        f"{operator.name} {ways[operator.aliased_products]}: the forcing would not be "
        "that of the flow. Choose an operator with '_aliased' behind its name for "
        "aliased_products=True, and one without for False."
    )


def _advected(
    potential_vorticity: Field, flow: TwoLayerConfig
) -> tuple[Field, Field, Field]:
    """Return streamfunction, velocities and flux divergence as physical fields."""
    modes, q_hat, psi_hat = layers_hat(potential_vorticity, flow)
    divergence_hat = transport_hat(psi_hat, q_hat, modes, flow.mean_velocities)
    velocity_hat = np.stack([1j * modes.ky * psi_hat, -1j * modes.kx * psi_hat], axis=1)
    psi, velocity, divergence = map(
        modes.to_physical, (psi_hat, velocity_hat, divergence_hat)
    )
    return psi, velocity, divergence
