"""Real Fourier transforms of fields, and changes of resolution.

Coefficients are normalized: `field(x) = sum_k field_hat(k) exp(i k.x)`, so they do not
depend on the number of grid points, and Parseval reads
`mean(field^2) = sum_k |field_hat(k)|^2`. Single precision stays single.
"""

from __future__ import annotations

import numpy as np
import scipy
from numpy.typing import NDArray

Field = NDArray[np.float64]
FieldHat = NDArray[np.complex128]


def to_spectral(field: Field) -> FieldHat:
    """Returns the coefficients of real fields, shape `(..., nx, ny // 2 + 1)`.

    Args:
        field: real array of shape `(..., nx, ny)`.

    Example:
        >>> x = np.arange(8) * 2 * np.pi / 8
        >>> to_spectral(np.cos(3 * x)[:, None] * np.ones((1, 8)))[3, 0].real.round(12)
        np.float64(0.5)
    """
    hat: FieldHat = scipy.fft.rfft2(field, norm="forward")
    return hat


def to_physical(field_hat: FieldHat, num_points: tuple[int, int]) -> Field:
    """Returns real fields of shape `(..., nx, ny)`; the argument is left unchanged.

    Args:
        field_hat: coefficients, shape `(..., nx, ny // 2 + 1)`.
        num_points: `(nx, ny)`; ny cannot be told from the coefficients alone.
    """
    field: Field = scipy.fft.irfft2(field_hat, s=num_points, norm="forward")
    return field


def resample(field: Field, num_points: tuple[int, int]) -> Field:
    """Returns the trigonometric interpolant of a field on a grid of other resolution.

    Going to fewer points truncates sharply; see `resize` for the Nyquist wavenumber.
    """
    nx, ny = field.shape[-2:]
    return to_physical(resize(to_spectral(field), (nx, ny), num_points), num_points)


def resize(
    field_hat: FieldHat,
    from_points: tuple[int, int],
    to_points: tuple[int, int],
) -> FieldHat:
    """Moves coefficients to another grid: pads with zeros, or truncates sharply.

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
