"""The functions of `_pointwise`, compiled by numba with one pass over memory each.

What they do, and their arguments, are described there.

No fast-math: the operations and their order are those of the NumPy version. Indices
that are sums or differences are unsigned: a signed index might be negative, and numba's
test for that prevents vectorization.
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


def factors_of(tables: Real) -> Real:  # one factor per complex number here
    return tables


@_compile
def velocity(
    vorticity_hat: Complex, first: int, factors: Real, cutoff: int, pair: Complex
) -> None:
    _, nx, width = factors.shape
    start, columns = np.uint64(first), np.uint64(width)
    for i in range(nx):
        if i <= cutoff or i >= nx - cutoff:
            row = i if i <= cutoff else i + vorticity_hat.shape[0] - nx
            for j in range(columns):
                w = vorticity_hat[row, start + j]
                real, imag = w.real, w.imag
                c, d = factors[0, i, j], factors[1, i, j]
                pair[0, i, j] = complex(d * real - c * imag, c * real + d * imag)
            for j in range(columns):
                w = vorticity_hat[row, start + j]
                real, imag = w.real, w.imag
                c, d = factors[0, i, j], factors[1, i, j]
                pair[1, i, j] = complex(-(c * imag) - d * real, c * real - d * imag)


@_compile
def pack_rows(pair: Complex, rows: Complex) -> None:
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
    height, width = z.shape
    for i in range(height):
        for j in range(width):
            u, v = z[i, j].real, z[i, j].imag
            z[i, j] = complex(u * u - v * v, u * v)


@_compile
def times_real(z: Complex, field: Real) -> None:
    height, width = z.shape
    for i in range(height):
        for j in range(width):
            z[i, j] = complex(z[i, j].real * field[i, j], z[i, j].imag * field[i, j])


@_compile
def real_pair(
    a_hat: Complex, b_hat: Complex, first: int, cutoff: int, pair: Complex
) -> None:
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
def layer_velocity(
    q_hat: Complex,
    matrix: Real,
    wavenumbers: tuple[Real, Real],
    bounds: tuple[int, int, int],
    pair: Complex,
) -> None:
    kx, ky = wavenumbers
    cutoff, first, stop = bounds
    start, columns, nx = np.uint64(first), np.uint64(stop - first), len(kx)
    for i in range(nx):
        if i <= cutoff or i >= nx - cutoff:
            x = kx[i]
            for j in range(columns):
                a, b = matrix[0, i, start + j], matrix[1, i, start + j]
                one, two = q_hat[0, i, start + j], q_hat[1, i, start + j]
                real, imag = a * one.real + b * two.real, a * one.imag + b * two.imag
                y = ky[start + j]
                pair[0, i, j] = complex(x * real - y * imag, x * imag + y * real)
                pair[1, i, j] = complex(-(x * real) - y * imag, y * real - x * imag)


@_compile
def layer_products(z1: Complex, z2: Complex, cross: Complex) -> None:
    height, width = z1.shape
    half = cross.shape[0]
    for i in range(half):
        for j in range(width):
            cross[i, j] = z1[i, j].imag * z2[i, j].real - z1[i, j].real * z2[i, j].imag
    for i in range(half, height):
        row = np.uint64(i - half)
        for j in range(width):
            c = z1[i, j].imag * z2[i, j].real - z1[i, j].real * z2[i, j].imag
            cross[row, j] = complex(cross[row, j].real, c)
    products(z1)
    products(z2)


@_compile
def unpack_row_pairs(rows: Complex, lines: Complex) -> None:
    height, width = lines.shape
    half, ny = rows.shape
    for i in range(half):
        lines[i, 0] = 2.0 * rows[i, 0].real
    for i in range(half, height):
        lines[i, 0] = 2.0 * rows[np.uint64(i - half), 0].imag
    for j in range(1, width):
        other = np.uint64(ny - j)
        for i in range(half):
            t, d = rows[i, j], rows[i, other]
            lines[i, j] = complex(t.real + d.real, t.imag - d.imag)
        for i in range(half, height):
            row = np.uint64(i - half)
            t, d = rows[row, j], rows[row, other]
            lines[i, j] = complex(t.imag + d.imag, d.real - t.real)


@_compile
def add_exchange(
    cross: tuple[Complex, Real],
    coupled: tuple[Complex, Complex],
    bounds: tuple[int, int, int],
    out: Complex,
) -> None:
    product, stretching = cross
    q_hat, matrix = coupled
    cutoff, first, stop = bounds
    start, columns, nx = np.uint64(first), np.uint64(stop - first), out.shape[0]
    for i in range(nx):
        if i <= cutoff or i >= nx - cutoff:
            for j in range(columns):
                s, c = stretching[i, start + j], product[i, j]
                m, q = matrix[i, start + j], q_hat[i, start + j]
                out[i, start + j] += complex(
                    s * c.real + (m.real * q.real - m.imag * q.imag),
                    s * c.imag + (m.real * q.imag + m.imag * q.real),
                )


@_compile
def times_modulus(z: Complex) -> None:
    height, width = z.shape
    for i in range(height):
        for j in range(width):
            a, b = z[i, j].real, z[i, j].imag
            modulus = np.sqrt(a * a + b * b)
            z[i, j] = complex(a * modulus, b * modulus)


@_compile
def unpack_rows(rows: Complex, pair: Complex) -> None:
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
    # A Python float is float64 in numba; in NumPy it takes the dtype of the array.
    half, third = w.dtype.type(h * 0.5), w.dtype.type(1.0 / 3.0)
    for i in range(w.size):
        decayed = e[i] * w[i]
        slope = half * (e[i] * k[i])
        state[i] = decayed + slope
        total[i] = decayed + slope * third
        w[i] = decayed


@_compile
def rk4_second(w: Linear, k: Linear, h: float, state: Linear, total: Linear) -> None:
    half, third = w.dtype.type(h * 0.5), w.dtype.type(h / 3.0)
    for i in range(w.size):
        state[i] = w[i] + half * k[i]
        total[i] = total[i] + third * k[i]


@_compile
def rk4_third(
    e: Linear, w: Linear, k: Linear, h: float, state: Linear, total: Linear
) -> None:
    whole, third = w.dtype.type(h), w.dtype.type(h / 3.0)
    for i in range(w.size):
        state[i] = e[i] * (w[i] + whole * k[i])
        total[i] = e[i] * (total[i] + third * k[i])


@_compile
def rk4_last(w: Linear, k: Linear, h: float, total: Linear) -> None:
    sixth = w.dtype.type(h / 6.0)
    for i in range(w.size):
        w[i] = total[i] + sixth * k[i]
