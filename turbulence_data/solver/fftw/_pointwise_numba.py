"""The functions of `_pointwise`, each one pass over memory, compiled by numba.

No fast-math: the operations and their order are those of the NumPy version. Indices
that are sums or differences are unsigned: a signed one might count from the end, and
numba's test for that keeps the compiler from doing several numbers at once.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

Real = NDArray[np.floating]
Complex = NDArray[np.complexfloating]
Linear = NDArray[Any]

_compile = numba.njit(cache=True, nogil=True)


def factors_of(tables: Real) -> Real:
    """Return tables in the form that `velocity` and `advection` take: as they are."""
    return tables


@_compile
def velocity(
    vorticity_hat: Complex, first: int, factors: Real, cutoff: int, pair: Complex
) -> None:
    """Write `u + i v` and `u - i v` of `u = i c vorticity`, `v = -i d vorticity`."""
    _, nx, width = factors.shape
    start, columns = np.uint64(first), np.uint64(width)
    for i in range(nx):
        if i <= cutoff or i >= nx - cutoff:
            row = i if i <= cutoff else i + vorticity_hat.shape[0] - nx
            for j in range(columns):
                real, imag = (
                    vorticity_hat[row, start + j].real,
                    vorticity_hat[row, start + j].imag,
                )
                c, d = factors[0, i, j], factors[1, i, j]
                pair[0, i, j] = complex(d * real - c * imag, c * real + d * imag)
            for j in range(columns):
                real, imag = (
                    vorticity_hat[row, start + j].real,
                    vorticity_hat[row, start + j].imag,
                )
                c, d = factors[0, i, j], factors[1, i, j]
                pair[1, i, j] = complex(-(c * imag) - d * real, c * real - d * imag)


@_compile
def strain(
    vorticity_hat: Complex, first: int, factors: Real, cutoff: int, pair: Complex
) -> None:
    """Write `a + i b` and `a - i b` of `a = c vorticity`, `b = d vorticity`."""
    _, nx, width = factors.shape
    start, columns = np.uint64(first), np.uint64(width)
    for i in range(nx):
        if i <= cutoff or i >= nx - cutoff:
            row = i if i <= cutoff else i + vorticity_hat.shape[0] - nx
            for j in range(columns):
                real, imag = (
                    vorticity_hat[row, start + j].real,
                    vorticity_hat[row, start + j].imag,
                )
                c, d = factors[0, i, j], factors[1, i, j]
                pair[0, i, j] = complex(c * real - d * imag, c * imag + d * real)
            for j in range(columns):
                real, imag = (
                    vorticity_hat[row, start + j].real,
                    vorticity_hat[row, start + j].imag,
                )
                c, d = factors[0, i, j], factors[1, i, j]
                pair[1, i, j] = complex(c * real + d * imag, c * imag - d * real)


@_compile
def pack_rows(pair: Complex, rows: Complex) -> None:
    """Write the coefficients over y of `u + i v` for both signs of ky."""
    _, height, width = pair.shape
    ny, columns = np.uint64(rows.shape[1]), np.uint64(width)
    for i in range(height):
        rows[i, 0] = pair[0, i, 0]
    # Columns outside: lines of `pair` are contiguous along its rows.
    for j in range(np.uint64(1), columns):
        for i in range(height):
            rows[i, j] = pair[0, i, j]
        for i in range(height):
            rows[i, ny - j] = complex(pair[1, i, j].real, -pair[1, i, j].imag)


@_compile
def products(z: Complex) -> None:
    """Replace `u + i v` by `(u^2 - v^2) + i u v`, in place."""
    height, width = z.shape
    for i in range(height):
        for j in range(width):
            u, v = z[i, j].real, z[i, j].imag
            z[i, j] = complex(u * u - v * v, u * v)


@_compile
def times_real(z: Complex, field: Real) -> None:
    """Multiply `z` by a real field, in place."""
    height, width = z.shape
    for i in range(height):
        for j in range(width):
            z[i, j] = complex(z[i, j].real * field[i, j], z[i, j].imag * field[i, j])


@_compile
def real_pair(
    a_hat: Complex, b_hat: Complex, first: int, cutoff: int, pair: Complex
) -> None:
    """Write `a + i b` and `a - i b` of the coefficients of two real fields."""
    _, nx, width = pair.shape
    start, columns = np.uint64(first), np.uint64(width)
    for i in range(nx):
        if i <= cutoff or i >= nx - cutoff:
            for j in range(columns):
                a, b = a_hat[i, start + j], b_hat[i, start + j]
                pair[0, i, j] = complex(a.real - b.imag, a.imag + b.real)
            for j in range(columns):
                a, b = a_hat[i, start + j], b_hat[i, start + j]
                pair[1, i, j] = complex(a.real + b.imag, a.imag - b.real)


@_compile
def divergence(
    pair: Complex, factors: Real, cutoff: int, first: int, out: Complex
) -> None:
    """Write `out = 2 i (a p + b q)`, and zeros in rows beyond the cutoff."""
    _, nx, width = factors.shape
    start, columns = np.uint64(first), np.uint64(width)
    for i in range(nx):
        if i <= cutoff or i >= nx - cutoff:
            for j in range(columns):
                t, d = pair[0, i, j], pair[1, i, j]
                a, b = factors[0, i, j], factors[1, i, j]
                out[i, start + j] = complex(
                    -(a * (t.imag + d.imag) + b * (d.real - t.real)),
                    a * (t.real + d.real) + b * (t.imag - d.imag),
                )
        else:
            for j in range(columns):
                out[i, start + j] = 0.0


@_compile
def times_modulus(z: Complex) -> None:
    """Replace `z` by `|z| z`, in place."""
    height, width = z.shape
    for i in range(height):
        for j in range(width):
            a, b = z[i, j].real, z[i, j].imag
            modulus = np.sqrt(a * a + b * b)
            z[i, j] = complex(a * modulus, b * modulus)


@_compile
def unpack_rows(rows: Complex, pair: Complex) -> None:
    """Write coefficients over y of `p + i q` and of `p - i q`, p and q real."""
    _, height, width = pair.shape
    ny, columns = np.uint64(rows.shape[1]), np.uint64(width)
    for i in range(height):
        pair[0, i, 0] = rows[i, 0]
        pair[1, i, 0] = complex(rows[i, 0].real, -rows[i, 0].imag)
    for j in range(np.uint64(1), columns):
        for i in range(height):
            pair[0, i, j] = rows[i, j]
        for i in range(height):
            pair[1, i, j] = complex(rows[i, ny - j].real, -rows[i, ny - j].imag)


@_compile
def advection(
    pair: Complex, factors: Real, cutoff: int, first: int, out: Complex
) -> None:
    """Write `out = 2 (a p + b q)`, and zeros in rows beyond the cutoff."""
    _, nx, width = factors.shape
    start, columns = np.uint64(first), np.uint64(width)
    for i in range(nx):
        if i <= cutoff or i >= nx - cutoff:
            for j in range(columns):
                t, d = pair[0, i, j], pair[1, i, j]
                a, b = factors[0, i, j], factors[1, i, j]
                out[i, start + j] = complex(
                    a * (t.real + d.real) + b * (t.imag - d.imag),
                    a * (t.imag + d.imag) + b * (d.real - t.real),
                )
        else:
            for j in range(columns):
                out[i, start + j] = 0.0


@_compile
def rk4_first(
    e: Linear, w: Linear, k: Linear, h: float, state: Linear, total: Linear
) -> None:
    """Write the second stage's state and starts the weighted sum."""
    # A Python float is float64 to numba; NumPy lets it follow the array.
    half, third = w.dtype.type(h * 0.5), w.dtype.type(1.0 / 3.0)
    for i in range(w.size):
        decayed = e[i] * w[i]
        slope = half * (e[i] * k[i])
        state[i] = decayed + slope
        total[i] = decayed + slope * third
        w[i] = decayed


@_compile
def rk4_second(w: Linear, k: Linear, h: float, state: Linear, total: Linear) -> None:
    """Write the third stage's state; `w` holds the decayed start value."""
    half, third = w.dtype.type(h * 0.5), w.dtype.type(h / 3.0)
    for i in range(w.size):
        state[i] = w[i] + half * k[i]
        total[i] = total[i] + third * k[i]


@_compile
def rk4_third(
    e: Linear, w: Linear, k: Linear, h: float, state: Linear, total: Linear
) -> None:
    """Write the fourth stage's state, and decays the sum by the second half step."""
    whole, third = w.dtype.type(h), w.dtype.type(h / 3.0)
    for i in range(w.size):
        state[i] = e[i] * (w[i] + whole * k[i])
        total[i] = e[i] * (total[i] + third * k[i])


@_compile
def rk4_last(w: Linear, k: Linear, h: float, total: Linear) -> None:
    """Write the value at the end of the step into `w`."""
    sixth = w.dtype.type(h / 6.0)
    for i in range(w.size):
        w[i] = total[i] + sixth * k[i]
