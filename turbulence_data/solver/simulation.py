"""Running a flow: checked start fields, checked time steps, checked results."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TypedDict, Unpack

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from turbulence_data._checks import TWO_PI, check_positive, is_finite_number
from turbulence_data.config import FlowConfig
from turbulence_data.filtering import FilteredFields
from turbulence_data.solver.engine import (
    Engine,
    FftwEngine,
    Integrals,
    Integrator,
    check_engine,
)
from turbulence_data.solver.equations import Closure, VorticityEquation
from turbulence_data.solver.errors import (
    SimulationDivergedError,
    UnstableTimeStepError,
)
from turbulence_data.solver.forcing import ForcingLike
from turbulence_data.solver.grid import Grid
from turbulence_data.solver.modes import padded_modes, truncated_modes
from turbulence_data.solver.state import State, check_vorticity
from turbulence_data.solver.time_stepping import (
    RK4_IMAGINARY_LIMIT,
    Scheme,
    integrating_factor_rk4,
)
from turbulence_data.solver.transforms import Field

# Steps between two looks at the speed and the energy of the flow.
CHECK_EVERY = 25
# Without a given time step: this part of the stability limit, where the error of
# the fourth-order scheme over a few turnover times is below 1e-6.
_SAFETY = 0.125
# Chosen steps are powers of 2^(1/4), the nearest to what accuracy asks for, so that
# they repeat, and with them the factors of a scheme.
_CHOICES_PER_OCTAVE = 4
_LONGEST_STEP = 0.01
# A leg that is too long for a flow gaining speed is shortened by four this many times.
_SHORTENINGS = 8
# A step below this part of the whole duration means a flow that runs away.
_SHORTEST_STEP = 1e-6
# Largest change a step of the linear terms, as a phase and as a decay: 0.2^4 / 2880 is
# the relative error of RK4 for a steady forcing against a decay, below 1e-6.
_ROSSBY_PHASE = 0.5
_DAMPING = 0.2
# Kicks are first order: right after one, forced modes are this much above balance.
_DAMPING_OF_KICKS = 0.02


class Numerics(TypedDict, total=False):
    """How a flow is computed.

    Attributes:
        scheme: time stepping scheme, `integrating_factor_rk4` (the default), `etdrk4`
            or another `(equation, time_step) -> step`.
        dtype: precision of the computation, `np.float64` (the default) or `np.float32`.
        engine: what computes, `FftwEngine()` (the default) or `JaxEngine()`.
    """

    scheme: Scheme
    dtype: DTypeLike
    engine: Engine


class Simulation:
    """A flow with its equation, ready to be advanced.

    Without a closure it is a DNS: wavenumbers beyond two thirds of the grid are cut
    off. With one it is an LES: every wavenumber below Nyquist is kept and the products
    are formed on a grid padded by 3/2, as they are where `sgs_forcing` is computed.

    Args:
        flow: resolution and physics.
        closure: subgrid forcing `(vorticity, streamfunction) -> sgs_forcing`, or None.
        threads: threads of `FftwEngine` that share one grid; data are best made with
            one process a core.
        forcing: what drives the flow, as of `evolve`.
        **numerics: `scheme`, `dtype` and `engine`, as of `evolve`.

    Raises:
        ValueError: for a forcing that does not fit the flow, or another dtype.
        TypeError: for a flow, a closure, a scheme or an engine of another kind.
    """

    def __init__(
        self,
        flow: FlowConfig,
        closure: Closure | None = None,
        threads: int = 1,
        forcing: ForcingLike | None = None,
        **numerics: Unpack[Numerics],
    ) -> None:
        if not isinstance(flow, FlowConfig):
            raise TypeError(
                "flow must be a FlowConfig(num_points, reynolds, ...); received "
                f"{flow!r}."
            )
        if unknown := sorted(numerics.keys() - Numerics.__annotations__.keys()):
            known = ", ".join(Numerics.__annotations__)
            raise TypeError(f"expected only {known}; received {', '.join(unknown)}.")
        self.flow = flow
        self.scheme = _checked_scheme(numerics.get("scheme", integrating_factor_rk4))
        self.engine = numerics.get("engine", FftwEngine())
        check_engine(self.engine)
        self.grid = Grid(flow.shape, flow.lengths)
        modes_of = truncated_modes if closure is None else padded_modes
        self.modes = modes_of(self.grid, numerics.get("dtype", np.float64))
        self.equation = VorticityEquation(
            flow, self.modes, closure, threads=threads, forcing=forcing
        )

    @cached_property
    def _integrator(self) -> Integrator:
        return self.engine.integrator(self.equation, self.scheme)

    def start(
        self, vorticity: ArrayLike, time: float = 0.0, step_number: int = 0
    ) -> State:
        """Returns the state of a physical vorticity field, checked.

        Args:
            vorticity: the field; or several along leading axes, which are advanced side
                by side with the same steps.
            time: its time.
            step_number: steps made before, which number the kicks of a stochastic
                forcing.

        Raises:
            ValueError: for a wrong shape, complex or non-finite values, a mean that is
                not zero; for several fields that would meet the same kicks.
        """
        vorticity_hat = self.modes.from_physical(self._checked_fields(vorticity))
        return State(vorticity_hat, time, step_number)

    def _checked_fields(self, vorticity: ArrayLike) -> Field:
        fields = np.asarray(vorticity)
        if fields.ndim <= 2 or fields.size == 0:
            return check_vorticity(fields, self.grid)
        if self.equation.drive.noise is not None:
            raise ValueError(
                "fields side by side would all meet the same random kicks; received "
                f"shape {fields.shape}. Run each by itself with the stream of its own, "
                "forcing.for_trajectory(seed, number); a JaxEngine(batch_size=...) "
                "joins runs of several threads."
            )
        rows = fields.reshape(-1, *fields.shape[-2:])
        checked = np.stack([check_vorticity(field, self.grid) for field in rows])
        return checked.reshape(fields.shape)

    def advance(self, state: State, duration: float, time_step: float) -> State:
        """Returns the state `duration` later, in equal steps of at most `time_step`.

        Raises:
            ValueError: for a negative duration or a step that is not positive.
            UnstableTimeStepError: when the step breaks the stability limit.
            SimulationDivergedError: when the vorticity stops being finite.
        """
        if not duration >= 0.0 or not time_step > 0.0:
            raise ValueError(
                "time runs forward: duration must be at least 0 and time_step positive;"
                f" received {duration!r} and {time_step!r}."
            )
        num_steps = math.ceil(duration / time_step * (1.0 - 1e-12))
        if num_steps == 0:
            return state
        time_step = float(duration) / num_steps
        vorticity_hat = state.vorticity_hat.copy()
        last_good = state
        # Overflow on the way to divergence is reported by the checks, as an error.
        with np.errstate(over="ignore", invalid="ignore"):
            for first in range(0, num_steps, CHECK_EVERY):
                time = state.time + first * time_step
                last_good = self._checked(
                    State(vorticity_hat, time), time_step, first, last_good
                )
                numbers = range(first, min(first + CHECK_EVERY, num_steps))
                vorticity_hat = self._integrator.steps(
                    vorticity_hat, state, time_step, numbers
                )
            final = State(
                vorticity_hat, state.time + duration, state.step_number + num_steps
            )
            self._checked(final, time_step, num_steps, last_good)
        return final

    def vorticity(self, state: State) -> Field:
        """Returns the physical vorticity of a state, as a NumPy array."""
        return self._integrator.to_physical(state.vorticity_hat)

    def energy(self, state: State) -> float:
        """Returns the kinetic energy per unit area; the mean over several fields."""
        return self._integrator.energy(state.vorticity_hat)

    def integrals(self, state: State) -> Integrals:
        """Returns energy, enstrophy, its loss, work and dissipation of a field."""
        return self._integrator.integrals(state.vorticity_hat, state.time)

    def filtered(
        self, state: State, num_points: tuple[int, int], width: float
    ) -> FilteredFields:
        """Returns what `filtering.filtered_dns` does, computed by the engine."""
        return self._integrator.filtered(state.vorticity_hat, num_points, width)

    def largest_time_step(self, state: State) -> float:
        """Returns the stability limit at the speed of this state; inf at rest."""
        rate = self._advection_rate(state)
        return RK4_IMAGINARY_LIMIT / rate if rate > 0.0 else math.inf

    def suggested_time_step(self, state: State) -> float:
        """Returns a step that is accurate, from the speed of this state and the flow.

        About an eighth of the stability limit; and short against Rossby waves and
        against the damping of the forced wavenumbers, which the integrating factor
        solves exactly but the other terms then see as fast changes. How fast a forcing
        changes by itself is not known here: give a step where that is what counts.
        """
        limits = [
            (_SAFETY * RK4_IMAGINARY_LIMIT, self._advection_rate(state)),
            (_ROSSBY_PHASE, abs(self.flow.beta) * max(self.flow.lengths) / TWO_PI),
            (_DAMPING, self.equation.source_damping(state.time)),
            (_DAMPING_OF_KICKS, self.equation.noise_damping()),
        ]
        step = min([_LONGEST_STEP, *(part / rate for part, rate in limits if rate > 0)])
        if not step > 0.0:
            return step
        exponent = round(_CHOICES_PER_OCTAVE * math.log2(step))
        return float(2.0 ** (exponent / _CHOICES_PER_OCTAVE))

    def _advection_rate(self, state: State) -> float:
        return self._integrator.advection_rate(state.vorticity_hat)

    def _checked(
        self, state: State, time_step: float, step_number: int, last_good: State
    ) -> State:
        """Returns a copy of a state that is finite and slow enough to go on from."""
        energy = self.energy(state)
        if not math.isfinite(energy):
            raise SimulationDivergedError(
                f"the vorticity stopped being finite before time {state.time:.6g} "
                f"(step {step_number}, time step {time_step:.6g}); the last good "
                "energy was "
                f"{self.energy(last_good):.6g} at time "
                f"{last_good.time:.6g}. Use a smaller time step, a higher resolution "
                "or more viscosity, or a closure that does not feed energy."
            )
        largest = self.largest_time_step(state)
        if time_step > largest:
            raise UnstableTimeStepError(
                f"time_step={time_step:.6g} breaks the CFL limit at time "
                f"{state.time:.6g}: at the present speed at most {largest:.6g} is "
                f"stable (energy {energy:.6g}). Choose about {0.5 * largest:.2g}, or "
                "None to let the solver choose."
            )
        return State(state.vorticity_hat.copy(), state.time)


def evolve(
    vorticity: ArrayLike,
    flow: FlowConfig,
    duration: float,
    time_step: float | None = None,
    closure: Closure | None = None,
    forcing: ForcingLike | None = None,
    **numerics: Unpack[Numerics],
) -> Field:
    """Advances a vorticity field by `duration` and returns it.

        d(vorticity)/dt + J = nu lap(vorticity) - beta v - drag vorticity
                              + forcing + closure

    Args:
        vorticity: physical field of shape `flow.shape`, axis 0 is x; mean zero. Several
            along leading axes are advanced side by side, with the same steps.
        flow: resolution and physical parameters.
        duration: time to advance, at least 0.
        time_step: largest step; steps are equal and end exactly at `duration`. None
            chooses one from the speed of the flow, anew every few steps.
        closure: `(vorticity, streamfunction) -> sgs_forcing` for an LES; None for a
            DNS, whose wavenumbers beyond two thirds of the grid are cut off.
        forcing: a source of vorticity `(x, y, time) -> field`, a `SteadyForcing` or a
            `RingForcing`, for a flow whose `forcing_wavenumber` is None; None for what
            the flow says. Time starts at 0. To go on after a stochastic run use
            `Simulation`, whose `State` numbers the steps: a second `evolve` would meet
            the same kicks again.
        **numerics: `scheme`, a time stepping scheme (`integrating_factor_rk4` by
            default, or `etdrk4`), `dtype`, the precision of the computation
            (`np.float64` by default, or `np.float32`), and `engine`, what computes
            (`FftwEngine()` by default, or `JaxEngine()`).

    Returns:
        Physical vorticity of the same shape and of the dtype computed with.

    Raises:
        ValueError: for a start field or a forcing that does not fit, or a negative
            duration.
        TypeError: for a flow, a closure, a forcing or a scheme of another kind.
        UnstableTimeStepError: when `time_step` breaks the CFL limit.
        SimulationDivergedError: when the field stops being finite.

    Example:
        >>> flow = FlowConfig(32, reynolds=10, linear_drag=0, forcing_wavenumber=None)
        >>> import numpy as np
        >>> x = np.arange(32) * 2 * np.pi / 32
        >>> start = np.cos(x)[:, None] + np.cos(x)[None, :]  # decays as exp(-nu t)
        >>> bool(np.allclose(evolve(start, flow, 1.0), start * np.exp(-0.1)))
        True
    """
    if not is_finite_number(duration) or float(duration) < 0.0:
        raise ValueError(
            f"duration must be finite and at least 0; received {duration!r}."
        )
    if time_step is not None:
        check_positive("time_step", time_step)
    simulation = Simulation(flow, closure, forcing=forcing, **numerics)
    state = simulation.start(vorticity)
    return simulation.vorticity(
        advance_to(simulation, state, float(duration), time_step)
    )


# A field too fast to be squared is reported by the checks, as an error.
@np.errstate(over="ignore", invalid="ignore")
def advance_to(
    simulation: Simulation, state: State, end: float, time_step: float | None
) -> State:
    """Returns the state at time `end`, choosing the steps where none is given.

    Chosen steps depend on nothing but the state, so a run can be repeated exactly.
    """
    if time_step is not None or end <= state.time:
        time_step = time_step or _LONGEST_STEP
        reached = simulation.advance(state, end - state.time, time_step)
        return replace(reached, time=max(end, state.time))
    leg, shortest = math.inf, _SHORTEST_STEP * (end - state.time)
    while state.time < end:
        chosen = simulation.suggested_time_step(state)
        if chosen < shortest:
            raise SimulationDivergedError(
                f"at time {state.time:.6g} the flow has become so fast that a time "
                f"step of {chosen:.3g} would be needed; its energy is "
                f"{simulation.energy(state):.6g}. Check the units "
                "of the start field, and that the closure does not feed energy."
            )
        leg = min(4.0 * leg, end - state.time, 4 * CHECK_EVERY * chosen)
        # A last sliver of a leg would cost a step for nothing.
        if end - state.time - leg < chosen:
            leg = end - state.time
        state, leg = _advance_cautiously(simulation, state, leg, chosen)
        if end - state.time < 1e-12 * max(1.0, abs(end)):
            return replace(state, time=end)
    return state


def _advance_cautiously(
    simulation: Simulation, state: State, leg: float, time_step: float
) -> tuple[State, float]:
    """Advances by `leg`, or by less where the flow speeds up too much on the way."""
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
    """Yields the states at the given, rising times, each reached exactly."""
    for time in times:
        state = advance_to(simulation, state, time, time_step)
        yield state


def _checked_scheme(scheme: Scheme) -> Scheme:
    if not callable(scheme):
        raise TypeError(
            "scheme must be a callable (equation, time_step) -> step, such as "
            f"integrating_factor_rk4 or etdrk4; received {scheme!r}."
        )
    return scheme
