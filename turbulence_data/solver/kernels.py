"""The pointwise work of the solver, in NumPy; `fused_kernels` does the same with numba.

Every function writes into its output arguments. Both versions do the same floating
point operations in the same order, so they give the same bits.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]
# Coefficients as plain real numbers where the linear operator is real, else complex.
Linear = NDArray[Any]


def velocity(
    vorticity_hat: Complex, ky_over_k2: Real, kx_over_k2: Real, u: Complex, v: Complex
) -> None:
    """Writes `u = i ky / k^2 vorticity` and `v = -i kx / k^2 vorticity`."""
    real, imag = vorticity_hat.real, vorticity_hat.imag
    np.multiply(ky_over_k2, imag, out=u.real)
    np.negative(u.real, out=u.real)
    np.multiply(ky_over_k2, real, out=u.imag)
    np.multiply(kx_over_k2, imag, out=v.real)
    np.multiply(kx_over_k2, real, out=v.imag)
    np.negative(v.imag, out=v.imag)


def velocity_products(u: Real, v: Real) -> None:
    """Replaces `(u, v)` by `(u v, v^2 - u^2)`, in place."""
    product = u * v
    np.subtract(v * v, u * u, out=v)
    u[...] = product


def advection(
    product_hat: Complex, difference_hat: Complex, a: Real, b: Real, out: Complex
) -> None:
    """Writes `out = a F[u v] + b F[v^2 - u^2]`, which is `-J`."""
    for part in ("real", "imag"):
        target = getattr(out, part)
        np.multiply(a, getattr(product_hat, part), out=target)
        target += b * getattr(difference_hat, part)


def packed_velocity(
    vorticity_hat: Complex,
    ky_over_k2: Real,
    kx_over_k2: Real,
    positive: Complex,
    negative: Complex,
) -> None:
    """Writes the coefficients of `u + i v` for ky >= 0 and for ky < 0.

    With `u = i c w`, `v = -i d w`, `c = ky / k^2`, `d = kx / k^2`, the coefficient at k
    is `u + i v` and that at -k is `conj(u - i v)`.
    """
    real, imag = vorticity_hat.real, vorticity_hat.imag
    positive.real = kx_over_k2 * real - ky_over_k2 * imag
    positive.imag = ky_over_k2 * real + kx_over_k2 * imag
    # Column j > 0 belongs to column -j, row i to row -i: reversed, row 0 in place.
    mirrored = negative[:, ::-1]
    from_real = -(kx_over_k2 * real + ky_over_k2 * imag)
    from_imag = kx_over_k2 * imag - ky_over_k2 * real
    mirrored[0].real, mirrored[0].imag = from_real[0, 1:], from_imag[0, 1:]
    mirrored[1:].real = from_real[:0:-1, 1:]
    mirrored[1:].imag = from_imag[:0:-1, 1:]


def square(z: Complex) -> None:
    """Replaces z by its square, in place."""
    real = z.real * z.real - z.imag * z.imag
    z.imag = 2.0 * (z.real * z.imag)
    z.real = real


def packed_advection(
    positive: Complex, negative: Complex, quarter: Real, half: Real, out: Complex
) -> None:
    """Writes `out = a F[u v] + b F[v^2 - u^2]` from coefficients of `(u + i v)^2`.

    With W at k and M at -k, `F[u^2 - v^2] = (W + conj M) / 2` and
    `F[u v] = (W - conj M) / 4i`; `quarter = a / 4`, `half = b / 2`.
    """
    mirror = np.empty_like(positive)
    mirror[0, 0], mirror[1:, 0] = positive[0, 0], positive[:0:-1, 0]
    mirror[0, 1:], mirror[1:, 1:] = negative[0, ::-1], negative[:0:-1, ::-1]
    w, m = positive, mirror
    out.real = quarter * (w.imag + m.imag) - half * (w.real + m.real)
    out.imag = quarter * (m.real - w.real) - half * (w.imag - m.imag)


def _times(a: Linear, b: Linear) -> Linear:
    """Returns `a b`; NumPy's own complex product may fuse operations, numba's not."""
    if not np.iscomplexobj(a):
        return a * b
    product = np.empty_like(b)
    product.real = a.real * b.real - a.imag * b.imag
    product.imag = a.real * b.imag + a.imag * b.real
    return product


def rk4_first(
    e: Linear, w: Linear, k: Linear, h: float, state: Linear, total: Linear
) -> None:
    """Writes the second stage's state and starts the weighted sum."""
    decayed = _times(e, w)
    slope = (h * 0.5) * _times(e, k)
    np.add(decayed, slope, out=state)
    np.add(decayed, slope * (1.0 / 3.0), out=total)
    w[...] = decayed


def rk4_second(w: Linear, k: Linear, h: float, state: Linear, total: Linear) -> None:
    """Writes the third stage's state; `w` holds the decayed start value."""
    np.add(w, (h * 0.5) * k, out=state)
    total += (h / 3.0) * k


def rk4_third(
    e: Linear, w: Linear, k: Linear, h: float, state: Linear, total: Linear
) -> None:
    """Writes the fourth stage's state, and decays the sum by the second half step."""
    state[...] = _times(e, w + h * k)
    total += (h / 3.0) * k
    total[...] = _times(e, total)


def rk4_last(w: Linear, k: Linear, h: float, total: Linear) -> None:
    """Writes the value at the end of the step into `w`."""
    np.add(total, (h / 6.0) * k, out=w)
