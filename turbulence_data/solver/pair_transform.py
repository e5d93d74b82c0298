"""The four transforms of one right-hand side, as cheap as FFTW allows."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from turbulence_data._checks import check_whole
from turbulence_data.solver.fft_plans import (
    Execute,
    batches,
    padded,
    plan,
    without_wisdom,
    zeros,
)
from turbulence_data.solver.modes import Modes

T = TypeVar("T")

Pair = NDArray[np.complexfloating]
Columns = Callable[[slice, Pair], None]
"""`(columns, pair)`: reads or writes coefficients of `a + i b` and of `a - i b`.

`pair` has shape `(2, nx, columns + padding)` and is contiguous in memory.
"""

# Threads meet three times a call; on smaller grids that costs what they gain.
_FEWEST_POINTS_FOR_THREADS = 512**2


class PairTransform:
    """Takes two spectral fields to physical space, changes them there, and back.

    Two real fields a and b travel as one complex field `z = a + i b`; the coefficients
    of `a + i b` and of `a - i b` on half of the wavenumbers hold all of it.

    Transforms run out of place in batches that stay in cache: along x over panels of
    columns, only those of resolved modes, into lines that are contiguous along x; along
    y over blocks of rows gathered from these lines.

    Threads divide the batches, not a transform, so they do not change a bit.

    Attributes:
        panels: the columns of each panel.
    """

    def __init__(
        self,
        modes: Modes,
        kernels: Any,
        planner: str = "FFTW_ESTIMATE",
        threads: int = 1,
    ) -> None:
        """Plans the transforms and lays out their buffers.

        Args:
            modes: resolved wavenumbers and their precision.
            kernels: module with `pack_rows` and `unpack_rows`.
            planner: of FFTW. FFTW_ESTIMATE plans alike in every run; with a measured
                plan the last bits change, which turbulence amplifies.
            threads: how many work on one grid, where it is large enough to be worth it.

        Raises:
            ValueError: for fewer than one thread.
        """
        check_whole("threads", threads, at_least=1)
        (nx, ny), columns = modes.quadrature.num_points, modes.shape[1]
        self.panels, blocks = batches(columns, nx), batches(nx, ny)
        threads = min(threads, len(self.panels), len(blocks))
        if nx * ny < _FEWEST_POINTS_FOR_THREADS:
            threads = 1
        dtype = modes.complex_dtype
        lines = zeros((2, columns, padded(nx, dtype)), dtype)
        stage = lines[:, :, :nx].transpose(0, 2, 1)
        self._kernels = kernels
        with without_wisdom():
            self._shares = [
                _Share(
                    _panels(stage, self.panels[first::threads], planner),
                    _blocks(stage, blocks[first::threads], ny, planner),
                )
                for first in range(threads)
            ]
        self._pool = ThreadPoolExecutor(threads - 1) if threads > 1 else None

    def apply(
        self, read: Columns, change: Callable[[Pair], None], write: Columns
    ) -> None:
        """Applies `change` to blocks of rows of z, in place.

        Args:
            read: puts coefficients into `pair`, which holds zeros where no earlier call
                put anything.
            change: pointwise function of z.
            write: takes coefficients of the result, `nx ny` times as large as
                normalized ones, from `pair`.
        """

        def change_rows(share: _Share) -> None:
            for block in share.blocks:
                self._to_points(block)
                change(block.points)
                block.forward()
                self._kernels.unpack_rows(block.products, block.stage)

        def write_columns(share: _Share) -> None:
            for panel in share.panels:
                panel.forward()
                write(panel.columns, panel.result)

        self._read(read)
        self._together(change_rows)
        self._together(write_columns)

    def largest(self, read: Columns, function: Callable[[Pair], float]) -> float:
        """Returns the largest value of `function` over the blocks of z; nan wins."""

        def largest_of(share: _Share) -> float:
            values = []
            for block in share.blocks:
                self._to_points(block)
                values.append(function(block.points))
            return float(np.max(values))

        self._read(read)
        return float(np.max(self._together(largest_of)))

    def _read(self, read: Columns) -> None:
        def read_columns(share: _Share) -> None:
            for panel in share.panels:
                read(panel.columns, panel.source)
                panel.inverse()

        self._together(read_columns)

    def _to_points(self, block: _Block) -> None:
        self._kernels.pack_rows(block.stage, block.packed)
        block.inverse()

    def _together(self, work: Callable[[_Share], T]) -> list[T]:
        """Returns the results of `work` on each share, one thread a share."""
        if self._pool is None:
            return [work(share) for share in self._shares]
        waiting = [
            # NumPy's error state belongs to a context, which threads do not inherit.
            self._pool.submit(copy_context().run, work, share)
            for share in self._shares[1:]
        ]
        try:
            first = work(self._shares[0])
        finally:
            wait(waiting)  # nobody may go on writing after an error
        return [first, *(future.result() for future in waiting)]


@dataclass(frozen=True)
class _Panel:
    """Columns whose transforms along x are done in one go, in lines with padding."""

    columns: slice
    source: Pair
    inverse: Execute
    forward: Execute
    result: Pair


@dataclass(frozen=True)
class _Block:
    """Rows whose transforms along y are done in one go.

    Its three buffers differ so that the unresolved columns of `packed` stay zero.
    """

    stage: Pair
    packed: Pair
    inverse: Execute
    points: Pair
    forward: Execute
    products: Pair


@dataclass(frozen=True)
class _Share:
    """What one thread works on, with buffers of its own."""

    panels: list[_Panel]
    blocks: list[_Block]


def _panels(stage: Pair, spans: list[slice], planner: str) -> list[_Panel]:
    shape = (2, stage.shape[1], padded(_longest(spans), stage.dtype))
    source, result = (zeros(shape, stage.dtype) for _ in range(2))
    panels = []
    for span in spans:
        columns, target = slice(0, span.stop - span.start), stage[:, :, span]
        inverse = plan(source[:, :, columns], target, 1, "BACKWARD", planner)
        forward = plan(target, result[:, :, columns], 1, "FORWARD", planner)
        panels.append(_Panel(span, source, inverse, forward, result))
    source[...] = 0.0  # a planner that measures has written into it
    return panels


def _blocks(stage: Pair, spans: list[slice], ny: int, planner: str) -> list[_Block]:
    height, length = _longest(spans), padded(ny, stage.dtype)
    lines = [zeros((height, n), stage.dtype) for n in (length, ny, length)]
    buffers = [array[:, :ny] for array in lines]
    blocks = []
    for span in spans:
        rows = slice(0, span.stop - span.start)
        packed, points, products = (buffer[rows] for buffer in buffers)
        inverse = plan(packed, points, 1, "BACKWARD", planner)
        forward = plan(points, products, 1, "FORWARD", planner)
        blocks.append(
            _Block(stage[:, span], packed, inverse, points, forward, products)
        )
    buffers[0][...] = 0.0
    return blocks


def _longest(spans: list[slice]) -> int:
    return int(max(span.stop - span.start for span in spans))
