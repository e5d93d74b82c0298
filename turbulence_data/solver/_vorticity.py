"""The vorticity equation of a flow in one plane."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

import numpy as np

from turbulence_data._checks import TWO_PI
from turbulence_data.config import FlowConfig
from turbulence_data.diagnostics import energy_budget, enstrophy, enstrophy_budget
from turbulence_data.solver._equation import Closure, Equation, Integrals, Operations
from turbulence_data.solver._forcing import ForcingLike, drive_of
from turbulence_data.solver._grid import FieldHat
from turbulence_data.solver._modes import Modes

# The longest automatic step, unless both the domain and the times of a flow are far
# from one: then a hundredth of its shortest time, at most a day in seconds.
_LONGEST, _LONGEST_PART = 0.01, 0.01
_FAR, _DAY = 100.0, 86400.0


class VorticityEquation(Equation):
    """`d(vorticity)/dt + J = nu lap(vorticity) - ... - beta v + closure + forcing`.

    Its linear operator is `-nu k^2 - nu_h k^2p - drag + i beta kx / k^2`, real where
    beta is 0; see `FlowConfig` for all terms.

    Args:
        flow: physical parameters.
        modes: resolved wavenumbers.
        closure: subgrid forcing to add to the right-hand side, or None.
        forcing: forcing to use instead of the flow's own, or None.
    """

    flow: FlowConfig

    def __init__(
        self,
        flow: FlowConfig,
        modes: Modes,
        closure: Closure | None = None,
        forcing: ForcingLike | None = None,
    ) -> None:
        super().__init__(flow, modes, drive_of(flow, forcing, modes), closure, forcing)
        decay = -flow.damping_rate(modes.k_squared)
        if flow.beta == 0.0:
            self.linear_operator = decay.astype(modes.dtype)
        else:
            rossby = 1j * flow.beta * modes.kx * modes.inverse_k_squared
            self.linear_operator = (decay + rossby).astype(modes.complex_dtype)

    def nonlinear_terms(
        self, operations: Operations, state_hat: FieldHat, out: FieldHat
    ) -> None:
        """Write the advection `-J` into `out`."""
        operations.advection(state_hat, out)

    def advection_rate(self, operations: Operations, state_hat: FieldHat) -> float:
        return operations.advection_rate(state_hat)

    def streamfunction_hat(self, state_hat: FieldHat) -> FieldHat:
        """Return the streamfunction of vorticities: `vorticity_hat / k^2`."""
        return np.asarray(state_hat * self.modes.inverse_k_squared)

    def energy(self, state_hat: FieldHat) -> float:
        return self.modes.energy(state_hat)

    def integrals(self, state_hat: FieldHat, time: float) -> Integrals:
        """Return the budget of one field, in double precision."""
        vorticity = self.modes.to_physical(state_hat).astype(np.float64)
        unforced = replace(self.flow, forcing_wavenumber=None)
        budget = energy_budget(vorticity, self.flow, forcing=self.forcing, time=time)
        return Integrals(
            self.energy(state_hat),
            enstrophy(vorticity),
            enstrophy_budget(vorticity, unforced).total,
            budget.work,
            budget.viscosity + budget.hyperviscosity + budget.drag,
        )

    @property
    def wave_rate(self) -> float:
        """Frequency of the fastest (longest) Rossby wave, `beta / k`."""
        return abs(self.flow.beta) * max(self.flow.lengths) / TWO_PI

    def longest_time_step(self, advection_rate: float) -> float:
        """Return the longest automatic time step at an advection rate, 0 at rest.

        It is 0.01 if the domain is 2 pi within a factor of 100, or if the flow changes
        within 100 units of time, or for a forcing that varies in time, of which the
        scale is not known. Else, as in SI units, it is a hundredth of the shortest time
        of drag, forcing and crossing of the domain, at most a day.
        """
        if self.drive.varying is not None:
            return _LONGEST
        rate = max(self._slow_rate, advection_rate / max(self.modes.cutoff))
        is_near_one = 1.0 / _FAR <= max(self.flow.lengths) / TWO_PI <= _FAR
        if is_near_one or rate * _FAR >= 1.0:
            return _LONGEST
        return min(_LONGEST_PART / rate, _DAY) if rate > 0.0 else _DAY

    @cached_property
    def _slow_rate(self) -> float:
        """The fastest rate of change by drag, or by a steady or stochastic forcing."""
        weights, noise = self.modes.hermitian_weights, self.drive.noise
        power = float(np.sum(weights * np.abs(self.drive.source(self.modes, 0.0)) ** 2))
        stirring = 0.0 if noise is None else float(np.sum(weights * noise.variance))
        # The source is in 1 / s^2, the injection of enstrophy in 1 / s^3.
        forced = power**0.25, (0.5 * stirring) ** (1.0 / 3.0)
        return float(max(self.flow.linear_drag, *forced))
