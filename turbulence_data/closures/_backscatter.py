"""Backscatter: given back as Jansen and Held do, or clipped from any closure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from turbulence_data._checks import TWO_PI, as_lengths, as_pair, check_at_least_zero
from turbulence_data.closures._classic import ClassicClosure
from turbulence_data.closures._formulas import (
    SpectralOperators,
    clipped_ratio,
    strain_rate,
)
from turbulence_data.solver._equation import Closure, evaluate
from turbulence_data.solver._grid import Field, FieldHat, Grid, to_physical, to_spectral

Criterion = Callable[[Field, Field, Field, Grid], Any]
"""`(vorticity, streamfunction, sgs_forcing, grid) -> field`, positive if it feeds."""


def _against_viscosity(
    vorticity: Field, streamfunction: Field, sgs_forcing: Field, grid: Grid
) -> Field:
    laplacian_hat = -grid.k_squared * to_spectral(vorticity)
    return -sgs_forcing * to_physical(laplacian_hat, grid.num_points)


CRITERIA: dict[str, Criterion] = {
    "viscosity": _against_viscosity,
    "energy": lambda vorticity, streamfunction, forcing, grid: streamfunction * forcing,
    "enstrophy": lambda vorticity, streamfunction, forcing, grid: vorticity * forcing,
}


@dataclass(frozen=True)
class ClippedBackscatter:
    """A closure whose sgs_forcing is set to zero wherever it gives back.

    A stabilizer: it buys robustness with a wrong transfer. The mean of the result is
    not zero; the solver drops it.

    Attributes:
        closure: what is clipped.
        criterion: where it gives back: "viscosity" where `Pi / lap(vorticity) < 0`
            (Maulik et al. 2019, doi:10.1017/jfm.2018.770), "energy" where
            `psi Pi > 0`, "enstrophy" where `vorticity Pi > 0`, or what is positive
            there: `(vorticity, streamfunction, sgs_forcing, grid) -> field`.
        lengths: domain size.

    Raises:
        ValueError: for an unknown criterion.

    Example:
        >>> import numpy as np
        >>> x = np.arange(8) * 2 * np.pi / 8
        >>> vorticity = np.cos(x)[:, None] * np.ones((1, 8))
        >>> anti_drag = ClippedBackscatter(lambda vorticity, psi: 0.1 * vorticity)
        >>> bool(np.abs(anti_drag(vorticity, vorticity)).max() < 1e-15)
        True
    """

    closure: Closure
    criterion: str | Criterion = "viscosity"
    lengths: tuple[float, float] = (TWO_PI, TWO_PI)

    accepts_batches = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "lengths", as_lengths(self.lengths))
        known = isinstance(self.criterion, str) and self.criterion in CRITERIA
        if not (callable(self.criterion) or known):
            raise ValueError(
                f"criterion must be one of {sorted(CRITERIA)} or a callable "
                "(vorticity, streamfunction, sgs_forcing, grid) -> field; received "
                f"{self.criterion!r}."
            )

    def __call__(self, vorticity: Field, streamfunction: Field) -> Field:
        """Return the clipped forcing, shape `(..., nx, ny)`."""
        sgs_forcing = evaluate(self.closure, vorticity, streamfunction)
        grid = Grid(as_pair(vorticity.shape[-2:]), self.lengths)
        given = self.criterion
        criterion = given if callable(given) else CRITERIA[given]
        back = criterion(vorticity, streamfunction, sgs_forcing, grid) > 0.0
        return np.where(back, 0.0, sgs_forcing)


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
        """Return the coefficients of drain and backscatter."""
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
