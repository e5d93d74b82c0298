"""Running a flow to a given time, with given or automatic time steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from turbulence_data._checks import check_at_least_zero, check_positive
from turbulence_data._progress import watched
from turbulence_data.config import FlowConfig, TwoLayerConfig
from turbulence_data.solver._equation import Closure, State
from turbulence_data.solver._forcing import ForcingLike
from turbulence_data.solver._grid import Field
from turbulence_data.solver._simulation import (
    CHECK_EVERY,
    DEFAULT_NUMERICS,
    Numerics,
    Simulation,
    SimulationDivergedError,
    UnstableTimeStepError,
)

# A leg too long for an accelerating flow is shortened by four up to this many times.
_SHORTENINGS = 8
# A time step below this fraction of the whole duration, and below that of the longest
# automatic step, means that the flow diverges or has other units than its parameters.
_SHORTEST_OF_DURATION = 1e-6
_SHORTEST_OF_LONGEST = 1e-2
# Automatic steps of a flow whose forcing varies: more would take weeks.
_MOST_STEPS = 1e7

Reached = Callable[[float], None]


def evolve(
    vorticity: ArrayLike,
    flow: FlowConfig | TwoLayerConfig,
    duration: float,
    time_step: float | None = None,
    closure: Closure | None = None,
    forcing: ForcingLike | None = None,
    numerics: Numerics = DEFAULT_NUMERICS,
) -> Field:
    """Advance a vorticity field by `duration` and return it.

        d(vorticity)/dt + J = nu lap(vorticity) - beta v - drag vorticity
                              + forcing + closure

    For a `TwoLayerConfig` the first argument is the potential vorticity of both layers,
    shape `(2, nx, ny)`, in SI units: pass it by position, `evolve(q, flow, ...)`.

    Args:
        vorticity: physical field of shape `flow.shape`, axis 0 is x, with zero mean.
            Several fields along leading axes are advanced together, with the same
            steps. For two layers potential vorticity, shape `(2, nx, ny)`, axis 1 is x.
        flow: resolution and physical parameters.
        duration: time to advance, at least 0.
        time_step: largest step; steps are equal and end exactly at `duration`. None
            chooses it from the speed of the flow, every 100 steps; it is at most 0.01.
            In SI units, where both the domain and the times of a flow are far from one,
            it is at most a hundredth of the time of drag, forcing and crossing of the
            domain, but 0.01 for a forcing that varies in time, which needs a step
            given where its scale is another. For two layers the shear limits it.
        closure: `(vorticity, streamfunction) -> sgs_forcing` for an LES; None for a
            DNS, whose wavenumbers beyond two thirds of the grid are cut off.
        forcing: a source of vorticity `(x, y, time) -> field`, a `SteadyForcing` or a
            `RingForcing`, for a flow whose `forcing_wavenumber` is None; None for the
            flow's own forcing. Time starts at 0. To continue a stochastic run use
            `Simulation`, whose `State` counts the steps: a second `evolve` would repeat
            the same random numbers.
        numerics: scheme, precision and engine, for example
            `Numerics(etdrk4, np.float32, JaxEngine())`, and `progress`, by default a
            bar in terminals.

    Returns:
        Physical vorticity of the same shape, in the dtype of the computation.

    Raises:
        ValueError: for a start field or a forcing that does not fit, or a negative
            duration.
        TypeError: for a flow, a closure, a forcing or a scheme of the wrong type.
        UnstableTimeStepError: if `time_step` violates the CFL limit.
        SimulationDivergedError: if the field becomes non-finite.

    Example:
        >>> flow = FlowConfig(32, reynolds=10, linear_drag=0, forcing_wavenumber=None)
        >>> x = np.arange(32) * 2 * np.pi / 32
        >>> start = np.cos(x)[:, None] + np.cos(x)[None, :]  # decays as exp(-nu t)
        >>> bool(np.allclose(evolve(start, flow, 1.0), start * np.exp(-0.1)))
        True
    """
    check_at_least_zero("duration", duration)
    if time_step is not None:
        check_positive("time_step", time_step)
    simulation = Simulation(flow, closure, forcing, numerics)
    state, end = simulation.start(vorticity), float(duration)
    with watched(numerics.progress, "Simulating", "units of time") as move:
        final = advance_to(
            simulation,
            state,
            end,
            time_step,
            lambda time: move({"done": time, "total": end}),
        )
    return simulation.vorticity(final)


# A field too fast to be squared is reported by the checks, as an error.
@np.errstate(over="ignore", invalid="ignore")
def advance_to(
    simulation: Simulation,
    state: State,
    end: float,
    time_step: float | None,
    reached: Reached | None = None,
) -> State:
    """Return the state at time `end`, with automatic steps if none is given.

    Automatic steps depend only on the state, so a run can be repeated exactly.
    `reached` is called with the current time every few steps.
    """
    longest = simulation.equation.longest_time_step(0.0)
    if time_step is not None or end <= state.time:
        time_step = time_step or longest
        final = simulation.advance(state, end - state.time, time_step, reached)
        return replace(final, time=max(end, state.time))
    leg, duration = math.inf, end - state.time
    shortest = min(_SHORTEST_OF_DURATION * duration, _SHORTEST_OF_LONGEST * longest)
    is_varying = simulation.equation.drive.varying is not None
    if is_varying and duration > _MOST_STEPS * longest:
        raise ValueError(
            "a forcing that varies in time gets automatic steps of at most "
            f"{longest:g}, of which a duration of {duration:g} has more than "
            f"{_MOST_STEPS:.0e}. Give a time_step that resolves the forcing."
        )
    while state.time < end:
        chosen = simulation.suggested_time_step(state)
        if chosen < shortest:
            _check_reachable(simulation, state, end, shortest)
        leg = min(4.0 * leg, end - state.time, 4 * CHECK_EVERY * chosen)
        # Avoid an extra step for a tiny last part of a leg.
        if end - state.time - leg < chosen:
            leg = end - state.time
        state, leg = _advance_cautiously(simulation, state, leg, chosen)
        if reached is not None:
            reached(state.time)
        if end - state.time < 1e-12 * max(duration, abs(end)):
            return replace(state, time=end)
    return state


def _check_reachable(
    simulation: Simulation, state: State, end: float, shortest: float
) -> None:
    """Raise an error if anything asks for steps shorter than the shortest."""
    steps = simulation.accurate_time_steps(state)
    cause = min(steps, key=steps.__getitem__, default="")
    if not cause or steps[cause] >= shortest:
        return  # a long run of a slow flow
    number = (end - state.time) / max(steps[cause], 1e-300)
    raise SimulationDivergedError(
        f"at time {state.time:.6g} {cause} asks for a time step of {steps[cause]:.3g}, "
        f"of which {number:.1g} would be needed to reach {end:.6g}; the energy is "
        f"{simulation.energy(state):.6g}. Check the units of the start field and of "
        "the flow, and that the closure does not feed energy; or give a time_step."
    )


def _advance_cautiously(
    simulation: Simulation, state: State, leg: float, time_step: float
) -> tuple[State, float]:
    """Advance by `leg`, or by less if the flow accelerates too much on the way."""
    for _ in range(_SHORTENINGS):
        try:
            return simulation.advance(state, leg, time_step), leg
        except (UnstableTimeStepError, SimulationDivergedError):
            leg, time_step = 0.25 * leg, min(time_step, 0.25 * leg)
    return simulation.advance(state, leg, time_step), leg


def trajectory(
    simulation: Simulation,
    state: State,
    times: Sequence[float],
    time_step: float | None = None,
) -> Iterator[State]:
    """Yield the states at the given increasing times, each reached exactly."""
    for time in times:
        state = advance_to(simulation, state, time, time_step)
        yield state
