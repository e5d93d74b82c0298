"""Transforms of pairs of fields, and the advection of one plane."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from turbulence_data.solver._grid import FieldHat
from turbulence_data.solver._modes import Modes
from turbulence_data.solver.fftw._pointwise import pointwise_kernels

T = TypeVar("T")
P = TypeVar("P")
B = TypeVar("B")

Pair = NDArray[np.complexfloating]
Columns = Callable[[slice, Pair], None]
"""`(columns, pair)`: reads or writes coefficients of `a + i b` and of `a - i b`.

`pair` has shape `(2, nx, columns + padding)` and is contiguous in memory.
"""

Factors = dict[int, NDArray[np.floating]]
"""Tables in the form that the kernels take, by a panel's first column."""

Execute = Callable[[], None]

# A batch of this many lines, or of this many points if lines are short, fits into the
# second-level cache with its result, and is large enough for the call overhead.
_LINES = 32
_POINTS = 8192

# Padding of each line, as power-of-two distances between lines thrash the cache.
_PADDING_BYTES = 64
# Threads synchronize three times per call; on smaller grids that outweighs the gain.
_FEWEST_POINTS_FOR_THREADS = 512**2


@dataclass(frozen=True)
class Share(Generic[P, B]):
    """The work of one thread, with its own buffers."""

    panels: list[P]
    blocks: list[B]


class Team(Generic[P, B]):
    """Threads that share panels and blocks: runs work on every share.

    Their number is at most the number of panels or blocks, and smaller if more would
    not be faster.

    Args:
        modes: modes of the fields.
        threads: largest number of threads.
        panels: function that plans the transforms of some columns.
        blocks: function that plans the transforms of some rows.

    Attributes:
        columns: those of all panels.
    """

    def __init__(
        self,
        modes: Modes,
        threads: int,
        panels: Callable[[list[slice]], list[P]],
        blocks: Callable[[list[slice]], list[B]],
    ) -> None:
        nx, ny = modes.quadrature.num_points
        self.columns, rows = batches(modes.shape[1], nx), batches(nx, ny)
        few = nx * ny < _FEWEST_POINTS_FOR_THREADS
        count = 1 if few else min(threads, len(self.columns), len(rows))
        with without_wisdom():
            self._shares = [
                Share(panels(self.columns[i::count]), blocks(rows[i::count]))
                for i in range(count)
            ]
        self._pool = ThreadPoolExecutor(count - 1) if count > 1 else None

    def __call__(self, work: Callable[[Share[P, B]], T]) -> list[T]:
        """Return the results of `work` on each share."""
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


def panel_factors(
    kernels: Any, panels: list[slice], modes: Modes, *tables: NDArray[np.floating]
) -> Factors:
    """Return tables in the precision of the modes."""
    both = np.stack(np.broadcast_arrays(*tables, modes.mask)[:-1])
    both = both.astype(modes.dtype)
    return {
        panel.start: kernels.factors_of(np.ascontiguousarray(both[:, :, panel]))
        for panel in panels
    }


