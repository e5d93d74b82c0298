"""The nonlinear terms: advection of vorticity, and of two layers by their own flows."""

from __future__ import annotations

import numpy as np

from turbulence_data.solver._grid import FieldHat
from turbulence_data.solver._modes import Modes
from turbulence_data.solver.fftw._pair_transform import (
    Columns,
    Pair,
    PairTransform,
    zeros,
)
from turbulence_data.solver.fftw._pointwise import pointwise_kernels


class Advection:
    """Write `-J = (kx^2 - ky^2) F[u v] - kx ky F[u^2 - v^2]`.

    This is the form of Basdevant (1983, doi:10.1016/0021-9991(83)90064-5) of
    `J = u . grad(vorticity)`: two fields to physical space, two back.
    A planner of FFTW that measures gives other bits each run.
    """

    def __init__(
        self, modes: Modes, planner: str = "FFTW_ESTIMATE", threads: int = 1
    ) -> None:
        self._kernels = pointwise_kernels()
        self._pair = PairTransform(modes, self._kernels, planner, threads)
        self._cutoff, self._largest = modes.cutoff[0], modes.largest_wavenumbers
        kx, ky, inverse = modes.kx, modes.ky, modes.inverse_k_squared
        # Coefficients come back 2 nx ny times too large.
        scale = modes.mask / (2.0 * float(np.prod(modes.quadrature.num_points)))
        self._velocity = self._pair.factors(modes, ky * inverse, kx * inverse)
        self._products = self._pair.factors(
            modes, -kx * ky * scale, (kx**2 - ky**2) * scale
        )

    def __call__(self, vorticity_hat: FieldHat, out: FieldHat) -> None:
        """Write `-J` into `out`; the argument is kept."""

        def write(columns: slice, products: Pair) -> None:
            first = columns.start
            self._kernels.advection(
                products, self._products[first], self._cutoff, first, out
            )

        self._pair.apply(self._reader(vorticity_hat), self._kernels.products, write)

    def rate(self, vorticity_hat: FieldHat) -> float:
        """Return `max(|u| Kx + |v| Ky)`: the fastest frequency of the advection."""
        kx, ky = self._largest
        return self._pair.largest(
            self._reader(vorticity_hat),
            lambda z: float(np.max(np.abs(z.real) * kx + np.abs(z.imag) * ky)),
        )

    def _reader(self, vorticity_hat: FieldHat) -> Columns:
        def read(columns: slice, velocity: Pair) -> None:
            first = columns.start
            self._kernels.velocity(
                vorticity_hat, first, self._velocity[first], self._cutoff, velocity
            )

        return read


class Transport:
    """Write `-div(u_i q_i) = -(i kx F[u_i q_i] + i ky F[v_i q_i])` of two layers.

    Both scalars travel to physical space as one complex field, the velocities of each
    layer as another one, there and back: ten real transforms. The flux form makes the
    layer mean of q exact whatever the aliasing.
    """

    def __init__(
        self, modes: Modes, planner: str = "FFTW_ESTIMATE", threads: int = 1
    ) -> None:
        self._kernels = pointwise_kernels()
        self._pair = PairTransform(modes, self._kernels, planner, threads)
        self._cutoff = modes.cutoff[0]
        shape = (2, *modes.quadrature.num_points)
        self._scalars = zeros(shape, modes.dtype)
        # Coefficients come back 2 nx ny times too large.
        scale = modes.mask / (-2.0 * float(np.prod(modes.quadrature.num_points)))
        self._velocity = self._pair.factors(modes, modes.ky, modes.kx)
        self._fluxes = self._pair.factors(modes, modes.kx * scale, modes.ky * scale)

    def __call__(
        self, streamfunction_hat: FieldHat, scalar_hat: FieldHat, out: FieldHat
    ) -> None:
        """Write `-div(u_i q_i)` into `out`, (2, nx, Ky + 1); arguments are kept."""
        self._pair.to_points(self._both(scalar_hat), *self._scalars)
        for psi_hat, scalar, result in zip(
            streamfunction_hat, self._scalars, out, strict=True
        ):
            self._pair.times(self._velocities(psi_hat), scalar, self._writer(result))

    def _both(self, scalar_hat: FieldHat) -> Columns:
        def read(columns: slice, pair: Pair) -> None:
            width = columns.stop - columns.start
            self._kernels.real_pair(
                *scalar_hat, columns.start, self._cutoff, pair[:, :, :width]
            )

        return read

    def _velocities(self, streamfunction_hat: FieldHat) -> Columns:
        def read(columns: slice, pair: Pair) -> None:
            first = columns.start
            self._kernels.velocity(
                streamfunction_hat, first, self._velocity[first], self._cutoff, pair
            )

        return read

    def _writer(self, out: FieldHat) -> Columns:
        def write(columns: slice, fluxes: Pair) -> None:
            first = columns.start
            self._kernels.divergence(
                fluxes, self._fluxes[first], self._cutoff, first, out
            )

        return write
