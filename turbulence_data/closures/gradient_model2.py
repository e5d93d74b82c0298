"""The gradient model: the first term of the subgrid forcing in the filter width."""

from __future__ import annotations

from dataclasses import dataclass

from turbulence_data.closures.classic_closure import ClassicClosure
from turbulence_data.closures.operators import SpectralOperators
from turbulence_data.closures.planned_jacobians import (
    PlannedJacobians,
    first_derivatives,
)
from turbulence_data.solver._equation import AddForcing
from turbulence_data.solver._grid import FieldHat
from turbulence_data.solver._modes import Modes


@dataclass(frozen=True, kw_only=True)
class GradientModel2(ClassicClosure):
    """GM2: the subgrid forcing of a Gaussian filter to second order in its width D.

        Pi = -(D^2 / 12) [J(d_x psi, d_x vorticity) + J(d_y psi, d_y vorticity)]

    The Gaussian filter is `exp((D^2 / 24) lap)`, and the Laplacian of a product has one
    mixed term, `2 grad . grad`; so filtering a product is exactly

        filter(a b) = exp((D^2 / 12) grad_a . grad_b) filter(a) filter(b),

    whose linear term this is. The next one is `GradientModel4`'s. Jacobians are
    alias-free. It moves enstrophy down the cascade and moves no energy at all,
    `<psi Pi> = 0` exactly; with nothing to drain energy it is known to blow up.

    Leonard (1974); Clark, Ferziger & Reynolds (1979), doi:10.1017/S002211207900001X.

    Example:
        >>> import numpy as np
        >>> vorticity = np.random.default_rng(0).standard_normal((16, 16))
        >>> from turbulence_data.solver._grid import Grid
        >>> from turbulence_data.solver._fields import streamfunction_of
        >>> psi = streamfunction_of(vorticity, Grid((16, 16)))
        >>> pi = GradientModel2()(vorticity, psi)
        >>> bool(abs(np.mean(psi * pi)) < 1e-13 * np.abs(psi * pi).max())
        True
    """

    def forcing_hat(
        self, vorticity_hat: FieldHat, operators: SpectralOperators
    ) -> FieldHat:
        """Returns the coefficients of the first term."""
        return first_term_hat(vorticity_hat, operators)

    def on(self, modes: Modes) -> AddForcing:
        """Returns the same with the planned advection of the solver."""
        self.check_domain(modes)
        width = self.operators(modes.grid.num_points).filter_width
        return PlannedJacobians(modes, first_derivatives(modes, width))


def first_term_hat(vorticity_hat: FieldHat, operators: SpectralOperators) -> FieldHat:
    """Returns `-(D^2 / 12) sum_j J(d_j psi, d_j vorticity)`.

    `d_j vorticity` is the vorticity of `d_j psi`, so each is one advection.
    """
    grid = operators.grid
    jacobian = operators.jacobian_hat
    total = jacobian(1j * grid.kx * vorticity_hat) + jacobian(
        1j * grid.ky * vorticity_hat
    )
    return -(operators.filter_width**2) / 12.0 * total
