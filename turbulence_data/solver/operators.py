"""Differential operators on spectral coefficients, exact up to round-off."""

from __future__ import annotations

import scipy

from turbulence_data.solver.grid import Grid
from turbulence_data.solver.transforms import (
    Field,
    FieldHat,
    resize,
    to_physical,
    to_spectral,
)


def streamfunction_hat(vorticity_hat: FieldHat, grid: Grid) -> FieldHat:
    """Solves `lap(streamfunction) = -vorticity`; the mean of both is zero."""
    result: FieldHat = vorticity_hat * grid.inverse_k_squared
    return result


def velocity_hat(streamfunction: FieldHat, grid: Grid) -> tuple[FieldHat, FieldHat]:
    """Returns `u = d psi / dy` and `v = -d psi / dx`."""
    return 1j * grid.ky * streamfunction, -1j * grid.kx * streamfunction


def padded_points(num_points: tuple[int, int]) -> tuple[int, int]:
    """Returns a grid on which products of two fields are free of aliasing.

    A product of modes up to K reaches 2 K; on n points it is folded to n - 2 K, which
    must stay beyond K: `n > 3 K`, the 3/2 rule of Orszag (1971),
    doi:10.1175/1520-0469(1971)028<1074:OTEOAI>2.0.CO;2.
    """
    nx, ny = (
        int(scipy.fft.next_fast_len(3 * ((n - 1) // 2) + 1, real=True))
        for n in num_points
    )
    return nx, ny


def jacobian_hat(vorticity_hat: FieldHat, grid: Grid) -> FieldHat:
    """Returns the advection `J = u . grad(vorticity)`, free of aliasing.

    With an incompressible velocity `J = (d_xx - d_yy)(u v) + d_xy(v^2 - u^2)`. The
    products are formed on a grid padded by 3/2 and truncated to `grid`, so J is the
    exact advection of the given modes, restricted to the modes of the grid. Nyquist
    wavenumbers are ignored and come out as zero.

    Args:
        vorticity_hat: coefficients of shape `(..., nx, ny // 2 + 1)`.
        grid: the grid they belong to.
    """
    points = padded_points(grid.num_points)
    u, v = (
        to_physical(resize(component, grid.num_points, points), points)
        for component in velocity_hat(streamfunction_hat(vorticity_hat, grid), grid)
    )
    product_hat = resize(to_spectral(u * v), points, grid.num_points)
    difference_hat = resize(to_spectral(v**2 - u**2), points, grid.num_points)
    result: FieldHat = (
        grid.ky**2 - grid.kx**2
    ) * product_hat - grid.kx * grid.ky * difference_hat
    return result


def streamfunction_of(vorticity: Field, grid: Grid) -> Field:
    """Returns the streamfunction of a physical vorticity field."""
    return to_physical(
        streamfunction_hat(to_spectral(vorticity), grid), grid.num_points
    )
