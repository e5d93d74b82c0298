"""Gradient models inside a simulation: the planned advection of derivatives."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from turbulence_data.solver._grid import FieldHat
from turbulence_data.solver._modes import Modes
from turbulence_data.solver.fftw._advection import Advection

Derivative = NDArray[np.complexfloating]


class PlannedJacobians:
    """Adds `-sum_n J(c_n psi, c_n w)` for derivatives with symbols c_n.

    Args:
        modes: of the simulation.
        derivatives: the symbols, with the square root of the weight of each.
    """

    def __init__(self, modes: Modes, derivatives: Sequence[Derivative]) -> None:
        self._symbols = [symbol.astype(modes.complex_dtype) for symbol in derivatives]
        self._advection = Advection(modes)
        self._field = np.zeros(modes.shape, modes.complex_dtype)
        self._advected = np.empty_like(self._field)

    def __call__(self, vorticity_hat: FieldHat, out: FieldHat) -> None:
        """Adds the forcing to `out`."""
        for symbol in self._symbols:
            np.multiply(symbol, vorticity_hat, out=self._field)
            self._advection(self._field, self._advected)
            out += self._advected


def first_derivatives(modes: Modes, filter_width: float) -> list[Derivative]:
    """Returns d_x and d_y with the weight `D^2 / 12`."""
    weight = 1j * filter_width / np.sqrt(12.0) * modes.mask
    return [weight * modes.kx, weight * modes.ky]


def second_derivatives(modes: Modes, filter_width: float) -> list[Derivative]:
    """Returns d_xx, d_xy and d_yy with the weight `D^4 / 288`, twice that for d_xy."""
    weight = filter_width**2 / np.sqrt(288.0) * modes.mask.astype(complex)
    mixed = np.sqrt(2.0) * modes.kx * modes.ky
    return [weight * modes.kx**2, weight * mixed, weight * modes.ky**2]
