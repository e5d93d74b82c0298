"""The flux divergence of two layers, each advected by a streamfunction of its own."""

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


class Transport:
    """Write `-div(u_i q_i) = -(i kx F[u_i q_i] + i ky F[v_i q_i])` of two layers.

    Both scalars travel to physical space as one complex field, the velocities of each
    layer as another one, there and back: ten real transforms. The flux form makes the
    layer mean of q exact whatever the aliasing.

    Args:
        modes: resolved wavenumbers and their precision.
        planner: of FFTW; a planner that measures gives other bits each run.
        threads: how many work on one grid, where it is large enough to be worth it.
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
