"""Simulation of a flow: checked start fields, time steps and results."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from turbulence_data._checks import as_array, check_callable, check_kind, check_positive
from turbulence_data._progress import Progress, check_progress
from turbulence_data.config import FlowConfig, TwoLayerConfig
from turbulence_data.filtering import FilteredFields
from turbulence_data.solver._equation import (
    Closure,
    Engine,
    Equation,
    Integrals,
    Integrator,
    State,
    evaluate,
)
from turbulence_data.solver._forcing import ForcingLike
from turbulence_data.solver._grid import Field, FieldHat
from turbulence_data.solver._modes import as_real_dtype
from turbulence_data.solver._schemes import (
    RK4_IMAGINARY_LIMIT,
    Scheme,
    integrating_factor_rk4,
)
from turbulence_data.solver._two_layer import TwoLayerEquation
from turbulence_data.solver._vorticity import VorticityEquation
from turbulence_data.solver.fftw._engine import FftwEngine

# Steps between two checks of the speed and the energy of the flow.
CHECK_EVERY = 25
# Chosen steps are the `step_part` of an equation at this tolerance, where the relative
# error over ten turnover times was 1e-7 (256 x 256 points) to 2e-6 (64 x 64), and grow
# as the fourth root of the tolerance, to at most this part of the stability limit.
FINE_TOLERANCE = 3.125e-7
_LARGEST_PART = 0.7
# Automatic steps are rounded to powers of 2^(1/4), so that steps, and with them the
# factors of a scheme, are reused.
_CHOICES_PER_OCTAVE = 4
# Largest change a step of the linear terms, as a phase and as a decay: 0.2^4 / 2880 is
# the relative error of RK4 for a steady forcing against a decay, below 1e-6.
_WAVE_PHASE = 0.5
_DAMPING = 0.2
# Random forcing is first order: after a kick, forced modes exceed balance by this much.
_DAMPING_OF_KICKS = 0.02

# The equation of each kind of flow; made by `(flow, modes, closure, forcing)`.
_EQUATIONS: dict[type, Any] = {
    FlowConfig: VorticityEquation,
    TwoLayerConfig: TwoLayerEquation,
}


class UnstableTimeStepError(ValueError):
    """The time step exceeds the stability limit of the scheme for the flow's speed."""


class SimulationDivergedError(FloatingPointError):
    """A field became non-finite; the message has the time and last finite energy."""


@dataclass(frozen=True)
class Numerics:
    """Scheme, precision, engine and tolerance of a computation.

    Attributes:
        scheme: time stepping scheme, `integrating_factor_rk4`, `etdrk4` or another
            `(equation, time_step) -> step`.
        dtype: precision of the computation, `np.float64` or `np.float32`.
        engine: engine of the computation, `FftwEngine()` or `JaxEngine()`.
        tolerance: target relative error of automatic time steps over a few turnover
            times, an order of magnitude and not a bound. Does not affect given steps.
        progress: display of `evolve`: None for a bar in terminals after two seconds,
            False for none; or a callable, called every few steps with a mapping of
            "done" and "total" simulated time.

    Raises:
        TypeError: for a scheme, an engine or a progress of the wrong type.
        ValueError: for another dtype or a tolerance that is not positive.

    Example:
        >>> Numerics(dtype="float32").dtype
        dtype('float32')
    """

    scheme: Scheme = integrating_factor_rk4
    dtype: DTypeLike = np.float64
    engine: Engine = field(default_factory=FftwEngine)
    tolerance: float = 1e-5
    progress: Progress | bool | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        form = "(equation, time_step) -> step, as integrating_factor_rk4 or etdrk4"
        check_callable("scheme", self.scheme, form)
        if not isinstance(self.engine, Engine) or isinstance(self.engine, type):
            raise TypeError(
                "engine must be an object such as FftwEngine() or JaxEngine(); "
                f"received {self.engine!r}."
            )
        check_positive("tolerance", self.tolerance)
        check_progress(self.progress)
        object.__setattr__(self, "dtype", as_real_dtype(self.dtype))


DEFAULT_NUMERICS = Numerics()


def equation_of(
    flow: FlowConfig | TwoLayerConfig,
    closure: Closure | None = None,
    forcing: ForcingLike | None = None,
    dtype: DTypeLike = np.float64,
) -> Equation:
    """Return the equation of a flow, on the modes of an LES if there is a closure."""
    if type(flow) not in _EQUATIONS:
        known = " or ".join(kind.__name__ for kind in _EQUATIONS)
        raise TypeError(f"flow must be a {known}(num_points, ...); received {flow!r}.")
    kind = _EQUATIONS[type(flow)]
    modes = kind.modes_of(flow, closure is not None, dtype)
    equation: Equation = kind(flow, modes, closure, forcing)
    return equation


