"""Run an ensemble of LES with one closure; members that blow up are taken out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from turbulence_data._checks import check_positive
from turbulence_data.closures import NoClosure
from turbulence_data.config import FlowConfig
from turbulence_data.solver._equation import Closure
from turbulence_data.solver._fields import check_field
from turbulence_data.solver._forcing import ForcingLike
from turbulence_data.solver._grid import Grid
from turbulence_data.solver._simulation import Simulation

# Chosen steps are this part of the stability limit at the start: speeds may double.
_SAFETY = 0.4


@dataclass(frozen=True)
class EnsembleRun:
    """Results of an ensemble of LES.

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
    """Run an LES from every start field and keeps its vorticity at given times.

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
    moments = np.asarray(times, np.float64)
    if moments.ndim != 1 or not moments.size or moments[0] < 0.0:
        raise ValueError(f"times must be at least one, from 0 on; received {times!r}.")
    if np.any(np.diff(moments) <= 0.0) or not np.all(np.isfinite(moments)):
        raise ValueError(f"times must be finite and rise; received {times!r}.")
    closure = NoClosure(lengths=flow.lengths) if closure is None else closure
    simulation = Simulation(flow, closure, forcing)
    state = simulation.start(_checked_start(start, simulation.grid))
    if time_step is None:
        largest = simulation.largest_time_step(state)
        time_step = min(_SAFETY * largest, float(moments[-1]) or 1.0)
    check_positive("time_step", time_step)
    failure_times = np.full(len(state.vorticity_hat), math.inf)
    snapshots = []
    for moment in moments:
        duration = float(moment) - state.time
        state, failed = simulation.advance_members(state, duration, time_step)
        state = replace(state, time=float(moment))
        failure_times = np.minimum(failure_times, failed)
        fields = simulation.vorticity(state)
        fields[np.isfinite(failure_times)] = np.nan
        snapshots.append(fields.astype(np.float32))
    return EnsembleRun(moments, np.stack(snapshots), failure_times, time_step)


def _checked_start(start: ArrayLike, grid: Grid) -> NDArray[np.float64]:
    fields = np.asarray(start)
    if fields.ndim != 3 or not len(fields):
        raise ValueError(
            "start must hold one vorticity field a member, shape (E, nx, ny); "
            f"received {fields.shape}."
        )
    return np.stack([check_field("start", field, grid.num_points) for field in fields])
