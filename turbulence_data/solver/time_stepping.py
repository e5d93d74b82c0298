"""Time stepping schemes: functions `(equation, time_step) -> step`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from turbulence_data.solver.advection import pointwise_kernels
from turbulence_data.solver.transforms import FieldHat

RK4_IMAGINARY_LIMIT = 2.0 * math.sqrt(2.0)
"""Where the stability region of the classical RK4 ends on the imaginary axis."""


class Equation(Protocol):
    """What a stepper needs to know of an equation `dw/dt = L w + N(w, t)`."""

    @property
    def linear_operator(self) -> NDArray[np.inexact]:
        """The diagonal L, real or complex."""

    def nonlinear_terms(
        self, vorticity_hat: FieldHat, time: float, out: FieldHat
    ) -> None:
        """Writes N(w, t) into `out`, leaving its argument unchanged."""


Step = Callable[[FieldHat, float], None]
"""`step(vorticity_hat, time)` advances the coefficients in place by one time step."""


def integrating_factor_rk4(equation: Equation, time_step: float) -> Step:
    """Classical Runge-Kutta of order four on `exp(-L t) w`: L is solved exactly.

    Four evaluations of the nonlinear terms a step; stable for frequencies of the
    advection up to 2 sqrt(2) / time_step, whatever the viscosity. See Cox & Matthews
    (2002, doi:10.1006/jcph.2002.6995) on integrating factors.
    """
    fused = pointwise_kernels()
    half = np.exp(equation.linear_operator * (0.5 * time_step))
    slope = np.empty(half.shape, complex)
    state, total = np.empty_like(slope), np.empty_like(slope)
    # Real factors act alike on real and imaginary parts: work on plain real arrays.
    real = not np.iscomplexobj(half)
    factor = np.repeat(half, 2, axis=1).ravel() if real else half.ravel()

    def flat(array: FieldHat) -> NDArray[np.inexact]:
        values = array.reshape(-1)
        return values.view(np.float64) if real else values

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