class Simulation:
    """A flow with its equation, ready to be advanced.

    Without a closure it is a DNS: wavenumbers beyond two thirds of the grid are cut
    off. With one it is an LES: every wavenumber below Nyquist is kept and products are
    formed on a grid padded by 3/2, as in the computation of `sgs_forcing`.

    Args:
        flow: resolution and physics.
        closure: subgrid forcing `(vorticity, streamfunction) -> sgs_forcing`, or None.
        forcing: forcing of the flow, as in `evolve`.
        numerics: scheme, precision and engine.

    Several threads may share one: on `FftwEngine`, which reuses its buffers, their
    steps take turns.

    A `State` of another precision or engine is continued in that of this simulation;
    one whose coefficients have another shape is refused with a ValueError.

    Raises:
        ValueError: for a forcing that does not fit the flow, or another dtype.
        TypeError: for a flow, a closure, a scheme or an engine of the wrong type.
    """

    def __init__(
        self,
        flow: FlowConfig | TwoLayerConfig,
        closure: Closure | None = None,
        forcing: ForcingLike | None = None,
        numerics: Numerics = DEFAULT_NUMERICS,
    ) -> None:
        check_kind("numerics", numerics, Numerics)
        self.flow, self.numerics = flow, numerics
        self.equation = equation_of(flow, closure, forcing, numerics.dtype)
        self.modes = self.equation.modes
        self.grid = self.modes.grid

    @cached_property
    def _integrator(self) -> Integrator:
        return self.numerics.engine.integrator(self.equation, self.numerics.scheme)

    def __getstate__(self) -> dict[str, Any]:
        # A copy, also in another process, makes its own plans and compiled code.
        return {k: v for k, v in self.__dict__.items() if k != "_integrator"}

    def start(
        self, vorticity: ArrayLike, time: float = 0.0, step_number: int = 0
    ) -> State:
        """Return the state of a physical vorticity field, after checking the field.

        Args:
            vorticity: the field; or several along leading axes, which are advanced
                together with the same steps.
            time: its time.
            step_number: number of steps made before, which selects the random numbers
                of a stochastic forcing.

        Raises:
            ValueError: for a wrong shape, complex or non-finite values, a nonzero mean,
                or several fields that would get the same stochastic forcing.
        """
        fields, equation = as_array("vorticity", vorticity), self.equation
        num_axes, rows = len(equation.shape), [fields]
        if fields.ndim > num_axes and fields.size > 0:
            if equation.drive.noise is not None:
                raise ValueError(
                    "several fields would all get the same random numbers of a "
                    f"stochastic forcing; received shape {fields.shape}. Run each "
                    "separately with its own stream, forcing.for_trajectory(seed, "
                    "number); a JaxEngine(batch_size=...) joins runs of several "
                    "threads."
                )
            rows = [*fields.reshape(-1, *fields.shape[-num_axes:])]
        checked = np.stack([equation.check_start(row) for row in rows])
        vorticity_hat = self.modes.from_physical(checked.reshape(fields.shape))
        return State(vorticity_hat, time, step_number)

    def advance(
        self,
        state: State,
        duration: float,
        time_step: float,
        reached: Callable[[float], None] | None = None,
    ) -> State:
        """Return the state `duration` later, in equal steps of at most `time_step`.

        Args:
            state: initial state.
            duration: at least 0.
            time_step: largest time step.
            reached: called with the current time every 25 steps.

        Raises:
            ValueError: for a negative duration or a step that is not positive.
            UnstableTimeStepError: if the step exceeds the stability limit.
            SimulationDivergedError: if the vorticity becomes non-finite.
        """
        num_steps, time_step = equal_steps(duration, time_step)
        vorticity_hat = self._coefficients(state)
        if num_steps == 0:
            return replace(state, vorticity_hat=vorticity_hat)
        vorticity_hat = vorticity_hat.copy()
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
                if reached is not None:
                    reached(state.time + numbers.stop * time_step)
            final = State(
                vorticity_hat, state.time + duration, state.step_number + num_steps
            )
            self._checked(final, time_step, num_steps, last_good)
        return final

    def advance_members(
        self, state: State, duration: float, time_step: float, check_every: int = 10
    ) -> tuple[State, NDArray[np.float64]]:
        """Return several fields `duration` later, without those that blow up.

        A field has blown up if it is not finite or violates the stability limit of the
        step. It is replaced by fluid at rest, so that the others continue.

        Args:
            state: fields along one leading axis.
            duration: at least 0.
            time_step: largest step; steps are equal.
            check_every: steps between two checks of the speed of every field.

        Returns:
            The state, and the time at which each field was found to have blown up, inf
            if it did not.

        Raises:
            ValueError: for a negative duration, a step that is not positive, or other
                axes.
        """
        num_steps, time_step = equal_steps(duration, time_step)
        hat = self._coefficients(state, leading=1).copy()
        failure_times = np.full(len(hat), math.inf)
        if num_steps == 0:
            return replace(state, vorticity_hat=hat), failure_times
        edges = [*range(0, num_steps, check_every), num_steps]
        with np.errstate(all="ignore"):  # a field that blows up overflows first
            for first, last in pairwise([*edges, num_steps]):
                time = state.time + (
                    duration if first == num_steps else first * time_step
                )
                rates = self._integrator.advection_rates(hat)
                # True also for NaN.
                blown_up = ~(rates <= RK4_IMAGINARY_LIMIT / time_step)
                if np.any(blown_up):
                    failure_times[blown_up] = np.minimum(failure_times, time)[blown_up]
                    hat = np.array(hat)
                    hat[blown_up] = 0.0
                hat = self._integrator.steps(hat, state, time_step, range(first, last))
        end, step_number = state.time + duration, state.step_number + num_steps
        return State(hat, end, step_number), failure_times

    def vorticity(self, state: State) -> Field:
        """Return the physical vorticity of a state, as a NumPy array."""
        return self._integrator.to_physical(self._coefficients(state))

    def streamfunction(self, state: State) -> Field:
        """Return the physical streamfunction of a state; of two layers those of both.

        With the sign of this package: `u = d(psi)/dy`, `v = -d(psi)/dx`.

        Example:
            >>> flow = TwoLayerConfig(16, 15e3, beta=1.5e-11, bottom_drag=0.0)
            >>> x = np.arange(16) * 2 * np.pi / 16
            >>> q = 1e-6 * np.cos(3 * x)[:, None] * np.ones((2, 1, 16))  # no shear
            >>> simulation = Simulation(flow)
            >>> psi = simulation.streamfunction(simulation.start(q))
            >>> bool(np.allclose(psi, q / (3 * 2 * np.pi / 1e6) ** 2))  # q = -lap(psi)
            True
        """
        hat = np.asarray(self._coefficients(state))
        return self.modes.to_physical(self.equation.streamfunction_hat(hat))

    def energy(self, state: State) -> float:
        """Return the kinetic energy per unit area, averaged over several fields.

        For two layers it is kinetic and available potential energy per unit mass.
        """
        return self._integrator.energy(self._coefficients(state))

    def integrals(self, state: State) -> Integrals:
        """Return energy, enstrophy, its loss, work and dissipation of one field.

        Raises:
            ValueError: for several fields.
        """
        return self._integrator.integrals(self._coefficients(state, 0), state.time)

    def filtered(
        self, state: State, num_points: tuple[int, int], width: float
    ) -> FilteredFields:
        """Return filtered fields, as `filtered_dns` does, computed by the engine.

        Raises:
            ValueError: for a state of several fields.
        """
        hat = self._coefficients(state, leading=0)
        return self._integrator.filtered(hat, num_points, width)

    def largest_time_step(self, state: State) -> float:
        """Return the stability limit at the speed of this state; inf at rest."""
        rate = self._advection_rate(state)
        return RK4_IMAGINARY_LIMIT / rate if rate > 0.0 else math.inf

    def check_time_step(self, state: State, time_step: float) -> None:
        """Raise UnstableTimeStepError if a step exceeds the limit of this state."""
        largest = self.largest_time_step(state)
        if time_step > largest:
            raise UnstableTimeStepError(
                f"time_step={time_step:.6g} breaks the CFL limit at time "
                f"{state.time:.6g}: at the present speed at most {largest:.6g} is "
                f"stable (energy {self.energy(state):.6g}). Choose about "
                f"{0.5 * largest:.2g}, or None to let the solver choose."
            )

    def suggested_time_step(self, state: State) -> float:
        """Return an accurate time step from the speed of this state and the flow.

        It is a fraction of the stability limit that depends on the tolerance, and short
        compared with Rossby waves and the damping of forced wavenumbers, which the
        integrating factor solves exactly but turns into fast changes of the other
        terms. It ignores the time scale of a forcing: give a step if that is short.
        """
        rate = self._advection_rate(state)
        longest = self.equation.longest_time_step(rate) * min(self._longer, 1.0)
        step = min([longest, *self._accurate_steps(state.time, rate).values()])
        if not step > 0.0:
            return step
        exponent = round(_CHOICES_PER_OCTAVE * math.log2(step))
        return float(2.0 ** (exponent / _CHOICES_PER_OCTAVE))

    def accurate_time_steps(self, state: State) -> dict[str, float]:
        """Return the longest accurate time step for each cause that limits it.

        Fluid at rest without waves, viscosity and drag has none.
        """
        return self._accurate_steps(state.time, self._advection_rate(state))

    def _accurate_steps(self, time: float, advection_rate: float) -> dict[str, float]:
        equation, longer = self.equation, self._longer
        shorter = min(longer, 1.0)  # for tolerances below the finest calibrated one
        part = min(longer * equation.step_part, _LARGEST_PART) * RK4_IMAGINARY_LIMIT
        damping = equation.source_damping(time)
        limits = {
            "the speed of the flow": (part, advection_rate),
            "the frequency of its waves": (shorter * _WAVE_PHASE, equation.wave_rate),
            "the damping of what is forced": (longer * _DAMPING, damping),
            "the damping of the noise": (_DAMPING_OF_KICKS, equation.noise_damping()),
        }
        return {
            cause: part / rate for cause, (part, rate) in limits.items() if rate > 0
        }

    @property
    def _longer(self) -> float:
        """Steps at the tolerance relative to those at the finest calibrated one."""
        return math.sqrt(math.sqrt(self.numerics.tolerance / FINE_TOLERANCE))

    def _advection_rate(self, state: State) -> float:
        hat = self._coefficients(state)
        return float(np.max(self._integrator.advection_rates(hat)))

    def _coefficients(self, state: State, leading: int | None = None) -> FieldHat:
        """Return the coefficients of a state, in this precision, after a check.

        Args:
            state: one field or several.
            leading: number of leading axes, 0 for one field; None for any.
        """
        shape, received = self.equation.shape, np.shape(state.vorticity_hat)
        more = len(received) - len(shape)
        if more < 0 or received[more:] != shape:
            raise ValueError(
                f"the state must hold coefficients of shape {shape}, those of this "
                f"simulation on {self.grid.num_points} points; received {received}, "
                "of another grid or of other modes (a DNS keeps fewer than an LES). "
                "Start from its field: simulation.start(other.vorticity(state), time)."
            )
        if leading is not None and more != leading:
            kind = "several fields along one leading axis" if leading else "one field"
            raise ValueError(
                f"the state must be of {kind}, coefficients of shape "
                f"{('members',) * leading + shape}; received {received}."
            )
        hat, dtype = state.vorticity_hat, self.modes.complex_dtype
        return hat if getattr(hat, "dtype", None) == dtype else np.asarray(hat, dtype)

    def _checked(
        self, state: State, time_step: float, step_number: int, last_good: State
    ) -> State:
        """Return a copy of a state after checking that it is finite and stable."""
        energy = self.energy(state)
        if not math.isfinite(energy):
            raise SimulationDivergedError(
                f"the vorticity stopped being finite before time {state.time:.6g} "
                f"(step {step_number}, time step {time_step:.6g}); the last good "
                "energy was "
                f"{self.energy(last_good):.6g} at time "
                f"{last_good.time:.6g}. {self._advice(last_good)}"
            )
        self.check_time_step(state, time_step)
        return State(state.vorticity_hat.copy(), state.time)

    def _advice(self, last_good: State) -> str:
        """Return what to change after a field stopped being finite."""
        closure = self.equation.closure
        if closure is not None:
            fields = self.vorticity(last_good), self.streamfunction(last_good)
            forcing = evaluate(closure, *fields, len(self.equation.shape))
            wrong = forcing.size - int(np.count_nonzero(np.isfinite(forcing)))
            if wrong:
                return (
                    f"At that time the closure returned {wrong} of {forcing.size} "
                    "values that are NaN or infinite for a finite vorticity. Call it "
                    "on one field and mend it; a smaller time step does not help."
                )
        return (
            "Use a smaller time step, a higher resolution or more viscosity, or a "
            "closure that does not feed energy."
        )


def equal_steps(duration: float, time_step: float) -> tuple[int, float]:
    """Return the number of equal steps of at most `time_step`, and their length."""
    if not duration >= 0.0 or not time_step > 0.0:
        raise ValueError(
            "time runs forward: duration must be at least 0 and time_step positive;"
            f" received {duration!r} and {time_step!r}."
        )
    num_steps = math.ceil(duration / time_step * (1.0 - 1e-12))
    return num_steps, float(duration) / max(num_steps, 1)
