"""One trajectory of an ensemble: the picklable unit of work of one process."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from turbulence_data.config import (
    FlowConfig,
    as_pair,
    check_at_least_zero,
    check_positive,
    check_whole,
)
from turbulence_data.diagnostics import enstrophy
from turbulence_data.filtering import filtered_dns
from turbulence_data.solver.initial_conditions import RandomVorticity
from turbulence_data.solver.simulation import Simulation, advance_to, trajectory
from turbulence_data.solver.state import State
from turbulence_data.solver.transforms import resample

HistoryRow = tuple[float, float, float, float]

SPLITS = ("train", "validation", "test")
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
        history: columns `(time, energy, enstrophy, courant)` of the DNS from the start
            field on, spin-up included, shape `(m, 4)`; courant is the time step over
            the largest stable one.
    """

    trajectory_id: int
    times: NDArray[np.float64]
    vorticity: NDArray[np.float32]
    streamfunction: NDArray[np.float32]
    sgs_forcing: NDArray[np.float32]
    history: NDArray[np.float64]


def sample_trajectory(ensemble: EnsembleConfig, trajectory_id: int) -> Trajectory:
    """Runs one DNS and returns its filtered snapshots.

    The result depends on nothing but the arguments: the same bits in any process.

    Raises:
        UnstableTimeStepError: when the flow becomes too fast for the time step.
        SimulationDivergedError: when the vorticity stops being finite.
    """
    history: list[HistoryRow] = []
    snapshots = []
    simulation, start = _spun_up(ensemble, trajectory_id, history)
    counts = np.arange(ensemble.num_snapshots, dtype=np.float64)
    times = ensemble.spin_up + ensemble.interval * counts
    for state in trajectory(simulation, start, times.tolist(), ensemble.time_step):
        history.append(_history_row(simulation, state, ensemble.time_step))
        fields = filtered_dns(
            simulation.vorticity(state),
            ensemble.les_shape,
            filter_width=ensemble.width,
            lengths=ensemble.flow.lengths,
        )
        snapshots.append((fields.vorticity, fields.streamfunction, fields.sgs_forcing))
    stacked = np.asarray(snapshots, np.float32)
    return Trajectory(
        trajectory_id,
        times,
        vorticity=stacked[:, 0],
        streamfunction=stacked[:, 1],
        sgs_forcing=stacked[:, 2],
        history=np.asarray(history),
    )


def _spun_up(
    ensemble: EnsembleConfig, trajectory_id: int, history: list[HistoryRow]
) -> tuple[Simulation, State]:
    """Returns the DNS and its state at the end of the spin-up, noting its history."""
    rng = np.random.default_rng([ensemble.seed, trajectory_id])
    fine, interval = Simulation(ensemble.flow), ensemble.interval
    coarse_end, time_step = ensemble.coarse_spin_up, ensemble.time_step

    def run(simulation: Simulation, start: State, end: float, step: float) -> State:
        state = start
        times = _times_before(end, start.time, interval)
        for state in trajectory(simulation, start, times, step):
            history.append(_history_row(simulation, state, step))
        return advance_to(simulation, state, end, step)

    if coarse_end == 0.0:
        state = fine.start(ensemble.start(fine.grid, rng))
    else:
        coarse = Simulation(ensemble.coarse_flow())
        state = coarse.start(ensemble.start(coarse.grid, rng))
        state = run(coarse, state, coarse_end, 2.0 * time_step)
        field = resample(coarse.vorticity(state), ensemble.flow.shape)
        state = fine.start(field, coarse_end)
    return fine, run(fine, state, ensemble.spin_up, time_step)


def _times_before(end: float, start: float, interval: float) -> list[float]:
    """Times start, start + interval, ... below `end`."""
    num_times = math.ceil((end - start) / interval * (1.0 - 1e-12))
    times: list[float] = (start + interval * np.arange(num_times)).tolist()
    return times


def _history_row(simulation: Simulation, state: State, time_step: float) -> HistoryRow:
    return (
        state.time,
        simulation.modes.energy(state.vorticity_hat),
        enstrophy(simulation.vorticity(state)),
        time_step / simulation.largest_time_step(state),
    )
