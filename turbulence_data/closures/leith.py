"""The eddy viscosity of Leith."""

from __future__ import annotations

import math
from dataclasses import dataclass

from turbulence_data._checks import check_at_least_zero
from turbulence_data.closures.classic_closure import ClassicClosure
from turbulence_data.closures.formulas import leith_hat
from turbulence_data.closures.operators import SpectralOperators
from turbulence_data.closures.planned_eddies import leith_eddies, with_coefficient
from turbulence_data.solver._equation import AddForcing
from turbulence_data.solver._grid import FieldHat
from turbulence_data.solver._modes import Modes


@dataclass(frozen=True)
class Leith(ClassicClosure):
    """Subgrid flux of vorticity down its gradient: `sigma = -nu_e grad(vorticity)`.

        nu_e = (C_L D)^3 |grad(vorticity)|,   Pi = -div(sigma)

    Drains enstrophy at every point: `<vorticity Pi> = -<nu_e |grad(vorticity)|^2>`; for
    a forward cascade of enstrophy, as Smagorinsky's is for one of energy.

    Leith (1996), doi:10.1016/0167-2789(96)00107-8: `nu_e = (dx / pi)^3 |grad|`, which
    is C_L = 1 / (2 pi) for a filter of two cells, the default.

    Attributes:
        coefficient: C_L, at least 0.

    Example:
        Where the vorticity is cos(y), Pi = (C_L D)^3 d_y(|sin y| d_y cos y):

        >>> import numpy as np
        >>> y = np.arange(128) * 2 * np.pi / 128
        >>> vorticity = np.cos(y) * np.ones((128, 1))
        >>> pi = Leith(0.2, filter_width=0.5)(vorticity, vorticity) / 0.1**3
        >>> bool(np.allclose(pi, -2 * np.abs(np.sin(y)) * np.cos(y), atol=0.1))
        True
    """

    coefficient: float = 0.5 / math.pi

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least_zero("coefficient", self.coefficient)

    def forcing_hat(
        self, vorticity_hat: FieldHat, operators: SpectralOperators
    ) -> FieldHat:
        """Returns the coefficients of `div(nu_e grad(vorticity))`."""
        return self.coefficient**3 * leith_hat(vorticity_hat, operators)

    def on(self, modes: Modes) -> AddForcing:
        """Returns the same with planned transforms."""
        self.check_domain(modes)
        width = self.operators(modes.grid.num_points).filter_width
        return with_coefficient(leith_eddies, modes, width, self.coefficient**3)
