"""The doubly periodic grid and its wavenumbers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from turbulence_data._checks import TWO_PI, as_lengths, as_pair


@dataclass(frozen=True)
class Grid:
    """Equidistant points on `[0, Lx) x [0, Ly)`, periodic in both directions.

    Axis 0 of every field is x, axis 1 is y. Spectral arrays have the layout of a real
    transform over y: shape `(nx, ny // 2 + 1)`.

    Attributes:
        num_points: `(nx, ny)`.
        lengths: `(Lx, Ly)`, 2 pi by default, so that wavenumbers are whole numbers.

    Example:
        >>> grid = Grid((8, 6))
        >>> grid.kx.ravel().astype(int).tolist()
        [0, 1, 2, 3, -4, -3, -2, -1]
        >>> grid.ky.ravel().astype(int).tolist()
        [0, 1, 2, 3]
    """

    num_points: tuple[int, int]
    lengths: tuple[float, float] = (TWO_PI, TWO_PI)

    def __post_init__(self) -> None:
        object.__setattr__(self, "num_points", as_pair(self.num_points))
        object.__setattr__(self, "lengths", as_lengths(self.lengths))

    @cached_property
    def spacing(self) -> tuple[float, float]:
        """Grid spacing `(Lx / nx, Ly / ny)`."""
        (nx, ny), (length_x, length_y) = self.num_points, self.lengths
        return length_x / nx, length_y / ny

    @cached_property
    def x(self) -> NDArray[np.float64]:
        """Coordinates along axis 0, shape `(nx, 1)`."""
        return np.asarray(np.arange(self.num_points[0]) * self.spacing[0], np.float64)[
            :, None
        ]

    @cached_property
    def y(self) -> NDArray[np.float64]:
        """Coordinates along axis 1, shape `(1, ny)`."""
        return np.asarray(np.arange(self.num_points[1]) * self.spacing[1], np.float64)[
            None, :
        ]

    @cached_property
    def kx(self) -> NDArray[np.float64]:
        """Wavenumbers along axis 0, shape `(nx, 1)`, both signs."""
        nx = self.num_points[0]
        modes = np.asarray(np.fft.fftfreq(nx, 1.0 / nx), np.float64)
        return (modes * (TWO_PI / self.lengths[0]))[:, None]

    @cached_property
    def ky(self) -> NDArray[np.float64]:
        """Wavenumbers along axis 1, shape `(1, ny // 2 + 1)`, from 0 up."""
        modes = np.arange(self.num_points[1] // 2 + 1, dtype=np.float64)
        return (modes * (TWO_PI / self.lengths[1]))[None, :]

    @cached_property
    def k_squared(self) -> NDArray[np.float64]:
        """`kx^2 + ky^2`, shape `(nx, ny // 2 + 1)`."""
        return self.kx**2 + self.ky**2

    @cached_property
    def inverse_k_squared(self) -> NDArray[np.float64]:
        """`1 / k^2`, and 0 at the mean: the inverse of minus the Laplacian."""
        return inverse_or_zero(self.k_squared)

    @cached_property
    def hermitian_weights(self) -> NDArray[np.float64]:
        """How often a stored coefficient stands in the full spectrum: 1 or 2.

        Shape `(1, ny // 2 + 1)`; with it a sum over stored modes is a sum over all.
        """
        ny = self.num_points[1]
        weights = np.full((1, ny // 2 + 1), 2.0)
        weights[0, 0] = 1.0
        if ny % 2 == 0:
            weights[0, -1] = 1.0
        return weights

    @cached_property
    def shell_width(self) -> float:
        """Width of a spectral shell: the coarser of the two wavenumber spacings."""
        return TWO_PI / min(self.lengths)

    @cached_property
    def shells(self) -> NDArray[np.intp]:
        """Shell number of every mode: n holds `|k| / dk` in `[n - 1/2, n + 1/2)`."""
        scaled = np.sqrt(self.k_squared) / self.shell_width
        # The nudge decides round-off at a shell's lower edge, which belongs to it.
        return np.floor(scaled + (0.5 + 1e-9)).astype(np.intp)


def inverse_or_zero(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns `1 / values`, and 0 where a value is 0."""
    return np.divide(1.0, values, out=np.zeros_like(values), where=values != 0.0)