class PairTransform:
    """Transforms of two spectral fields to physical space and back.

    Two real fields a and b are transformed as one complex field `z = a + i b`, which is
    determined by the coefficients of `a + i b` and `a - i b` on half the wavenumbers.

    Transforms run out of place in batches that stay in cache: along x over panels of
    columns, only those of resolved modes, into lines that are contiguous along x; along
    y over blocks of rows gathered from these lines.

    Threads share the batches, not a transform, so the result does not depend on them.
    """

    def __init__(
        self,
        modes: Modes,
        kernels: Any,
        planner: str = "FFTW_ESTIMATE",
        threads: int = 1,
    ) -> None:
        """Plan the transforms and lay out their buffers."""
        (nx, ny), columns = modes.quadrature.num_points, modes.shape[1]
        dtype = modes.complex_dtype
        lines = zeros((2, columns, padded(nx, dtype)), dtype)
        stage = lines[:, :, :nx].transpose(0, 2, 1)
        self._modes, self._kernels = modes, kernels
        self._together = Team(
            modes,
            threads,
            lambda spans: [one for (one,) in panels_of([stage], spans, planner)],
            lambda spans: [one for (one,) in blocks_of([stage], spans, ny, planner)],
        )

    def factors(self, *tables: NDArray[np.floating]) -> Factors:
        """Return two tables in the precision of the modes."""
        columns = self._together.columns
        return panel_factors(self._kernels, columns, self._modes, *tables)

    def reader(self, field_hat: FieldHat, factors: Factors) -> Columns:
        """Return a function that reads a field by the kernel `velocity`."""
        read, cutoff = self._kernels.velocity, self._modes.cutoff[0]
        return lambda columns, pair: read(
            field_hat, columns.start, factors[columns.start], cutoff, pair
        )

    def writer(self, factors: Factors, out: FieldHat) -> Columns:
        """Return a function that writes into `out` by the kernel `advection`."""
        write, cutoff = self._kernels.advection, self._modes.cutoff[0]
        return lambda columns, pair: write(
            pair, factors[columns.start], cutoff, columns.start, out
        )

    def apply(
        self, read: Columns, change: Callable[[Pair, slice], None], write: Columns
    ) -> None:
        """Apply `change` to blocks of rows of z, in place.

        Args:
            read: puts coefficients into `pair`, which holds zeros where no earlier call
                put anything.
            change: pointwise function of some rows of z; also gets their slice.
            write: takes coefficients of the result, `nx ny` times as large as
                normalized ones, from `pair`.
        """

        def change_rows(share: _Share) -> None:
            for block in share.blocks:
                change(self._to_points(block), block.rows)
                block.forward()
                self._kernels.unpack_rows(block.products, block.stage)

        def write_columns(share: _Share) -> None:
            for panel in share.panels:
                panel.forward()
                write(panel.columns, panel.result)

        self._read(read)
        self._together(change_rows)
        self._together(write_columns)

    def to_points(self, read: Columns, real: NDArray[Any], imag: NDArray[Any]) -> None:
        """Write real and imaginary part of z, shape (nx, ny) each."""

        def copy_rows(share: _Share) -> None:
            for block in share.blocks:
                z = self._to_points(block)
                real[block.rows], imag[block.rows] = z.real, z.imag

        self._read(read)
        self._together(copy_rows)

    def largest(self, read: Columns, function: Callable[[Pair], float]) -> float:
        """Return the largest value of `function` over the blocks of z; nan wins."""

        def largest_of(share: _Share) -> float:
            values = [function(self._to_points(block)) for block in share.blocks]
            return float(np.max(values))

        self._read(read)
        return float(np.max(self._together(largest_of)))

    def _read(self, read: Columns) -> None:
        def read_columns(share: _Share) -> None:
            for panel in share.panels:
                read(panel.columns, panel.source)
                panel.inverse()

        self._together(read_columns)

    def _to_points(self, block: Block) -> Pair:
        self._kernels.pack_rows(block.stage, block.packed)
        block.inverse()
        return block.points


@dataclass(frozen=True)
class Panel:
    """Columns whose transforms along x are done in one call, in padded lines."""

    columns: slice
    source: Pair
    inverse: Execute
    forward: Execute
    result: Pair


@dataclass(frozen=True)
class Block:
    """Rows whose transforms along y are done in one go.

    Its three buffers differ so that the unresolved columns of `packed` stay zero.
    """

    rows: slice
    stage: Pair
    packed: Pair
    inverse: Execute
    points: Pair
    forward: Execute
    products: Pair


_Share = Share[Panel, Block]


def panels_of(
    stages: Sequence[Pair], spans: list[slice], planner: str
) -> list[list[Panel]]:
    """Return the panels of each span, one per stage; all share their buffers."""
    shape = (2, stages[0].shape[1], padded(longest(spans), stages[0].dtype))
    source, result = (zeros(shape, stages[0].dtype) for _ in range(2))

    def panel(stage: Pair, span: slice) -> Panel:
        columns, target = slice(0, span.stop - span.start), stage[:, :, span]
        inverse = plan(source[:, :, columns], target, 1, "BACKWARD", planner)
        forward = plan(target, result[:, :, columns], 1, "FORWARD", planner)
        return Panel(span, source, inverse, forward, result)

    panels = [[panel(stage, span) for stage in stages] for span in spans]
    source[...] = 0.0  # a planner that measures has written into it
    return panels


def blocks_of(
    stages: Sequence[Pair], spans: list[slice], ny: int, planner: str
) -> list[list[Block]]:
    """Return the blocks of each span, one per stage; they share all but `points`."""
    height, dtype = longest(spans), stages[0].dtype
    packed, products = (zeros((height, padded(ny, dtype)), dtype) for _ in range(2))
    points = zeros((len(stages), height, ny), dtype)

    def block(stage: Pair, z: Pair, span: slice) -> Block:
        rows = slice(0, span.stop - span.start)
        source, result = packed[rows, :ny], products[rows, :ny]
        inverse = plan(source, z[rows], 1, "BACKWARD", planner)
        forward = plan(z[rows], result, 1, "FORWARD", planner)
        return Block(span, stage[:, span], source, inverse, z[rows], forward, result)

    pairs = list(zip(stages, points, strict=True))
    blocks = [[block(stage, z, span) for stage, z in pairs] for span in spans]
    packed[...] = 0.0
    return blocks


