"""Two other ways to transform the advection on JAX, for comparison.

Each is a value of `JaxEngine(transforms=...)`, as `packed_transforms` is, and gives the
same to round-off.
"""

from typing import Any

import jax
import jax.numpy as jnp

from turbulence_data.solver.jax._advection import (
    AdvectionTables,
    packed_transforms,
    velocity,
)

Points = tuple[int, int]


def pruned_transforms(
    points: Points, tables: AdvectionTables, vorticity_hat: jax.Array
) -> jax.Array:
    """Complex transforms axis by axis, without the columns that are not resolved.

    After the 2/3 rule a third of the work along x is never done; it costs two
    transpositions each way.
    """
    number = vorticity_hat.shape[-1]
    positive = tables.to_velocity * vorticity_hat
    negative = _flip_rows(-tables.to_velocity * vorticity_hat.conj())[..., :0:-1]
    columns = jnp.fft.fft(jnp.concatenate([positive, negative], -1), axis=-2)
    gap = jnp.zeros((*columns.shape[:-1], points[1] + 1 - 2 * number), columns.dtype)
    parts = [columns[..., :number], gap, columns[..., number:]]
    z = jnp.fft.fft(jnp.concatenate(parts, axis=-1))
    products = jnp.fft.fft(z * z)
    kept = [products[..., :number], products[..., points[1] + 1 - number :]]
    mirrored = jnp.fft.fft(jnp.concatenate(kept, -1), axis=-2)
    at_k = _flip_rows(
        jnp.concatenate([mirrored[..., :1], mirrored[..., : number - 1 : -1]], axis=-1)
    )
    m = tables.from_products
    return m * at_k + (m * mirrored[..., :number]).conj()


def real_transforms(
    points: Points, tables: AdvectionTables, vorticity_hat: jax.Array
) -> jax.Array:
    """Two real 2-D transforms each way: the four of the plain Basdevant form."""
    u, v = velocity(points, tables, vorticity_hat)
    products = jnp.stack([(u - v) * (u + v), u * v])
    p, q = jnp.fft.rfft2(products)[..., : vorticity_hat.shape[-1]]
    m: Any = 2.0 * tables.from_products
    return m.real * p - 2.0 * m.imag * q


def _flip_rows(hat: jax.Array) -> jax.Array:
    """Row kx becomes row -kx."""
    return jnp.concatenate([hat[..., :1, :], hat[..., :0:-1, :]], axis=-2)


TRANSFORMS = (packed_transforms, pruned_transforms, real_transforms)
