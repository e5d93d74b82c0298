"""Derivatives on JAX, by its transformations."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import keras
import numpy as np
from numpy.typing import NDArray

Compute = Callable[..., Any]


def inference(forward: Compute, variables: Callable[[], Sequence[Any]]) -> Compute:
    """Return `forward(x)` compiled, with the current values of the variables."""
    known: dict[int, Any] = {}

    # Use one order regardless of flags: a compiled function is looked up by shapes, so
    # with the lists of stateless_call, whose order changes with the flags, weights of
    # equal shapes would be swapped.
    @jax.jit
    def compiled(values: Any, x: Any) -> Any:
        mapping = list(zip(known.values(), values, strict=True))
        with keras.StatelessScope(state_mapping=mapping):
            return forward(x)

    def call(x: Any) -> NDArray[Any]:
        # Those added later, as by a low-rank update, come last: another trace.
        known.update({id(v): v for v in variables() if id(v) not in known})
        return np.asarray(compiled([v.value for v in known.values()], x))

    return call


def pushforward(function: Compute, values: Sequence[NDArray[Any]]) -> Compute:
    def jvp(tangents: Sequence[Any], x: Any) -> Any:
        at = (list(values),), (list(tangents),)
        return jax.jvp(lambda v: function(v, x), *at)[1]

    compiled: Compute = jax.jit(jvp)
    return compiled


def derivatives(function: Compute, loss: Compute) -> tuple[Any, Any, Any]:
    def outcome(values: Any, x: Any, *rest: Any) -> Any:
        return loss(function(values, x), *rest)

    gradient = jax.grad(outcome)

    def product(values: Any, tangents: Any, x: Any, *rest: Any) -> Any:
        return jax.jvp(lambda v: gradient(v, x, *rest), (values,), (tangents,))[1]

    value = jax.jit(lambda *arguments: [outcome(*arguments)])
    return value, jax.jit(gradient), jax.jit(product)
