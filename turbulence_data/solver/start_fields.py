"""Start fields with a known structure, for tests, tutorials and decaying flows.

Each is a callable `(grid, rng) -> vorticity`, like `RandomVorticity`; rng has no
influence. All fields have zero mean.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import NDArray

from turbulence_data._checks import check_positive, check_whole, is_finite_number
from turbulence_data.solver.grid import Grid
from turbulence_data.solver.transforms import Field


@dataclass(frozen=True)
class TaylorGreen:
    """A checkerboard of vortices, `vorticity = 2 k velocity cos(k x) cos(k y)`.

    An exact solution that decays as `exp(-2 k^2 nu t)` (Taylor & Green 1937,
    doi:10.1098/rspa.1937.0036).

    Attributes:
        wavenumber: whole number of vortex pairs along each side.
        velocity: largest velocity.
    """

    wavenumber: int = 1
    velocity: float = 1.0

    def __post_init__(self) -> None:
        check_whole("wavenumber", self.wavenumber, at_least=1)
        check_positive("velocity", self.velocity)

    def __call__(self, grid: Grid, rng: np.random.Generator) -> Field:
        """Returns the field, shape `(nx, ny)`.

        Raises:
            ValueError: when the grid does not resolve the wavenumber.
        """
        resolved = (min(grid.num_points) - 1) // 3
        if self.wavenumber > resolved:
            raise ValueError(
                f"wavenumber={self.wavenumber} is not resolved: {grid.num_points} "
                f"points hold up to {resolved} pairs of vortices after dealiasing. "
                "Lower it, or use more points."
            )
        kx, ky = (2.0 * np.pi * self.wavenumber / length for length in grid.lengths)
        # psi = a cos(kx x) cos(ky y) has velocities up to a max(kx, ky).
        amplitude = self.velocity / max(kx, ky) * (kx**2 + ky**2)
        field: Field = amplitude * np.cos(kx * grid.x) * np.cos(ky * grid.y)
        return field


@dataclass(frozen=True)
class LambDipole:
    """A pair of counter-rotating vortices that travels along x without changing.

        psi = -2 speed J1(k r) sin(theta) / (k J0(k R)) inside r < R, k R = 3.8317...

    Its vorticity `k^2 psi` is continuous, its gradient is not (Meleshko & van Heijst
    1994, doi:10.1017/S0022112094004428). On a periodic domain the images slow it down
    a little.

    Attributes:
        speed: how fast it travels, towards +x.
        radius: R.
        center: where it starts, as fractions of the sides.
    """

    speed: float = 1.0
    radius: float = 0.5
    center: tuple[float, float] = (0.5, 0.5)

    def __post_init__(self) -> None:
        check_positive("speed", self.speed)
        check_positive("radius", self.radius)
        _check_center(self.center)

    def __call__(self, grid: Grid, rng: np.random.Generator) -> Field:
        """Returns the field, shape `(nx, ny)`.

        Raises:
            ValueError: when the dipole does not fit into the domain.
        """
        _check_fits("radius", self.radius, 0.5 * min(grid.lengths))
        dx, dy = _periodic_offsets(grid, self.center)
        radius = np.hypot(dx, dy)
        zero = scipy.special.jn_zeros(1, 1)[0]
        k = zero / self.radius
        sine = np.divide(dy, radius, out=np.zeros_like(radius), where=radius > 0.0)
        inside = 2.0 * self.speed * k / -scipy.special.j0(zero)
        field = np.where(
            radius < self.radius, inside * scipy.special.j1(k * radius) * sine, 0.0
        )
        return _without_mean(field)


@dataclass(frozen=True)
class MergingVortices:
    """Two equal Gaussian vortices, which merge when `separation < 3.3 radius`.

        vorticity = circulation / (pi radius^2) exp(-r^2 / radius^2) each

    less the mean that a periodic domain does not allow (critical distance: Le Dizes &
    Verga 2002, doi:10.1017/S0022112002001532).

    Attributes:
        circulation: of each vortex.
        radius: of each vortex.
        separation: distance of the centres, along x.
    """

    circulation: float = 2.0
    radius: float = 0.35
    separation: float = 1.0

    def __post_init__(self) -> None:
        for name in ("circulation", "radius", "separation"):
            check_positive(name, getattr(self, name))

    def __call__(self, grid: Grid, rng: np.random.Generator) -> Field:
        """Returns the field, shape `(nx, ny)`.

        Raises:
            ValueError: when the vortices do not fit into the domain.
        """
        extent = self.separation + 4.0 * self.radius
        _check_fits("separation + 4 radius", extent, min(grid.lengths))
        shift = 0.5 * self.separation / grid.lengths[0]
        field = np.zeros(grid.num_points)
        for center in ((0.5 - shift, 0.5), (0.5 + shift, 0.5)):
            dx, dy = _periodic_offsets(grid, center)
            field += np.exp(-(dx**2 + dy**2) / self.radius**2)
        return _without_mean(field * self.circulation / (np.pi * self.radius**2))


def _periodic_offsets(
    grid: Grid, center: tuple[float, float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Shortest way from the centre to each point, along x and along y."""
    offsets = []
    for position, fraction, length in zip(
        (grid.x, grid.y), center, grid.lengths, strict=True
    ):
        away = position - fraction * length
        offsets.append(away - length * np.round(away / length))
    dx, dy = np.broadcast_arrays(*offsets)
    return dx, dy


def _without_mean(field: Field) -> Field:
    result: Field = field - field.mean()
    return result


def _check_center(center: tuple[float, float]) -> None:
    if len(center) != 2 or not all(map(is_finite_number, center)):
        raise ValueError(
            f"center must be two finite numbers, fractions of the sides; received "
            f"{center!r}."
        )


def _check_fits(name: str, size: float, largest: float) -> None:
    if size >= largest:
        raise ValueError(
            f"{name} must be below {largest:.4g} to fit into the domain; received "
            f"{size:.4g}."
        )
