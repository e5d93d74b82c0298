"""Random start fields of one plane and of two layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from turbulence_data._checks import TWO_PI, check_kind, check_positive
from turbulence_data.solver._grid import Field, Grid
from turbulence_data.solver._modes import Modes, truncated_modes

# Beyond this multiple of the peak, exp(-2 q^2) comes near the end of floating point.
_FARTHEST = 18.0
_OF_A_SEED = " That of a seed is numpy.random.default_rng(seed)."
_OF_A_FLOW = " That of a flow is Grid(flow.shape, flow.lengths)."


@dataclass(frozen=True)
class RandomVorticity:
    """Random vorticity around a spectral peak, with a given energy.

        E(k) ~ q^4 exp(-2 q^2),   q = k / k_p

    Attributes:
        energy: kinetic energy per unit area of every field drawn.
        peak_wavenumber: k_p, the peak of the energy spectrum.
    """

    energy: float = 0.5
    peak_wavenumber: float = 6.0

    def __post_init__(self) -> None:
        check_positive("energy", self.energy)
        check_positive("peak_wavenumber", self.peak_wavenumber)
        for name in ("energy", "peak_wavenumber"):  # 6 and 6.0 are one
            object.__setattr__(self, name, float(getattr(self, name)))

    def __call__(self, grid: Grid, rng: np.random.Generator) -> Field:
        """Return a field of shape `(nx, ny)` drawn with `rng`.

        Raises:
            TypeError: if `grid` is not a Grid, or `rng` not a Generator.
            ValueError: when the grid does not resolve the peak.
        """
        modes = self.check_grid(grid)
        check_kind("rng", rng, np.random.Generator, _OF_A_SEED)
        white = modes.from_physical(rng.standard_normal(grid.num_points))
        ratio = np.sqrt(modes.k_squared) / self.peak_wavenumber
        shaped = white * np.sqrt(_power(ratio))
        shaped *= np.sqrt(self.energy / modes.energy(shaped))
        return modes.to_physical(shaped)

    def check_grid(self, grid: Grid) -> Modes:
        """Return the modes of a grid that resolves the peak, or raise an error.

        Raises:
            TypeError: if `grid` is not a Grid.
            ValueError: when the grid does not resolve the peak.
        """
        check_kind("grid", grid, Grid, _OF_A_FLOW)
        modes = truncated_modes(grid)
        if self.peak_wavenumber > float(np.hypot(*modes.largest_wavenumbers)):
            raise ValueError(
                f"peak_wavenumber={self.peak_wavenumber} is not resolved: a grid of "
                f"{grid.num_points} points holds wavenumbers up to "
                f"{modes.largest_wavenumbers} in x and y. Lower it, or use more points."
            )
        _check_energy("peak_wavenumber", self.peak_wavenumber, 1.0, grid)
        return modes


@dataclass(frozen=True)
class RandomPotentialVorticity:
    """Random potential vorticity of two layers, of the size of developed eddies.

        <|q_i_hat|^2> ~ r^5 exp(-2 r^2),   r = k / k_p

    From this size turbulence develops within months; small noise would need years to
    grow by the instability of the shear, with e-folding times of up to a year.

    Attributes:
        rms: root mean square of the upper and the lower layer, 1 / s.
        peak_mode: k_p as a number of waves along the shorter side of the domain.
    """

    rms: tuple[float, float] = (8e-6, 1e-6)
    peak_mode: float = 6.0

    def __post_init__(self) -> None:
        if not isinstance(self.rms, Sequence) or len(self.rms) != 2:
            raise ValueError(
                "rms must be two numbers, of the upper and the lower layer; received "
                f"{self.rms!r}."
            )
        for value in self.rms:
            check_positive("rms (each layer)", value)
        check_positive("peak_mode", self.peak_mode)
        object.__setattr__(self, "rms", tuple(map(float, self.rms)))
        object.__setattr__(self, "peak_mode", float(self.peak_mode))

    def __call__(self, grid: Grid, rng: np.random.Generator) -> Field:
        """Return fields of shape `(2, nx, ny)` drawn with `rng`.

        Raises:
            TypeError: if `grid` is not a Grid, or `rng` not a Generator.
            ValueError: when the grid does not resolve the peak.
        """
        modes = self.check_grid(grid)
        check_kind("rng", rng, np.random.Generator, _OF_A_SEED)
        ratio = np.sqrt(modes.k_squared) / (self.peak_mode * grid.shell_width)
        white = modes.from_physical(rng.standard_normal((2, *grid.num_points)))
        field = modes.to_physical(white * np.sqrt(_power(ratio)))
        drawn: Field = np.sqrt(np.mean(field**2, axis=(1, 2), keepdims=True))
        return field * (np.reshape(self.rms, (2, 1, 1)) / drawn)

    def check_grid(self, grid: Grid) -> Modes:
        """Return the modes of a grid that resolves the peak, or raise an error.

        Raises:
            TypeError: if `grid` is not a Grid.
            ValueError: when the grid does not resolve the peak.
        """
        check_kind("grid", grid, Grid, _OF_A_FLOW)
        modes = truncated_modes(grid)
        if self.peak_mode * grid.shell_width > min(modes.largest_wavenumbers):
            raise ValueError(
                f"peak_mode={self.peak_mode} is not resolved: a grid of "
                f"{grid.num_points} points holds modes up to {modes.cutoff} in x and "
                "y. Lower it, or use more points."
            )
        _check_energy("peak_mode", self.peak_mode, grid.shell_width, grid)
        return modes


def _check_energy(name: str, peak: float, unit: float, grid: Grid) -> None:
    """Raise ValueError if a peak is too far below all wavenumbers of a grid."""
    if TWO_PI / max(grid.lengths) > _FARTHEST * peak * unit:
        raise ValueError(
            f"{name}={peak} leaves no energy on a domain of {grid.lengths}; choose one "
            "near its wavenumbers."
        )


def _power(ratio: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the expected `|vorticity_hat|^2` of a mode at `ratio = k / k_p`.

    The energy of one mode is `|vorticity_hat|^2 / k^2` and a shell holds ~ k modes, so
    the power is ~ k E(k).
    """
    return ratio**5 * np.exp(-2.0 * ratio**2)
