"""Formulas of closures, in general operators and with the transforms of the solver."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from turbulence_data.solver._grid import (
    Field,
    FieldHat,
    Grid,
    jacobian_hat,
    resize,
    to_physical,
    to_spectral,
)
from turbulence_data.solver._modes import Modes, aliased_modes, padded_modes
from turbulence_data.solver.fftw._advection import (
    Advection,
    PairTransform,
)
from turbulence_data.solver.fftw._pointwise import pointwise_kernels, resolved_rows

Two = tuple[FieldHat, FieldHat]


@dataclass(frozen=True)
class SpectralOperators:
    """Transforms and products of fields `(..., nx, ny)` on the grid of an LES.

    Formulas of closures use only these and plain arithmetic, so that another array
    library only needs its own version of this class. Coefficients have the layout
    `(..., nx, ny // 2 + 1)`; those of Nyquist wavenumbers are zero.

    Attributes:
        grid: grid of the LES.
        filter_width: D, width of the filter of the LES.
    """

    grid: Grid
    filter_width: float

    @property
    def array_namespace(self) -> Any:
        """The array module that provides `sqrt` and `maximum`."""
        return np

    @cached_property
    def test_level(self) -> Self:
        """The operators of an LES with half the points and twice the filter width."""
        nx, ny = self.grid.num_points
        if min(nx, ny) < 8:
            raise ValueError(
                "a dynamic closure determines its coefficient on a test grid with half "
                "the points, so it needs at least 8 points in each direction; received "
                f"{(nx, ny)}."
            )
        coarse = Grid((nx // 2, ny // 2), self.grid.lengths)
        return type(self)(coarse, 2.0 * self.filter_width)

    @cached_property
    def test_response(self) -> NDArray[np.float64]:
        """Transfer function of the test filter, see `test_response`."""
        return test_response(self.grid, self.filter_width)

    def to_physical(self, field_hat: FieldHat) -> Field:
        """Return real fields."""
        return to_physical(field_hat, self.grid.num_points)

    def to_spectral(self, field: Field) -> FieldHat:
        """Return the coefficients of fields, zero at Nyquist wavenumbers."""
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

    def mean_product(self, a_hat: FieldHat, b_hat: FieldHat) -> Any:
        """Return `<a b>`, shape `(..., 1, 1)`, as the sum over all wavenumbers."""
        density = (a_hat * b_hat.conj()).real * self.grid.hermitian_weights
        return density.sum((-2, -1), keepdims=True)


def test_response(on: Grid | Modes, filter_width: float) -> NDArray[np.float64]:
    """Return `exp(-k^2 (4 D^2 - D^2) / 24)`, which doubles the filter width D."""
    return np.asarray(np.exp(-on.k_squared * (3.0 * filter_width**2 / 24.0)))


def strain_hat(vorticity_hat: FieldHat, grid: Any) -> Two:
    """Return `S_xx = psi_xy` and `S_xy = (psi_yy - psi_xx) / 2`; `S_yy = -S_xx`."""
    psi_hat = vorticity_hat * grid.inverse_k_squared
    return (-grid.kx * grid.ky * psi_hat, 0.5 * (grid.kx**2 - grid.ky**2) * psi_hat)


def strain_rate(vorticity_hat: FieldHat, operators: SpectralOperators) -> Any:
    """Return the field `|S| = sqrt(2 S_ij S_ij) = 2 sqrt(S_xx^2 + S_xy^2)`."""
    s_xx, s_xy = map(operators.to_physical, strain_hat(vorticity_hat, operators.grid))
    return 2.0 * operators.array_namespace.sqrt(s_xx**2 + s_xy**2)


def smagorinsky_hat(vorticity_hat: FieldHat, operators: SpectralOperators) -> FieldHat:
    """Return `-curl(div(tau))` of `tau_ij = -2 D^2 |S| S_ij`, with coefficient 1.

    For a traceless stress, `tau_yy = -tau_xx`:

        curl(div(tau)) = (d_xx - d_yy) tau_xy - 2 d_xy tau_xx
    """
    grid = operators.grid
    s_xx, s_xy = map(operators.to_physical, strain_hat(vorticity_hat, grid))
    size = operators.array_namespace.sqrt(s_xx**2 + s_xy**2)
    factor = -4.0 * operators.filter_width**2 * size
    xx_hat, xy_hat = (operators.to_spectral(factor * part) for part in (s_xx, s_xy))
    forcing: FieldHat = (
        grid.kx**2 - grid.ky**2
    ) * xy_hat - 2.0 * grid.kx * grid.ky * xx_hat
    return forcing


def leith_hat(vorticity_hat: FieldHat, operators: SpectralOperators) -> FieldHat:
    """Return `div(D^3 |grad(w)| grad(w))`, with coefficient 1."""
    grid = operators.grid
    gradient_hat = 1j * grid.kx * vorticity_hat, 1j * grid.ky * vorticity_hat
    along_x, along_y = map(operators.to_physical, gradient_hat)
    size = operators.array_namespace.sqrt(along_x**2 + along_y**2)
    factor = operators.filter_width**3 * size
    forcing: FieldHat = 1j * (
        grid.kx * operators.to_spectral(factor * along_x)
        + grid.ky * operators.to_spectral(factor * along_y)
    )
    return forcing


def germano_identity(
    vorticity_hat: FieldHat,
    model: Callable[[FieldHat, SpectralOperators], FieldHat],
    operators: SpectralOperators,
) -> tuple[Any, FieldHat]:
    """Return the c of `DynamicSmagorinsky`, shape `(..., 1, 1)`, and N_D(w)."""
    test, forcing_hat = operators.test_level, model(vorticity_hat, operators)
    test_hat = operators.test_filtered(vorticity_hat)
    jacobian_hat = operators.jacobian_hat(vorticity_hat)
    resolved = test.jacobian_hat(test_hat) - operators.test_filtered(jacobian_hat)
    modelled = model(test_hat, test) - operators.test_filtered(forcing_hat)
    weighted = modelled * test.grid.inverse_k_squared
    coefficient = clipped_ratio(
        test.mean_product(weighted, resolved),
        test.mean_product(weighted, modelled),
        operators.array_namespace,
    )
    return coefficient, forcing_hat


def clipped_ratio(numerator: Any, denominator: Any, namespace: Any) -> Any:
    """Return `max(numerator, 0) / denominator`, and 0 where both vanish."""
    positive = namespace.maximum(numerator, 0.0)
    return positive / namespace.where(denominator > 0.0, denominator, 1.0)


Tables = tuple[NDArray[np.floating], NDArray[np.floating]]


class PlannedEddies:
    """Compute `scale (alpha F[|z| a] + gamma F[|z| b])`, z = a + i b.

    a and b are real fields of the vorticity, transformed together as one complex field,
    and `|z| z` is transformed back as one.

    Args:
        modes: all modes below Nyquist, with the LES grid for the products.
        fields: c and d of `a_hat = phase c w` and `b_hat = phase d w`.
        phase: 1 or i.
        weights: alpha and gamma.
        scale: a factor, real or imaginary.

    Attributes:
        modes: as above.
    """

    def __init__(
        self,
        modes: Modes,
        fields: Tables,
        phase: complex,
        weights: Tables,
        scale: complex,
    ) -> None:
        self.modes, self._kernels = modes, pointwise_kernels()
        self._pair = PairTransform(modes, self._kernels)
        mask, (c, d) = modes.mask, fields
        self._read = self._pair.factors(c * mask, -d * mask)
        self._turn = phase / 1j  # the kernel makes i c w and -i d w
        # Coefficients are nx ny times too large, and the kernel doubles them.
        size = 0.5 * abs(scale) / float(np.prod(modes.grid.num_points))
        alpha, gamma = size * weights[0] * mask, size * weights[1] * mask
        self._write = self._pair.factors(alpha, gamma)
        self._phase = scale / abs(scale)  # -1 or i
        self._forcing = np.zeros(modes.shape, modes.complex_dtype)
        self._part = np.empty_like(self._forcing)

    def __call__(self, vorticity_hat: FieldHat) -> FieldHat:
        """Return the forcing, valid until the next call."""
        kernels = self._kernels
        turned = vorticity_hat if self._turn == 1.0 else self._turn * vorticity_hat
        read = self._pair.reader(turned, self._read)
        write = self._pair.writer(self._write, self._forcing)
        self._pair.apply(read, lambda z, _: kernels.times_modulus(z), write)
        self._forcing *= self._phase
        return self._forcing

    def add(self, factor: float, forcing_hat: FieldHat, out: FieldHat) -> None:
        """Add `factor` times a forcing of this grid in the simulation's layout."""
        np.multiply(forcing_hat, factor, out=self._part)
        for rows in resolved_rows(self.modes.cutoff[0]):
            out[rows] += self._part[rows]


