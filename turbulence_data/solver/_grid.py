"""The doubly periodic grid, its wavenumbers and its Fourier transforms.

Coefficients are normalized: `field(x) = sum_k field_hat(k) exp(i k.x)`, so they do not
depend on the number of grid points, and Parseval reads
`mean(field^2) = sum_k |field_hat(k)|^2`. Single precision stays single.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy
from numpy.typing import NDArray

from turbulence_data._checks import TWO_PI, as_lengths, as_pair

Field = NDArray[np.float64]
FieldHat = NDArray[np.complex128]


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
        """Multiplicity of a stored coefficient in the full spectrum: 1 or 2.

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
    """Return `1 / values`, and 0 where a value is 0."""
    return np.divide(1.0, values, out=np.zeros_like(values), where=values != 0.0)


def to_spectral(field: Field) -> FieldHat:
    """Return the coefficients of real fields, shape `(..., nx, ny // 2 + 1)`.

    Example:
        >>> x = np.arange(8) * 2 * np.pi / 8
        >>> to_spectral(np.cos(3 * x)[:, None] * np.ones((1, 8)))[3, 0].real.round(12)
        np.float64(0.5)
    """
    hat: FieldHat = scipy.fft.rfft2(field, norm="forward")
    return hat


def to_physical(field_hat: FieldHat, num_points: tuple[int, int]) -> Field:
    """Return real fields of shape `(..., nx, ny)`; the argument is left unchanged."""
    field: Field = scipy.fft.irfft2(field_hat, s=num_points, norm="forward")
    return field


def resample(field: Field, num_points: tuple[int, int]) -> Field:
    """Return the trigonometric interpolant of a field on a grid of other resolution.

    Going to fewer points truncates sharply; see `resize` for the Nyquist wavenumber.
    """
    nx, ny = field.shape[-2:]
    return to_physical(resize(to_spectral(field), (nx, ny), num_points), num_points)


def resize(
    field_hat: FieldHat,
    from_points: tuple[int, int],
    to_points: tuple[int, int],
) -> FieldHat:
    """Move coefficients to another grid: pads with zeros, or truncates sharply.

    Only wavenumbers with `|k| < n / 2` of the smaller grid survive, in each direction:
    the Nyquist wavenumber of an even grid cannot hold a derivative and is set to zero.

    Args:
        field_hat: coefficients on the grid `from_points`.
        from_points: `(nx, ny)` of the argument.
        to_points: `(nx, ny)` of the result.
    """
    kept_x = (min(from_points[0], to_points[0]) - 1) // 2
    kept_y = (min(from_points[1], to_points[1]) - 1) // 2
    shape = (*field_hat.shape[:-2], to_points[0], to_points[1] // 2 + 1)
    resized = np.zeros(shape, field_hat.dtype)
    resized[..., : kept_x + 1, : kept_y + 1] = field_hat[
        ..., : kept_x + 1, : kept_y + 1
    ]
    resized[..., -kept_x:, : kept_y + 1] = field_hat[..., -kept_x:, : kept_y + 1]
    return resized
