"""Smagorinsky's closure with a coefficient measured in the flow itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from turbulence_data.closures.classic_closure import ClassicClosure
from turbulence_data.closures.formulas import germano_coefficient, smagorinsky_hat
from turbulence_data.closures.operators import SpectralOperators
from turbulence_data.closures.planned_dynamic import PlannedDynamic
from turbulence_data.closures.planned_eddies import smagorinsky_eddies
from turbulence_data.solver._equation import AddForcing
from turbulence_data.solver._grid import FieldHat
from turbulence_data.solver._modes import Modes


@dataclass(frozen=True, kw_only=True)
class DynamicSmagorinsky(ClassicClosure):
    """Smagorinsky's stress with the coefficient that a test filter finds.

        Pi = c N_D,   N_D = -curl(div(-2 D^2 |S| S_ij)),   c = max(<L, M>, 0) / <M, M>
        L = J(test(w)) - test(J(w)),   M = N_2D(test(w)) - test(N_D(w))

    This is the identity of Germano et al. (1991, doi:10.1063/1.857955), solved by least
    squares as by Lilly (1992, doi:10.1063/1.858280), for the forcing of vorticity: in
    the norm of its flux, `<a, b> = sum_k Re(conj(a_hat) b_hat) / k^2`. Their own form,
    with the tensors L_ij and M_ij, measures which way energy goes; in two dimensions
    that is back, so that its mean coefficient is negative and would be clipped to 0.

    The test level is an LES of half the points with a filter twice as wide: the test
    filter is `exp(-k^2 (4 D^2 - D^2) / 24)` followed by truncation, so it makes of this
    LES's fields exactly those of the coarser one. J is alias-free. c is one number for
    a field, and at least 0: the closure never gives back.

    Example:
        A parallel shear flow has no subgrid forcing, and the coefficient knows it:

        >>> import numpy as np
        >>> y = np.arange(32) * 2 * np.pi / 32
        >>> shear = -np.cos(3 * y) * np.ones((32, 1))
        >>> bool(np.abs(DynamicSmagorinsky()(shear, shear)).max() < 1e-14)
        True
    """

    def coefficient(self, vorticity_hat: FieldHat, operators: SpectralOperators) -> Any:
        """Returns `c`, shape `(..., 1, 1)`; `sqrt(c)` is C_S."""
        forcing_hat = smagorinsky_hat(vorticity_hat, operators)
        return germano_coefficient(
            vorticity_hat, forcing_hat, smagorinsky_hat, operators
        )

    def forcing_hat(
        self, vorticity_hat: FieldHat, operators: SpectralOperators
    ) -> FieldHat:
        """Returns the coefficients of `c N_D`."""
        forcing_hat = smagorinsky_hat(vorticity_hat, operators)
        coefficient = germano_coefficient(
            vorticity_hat, forcing_hat, smagorinsky_hat, operators
        )
        result: FieldHat = coefficient * forcing_hat
        return result

    def on(self, modes: Modes) -> AddForcing:
        """Returns the same with planned transforms and the advection of the solver."""
        self.check_domain(modes)
        operators = self.operators(modes.grid.num_points)
        return PlannedDynamic(modes, operators, smagorinsky_eddies)
