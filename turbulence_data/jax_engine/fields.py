"""Fields and coefficients in JAX: layouts, filters, integrals."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

Points = tuple[int, int]


class Layout(NamedTuple):
    """Where the resolved modes of a flow stand, see `solver.modes.Modes`.

    Attributes:
        points: of the grid of the physical fields.
        quadrature: of the grid of the products.
        cutoff: largest resolved mode numbers.
    """

    points: Points
    quadrature: Points
    cutoff: tuple[int, int]


def to_physical(layout: Layout, hat: jax.Array) -> jax.Array:
    """Returns the fields of resolved modes, on the grid of the physical fields."""
    nx, ny = layout.points
    full = place_modes(hat, layout.cutoff, (nx, ny // 2 + 1))
    return jnp.fft.irfft2(full, s=layout.points, norm="forward")


def from_physical(layout: Layout, field: jax.Array) -> jax.Array:
    """Returns the resolved coefficients of fields; their mean is dropped."""
    nx, ky = layout.quadrature[0], layout.cutoff[1]
    hat = jnp.fft.rfft2(field, norm="forward").at[..., 0, 0].set(0.0)
    return place_modes(hat, layout.cutoff, (nx, ky + 1))


def place_modes(
    hat: jax.Array, cutoff: tuple[int, int], shape: tuple[int, int]
) -> jax.Array:
    """Returns the modes up to a cutoff in an array of another shape, zeros elsewhere.

    Args:
        hat: coefficients, shape `(..., nx, columns)`.
        cutoff: largest mode numbers that are kept, below Nyquist on both sides.
        shape: `(nx, columns)` of the result.
    """
    kx, ky = cutoff
    kept = hat[..., : ky + 1]
    gap = jnp.zeros((*hat.shape[:-2], shape[0] - 2 * kx - 1, ky + 1), hat.dtype)
    negative = kept[..., hat.shape[-2] - kx :, :]
    rows = jnp.concatenate([kept[..., : kx + 1, :], gap, negative], axis=-2)
    return jnp.pad(rows, [(0, 0)] * (hat.ndim - 1) + [(0, shape[1] - ky - 1)])
