"""The four transforms of one right-hand side, as cheap as FFTW allows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyfftw
from numpy.typing import NDArray

from turbulence_data.solver.fft_plans import ROW_PADDING, Planner, row_blocks
from turbulence_data.solver.modes import Modes
from turbulence_data.solver.transforms import FieldHat


class PairTransform:
    """Takes two spectral fields to physical space, changes them there, and back.

    Only columns that hold resolved modes are transformed along x, and the transforms
    along y run in blocks of rows that stay in cache while the pointwise function works
    on them. Coefficients come back unnormalised: divide by `nx ny`.

    Plans are made with FFTW_ESTIMATE by default: a measured plan may change from run to
    run, and with it the last bits, which turbulence amplifies.

    Attributes:
        inputs: two coefficient arrays of the modes' shape, to be filled before `apply`.
        outputs: two arrays for the result; the same memory as `inputs`.
    """

    def __init__(
        self, modes: Modes, planner: str = "FFTW_ESTIMATE", threads: int = 1
    ) -> None:
        nx, ny = modes.quadrature.num_points
        columns, half = modes.shape[1], ny // 2 + 1
        self.inputs = [_aligned(modes.shape) for _ in range(2)]
        self.outputs = self.inputs
        self._stages = [_aligned((nx, half + ROW_PADDING))[:, :half] for _ in range(2)]
        self._pruned = [stage[:, columns:] for stage in self._stages]
        spans = row_blocks(nx, 8 * ny)
        # One buffer serves every full block; a shorter last block is a view of it.
        block = [
            pyfftw.empty_aligned((spans[0].stop, ny + 2 * ROW_PADDING))[:, :ny]
            for _ in range(2)
        ]
        self._blocks = [
            (block[0][: span.stop - span.start], block[1][: span.stop - span.start])
            for span in spans
        ]
        plan = Planner((planner, "FFTW_DESTROY_INPUT"), threads)
        pairs = list(zip(self.inputs, self._stages, strict=True))
        self._along_x_inverse = [
            plan(hat, stage[:, :columns], 0, "BACKWARD") for hat, stage in pairs
        ]
        self._along_x_forward = [
            plan(stage[:, :columns], hat, 0, "FORWARD") for hat, stage in pairs
        ]
        blocks = [
            list(zip((stage[span] for stage in self._stages), pair, strict=True))
            for span, pair in zip(spans, self._blocks, strict=True)
        ]
        self._along_y_inverse = [
            [plan(hat, rows_, 1, "BACKWARD") for hat, rows_ in pair] for pair in blocks
        ]
        self._along_y_forward = [
            [plan(rows_, hat, 1, "FORWARD") for hat, rows_ in pair] for pair in blocks
        ]
        for array in (*self.inputs, *self._stages):
            array[...] = 0.0

    def apply(
        self, function: Callable[[NDArray[np.floating], NDArray[np.floating]], None]
    ) -> list[FieldHat]:
        """Applies `function` to the two physical fields, in place; returns `outputs`.

        The contents of `inputs` are lost.
        """
        self._to_rows()
        for inverse, (first, second), forward in zip(
            self._along_y_inverse, self._blocks, self._along_y_forward, strict=True
        ):
            inverse[0]()
            inverse[1]()
            function(first, second)
            forward[0]()
            forward[1]()
        for execute in self._along_x_forward:
            execute()
        return self.outputs

    def reduce(
        self, function: Callable[[NDArray[np.floating], NDArray[np.floating]], float]
    ) -> float:
        """Returns the largest value of `function` over the blocks of rows."""
        self._to_rows()
        largest = -np.inf
        for inverse, (first, second) in zip(
            self._along_y_inverse, self._blocks, strict=True
        ):
            inverse[0]()
            inverse[1]()
            # Not max(): NaN must win.
            largest = np.maximum(largest, function(first, second))
        return float(largest)

    def _to_rows(self) -> None:
        # The row transforms of the previous call have written into these columns.
        for pruned in self._pruned:
            pruned[...] = 0.0
        for execute in self._along_x_inverse:
            execute()


def _aligned(shape: tuple[int, int]) -> FieldHat:
    array: FieldHat = pyfftw.zeros_aligned(shape, dtype="complex128")
    return array
