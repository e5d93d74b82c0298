"""The nonlinear term `-J` from vorticity coefficients, in the form of Basdevant."""

from __future__ import annotations

import logging
from functools import cache
from typing import Any, Protocol

import numpy as np

from turbulence_data.solver import kernels
from turbulence_data.solver.modes import Modes
from turbulence_data.solver.packed_transform import PackedTransform
from turbulence_data.solver.pair_transform import PairTransform
from turbulence_data.solver.transforms import FieldHat

_logger = logging.getLogger(__name__)

# Rows up to this length go through one complex transform instead of two real ones.
_LONGEST_PACKED_ROW = 384


@cache
def pointwise_kernels() -> Any:
    """Returns the numba kernels where numba is installed, else the NumPy ones.

    Both give the same bits; the log says once which are used.
    """
    try:
        from turbulence_data.solver import fused_kernels
    except ImportError:
        _logger.info("pointwise kernels: NumPy (install numba for the fused ones)")
        return kernels
    _logger.info("pointwise kernels: numba")
    return fused_kernels


class Advection(Protocol):
    """Writes `-J = (kx^2 - ky^2) F[u v] + kx ky F[v^2 - u^2]`.

    This is the form of Basdevant (1983, doi:10.1016/0021-9991(83)90064-5) of
    `J = u . grad(vorticity)`: two fields to physical space, two back.
    """

    def __call__(self, vorticity_hat: FieldHat, out: FieldHat) -> None:
        """Writes `-J` into `out`; the argument is kept."""

    def rate(self, vorticity_hat: FieldHat) -> float:
        """Returns `max(|u| Kx + |v| Ky)`: the fastest frequency of the advection."""


def advection_of(modes: Modes, planner: str, threads: int) -> Advection:
    """Returns the faster of the two implementations for the size of the grid."""
    if modes.quadrature.num_points[1] <= _LONGEST_PACKED_ROW:
        return PackedAdvection(modes, planner, threads)
    return PairAdvection(modes, planner, threads)


class _Coefficients:
    """What both implementations multiply coefficients with."""

    def __init__(self, modes: Modes) -> None:
        kx, ky, inverse = modes.kx, modes.ky, modes.inverse_k_squared
        scale = modes.mask / float(np.prod(modes.quadrature.num_points))
        self.kx_over_k2, self.ky_over_k2 = kx * inverse, ky * inverse
        self.product = (kx**2 - ky**2) * scale
        self.difference = kx * ky * scale


class PairAdvection:
    """Advection by two real transforms each way."""

    def __init__(
        self, modes: Modes, planner: str = "FFTW_ESTIMATE", threads: int = 1
    ) -> None:
        self._pair = PairTransform(modes, planner, threads)
        self._kernels = pointwise_kernels()
        self._factors = _Coefficients(modes)
        self._largest = modes.largest_wavenumbers

    def __call__(self, vorticity_hat: FieldHat, out: FieldHat) -> None:
        """See `Advection`."""
        self._fill(vorticity_hat)
        product, difference = self._pair.apply(self._kernels.velocity_products)
        factors = self._factors
        self._kernels.advection(
            product, difference, factors.product, factors.difference, out
        )

    def rate(self, vorticity_hat: FieldHat) -> float:
        """See `Advection`."""
        self._fill(vorticity_hat)
        kx, ky = self._largest
        return self._pair.reduce(
            lambda u, v: float(np.max(np.abs(u) * kx + np.abs(v) * ky))
        )

    def _fill(self, vorticity_hat: FieldHat) -> None:
        factors = self._factors
        self._kernels.velocity(
            vorticity_hat, factors.ky_over_k2, factors.kx_over_k2, *self._pair.inputs
        )


class PackedAdvection:
    """Advection by one complex transform of `u + i v` each way.

    `(u + i v)^2 = (u^2 - v^2) + 2 i u v` holds both products.
    """

    def __init__(
        self, modes: Modes, planner: str = "FFTW_ESTIMATE", threads: int = 1
    ) -> None:
        self._packed = PackedTransform(modes, planner, threads)
        self._kernels = pointwise_kernels()
        self._factors = _Coefficients(modes)
        self._quarter = 0.25 * self._factors.product
        self._half = 0.5 * self._factors.difference
        self._largest = modes.largest_wavenumbers

    def __call__(self, vorticity_hat: FieldHat, out: FieldHat) -> None:
        """See `Advection`."""
        self._fill(vorticity_hat)
        packed = self._packed
        packed.apply(self._kernels.square)
        self._kernels.packed_advection(
            packed.positive, packed.negative, self._quarter, self._half, out
        )

    def rate(self, vorticity_hat: FieldHat) -> float:
        """See `Advection`."""
        self._fill(vorticity_hat)
        kx, ky = self._largest
        return self._packed.largest(
            lambda z: float(np.max(np.abs(z.real) * kx + np.abs(z.imag) * ky))
        )

    def _fill(self, vorticity_hat: FieldHat) -> None:
        factors, packed = self._factors, self._packed
        self._kernels.packed_velocity(
            vorticity_hat,
            factors.ky_over_k2,
            factors.kx_over_k2,
            packed.positive,
            packed.negative,
        )
