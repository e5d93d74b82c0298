"""The advection of two layers, by products of velocities, or as in pyqg."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from turbulence_data.solver._equation import LayerTerms
from turbulence_data.solver._grid import FieldHat
from turbulence_data.solver._modes import Modes
from turbulence_data.solver.fftw._advection import (
    Block,
    Execute,
    Pair,
    PairTransform,
    Panel,
    Share,
    Team,
    advection_tables,
    blocks_of,
    longest,
    padded,
    panel_factors,
    panels_of,
    plan,
    scale_of_pairs,
    zeros,
)
from turbulence_data.solver.fftw._pointwise import pointwise_kernels


class VelocityForm:
    """Write `-div(u_i q_i)` of two layers, using only products of velocities.

    With `q_i = -lap(psi_i) + F_i (psi_i - psi_j)` the term of psi_i in the stretching
    is not advected by its own layer, and that of psi_j is one product for both layers:

        -div(u_1 q_1) = -J(psi_1, -lap(psi_1)) + F_1 (v_1 u_2 - u_1 v_2)
        -div(u_2 q_2) = -J(psi_2, -lap(psi_2)) - F_2 (v_1 u_2 - u_1 v_2)

    with J in Basdevant's form, see `Advection`: four real fields to physical space and
    five back, instead of six and four for fluxes of q. The result is the same up to
    round-off if products are free of aliasing.
    """

    def __init__(
        self, modes: Modes, terms: LayerTerms, planner: str, threads: int
    ) -> None:
        self._kernels = pointwise_kernels()
        (nx, ny), columns = modes.quadrature.num_points, modes.shape[1]
        dtype, self._cutoff = modes.complex_dtype, modes.cutoff[0]
        lines = zeros((5, columns, padded(nx, dtype)), dtype)
        stages = lines[:, :, :nx].transpose(0, 2, 1)
        layers, cross = (stages[:2], stages[2:4]), stages[4]
        self._together = Team(
            modes,
            threads,
            lambda spans: _panels(layers, cross, spans, planner),
            lambda spans: _blocks(layers, cross, spans, ny, planner),
        )
        self._coupling, self._inversion = terms.coupling, terms.inversion
        axes = modes.kx[:, 0], modes.ky[0]
        self._wavenumbers = tuple(np.ascontiguousarray(k, modes.dtype) for k in axes)
        spans, tables = self._together.columns, advection_tables(modes)
        self._products = panel_factors(self._kernels, spans, modes, *tables)
        scale, (upper, lower) = scale_of_pairs(modes), terms.stretching
        self._stretching = [
            (factor * scale).astype(modes.dtype) for factor in (upper, -lower)
        ]

    def __call__(self, q_hat: FieldHat, out: FieldHat) -> None:
        """Write the terms of `q_hat`, shape (2, nx, Ky + 1), into `out`."""
        self._together(partial(self._read_columns, q_hat))
        self._together(self._multiply_rows)
        self._together(partial(self._write_columns, q_hat, out))

    def _read_columns(self, q_hat: FieldHat, share: _Share) -> None:
        for panel in share.panels:
            bounds = self._cutoff, panel.columns.start, panel.columns.stop
            for matrix, layer in zip(self._inversion, panel.layers, strict=True):
                self._kernels.layer_velocity(
                    q_hat, matrix, self._wavenumbers, bounds, layer.source
                )
                layer.inverse()

    def _multiply_rows(self, share: _Share) -> None:
        kernels = self._kernels
        for block in share.blocks:
            for layer in block.layers:
                kernels.pack_rows(layer.stage, layer.packed)
                layer.inverse()
            upper, lower = block.layers
            kernels.layer_products(upper.points, lower.points, block.cross)
            for layer in block.layers:
                layer.forward()
                kernels.unpack_rows(layer.products, layer.stage)
            block.cross_forward()
            kernels.unpack_row_pairs(block.cross_products, block.cross_stage)

    def _write_columns(self, q_hat: FieldHat, out: FieldHat, share: _Share) -> None:
        kernels, cutoff = self._kernels, self._cutoff
        for panel in share.panels:
            first, stop = panel.columns.start, panel.columns.stop
            panel.cross_forward()
            for number, layer in enumerate(panel.layers):
                layer.forward()
                kernels.advection(
                    layer.result, self._products[first], cutoff, first, out[number]
                )
                kernels.add_exchange(
                    (panel.cross_result, self._stretching[number]),
                    (q_hat[1 - number], self._coupling[number]),
                    (cutoff, first, stop),
                    out[number],
                )


@dataclass(frozen=True)
class _Panel:
    """The same columns of both layers, and of the product of their velocities."""

    columns: slice
    layers: list[Panel]
    cross_forward: Execute
    cross_result: NDArray[np.complexfloating]


@dataclass(frozen=True)
class _Block:
    """The same rows of both layers, and of the product of their velocities."""

    layers: list[Block]
    cross: NDArray[np.complexfloating]
    cross_forward: Execute
    cross_products: NDArray[np.complexfloating]
    cross_stage: NDArray[np.complexfloating]


_Share = Share[_Panel, _Block]


def _panels(
    stages: tuple[Pair, Pair], cross: Pair, spans: list[slice], planner: str
) -> list[_Panel]:
    nx, dtype = cross.shape[0], cross.dtype
    result = zeros((nx, padded(longest(spans), dtype)), dtype)
    panels = []
    for layers, span in zip(panels_of(stages, spans, planner), spans, strict=True):
        columns = result[:, : span.stop - span.start]
        forward = plan(cross[:, span], columns, 0, "FORWARD", planner)
        panels.append(_Panel(span, layers, forward, result))
    return panels


def _blocks(
    stages: tuple[Pair, Pair], cross: Pair, spans: list[slice], ny: int, planner: str
) -> list[_Block]:
    points = zeros((longest(spans), ny), cross.dtype)
    blocks = []
    for layers, span in zip(blocks_of(stages, spans, ny, planner), spans, strict=True):
        # Two rows of the real product share one of complex numbers.
        half = slice(0, -(-(span.stop - span.start) // 2))
        fields, products = points[half], layers[0].products[half]
        forward = plan(fields, products, 1, "FORWARD", planner)
        blocks.append(_Block(layers, fields, forward, products, cross[span]))
    return blocks


class FluxForm:
    """Write `-div(u_i q_i) = -(i kx F[u_i q_i] + i ky F[v_i q_i])` of two layers.

    Both scalars are transformed to physical space as one complex field, the velocities
    of each layer as another one: ten real transforms in all, with the products of pyqg.
    """

    def __init__(
        self, modes: Modes, terms: LayerTerms, planner: str, threads: int
    ) -> None:
        self._terms, self._kernels = terms, pointwise_kernels()
        self._pair = PairTransform(modes, self._kernels, planner, threads)
        self._cutoff = modes.cutoff[0]
        shape = (2, *modes.quadrature.num_points)
        self._scalars = zeros(shape, modes.dtype)
        scale = -scale_of_pairs(modes)
        self._velocity = self._pair.factors(modes.ky, modes.kx)
        self._fluxes = self._pair.factors(modes.kx * scale, modes.ky * scale)

    def __call__(self, q_hat: FieldHat, out: FieldHat) -> None:
        """Write the terms of `q_hat`, shape (2, nx, Ky + 1), into `out`."""
        kernels, cutoff = self._kernels, self._cutoff

        def read_both(columns: slice, pair: Pair) -> None:
            width = columns.stop - columns.start
            kernels.real_pair(*q_hat, columns.start, cutoff, pair[:, :, :width])

        def times(scalar: NDArray[np.floating]) -> Callable[[Pair, slice], None]:
            return lambda z, rows: kernels.times_real(z, scalar[rows])

        self._pair.to_points(read_both, *self._scalars)
        for layer, (a, b) in enumerate(self._terms.inversion):
            psi_hat = a * q_hat[0] + b * q_hat[1]
            self._pair.apply(
                self._pair.reader(psi_hat, self._velocity),
                times(self._scalars[layer]),
                self._pair.writer(self._fluxes, out[layer]),
            )
        out *= 1j
        out += self._terms.coupling * q_hat[::-1]
