"""Gradient models: the expansion of the subgrid forcing in the filter width."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from turbulence_data.closures._classic import ClassicClosure
from turbulence_data.closures._formulas import SpectralOperators
from turbulence_data.closures._planned import Derivative, PlannedJacobians
from turbulence_data.solver._equation import AddForcing
from turbulence_data.solver._grid import FieldHat, Grid
from turbulence_data.solver._modes import Modes

Derivatives = Callable[[Grid | Modes, float], list[Derivative]]


def first_derivatives(on: Grid | Modes, filter_width: float) -> list[Derivative]:
    """Return the symbols of d_x and d_y with the weight `D / sqrt(12)`."""
    weight = 1j * filter_width / np.sqrt(12.0)
    return [weight * on.kx, weight * on.ky]


def second_derivatives(on: Grid | Modes, filter_width: float) -> list[Derivative]:
    """Return those of d_xx, d_xy and d_yy with `D^2 / sqrt(288)`; d_xy counts twice."""
    weight = complex(filter_width**2 / np.sqrt(288.0))
    mixed = np.sqrt(2.0) * on.kx * on.ky
    return [weight * on.kx**2, weight * mixed, weight * on.ky**2]


class _GradientModel(ClassicClosure):
    """`Pi = -sum_n J(c_n psi, c_n w)` of weighted derivatives c_n."""

    terms: ClassVar[tuple[Derivatives, ...]]

    def forcing_hat(
        self, vorticity_hat: FieldHat, operators: SpectralOperators
    ) -> FieldHat:
        """Return the coefficients of all terms.

        The derivative of w is the vorticity of that of psi: each term is an advection.
        """
        symbols = self._symbols(operators.grid, operators.filter_width)
        jacobians = [operators.jacobian_hat(c * vorticity_hat) for c in symbols]
        forcing: FieldHat = -sum(jacobians[1:], jacobians[0])
        return forcing

    def on(self, modes: Modes) -> AddForcing:
        """Return the same with the planned advection of the solver."""
        self.check_domain(modes)
        width = self.operators(modes.grid.num_points).filter_width
        return PlannedJacobians(modes, self._symbols(modes, width))

    def _symbols(self, on: Grid | Modes, width: float) -> list[Derivative]:
        return [symbol for term in self.terms for symbol in term(on, width)]


@dataclass(frozen=True, kw_only=True)
class GradientModel2(_GradientModel):
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
        >>> from turbulence_data.solver import Grid, streamfunction_of
        >>> psi = streamfunction_of(vorticity, Grid((16, 16)))
        >>> pi = GradientModel2()(vorticity, psi)
        >>> bool(abs(np.mean(psi * pi)) < 1e-13 * np.abs(psi * pi).max())
        True
    """

    terms = (first_derivatives,)


@dataclass(frozen=True, kw_only=True)
class GradientModel4(_GradientModel):
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

    terms = (first_derivatives, second_derivatives)
