"""Smagorinsky's stress inside a simulation: one planned transform each way."""

from __future__ import annotations

import numpy as np

from turbulence_data.closures.formulas import strain_hat
from turbulence_data.solver.advection import pointwise_kernels
from turbulence_data.solver.modes import Modes
from turbulence_data.solver.pair_transform import Pair, PairTransform
from turbulence_data.solver.transforms import FieldHat


def below_nyquist(modes: Modes) -> Modes:
    """Returns the same wavenumbers with products on the LES grid itself."""
    nx, ny = modes.grid.num_points
    return Modes(modes.grid, modes.grid, ((nx - 1) // 2, (ny - 1) // 2), modes.dtype)


class PlannedStress:
    """Computes `-curl(div(tau))` of `tau_ij = -2 D^2 |S| S_ij`.

    With `z = S_xx + i S_xy` the stress is `-4 D^2 |z| z`, so the two strains go to
    physical space as one field, and the two stresses come back as one.

    Args:
        modes: of the simulation.
        filter_width: D.

    Attributes:
        modes: the same wavenumbers, with the LES grid for the products.
    """

    def __init__(self, modes: Modes, filter_width: float) -> None:
        self.modes = below_nyquist(modes)
        self._kernels = pointwise_kernels()
        self._pair = PairTransform(self.modes, self._kernels)
        ones = self.modes.mask.astype(np.complex128)
        xx, xy = strain_hat(ones, self.modes)
        self._strain = np.stack([xx + 1j * xy, xx - 1j * xy]).astype(
            self.modes.complex_dtype
        )
        # forcing = 2 k^2 (xx p + xy q) with the stress (p, q); the kernel adds a 2.
        num_points = float(np.prod(modes.grid.num_points))
        scale = -4.0 * filter_width**2 / num_points * self.modes.k_squared
        tables = np.stack([(scale * xx).real, (scale * xy).real])
        self._stress = {
            panel.start: self._kernels.factors_of(
                np.ascontiguousarray(tables[:, :, panel]).astype(modes.dtype)
            )
            for panel in self._pair.panels
        }
        self._forcing = np.zeros(self.modes.shape, self.modes.complex_dtype)
        self._part = np.empty_like(self._forcing)

    def __call__(self, vorticity_hat: FieldHat) -> FieldHat:
        """Returns the forcing, valid until the next call.

        Args:
            vorticity_hat: coefficients in the layout of the simulation.
        """
        cutoff = self.modes.cutoff[0]

        def read(columns: slice, pair: Pair) -> None:
            for rows in self.halves:
                strain, tables = vorticity_hat[rows, columns], self._strain
                for number in (0, 1):
                    np.multiply(
                        strain, tables[number, rows, columns], out=pair[number, rows]
                    )

        def write(columns: slice, products: Pair) -> None:
            factors, forcing = self._stress[columns.start], self._forcing[:, columns]
            self._kernels.advection(products, factors, cutoff, forcing)

        self._pair.apply(read, self._kernels.times_modulus, write)
        return self._forcing

    def add(self, factor: float, forcing_hat: FieldHat, out: FieldHat) -> None:
        """Adds `factor` times a forcing of this grid in the simulation's layout."""
        np.multiply(forcing_hat, factor, out=self._part)
        for rows in self.halves:
            out[rows] += self._part[rows]

    @property
    def halves(self) -> tuple[slice, slice]:
        """The rows of resolved wavenumbers, at both ends of every layout."""
        cutoff = self.modes.cutoff[0]
        return slice(0, cutoff + 1), slice(-cutoff, None)
