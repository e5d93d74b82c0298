"""Runs an ensemble of LES with one closure; members that blow up are taken out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from turbulence_data._checks import check_positive
from turbulence_data.a_posteriori.ensemble_equation import EnsembleEquation
from turbulence_data.closures import NoClosure
from turbulence_data.config import FlowConfig
from turbulence_data.solver.equations import Closure
from turbulence_data.solver.forcing import ForcingLike
from turbulence_data.solver.grid import Grid
from turbulence_data.solver.modes import padded_modes
from turbulence_data.solver.state import check_field
from turbulence_data.solver.time_stepping import (
    RK4_IMAGINARY_LIMIT,
    integrating_factor_rk4,
)
from turbulence_data.solver.transforms import FieldHat

# Steps between two looks at the speed of every member.
_CHECK_EVERY = 10
# Chosen steps are this part of the stability limit at the start: speeds may double.
_SAFETY = 0.4


@dataclass(frozen=True)
class EnsembleRun:
    """What an ensemble of LES did.

    Attributes:
        times: of the snapshots, shape `(T,)`.
        vorticity: shape `(T, E, nx, ny)`, float32; NaN where a member had blown up.
        failure_times: when each member was found to have blown up, shape `(E,)`; inf
            where it did not.
        time_step: the largest step taken.
    """

    times: NDArray[np.float64]
    vorticity: NDArray[np.float32]
    failure_times: NDArray[np.float64]
    time_step: float

    @property
    def stable_fraction(self) -> float:
        """The part of the members that reached the end."""
        return float(np.mean(np.isinf(self.failure_times)))


def run_ensemble(
    start: ArrayLike,
    flow: FlowConfig,
    closure: Closure | None,
    times: Sequence[float],
    time_step: float | None = None,
    forcing: ForcingLike | None = None,
) -> EnsembleRun:
    """Runs an LES from every start field and keeps its vorticity at given times.

    A member has blown up when its vorticity is not finite, or when it has become too
    fast for the time step: it then breaks the CFL limit `max(|u| Kx + |v| Ky) dt <= 2
    sqrt(2)`. It is replaced by fluid at rest, so that the others go on. Closures are
    explicit: an eddy viscosity nu_e needs `nu_e k_max^2 dt < 2.78` as well.

    Args:
        start: vorticity on the LES grid, shape `(E, nx, ny)`, each of mean zero.
        flow: the LES's flow, see `filtering.les_flow`.
        closure: subgrid forcing; None is `NoClosure`.
        times: rising, at least 0, counted from the start.
        time_step: the largest; None is 0.4 of the CFL limit of the fastest start field.
        forcing: as of `evolve`, not stochastic.

    Raises:
        ValueError: for fields or times that do not fit.

    Example:
        >>> flow = FlowConfig(16, reynolds=10, linear_drag=0, forcing_wavenumber=None)
        >>> x = np.arange(16) * 2 * np.pi / 16
        >>> wave = np.cos(x)[:, None] * np.ones((1, 16))
        >>> run = run_ensemble(np.stack([wave, 2 * wave]), flow, None, [0.0, 1.0], 0.1)
        >>> run.vorticity.shape, run.stable_fraction
        ((2, 2, 16, 16), 1.0)
        >>> bool(np.allclose(run.vorticity[1, 1], 2 * wave * np.exp(-0.1), atol=1e-6))
        True
    """
    ensemble = _Ensemble(np.asarray(start), flow, closure, forcing)
    moments = np.asarray(times, np.float64)
    if moments.ndim != 1 or not moments.size or moments[0] < 0.0:
        raise ValueError(f"times must be at least one, from 0 on; received {times!r}.")
    if np.any(np.diff(moments) <= 0.0) or not np.all(np.isfinite(moments)):
        raise ValueError(f"times must be finite and rise; received {times!r}.")
    if time_step is None:
        time_step = ensemble.suggested_time_step(float(moments[-1]))
    check_positive("time_step", time_step)
    snapshots = []
    for moment in moments:
        ensemble.advance(float(moment), time_step)
        snapshots.append(ensemble.vorticity())
    return EnsembleRun(moments, np.stack(snapshots), ensemble.failure_times, time_step)


class _Ensemble:
    """The members on their way."""

    def __init__(
        self,
        start: NDArray[np.float64],
        flow: FlowConfig,
        closure: Closure | None,
        forcing: ForcingLike | None,
    ) -> None:
        grid = Grid(flow.shape, flow.lengths)
        if start.ndim != 3 or not len(start):
            raise ValueError(
                "start must hold one vorticity field a member, shape (E, nx, ny); "
                f"received {start.shape}."
            )
        fields = [check_field("start", field, grid.num_points) for field in start]
        modes = padded_modes(grid)
        closure = NoClosure(lengths=flow.lengths) if closure is None else closure
        self._equation = EnsembleEquation(flow, modes, closure, len(start), forcing)
        hats = modes.from_physical(np.stack(fields))
        self._hat: FieldHat = hats.reshape(-1, modes.shape[1])
        self._step_of = lru_cache(2)(
            lambda h: integrating_factor_rk4(self._equation, h)
        )
        self._time = 0.0
        self.failure_times = np.full(len(start), math.inf)

    def suggested_time_step(self, longest: float) -> float:
        """Returns a part of the CFL limit of the fastest member."""
        members = self._equation.split(self._hat)
        rate = max(self._equation.member.advection_rate(member) for member in members)
        limit = _SAFETY * RK4_IMAGINARY_LIMIT / rate if rate > 0.0 else math.inf
        return min(limit, longest or 1.0)

    def advance(self, end: float, time_step: float) -> None:
        """Advances every member to `end` in equal steps."""
        duration = end - self._time
        num_steps = math.ceil(duration / time_step * (1.0 - 1e-12))
        if num_steps == 0:
            return
        step_size = duration / num_steps
        step = self._step_of(step_size)
        with np.errstate(all="ignore"):  # a member that blows up overflows first
            for number in range(num_steps):
                time = self._time + number * step_size
                if number % _CHECK_EVERY == 0:
                    self._take_out(time, step_size)
                step(self._hat, time)
            self._take_out(end, step_size)
        self._time = end

    def _take_out(self, time: float, time_step: float) -> None:
        largest = RK4_IMAGINARY_LIMIT / time_step
        for number, member in enumerate(self._equation.split(self._hat)):
            rate = self._equation.member.advection_rate(member)
            if not rate <= largest:  # also where it is not a number
                self.failure_times[number] = min(self.failure_times[number], time)
                member[...] = 0.0

    def vorticity(self) -> NDArray[np.float32]:
        """Returns the members, shape `(E, nx, ny)`; NaN where one has blown up."""
        fields = self._equation.modes.to_physical(self._equation.split(self._hat))
        fields[np.isfinite(self.failure_times)] = np.nan
        return fields.astype(np.float32)
