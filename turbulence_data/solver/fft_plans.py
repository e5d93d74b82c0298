"""How the transforms of the time loop are planned and laid out in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

# A batch of this many lines, or of this many points where lines are short, fits the
# second-level cache with its result, and is worth the calls it takes.
_LINES = 32
_POINTS = 8192

# Appended to each line: a power-of-two distance between lines thrashes the cache.
_PADDING_BYTES = 64

Execute = Callable[[], None]


def _pyfftw() -> Any:
    """Imported at the first plan: it imports dask.array where there is one, seconds."""
    import pyfftw

    return pyfftw


def plan(
    source: NDArray[Any], target: NDArray[Any], axis: int, way: str, planner: str
) -> Execute:
    """Returns a function that transforms `source` along an axis into `target`.

    Out of place and with contiguous lines on at least one side, FFTW plans within some
    10 % of a measured plan without measuring.

    Args:
        source: complex array; the transform keeps it.
        target: complex array of the same shape.
        axis: of the transform.
        way: "FORWARD" or "BACKWARD"; neither is normalized.
        planner: of FFTW; one that measures gives other bits each run.
    """
    transform = _pyfftw().FFTW(source, target, (axis,), "FFTW_" + way, (planner,))
    execute: Execute = transform.execute
    return execute


@contextmanager
def without_wisdom() -> Iterator[None]:
    """Plans made within depend on nothing that this process planned before.

    FFTW remembers what it measured, and then uses it for plans that are not to be
    measured too: one measured plan elsewhere in a process would change the last bits of
    everything computed after it. What was known before is known again afterwards.
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
    """Returns aligned zeros, contiguous in memory."""
    array: NDArray[Any] = _pyfftw().zeros_aligned(shape, dtype)
    return array


def padded(length: int, dtype: np.dtype[Any]) -> int:
    """Returns the length of a line with a gap behind it."""
    return length + _PADDING_BYTES // dtype.itemsize


def batches(number: int, length: int) -> list[slice]:
    """Divides a number of lines of some length into nearly equal batches.

    Where there are several, their number is even, for two threads.
    """
    size = max(_LINES, _POINTS // length)
    count = 1 if number <= size else 2 * max(1, round(number / (2 * size)))
    edges = [number * place // count for place in range(count + 1)]
    return [slice(*pair) for pair in pairwise(edges)]
