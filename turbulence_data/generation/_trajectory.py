"""Sampling of one trajectory, the unit of work of one process, and its examples."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from turbulence_data._checks import by_shapes
from turbulence_data.coarsening import filtered_layers
from turbulence_data.config import FlowConfig, TwoLayerConfig
from turbulence_data.filtering import subgrid_stresses
from turbulence_data.generation._ensemble import EnsembleConfig
from turbulence_data.generation._records import FIELDS, scalars_of_flow
from turbulence_data.solver._equation import State
from turbulence_data.solver._evolve import advance_to
from turbulence_data.solver._forcing import as_forcing
from turbulence_data.solver._grid import Field, resample
from turbulence_data.solver._simulation import (
    FINE_TOLERANCE,
    Numerics,
    Simulation,
    UnstableTimeStepError,
    equal_steps,
)

HISTORY = (
    "time",
    "energy",
    "enstrophy",
    "courant",
    "enstrophy_dissipation",
    "work",
    "dissipation",
)
"""Columns of a trajectory's history, see `Trajectory`."""
# How often the time step is halved in a leg whose flow is too fast for it.
_HALVINGS = 2

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trajectory:
    """Filtered snapshots and history of one simulation.

    Attributes:
        trajectory_id: number of the trajectory.
        times: times of the snapshots, shape `(n,)`.
        vorticity: filtered vorticity, shape `(n, nx, ny)`, float32; for two layers the
            potential vorticity, shape `(n, 2, nx, ny)`.
        streamfunction: filtered streamfunction, same shape.
        sgs_forcing: subgrid forcing, same shape.
        history: columns `HISTORY` of the DNS from the start field on, including the
            spin-up, shape `(m, 7)`; courant is the time step over the largest stable
            one; work and dissipation (at most 0, with drag) add up to d(energy)/dt, for
            a stochastic forcing in the mean over realisations; enstrophy_dissipation
            (in one plane at most 0) also includes drag.
        extra_fields: name -> field of shape `(n, nx, ny, channels)`, float32; for two
            layers `(n, channels, nx, ny)`.
    """

    trajectory_id: int
    times: NDArray[np.float64]
    vorticity: NDArray[np.float32]
    streamfunction: NDArray[np.float32]
    sgs_forcing: NDArray[np.float32]
    history: NDArray[np.float64]
    extra_fields: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)

    __repr__ = by_shapes

    def fields(self) -> dict[str, NDArray[np.float32]]:
        """Return all fields of the snapshots by name, extra fields last."""
        return {**{name: getattr(self, name) for name in FIELDS}, **self.extra_fields}


@dataclass
class Progress:
    """Progress of an unfinished simulation, from which it continues bit for bit.

    Attributes:
        num_legs: number of finished legs, each from one recorded instant to the next.
        state: state of the simulation.
        history: rows so far, columns `HISTORY`.
        snapshots: fields by name, of each snapshot so far.
    """

    num_legs: int
    state: State
    history: list[tuple[float, ...]] = field(default_factory=list)
    snapshots: list[dict[str, NDArray[np.float32]]] = field(default_factory=list)


class Checkpoints(Protocol):
    """Protocol of an object that stores the progress of one trajectory."""

    def load(self) -> Progress | None:
        """Return the last stored progress, None if there is none."""

    def save(self, progress: Progress) -> None:
        """Store the progress if due; called after every leg with the same object."""


class _Leg(NamedTuple):
    """Uninterrupted part of a simulation; time steps are chosen to hit its end."""

    flow: FlowConfig | TwoLayerConfig
    time_step: float | None
    end: float
    is_noted: bool = False
    is_sampled: bool = False


