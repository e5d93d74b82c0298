"""One trajectory of an ensemble: the picklable unit of work of one process."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from turbulence_data.config import (
    FlowConfig,
    as_pair,
    check_at_least_zero,
    check_positive,
    check_whole,
)
from turbulence_data.diagnostics import energy_budget, enstrophy, palinstrophy
from turbulence_data.filtering import filtered_dns
from turbulence_data.solver.initial_conditions import RandomVorticity
from turbulence_data.solver.simulation import Simulation, advance_to
from turbulence_data.solver.state import State
from turbulence_data.solver.transforms import Field, resample
from turbulence_data.stresses import subgrid_stresses

SPLITS = ("train", "validation", "test")
FIELDS = ("vorticity", "streamfunction", "sgs_forcing")
"""Fields of every snapshot, float32, shape `(nx, ny)`."""
EXTRA_FIELDS = {"velocity": 2, "tau": 3, "sigma": 2}
"""Fields on request, float32, shape `(nx, ny, channels)`; the number of channels."""
HISTORY = (
    "time",
    "energy",
    "enstrophy",
    "courant",
    "palinstrophy",
    "work",
    "dissipation",
)
"""Columns of a trajectory's history, see `Trajectory`."""
# Room for this many trajectories in a split before their numbers would collide.
_SPLIT_STRIDE = 100_000


