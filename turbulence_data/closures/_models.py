"""Classic closures: gradient models and eddy viscosities, and their base classes."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, ClassVar, NamedTuple

import numpy as np

from turbulence_data._checks import (
    TWO_PI,
    as_array,
    as_lengths,
    as_pair,
    check_at_least_zero,
    check_positive,
)
from turbulence_data.closures._formulas import (
    Derivative,
    MakeEddies,
    PlannedDynamic,
    PlannedJacobians,
    SpectralOperators,
    clipped_ratio,
    germano_identity,
    leith_eddies,
    leith_hat,
    smagorinsky_eddies,
    smagorinsky_hat,
    strain_rate,
)
from turbulence_data.filtering import width_of
from turbulence_data.solver._equation import AddForcing, check_domain
from turbulence_data.solver._grid import Field, FieldHat, Grid, advection_hat, resize
from turbulence_data.solver._modes import Modes


@dataclass(frozen=True, kw_only=True)
class ClassicClosure(ABC):
    """A closure given by a formula: `(vorticity, streamfunction) -> sgs_forcing`.

    It is called with physical fields of shape `(..., nx, ny)`, also of an ensemble. In
    a simulation the solver uses the function of coefficients from `on(modes)` instead,
    which saves transforms.

    Attributes:
        filter_width: D, width of the filter of the LES; None means two of its cells.
        lengths: domain size.
    """

    filter_width: float | None = None
    lengths: tuple[float, float] = (TWO_PI, TWO_PI)

    accepts_batches = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "lengths", as_lengths(self.lengths))
        if self.filter_width is not None:
            check_positive("filter_width", self.filter_width)

    @abstractmethod
    def forcing_hat(
        self, vorticity_hat: FieldHat, operators: SpectralOperators
    ) -> FieldHat:
        """Return the coefficients of sgs_forcing, shape `(..., nx, ny // 2 + 1)`."""

    def __call__(self, vorticity: Field, streamfunction: Field) -> Field:
        """Return sgs_forcing, to be added to the right-hand side of the LES."""
        values = as_array("vorticity", vorticity)
        values = values * 1.0 if values.dtype.kind in "iub" else values
        operators = self.operators(as_pair(values.shape[-2:]))
        hat = self.forcing_hat(operators.to_spectral(values), operators)
        return operators.to_physical(hat).astype(values.dtype, copy=False)

    def on(self, modes: Modes) -> AddForcing:
        """Return a function `(vorticity_hat, out)` that adds sgs_forcing to `out`."""
        operators, columns = self.operators_on(modes), modes.shape[1]
        points, wide = modes.grid.num_points, modes.quadrature.num_points

        def add_forcing(vorticity_hat: FieldHat, out: FieldHat) -> None:
            hat = self.forcing_hat(resize(vorticity_hat, wide, points), operators)
            out += resize(hat, points, wide)[:, :columns]

        return add_forcing

    def operators_on(self, modes: Modes) -> SpectralOperators:
        """Return the operators on the grid of a flow with the same domain."""
        check_domain(self, modes.grid.lengths)
        return self.operators(modes.grid.num_points)

    def operators(self, num_points: tuple[int, int]) -> SpectralOperators:
        """Return the operators on a grid of this domain."""
        return _operators(num_points, self.lengths, self.filter_width)


@dataclass(frozen=True, kw_only=True)
class NoClosure(ClassicClosure):
    """No subgrid forcing: `Pi = 0`.

    The baseline of every comparison. With `closure=None` the solver runs a DNS with a
    third of its wavenumbers cut off; this is an LES on all wavenumbers below Nyquist.

    Example:
        >>> fields = np.ones((2, 8, 8))
        >>> NoClosure()(*fields).any()
        np.False_
    """

    # Unlike formulas for one plane and one domain.
    any_layers: ClassVar[bool] = True
    any_domain: ClassVar[bool] = True

    def forcing_hat(
        self, vorticity_hat: FieldHat, operators: SpectralOperators
    ) -> FieldHat:
        return 0.0 * vorticity_hat

    def on(self, modes: Modes) -> AddForcing:
        return lambda vorticity_hat, out: None


@lru_cache(maxsize=16)
def _operators(
    num_points: tuple[int, int],
    lengths: tuple[float, float],
    filter_width: float | None,
) -> SpectralOperators:
    grid = Grid(num_points, lengths)
    return SpectralOperators(grid, width_of(grid, filter_width))


class _GradientModel(ClassicClosure):
    """`Pi = -sum_n J(c_n psi, c_n w)` with weighted derivatives c_n."""

    num_terms: ClassVar[int]

    def forcing_hat(
        self, vorticity_hat: FieldHat, operators: SpectralOperators
    ) -> FieldHat:
        # A derivative of w is the vorticity of the same derivative of psi.
        return self._sum(operators.jacobian_hat, operators, vorticity_hat)

    def of_tracer(self, tracer: Field, streamfunction: Field) -> Field:
        """Return `-sum_n J(c_n psi, c_n q)` of a transported field q."""
        named = {"streamfunction": streamfunction, "potential_vorticity": tracer}
        fields = [as_array(name, field) for name, field in named.items()]
        operators = self.operators(as_pair(fields[0].shape[-2:]))
        hats = map(operators.to_spectral, fields)
        jacobian = partial(advection_hat, grid=operators.grid)
        return operators.to_physical(self._sum(jacobian, operators, *hats))

    def _sum(
        self,
        jacobian: Callable[..., FieldHat],
        operators: SpectralOperators,
        *fields_hat: FieldHat,
    ) -> FieldHat:
        symbols = self._symbols(operators.grid, operators.filter_width)
        first, *others = (jacobian(*(c * hat for hat in fields_hat)) for c in symbols)
        return -sum(others, first)

    def on(self, modes: Modes) -> AddForcing:
        """Return the same with the planned advection of the solver."""
        width = self.operators_on(modes).filter_width
        return PlannedJacobians(modes, self._symbols(modes, width))

    def _symbols(self, on: Grid | Modes, width: float) -> list[Derivative]:
        """Return the symbols of d_x, d_y; d_xx, d_xy, d_yy, where d_xy counts twice."""
        first = 1j * width / np.sqrt(12.0)
        second = complex(width**2 / np.sqrt(288.0))
        mixed = np.sqrt(2.0) * on.kx * on.ky
        symbols = [first * on.kx, first * on.ky]
        symbols += [second * on.kx**2, second * mixed, second * on.ky**2]
        return symbols[: self.num_terms]


@dataclass(frozen=True, kw_only=True)
class GradientModel2(_GradientModel):
    """GM2: the subgrid forcing of a Gaussian filter to second order in its width D.

        Pi = -(D^2 / 12) [J(d_x psi, d_x vorticity) + J(d_y psi, d_y vorticity)]

    The Gaussian filter is `exp((D^2 / 24) lap)`, and the Laplacian of a product has one
    mixed term, `2 grad . grad`; so filtering a product is exactly

        filter(a b) = exp((D^2 / 12) grad_a . grad_b) filter(a) filter(b),

    whose linear term this is. `GradientModel4` has the next one. Jacobians are
    alias-free. It transfers enstrophy forward but no energy, `<psi Pi> = 0` exactly;
    since it drains no energy, it is known to blow up.

    Leonard (1974); Clark, Ferziger & Reynolds (1979), doi:10.1017/S002211207900001X.

    Example:
        >>> vorticity = np.random.default_rng(0).standard_normal((16, 16))
        >>> from turbulence_data.solver import Grid, streamfunction_of
        >>> psi = streamfunction_of(vorticity, Grid((16, 16)))
        >>> pi = GradientModel2()(vorticity, psi)
        >>> bool(abs(np.mean(psi * pi)) < 1e-13 * np.abs(psi * pi).max())
        True
    """

    num_terms = 2


@dataclass(frozen=True, kw_only=True)
class GradientModel4(_GradientModel):
    """GM4: the subgrid forcing of a Gaussian filter to fourth order in its width D.

        Pi = GM2 - (D^4 / 288) sum_jk J(d_j d_k psi, d_j d_k vorticity)

    The quadratic term of the expansion in `GradientModel2`, `(D^2 / 12)^2 / 2 = D^4 /
    288`. Its relative error is O(D^4), that of GM2 O(D^2). Jacobians are alias-free.

    Same expansion: Bouchet (2003), Jakhar et al. (2024), doi:10.1029/2023MS003874.

    Example:
        Two waves, whose Jacobian has only the wavenumbers (1, 2) and (1, -2), so that
        each term can be computed by hand:

        >>> x = np.arange(16) * 2 * np.pi / 16
        >>> waves = np.cos(x)[:, None] + np.cos(2 * x)[None, :]
        >>> pi = GradientModel4(filter_width=0.5)(waves, waves)
        >>> float(np.abs(pi).max()) < 1e-13  # no derivative along both axes
        True
    """

    num_terms = 5


class _Unit(NamedTuple):
    """A closure with coefficient 1, as a formula and with planned transforms.

    The forcing is proportional to the given power of the coefficient.
    """

    hat: Callable[[FieldHat, SpectralOperators], FieldHat]
    planned: MakeEddies
    power: int


_SMAGORINSKY = _Unit(smagorinsky_hat, smagorinsky_eddies, power=2)
_LEITH = _Unit(leith_hat, leith_eddies, power=3)


@dataclass(frozen=True)
class _EddyViscosity(ClassicClosure):
    """`Pi = coefficient^power N_D`, where N_D is the closure for a coefficient of 1."""

    coefficient: float = 0.0

    unit: ClassVar[_Unit]

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least_zero("coefficient", self.coefficient)

    def forcing_hat(
        self, vorticity_hat: FieldHat, operators: SpectralOperators
    ) -> FieldHat:
        factor: float = self.coefficient**self.unit.power
        return factor * self.unit.hat(vorticity_hat, operators)

    def on(self, modes: Modes) -> AddForcing:
        """Return the same with planned transforms, at about a third of the cost."""
        operators = self.operators_on(modes)
        eddies = self.unit.planned(modes, operators.filter_width)
        factor = self.coefficient**self.unit.power
        return lambda hat, out: eddies.add(factor, eddies(hat), out)


@dataclass(frozen=True, kw_only=True)
class _Dynamic(ClassicClosure):
    """`Pi = c N_D`, with c determined by a test filter."""

    unit: ClassVar[_Unit]

    def coefficient(self, vorticity_hat: FieldHat, operators: SpectralOperators) -> Any:
        """Return c, shape `(..., 1, 1)`: the square of C_S, the cube of C_L."""
        return germano_identity(vorticity_hat, self.unit.hat, operators)[0]

    def forcing_hat(
        self, vorticity_hat: FieldHat, operators: SpectralOperators
    ) -> FieldHat:
        c, unit_hat = germano_identity(vorticity_hat, self.unit.hat, operators)
        forcing: FieldHat = unit_hat * c
        return forcing

    def on(self, modes: Modes) -> AddForcing:
        """Return the same with planned transforms and the advection of the solver."""
        return PlannedDynamic(modes, self.operators_on(modes), self.unit.planned)


@dataclass(frozen=True)
class Smagorinsky(_EddyViscosity):
    """Subgrid stress along the strain: `tau_ij = -2 nu_e S_ij`.

        nu_e = (C_S D)^2 |S|,   |S| = sqrt(2 S_ij S_ij),   Pi = -curl(div(tau))

    It drains energy at every point: `<psi Pi> = <tau_ij S_ij> = -<nu_e |S|^2>`.
    Products are formed on the LES grid itself.

    Smagorinsky (1963), doi:10.1175/1520-0493(1963)091<0099:GCEWTP>2.3.CO;2. The default
    0.17 is Lilly's (1967) value for three-dimensional turbulence, where it multiplies
    the grid spacing of a sharp cut-off. Here D is the width of the Gaussian filter, by
    default two cells, so relative to one cell the coefficient is 0.34, and Lilly's
    viscosity would need 0.085. There is no such value for two-dimensional turbulence,
    so prefer `DynamicSmagorinsky`, or fit it.

    Attributes:
        coefficient: C_S, at least 0.

    Example:
        The shear flow u = sin(y) has vorticity -cos(y) and |S| = |cos(y)|, so
        Pi = d_yy(nu_e vorticity) = -(C_S D)^2 d_yy(|cos y| cos y):

        >>> y = np.arange(64) * 2 * np.pi / 64
        >>> vorticity = -np.cos(y) * np.ones((64, 1))
        >>> pi = Smagorinsky(0.2, filter_width=0.5)(vorticity, vorticity)
        >>> round(float(pi[0, 0] / (2 * 0.1**2)), 2)  # (cos^2)'' = -2 at y = 0
        1.0
    """

    coefficient: float = 0.17

    unit = _SMAGORINSKY


@dataclass(frozen=True)
class Leith(_EddyViscosity):
    """Subgrid flux of vorticity down its gradient: `sigma = -nu_e grad(vorticity)`.

        nu_e = (C_L D)^3 |grad(vorticity)|,   Pi = -div(sigma)

    It drains enstrophy at every point: `<vorticity Pi> = -<nu_e |grad(vorticity)|^2>`.
    It is made for a forward cascade of enstrophy, as Smagorinsky's for one of energy.

    Leith (1996), doi:10.1016/0167-2789(96)00107-8: `nu_e = (dx / pi)^3 |grad|`, which
    is C_L = 1 / (2 pi) for a filter of two cells, the default.

    Attributes:
        coefficient: C_L, at least 0.

    Example:
        For the vorticity cos(y), Pi = (C_L D)^3 d_y(|sin y| d_y cos y):

        >>> y = np.arange(128) * 2 * np.pi / 128
        >>> vorticity = np.cos(y) * np.ones((128, 1))
        >>> pi = Leith(0.2, filter_width=0.5)(vorticity, vorticity) / 0.1**3
        >>> bool(np.allclose(pi, -2 * np.abs(np.sin(y)) * np.cos(y), atol=0.1))
        True
    """

    coefficient: float = 0.5 / math.pi

    unit = _LEITH


@dataclass(frozen=True, kw_only=True)
class DynamicSmagorinsky(_Dynamic):
    """Smagorinsky's stress with a coefficient determined by a test filter.

        Pi = c N_D,   N_D = -curl(div(-2 D^2 |S| S_ij)),   c = max(<L, M>, 0) / <M, M>
        L = J(test(w)) - test(J(w)),   M = N_2D(test(w)) - test(N_D(w))

    This is the identity of Germano et al. (1991, doi:10.1063/1.857955), solved by least
    squares as by Lilly (1992, doi:10.1063/1.858280), for the vorticity forcing, in the
    norm of its flux, `<a, b> = sum_k Re(conj(a_hat) b_hat) / k^2`. The original form,
    with the tensors L_ij and M_ij, measures the energy transfer, which is backward in
    two dimensions, so that its mean coefficient is negative and would be clipped to 0.

    The test level is an LES with half the points and a filter twice as wide: the test
    filter `exp(-k^2 (4 D^2 - D^2) / 24)` and truncation turn the fields of this LES
    exactly into those of the coarser one. J is alias-free. c is one non-negative number
    for a field, so there is no backscatter.

    Example:
        A parallel shear flow has no subgrid forcing, so the coefficient is zero:

        >>> y = np.arange(32) * 2 * np.pi / 32
        >>> shear = -np.cos(3 * y) * np.ones((32, 1))
        >>> bool(np.abs(DynamicSmagorinsky()(shear, shear)).max() < 1e-14)
        True
    """

    unit = _SMAGORINSKY


@dataclass(frozen=True, kw_only=True)
class DynamicLeith(_Dynamic):
    """Leith's flux with a coefficient determined by a test filter.

        Pi = c N_D,   N_D = div(D^3 |grad(w)| grad(w)),   c = max(<L, M>, 0) / <M, M>

    with L, M, the norm, the test level and the sources of `DynamicSmagorinsky`.

    Example:
        >>> y = np.arange(32) * 2 * np.pi / 32
        >>> shear = -np.cos(3 * y) * np.ones((32, 1))
        >>> bool(np.abs(DynamicLeith()(shear, shear)).max() < 1e-14)
        True
    """

    unit = _LEITH


@dataclass(frozen=True)
class JansenHeld(ClassicClosure):
    """Biharmonic damping of small scales, with backscatter of energy to large scales.

        Pi = Pi_4 - nu_2 lap(vorticity),   Pi_4 = -lap(nu_4 lap(vorticity)),
        nu_4 = (C_4 D)^4 |S|,   nu_2 = b max(-<psi Pi_4>, 0) / <vorticity^2>

    The negative viscosity returns exactly the fraction b of the energy drained by the
    biharmonic viscosity: `<psi Pi> = (1 - b) <psi Pi_4>`. Enstrophy is still drained,
    because the drain acts at much larger wavenumbers.

    Jansen & Held (2014), doi:10.1016/j.ocemod.2014.06.002. The default C_4 = 0.25 is
    the biharmonic Smagorinsky coefficient 2.2 of Griffies & Hallberg (2000) in terms of
    a filter of two cells: `(2.2 / pi)^2 / 8 (D / 2)^4 = (0.249 D)^4`.

    Attributes:
        coefficient: C_4, at least 0.
        backscatter: b, the fraction returned, from 0 to 1.

    Raises:
        ValueError: for a coefficient or a fraction out of range.

    Example:
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
