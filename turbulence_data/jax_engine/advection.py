"""The nonlinear term `-J` in JAX, by three ways to do its transforms.

With `z = u + i v` and complex wavenumber `kappa = kx + i ky` Basdevant's form of the
advection needs one field each way, since `z^2 = (u^2 - v^2) + 2 i u v`:

    z_hat = kappa psi_hat,   -J_hat = Hermitian part of m Q,   Q = F[z^2],
    m = -(i / 2) conj(kappa)^2.

The Hermitian part, the transform of the real part, is `(m Q(k) + conj(m Q(-k))) / 2`,
m being even. The three ways give the same to round-off; leading axes are a batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from turbulence_data.solver._modes import Modes


class AdvectionTables(NamedTuple):
    """Factors of coefficients, of the shape `(nx, Ky + 1)` of some modes.

    Attributes:
        to_velocity: `(kx + i ky) / k^2`.
        from_products: `m / (2 nx ny)`, 0 where not resolved.
    """

    to_velocity: jax.Array
    from_products: jax.Array


Points = tuple[int, int]
Transforms = Callable[[Points, AdvectionTables, jax.Array], jax.Array]
"""`(points of the products, tables, vorticity_hat) -> -J_hat`."""


def advection_tables(modes: Modes) -> AdvectionTables:
    """Returns the tables, computed in double precision and rounded once."""
    kappa = modes.kx + 1j * modes.ky
    num_points = float(np.prod(modes.quadrature.num_points))
    to_velocity = kappa * modes.inverse_k_squared
    from_products = np.conj(kappa) ** 2 * modes.mask * (-0.25j / num_points)
    dtype = modes.complex_dtype
    return AdvectionTables(
        jnp.asarray(to_velocity.astype(dtype)), jnp.asarray(from_products.astype(dtype))
    )


def packed_transforms(
    points: Points, tables: AdvectionTables, vorticity_hat: jax.Array
) -> jax.Array:
    """One complex 2-D transform each way.

    Both are forward transforms, of a field mirrored at the origin: those of the other
    sign end with a pass over memory that divides by the number of points.
    """
    number = vorticity_hat.shape[-1]
    z = jnp.fft.fft2(_with_gap(_all_columns(tables, vorticity_hat), number, points[1]))
    mirrored = jnp.fft.fft2(z * z)
    return _advection(tables, *_halves(mirrored, number))


def pruned_transforms(
    points: Points, tables: AdvectionTables, vorticity_hat: jax.Array
) -> jax.Array:
    """The same axis by axis, without the columns of modes that are not resolved.

    After the 2/3 rule a third of the work along x is never done; it costs two
    transpositions each way.
    """
    number = vorticity_hat.shape[-1]
    columns = jnp.fft.fft(_all_columns(tables, vorticity_hat), axis=-2)
    z = jnp.fft.fft(_with_gap(columns, number, points[1]))
    products = jnp.fft.fft(z * z)
    kept = [products[..., :number], products[..., points[1] + 1 - number :]]
    mirrored = jnp.fft.fft(jnp.concatenate(kept, -1), axis=-2)
    return _advection(tables, *_halves(mirrored, number))


def real_transforms(
    points: Points, tables: AdvectionTables, vorticity_hat: jax.Array
) -> jax.Array:
    """Two real 2-D transforms each way: the four of the plain Basdevant form."""
    u, v = velocity(points, tables, vorticity_hat)
    products = jnp.stack([(u - v) * (u + v), u * v])
    p, q = jnp.fft.rfft2(products)[..., : vorticity_hat.shape[-1]]
    m = 2.0 * tables.from_products
    advection: jax.Array = m.real * p - 2.0 * m.imag * q
    return advection


def velocity(
    points: Points, tables: AdvectionTables, vorticity_hat: jax.Array
) -> jax.Array:
    """Returns u and v on the grid of the products, along a new first axis."""
    u_hat = 1j * (tables.to_velocity.imag * vorticity_hat)
    v_hat = -1j * (tables.to_velocity.real * vorticity_hat)
    hats = jnp.stack([u_hat, v_hat])
    padded = _at_end(hats, points[1] // 2 + 1)
    both: jax.Array = jnp.fft.irfft2(padded, s=points, norm="forward")
    return both


def _all_columns(tables: AdvectionTables, vorticity_hat: jax.Array) -> jax.Array:
    """`z_hat` for ky = 0 ... Ky, -Ky ... -1: there -kappa(-k) conj(psi_hat(-k))."""
    positive = tables.to_velocity * vorticity_hat
    negative = _flip_rows(-tables.to_velocity * vorticity_hat.conj())
    return jnp.concatenate([positive, negative[..., :0:-1]], axis=-1)


def _halves(mirrored: jax.Array, number: int) -> tuple[jax.Array, jax.Array]:
    """Values at k and at -k, for ky = 0 ... Ky, where columns are 0 ... Ky ... -1."""
    size = mirrored.shape[-1]
    negative = [mirrored[..., :1], mirrored[..., : size - number : -1]]
    return mirrored[..., :number], _flip_rows(jnp.concatenate(negative, axis=-1))


def _advection(
    tables: AdvectionTables, at_minus_k: jax.Array, at_k: jax.Array
) -> jax.Array:
    """The Hermitian part of m Q; a mirrored transform has Q(-k) where Q(k) would be."""
    m = tables.from_products
    return m * at_k + (m * at_minus_k).conj()


def _flip_rows(hat: jax.Array) -> jax.Array:
    """Row kx becomes row -kx."""
    return jnp.concatenate([hat[..., :1, :], hat[..., :0:-1, :]], axis=-2)


def _with_gap(columns: jax.Array, number: int, size: int) -> jax.Array:
    """Zeros between the columns of ky >= 0 and those of ky < 0."""
    gap = jnp.zeros((*columns.shape[:-1], size - columns.shape[-1]), columns.dtype)
    parts = [columns[..., :number], gap, columns[..., number:]]
    return jnp.concatenate(parts, axis=-1)


def _at_end(hat: jax.Array, size: int) -> jax.Array:
    """Zeros after the last column."""
    gap = [(0, 0)] * (hat.ndim - 1) + [(0, size - hat.shape[-1])]
    return jnp.pad(hat, gap)
