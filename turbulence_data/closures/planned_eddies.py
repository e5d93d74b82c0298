"""Eddy viscosities inside a simulation: one planned transform each way."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from turbulence_data.closures.formulas import strain_hat
from turbulence_data.solver._grid import FieldHat
from turbulence_data.solver._modes import Modes
from turbulence_data.solver.fftw._pair_transform import Pair, PairTransform
from turbulence_data.solver.fftw._pointwise import pointwise_kernels

Table = NDArray[np.floating]
Tables = tuple[Table, Table]
ReadPair = Callable[[FieldHat, int, Table, int, Pair], None]
"""A kernel: writes `a + i b` and `a - i b` from vorticity and two real tables."""


class PlannedEddies:
    """Computes `scale (alpha F[|z| a] + gamma F[|z| b])`, z = a + i b.

    Both fields a and b travel to physical space as one, and `|z| z` comes back as one.

    Args:
        modes: of the simulation.
        read: what makes a and b of the vorticity.
        fields: the two tables of `read`, of the shape of `below_nyquist`.
        weights: alpha and gamma.
        scale: a factor, real or imaginary.

    Attributes:
        modes: the same wavenumbers, with the LES grid for the products.
    """

    def __init__(
        self,
        modes: Modes,
        read: ReadPair,
        fields: Tables,
        weights: Tables,
        scale: complex,
    ) -> None:
        self.modes = below_nyquist(modes)
        self._kernels = pointwise_kernels()
        self._pair = PairTransform(self.modes, self._kernels)
        self._read_pair = read
        self._read = self._factors(fields)
        # Coefficients come back nx ny times too large, and the kernel doubles them.
        size = 0.5 * abs(scale) / float(np.prod(modes.grid.num_points))
        self._write = self._factors((size * weights[0], size * weights[1]))
        self._phase = scale / abs(scale)  # 1, -1 or i
        self._forcing = np.zeros(self.modes.shape, modes.complex_dtype)
        self._part = np.empty_like(self._forcing)

    def __call__(self, vorticity_hat: FieldHat) -> FieldHat:
        """Returns the forcing, valid until the next call.

        Args:
            vorticity_hat: coefficients in the layout of the simulation.
        """
        cutoff = self.modes.cutoff[0]

        def read(columns: slice, pair: Pair) -> None:
            first = columns.start
            self._read_pair(vorticity_hat, first, self._read[first], cutoff, pair)

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

    def _factors(self, tables: Tables) -> dict[int, Table]:
        """Two tables on resolved modes, by the first column of a panel."""
        both = (np.stack(tables) * self.modes.mask).astype(self.modes.dtype)
        return {
            panel.start: self._kernels.factors_of(
                np.ascontiguousarray(both[:, :, panel])
            )
            for panel in self._pair.panels
        }


MakeEddies = Callable[[Modes, float], PlannedEddies]
"""`(modes, filter_width) -> ` the closure for a coefficient of 1."""


def below_nyquist(modes: Modes) -> Modes:
    """Returns the same wavenumbers with products on the LES grid itself."""
    nx, ny = modes.grid.num_points
    return Modes(modes.grid, modes.grid, ((nx - 1) // 2, (ny - 1) // 2), modes.dtype)


def smagorinsky_eddies(modes: Modes, filter_width: float) -> PlannedEddies:
    """Returns `-curl(div(-2 D^2 |S| S_ij))`, where `|S| = 2 |S_xx + i S_xy|`."""
    narrow = below_nyquist(modes)
    s_xx, s_xy = strain_hat(narrow.mask.astype(np.complex128), narrow)
    weights = narrow.k_squared * s_xx.real, narrow.k_squared * s_xy.real
    return PlannedEddies(
        modes,
        pointwise_kernels().strain,
        (s_xx.real, s_xy.real),
        weights,
        -8.0 * filter_width**2,
    )


def leith_eddies(modes: Modes, filter_width: float) -> PlannedEddies:
    """Returns `div(D^3 |grad(w)| grad(w))`."""
    narrow = below_nyquist(modes)
    kx, ky = np.broadcast_arrays(narrow.kx, narrow.ky)
    # The kernel makes i c w and -i d w.
    read = pointwise_kernels().velocity
    return PlannedEddies(modes, read, (kx, -ky), (kx, ky), 1j * filter_width**3)


def with_coefficient(
    make: MakeEddies, modes: Modes, filter_width: float, coefficient: float
) -> Callable[[FieldHat, FieldHat], None]:
    """Returns `(vorticity_hat, out)`, which adds `coefficient` times the forcing."""
    eddies = make(modes, filter_width)

    def add_forcing(vorticity_hat: FieldHat, out: FieldHat) -> None:
        eddies.add(coefficient, eddies(vorticity_hat), out)

    return add_forcing
