"""Two real fields as one complex field: the cheaper way round on small grids."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyfftw
from numpy.typing import NDArray

from turbulence_data.solver.fft_plans import ROW_PADDING, Planner, row_blocks
from turbulence_data.solver.modes import Modes

Complex = NDArray[np.complex128]


class PackedTransform:
    """Takes `z = u + i v` to physical space, changes it there, and back.

    A complex transform of z does the work of two real ones, and FFTW plans it better
    without measuring. The spectrum of z is no conjugate mirror, so it is stored for
    both signs of ky. Otherwise like `PairTransform`: only columns of resolved modes are
    transformed along x, rows run in blocks that stay in cache, coefficients come back
    unnormalised.

    Attributes:
        positive: coefficients for ky = 0 ... Ky, shape `(nx, Ky + 1)`.
        negative: coefficients for ky = -Ky ... -1, shape `(nx, Ky)`.
    """

    def __init__(
        self, modes: Modes, planner: str = "FFTW_ESTIMATE", threads: int = 1
    ) -> None:
        nx, ny = modes.quadrature.num_points
        columns = modes.shape[1]
        spans = row_blocks(nx, 16 * ny)
        self.positive = pyfftw.zeros_aligned((nx, columns), "complex128")
        self.negative = pyfftw.zeros_aligned((nx, columns - 1), "complex128")
        stage = pyfftw.zeros_aligned((nx, ny + ROW_PADDING), "complex128")[:, :ny]
        block = pyfftw.empty_aligned((spans[0].stop, ny + ROW_PADDING), "complex128")[
            :, :ny
        ]
        self._pruned = stage[:, columns : ny - columns + 1]
        # One buffer serves every full block; a shorter last block is a view of it.
        self._blocks = [block[: span.stop - span.start] for span in spans]

        plan = Planner((planner,), threads)
        halves = [
            (self.positive, stage[:, :columns]),
            (self.negative, stage[:, ny - columns + 1 :]),
        ]
        self._along_x_inverse = [plan(a, b, 0, "BACKWARD") for a, b in halves]
        self._along_x_forward = [plan(b, a, 0, "FORWARD") for a, b in halves]
        pairs = [(stage[s], b) for s, b in zip(spans, self._blocks, strict=True)]
        self._along_y_inverse = [plan(a, b, 1, "BACKWARD") for a, b in pairs]
        self._along_y_forward = [plan(b, a, 1, "FORWARD") for a, b in pairs]
        for array in (self.positive, self.negative, stage):
            array[...] = 0.0

    def apply(self, function: Callable[[Complex], None]) -> None:
        """Applies `function` to blocks of rows of z, in place.

        `positive` and `negative` are replaced by the coefficients of the result.
        """
        self._to_rows()
        for inverse, block, forward in zip(
            self._along_y_inverse, self._blocks, self._along_y_forward, strict=True
        ):
            inverse()
            function(block)
            forward()
        for execute in self._along_x_forward:
            execute()

    def largest(self, function: Callable[[Complex], float]) -> float:
        """Returns the largest value of `function` over the blocks; nan wins."""
        self._to_rows()
        values = []
        for inverse, block in zip(self._along_y_inverse, self._blocks, strict=True):
            inverse()
            values.append(function(block))
        return float(np.max(values))

    def _to_rows(self) -> None:
        # The row transforms of the previous call have written into these columns.
        self._pruned[...] = 0.0
        for execute in self._along_x_inverse:
            execute()
