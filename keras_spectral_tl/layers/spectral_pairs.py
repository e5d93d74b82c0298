"""Complex coefficients as pairs of real tensors, and their transforms, in float32.

Fields are real tensors (batch, nx, ny); coefficients are pairs `(real, imaginary)` of
the full plane, normalized: `field = sum_k field_hat exp(i k.x)`.
"""

from typing import Any

import numpy as np
from keras import ops
from numpy.typing import NDArray

Tensor = Any
Pair = tuple[Tensor, Tensor]
Table = NDArray[np.complex128]


def to_spectral(field: Tensor) -> Pair:
    """Coefficients of real fields."""
    nx, ny = (int(size) for size in field.shape[-2:])
    real, imag = ops.fft2((field, ops.zeros_like(field)))
    return real / float(nx * ny), imag / float(nx * ny)


def to_physical_two(first: Pair, second: Pair) -> Pair:
    """Two real fields by one transform, of `first + i second`."""
    nx, ny = (int(size) for size in first[0].shape[-2:])
    (a, b), (c, d) = first, second
    real, imag = ops.ifft2((a - d, b + c))
    return real * float(nx * ny), imag * float(nx * ny)


def constant(table: Table) -> Pair:
    """Constant coefficients: NumPy deprecates torch's arithmetic with its arrays."""
    real, imag = (
        ops.convert_to_tensor(part, "float32") for part in (table.real, table.imag)
    )
    return real, imag


def times(pair: Pair, table: Table) -> Pair:
    """The product with constant coefficients; real and imaginary tables cost less."""
    a, b = pair
    real, imag = constant(table)
    if not table.imag.any():
        return a * real, b * real
    if not table.real.any():
        return -b * imag, a * imag
    return a * real - b * imag, a * imag + b * real


def plus(*pairs: Pair) -> Pair:
    """The sum."""
    real, imag = pairs[0]
    for a, b in pairs[1:]:
        real, imag = real + a, imag + b
    return real, imag


def scaled(pair: Pair, factor: float) -> Pair:
    """The product with a number."""
    return pair[0] * factor, pair[1] * factor


def padded(pair: Pair, points: tuple[int, int]) -> Pair:
    """Moves coefficients to more points; Nyquist wavenumbers are dropped."""
    real, imag = (_padded(_padded(part, 1, points[0]), 2, points[1]) for part in pair)
    return real, imag


def truncated(pair: Pair, points: tuple[int, int]) -> Pair:
    """Moves coefficients to fewer points; Nyquist wavenumbers become zero."""
    real, imag = (_cut(_cut(part, 1, points[0]), 2, points[1]) for part in pair)
    return real, imag


def _padded(part: Tensor, axis: int, size: int) -> Tensor:
    kept = (int(part.shape[axis]) - 1) // 2
    low, high = _ends(part, axis, kept)
    return _joined(low, high, axis, size - 2 * kept - 1)


def _cut(part: Tensor, axis: int, size: int) -> Tensor:
    kept = (size - 1) // 2
    low, high = _ends(part, axis, kept)
    return _joined(low, high, axis, size - 2 * kept - 1)


def _ends(part: Tensor, axis: int, kept: int) -> Pair:
    whole = slice(None)
    low = [whole, whole, whole]
    high = [whole, whole, whole]
    low[axis] = slice(0, kept + 1)
    high[axis] = slice(int(part.shape[axis]) - kept, None)
    return part[tuple(low)], part[tuple(high)]


def _joined(low: Tensor, high: Tensor, axis: int, gap: int) -> Tensor:
    shape = [1, 1, 1]
    shape[axis] = gap
    middle = ops.zeros_like(ops.take(low, [0], axis=axis)) * ops.zeros(shape, "float32")
    return ops.concatenate([low, middle, high] if gap else [low, high], axis=axis)
