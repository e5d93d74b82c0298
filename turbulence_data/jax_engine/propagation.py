"""Some steps of a flow as a pure, differentiable JAX function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from turbulence_data.jax_engine.advection import Transforms
from turbulence_data.jax_engine.fields import from_physical, to_physical
from turbulence_data.jax_engine.integrator import make_program, step_inputs
from turbulence_data.jax_engine.optional import check_precision, precision
from turbulence_data.jax_engine.program import flow_tables, one_step
from turbulence_data.solver._engine import State
from turbulence_data.solver._vorticity import VorticityEquation


def propagator(
    equation: VorticityEquation,
    scheme: Any,
    transforms: Transforms,
    time_step: float,
    num_steps: int,
) -> Callable[[Any], jax.Array]:
    """See `JaxEngine.propagator`."""
    modes = equation.modes
    with precision(modes.dtype):
        program = make_program(equation, scheme, transforms)
        tables = flow_tables(equation)
        made = program.scheme.factors(equation.linear_operator, time_step)
        factors = tuple(map(jnp.asarray, made))
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
