"""A closure whose small scales are filtered away."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from turbulence_data._checks import TWO_PI, as_lengths, as_pair, check_positive
from turbulence_data.solver._equation import Closure, evaluate
from turbulence_data.solver._grid import Field, Grid, to_physical, to_spectral


@dataclass(frozen=True)
class SpectralFilter:
    """Multiplies sgs_forcing by `exp(-log(2) (|k| / k_c)^order)`, k_c = cutoff k_max.

    Networks are least reliable near the Nyquist wavenumber k_max, where a small error
    grows fastest.

    Attributes:
        closure: what is filtered.
        cutoff: where the response is 1/2, as a part of the Nyquist wavenumber.
        order: steepness.
        lengths: domain size.

    Raises:
        ValueError: for a cutoff or order that is not positive.

    Example:
        >>> x = np.arange(16) * 2 * np.pi / 16
        >>> wave = np.cos(4 * x)[:, None] * np.ones((1, 16))  # 4 is half of k_max
        >>> filtered = SpectralFilter(lambda vorticity, psi: vorticity, cutoff=0.5)
        >>> bool(np.allclose(filtered(wave, wave), 0.5 * wave))
        True
    """

    closure: Closure
    cutoff: float = 2.0 / 3.0
    order: float = 8.0
    lengths: tuple[float, float] = (TWO_PI, TWO_PI)

    accepts_batches = True

    def __post_init__(self) -> None:
        check_positive("cutoff", self.cutoff)
        check_positive("order", self.order)
        object.__setattr__(self, "lengths", as_lengths(self.lengths))

    def __call__(self, vorticity: Field, streamfunction: Field) -> Field:
        """Returns the filtered forcing, shape `(..., nx, ny)`."""
        hat = to_spectral(evaluate(self.closure, vorticity, streamfunction))
        points = as_pair(vorticity.shape[-2:])
        return to_physical(
            hat * _response(points, self.lengths, self.cutoff, self.order), points
        )


@lru_cache(maxsize=16)
def _response(
    points: tuple[int, int], lengths: tuple[float, float], cutoff: float, order: float
) -> NDArray[np.float64]:
    grid = Grid(points, lengths)
    scaled = np.sqrt(grid.k_squared) * (max(grid.spacing) / (math.pi * cutoff))
    response: NDArray[np.float64] = np.exp(-math.log(2.0) * scaled**order)
    return response
