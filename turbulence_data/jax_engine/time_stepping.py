"""The schemes of `solver.time_stepping` as pure functions of arrays.

A scheme is two functions: `factors(L, time_step)`, computed on the host in double
precision, and a step that takes them. N(w, stage) is the nonlinear term at the start
(stage 0), the middle (1) and the end (2) of a step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from numpy.typing import NDArray

from turbulence_data.solver._schemes import (
    Scheme,
    etdrk4,
    etdrk4_coefficients,
    in_double,
    integrating_factor_rk4,
)

Nonlinear = Callable[[jax.Array, int], jax.Array]
Factors = tuple[NDArray[Any], ...]


class JaxScheme(NamedTuple):
    """A time stepping scheme in JAX.

    Attributes:
        factors: `(linear_operator, time_step) -> factors`.
        step: `(vorticity_hat, nonlinear, factors, time_step) -> vorticity_hat`.
    """

    factors: Callable[[NDArray[np.inexact], float], Factors]
    step: Callable[[jax.Array, Nonlinear, Any, Any], jax.Array]


def jax_scheme(scheme: Scheme) -> JaxScheme:
    """Returns the JAX form of one of the solver's schemes.

    Raises:
        ValueError: for another one.
    """
    if scheme not in _SCHEMES:
        known = [function.__name__ for function in _SCHEMES]
        raise ValueError(
            f"JaxEngine has the schemes {known}; received {scheme!r}. Run another one "
            "on FftwEngine()."
        )
    return _SCHEMES[scheme]


def _rk4_factors(operator: NDArray[np.inexact], time_step: float) -> Factors:
    return (_like(operator, np.exp(in_double(operator) * (0.5 * time_step))),)


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


def _etdrk4_factors(operator: NDArray[np.inexact], time_step: float) -> Factors:
    coefficients = etdrk4_coefficients(in_double(operator), time_step)
    return tuple(_like(operator, values) for values in coefficients)


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


def _like(operator: NDArray[np.inexact], values: NDArray[Any]) -> NDArray[Any]:
    return values.astype(operator.dtype)


_SCHEMES: dict[Scheme, JaxScheme] = {
    integrating_factor_rk4: JaxScheme(_rk4_factors, _rk4_step),
    etdrk4: JaxScheme(_etdrk4_factors, _etdrk4_step),
}
