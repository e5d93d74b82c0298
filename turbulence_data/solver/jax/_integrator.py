"""One flow on JAX: its time steps and diagnostics, computed on the device."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from hashlib import sha256
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from turbulence_data.filtering import FilteredFields, gaussian_filter
from turbulence_data.solver._equation import Integrals, State
from turbulence_data.solver._grid import Field, Grid
from turbulence_data.solver._modes import Modes, padded_modes
from turbulence_data.solver._schemes import Scheme
from turbulence_data.solver._vorticity import VorticityEquation
from turbulence_data.solver.jax._advection import (
    AdvectionTables,
    Layout,
    Transforms,
    advection_tables,
    from_physical,
    layout_of,
    place_modes,
    to_physical,
)
from turbulence_data.solver.jax._engine import Gathering, check_precision, precision
from turbulence_data.solver.jax._program import (
    FlowTables,
    Inputs,
    Program,
    Reached,
    compiled,
    flow_tables,
    make_program,
    one_step,
    vitals,
)

_KEPT_STEPS = 3
# Random kicks are passed in arrays of at least this many steps, so that the program is
# not recompiled for the last, shorter run.
_STEPS_AT_ONCE = 25
_numbers = itertools.count()
_compiled_vitals = jax.jit(vitals, static_argnums=(0, 1))
_compiled_to_physical = jax.jit(to_physical, static_argnums=0)


class JaxIntegrator:
    """One flow on JAX, an `Integrator`."""

    def __init__(
        self,
        equation: VorticityEquation,
        scheme: Scheme,
        transforms: Transforms | None,
        gathering: Gathering | None,
    ) -> None:
        self._equation, self._modes = equation, equation.modes
        self._gathering = gathering
        with precision(self._modes.dtype):
            self._program = make_program(equation, scheme, transforms)
            self._tables = flow_tables(equation)
        self._compiled = compiled(self._program, is_joined=gathering is not None)
        # Not methods, so that this object is freed, and leaves the gathering, at once.
        self._factors = lru_cache(_KEPT_STEPS)(
            partial(_factors, self._program, equation.linear_operator)
        )
        self._filtering = lru_cache(_KEPT_STEPS)(
            partial(filtering, self._modes, self._program.transforms)
        )
        self._last: Reached | None = None
        self._member, self._key = next(_numbers), self._batch_key()
        if gathering is not None:
            gathering.join(self._member)
            weakref.finalize(self, gathering.leave, self._member)

    def steps(
        self, vorticity_hat: Any, since: State, time_step: float, numbers: range
    ) -> Any:
        """Return the coefficients after some steps; the argument is not changed."""
        varying = self._equation.drive.varying
        if varying is not None and self._program.source is not None:
            for number in (numbers.start, numbers.stop):  # checked on the host
                varying(since.time + number * time_step)
        with precision(self._modes.dtype):
            hat = jnp.asarray(vorticity_hat)
            inputs = step_inputs(
                self._equation, self._program, since, time_step, numbers
            )
            alone = hat.ndim > 2 or varying is not None
            if self._gathering is None or alone:
                reached = self._run(time_step, len(numbers), inputs, hat)
            else:
                size = self._gathering.size
                reached = self._gathering.call(
                    self._member,
                    (self._key, time_step, len(numbers)),
                    (inputs.kicks, hat),
                    partial(self._run_together, time_step, len(numbers), size),
                )
        self._last = reached
        return reached.vorticity_hat

    def advection_rates(self, vorticity_hat: Any) -> Any:
        return np.ravel(self._vitals(vorticity_hat).rate).astype(np.float64)

    def energy(self, vorticity_hat: Any) -> float:
        return float(np.mean(np.asarray(self._vitals(vorticity_hat).energy)))

    def to_physical(self, vorticity_hat: Any) -> Field:
        with precision(self._modes.dtype):
            hat = jnp.asarray(vorticity_hat)
            field: Field = np.array(_compiled_to_physical(self._program.layout, hat))
            return field

    def integrals(self, vorticity_hat: Any, time: float) -> Integrals:
        modes, drive = self._modes, self._equation.drive
        source = drive.source(modes, time)
        injection = 0.0
        if drive.noise is not None:
            weights = modes.hermitian_weights * modes.inverse_k_squared
            injection = 0.5 * float(np.sum(weights * drive.noise.variance))
        with precision(modes.dtype):
            hat = jnp.asarray(vorticity_hat)
            sums = spectral_sums(self._tables, jnp.asarray(source), hat)
            found = Integrals(*map(float, sums))
        return found._replace(work=found.work + injection)

    def filtered(
        self, vorticity_hat: Any, num_points: tuple[int, int], width: float
    ) -> FilteredFields:
        """Return the filtered fields; only the filtered fields leave the device."""
        with precision(self._modes.dtype):
            return self._filtering(num_points, width)(vorticity_hat)

    def _vitals(self, vorticity_hat: Any) -> Reached:
        last = self._last
        if last is not None and last.vorticity_hat is vorticity_hat:
            return last
        with precision(self._modes.dtype):
            hat = jnp.asarray(vorticity_hat)
            points, largest = self._program.layout.quadrature, self._program.largest
            found: Reached = _compiled_vitals(points, largest, self._tables, hat)
        if isinstance(vorticity_hat, jax.Array):  # a NumPy array may be changed
            self._last = found._replace(vorticity_hat=vorticity_hat)
        return found

    def _run(
        self, time_step: float, num_steps: int, inputs: Inputs, hat: jax.Array
    ) -> Reached:
        length = jnp.asarray(time_step, self._modes.dtype)
        return self._compiled(
            self._tables, self._factors(time_step), length, num_steps, inputs, hat
        )

    def _run_together(
        self, time_step: float, num_steps: int, size: int, items: Sequence[Any]
    ) -> list[Reached]:
        """Run all fields together, always as many, so that one program is enough."""
        filled = [*items, *[items[-1]] * (size - len(items))]
        kicks, hats = zip(*filled, strict=True)
        together = None if kicks[0] is None else np.stack(kicks, axis=1)
        inputs, stacked = Inputs(kicks=together), jnp.stack(hats)
        reached = self._run(time_step, num_steps, inputs, stacked)
        return [Reached(*(part[i] for part in reached)) for i in range(len(items))]

    def _batch_key(self) -> tuple[Any, ...]:
        """Return a key; flows with equal keys have equal tables."""
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


def step_inputs(
    equation: VorticityEquation,
    program: Program,
    since: State,
    time_step: float,
    numbers: range,
) -> Inputs:
    """Return the random kicks of some steps, and sources evaluated on the host."""
    drive, dtype = equation.drive, equation.modes.complex_dtype
    kicks: Any = None
    sources: Any = None
    if drive.noise is not None:
        made = [
            drive.noise.kicks(since.step_number + number, time_step)
            for number in numbers
        ]
        num_places = drive.noise.places[0].size
        kicks = np.zeros((max(len(made), _STEPS_AT_ONCE), num_places), dtype)
        kicks[: len(made)] = np.reshape(made, (len(made), num_places))
    if drive.varying is not None and program.source is None:
        halves = range(2 * numbers.start, 2 * numbers.stop + 1)
        sources = np.stack(
            [drive.varying(since.time + 0.5 * half * time_step) for half in halves]
        )
    return Inputs(kicks, sources, since.time + numbers.start * time_step)


def propagator(
    equation: VorticityEquation,
    scheme: Any,
    transforms: Transforms | None,
    time_step: float,
    num_steps: int,
) -> Callable[[Any], jax.Array]:
    """Return a pure JAX function `vorticity -> vorticity` over some steps."""
    modes = equation.modes
    with precision(modes.dtype):
        program = make_program(equation, scheme, transforms)
        tables = flow_tables(equation)
        factors = _factors(program, equation.linear_operator, time_step)
    start = State(np.zeros(modes.shape, modes.complex_dtype))
    inputs = step_inputs(equation, program, start, time_step, range(num_steps))

    def propagate(vorticity: Any) -> jax.Array:
        check_precision(modes.dtype)
        on_device = jax.tree.map(jnp.asarray, inputs)
        step = one_step(program, tables, factors, time_step, on_device)

        def body(hat: jax.Array, number: jax.Array) -> tuple[jax.Array, None]:
            return jax.checkpoint(step)(number, hat), None

        field = jnp.asarray(vorticity, modes.dtype)
        hat = from_physical(program.layout, field)
        reached, _ = jax.lax.scan(body, hat, jnp.arange(num_steps))
        return to_physical(program.layout, reached)

    return propagate


@jax.jit
def spectral_sums(
    tables: FlowTables, source: jax.Array, hat: jax.Array
) -> list[jax.Array]:
    """Return energy, enstrophy, its loss, work and dissipation as spectral sums."""
    inverse = tables.inverse_k_squared
    power = tables.weights * (hat * hat.conj()).real
    work = tables.weights * inverse * (hat.conj() * source).real
    return [
        0.5 * jnp.sum(power * inverse),
        0.5 * jnp.sum(power),
        jnp.sum(power * tables.damping),
        jnp.sum(work),
        jnp.sum(power * inverse * tables.damping),
    ]


class FilterTables(NamedTuple):
    """The numbers of a filter: its response, and the advection on both grids."""

    response: jax.Array
    inverse_k_squared: jax.Array
    fine: AdvectionTables
    coarse: AdvectionTables


def filtering(
    modes: Modes, transforms: Transforms, num_points: tuple[int, int], width: float
) -> Callable[[jax.Array], FilteredFields]:
    """Return `vorticity_hat -> FilteredFields`, the same as `filtering.filtered_dns`.

    Products of resolved modes are free of aliasing on the grid of the flow, so J is
    that of its own right-hand side; if an LES keeps more modes than the flow resolves,
    J is formed on a padded grid.
    """
    coarse = padded_modes(Grid(num_points, modes.grid.lengths), modes.dtype)
    reaches = any(c > f for c, f in zip(coarse.cutoff, modes.cutoff, strict=True))
    fine = padded_modes(modes.grid, modes.dtype) if reaches else modes
    # Wavenumbers of `fine` are a part of those of its quadrature grid.
    response = gaussian_filter(fine.quadrature, width)[:, : fine.shape[1]]
    tables = FilterTables(
        jnp.asarray(response.astype(modes.dtype)),
        jnp.asarray(coarse.inverse_k_squared.astype(modes.dtype)),
        advection_tables(fine),
        advection_tables(coarse),
    )
    layouts = layout_of(modes), layout_of(fine), layout_of(coarse)
    program = _compiled_filter(*layouts, transforms)

    def filtered(vorticity_hat: jax.Array) -> FilteredFields:
        fields = program(tables, jnp.asarray(vorticity_hat))
        return FilteredFields(*(np.asarray(field, np.float64) for field in fields))

    return filtered


@lru_cache(maxsize=8)
def _compiled_filter(
    flow: Layout, fine: Layout, coarse: Layout, transforms: Transforms
) -> Callable[[FilterTables, jax.Array], list[jax.Array]]:
    def filtered(tables: FilterTables, flow_hat: jax.Array) -> list[jax.Array]:
        hat = place_modes(flow_hat, flow.cutoff, fine.shape)
        # -J of the resolved fields and of the filtered ones.
        resolved = transforms(fine.quadrature, tables.fine, hat)
        vorticity, filtered_terms = (
            place_modes(tables.response * part, coarse.cutoff, coarse.shape)
            for part in (hat, resolved)
        )
        terms = transforms(coarse.quadrature, tables.coarse, vorticity)
        streamfunction = vorticity * tables.inverse_k_squared
        hats = (streamfunction, vorticity, filtered_terms - terms)
        return [to_physical(coarse, hat) for hat in hats]

    return jax.jit(filtered)
