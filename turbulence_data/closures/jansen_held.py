"""Energetically consistent backscatter of Jansen and Held."""

from __future__ import annotations

from dataclasses import dataclass

from turbulence_data._checks import check_at_least_zero
from turbulence_data.closures.classic_closure import ClassicClosure
from turbulence_data.closures.formulas import clipped_ratio, strain_rate
from turbulence_data.closures.operators import SpectralOperators
from turbulence_data.solver._grid import FieldHat


@dataclass(frozen=True)
class JansenHeld(ClassicClosure):
    """Small scales are damped, and their energy is given back at large ones.

        Pi = Pi_4 - nu_2 lap(vorticity),   Pi_4 = -lap(nu_4 lap(vorticity)),
        nu_4 = (C_4 D)^4 |S|,   nu_2 = b max(-<psi Pi_4>, 0) / <vorticity^2>

    The negative viscosity gives back the part b of the energy that the biharmonic
    viscosity drains, exactly: `<psi Pi> = (1 - b) <psi Pi_4>`. Enstrophy stays drained,
    for the drain sits at much larger wavenumbers.

    Jansen & Held (2014), doi:10.1016/j.ocemod.2014.06.002. The default C_4 = 0.25 is
    the biharmonic Smagorinsky coefficient 2.2 of Griffies & Hallberg (2000) in terms of
    a filter of two cells: `(2.2 / pi)^2 / 8 (D / 2)^4 = (0.249 D)^4`.

    Attributes:
        coefficient: C_4, at least 0.
        backscatter: b, the part given back; from 0 to 1.

    Raises:
        ValueError: for a coefficient or a part out of range.

    Example:
        >>> import numpy as np
        >>> x = np.arange(16) * 2 * np.pi / 16
        >>> psi = np.cos(x)[:, None] * np.cos(x)[None, :]  # vorticity is 2 psi
        >>> given_back = JansenHeld(backscatter=1.0)(2 * psi, psi)
        >>> bool(abs(np.mean(psi * given_back)) < 1e-15)
        True
    """

    coefficient: float = 0.25
    backscatter: float = 0.9

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least_zero("coefficient", self.coefficient)
        check_at_least_zero("backscatter", self.backscatter)
        if self.backscatter > 1.0:
            raise ValueError(
                "backscatter is the part of the drained energy that is given back, at "
                f"most 1; received {self.backscatter!r}."
            )

    def forcing_hat(
        self, vorticity_hat: FieldHat, operators: SpectralOperators
    ) -> FieldHat:
        """Returns the coefficients of drain and backscatter."""
        grid, size = operators.grid, strain_rate(vorticity_hat, operators)
        laplacian = operators.to_physical(-grid.k_squared * vorticity_hat)
        viscosity = (self.coefficient * operators.filter_width) ** 4 * size
        drain_hat = grid.k_squared * operators.to_spectral(viscosity * laplacian)
        psi_hat = vorticity_hat * grid.inverse_k_squared
        negative = clipped_ratio(
            -self.backscatter * operators.mean_product(psi_hat, drain_hat),
            operators.mean_product(vorticity_hat, vorticity_hat),
            operators.array_namespace,
        )
        forcing: FieldHat = drain_hat + negative * grid.k_squared * vorticity_hat
        return forcing
