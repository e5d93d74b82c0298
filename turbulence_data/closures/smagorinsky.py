"""The eddy viscosity of Smagorinsky."""

from __future__ import annotations

from dataclasses import dataclass

from turbulence_data._checks import check_at_least_zero
from turbulence_data.closures.classic_closure import ClassicClosure
from turbulence_data.closures.formulas import smagorinsky_hat
from turbulence_data.closures.operators import SpectralOperators
from turbulence_data.closures.planned_eddies import (
    smagorinsky_eddies,
    with_coefficient,
)
from turbulence_data.solver._equation import AddForcing
from turbulence_data.solver._grid import FieldHat
from turbulence_data.solver._modes import Modes


@dataclass(frozen=True)
class Smagorinsky(ClassicClosure):
    """Subgrid stress along the strain: `tau_ij = -2 nu_e S_ij`.

        nu_e = (C_S D)^2 |S|,   |S| = sqrt(2 S_ij S_ij),   Pi = -curl(div(tau))

    Drains energy at every point: `<psi Pi> = <tau_ij S_ij> = -<nu_e |S|^2>`. Products
    are formed on the LES grid itself.

    Smagorinsky (1963), doi:10.1175/1520-0493(1963)091<0099:GCEWTP>2.3.CO;2. The default
    0.17 is Lilly's (1967) number for three-dimensional turbulence, where it multiplies
    the spacing of a grid that cuts off sharply. D is the width of the Gaussian filter
    here, two cells by default: counted in cells the coefficient is 0.34, and 0.085
    would be Lilly's viscosity. Two-dimensional turbulence has no such number, so prefer
    `DynamicSmagorinsky`, or fit it.

    Attributes:
        coefficient: C_S, at least 0.

    Example:
        The shear flow u = sin(y) has vorticity -cos(y) and |S| = |cos(y)|, so that
        Pi = d_yy(nu_e vorticity) = -(C_S D)^2 d_yy(|cos y| cos y):

        >>> import numpy as np
        >>> y = np.arange(64) * 2 * np.pi / 64
        >>> vorticity = -np.cos(y) * np.ones((64, 1))
        >>> pi = Smagorinsky(0.2, filter_width=0.5)(vorticity, vorticity)
        >>> round(float(pi[0, 0] / (2 * 0.1**2)), 2)  # (cos^2)'' = -2 at y = 0
        1.0
    """

    coefficient: float = 0.17

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least_zero("coefficient", self.coefficient)

    def forcing_hat(
        self, vorticity_hat: FieldHat, operators: SpectralOperators
    ) -> FieldHat:
        """Returns the coefficients of `-curl(div(tau))`."""
        return self.coefficient**2 * smagorinsky_hat(vorticity_hat, operators)

    def on(self, modes: Modes) -> AddForcing:
        """Returns the same with planned transforms: about a third of the work."""
        self.check_domain(modes)
        width = self.operators(modes.grid.num_points).filter_width
        return with_coefficient(smagorinsky_eddies, modes, width, self.coefficient**2)
