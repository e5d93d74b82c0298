"""What the formula of a closure needs of an LES grid: transforms, products, filters."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from turbulence_data.solver._fields import jacobian_hat, padded_points, velocity_hat
from turbulence_data.solver._grid import (
    Field,
    FieldHat,
    Grid,
    resize,
    to_physical,
    to_spectral,
)


@dataclass(frozen=True)
class SpectralOperators:
    """Transforms and products of fields `(..., nx, ny)` on the grid of an LES.

    Formulas of closures are written in these and in plain arithmetic, so another array
    library only has to give its own version of this class. Coefficients have the layout
    `(..., nx, ny // 2 + 1)`; those of Nyquist wavenumbers are zero.

    Attributes:
        grid: of the LES.
        filter_width: D, of the filter that made the LES fields.
    """

    grid: Grid
    filter_width: float

    @property
    def array_namespace(self) -> Any:
        """The module of `sqrt` and `maximum`."""
        return np

    @cached_property
    def test_level(self) -> SpectralOperators:
        """The same of an LES with half the points and twice the filter width."""
        nx, ny = self.grid.num_points
        coarse = Grid((nx // 2, ny // 2), self.grid.lengths)
        return SpectralOperators(coarse, 2.0 * self.filter_width)

    @cached_property
    def test_response(self) -> NDArray[np.float64]:
        """`exp(-k^2 (4 D^2 - D^2) / 24)`: makes the Gaussian filter twice as wide."""
        response: NDArray[np.float64] = np.exp(
            -self.grid.k_squared * (3.0 * self.filter_width**2 / 24.0)
        )
        return response

    def to_physical(self, field_hat: FieldHat) -> Field:
        """Returns real fields."""
        return to_physical(field_hat, self.grid.num_points)

    def to_spectral(self, field: Field) -> FieldHat:
        """Returns coefficients, zero at Nyquist wavenumbers."""
        points = self.grid.num_points
        return resize(to_spectral(field), points, points)

    def test_filtered(self, field_hat: FieldHat) -> FieldHat:
        """Returns the coefficients at the test level: filtered, then truncated."""
        return resize(
            field_hat * self.test_response,
            self.grid.num_points,
            self.test_level.grid.num_points,
        )

    def jacobian_hat(self, vorticity_hat: FieldHat) -> FieldHat:
        """Returns `J = u . grad(vorticity)` of the flow of a vorticity, alias-free."""
        return jacobian_hat(vorticity_hat, self.grid)

    def velocity_hat(self, vorticity_hat: FieldHat) -> tuple[FieldHat, FieldHat]:
        """Returns `u = d psi / dy` and `v = -d psi / dx`."""
        return velocity_hat(vorticity_hat * self.grid.inverse_k_squared, self.grid)

    def product_hat(self, a_hat: FieldHat, b_hat: FieldHat) -> FieldHat:
        """Returns the coefficients of `a b`, formed on a grid padded by 3/2."""
        points = padded_points(self.grid.num_points)
        a, b = (
            to_physical(resize(hat, self.grid.num_points, points), points)
            for hat in (a_hat, b_hat)
        )
        return resize(to_spectral(a * b), points, self.grid.num_points)

    def mean_product(self, a_hat: FieldHat, b_hat: FieldHat) -> Any:
        """Returns `<a b>`, shape `(..., 1, 1)`, as the sum over all wavenumbers."""
        density = (a_hat * b_hat.conj()).real * self.grid.hermitian_weights
        return density.sum((-2, -1), keepdims=True)
