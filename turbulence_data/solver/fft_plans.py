"""How the transforms of the time loop are planned and laid out in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyfftw
from numpy.typing import NDArray

BLOCK_BYTES = 128 * 1024
"""Rows of one block stay in the second-level cache from the inverse transform through
the product to the forward transform."""

ROW_PADDING = 4
"""Complex numbers appended to each row: a power-of-two stride thrashes the cache."""

Execute = Callable[[], None]


@dataclass(frozen=True)
class Planner:
    """Makes transforms between fixed arrays along one axis.

    Attributes:
        flags: of FFTW; a planner that measures gives other bits each run.
        threads: of one transform.
    """

    flags: tuple[str, ...]
    threads: int

    def __call__(
        self, source: NDArray[Any], target: NDArray[Any], axis: int, way: str
    ) -> Execute:
        """Returns a function that transforms `source` into `target`."""
        execute: Execute = pyfftw.FFTW(
            source, target, (axis,), "FFTW_" + way, self.flags, self.threads
        ).execute
        return execute


def row_blocks(num_rows: int, row_bytes: int) -> list[slice]:
    """Returns the rows of each block, all of them equal but perhaps the last."""
    size = max(1, min(num_rows, BLOCK_BYTES // row_bytes))
    starts = range(0, num_rows, size)
    return [slice(start, min(start + size, num_rows)) for start in starts]
