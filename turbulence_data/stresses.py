"""Subgrid stresses: what a closure may predict instead of their curl or divergence."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from turbulence_data._checks import TWO_PI, as_pair
from turbulence_data.filtering import (
    Filter,
    check_coarser,
    filter_response,
    gaussian_filter,
)
from turbulence_data.solver._fields import (
    check_vorticity,
    padded_points,
    streamfunction_hat,
    velocity_hat,
)
from turbulence_data.solver._grid import (
    Field,
    FieldHat,
    Grid,
    resize,
    to_physical,
    to_spectral,
)


@dataclass(frozen=True)
class SubgridStresses:
    """Filtered velocity and the subgrid stresses on the LES grid, float64.

    Attributes:
        velocity: filtered `(u, v)`, shape `(nx, ny, 2)`.
        tau: subgrid stress `(tau_xx, tau_xy, tau_yy)`, shape `(nx, ny, 3)`.
        sigma: subgrid flux of vorticity `(sigma_x, sigma_y)`, shape `(nx, ny, 2)`.
    """

    velocity: Field
    tau: Field
    sigma: Field


def subgrid_stresses(
    vorticity: ArrayLike,
    num_points: int | tuple[int, int],
    filter: Filter = gaussian_filter,
    filter_width: float | None = None,
    lengths: tuple[float, float] = (TWO_PI, TWO_PI),
) -> SubgridStresses:
    """Filters a DNS field and computes the exact stresses of its LES.

        tau_ij  = filter(u_i u_j)   - filter(u_i) filter(u_j)
        sigma_i = filter(u_i omega) - filter(u_i) filter(omega)

    Every product is free of aliasing (3/2 padding) and restricted to the modes of the
    LES grid, as in `filtering.filtered_dns`, so that both hold to round-off:

        sgs_forcing = -div(sigma) = -curl(div(tau)),   curl(a) = d_x a_y - d_y a_x

    Args:
        vorticity: DNS vorticity, shape `(nx, ny)`, axis 0 is x.
        num_points: LES points, one number or a pair, fewer than the DNS has.
        filter: `(grid, width) -> transfer function`.
        filter_width: width of the filter; two LES cells by default.
        lengths: domain size.

    Raises:
        ValueError: for an unusable field, an LES grid that is not coarser, a width that
            is not positive or above the length of the domain.

    Example:
        >>> x = np.arange(32) * 2 * np.pi / 32
        >>> shear = np.cos(3 * x)[:, None] * np.ones((1, 32))  # v(x): no flux along x
        >>> stresses = subgrid_stresses(shear, 16)
        >>> stresses.tau.shape, bool(np.abs(stresses.sigma[..., 0]).max() < 1e-14)
        ((16, 16, 3), True)
    """
    fine = Grid(as_pair(np.shape(vorticity)), lengths)
    coarse = Grid(as_pair(num_points), lengths)
    check_coarser(fine, coarse)
    if filter_width is None:
        filter_width = 2.0 * max(coarse.spacing)
    transfer = filter_response(filter, fine, filter_width)

    def filtered(field_hat: FieldHat) -> FieldHat:
        return resize(transfer * field_hat, fine.num_points, coarse.num_points)

    vorticity_hat = to_spectral(check_vorticity(vorticity, fine))
    resolved_hat = filtered(vorticity_hat)
    stresses_hat = filtered(_products_hat(vorticity_hat, fine)) - _products_hat(
        resolved_hat, coarse
    )
    velocities_hat = np.stack(
        velocity_hat(streamfunction_hat(resolved_hat, coarse), coarse)
    )
    stresses = _channels_last(stresses_hat, coarse)
    return SubgridStresses(
        velocity=_channels_last(velocities_hat, coarse),
        tau=stresses[..., :3],
        sigma=stresses[..., 3:],
    )


def _products_hat(vorticity_hat: FieldHat, grid: Grid) -> FieldHat:
    """Coefficients of `u u, u v, v v, u omega, v omega` on the modes of the grid."""
    points = padded_points(grid.num_points)
    u, v, omega = (
        to_physical(resize(factor, grid.num_points, points), points)
        for factor in (
            *velocity_hat(streamfunction_hat(vorticity_hat, grid), grid),
            vorticity_hat,
        )
    )
    products = np.stack([u * u, u * v, v * v, u * omega, v * omega])
    return resize(to_spectral(products), points, grid.num_points)


def _channels_last(fields_hat: FieldHat, grid: Grid) -> Field:
    fields: NDArray[np.float64] = to_physical(fields_hat, grid.num_points)
    return np.ascontiguousarray(np.moveaxis(fields, 0, -1))
