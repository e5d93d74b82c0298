"""A flow as a compiled program: arrays in, arrays out, nothing on the host between."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from turbulence_data.jax_engine.advection import (
    AdvectionTables,
    Transforms,
    advection_tables,
    velocity,
)
from turbulence_data.jax_engine.closures import ForcingHat, subgrid_forcing
from turbulence_data.jax_engine.fields import Layout
from turbulence_data.jax_engine.time_stepping import JaxScheme
from turbulence_data.solver.equations import Closure, VorticityEquation

_KEPT_PROGRAMS = 32


@dataclass(frozen=True, eq=False)
class ByIdentity:
    """A closure, the same as itself alone, also where it is a value with arrays."""

    closure: Closure

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ByIdentity) and self.closure is other.closure

    def __hash__(self) -> int:
        return id(self.closure)

    def forcing(self, layout: Layout) -> ForcingHat:
        """Returns it as a function of coefficients."""
        return subgrid_forcing(self.closure, layout)


@dataclass(frozen=True)
class Program:
    """What decides the code, where `FlowTables` hold the numbers.

    Attributes:
        layout: where the modes stand.
        largest: the largest resolved `|kx|` and `|ky|`.
        transforms: how advection is transformed.
        scheme: time stepping scheme.
        closure: subgrid forcing of one field, or None.
    """

    layout: Layout
    largest: tuple[float, float]
    transforms: Transforms
    scheme: JaxScheme
    closure: ByIdentity | None


class FlowTables(NamedTuple):
    """The numbers of one flow on its modes, of shape `(nx, Ky + 1)` where not said.

    Attributes:
        advection: factors of the nonlinear term.
        inverse_k_squared: `1 / k^2` on resolved modes, else 0.
        weights: how often a mode stands in the full spectrum, shape `(1, Ky + 1)`.
        damping: real part of the linear operator.
        steady: coefficients of the steady source, or None.
        places: rows and columns of what noise kicks, or None.
    """

    advection: AdvectionTables
    inverse_k_squared: jax.Array
    weights: jax.Array
    damping: jax.Array
    steady: jax.Array | None
    places: Any


class Inputs(NamedTuple):
    """What a run of steps is given from outside, by number of the step.

    Attributes:
        kicks: random kicks at the places, shape `(steps, ..., m)`, or None.
        sources: varying sources at the start, middle and end of steps, shape
            `(2 steps + 1, nx, Ky + 1)`, or None.
    """

    kicks: Any = None
    sources: Any = None


class Reached(NamedTuple):
    """Where a run of steps leads.

    Attributes:
        vorticity_hat: coefficients, shape `(..., nx, Ky + 1)`.
        energy: kinetic energy of each field, shape `(...)`.
        rate: `max(|u| Kx + |v| Ky)` of each field.
    """

    vorticity_hat: jax.Array
    energy: jax.Array
    rate: jax.Array


def flow_tables(equation: VorticityEquation) -> FlowTables:
    """Returns the tables of an equation, in its precision."""
    modes, drive = equation.modes, equation.drive
    noise, steady = drive.noise, drive.steady
    return FlowTables(
        advection_tables(modes),
        jnp.asarray(modes.inverse_k_squared.astype(modes.dtype)),
        jnp.asarray(modes.hermitian_weights.astype(modes.dtype)),
        jnp.asarray(equation.linear_operator.real),
        None if steady is None else jnp.asarray(steady),
        None if noise is None else tuple(map(jnp.asarray, noise.places)),
    )


@lru_cache(maxsize=_KEPT_PROGRAMS)
def compiled(program: Program) -> Callable[..., Reached]:
    """Returns the program that makes a number of steps, known when it is called.

    `(tables, factors, time_step, num_steps, inputs, vorticity_hat) -> Reached`.
    """

    def run(
        tables: FlowTables,
        factors: Any,
        time_step: jax.Array,
        num_steps: jax.Array,
        inputs: Inputs,
        vorticity_hat: jax.Array,
    ) -> Reached:
        def body(number: jax.Array, hat: jax.Array) -> jax.Array:
            return one_step(program, tables, factors, time_step, inputs)(number, hat)

        hat = jax.lax.fori_loop(0, num_steps, body, vorticity_hat)
        return vitals(program, tables, hat)

    return jax.jit(run)


def vitals(program: Program, tables: FlowTables, hat: jax.Array) -> Reached:
    """Returns coefficients with what tells whether to go on from them."""
    density = tables.weights * tables.inverse_k_squared * (hat * hat.conj()).real
    u, v = velocity(program.layout.quadrature, tables.advection, hat)
    kx, ky = program.largest
    rate = jnp.max(jnp.abs(u) * kx + jnp.abs(v) * ky, axis=(-2, -1))
    return Reached(hat, 0.5 * jnp.sum(density, axis=(-2, -1)), rate)


def one_step(
    program: Program,
    tables: FlowTables,
    factors: Any,
    time_step: Any,
    inputs: Inputs,
) -> Callable[[Any, jax.Array], jax.Array]:
    """Returns `(number, vorticity_hat) -> vorticity_hat`, one step of the inputs."""

    def step(number: Any, vorticity_hat: jax.Array) -> jax.Array:
        def nonlinear(hat: jax.Array, stage: int) -> jax.Array:
            terms = program.transforms(program.layout.quadrature, tables.advection, hat)
            if tables.steady is not None:
                terms = terms + tables.steady
            if inputs.sources is not None:
                terms = terms + inputs.sources[2 * number + stage]
            if program.closure is not None:
                streamfunction_hat = hat * tables.inverse_k_squared
                terms = terms + program.closure.forcing(program.layout)(
                    hat, streamfunction_hat
                )
            return terms

        reached = program.scheme.step(vorticity_hat, nonlinear, factors, time_step)
        if inputs.kicks is not None and tables.places is not None:
            rows, columns = tables.places
            reached = reached.at[..., rows, columns].add(inputs.kicks[number])
        return reached

    return step
