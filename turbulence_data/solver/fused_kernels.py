"""The functions of `kernels`, each one pass over memory, compiled by numba.

No fast-math: the operations and their order are those of the NumPy version.
"""

from __future__ import annotations

import numba

from turbulence_data.solver.kernels import Complex, Linear, Real

_compile = numba.njit(cache=True, nogil=True)


@_compile
def velocity(
    vorticity_hat: Complex, ky_over_k2: Real, kx_over_k2: Real, u: Complex, v: Complex
) -> None:
    """Writes `u = i ky / k^2 vorticity` and `v = -i kx / k^2 vorticity`."""
    rows, columns = vorticity_hat.shape
    for i in range(rows):
        for j in range(columns):
            real, imag = vorticity_hat[i, j].real, vorticity_hat[i, j].imag
            u[i, j] = complex(-(ky_over_k2[i, j] * imag), ky_over_k2[i, j] * real)
            v[i, j] = complex(kx_over_k2[i, j] * imag, -(kx_over_k2[i, j] * real))


@_compile
def velocity_products(u: Real, v: Real) -> None:
    """Replaces `(u, v)` by `(u v, v^2 - u^2)`, in place."""
    rows, columns = u.shape
    for i in range(rows):
        for j in range(columns):
            a, b = u[i, j], v[i, j]
            u[i, j] = a * b
            v[i, j] = b * b - a * a


@_compile
def advection(
    product_hat: Complex, difference_hat: Complex, a: Real, b: Real, out: Complex
) -> None:
    """Writes `out = a F[u v] + b F[v^2 - u^2]`, which is `-J`."""
    rows, columns = out.shape
    for i in range(rows):
        for j in range(columns):
            p, q = product_hat[i, j], difference_hat[i, j]
            out[i, j] = complex(
                a[i, j] * p.real + b[i, j] * q.real,
                a[i, j] * p.imag + b[i, j] * q.imag,
            )


@_compile
def packed_velocity(
    vorticity_hat: Complex,
    ky_over_k2: Real,
    kx_over_k2: Real,
    positive: Complex,
    negative: Complex,
) -> None:
    """Writes the coefficients of `u + i v` for ky >= 0 and for ky < 0."""
    rows, columns = vorticity_hat.shape
    for i in range(rows):
        opposite = rows - i if i > 0 else 0
        for j in range(columns):
            real, imag = vorticity_hat[i, j].real, vorticity_hat[i, j].imag
            c, d = ky_over_k2[i, j], kx_over_k2[i, j]
            positive[i, j] = complex(d * real - c * imag, c * real + d * imag)
        for j in range(1, columns):
            real, imag = vorticity_hat[i, j].real, vorticity_hat[i, j].imag
            c, d = ky_over_k2[i, j], kx_over_k2[i, j]
            negative[opposite, columns - 1 - j] = complex(
                -(d * real + c * imag), d * imag - c * real
            )


@_compile
def square(z: Complex) -> None:
    """Replaces z by its square, in place."""
    rows, columns = z.shape
    for i in range(rows):
        for j in range(columns):
            real, imag = z[i, j].real, z[i, j].imag
            z[i, j] = complex(real * real - imag * imag, 2.0 * (real * imag))


@_compile
def packed_advection(
    positive: Complex, negative: Complex, quarter: Real, half: Real, out: Complex
) -> None:
    """Writes `out = a F[u v] + b F[v^2 - u^2]` from coefficients of `(u + i v)^2`."""
    rows, columns = out.shape
    for i in range(rows):
        opposite = rows - i if i > 0 else 0
        for j in range(columns):
            w = positive[i, j]
            m = negative[opposite, columns - 1 - j] if j > 0 else positive[opposite, 0]
            a, b = quarter[i, j], half[i, j]
            out[i, j] = complex(
                a * (w.imag + m.imag) - b * (w.real + m.real),
                a * (m.real - w.real) - b * (w.imag - m.imag),
            )


@_compile
def rk4_first(
    e: Linear, w: Linear, k: Linear, h: float, state: Linear, total: Linear
) -> None:
    """Writes the second stage's state and starts the weighted sum."""
    for i in range(w.size):
        decayed = e[i] * w[i]
        slope = (h * 0.5) * (e[i] * k[i])
        state[i] = decayed + slope
        total[i] = decayed + slope * (1.0 / 3.0)
        w[i] = decayed


@_compile
def rk4_second(w: Linear, k: Linear, h: float, state: Linear, total: Linear) -> None:
    """Writes the third stage's state; `w` holds the decayed start value."""
    for i in range(w.size):
        state[i] = w[i] + (h * 0.5) * k[i]
        total[i] = total[i] + (h / 3.0) * k[i]


@_compile
def rk4_third(
    e: Linear, w: Linear, k: Linear, h: float, state: Linear, total: Linear
) -> None:
    """Writes the fourth stage's state, and decays the sum by the second half step."""
    for i in range(w.size):
        state[i] = e[i] * (w[i] + h * k[i])
        total[i] = e[i] * (total[i] + (h / 3.0) * k[i])


@_compile
def rk4_last(w: Linear, k: Linear, h: float, total: Linear) -> None:
    """Writes the value at the end of the step into `w`."""
    for i in range(w.size):
        w[i] = total[i] + (h / 6.0) * k[i]
