"""The vorticity equation as a linear operator and a nonlinear function."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from turbulence_data._checks import check_whole
from turbulence_data.config import FlowConfig
from turbulence_data.solver.advection import Advection
from turbulence_data.solver.forcing import ForcingLike, drive_of
from turbulence_data.solver.modes import Modes
from turbulence_data.solver.transforms import Field, FieldHat

T = TypeVar("T", float, NDArray[np.float64])

Closure = Callable[[Field, Field], Field]
"""`(vorticity, streamfunction) -> sgs_forcing`, physical fields of one shape."""

AddForcing = Callable[[FieldHat, FieldHat], None]
"""`(vorticity_hat, out)`: adds the coefficients of sgs_forcing to `out`.

In a simulation `out` then holds the advection `-J` of the same vorticity, and no more.
"""


class VorticityEquation:
    """`d(vorticity_hat)/dt = linear_operator * vorticity_hat + nonlinear_terms`.

    Args:
        flow: physical parameters.
        modes: resolved wavenumbers.
        closure: subgrid forcing to add to the right-hand side, or None.
        planner: FFTW's planner; anything but FFTW_ESTIMATE gives other bits each run.
        threads: threads that share one grid.
        forcing: what drives the flow instead of its own forcing, or None.

    Attributes:
        flow: physical parameters.
        modes: resolved wavenumbers; their dtype is the precision of everything here.
        closure: subgrid forcing, or None.
        forcing: what was given to drive the flow instead of its own forcing, or None.
        drive: the forcing on these modes.
        linear_operator: `-nu k^2 - nu_h k^2p - drag + i beta kx / k^2`, real where beta
            is 0.
    """

    def __init__(
        self,
        flow: FlowConfig,
        modes: Modes,
        closure: Closure | None = None,
        planner: str = "FFTW_ESTIMATE",
        threads: int = 1,
        forcing: ForcingLike | None = None,
    ) -> None:
        if closure is not None and not callable(closure):
            raise TypeError(
                "closure must be a callable (vorticity, streamfunction) -> "
                f"sgs_forcing, or None for a DNS; received {closure!r}."
            )
        self.flow, self.modes = flow, modes
        self.closure, self.forcing = closure, forcing
        self.drive = drive_of(flow, forcing, modes)
        self.linear_operator = _linear_operator(flow, modes)
        check_whole("threads", threads, at_least=1)
        self._planner, self._threads = planner, threads
        self._add_forcing = None if closure is None else add_forcing(closure, modes)

    @cached_property
    def _advection(self) -> Advection:
        # Not for engines with transforms of their own.
        return Advection(self.modes, self._planner, self._threads)

    def nonlinear_terms(
        self, vorticity_hat: FieldHat, time: float, out: FieldHat
    ) -> None:
        """Writes advection, forcing and closure into `out`; the argument is kept."""
        self._advection(vorticity_hat, out)
        if self._add_forcing is not None:
            self._add_forcing(vorticity_hat, out)
        self.drive.add_source(out, time)

    def advection_rate(self, vorticity_hat: FieldHat) -> float:
        """Returns `max(|u| Kx + |v| Ky)`: the fastest frequency of the advection."""
        return self._advection.rate(vorticity_hat)

    def source_damping(self, time: float) -> float:
        """Returns how fast the linear terms damp what the source at `time` drives.

        The mean over the modes of the source, by their share of its power.
        """
        source = np.zeros(self.modes.shape, self.modes.complex_dtype)
        self.drive.add_source(source, time)
        return self._mean_damping(np.abs(source) ** 2)

    def noise_damping(self) -> float:
        """Returns the same for the modes of a stochastic forcing; 0 without one."""
        noise = self.drive.noise
        return 0.0 if noise is None else self._mean_damping(noise.variance)

    def _mean_damping(self, power: NDArray[np.floating]) -> float:
        weighted = self.modes.hermitian_weights * power
        total = float(weighted.sum())
        if total == 0.0:
            return 0.0
        return float(np.sum(weighted * -self.linear_operator.real)) / total


def add_forcing(closure: Closure, modes: Modes) -> AddForcing:
    """Returns a closure as a function of coefficients on the modes of an LES.

    A closure that has a method `on(modes)` knows one itself, without the transforms
    between.

    Raises:
        ValueError: in use, when the closure does not return real values on its grid.
    """
    on_modes: Callable[[Modes], AddForcing] | None = getattr(closure, "on", None)
    if on_modes is not None:
        return on_modes(modes)

    def add(vorticity_hat: FieldHat, out: FieldHat) -> None:
        vorticity = modes.to_physical(vorticity_hat)
        streamfunction = modes.to_physical(vorticity_hat * modes.inverse_k_squared)
        sgs_forcing = np.asarray(closure(vorticity, streamfunction))
        if sgs_forcing.shape != vorticity.shape or np.iscomplexobj(sgs_forcing):
            raise ValueError(
                "a closure must return real sgs_forcing on the grid of its arguments; "
                f"expected shape {vorticity.shape}, received {sgs_forcing.shape} of "
                f"dtype {sgs_forcing.dtype}."
            )
        out += modes.from_physical(sgs_forcing)

    return add


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
        return decay.astype(modes.dtype)
    rossby = 1j * flow.beta * modes.kx * modes.inverse_k_squared
    return (decay + rossby).astype(modes.complex_dtype)
