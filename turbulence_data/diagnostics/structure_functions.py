"""Moments of differences between two points; periodic, so exact for a whole field."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from turbulence_data._checks import check_whole, real_array
from turbulence_data.diagnostics.spectra import SQUARE, Lengths, spectral
from turbulence_data.solver._fields import streamfunction_hat, velocity_hat
from turbulence_data.solver._grid import Field, resize, to_physical


@dataclass(frozen=True)
class StructureFunctions:
    """Moments of velocity differences along one axis.

    Attributes:
        separations: r, shape `(m,)`, from 0 to half the domain.
        orders: powers, one a row of the moments.
        longitudinal: of the velocity along the separation, shape `(len(orders), m)`.
        transverse: of the velocity across it, likewise.
    """

    separations: NDArray[np.float64]
    orders: tuple[int, ...]
    longitudinal: NDArray[np.float64]
    transverse: NDArray[np.float64]


def velocity(vorticity: ArrayLike, lengths: Lengths = SQUARE) -> tuple[Field, Field]:
    """Returns `u = d psi / dy` and `v = -d psi / dx` as physical fields.

    `1/2 <u^2 + v^2>` is the energy. Nyquist wavenumbers, which hold no derivative, are
    ignored.
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
    """Returns longitudinal and transverse velocity structure functions along an axis.

        S_p(r) = <[w(x + r e) - w(x)]^p>,  signed, e along x (axis 0) or y (axis 1)

    with w the component along e (longitudinal) or across it (transverse). The second
    order is the spectrum in other words: `S_2(r) = 2 sum_k |w_hat|^2 (1 - cos(k.e r))`.

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
    field: ArrayLike,
    axis: int,
    orders: Sequence[int] = (2,),
    lengths: Lengths = SQUARE,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns separations and `<[field(x + r e) - field(x)]^p>`, a row for each order.

    Args:
        field: physical field, shape `(nx, ny)`.
        axis: 0 for separations along x, 1 along y.
        orders: whole powers, at least 1.
        lengths: domain size.

    Raises:
        ValueError: for an unknown axis or an order that is not a whole number.
    """
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
