"""The pointwise work of the solver in NumPy; `_pointwise_numba` is the fused version.

Every function writes into its output arguments. Both versions do the same
floating-point operations in the same order, so their results are bitwise equal.
"""

from __future__ import annotations

import logging
import sys
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Real = NDArray[np.floating]
Complex = NDArray[np.complexfloating]
# Coefficients as plain real numbers where the linear operator is real, else complex.
Linear = NDArray[Any]
_logger = logging.getLogger(__name__)


@cache
def pointwise_kernels() -> Any:
    """Return the numba kernels if numba is installed, else the NumPy ones.

    Both give bitwise equal results; which are used is logged once.
    """
    try:
        from turbulence_data.solver.fftw import _pointwise_numba
    except ImportError:
        _logger.info("pointwise kernels: NumPy (install numba for the fused ones)")
        return sys.modules[__name__]
    _logger.info("pointwise kernels: numba")
    return _pointwise_numba


def factors_of(tables: Real) -> Real:
    """Return tables in the form of `velocity` and `advection`: one per real number.

    Each factor is repeated, for the real and for the imaginary part, so that
    coefficients are multiplied as real arrays.
    """
    return np.repeat(tables, 2, axis=-1)


def velocity(
    vorticity_hat: Complex, first: int, factors: Real, cutoff: int, pair: Complex
) -> None:
    """Write `u + i v` and `u - i v` of `u = i c vorticity`, `v = -i d vorticity`.

    Args:
        vorticity_hat: the coefficients, of which some columns are read. Their layout
            may have more rows than that of `factors`: resolved ones are at both ends.
        first: the first of these columns; there are as many as in `factors`.
        factors: c = ky / k^2 and d = kx / k^2, made by `factors_of`.
        cutoff: largest resolved mode number along x; rows beyond are not changed.
        pair: coefficients of `u + i v` and of `u - i v`, shape `(2, nx, columns)` or
            wider; further columns are not changed.
    """
    (c, d), width = factors, factors.shape[2] // 2
    for rows in resolved_rows(cutoff):
        columns = vorticity_hat[rows, first : first + width]
        a, b = np.multiply(columns, 1j, order="C"), columns.copy()
        _scale(a, c[rows])
        _scale(b, d[rows])
        np.add(a, b, out=pair[0, rows, :width])
        np.subtract(a, b, out=pair[1, rows, :width])


def pack_rows(pair: Complex, rows: Complex) -> None:
    """Write the coefficients over y of `u + i v` for both signs of ky.

    The coefficient at -ky is the conjugate of that of `u - i v` at ky.

    Args:
        pair: `u + i v` and `u - i v` for ky = 0 ... Ky, shape `(2, rows, Ky + 1)`.
        rows: shape `(rows, ny)`; columns beyond Ky are not changed.
    """
    total, difference = pair
    rows[:, : total.shape[1]] = total
    np.conjugate(difference[:, 1:], out=rows[:, : -total.shape[1] : -1])


def products(z: Complex) -> None:
    """Replace `u + i v` by `(u^2 - v^2) + i u v`, in place."""
    squares = np.square(_numbers(z))
    np.multiply(z.real, z.imag, out=z.imag)
    np.subtract(squares[:, ::2], squares[:, 1::2], out=z.real)


def times_real(z: Complex, field: Real) -> None:
    """Multiply `z` by a real field, in place."""
    z.real *= field
    z.imag *= field


def real_pair(
    a_hat: Complex, b_hat: Complex, first: int, cutoff: int, pair: Complex
) -> None:
    """Write `a + i b` and `a - i b` of the coefficients of two real fields."""
    width = min(pair.shape[2], a_hat.shape[1] - first)
    for rows in resolved_rows(cutoff):
        a, b = (hat[rows, first : first + width] for hat in (a_hat, b_hat))
        target = pair[:, rows, :width]
        target[0].real, target[0].imag = a.real - b.imag, a.imag + b.real
        target[1].real, target[1].imag = a.real + b.imag, a.imag - b.real


def layer_velocity(
    q_hat: Complex,
    matrix: Real,
    wavenumbers: tuple[Real, Real],
    bounds: tuple[int, int, int],
    pair: Complex,
) -> None:
    """Write `u + i v` and `u - i v` of one layer of `psi = a q_1 + b q_2`.

    Args:
        q_hat: coefficients of both layers, shape `(2, nx, Ky + 1)`.
        matrix: a and b of all modes.
        wavenumbers: kx and ky, along one axis each.
        bounds: cutoff of `velocity`, first column and the one after the last.
        pair: as in `velocity`.
    """
    (kx, ky), (cutoff, first, stop) = wavenumbers, bounds
    y = ky[first:stop]
    for rows in resolved_rows(cutoff):
        (a, b), (one, two) = (t[:, rows, first:stop] for t in (matrix, q_hat))
        real, imag = a * one.real + b * two.real, a * one.imag + b * two.imag
        x, target = kx[rows, None], pair[:, rows, : stop - first]
        target[0].real, target[0].imag = x * real - y * imag, x * imag + y * real
        target[1].real, target[1].imag = -(x * real) - y * imag, y * real - x * imag


