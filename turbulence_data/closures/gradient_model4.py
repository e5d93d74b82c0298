"""The gradient model with its second term."""

from __future__ import annotations

from dataclasses import dataclass

from turbulence_data.closures.classic_closure import ClassicClosure
from turbulence_data.closures.gradient_model2 import first_term_hat
from turbulence_data.closures.operators import SpectralOperators
from turbulence_data.closures.planned_jacobians import (
    PlannedJacobians,
    first_derivatives,
    second_derivatives,
)
from turbulence_data.solver._equation import AddForcing
from turbulence_data.solver._grid import FieldHat
from turbulence_data.solver._modes import Modes


@dataclass(frozen=True, kw_only=True)
class GradientModel4(ClassicClosure):
    """GM4: the subgrid forcing of a Gaussian filter to fourth order in its width D.

        Pi = GM2 - (D^4 / 288) sum_jk J(d_j d_k psi, d_j d_k vorticity)

    The quadratic term of the expansion in `GradientModel2`, `(D^2 / 12)^2 / 2 = D^4 /
    288`. Its relative error is O(D^4), that of GM2 O(D^2). Jacobians are alias-free.

    Bouchet (2003) and Jakhar et al. (2024), doi:10.1029/2023MS003874, on the same
    expansion.

    Example:
        Two waves: their Jacobian has wavenumbers (1, 2) and (1, -2) only, so each term
        is known by hand (tests/turbulence_data/test_closures.py).

        >>> import numpy as np
        >>> x = np.arange(16) * 2 * np.pi / 16
        >>> waves = np.cos(x)[:, None] + np.cos(2 * x)[None, :]
        >>> pi = GradientModel4(filter_width=0.5)(waves, waves)
        >>> float(np.abs(pi).max()) < 1e-13  # no derivative along both axes
        True
    """

    def forcing_hat(
        self, vorticity_hat: FieldHat, operators: SpectralOperators
    ) -> FieldHat:
        """Returns the coefficients of both terms."""
        grid = operators.grid
        jacobian = operators.jacobian_hat
        second = (
            jacobian(grid.kx**2 * vorticity_hat)
            + 2.0 * jacobian(grid.kx * grid.ky * vorticity_hat)
            + jacobian(grid.ky**2 * vorticity_hat)
        )
        factor = operators.filter_width**4 / 288.0
        return first_term_hat(vorticity_hat, operators) - factor * second

    def on(self, modes: Modes) -> AddForcing:
        """Returns the same with the planned advection of the solver."""
        self.check_domain(modes)
        width = self.operators(modes.grid.num_points).filter_width
        first, second = (
            of(modes, width) for of in (first_derivatives, second_derivatives)
        )
        return PlannedJacobians(modes, [*first, *second])
