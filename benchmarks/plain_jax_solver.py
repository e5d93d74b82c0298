"""The step that one would write first in JAX: nothing tuned, the peer of the engine.

`J = u w_x + v w_y` with five real transforms a right-hand side at full size, the 2/3
rule as a mask, and the same integrating-factor RK4.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from turbulence_data import FlowConfig
from turbulence_data.solver import Grid


def plain_run(
    flow: FlowConfig, time_step: float, dtype: Any
) -> Callable[[Any, int], jax.Array]:
    """Returns `(vorticity, number of steps) -> vorticity`; leading axes are a batch."""
    grid = Grid(flow.shape, flow.lengths)
    kx, ky = (jnp.asarray(k, dtype) for k in (grid.kx, grid.ky))
    cutoffs = [(n - 1) // 3 + 0.5 for n in flow.shape]
    mask = jnp.asarray(
        (np.abs(grid.kx) < cutoffs[0]) & (grid.ky < cutoffs[1]) & (grid.k_squared > 0)
    )
    inverse = jnp.asarray(grid.inverse_k_squared, dtype)
    decay = np.exp(-0.5 * time_step * flow.damping_rate(grid.k_squared))
    half = jnp.asarray(decay, dtype)
    k_f = float(flow.forcing_wavenumber or 0.0)
    x, y = (jnp.asarray(axis, dtype) for axis in (grid.x, grid.y))
    source = jnp.fft.rfft2(-k_f * (jnp.cos(k_f * x) + jnp.cos(k_f * y)))

    def tendency(hat: jax.Array) -> jax.Array:
        psi = hat * inverse
        u, v = jnp.fft.irfft2(1j * ky * psi), jnp.fft.irfft2(-1j * kx * psi)
        w_x, w_y = jnp.fft.irfft2(1j * kx * hat), jnp.fft.irfft2(1j * ky * hat)
        return (source - jnp.fft.rfft2(u * w_x + v * w_y)) * mask

    def step(_: int, hat: jax.Array) -> jax.Array:
        k1 = tendency(hat)
        k2 = tendency(half * (hat + time_step / 2 * k1))
        k3 = tendency(half * hat + time_step / 2 * k2)
        k4 = tendency(half**2 * hat + time_step * half * k3)
        slopes = half**2 * k1 + 2.0 * half * (k2 + k3) + k4
        return half**2 * hat + time_step / 6 * slopes

    @jax.jit
    def run(vorticity: Any, num_steps: int) -> jax.Array:
        hat = jnp.fft.rfft2(jnp.asarray(vorticity, dtype)) * mask
        return jnp.fft.irfft2(jax.lax.fori_loop(0, num_steps, step, hat))

    return run