def examples_of(
    ensemble: EnsembleConfig, trajectory: Trajectory
) -> Iterator[dict[str, Any]]:
    """Yield the dataset examples of a trajectory, in order of time."""
    constants = {
        "trajectory": trajectory.trajectory_id,
        "seed": ensemble.seed,
        **scalars_of_flow(ensemble.flow, ensemble.width),
    }
    fields = ensemble.features.split(trajectory.fields())
    scalars = ensemble.features.scalars
    for number, time in enumerate(trajectory.times):
        values = {"time": time, **constants}
        yield {
            **{name: field[number] for name, field in fields.items()},
            **{name: scalars[name][0](values[name]) for name in scalars},
        }


def sample_trajectory(
    ensemble: EnsembleConfig, trajectory_id: int, checkpoints: Checkpoints | None = None
) -> Trajectory:
    """Run one DNS and return its filtered snapshots.

    The result depends only on ensemble and number: it is bitwise the same in any
    process, interrupted or not.

    Args:
        ensemble: ensemble to simulate.
        trajectory_id: number of the trajectory.
        checkpoints: stores the progress, and provides the progress to continue from.

    Raises:
        UnstableTimeStepError: if the flow is too fast for a quarter of the time step.
        SimulationDivergedError: when the vorticity becomes non-finite.
    """
    legs = _legs(ensemble)
    progress = checkpoints.load() if checkpoints is not None else None
    if progress is None:
        simulation = _simulation(ensemble, trajectory_id, legs[0].flow)
        rng = np.random.default_rng([ensemble.seed, trajectory_id])
        start = ensemble.start(simulation.grid, rng)
        progress = Progress(0, simulation.start(start))
    else:
        flow = legs[max(progress.num_legs - 1, 0)].flow
        simulation = _simulation(ensemble, trajectory_id, flow)
    for leg in legs[progress.num_legs :]:
        if leg.flow != simulation.flow:
            refined = resample(simulation.vorticity(progress.state), leg.flow.shape)
            simulation = _simulation(ensemble, trajectory_id, leg.flow)
            progress.state = simulation.start(
                refined, ensemble.coarse_spin_up, progress.state.step_number
            )
        progress.state, time_step = _advanced(simulation, progress.state, leg)
        _record(ensemble, simulation, leg._replace(time_step=time_step), progress)
        progress.num_legs += 1
        if checkpoints is not None:
            checkpoints.save(progress)
    fields = {
        name: np.stack([snapshot[name] for snapshot in progress.snapshots])
        for name in (*FIELDS, *ensemble.extra_fields)
    }
    return Trajectory(
        trajectory_id,
        np.array([leg.end for leg in legs if leg.is_sampled]),
        **{name: fields[name] for name in FIELDS},
        history=np.asarray(progress.history),
        extra_fields={name: fields[name] for name in ensemble.extra_fields},
    )


def _simulation(
    ensemble: EnsembleConfig, trajectory_id: int, flow: FlowConfig | TwoLayerConfig
) -> Simulation:
    forcing = ensemble.forcing
    if forcing is not None:
        forcing = as_forcing(forcing).for_trajectory(ensemble.seed, trajectory_id)
    numerics = Numerics(
        ensemble.scheme, ensemble.dtype, ensemble.engine, FINE_TOLERANCE
    )
    return Simulation(flow, forcing=forcing, numerics=numerics)


def _advanced(
    simulation: Simulation, state: State, leg: _Leg
) -> tuple[State, float | None]:
    """Return the state at the end of a leg, and the time step used.

    The step is halved if necessary, so that one gust in a hundred turnover times does
    not waste a simulation of many hours.
    """
    time_step, largest = leg.time_step, simulation.largest_time_step(state)
    if time_step is None:
        return advance_to(simulation, state, leg.end, None), None
    for _ in range(_HALVINGS):
        # A leg of zero length, where parts of the plan join, would not detect this.
        if time_step <= largest:
            try:
                return advance_to(simulation, state, leg.end, time_step), time_step
            except UnstableTimeStepError as error:
                _logger.info("time step halved from time %g on: %s", state.time, error)
        time_step *= 0.5
    try:
        return advance_to(simulation, state, leg.end, time_step), time_step
    except UnstableTimeStepError as error:
        raise UnstableTimeStepError(
            f"{error} It was time_step={leg.time_step:g}, halved {_HALVINGS} times "
            f"from time {state.time:g} on, which is as often as it may be."
        ) from error