@dataclass(frozen=True)
class EnsembleConfig:
    """Everything that decides the bytes of a dataset: flow, filter, sampling, seeds.

    Attributes:
        flow: physics and DNS resolution.
        num_points_les: LES points, one number or a pair.
        num_trajectories: independent trajectories of the (train, validation, test)
            splits.
        num_snapshots: snapshots of each trajectory.
        spin_up: time from the random start field to the first snapshot.
        coarse_spin_up: the first part of `spin_up`, run at half the resolution and
            twice the time step: cheap, and forgotten by the small scales soon after.
        interval: time between snapshots.
        time_step: DNS time step.
        start: draws the start field.
        seed: seed of the ensemble; a trajectory's own derives from it and its number.
        filter_width: width of the Gaussian filter; None for two LES cells.
        extra_fields: names from `EXTRA_FIELDS`, see `stresses.SubgridStresses`.

    Raises:
        ValueError: when a value is out of range or values contradict each other.
    """

    flow: FlowConfig
    num_points_les: int | tuple[int, int]
    num_trajectories: tuple[int, int, int]
    num_snapshots: int
    spin_up: float
    interval: float
    time_step: float
    coarse_spin_up: float = 0.0
    start: RandomVorticity = field(default_factory=RandomVorticity)
    seed: int = 0
    filter_width: float | None = None
    extra_fields: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.flow, FlowConfig) or not callable(self.start):
            raise ValueError(
                "flow must be a FlowConfig and start a callable (grid, rng) -> "
                f"vorticity; received {self.flow!r} and {self.start!r}."
            )
        les_shape = as_pair(self.num_points_les, "num_points_les")
        object.__setattr__(self, "num_points_les", les_shape)
        if any(
            les >= dns for les, dns in zip(self.les_shape, self.flow.shape, strict=True)
        ):
            raise ValueError(
                "num_points_les must be below num_points of the flow in both "
                f"directions; received {self.les_shape} and {self.flow.shape}."
            )
        self._check_trajectories()
        check_whole("num_snapshots", self.num_snapshots, at_least=1)
        check_whole("seed", self.seed, at_least=0)
        self._check_spin_up()
        for name in ("interval", "time_step"):
            check_positive(name, getattr(self, name))
        if self.filter_width is not None:
            check_positive("filter_width", self.filter_width)
        self._check_extra_fields()

    def _check_extra_fields(self) -> None:
        names: Any = self.extra_fields
        is_tuple = isinstance(names, Sequence) and not isinstance(names, str)
        if not is_tuple or any(name not in tuple(EXTRA_FIELDS) for name in names):
            raise ValueError(
                f"extra_fields must be a tuple of names from {tuple(EXTRA_FIELDS)}; "
                f"received {names!r}."
            )
        # One order, once each: the same fields are the same ensemble.
        ordered = tuple(name for name in EXTRA_FIELDS if name in names)
        object.__setattr__(self, "extra_fields", ordered)

    def _check_trajectories(self) -> None:
        numbers = self.num_trajectories
        if not isinstance(numbers, Sequence) or len(numbers) != len(SPLITS):
            raise ValueError(
                f"num_trajectories must give a number for each of {SPLITS}; received "
                f"{numbers!r}."
            )
        for split, number in zip(SPLITS, numbers, strict=True):
            check_whole(f"num_trajectories of {split}", number, at_least=1)
            if number > _SPLIT_STRIDE:
                raise ValueError(
                    f"num_trajectories of {split} must be at most {_SPLIT_STRIDE}, so "
                    f"that numbers stay apart; received {number}."
                )
        object.__setattr__(self, "num_trajectories", tuple(map(int, numbers)))

    def _check_spin_up(self) -> None:
        for name in ("spin_up", "coarse_spin_up"):
            check_at_least_zero(name, getattr(self, name))
        if self.coarse_spin_up > self.spin_up:
            raise ValueError(
                "coarse_spin_up is a part of spin_up and cannot exceed it; received "
                f"{self.coarse_spin_up} of {self.spin_up}."
            )
        if self.coarse_spin_up > 0.0:
            self.coarse_flow()

    def coarse_flow(self) -> FlowConfig:
        """The flow at half the resolution, on which the spin-up starts.

        Raises:
            ValueError: when that grid is too coarse, for the forcing for example.
        """
        nx, ny = self.flow.shape
        return replace(self.flow, num_points=(nx // 2, ny // 2))

    @property
    def les_shape(self) -> tuple[int, int]:
        """`num_points_les` as the pair `(nx, ny)`."""
        return as_pair(self.num_points_les)

    @property
    def width(self) -> float:
        """The filter width in use: two LES cells where none is given."""
        if self.filter_width is not None:
            return self.filter_width
        return 2.0 * max(
            length / n
            for length, n in zip(self.flow.lengths, self.les_shape, strict=True)
        )

    def trajectory_ids(self, split: str) -> list[int]:
        """Numbers of the trajectories of a split; no number is in two splits.

        Raises:
            ValueError: for an unknown split.
        """
        if split not in SPLITS:
            raise ValueError(f"unknown split {split!r}; expected one of {SPLITS}.")
        first = SPLITS.index(split) * _SPLIT_STRIDE
        count = self.num_trajectories[SPLITS.index(split)]
        return list(range(first, first + count))

    def to_dict(self) -> dict[str, Any]:
        """All values as plain, JSON-ready types."""
        return asdict(self)


@dataclass(frozen=True)
class Trajectory:
    """What one simulation gives.

    Attributes:
        trajectory_id: number of the trajectory.
        times: times of the snapshots, shape `(n,)`.
        vorticity: filtered vorticity, shape `(n, nx, ny)`, float32.
        streamfunction: filtered streamfunction, likewise.
        sgs_forcing: subgrid forcing, likewise.
        history: columns `HISTORY` of the DNS from the start field on, spin-up included,
            shape `(m, 7)`; courant is the time step over the largest stable one, work
            and dissipation (at most 0, drag included) add up to d(energy)/dt.
        extra_fields: name -> field of shape `(n, nx, ny, channels)`, float32.
    """

    trajectory_id: int
    times: NDArray[np.float64]
    vorticity: NDArray[np.float32]
    streamfunction: NDArray[np.float32]
    sgs_forcing: NDArray[np.float32]
    history: NDArray[np.float64]
    extra_fields: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)

    def fields(self) -> dict[str, NDArray[np.float32]]:
        """All fields of the snapshots by name, extra ones last."""
        return {**{name: getattr(self, name) for name in FIELDS}, **self.extra_fields}


@dataclass
class Progress:
    """How far a simulation has come: all that is needed to go on, bit for bit.

    Attributes:
        num_legs: legs that are done, from one instant that is looked at to the next.
        state: where it is.
        history: rows so far, columns `HISTORY`.
        snapshots: fields by name, of each snapshot so far.
    """

    num_legs: int
    state: State
    history: list[tuple[float, ...]] = field(default_factory=list)
    snapshots: list[dict[str, NDArray[np.float32]]] = field(default_factory=list)


class Checkpoints(Protocol):
    """Keeps the progress of one trajectory; it may choose how often."""

    def load(self) -> Progress | None:
        """Returns the last progress kept; None where there is none."""

    def save(self, progress: Progress) -> None:
        """Is called after every leg, with an object that goes on changing."""


class _Leg(NamedTuple):
    """A run without a break: steps are equal within it, so it is never divided."""

    flow: FlowConfig
    time_step: float
    end: float
    is_noted: bool = False
    is_sampled: bool = False


def sample_trajectory(
    ensemble: EnsembleConfig,
    trajectory_id: int,
    checkpoints: Checkpoints | None = None,
) -> Trajectory:
    """Runs one DNS and returns its filtered snapshots.

    The result depends on ensemble and number alone: the same bits in any process,
    interrupted or not.

    Args:
        ensemble: what to simulate.
        trajectory_id: which trajectory.
        checkpoints: where to go on from, and where to keep the progress.

    Raises:
        UnstableTimeStepError: when the flow becomes too fast for the time step.
        SimulationDivergedError: when the vorticity stops being finite.
    """
    legs = _legs(ensemble)
    progress = checkpoints.load() if checkpoints is not None else None
    if progress is None:
        progress = _beginning(ensemble, trajectory_id, Simulation(legs[0].flow))
    simulation = Simulation(legs[max(progress.num_legs - 1, 0)].flow)
    for leg in legs[progress.num_legs :]:
        if leg.flow != simulation.flow:
            refined = resample(simulation.vorticity(progress.state), leg.flow.shape)
            simulation = Simulation(leg.flow)
            progress.state = simulation.start(refined, ensemble.coarse_spin_up)
        progress.state = advance_to(simulation, progress.state, leg.end, leg.time_step)
        _look(ensemble, simulation, leg, progress)
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


def _beginning(
    ensemble: EnsembleConfig, trajectory_id: int, simulation: Simulation
) -> Progress:
    rng = np.random.default_rng([ensemble.seed, trajectory_id])
    return Progress(0, simulation.start(ensemble.start(simulation.grid, rng)))


def _legs(ensemble: EnsembleConfig) -> list[_Leg]:
    """Returns the plan of a simulation: coarse spin-up, spin-up, sampling."""
    interval, time_step = ensemble.interval, ensemble.time_step

    def spin_up(flow: FlowConfig, step: float, start: float, end: float) -> list[_Leg]:
        noted = _times_before(end, start, interval)
        legs = [_Leg(flow, step, time, is_noted=True) for time in noted]
        return [*legs, _Leg(flow, step, end)]

    fine, coarse_end = ensemble.flow, ensemble.coarse_spin_up
    legs = spin_up(fine, time_step, coarse_end, ensemble.spin_up)
    if coarse_end > 0.0:
        coarse = ensemble.coarse_flow()
        legs = spin_up(coarse, 2.0 * time_step, 0.0, coarse_end) + legs
    counts = np.arange(ensemble.num_snapshots, dtype=np.float64)
    times: list[float] = (ensemble.spin_up + interval * counts).tolist()
    return legs + [_Leg(fine, time_step, time, True, True) for time in times]


def _times_before(end: float, start: float, interval: float) -> list[float]:
    """Times start, start + interval, ... below `end`."""
    num_times = math.ceil((end - start) / interval * (1.0 - 1e-12))
    times: list[float] = (start + interval * np.arange(num_times)).tolist()
    return times


def _look(
    ensemble: EnsembleConfig, simulation: Simulation, leg: _Leg, progress: Progress
) -> None:
    if leg.is_noted:
        row = _history_row(simulation, progress.state, leg.time_step)
        progress.history.append(row)
    if leg.is_sampled:
        snapshot = _snapshot(ensemble, simulation.vorticity(progress.state))
        progress.snapshots.append(snapshot)


def _history_row(
    simulation: Simulation, state: State, time_step: float
) -> tuple[float, ...]:
    vorticity, flow = simulation.vorticity(state), simulation.flow
    budget = energy_budget(vorticity, flow)
    return (
        state.time,
        simulation.modes.energy(state.vorticity_hat),
        enstrophy(vorticity),
        time_step / simulation.largest_time_step(state),
        palinstrophy(vorticity, flow.lengths),
        budget.work,
        budget.viscosity + budget.hyperviscosity + budget.drag,
    )


def _snapshot(
    ensemble: EnsembleConfig, vorticity: Field
) -> dict[str, NDArray[np.float32]]:
    lengths, width = ensemble.flow.lengths, ensemble.width
    filtered = filtered_dns(
        vorticity, ensemble.les_shape, filter_width=width, lengths=lengths
    )
    fields = {name: getattr(filtered, name) for name in FIELDS}
    if ensemble.extra_fields:
        stresses = subgrid_stresses(
            vorticity, ensemble.les_shape, filter_width=width, lengths=lengths
        )
        fields |= {name: getattr(stresses, name) for name in ensemble.extra_fields}
    return {name: values.astype(np.float32) for name, values in fields.items()}
