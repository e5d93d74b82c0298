"""What is looked at of a flow, computed where the flow is."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from turbulence_data.filtering import FilteredFields, gaussian_filter
from turbulence_data.jax_engine.advection import (
    AdvectionTables,
    Transforms,
    advection_tables,
)
from turbulence_data.jax_engine.fields import Layout, place_modes
from turbulence_data.jax_engine.program import FlowTables
from turbulence_data.solver._equation import Integrals
from turbulence_data.solver._grid import Grid
from turbulence_data.solver._modes import Modes, padded_modes


def layout_of(modes: Modes) -> Layout:
    """Returns where modes stand, as a value that programs are compiled for."""
    return Layout(modes.grid.num_points, modes.quadrature.num_points, modes.cutoff)


@jax.jit
def spectral_sums(
    tables: FlowTables, source: jax.Array, hat: jax.Array
) -> list[jax.Array]:
    """Returns energy, enstrophy, its loss, work and dissipation as spectral sums.

    Args:
        tables: of the flow.
        source: coefficients of what drives it at this time.
        hat: vorticity coefficients of one field.
    """
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


def integrals(
    tables: FlowTables, source: jax.Array, variance_work: float, hat: jax.Array
) -> Integrals:
    """Returns the integrals of one field; `variance_work` is the injection by noise."""
    energy, enstrophy, enstrophy_dissipation, work, dissipation = map(
        float, spectral_sums(tables, source, hat)
    )
    work += variance_work
    return Integrals(energy, enstrophy, enstrophy_dissipation, work, dissipation)


class FilterTables(NamedTuple):
    """The numbers of a filter: its response, and the advection on both grids."""

    response: jax.Array
    inverse_k_squared: jax.Array
    fine: AdvectionTables
    coarse: AdvectionTables


Filtering = Callable[[jax.Array], FilteredFields]


def filtering(
    modes: Modes, transforms: Transforms, num_points: tuple[int, int], width: float
) -> Filtering:
    """Returns `vorticity_hat -> FilteredFields`, the same as `filtering.filtered_dns`.

    Products of resolved modes are free of aliasing on the grid that the flow uses, so J
    is that of its own right-hand side; where an LES keeps more modes than the flow
    resolves, it is formed on a padded grid.
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
    fine_shape = fine.quadrature[0], fine.cutoff[1] + 1
    coarse_shape = coarse.quadrature[0], coarse.cutoff[1] + 1
    nx, ny = coarse.points

    def filtered(tables: FilterTables, flow_hat: jax.Array) -> list[jax.Array]:
        hat = place_modes(flow_hat, flow.cutoff, fine_shape)
        # -J of the resolved fields and of the filtered ones.
        resolved = transforms(fine.quadrature, tables.fine, hat)
        vorticity, filtered_terms = (
            place_modes(tables.response * part, coarse.cutoff, coarse_shape)
            for part in (hat, resolved)
        )
        terms = transforms(coarse.quadrature, tables.coarse, vorticity)
        streamfunction = vorticity * tables.inverse_k_squared
        hats = (streamfunction, vorticity, filtered_terms - terms)
        full = [place_modes(h, coarse.cutoff, (nx, ny // 2 + 1)) for h in hats]
        return [jnp.fft.irfft2(h, s=(nx, ny), norm="forward") for h in full]

    return jax.jit(filtered)