def _legs(ensemble: EnsembleConfig) -> list[_Leg]:
    """Return the plan of a simulation: coarse spin-up, spin-up, sampling."""
    interval, time_step = ensemble.interval, ensemble.time_step

    def spin_up(
        flow: FlowConfig | TwoLayerConfig, step: float | None, start: float, end: float
    ) -> list[_Leg]:
        num_noted = math.ceil((end - start) / interval * (1.0 - 1e-12))
        noted = (start + interval * np.arange(num_noted)).tolist()
        legs = [_Leg(flow, step, time, is_noted=True) for time in noted]
        return [*legs, _Leg(flow, step, end)]

    fine, coarse_end = ensemble.flow, ensemble.coarse_spin_up
    legs = spin_up(fine, time_step, coarse_end, ensemble.spin_up)
    if coarse_end > 0.0:
        coarse = ensemble.coarse_flow()
        twice = None if time_step is None else 2.0 * time_step
        legs = spin_up(coarse, twice, 0.0, coarse_end) + legs
    counts = np.arange(ensemble.num_snapshots, dtype=np.float64)
    times: list[float] = (ensemble.spin_up + interval * counts).tolist()
    return legs + [_Leg(fine, time_step, time, True, True) for time in times]


def _record(
    ensemble: EnsembleConfig, simulation: Simulation, leg: _Leg, progress: Progress
) -> None:
    state = progress.state
    if leg.is_noted:
        time_step = leg.time_step or simulation.suggested_time_step(state)
        _, taken = equal_steps(ensemble.interval, time_step)
        courant = taken / simulation.largest_time_step(state)
        energy, enstrophy, *others = simulation.integrals(state)
        progress.history.append((state.time, energy, enstrophy, courant, *others))
    if leg.is_sampled:
        flow = ensemble.flow
        if isinstance(flow, TwoLayerConfig):
            fields = _layer_fields(ensemble, flow, simulation.vorticity(state))
        else:
            fields = _plane_fields(ensemble, simulation, state)
        snapshot = {name: each.astype(np.float32) for name, each in fields.items()}
        progress.snapshots.append(snapshot)


def _plane_fields(
    ensemble: EnsembleConfig, simulation: Simulation, state: State
) -> dict[str, Field]:
    lengths, width = ensemble.flow.lengths, ensemble.width
    filtered = simulation.filtered(state, ensemble.les_shape, width)
    fields = {name: getattr(filtered, name) for name in FIELDS}
    if ensemble.extra_fields:
        vorticity = simulation.vorticity(state).astype(np.float64)
        stresses = subgrid_stresses(
            vorticity, ensemble.les_shape, filter_width=width, lengths=lengths
        )
        fields |= {name: getattr(stresses, name) for name in ensemble.extra_fields}
    return fields


def _layer_fields(
    ensemble: EnsembleConfig, flow: TwoLayerConfig, potential_vorticity: Field
) -> dict[str, Field]:
    points = ensemble.les_shape
    filtered_by = partial(filtered_layers, potential_vorticity, flow, points)
    filtered = filtered_by(str(ensemble.operator))
    fields = {
        "vorticity": filtered.potential_vorticity,
        "streamfunction": filtered.streamfunction,
        "sgs_forcing": filtered.sgs_forcing,
    }
    for name in ensemble.extra_fields:
        if name == "velocity":
            fields[name] = filtered.velocity.reshape(4, *points)
        else:
            other = filtered_by(name)
            both = other.potential_vorticity, other.sgs_forcing
            fields[name] = np.concatenate(both)
    return fields