Derivative = NDArray[np.complexfloating]
MakeEddies = Callable[[Modes, float], PlannedEddies]
"""`(modes, filter_width) -> closure`, with coefficient 1."""


def smagorinsky_eddies(modes: Modes, filter_width: float) -> PlannedEddies:
    """Return `-curl(div(-2 D^2 |S| S_ij))`, where `|S| = 2 |S_xx + i S_xy|`."""
    narrow = aliased_modes(modes.grid, modes.dtype)
    s_xx, s_xy = (s.real for s in strain_hat(narrow.mask.astype(complex), narrow))
    weights = narrow.k_squared * s_xx, narrow.k_squared * s_xy
    return PlannedEddies(narrow, (s_xx, s_xy), 1.0, weights, -8.0 * filter_width**2)


def leith_eddies(modes: Modes, filter_width: float) -> PlannedEddies:
    """Return `div(D^3 |grad(w)| grad(w))`."""
    narrow = aliased_modes(modes.grid, modes.dtype)
    kx, ky = np.broadcast_arrays(narrow.kx, narrow.ky)
    return PlannedEddies(narrow, (kx, ky), 1j, (kx, ky), 1j * filter_width**3)


class PlannedDynamic:
    """Add the subgrid forcing of an eddy viscosity with a dynamic coefficient.

    The solver has already written the advection `-J` of the same vorticity. This leaves
    one transform each way on the LES grid and two on half as many points.
    """

    def __init__(
        self, modes: Modes, operators: SpectralOperators, make: MakeEddies
    ) -> None:
        test_modes = padded_modes(operators.test_level.grid, modes.dtype)
        self._eddies = make(modes, operators.filter_width)
        self._test_eddies = make(test_modes, 2.0 * operators.filter_width)
        self._test_advection = Advection(test_modes)
        narrow = self._test_eddies.modes
        response = test_response(narrow, operators.filter_width)
        self._response = _doubled(response * narrow.mask, modes.dtype)
        weights = narrow.hermitian_weights * narrow.inverse_k_squared
        self._weights = _doubled(weights, modes.dtype)
        self._test_vorticity = np.zeros(test_modes.shape, modes.complex_dtype)
        self._test_advected = np.zeros_like(self._test_vorticity)
        self._resolved, self._modelled = (
            np.zeros(narrow.shape, modes.complex_dtype) for _ in range(2)
        )

    def __call__(self, vorticity_hat: FieldHat, out: FieldHat) -> None:
        """Add the forcing to `out`, which holds the advection of the vorticity."""
        forcing_hat = self._eddies(vorticity_hat)
        coefficient = self.coefficient(vorticity_hat, out, forcing_hat)
        if coefficient > 0.0:
            self._eddies.add(coefficient, forcing_hat, out)

    def coefficient(
        self, vorticity_hat: FieldHat, advection_hat: FieldHat, forcing_hat: FieldHat
    ) -> float:
        """Return the coefficient c, see `germano_identity`."""
        self._filter(vorticity_hat, self._test_vorticity)
        self._test_advection(self._test_vorticity, self._test_advected)
        test_forcing_hat = self._test_eddies(self._test_vorticity)
        self._filter(advection_hat, self._resolved)
        self._filter(forcing_hat, self._modelled)
        for rows in resolved_rows(self._test_eddies.modes.cutoff[0]):
            self._resolved[rows] -= self._test_advected[rows]
        np.subtract(test_forcing_hat, self._modelled, out=self._modelled)
        modelled = self._modelled.view(self._weights.dtype)
        weighted = (modelled * self._weights).ravel()
        numerator = float(weighted @ self._resolved.view(self._weights.dtype).ravel())
        if not numerator > 0.0:
            return 0.0
        return numerator / float(weighted @ modelled.ravel())

    def _filter(self, field_hat: FieldHat, out: FieldHat) -> None:
        """Write the test-filtered coefficients; layouts differ in their middle rows.

        The factors are real, so coefficients are multiplied as real arrays.
        """
        real, columns = self._weights.dtype, self._response.shape[1] // 2
        for rows in resolved_rows(self._test_eddies.modes.cutoff[0]):
            np.multiply(
                field_hat[rows, :columns].view(real),
                self._response[rows],
                out=out[rows].view(real),
            )


def _doubled(table: NDArray[np.float64], dtype: np.dtype) -> NDArray[np.floating]:
    return np.repeat(table, 2, axis=1).astype(dtype)


class PlannedJacobians:
    """Add `-sum_n J(c_n psi, c_n w)` for derivatives with symbols c_n."""

    def __init__(self, modes: Modes, derivatives: Sequence[Derivative]) -> None:
        self._symbols = [symbol.astype(modes.complex_dtype) for symbol in derivatives]
        self._advection = Advection(modes)
        self._field = np.zeros(modes.shape, modes.complex_dtype)
        self._advected = np.empty_like(self._field)

    def __call__(self, vorticity_hat: FieldHat, out: FieldHat) -> None:
        """Add the forcing to `out`."""
        for symbol in self._symbols:
            np.multiply(symbol, vorticity_hat, out=self._field)
            self._advection(self._field, self._advected)
            out += self._advected
