"""A flow as a compiled program from arrays to arrays, without host steps between."""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from turbulence_data.solver._schemes import (
    Factors,
    Scheme,
    etdrk4,
    etdrk4_factors,
    integrating_factor_rk4,
    rk4_factors,
)
from turbulence_data.solver._sources import VaryingSource
from turbulence_data.solver._vorticity import VorticityEquation
from turbulence_data.solver.jax._advection import (
    AdvectionTables,
    Layout,
    Points,
    Transforms,
    advection_tables,
    from_physical,
    layout_of,
    packed_transforms,
    subgrid_forcing,
    velocity,
)

_logger = logging.getLogger(__name__)
_KEPT_PROGRAMS = 32


Nonlinear = Callable[[jax.Array, int], jax.Array]


class JaxScheme(NamedTuple):
    """A time stepping scheme in JAX.

    Attributes:
        factors: `(linear_operator, time_step) -> factors`.
        step: `(vorticity_hat, nonlinear, factors, time_step) -> vorticity_hat`.
    """

    factors: Callable[[NDArray[np.inexact], float], Factors]
    step: Callable[[jax.Array, Nonlinear, Any, Any], jax.Array]


@dataclass(frozen=True, eq=False)
class ByIdentity:
    """A function compared by identity, also if it is a value that holds arrays."""

    function: Callable[..., Any]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ByIdentity) and self.function is other.function

    def __hash__(self) -> int:
        return id(self.function)


@dataclass(frozen=True)
class Program:
    """Everything that determines the compiled code; `FlowTables` hold the numbers.

    Attributes:
        layout: layout of the modes.
        largest: the largest resolved `|kx|` and `|ky|`.
        transforms: how advection is transformed.
        scheme: time stepping scheme.
        closure: subgrid forcing of one field, or None.
        source: `(x, y, time) -> source`, evaluated on the device, or None.
    """

    layout: Layout
    largest: tuple[float, float]
    transforms: Transforms
    scheme: JaxScheme
    closure: ByIdentity | None
    source: ByIdentity | None


class FlowTables(NamedTuple):
    """The numbers of one flow on its modes, of shape `(nx, Ky + 1)` unless noted.

    Attributes:
        advection: factors of the nonlinear term.
        inverse_k_squared: `1 / k^2` on resolved modes, else 0.
        weights: multiplicity of a mode in the full spectrum, shape `(1, Ky + 1)`.
        damping: real part of the linear operator.
        steady: coefficients of the steady source, or None.
        places: rows and columns of coefficients with noise, or None.
        coordinates: x of shape `(nx, 1)` and y of shape `(1, ny)`.
    """

    advection: AdvectionTables
    inverse_k_squared: jax.Array
    weights: jax.Array
    damping: jax.Array
    steady: jax.Array | None
    places: Any
    coordinates: tuple[jax.Array, jax.Array]


class Inputs(NamedTuple):
    """External inputs of a run of steps, by number of the step.

    Attributes:
        kicks: random kicks at the places, shape `(steps, ..., m)`, or None.
        sources: varying sources at the start, middle and end of steps, shape
            `(2 steps + 1, nx, Ky + 1)`, or None.
        time: time at the start of the first step.
    """

    kicks: Any = None
    sources: Any = None
    time: Any = 0.0


class Reached(NamedTuple):
    """End of a run of steps.

    Attributes:
        vorticity_hat: coefficients, shape `(..., nx, Ky + 1)`.
        energy: kinetic energy of each field, shape `(...)`.
        rate: `max(|u| Kx + |v| Ky)` of each field.
    """

    vorticity_hat: jax.Array
    energy: jax.Array
    rate: jax.Array


def flow_tables(equation: VorticityEquation) -> FlowTables:
    """Return the tables of an equation, in its precision."""
    modes, drive = equation.modes, equation.drive
    noise, steady = drive.noise, drive.steady
    return FlowTables(
        advection_tables(modes),
        jnp.asarray(modes.inverse_k_squared.astype(modes.dtype)),
        jnp.asarray(modes.hermitian_weights.astype(modes.dtype)),
        jnp.asarray(equation.linear_operator.real),
        None if steady is None else jnp.asarray(steady),
        None if noise is None else tuple(map(jnp.asarray, noise.places)),
        (
            jnp.asarray(modes.grid.x.astype(modes.dtype)),
            jnp.asarray(modes.grid.y.astype(modes.dtype)),
        ),
    )


Compiled = Callable[..., Reached]
"""`(tables, factors, time_step, num_steps, inputs, vorticity_hat) -> Reached`."""

_with_functions: weakref.WeakValueDictionary[Program, Compiled] = (
    weakref.WeakValueDictionary()
)
_lock = threading.Lock()


def compiled(program: Program, is_joined: bool) -> Compiled:
    """Return the program for a number of steps that is given at the call.

    The parameters of a closure or source become constants of the code. So its program
    is shared only by flows whose steps are joined, and kept no longer than they.
    """
    if program.closure is None and program.source is None:
        return _kept(program)
    if not is_joined:
        return _jitted(program)
    with _lock:
        found = _with_functions.get(program)
        if found is None:
            found = _with_functions[program] = _jitted(program)
        return found


