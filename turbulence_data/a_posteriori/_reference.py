"""Ensembles of filtered DNS as a reference, and of LES from the same start fields."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from turbulence_data._checks import (
    as_array,
    by_shapes,
    check_filter_width,
    check_positive,
    check_real,
    check_whole,
    real_array,
)
from turbulence_data._progress import Progress, check_progress, watched
from turbulence_data.a_posteriori._measures import measures_of
from turbulence_data.closures import NoClosure
from turbulence_data.config import FlowConfig, TwoLayerConfig
from turbulence_data.filtering import les_flow, les_forcing
from turbulence_data.generation._ensemble import EnsembleConfig
from turbulence_data.generation._trajectory import Trajectory
from turbulence_data.solver._equation import Closure
from turbulence_data.solver._forcing import ForcingLike, as_forcing
from turbulence_data.solver._grid import Grid
from turbulence_data.solver._modes import Modes, padded_modes, truncated_modes
from turbulence_data.solver._simulation import Simulation, equal_steps


@dataclass(frozen=True)
class Reference:
    """Trajectories of filtered DNS at common times, from which every LES starts.

    Attributes:
        flow: the flow that an LES of these fields obeys, with the filtered forcing.
        times: shape `(T,)`, from 0 on.
        vorticity: filtered vorticity, shape `(T, E, nx, ny)`; for two layers the
            potential vorticity, shape `(T, E, 2, nx, ny)`.
        sgs_forcing: the true subgrid forcing, same shape.
        forcing: the filtered forcing of an LES, `filtering.les_forcing(..., start_time=
            time of the first snapshot)`; None for that of the flow itself, or for none.
        filter_width: width of the filter; None for two LES cells, and for two layers.

    Raises:
        ValueError: for times that do not rise from 0, shapes that do not match, values
            that are not finite, a width that is out of range, or a stochastic forcing.
    """

    flow: FlowConfig | TwoLayerConfig
    times: NDArray[np.float64]
    vorticity: NDArray[np.float32]
    sgs_forcing: NDArray[np.float32]
    forcing: ForcingLike | None = None
    filter_width: float | None = None

    __repr__ = by_shapes

    def __post_init__(self) -> None:
        times = real_array("times", self.times)
        rising = times.ndim == 1 and times.size > 1 and np.all(np.diff(times) > 0.0)
        if not rising or times[0] != 0.0 or not np.isfinite(times[-1]):
            raise ValueError(
                "times must be at least two, finite and rising, from 0 on; received "
                f"{self.times!r}."
            )
        object.__setattr__(self, "times", times)
        layers = measures_of(self.flow).layers
        for name in ("vorticity", "sgs_forcing"):
            fields = as_array(name, getattr(self, name))
            object.__setattr__(self, name, fields)
            check_real(name, fields, at_least=0)
            num_members = self.vorticity.shape[1:2]
            expected = (times.size, *num_members, *layers, *self.flow.shape)
            if fields.shape != expected:
                raise ValueError(
                    f"{name} must have the shape (times, members, "
                    f"{'layers, ' if layers else ''}nx, ny) = {expected}; received "
                    f"{fields.shape}."
                )
            wrong = fields.size - int(np.count_nonzero(np.isfinite(fields)))
            if wrong:
                raise ValueError(
                    f"{name} must be finite; received {wrong} of {fields.size} values "
                    "that are NaN or infinite. Leave out the members that have them."
                )
        if self.filter_width is not None:
            check_filter_width(self.filter_width, self.flow.lengths)
        grid = Grid(self.flow.shape, self.flow.lengths)
        _check_shared(self.forcing, padded_modes(grid))  # the modes of an LES

    @property
    def start(self) -> NDArray[np.float64]:
        """Start fields of an LES: vorticity of zero mean, shape `(E, ..., nx, ny)`."""
        fields = self.vorticity[0].astype(np.float64)
        return np.asarray(fields - fields.mean((-2, -1), keepdims=True))

    @cached_property
    def turnover_time(self) -> float:
        """`1 / rms(vorticity)` of all fields.

        For two layers, of the relative vorticity weighted by their depth fractions.
        """
        fields = self.vorticity.reshape(-1, *self.vorticity.shape[2:])
        rate = measures_of(self.flow).turnover_rate(fields.astype(np.float64))
        return 1.0 / rate

    @classmethod
    def from_trajectories(
        cls, ensemble: EnsembleConfig, trajectories: Sequence[Trajectory]
    ) -> Reference:
        """Return the reference made of sampled trajectories of an ensemble.

        An LES of it is driven by the filtered forcing of the ensemble.

        Args:
            ensemble: their ensemble, see `reference_ensemble`.
            trajectories: results of `generation.sample_trajectory`, one per member.

        Raises:
            ValueError: without trajectories, and as the class.
        """
        if not trajectories:
            raise ValueError(
                "a reference needs at least one trajectory; received none."
            )
        return cls.from_fields(
            ensemble,
            trajectories[0].times,
            np.stack([each.vorticity for each in trajectories], axis=1),
            np.stack([each.sgs_forcing for each in trajectories], axis=1),
        )

    @classmethod
    def from_fields(
        cls,
        ensemble: EnsembleConfig,
        times: NDArray[np.float64],
        vorticity: NDArray[np.float32],
        sgs_forcing: NDArray[np.float32],
    ) -> Reference:
        """Return the reference made of fields of an ensemble, for example of examples.

        Args:
            ensemble: their ensemble, which gives flow, forcing and filter width.
            times: times of the snapshots, as in the dataset.
            vorticity: as the attribute.
            sgs_forcing: as the attribute.

        Raises:
            ValueError: as the class.
        """
        flow, points = ensemble.flow, ensemble.num_points_les
        width, forcing = ensemble.filter_width, ensemble.forcing
        times = real_array("times", times)
        since = times - times[0]
        if forcing is not None and isinstance(flow, FlowConfig):
            forcing = les_forcing(
                forcing, flow, points, filter_width=width, start_time=float(times[0])
            )
        les = les_flow(flow, points, filter_width=width)
        return cls(les, since, vorticity, sgs_forcing, forcing, width)


def _check_shared(forcing: ForcingLike | None, modes: Modes) -> None:
    """Raise ValueError for a forcing that differs between trajectories."""
    if forcing is None:
        return
    drives = [
        as_forcing(forcing).for_trajectory(0, number).on(modes) for number in range(2)
    ]
    is_noise = any(drive.noise is not None for drive in drives)
    first, second = (drive.source(modes, 0.0) for drive in drives)
    if is_noise or not np.array_equal(first, second):
        raise ValueError(
            "a reference needs a forcing that all its members share, so not a "
            f"stochastic one; received {forcing!r}, of which every trajectory has its "
            "own. Run each LES in a Simulation of its own, with "
            "les_forcing(forcing.for_trajectory(seed, number), flow, num_points)."
        )


def reference_ensemble(
    ensemble: EnsembleConfig, num_members: int, duration: float, num_snapshots: int
) -> EnsembleConfig:
    """Return the ensemble whose `trajectory_ids("test")` serve as a reference.

    It has the same flow, start fields, spin-up and filter, but other times and another
    seed, so that its trajectories are independent of the dataset.

    Args:
        ensemble: ensemble of the dataset.
        num_members: independent trajectories, each with its own start field.
        duration: from the first snapshot to the last.
        num_snapshots: at least 2, equally far apart.

    Raises:
        TypeError: for a flow instead of an ensemble.
        ValueError: for fewer than two snapshots, or a stochastic forcing, which LES
            cannot share.

    Example:
        >>> from turbulence_data.flows import named_flow
        >>> tiny = named_flow("tiny_forced_re2e2_kf4")
        >>> reference_ensemble(tiny, 5, 2.0, 5).interval
        0.5
    """
    if not isinstance(ensemble, EnsembleConfig):
        raise TypeError(
            "Expected an EnsembleConfig, whose flow, start fields and filter serve "
            f"again, such as named_flow(name). Received {type(ensemble).__name__}: "
            "make one, EnsembleConfig(flow, ...)."
        )
    check_whole("num_snapshots", num_snapshots, 2)
    grid = Grid(ensemble.flow.shape, ensemble.flow.lengths)
    _check_shared(ensemble.forcing, truncated_modes(grid))
    return replace(
        ensemble,
        num_trajectories=(1, 1, num_members),
        num_snapshots=num_snapshots,
        interval=duration / (num_snapshots - 1),
        seed=ensemble.seed + 1,
    )


# Automatic steps are this fraction of the initial stability limit: speeds may double.
_SAFETY = 0.4


@dataclass(frozen=True)
class EnsembleRun:
    """Results of an ensemble of LES.

    Attributes:
        times: times of the snapshots, shape `(T,)`.
        vorticity: shape `(T, E, nx, ny)`, for two layers the potential vorticity
            `(T, E, 2, nx, ny)`, float32; NaN after a member has blown up.
        failure_times: time at which each member was found to have blown up, shape
            `(E,)`; inf if it did not.
        time_step: the largest step taken.
    """

    times: NDArray[np.float64]
    vorticity: NDArray[np.float32]
    failure_times: NDArray[np.float64]
    time_step: float

    @property
    def stable_fraction(self) -> float:
        """The fraction of the members that reached the end."""
        return float(np.mean(np.isinf(self.failure_times)))


def run_ensemble(
    start: ArrayLike,
    flow: FlowConfig | TwoLayerConfig,
    closure: Closure | None,
    times: Sequence[float],
    time_step: float | None = None,
    forcing: ForcingLike | None = None,
    progress: Progress | bool | None = None,
) -> EnsembleRun:
    """Run an LES from every start field and return its vorticity at given times.

    A member has blown up if its vorticity is not finite, or if it is too fast for the
    time step, so that it violates the CFL limit `max(|u| Kx + |v| Ky) dt <= 2 sqrt(2)`.
    It is replaced by fluid at rest, so that the others continue. Closures are explicit:
    an eddy viscosity nu_e also needs `nu_e k_max^2 dt < 2.78`.

    Args:
        start: vorticity on the LES grid, shape `(E, nx, ny)`, each of zero mean; for
            two layers the potential vorticity, shape `(E, 2, nx, ny)`.
        flow: the flow of the LES, see `filtering.les_flow`.
        closure: subgrid forcing; None means `NoClosure`.
        times: increasing times from the start, at least 0.
        time_step: the largest time step; None means 0.4 of the CFL limit of the fastest
            start field.
        forcing: as in `evolve`, not stochastic; see `filtering.les_forcing`.
        progress: None for a bar in terminals after two seconds, False for none; or a
            callable, called after each of the times with a mapping of "done" and
            "total", numbers of times.

    Raises:
        ValueError: for fields or times that do not fit.
        UnstableTimeStepError: if the steps exceed the CFL limit of a start field.
        TypeError: for an invalid progress.

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
    check_progress(progress)
    closure = NoClosure(lengths=flow.lengths) if closure is None else closure
    simulation = Simulation(flow, closure, forcing)
    layers = simulation.equation.layers
    if np.ndim(start) != 3 + len(layers) or not len(np.asarray(start)):
        kind = "potential vorticity" if layers else "vorticity"
        shape = "(E, 2, nx, ny)" if layers else "(E, nx, ny)"
        raise ValueError(
            f"start must hold one {kind} field a member, shape {shape}; received "
            f"{np.shape(start)}."
        )
    state = simulation.start(start)
    if time_step is None:
        largest = simulation.largest_time_step(state)
        time_step = min(_SAFETY * largest, float(moments[-1]) or 1.0)
    check_positive("time_step", time_step)
    durations = np.diff(moments, prepend=0.0).tolist()
    # Otherwise the closure would seem to have blown up.
    longest = max(equal_steps(duration, time_step)[1] for duration in durations)
    simulation.check_time_step(state, longest)
    failure_times = np.full(len(state.vorticity_hat), math.inf)
    snapshots = []
    with watched(progress, "LES", "snapshots") as move:
        for moment in moments:
            duration = float(moment) - state.time
            state, failed = simulation.advance_members(state, duration, time_step)
            state = replace(state, time=float(moment))
            failure_times = np.minimum(failure_times, failed)
            fields = simulation.vorticity(state)
            fields[np.isfinite(failure_times)] = np.nan
            snapshots.append(fields.astype(np.float32))
            move({"done": len(snapshots), "total": len(moments)})
    return EnsembleRun(moments, np.stack(snapshots), failure_times, time_step)