def layer_products(z1: Complex, z2: Complex, cross: Complex) -> None:
    """Write `v_1 u_2 - u_1 v_2`, and replace each z as `products` does.

    Args:
        z1: velocities `u_1 + i v_1`.
        z2: velocities `u_2 + i v_2`.
        cross: the first half of the rows as its real part, the others as imaginary.
    """
    half = len(cross)
    found = z1.imag * z2.real - z1.real * z2.imag
    cross.real, cross.imag = found[:half], 0.0
    cross.imag[: len(found) - half] = found[half:]
    products(z1)
    products(z2)


def unpack_row_pairs(rows: Complex, lines: Complex) -> None:
    """Write coefficients over y, twice as large, of rows that were packed in pairs.

    Args:
        rows: transforms of the output `cross` of `layer_products`.
        lines: the first columns of all rows.
    """
    half, width = len(rows), lines.shape[1]
    rest = len(lines) - half
    lines[:half, 0], lines[half:, 0] = 2.0 * rows[:, 0].real, 2.0 * rows[:rest, 0].imag
    t, d = rows[:, 1:width], rows[:, : rows.shape[1] - width : -1]
    one, other = lines[:half, 1:], lines[half:, 1:]
    one.real, one.imag = t.real + d.real, t.imag - d.imag
    other.real, other.imag = (t.imag + d.imag)[:rest], (d.real - t.real)[:rest]


def add_exchange(
    cross: tuple[Complex, Real],
    coupled: tuple[Complex, Complex],
    bounds: tuple[int, int, int],
    out: Complex,
) -> None:
    """Add `s c + m q` of a product c and of the other layer's q, in resolved rows.

    Args:
        cross: c of some columns, and s of all.
        coupled: q and m, complex, of all columns.
        bounds: as those of `layer_velocity`.
        out: all columns of one layer.
    """
    (product, stretching), (q_hat, matrix) = cross, coupled
    cutoff, first, stop = bounds
    for rows in resolved_rows(cutoff):
        there = rows, slice(first, stop)
        s, c = stretching[there], product[rows, : stop - first]
        added = _times(matrix[there], q_hat[there])
        added.real += s * c.real
        added.imag += s * c.imag
        out[there] += added


def times_modulus(z: Complex) -> None:
    """Replace `z` by `|z| z`, in place."""
    squares = np.square(_numbers(z))
    modulus = squares[:, ::2] + squares[:, 1::2]
    np.sqrt(modulus, out=modulus)
    z.real *= modulus
    z.imag *= modulus


def unpack_rows(rows: Complex, pair: Complex) -> None:
    """Write coefficients over y of `p + i q` and of `p - i q`, p and q real."""
    total, difference = pair
    total[...] = rows[:, : total.shape[1]]
    np.conjugate(rows[:, 0], out=difference[:, 0])
    np.conjugate(rows[:, : -total.shape[1] : -1], out=difference[:, 1:])


def advection(
    pair: Complex, factors: Real, cutoff: int, first: int, out: Complex
) -> None:
    """Write `2 (a p + b q)`, and zeros in rows beyond the cutoff.

    Args:
        pair: coefficients of `p + i q` and of `p - i q`, shape `(2, nx, columns)` or
            wider.
        factors: a and b, made by `factors_of`; zeros beyond the cutoff.
        cutoff: largest resolved mode number along x.
        first: the first column to be written; there are as many as in `factors`.
        out: the coefficients, of which some columns are written.
    """
    (a, b), width = factors, factors.shape[2] // 2
    total, difference = pair[:, :, :width]
    p, q = total + difference, total - difference
    q *= -1j
    _scale(p, a)
    _scale(q, b)
    np.add(p, q, out=out[:, first : first + width])


def _numbers(array: Complex) -> Real:
    """Return a view with real and imaginary parts side by side."""
    return array.view(array.real.dtype)


def resolved_rows(cutoff: int) -> tuple[slice, slice]:
    """Return the rows of resolved wavenumbers, at both ends of every layout."""
    return slice(0, cutoff + 1), slice(-cutoff, None)


def _scale(array: Complex, factors: Real) -> None:
    numbers = _numbers(array)
    numbers *= factors


def _times(a: Linear, b: Linear) -> Linear:
    """Return `a b` without fused operations, unlike NumPy's complex product."""
    if not np.iscomplexobj(a):
        return a * b
    product = np.empty_like(b)
    product.real = a.real * b.real - a.imag * b.imag
    product.imag = a.real * b.imag + a.imag * b.real
    return product


def rk4_first(
    e: Linear, w: Linear, k: Linear, h: float, state: Linear, total: Linear
) -> None:
    """Write the second stage's state and start the weighted sum."""
    decayed = _times(e, w)
    slope = (h * 0.5) * _times(e, k)
    np.add(decayed, slope, out=state)
    np.add(decayed, slope * (1.0 / 3.0), out=total)
    w[...] = decayed


def rk4_second(w: Linear, k: Linear, h: float, state: Linear, total: Linear) -> None:
    """Write the third stage's state; `w` holds the decayed start value."""
    np.add(w, (h * 0.5) * k, out=state)
    total += (h / 3.0) * k


def rk4_third(
    e: Linear, w: Linear, k: Linear, h: float, state: Linear, total: Linear
) -> None:
    """Write the fourth stage's state, and decay the sum by the second half step."""
    state[...] = _times(e, w + h * k)
    total += (h / 3.0) * k
    total[...] = _times(e, total)


def rk4_last(w: Linear, k: Linear, h: float, total: Linear) -> None:
    """Write the value at the end of the step into `w`."""
    np.add(total, (h / 6.0) * k, out=w)
