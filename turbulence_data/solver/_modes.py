"""Resolved wavenumbers of a simulation, and the grid on which it forms products."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from turbulence_data.config import TwoLayerConfig, inversion
from turbulence_data.solver._grid import (
    Field,
    FieldHat,
    Grid,
    inverse_or_zero,
    mode_numbers,
    padded_points,
    resize,
    to_physical,
    to_spectral,
)

_REAL_DTYPES = (np.dtype(np.float64), np.dtype(np.float32))


@dataclass(frozen=True)
class Modes:
    """The wavenumbers `|kx| <= Kx, |ky| <= Ky` of a grid, kept free of aliasing.

    Products are formed on the `quadrature` grid, which has more than `3 K` points, so
    that no product of resolved modes is aliased to a resolved mode. Coefficients are
    stored as the first `Ky + 1` columns of the quadrature grid's spectrum: shape
    `(nx, Ky + 1)`, with zeros in the rows beyond Kx.

    Wavenumbers and derived tables are float64 for any `dtype`: cast a finished table
    once, not the wavenumbers it is made from.

    Attributes:
        grid: the grid of the physical fields.
        quadrature: the grid of the products.
        cutoff: `(Kx, Ky)` as mode numbers.
        dtype: dtype of fields, float64 or float32; coefficients are complex.

    Example:
        >>> modes = truncated_modes(Grid((8, 8)), "float32")
        >>> modes.from_physical(np.zeros((8, 8))).dtype
        dtype('complex64')
    """

    grid: Grid
    quadrature: Grid
    cutoff: tuple[int, int]
    dtype: np.dtype[Any] = _REAL_DTYPES[0]

    def __post_init__(self) -> None:
        object.__setattr__(self, "dtype", as_real_dtype(self.dtype))

    @property
    def complex_dtype(self) -> np.dtype[Any]:
        """Dtype of coefficients: complex128, or complex64 if fields are float32."""
        return np.result_type(self.dtype, np.complex64)

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of a coefficient array."""
        return self.quadrature.num_points[0], self.cutoff[1] + 1

    @property
    def products_are_exact(self) -> bool:
        """True where products of two resolved modes are free of aliasing."""
        points, cutoff = self.quadrature.num_points, self.cutoff
        return all(n > 3 * k for n, k in zip(points, cutoff, strict=True))

    @cached_property
    def kx(self) -> NDArray[np.float64]:
        """Wavenumbers along axis 0, shape `(nx, 1)`."""
        return self.quadrature.kx

    @cached_property
    def ky(self) -> NDArray[np.float64]:
        """Wavenumbers along axis 1, shape `(1, Ky + 1)`."""
        return self.quadrature.ky[:, : self.shape[1]]

    @cached_property
    def k_squared(self) -> NDArray[np.float64]:
        """`kx^2 + ky^2`, of `shape`."""
        return self.kx**2 + self.ky**2

    @cached_property
    def mask(self) -> NDArray[np.bool_]:
        """True on resolved modes other than the mean, of `shape`."""
        number = np.abs(mode_numbers(self.shape[0]))[:, None]
        return np.asarray((number <= self.cutoff[0]) & (self.k_squared > 0.0))

    @cached_property
    def inverse_k_squared(self) -> NDArray[np.float64]:
        """`1 / k^2` on resolved modes, 0 elsewhere."""
        return inverse_or_zero(np.where(self.mask, self.k_squared, 0.0))

    @cached_property
    def hermitian_weights(self) -> NDArray[np.float64]:
        """Multiplicity of a stored mode in the full spectrum, shape `(1, Ky + 1)`."""
        return self.quadrature.hermitian_weights[:, : self.shape[1]]

    @cached_property
    def largest_wavenumbers(self) -> tuple[float, float]:
        """The largest resolved `|kx|` and `|ky|`."""
        return float(self.kx[self.cutoff[0], 0]), float(self.ky[0, -1])

    def from_physical(self, field: Field) -> FieldHat:
        """Return the resolved coefficients of fields; their mean is dropped."""
        full = resize(
            to_spectral(np.asarray(field, self.dtype)),
            self.grid.num_points,
            self.quadrature.num_points,
        )
        return np.ascontiguousarray(full[..., : self.shape[1]] * self.mask)

    def to_physical(self, field_hat: FieldHat) -> Field:
        """Return the fields on `grid`, shape `(..., nx, ny)`."""
        points = self.grid.num_points
        hat = resize(field_hat, self.quadrature.num_points, points)
        return to_physical(hat.astype(self.complex_dtype, copy=False), points)

    def energy(self, vorticity_hat: FieldHat) -> float:
        """Kinetic energy per unit area, `sum_k |vorticity_hat|^2 / (2 k^2)`."""
        density = np.abs(vorticity_hat) ** 2 * self.inverse_k_squared
        return 0.5 * float(np.sum(self.hermitian_weights * density))


