"""Formulas of closures, their operators, and the base that both share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from turbulence_data._checks import TWO_PI, as_lengths, as_pair, check_positive
from turbulence_data.filtering import default_width
from turbulence_data.solver._equation import AddForcing
from turbulence_data.solver._grid import (
    Field,
    FieldHat,
    Grid,
    jacobian_hat,
    padded_points,
    resize,
    to_physical,
    to_spectral,
    velocity_hat,
)
from turbulence_data.solver._modes import Modes

Two = tuple[FieldHat, FieldHat]


@dataclass(frozen=True)
class SpectralOperators:
    """Transforms and products of fields `(..., nx, ny)` on the grid of an LES.

    Formulas of closures are written in these and in plain arithmetic, so another array
    library only has to give its own version of this class. Coefficients have the layout
    `(..., nx, ny // 2 + 1)`; those of Nyquist wavenumbers are zero.

    Attributes:
        grid: of the LES.
        filter_width: D, of the filter that made the LES fields.
    """

    grid: Grid
    filter_width: float

    @property
    def array_namespace(self) -> Any:
        """The module of `sqrt` and `maximum`."""
        return np

    @cached_property
    def test_level(self) -> SpectralOperators:
        """The same of an LES with half the points and twice the filter width."""
        nx, ny = self.grid.num_points
        coarse = Grid((nx // 2, ny // 2), self.grid.lengths)
        return SpectralOperators(coarse, 2.0 * self.filter_width)

    @cached_property
    def test_response(self) -> NDArray[np.float64]:
        """`exp(-k^2 (4 D^2 - D^2) / 24)`: makes the Gaussian filter twice as wide."""
        response: NDArray[np.float64] = np.exp(
            -self.grid.k_squared * (3.0 * self.filter_width**2 / 24.0)
        )
        return response

    def to_physical(self, field_hat: FieldHat) -> Field:
        """Return real fields."""
        return to_physical(field_hat, self.grid.num_points)

    def to_spectral(self, field: Field) -> FieldHat:
        """Return coefficients, zero at Nyquist wavenumbers."""
        points = self.grid.num_points
        return resize(to_spectral(field), points, points)

    def test_filtered(self, field_hat: FieldHat) -> FieldHat:
        """Return the coefficients at the test level: filtered, then truncated."""
        return resize(
            field_hat * self.test_response,
            self.grid.num_points,
            self.test_level.grid.num_points,
        )

    def jacobian_hat(self, vorticity_hat: FieldHat) -> FieldHat:
        """Return `J = u . grad(vorticity)` of the flow of a vorticity, alias-free."""
        return jacobian_hat(vorticity_hat, self.grid)

    def velocity_hat(self, vorticity_hat: FieldHat) -> tuple[FieldHat, FieldHat]:
        """Return `u = d psi / dy` and `v = -d psi / dx`."""
        return velocity_hat(vorticity_hat * self.grid.inverse_k_squared, self.grid)

    def product_hat(self, a_hat: FieldHat, b_hat: FieldHat) -> FieldHat:
        """Return the coefficients of `a b`, formed on a grid padded by 3/2."""
        points = padded_points(self.grid.num_points)
        a, b = (
            to_physical(resize(hat, self.grid.num_points, points), points)
            for hat in (a_hat, b_hat)
        )
        return resize(to_spectral(a * b), points, self.grid.num_points)

    def mean_product(self, a_hat: FieldHat, b_hat: FieldHat) -> Any:
        """Return `<a b>`, shape `(..., 1, 1)`, as the sum over all wavenumbers."""
        density = (a_hat * b_hat.conj()).real * self.grid.hermitian_weights
        return density.sum((-2, -1), keepdims=True)


def strain_hat(vorticity_hat: FieldHat, grid: Any) -> Two:
    """Return `S_xx = psi_xy` and `S_xy = (psi_yy - psi_xx) / 2`; `S_yy = -S_xx`."""
    psi_hat = vorticity_hat * grid.inverse_k_squared
    return (
        -grid.kx * grid.ky * psi_hat,
        0.5 * (grid.kx**2 - grid.ky**2) * psi_hat,
    )


def strain_rate(vorticity_hat: FieldHat, operators: SpectralOperators) -> Any:
    """Return `|S| = sqrt(2 S_ij S_ij) = 2 sqrt(S_xx^2 + S_xy^2)`, physical."""
    s_xx, s_xy = _physical(strain_hat(vorticity_hat, operators.grid), operators)
    return 2.0 * operators.array_namespace.sqrt(s_xx**2 + s_xy**2)


def smagorinsky_hat(vorticity_hat: FieldHat, operators: SpectralOperators) -> FieldHat:
    """Return `-curl(div(tau))` of `tau_ij = -2 D^2 |S| S_ij`: for a coefficient of 1.

    Of a stress without trace, `tau_yy = -tau_xx`:

        curl(div(tau)) = (d_xx - d_yy) tau_xy - 2 d_xy tau_xx
    """
    grid = operators.grid
    s_xx, s_xy = _physical(strain_hat(vorticity_hat, grid), operators)
    size = operators.array_namespace.sqrt(s_xx**2 + s_xy**2)
    factor = -4.0 * operators.filter_width**2 * size
    xx_hat, xy_hat = (operators.to_spectral(factor * part) for part in (s_xx, s_xy))
    forcing: FieldHat = (
        grid.kx**2 - grid.ky**2
    ) * xy_hat - 2.0 * grid.kx * grid.ky * xx_hat
    return forcing


def leith_hat(vorticity_hat: FieldHat, operators: SpectralOperators) -> FieldHat:
    """Return `div(D^3 |grad(w)| grad(w))`: for a coefficient of 1."""
    grid = operators.grid
    gradient_hat = 1j * grid.kx * vorticity_hat, 1j * grid.ky * vorticity_hat
    along_x, along_y = _physical(gradient_hat, operators)
    size = operators.array_namespace.sqrt(along_x**2 + along_y**2)
    factor = operators.filter_width**3 * size
    forcing: FieldHat = 1j * (
        grid.kx * operators.to_spectral(factor * along_x)
        + grid.ky * operators.to_spectral(factor * along_y)
    )
    return forcing


def germano_coefficient(
    vorticity_hat: FieldHat,
    forcing_hat: FieldHat,
    model: Callable[[FieldHat, SpectralOperators], FieldHat],
    operators: SpectralOperators,
) -> Any:
    """Return the c with which `Pi = c N` fits the identity of Germano best.

        L = J(test(w)) - test(J(w)),   M = N_2D(test(w)) - test(N_D(w)),
        c = max(<L, M>, 0) / <M, M>,   <a, b> = sum_k Re(conj(a_hat) b_hat) / k^2

    L is what the forcing at twice the filter width has more than the test-filtered
    forcing at D, whatever the closure is. The norm is that of the flux of vorticity.

    Args:
        vorticity_hat: coefficients of w.
        forcing_hat: N_D of it.
        model: `(vorticity_hat, operators) -> N_hat`, the closure for c = 1.
        operators: of the LES grid.

    Returns:
        c, shape `(..., 1, 1)`.
    """
    test = operators.test_level
    test_hat = operators.test_filtered(vorticity_hat)
    jacobian_hat = operators.jacobian_hat(vorticity_hat)
    resolved = test.jacobian_hat(test_hat) - operators.test_filtered(jacobian_hat)
    modelled = model(test_hat, test) - operators.test_filtered(forcing_hat)
    weighted = modelled * test.grid.inverse_k_squared
    return clipped_ratio(
        test.mean_product(weighted, resolved),
        test.mean_product(weighted, modelled),
        operators.array_namespace,
    )


def clipped_ratio(numerator: Any, denominator: Any, namespace: Any) -> Any:
    """Return `max(numerator, 0) / denominator`, and 0 where both vanish."""
    positive = namespace.maximum(numerator, 0.0)
    return positive / namespace.where(denominator > 0.0, denominator, 1.0)


def _physical(two: Two, operators: SpectralOperators) -> tuple[Any, Any]:
    return operators.to_physical(two[0]), operators.to_physical(two[1])


@dataclass(frozen=True, kw_only=True)
class ClassicClosure(ABC):
    """A closure given by a formula: `(vorticity, streamfunction) -> sgs_forcing`.

    Called with physical fields of shape `(..., nx, ny)`, so with ensembles too. In a
    simulation the solver asks `on(modes)` for a function of coefficients instead, which
    saves the transforms between.

    Attributes:
        filter_width: D, of the filter of the LES; None is two cells of its grid.
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
        values = np.asarray(vorticity)
        operators = self.operators(as_pair(values.shape[-2:]))
        hat = self.forcing_hat(operators.to_spectral(values), operators)
        return operators.to_physical(hat).astype(values.dtype, copy=False)

    def on(self, modes: Modes) -> AddForcing:
        """Return `(vorticity_hat, out)`, which adds sgs_forcing on these modes."""
        self.check_domain(modes)
        points, wide = modes.grid.num_points, modes.quadrature.num_points
        operators = self.operators(points)
        columns = modes.shape[1]

        def add_forcing(vorticity_hat: FieldHat, out: FieldHat) -> None:
            hat = self.forcing_hat(resize(vorticity_hat, wide, points), operators)
            out += resize(hat, points, wide)[:, :columns]

        return add_forcing

    def check_domain(self, modes: Modes) -> None:
        """Raise ValueError when the domain of the modes is not `lengths`."""
        if modes.grid.lengths != self.lengths:
            raise ValueError(
                f"{type(self).__name__} was made for a domain of {self.lengths}; the "
                f"flow's is {modes.grid.lengths}. Give it lengths=flow.lengths."
            )

    def operators(self, num_points: tuple[int, int]) -> SpectralOperators:
        """Return the operators on a grid of this domain."""
        return _operators(num_points, self.lengths, self.filter_width)


@dataclass(frozen=True, kw_only=True)
class NoClosure(ClassicClosure):
    """No subgrid forcing: `Pi = 0`.

    The floor of every comparison. Unlike `closure=None`, which makes a DNS with a third
    of its wavenumbers cut off, this is an LES on all wavenumbers below Nyquist.

    Example:
        >>> import numpy as np
        >>> fields = np.ones((2, 8, 8))
        >>> NoClosure()(*fields).any()
        np.False_
    """

    # The flow may have layers, unlike that of a formula for one plane.
    any_layers: ClassVar[bool] = True

    def forcing_hat(
        self, vorticity_hat: FieldHat, operators: SpectralOperators
    ) -> FieldHat:
        """Return zeros."""
        return 0.0 * vorticity_hat

    def on(self, modes: Modes) -> AddForcing:
        """Return a function that does nothing."""
        return lambda vorticity_hat, out: None


@lru_cache(maxsize=16)
def _operators(
    num_points: tuple[int, int],
    lengths: tuple[float, float],
    filter_width: float | None,
) -> SpectralOperators:
    grid = Grid(num_points, lengths)
    return SpectralOperators(grid, filter_width or default_width(grid))
