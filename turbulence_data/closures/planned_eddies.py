"""Eddy viscosities inside a simulation: one planned transform each way."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from turbulence_data.closures.formulas import strain_hat
from turbulence_data.solver.advection import pointwise_kernels
from turbulence_data.solver.modes import Modes
from turbulence_data.solver.pair_transform import Pair, PairTransform
from turbulence_data.solver.transforms import FieldHat

Table = NDArray[np.complexfloating]
Tables = tuple[Table, Table]


class PlannedEddies:
    """Computes `scale (alpha F[|z| a] + gamma F[|z| b])`, z = a + i b.

    Both fields a and b travel to physical space as one, and `|z| z` comes back as one.

    Args:
        modes: of the simulation.
        fields: a_hat and b_hat of a vorticity of 1, of the shape of `below_nyquist`.
        weights: alpha and gamma, real.
        scale: a factor, real or imaginary.

    Attributes:
        modes: the same wavenumbers, with the LES grid for the products.
    """

    def __init__(
        self, modes: Modes, fields: Tables, weights: Tables, scale: complex
    ) -> None:
        self.modes = below_nyquist(modes)
        self._kernels = pointwise_kernels()
        self._pair = PairTransform(self.modes, self._kernels)
        a, b = fields
        self._read = np.stack([a + 1j * b, a - 1j * b]).astype(modes.complex_dtype)
        # Coefficients come back nx ny times too large, and the kernel doubles them.
        size = 0.5 * abs(scale) / float(np.prod(modes.grid.num_points))
        tables = (size * np.stack(weights).real * self.modes.mask).astype(modes.dtype)
        self._phase = scale / abs(scale)  # 1, -1 or i
        self._write = {
            panel.start: self._kernels.factors_of(
                np.ascontiguousarray(tables[:, :, panel])
            )
            for panel in self._pair.panels
        }
        self._forcing = np.zeros(self.modes.shape, modes.complex_dtype)
        self._part = np.empty_like(self._forcing)

    def __call__(self, vorticity_hat: FieldHat) -> FieldHat:
        """Returns the forcing, valid until the next call.

        Args:
            vorticity_hat: coefficients in the layout of the simulation.
        """
        cutoff = self.modes.cutoff[0]

        def read(columns: slice, pair: Pair) -> None:
            width = slice(0, columns.stop - columns.start)  # lines have padding
            for rows in self.halves:
                vorticity, tables = vorticity_hat[rows, columns], self._read
                for number in (0, 1):
                    strain = pair[number, rows, width]
                    np.multiply(vorticity, tables[number, rows, columns], out=strain)

        def write(columns: slice, products: Pair) -> None:
            first = columns.start
            factors = self._write[first]
            self._kernels.advection(products, factors, cutoff, first, self._forcing)

        self._pair.apply(read, self._kernels.times_modulus, write)
        if self._phase != 1.0:
            self._forcing *= self._phase
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


MakeEddies = Callable[[Modes, float], PlannedEddies]
"""`(modes, filter_width) -> ` the closure for a coefficient of 1."""


def below_nyquist(modes: Modes) -> Modes:
    """Returns the same wavenumbers with products on the LES grid itself."""
    nx, ny = modes.grid.num_points
    return Modes(modes.grid, modes.grid, ((nx - 1) // 2, (ny - 1) // 2), modes.dtype)


def smagorinsky_eddies(modes: Modes, filter_width: float) -> PlannedEddies:
    """Returns `-curl(div(-2 D^2 |S| S_ij))`, where `|S| = 2 |S_xx + i S_xy|`."""
    narrow = below_nyquist(modes)
    fields = strain_hat(narrow.mask.astype(np.complex128), narrow)
    weights = narrow.k_squared * fields[0], narrow.k_squared * fields[1]
    return PlannedEddies(modes, fields, weights, -8.0 * filter_width**2)


def leith_eddies(modes: Modes, filter_width: float) -> PlannedEddies:
    """Returns `div(D^3 |grad(w)| grad(w))`."""
    narrow = below_nyquist(modes)
    ones = np.ones(narrow.shape, np.complex128)
    weights = narrow.kx * ones, narrow.ky * ones
    fields = 1j * weights[0], 1j * weights[1]
    return PlannedEddies(modes, fields, weights, 1j * filter_width**3)


def with_coefficient(
    make: MakeEddies, modes: Modes, filter_width: float, coefficient: float
) -> Callable[[FieldHat, FieldHat], None]:
    """Returns `(vorticity_hat, out)`, which adds `coefficient` times the forcing."""
    eddies = make(modes, filter_width)

    def add_forcing(vorticity_hat: FieldHat, out: FieldHat) -> None:
        eddies.add(coefficient, eddies(vorticity_hat), out)

    return add_forcing
