"""The vorticity equation as a linear operator and a nonlinear function."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from turbulence_data.config import FlowConfig
from turbulence_data.solver import kernels
from turbulence_data.solver.forcing import forcing_of
from turbulence_data.solver.modes import Modes
from turbulence_data.solver.pair_transform import PairTransform
from turbulence_data.solver.transforms import Field, FieldHat

_logger = logging.getLogger(__name__)

Closure = Callable[[Field, Field], Field]
"""`(vorticity, streamfunction) -> sgs_forcing`, physical fields of one shape."""


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


class VorticityEquation:
    """`d(vorticity_hat)/dt = linear_operator * vorticity_hat + nonlinear_terms`.

    The advection has the form of Basdevant (1983, doi:10.1016/0021-9991(83)90064-5),
    `J = (d_xx - d_yy)(u v) + d_xy(v^2 - u^2)`: two inverse and two forward transforms.

    Args:
        flow: physical parameters.
        modes: resolved wavenumbers.
        closure: subgrid forcing to add to the right-hand side, or None.
        planner: FFTW's planner; anything but FFTW_ESTIMATE gives other bits each run.
        threads: threads of one transform.
    """

    def __init__(
        self,
        flow: FlowConfig,
        modes: Modes,
        closure: Closure | None = None,
        planner: str = "FFTW_ESTIMATE",
        threads: int = 1,
    ) -> None:
        self.modes = modes
        self.linear_operator = _linear_operator(flow, modes)
        self._closure = closure
        self._forcing = forcing_of(flow, modes)
        self._pair = PairTransform(modes, planner, threads)
        self._kernels = pointwise_kernels()
        kx, ky, inverse = modes.kx, modes.ky, modes.inverse_k_squared
        scale = modes.mask / float(np.prod(modes.quadrature.num_points))
        self._kx_over_k2, self._ky_over_k2 = kx * inverse, ky * inverse
        self._product_factor = (kx**2 - ky**2) * scale
        self._difference_factor = kx * ky * scale

    def nonlinear_terms(
        self, vorticity_hat: FieldHat, time: float, out: FieldHat
    ) -> None:
        """Writes advection, forcing and closure into `out`; the argument is kept."""
        self._fill_velocity(vorticity_hat)
        product, difference = self._pair.apply(self._kernels.velocity_products)
        self._kernels.advection(
            product, difference, self._product_factor, self._difference_factor, out
        )
        self._forcing(out, time)
        if self._closure is not None:
            out += self._subgrid_forcing_hat(self._closure, vorticity_hat)

    def advection_rate(self, vorticity_hat: FieldHat) -> float:
        """Returns `max(|u| Kx + |v| Ky)`: the fastest frequency of the advection."""
        self._fill_velocity(vorticity_hat)
        largest_kx, largest_ky = self.modes.largest_wavenumbers
        return self._pair.reduce(
            lambda u, v: float(np.max(np.abs(u) * largest_kx + np.abs(v) * largest_ky))
        )

    def _fill_velocity(self, vorticity_hat: FieldHat) -> None:
        self._kernels.velocity(
            vorticity_hat, self._ky_over_k2, self._kx_over_k2, *self._pair.inputs
        )

    def _subgrid_forcing_hat(
        self, closure: Closure, vorticity_hat: FieldHat
    ) -> FieldHat:
        modes = self.modes
        vorticity = modes.to_physical(vorticity_hat)
        streamfunction = modes.to_physical(vorticity_hat * modes.inverse_k_squared)
        sgs_forcing = np.asarray(closure(vorticity, streamfunction))
        if sgs_forcing.shape != vorticity.shape or np.iscomplexobj(sgs_forcing):
            raise ValueError(
                "a closure must return real sgs_forcing on the grid of its arguments; "
                f"expected shape {vorticity.shape}, received {sgs_forcing.shape} of "
                f"dtype {sgs_forcing.dtype}."
            )
        return modes.from_physical(sgs_forcing.astype(np.float64))


def _linear_operator(flow: FlowConfig, modes: Modes) -> NDArray[np.inexact]:
    """`-nu k^2 - nu_h k^2p - drag + i beta kx / k^2`, real where beta is 0."""
    k_squared = modes.k_squared
    damping = (
        -flow.viscosity * k_squared
        - flow.hyperviscosity * k_squared**flow.hyperviscosity_order
        - flow.linear_drag
    )
    if flow.beta == 0.0:
        return damping
    return damping + 1j * flow.beta * modes.kx * modes.inverse_k_squared