def truncated_modes(grid: Grid, dtype: DTypeLike = np.float64) -> Modes:
    """Keep the lower two thirds of the grid's wavenumbers; products use the grid."""
    nx, ny = grid.num_points
    return Modes(grid, grid, ((nx - 1) // 3, (ny - 1) // 3), as_real_dtype(dtype))


def padded_modes(grid: Grid, dtype: DTypeLike = np.float64) -> Modes:
    """Keep every wavenumber below Nyquist; products use a grid padded by 3/2."""
    quadrature = Grid(padded_points(grid.num_points), grid.lengths)
    return replace(aliased_modes(grid, dtype), quadrature=quadrature)


def aliased_modes(grid: Grid, dtype: DTypeLike = np.float64) -> Modes:
    """Keep every wavenumber below Nyquist; products use the grid itself, with aliasing.

    These are the modes of pyqg, the only ones here whose products are not exact.
    """
    nx, ny = grid.num_points
    return Modes(grid, grid, ((nx - 1) // 2, (ny - 1) // 2), as_real_dtype(dtype))


def layers_hat(
    potential_vorticity: Field, flow: TwoLayerConfig
) -> tuple[Modes, FieldHat, FieldHat]:
    """Return modes, and coefficients of potential vorticity and streamfunction.

    The modes are all below Nyquist of the flow's grid, with the products of the flow.
    """
    modes_of = aliased_modes if flow.aliased_products else padded_modes
    modes = modes_of(Grid(flow.shape, flow.lengths))
    q_hat = modes.from_physical(potential_vorticity)
    matrix = inversion(flow, modes.k_squared, modes.inverse_k_squared)
    psi_hat = np.einsum("ijkl,jkl->ikl", matrix, q_hat)
    return modes, q_hat, np.asarray(psi_hat)


def transport_hat(
    psi_hat: FieldHat,
    scalar_hat: FieldHat,
    modes: Modes,
    mean_velocities: tuple[float, float] = (0.0, 0.0),
) -> FieldHat:
    """Return `div((u_i + U_i) s_i)` of two layers on the modes, using only NumPy."""
    points = modes.quadrature.num_points

    def on_points(field_hat: FieldHat) -> Field:
        return to_physical(resize(field_hat, points, points), points)

    scalar = on_points(scalar_hat)
    u = on_points(1j * modes.ky * psi_hat) + np.reshape(mean_velocities, (2, 1, 1))
    v = on_points(-1j * modes.kx * psi_hat)
    flux_x, flux_y = (
        to_spectral(velocity * scalar)[..., : modes.shape[1]] for velocity in (u, v)
    )
    divergence: FieldHat = 1j * (modes.kx * flux_x + modes.ky * flux_y)
    return divergence * modes.mask


def as_real_dtype(dtype: DTypeLike) -> np.dtype[Any]:
    """Return float64 or float32 as a dtype."""
    # np.dtype(None) is float64, which is never intended.
    with suppress(TypeError):
        if dtype is not None and np.dtype(dtype) in _REAL_DTYPES:
            return np.dtype(dtype)
    raise ValueError(
        f"dtype must be float64 or float32; received {dtype!r}. Coefficients take the "
        "complex dtype of the same precision by themselves."
    )
