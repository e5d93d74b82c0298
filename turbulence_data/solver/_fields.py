"""Fields of a periodic domain: what they must be, their derivatives and advection.

Operators act on spectral coefficients and are exact up to round-off.
"""

from __future__ import annotations

import numpy as np
import scipy
from numpy.typing import ArrayLike

from turbulence_data._checks import as_pair
from turbulence_data.solver._grid import (
    Field,
    FieldHat,
    Grid,
    resize,
    to_physical,
    to_spectral,
)


def field_shape(field: ArrayLike, name: str = "vorticity") -> tuple[int, int]:
    """Return the shape of one plane field."""
    shape = np.shape(field)
    if len(shape) != 2:
        raise ValueError(
            f"{name} must be one plane field of shape (nx, ny); received the shape "
            f"{shape}. Pass one field at a time, without batch and channel axes."
        )
    return as_pair(shape, f"the shape of {name}")


def check_field(name: str, values: ArrayLike, shape: tuple[int, int]) -> Field:
    """Return a field that a periodic domain can hold as vorticity, as float64."""
    field = np.asarray(values)
    if field.shape != shape:
        raise ValueError(
            f"{name} must have the shape (nx, ny) = {shape} of the flow; "
            f"received {field.shape}. Change num_points or resample the field."
        )
    if not (np.issubdtype(field.dtype, np.floating) or field.dtype.kind in "iu"):
        raise ValueError(f"{name} must be real; received dtype {field.dtype}.")
    field = field.astype(np.float64)
    num_bad = int(np.count_nonzero(~np.isfinite(field)))
    if num_bad:
        raise ValueError(
            f"{name} must be finite; {num_bad} of {field.size} values are NaN or "
            "infinite."
        )
    mean, scale = float(field.mean()), float(np.abs(field).max())
    if abs(mean) > 1e-6 * scale:
        raise ValueError(
            f"the mean {name} of a periodic domain is zero; received a field with "
            f"mean {mean:.6g}. Subtract the mean."
        )
    return field


def check_layers(name: str, values: ArrayLike, shape: tuple[int, int]) -> Field:
    """Return fields of two layers as float64, shape `(2, nx, ny)`, checked."""
    if np.shape(values) != (2, *shape):
        raise ValueError(
            f"{name} must have the shape (2, nx, ny) = {(2, *shape)} of the flow, "
            f"upper layer first; received {np.shape(values)}."
        )
    layers = zip(("upper", "lower"), np.asarray(values), strict=True)
    return np.stack(
        [check_field(f"{name} of the {layer} layer", v, shape) for layer, v in layers]
    )


def streamfunction_hat(vorticity_hat: FieldHat, grid: Grid) -> FieldHat:
    """Solve `lap(streamfunction) = -vorticity`; the mean of both is zero."""
    result: FieldHat = vorticity_hat * grid.inverse_k_squared
    return result


def velocity_hat(streamfunction: FieldHat, grid: Grid) -> tuple[FieldHat, FieldHat]:
    """Return `u = d psi / dy` and `v = -d psi / dx`."""
    return 1j * grid.ky * streamfunction, -1j * grid.kx * streamfunction


def padded_points(num_points: tuple[int, int]) -> tuple[int, int]:
    """Return a grid on which products of two fields are free of aliasing.

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
    """Return the advection `J = u . grad(vorticity)`, free of aliasing.

    With an incompressible velocity `J = (d_xx - d_yy)(u v) + d_xy(v^2 - u^2)`. The
    products are formed on a grid padded by 3/2 and truncated to `grid`, so J is the
    exact advection of the given modes, restricted to the modes of the grid. Nyquist
    wavenumbers are ignored and come out as zero.
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
    """Return the streamfunction of a physical vorticity field."""
    return to_physical(
        streamfunction_hat(to_spectral(vorticity), grid), grid.num_points
    )
