"""A closure without its backscatter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from turbulence_data._checks import TWO_PI, as_lengths, as_pair
from turbulence_data.solver._equation import Closure, evaluate
from turbulence_data.solver._grid import Field, Grid, to_physical, to_spectral

Criterion = Callable[[Field, Field, Field, Grid], Any]
"""`(vorticity, streamfunction, sgs_forcing, grid) -> field`, positive if it feeds."""


def negative_eddy_viscosity(
    vorticity: Field, streamfunction: Field, sgs_forcing: Field, grid: Grid
) -> Field:
    """`-sgs_forcing lap(vorticity)`: positive where `Pi / lap(vorticity) < 0`.

    Maulik et al. (2019), doi:10.1017/jfm.2018.770, clip by it.
    """
    laplacian_hat = -grid.k_squared * to_spectral(vorticity)
    return -sgs_forcing * to_physical(laplacian_hat, grid.num_points)


def energy_backscatter(
    vorticity: Field, streamfunction: Field, sgs_forcing: Field, grid: Grid
) -> Field:
    """`streamfunction sgs_forcing`: energy given to the resolved flow at a point."""
    return streamfunction * sgs_forcing


def enstrophy_backscatter(
    vorticity: Field, streamfunction: Field, sgs_forcing: Field, grid: Grid
) -> Field:
    """`vorticity sgs_forcing`: enstrophy given to the resolved flow at a point."""
    return vorticity * sgs_forcing


@dataclass(frozen=True)
class ClippedBackscatter:
    """Sets sgs_forcing to zero wherever it gives back.

    A stabiliser: it buys robustness with a wrong transfer. The mean of the result is
    not zero; the solver drops it.

    Attributes:
        closure: what is clipped.
        criterion: what is positive at points of backscatter.
        lengths: domain size.

    Example:
        >>> import numpy as np
        >>> x = np.arange(8) * 2 * np.pi / 8
        >>> vorticity = np.cos(x)[:, None] * np.ones((1, 8))
        >>> anti_drag = ClippedBackscatter(lambda vorticity, psi: 0.1 * vorticity)
        >>> bool(np.abs(anti_drag(vorticity, vorticity)).max() < 1e-15)
        True
    """

    closure: Closure
    criterion: Criterion = negative_eddy_viscosity
    lengths: tuple[float, float] = (TWO_PI, TWO_PI)

    accepts_batches = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "lengths", as_lengths(self.lengths))

    def __call__(self, vorticity: Field, streamfunction: Field) -> Field:
        """Returns the clipped forcing, shape `(..., nx, ny)`."""
        sgs_forcing = evaluate(self.closure, vorticity, streamfunction)
        grid = Grid(as_pair(vorticity.shape[-2:]), self.lengths)
        back: NDArray[np.bool_] = (
            self.criterion(vorticity, streamfunction, sgs_forcing, grid) > 0.0
        )
        return np.where(back, 0.0, sgs_forcing)
