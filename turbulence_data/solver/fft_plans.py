"""How the transforms of the time loop are planned and laid out in memory."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pyfftw
from numpy.typing import NDArray

# A batch of this many lines, or of this many points where lines are short, fits the
# second-level cache with its result, and is worth the calls it takes.
_LINES = 32
_POINTS = 8192

# Appended to each line: a power-of-two distance between lines thrashes the cache.
_PADDING_BYTES = 64

Execute = Callable[[], None]


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
        way: "FORWARD" or "BACKWARD"; neither is normalised.
        planner: of FFTW; one that measures gives other bits each run.
    """
    transform = pyfftw.FFTW(source, target, (axis,), "FFTW_" + way, (planner,))
    execute: Execute = transform.execute
    return execute


def zeros(shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Returns aligned zeros, contiguous in memory."""
    array: NDArray[Any] = pyfftw.zeros_aligned(shape, dtype)
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
