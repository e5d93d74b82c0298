"""One flow on JAX, for `solver.simulation`."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Sequence
from functools import lru_cache, partial
from hashlib import sha256
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from turbulence_data.filtering import FilteredFields
from turbulence_data.jax_engine.advection import Transforms
from turbulence_data.jax_engine.fields import to_physical
from turbulence_data.jax_engine.gathering import Gathering
from turbulence_data.jax_engine.observation import filtering, integrals, layout_of
from turbulence_data.jax_engine.optional import precision
from turbulence_data.jax_engine.program import (
    ByIdentity,
    Inputs,
    Program,
    Reached,
    compiled,
    flow_tables,
    traceable_source,
    vitals,
)
from turbulence_data.jax_engine.time_stepping import jax_scheme
from turbulence_data.solver._engine import State
from turbulence_data.solver._equation import Integrals
from turbulence_data.solver._grid import Field
from turbulence_data.solver._schemes import Scheme
from turbulence_data.solver._vorticity import VorticityEquation

_KEPT_STEPS = 3
# Random kicks are handed over in arrays of at least this many steps, so that the
# program need not be compiled again for the last, shorter run.
_STEPS_AT_ONCE = 25
_numbers = itertools.count()
_compiled_vitals = jax.jit(vitals, static_argnums=0)
_compiled_to_physical = jax.jit(to_physical, static_argnums=0)


class JaxIntegrator:
    """See `solver.engine.Integrator`.

    Args:
        equation: the flow.
        scheme: one that `jax_scheme` knows.
        transforms: how advection is transformed.
        gathering: joins the steps of several flows in several threads, or None.
        batch_size: how many at most.
    """

    def __init__(
        self,
        equation: VorticityEquation,
        scheme: Scheme,
        transforms: Transforms,
        gathering: Gathering | None,
        batch_size: int,
    ) -> None:
        self._equation, self._modes = equation, equation.modes
        self._gathering, self._batch_size = gathering, batch_size
        with precision(self._modes.dtype):
            self._program = make_program(equation, scheme, transforms)
            self._tables = flow_tables(equation)
        # Not methods of this object: it must go, and leave the gathering, at once.
        self._factors = lru_cache(_KEPT_STEPS)(
            partial(_factors, self._program, equation.linear_operator)
        )
        self._filtering = lru_cache(_KEPT_STEPS)(
            partial(filtering, self._modes, transforms)
        )
        self._last: Reached | None = None
        self._member, self._key = next(_numbers), self._batch_key()
        if gathering is not None:
            gathering.join(self._member)
            weakref.finalize(self, gathering.leave, self._member)

    def steps(
        self, vorticity_hat: Any, since: State, time_step: float, numbers: range
    ) -> Any:
        """See `Integrator`; the argument is kept."""
        with precision(self._modes.dtype):
            hat = jnp.asarray(vorticity_hat)
            inputs = step_inputs(
                self._equation, self._program, since, time_step, numbers
            )
            alone = hat.ndim > 2 or self._equation.drive.varying is not None
            if self._gathering is None or alone:
                reached = self._run(time_step, len(numbers), inputs, hat)
            else:
                reached = self._gathering.call(
                    self._member,
                    (self._key, time_step, len(numbers)),
                    (inputs.kicks, hat),
                    lambda items: self._run_together(time_step, len(numbers), items),
                )
        self._last = reached
        return reached.vorticity_hat

    def advection_rates(self, vorticity_hat: Any) -> Any:
        """Return the fastest frequency of each field."""
        return np.ravel(self._vitals(vorticity_hat).rate).astype(np.float64)

    def energy(self, vorticity_hat: Any) -> float:
        """See `Integrator`."""
        return float(np.mean(np.asarray(self._vitals(vorticity_hat).energy)))

    def to_physical(self, vorticity_hat: Any) -> Field:
        """See `Integrator`."""
        with precision(self._modes.dtype):
            hat = jnp.asarray(vorticity_hat)
            field: Field = np.array(_compiled_to_physical(self._program.layout, hat))
            return field

    def integrals(self, vorticity_hat: Any, time: float) -> Integrals:
        """See `Integrator`."""
        modes, drive = self._modes, self._equation.drive
        source = np.zeros(modes.shape, modes.complex_dtype)
        drive.add_source(source, time)
        injection = 0.0
        if drive.noise is not None:
            weights = modes.hermitian_weights * modes.inverse_k_squared
            injection = 0.5 * float(np.sum(weights * drive.noise.variance))
        with precision(modes.dtype):
            hat = jnp.asarray(vorticity_hat)
            return integrals(self._tables, jnp.asarray(source), injection, hat)

    def filtered(
        self, vorticity_hat: Any, num_points: tuple[int, int], width: float
    ) -> FilteredFields:
        """See `Integrator`; only the filtered fields leave the device."""
        with precision(self._modes.dtype):
            return self._filtering(num_points, width)(vorticity_hat)

    def _vitals(self, vorticity_hat: Any) -> Reached:
        if self._last is None or self._last.vorticity_hat is not vorticity_hat:
            with precision(self._modes.dtype):
                hat = jnp.asarray(vorticity_hat)
                found = _compiled_vitals(self._program, self._tables, hat)
                self._last = found._replace(vorticity_hat=vorticity_hat)
        return self._last

    def _run(
        self, time_step: float, num_steps: int, inputs: Inputs, hat: jax.Array
    ) -> Reached:
        length = jnp.asarray(time_step, self._modes.dtype)
        return compiled(self._program)(
            self._tables, self._factors(time_step), length, num_steps, inputs, hat
        )

    def _run_together(
        self, time_step: float, num_steps: int, items: Sequence[Any]
    ) -> list[Reached]:
        """One run of as many fields as ever, so that one program serves all."""
        filled = [*items, *[items[-1]] * (self._batch_size - len(items))]
        kicks, hats = zip(*filled, strict=True)
        together = None if kicks[0] is None else np.stack(kicks, axis=1)
        inputs, stacked = Inputs(kicks=together), jnp.stack(hats)
        reached = self._run(time_step, num_steps, inputs, stacked)
        return [Reached(*(part[i] for part in reached)) for i in range(len(items))]

    def _batch_key(self) -> tuple[Any, ...]:
        """Flows of one key have all tables in common."""
        drive, digest = self._equation.drive, sha256()
        parts: list[Any] = [] if drive.noise is None else list(drive.noise.places)
        if drive.steady is not None:
            parts.append(drive.steady)
        for part in parts:
            digest.update(np.ascontiguousarray(part).tobytes())
        dtype = self._modes.dtype.name
        return self._program, self._equation.flow, dtype, digest.hexdigest()


def _factors(program: Program, operator: Any, time_step: float) -> Any:
    return tuple(map(jnp.asarray, program.scheme.factors(operator, time_step)))


def make_program(
    equation: VorticityEquation, scheme: Scheme, transforms: Transforms
) -> Program:
    """Returns the program of an equation.

    Raises:
        ValueError: for a scheme that there is not in JAX.
    """
    modes, closure = equation.modes, equation.closure
    return Program(
        layout_of(modes),
        modes.largest_wavenumbers,
        transforms,
        jax_scheme(scheme),
        None if closure is None else ByIdentity(closure),
        traceable_source(equation),
    )


def step_inputs(
    equation: VorticityEquation,
    program: Program,
    since: State,
    time_step: float,
    numbers: range,
) -> Inputs:
    """Returns the kicks of some steps, and sources that only the host can evaluate."""
    drive, dtype = equation.drive, equation.modes.complex_dtype
    kicks: Any = None
    sources: Any = None
    if drive.noise is not None:
        made = [
            drive.noise.kicks(since.step_number + number, time_step)
            for number in numbers
        ]
        kicks = np.zeros((max(len(made), _STEPS_AT_ONCE), made[0].size), dtype)
        kicks[: len(made)] = made
    if drive.varying is not None and program.source is None:
        halves = range(2 * numbers.start, 2 * numbers.stop + 1)
        sources = np.stack(
            [drive.varying(since.time + 0.5 * half * time_step) for half in halves]
        )
    return Inputs(kicks, sources, since.time + numbers.start * time_step)
