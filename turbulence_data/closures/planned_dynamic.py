"""The dynamic coefficient inside a simulation: shared advection, planned transforms."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from turbulence_data.closures.operators import SpectralOperators
from turbulence_data.closures.planned_eddies import MakeEddies
from turbulence_data.solver._grid import FieldHat
from turbulence_data.solver._modes import Modes, padded_modes
from turbulence_data.solver.fftw._advection import Advection


class PlannedDynamic:
    """Adds the subgrid forcing of an eddy viscosity with a dynamic coefficient.

    The solver has written the advection `-J` of the same vorticity already. What is
    left is one transform each way on the LES grid and two on half as many points.

    Args:
        modes: of the simulation.
        operators: of the LES grid.
        make: the closure for a coefficient of 1.
    """

    def __init__(
        self, modes: Modes, operators: SpectralOperators, make: MakeEddies
    ) -> None:
        test_modes = padded_modes(operators.test_level.grid, modes.dtype)
        self._eddies = make(modes, operators.filter_width)
        self._test_eddies = make(test_modes, 2.0 * operators.filter_width)
        self._test_advection = Advection(test_modes)
        narrow = self._test_eddies.modes
        response = np.exp(-narrow.k_squared * (3.0 * operators.filter_width**2 / 24.0))
        self._response = _doubled(response * narrow.mask, modes.dtype)
        weights = narrow.hermitian_weights * narrow.inverse_k_squared
        self._weights = _doubled(weights, modes.dtype)
        self._test_vorticity = np.zeros(test_modes.shape, modes.complex_dtype)
        self._test_advected = np.zeros_like(self._test_vorticity)
        self._resolved, self._modelled = (
            np.zeros(narrow.shape, modes.complex_dtype) for _ in range(2)
        )

    def __call__(self, vorticity_hat: FieldHat, out: FieldHat) -> None:
        """Adds the forcing to `out`, which holds the advection of the vorticity."""
        forcing_hat = self._eddies(vorticity_hat)
        coefficient = self.coefficient(vorticity_hat, out, forcing_hat)
        if coefficient > 0.0:
            self._eddies.add(coefficient, forcing_hat, out)

    def coefficient(
        self, vorticity_hat: FieldHat, advection_hat: FieldHat, forcing_hat: FieldHat
    ) -> float:
        """Returns c.

        Args:
            vorticity_hat: coefficients.
            advection_hat: their advection `-J`.
            forcing_hat: their forcing for a coefficient of 1.
        """
        self._filter(vorticity_hat, self._test_vorticity)
        self._test_advection(self._test_vorticity, self._test_advected)
        test_forcing_hat = self._test_eddies(self._test_vorticity)
        self._filter(advection_hat, self._resolved)
        self._filter(forcing_hat, self._modelled)
        for rows in self._test_eddies.halves:
            self._resolved[rows] -= self._test_advected[rows]
        np.subtract(test_forcing_hat, self._modelled, out=self._modelled)
        modelled = self._modelled.view(self._weights.dtype)
        weighted = (modelled * self._weights).ravel()
        numerator = float(weighted @ self._resolved.view(self._weights.dtype).ravel())
        if not numerator > 0.0:
            return 0.0
        return numerator / float(weighted @ modelled.ravel())

    def _filter(self, field_hat: FieldHat, out: FieldHat) -> None:
        """Writes the test-filtered coefficients; layouts differ in their middle rows.

        The factors are real: coefficients are multiplied as plain real numbers.
        """
        real, columns = self._weights.dtype, self._response.shape[1] // 2
        for rows in self._test_eddies.halves:
            np.multiply(
                field_hat[rows, :columns].view(real),
                self._response[rows],
                out=out[rows].view(real),
            )


def _doubled(table: NDArray[np.float64], dtype: np.dtype) -> NDArray[np.floating]:
    return np.repeat(table, 2, axis=1).astype(dtype)
