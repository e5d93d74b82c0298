"""Time stepping schemes: functions `(equation, time_step) -> step`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from turbulence_data.solver._grid import FieldHat
from turbulence_data.solver.fftw._pointwise import pointwise_kernels

RK4_IMAGINARY_LIMIT = 2.0 * math.sqrt(2.0)
"""End of the stability region of the classical RK4 on the imaginary axis."""


class Tendency(Protocol):
    """The right-hand side of `dw/dt = L w + N(w, t)`, such as `RightHandSide`.

    The precision of L is that of the whole computation.
    """

    @property
    def linear_operator(self) -> NDArray[np.inexact]:
        """The diagonal L, real or complex."""

    def nonlinear_terms(
        self, vorticity_hat: FieldHat, time: float, out: FieldHat
    ) -> None:
        """Write N(w, t) into `out`, leaving the argument unchanged."""


Step = Callable[[FieldHat, float], None]
"""`step(vorticity_hat, time)` advances the coefficients in place by one time step."""

Scheme = Callable[[Tendency, float], Step]
"""`(equation, time_step) -> step`; stable up to `RK4_IMAGINARY_LIMIT`."""


def integrating_factor_rk4(equation: Tendency, time_step: float) -> Step:
    """Classical Runge-Kutta of order four on `exp(-L t) w`: L is solved exactly.

    It takes four evaluations of the nonlinear terms per step, and is stable for
    advection frequencies up to 2 sqrt(2) / time_step, for any viscosity. See Cox &
    Matthews (2002, doi:10.1006/jcph.2002.6995) on integrating factors.
    """
    fused = pointwise_kernels()
    operator = equation.linear_operator
    (half,) = rk4_factors(operator, time_step)
    slope = _coefficients_like(operator)
    state, total = np.empty_like(slope), np.empty_like(slope)
    # Real factors act equally on real and imaginary parts: work on plain real arrays.
    real = not np.iscomplexobj(half)
    factor = np.repeat(half, 2, axis=-1).ravel() if real else half.ravel()

    def flat(array: FieldHat) -> NDArray[np.inexact]:
        values = array.reshape(-1)
        return values.view(half.dtype) if real else values

    flat_slope, flat_state, flat_total = flat(slope), flat(state), flat(total)

    def step(vorticity_hat: FieldHat, time: float) -> None:
        w, middle = flat(vorticity_hat), time + 0.5 * time_step
        equation.nonlinear_terms(vorticity_hat, time, slope)
        fused.rk4_first(factor, w, flat_slope, time_step, flat_state, flat_total)
        equation.nonlinear_terms(state, middle, slope)
        fused.rk4_second(w, flat_slope, time_step, flat_state, flat_total)
        equation.nonlinear_terms(state, middle, slope)
        fused.rk4_third(factor, w, flat_slope, time_step, flat_state, flat_total)
        equation.nonlinear_terms(state, time + time_step, slope)
        fused.rk4_last(w, flat_slope, time_step, flat_total)

    return step


def etdrk4(equation: Tendency, time_step: float) -> Step:
    """Exponential time differencing of order four (ETDRK4).

    An integrating factor treats a slow forcing of a fast linear mode as a fast change;
    this scheme keeps its steady state exactly. It takes the same four evaluations per
    step and some more pointwise work. Cox & Matthews (2002,
    doi:10.1006/jcph.2002.6995), with coefficients by contour integrals as by Kassam &
    Trefethen (2005, doi:10.1137/S1064827502410633).
    """
    operator = equation.linear_operator
    full, half, q, f1, f2, f3 = etdrk4_factors(operator, time_step)
    at_start = _coefficients_like(operator)
    at_a, at_b, at_c = (np.empty_like(at_start) for _ in range(3))

    def step(vorticity_hat: FieldHat, time: float) -> None:
        middle = time + 0.5 * time_step
        equation.nonlinear_terms(vorticity_hat, time, at_start)
        decayed = half * vorticity_hat
        a = decayed + q * at_start
        equation.nonlinear_terms(a, middle, at_a)
        b = decayed + q * at_a
        equation.nonlinear_terms(b, middle, at_b)
        c = half * a + q * (2.0 * at_b - at_start)
        equation.nonlinear_terms(c, time + time_step, at_c)
        vorticity_hat *= full
        vorticity_hat += f1 * at_start + f2 * (at_a + at_b) + f3 * at_c

    return step


def _coefficients_like(operator: NDArray[np.inexact]) -> FieldHat:
    return np.empty(operator.shape, np.result_type(operator.dtype, np.complex64))


# Factors are computed in double precision, and rounded once to that of the operator.
_CONTOUR_POINTS = 32
Factors = tuple[NDArray[Any], ...]


def rk4_factors(operator: NDArray[np.inexact], time_step: float) -> Factors:
    """Return `exp(L h / 2)`."""
    half = np.exp(_in_double(operator) * (0.5 * time_step))
    return (half.astype(operator.dtype),)


def etdrk4_factors(operator: NDArray[np.inexact], time_step: float) -> Factors:
    """Return `exp(L h)`, `exp(L h / 2)` and the weights of the stages q, f1, f2, f3."""
    scaled = _in_double(operator) * time_step
    if np.iscomplexobj(scaled):
        weights = _stage_weights(scaled)
    else:
        # Modes of equal modulus have equal weights, so compute each value once.
        values, where = np.unique(scaled, return_inverse=True)
        weights = [w[where].reshape(scaled.shape) for w in _stage_weights(values)]
    factors = np.exp(scaled), np.exp(0.5 * scaled), *(time_step * w for w in weights)
    return tuple(values.astype(operator.dtype) for values in factors)


def _in_double(operator: NDArray[np.inexact]) -> NDArray[np.inexact]:
    return operator.astype(np.result_type(operator.dtype, np.float64))


def _stage_weights(scaled: NDArray[np.inexact]) -> list[NDArray[Any]]:
    """Return the weights over the time step, for each value of `L h`.

    They are quotients with cancellation near L = 0; means over a circle around each
    value are accurate. For a real value the real part over half a circle is enough.
    """
    is_real = not np.iscomplexobj(scaled)
    num_points = _CONTOUR_POINTS // 2 if is_real else _CONTOUR_POINTS
    angles = np.pi * (np.arange(num_points) + 0.5) / (0.5 * _CONTOUR_POINTS)
    sums = [np.zeros(scaled.shape, complex) for _ in range(4)]
    for point in np.exp(1j * angles):  # one at a time: memory of one grid
        z = scaled + point
        exp = np.exp(z)
        sums[0] += (np.exp(0.5 * z) - 1.0) / z
        sums[1] += (-4.0 - z + exp * (4.0 - 3.0 * z + z**2)) / z**3
        sums[2] += 2.0 * (2.0 + z + exp * (z - 2.0)) / z**3
        sums[3] += (-4.0 - 3.0 * z - z**2 + exp * (4.0 - z)) / z**3
    means: list[NDArray[Any]] = [total / num_points for total in sums]
    return [mean.real for mean in means] if is_real else means