def longest(spans: list[slice]) -> int:
    """Return the length of the longest span."""
    return int(max(span.stop - span.start for span in spans))


def _pyfftw() -> Any:
    """Import pyfftw only at the first plan, as it may import dask.array for seconds."""
    import pyfftw

    return pyfftw


def plan(
    source: NDArray[Any], target: NDArray[Any], axis: int, way: str, planner: str
) -> Execute:
    """Return a function that transforms `source` along an axis into `target`.

    Out of place and with contiguous lines on at least one side, unmeasured FFTW plans
    are within about 10 % of measured ones.
    """
    transform = _pyfftw().FFTW(source, target, (axis,), "FFTW_" + way, (planner,))
    execute: Execute = transform.execute
    return execute


@contextmanager
def without_wisdom() -> Iterator[None]:
    """Context in which plans do not depend on plans made before in this process.

    FFTW remembers measured plans (wisdom) and uses them for unmeasured ones too, so one
    measured plan elsewhere in a process would change the last bits of all later
    results. The wisdom is restored afterwards.
    """
    pyfftw = _pyfftw()
    known = pyfftw.export_wisdom()
    pyfftw.forget_wisdom()
    try:
        yield
    finally:
        pyfftw.forget_wisdom()
        pyfftw.import_wisdom(known)


def zeros(shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return aligned zeros, contiguous in memory."""
    array: NDArray[Any] = _pyfftw().zeros_aligned(shape, dtype)
    return array


def padded(length: int, dtype: np.dtype[Any]) -> int:
    """Return the length of a line including its padding."""
    return length + _PADDING_BYTES // dtype.itemsize


def batches(number: int, length: int) -> list[slice]:
    """Divide a number of lines of some length into nearly equal batches.

    If there are several, their number is even, for two threads.
    """
    size = max(_LINES, _POINTS // length)
    count = 1 if number <= size else 2 * max(1, round(number / (2 * size)))
    edges = [number * place // count for place in range(count + 1)]
    return [slice(*pair) for pair in pairwise(edges)]


def scale_of_pairs(modes: Modes) -> NDArray[np.float64]:
    """Return the normalization of coefficients, which are 2 nx ny times too large."""
    points = float(np.prod(modes.quadrature.num_points))
    return np.asarray(modes.mask / (2.0 * points))


def advection_tables(modes: Modes) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the factors of `u^2 - v^2` and of `u v`, see `Advection`."""
    kx, ky, scale = modes.kx, modes.ky, scale_of_pairs(modes)
    return -kx * ky * scale, (kx**2 - ky**2) * scale


class Advection:
    """Write `-J = (kx^2 - ky^2) F[u v] - kx ky F[u^2 - v^2]`.

    This is the form of Basdevant (1983, doi:10.1016/0021-9991(83)90064-5) of
    `J = u . grad(vorticity)`: two fields to physical space, two back.
    With an FFTW planner that measures, the last bits differ in each run.
    """

    def __init__(
        self, modes: Modes, planner: str = "FFTW_ESTIMATE", threads: int = 1
    ) -> None:
        self._kernels = pointwise_kernels()
        self._pair = PairTransform(modes, self._kernels, planner, threads)
        self._largest = modes.largest_wavenumbers
        kx, ky, inverse = modes.kx, modes.ky, modes.inverse_k_squared
        self._velocity = self._pair.factors(ky * inverse, kx * inverse)
        self._products = self._pair.factors(*advection_tables(modes))

    def __call__(self, vorticity_hat: FieldHat, out: FieldHat) -> None:
        """Write `-J` into `out`; the argument is not changed."""
        kernels, pair = self._kernels, self._pair
        read = pair.reader(vorticity_hat, self._velocity)
        write = pair.writer(self._products, out)
        pair.apply(read, lambda z, _: kernels.products(z), write)

    def rate(self, vorticity_hat: FieldHat) -> float:
        """Return `max(|u| Kx + |v| Ky)`: the fastest frequency of the advection."""
        kx, ky = self._largest
        return self._pair.largest(
            self._pair.reader(vorticity_hat, self._velocity),
            lambda z: float(np.max(np.abs(z.real) * kx + np.abs(z.imag) * ky)),
        )
