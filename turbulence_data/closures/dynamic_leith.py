"""Leith's closure with a coefficient measured in the flow itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from turbulence_data.closures.classic_closure import ClassicClosure
from turbulence_data.closures.formulas import germano_coefficient, leith_hat
from turbulence_data.closures.operators import SpectralOperators
from turbulence_data.closures.planned_dynamic import PlannedDynamic
from turbulence_data.closures.planned_eddies import leith_eddies
from turbulence_data.solver._equation import AddForcing
from turbulence_data.solver._grid import FieldHat
from turbulence_data.solver._modes import Modes


@dataclass(frozen=True, kw_only=True)
class DynamicLeith(ClassicClosure):
    """Leith's flux with the coefficient that a test filter finds.

        Pi = c N_D,   N_D = div(D^3 |grad(w)| grad(w)),   c = max(<L, M>, 0) / <M, M>

    with L, M, the norm and the test level of `DynamicSmagorinsky`: the identity of
    Germano et al. (1991, doi:10.1063/1.857955) with the least squares of Lilly (1992,
    doi:10.1063/1.858280). c is one number for a field, at least 0.

    Example:
        >>> import numpy as np
        >>> y = np.arange(32) * 2 * np.pi / 32
        >>> shear = -np.cos(3 * y) * np.ones((32, 1))
        >>> bool(np.abs(DynamicLeith()(shear, shear)).max() < 1e-14)
        True
    """

    def coefficient(self, vorticity_hat: FieldHat, operators: SpectralOperators) -> Any:
        """Returns `c`, shape `(..., 1, 1)`; its cube root is C_L."""
        forcing_hat = leith_hat(vorticity_hat, operators)
        return germano_coefficient(vorticity_hat, forcing_hat, leith_hat, operators)

    def forcing_hat(
        self, vorticity_hat: FieldHat, operators: SpectralOperators
    ) -> FieldHat:
        """Returns the coefficients of `c N_D`."""
        forcing_hat = leith_hat(vorticity_hat, operators)
        coefficient = germano_coefficient(
            vorticity_hat, forcing_hat, leith_hat, operators
        )
        result: FieldHat = coefficient * forcing_hat
        return result

    def on(self, modes: Modes) -> AddForcing:
        """Returns the same with planned transforms and the advection of the solver."""
        self.check_domain(modes)
        operators = self.operators(modes.grid.num_points)
        return PlannedDynamic(modes, operators, leith_eddies)
