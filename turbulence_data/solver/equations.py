"""The vorticity equation as a linear operator and a nonlinear function."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from turbulence_data.config import FlowConfig
from turbulence_data.solver.advection import advection_of
from turbulence_data.solver.forcing import forcing_of
from turbulence_data.solver.modes import Modes
from turbulence_data.solver.transforms import Field, FieldHat

T = TypeVar("T", float, NDArray[np.float64])

Closure = Callable[[Field, Field], Field]
"""`(vorticity, streamfunction) -> sgs_forcing`, physical fields of one shape."""


class VorticityEquation:
    """`d(vorticity_hat)/dt = linear_operator * vorticity_hat + nonlinear_terms`.

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
        self._advection = advection_of(modes, planner, threads)

    def nonlinear_terms(
        self, vorticity_hat: FieldHat, time: float, out: FieldHat
    ) -> None:
        """Writes advection, forcing and closure into `out`; the argument is kept."""
        self._advection(vorticity_hat, out)
        self._forcing(out, time)
        if self._closure is not None:
            out += self._subgrid_forcing_hat(self._closure, vorticity_hat)

    def advection_rate(self, vorticity_hat: FieldHat) -> float:
        """Returns `max(|u| Kx + |v| Ky)`: the fastest frequency of the advection."""
        return self._advection.rate(vorticity_hat)

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


def damping_rate(flow: FlowConfig, k_squared: T) -> T:
    """Returns `nu k^2 + nu_h k^2p + drag`, how fast a mode decays by itself."""
    return (
        flow.viscosity * k_squared
        + flow.hyperviscosity * k_squared**flow.hyperviscosity_order
        + flow.linear_drag
    )


def _linear_operator(flow: FlowConfig, modes: Modes) -> NDArray[np.inexact]:
    """`-nu k^2 - nu_h k^2p - drag + i beta kx / k^2`, real where beta is 0."""
    k_squared = modes.k_squared
    decay = -damping_rate(flow, k_squared)
    if flow.beta == 0.0:
        return decay
    return decay + 1j * flow.beta * modes.kx * modes.inverse_k_squared
