"""Forcing of the vorticity equation."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from turbulence_data.config import FlowConfig
from turbulence_data.solver.modes import Modes
from turbulence_data.solver.transforms import FieldHat


class Forcing(Protocol):
    """Adds a source of vorticity to a tendency, in place."""

    def __call__(self, tendency_hat: FieldHat, time: float) -> None:
        """Adds the coefficients of the source at `time` to `tendency_hat`."""


class CosineForcing:
    """The steady source `-amplitude k_f [cos(k_f x) + cos(k_f y)]`, after Kolmogorov.

    Adds four coefficients, so its cost does not grow with the grid.
    """

    def __init__(self, wavenumber: float, modes: Modes, amplitude: float) -> None:
        hat = np.zeros(modes.shape, complex)
        along_x = (modes.ky == 0.0) & np.isclose(np.abs(modes.kx), wavenumber)
        along_y = (modes.kx == 0.0) & np.isclose(modes.ky, wavenumber)
        # cos = half the sum of two conjugate modes; along y one of them is implied.
        hat[along_x | along_y] = -0.5 * amplitude * wavenumber
        self._where = np.nonzero(hat)
        self._values = hat[self._where]

    def __call__(self, tendency_hat: FieldHat, time: float) -> None:
        """Adds the source; `time` has no influence."""
        tendency_hat[self._where] += self._values


def no_forcing(tendency_hat: FieldHat, time: float) -> None:
    """Adds nothing: a decaying flow."""


def forcing_of(flow: FlowConfig, modes: Modes) -> Forcing:
    """Returns the forcing that a flow's parameters ask for."""
    if flow.forcing_wavenumber is None:
        return no_forcing
    return CosineForcing(float(flow.forcing_wavenumber), modes, flow.forcing_amplitude)