def _jitted(program: Program) -> Compiled:

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
        return vitals(program.layout.quadrature, program.largest, tables, hat)

    return jax.jit(run)


_kept = lru_cache(maxsize=_KEPT_PROGRAMS)(_jitted)


def vitals(
    points: Points, largest: tuple[float, float], tables: FlowTables, hat: jax.Array
) -> Reached:
    """Return coefficients with energy and advection rate, to check stability."""
    density = tables.weights * tables.inverse_k_squared * (hat * hat.conj()).real
    u, v = velocity(points, tables.advection, hat)
    kx, ky = largest
    rate = jnp.max(jnp.abs(u) * kx + jnp.abs(v) * ky, axis=(-2, -1))
    return Reached(hat, 0.5 * jnp.sum(density, axis=(-2, -1)), rate)


def one_step(
    program: Program, tables: FlowTables, factors: Any, time_step: Any, inputs: Inputs
) -> Callable[[Any, jax.Array], jax.Array]:
    """Return `(number, vorticity_hat) -> vorticity_hat`, one step of the inputs."""

    def step(number: Any, vorticity_hat: jax.Array) -> jax.Array:
        def nonlinear(hat: jax.Array, stage: int) -> jax.Array:
            terms = program.transforms(program.layout.quadrature, tables.advection, hat)
            if tables.steady is not None:
                terms = terms + tables.steady
            if inputs.sources is not None:
                terms = terms + inputs.sources[2 * number + stage]
            if program.source is not None:
                time = inputs.time + (number + 0.5 * stage) * time_step
                source_hat = _source_hat(program.source, tables, time, program.layout)
                terms = terms + source_hat
            if program.closure is not None:
                forcing = subgrid_forcing(program.closure.function, program.layout)
                terms = terms + forcing(hat, hat * tables.inverse_k_squared)
            return terms

        reached = program.scheme.step(vorticity_hat, nonlinear, factors, time_step)
        if inputs.kicks is not None and tables.places is not None:
            rows, columns = tables.places
            reached = reached.at[..., rows, columns].add(inputs.kicks[number])
        return reached

    return step


def _source_hat(
    source: ByIdentity, tables: FlowTables, time: jax.Array, layout: Layout
) -> jax.Array:
    x, y = tables.coordinates
    values = jnp.asarray(source.function(x, y, time), x.dtype)
    return from_physical(layout, jnp.broadcast_to(values, layout.points))


def traceable_source(equation: VorticityEquation) -> ByIdentity | None:
    """Return the time-dependent source of a flow, if JAX can evaluate it."""
    varying = equation.drive.varying
    if not isinstance(varying, VaryingSource):
        return None
    grid, dtype = equation.modes.grid, equation.modes.dtype
    arguments = [
        jax.eval_shape(lambda a=a: jnp.asarray(a, dtype)) for a in (grid.x, grid.y, 0.0)
    ]
    try:
        jax.eval_shape(varying.source, *arguments)
    except Exception as error:  # any error of NumPy for traced values
        reason = type(error).__name__
        _logger.info("%r runs on the host: not traceable (%s)", varying.source, reason)
        return None
    return ByIdentity(varying.source)


def make_program(
    equation: VorticityEquation, scheme: Scheme, transforms: Transforms | None
) -> Program:
    """Return the program of an equation, by default with `packed_transforms`."""
    modes, closure = equation.modes, equation.closure
    if scheme not in _SCHEMES:
        known = [function.__name__ for function in _SCHEMES]
        raise ValueError(
            f"JaxEngine has the schemes {known}; received {scheme!r}. Run another one "
            "on FftwEngine()."
        )
    return Program(
        layout_of(modes),
        modes.largest_wavenumbers,
        transforms or packed_transforms,
        _SCHEMES[scheme],
        None if closure is None else ByIdentity(closure),
        traceable_source(equation),
    )


def _rk4_step(
    w: jax.Array, nonlinear: Nonlinear, factors: tuple[jax.Array], h: jax.Array
) -> jax.Array:
    (half,) = factors
    first = half * nonlinear(w, 0)
    decayed = half * w
    second = nonlinear(decayed + (0.5 * h) * first, 1)
    third = nonlinear(decayed + (0.5 * h) * second, 1)
    total = decayed + h * (first / 6.0 + (second + third) / 3.0)
    fourth = nonlinear(half * (decayed + h * third), 2)
    return half * total + (h / 6.0) * fourth


def _etdrk4_step(
    w: jax.Array, nonlinear: Nonlinear, factors: tuple[jax.Array, ...], h: jax.Array
) -> jax.Array:
    full, half, q, f1, f2, f3 = factors
    at_start = nonlinear(w, 0)
    decayed = half * w
    a = decayed + q * at_start
    at_a = nonlinear(a, 1)
    at_b = nonlinear(decayed + q * at_a, 1)
    at_c = nonlinear(half * a + q * (2.0 * at_b - at_start), 2)
    return full * w + f1 * at_start + f2 * (at_a + at_b) + f3 * at_c


_SCHEMES: dict[Scheme, JaxScheme] = {
    integrating_factor_rk4: JaxScheme(rk4_factors, _rk4_step),
    etdrk4: JaxScheme(etdrk4_factors, _etdrk4_step),
}
