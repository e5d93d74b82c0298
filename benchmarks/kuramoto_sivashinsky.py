"""The 1-D Kuramoto-Sivashinsky equation, its filtered fields and their closure.

    u_t + (u^2 / 2)_x + u_xx + viscosity u_xxxx = 0,   x in [0, length), periodic

Not turbulence: chaos of cells of the wavelength `2 pi sqrt(2 viscosity)`. The second
derivative puts energy in at large scales, the fourth takes it out at small ones.
Filtered (Gaussian, then cut off at the coarse grid's Nyquist wavenumber), it obeys

    v_t + P (v^2 / 2)_x + v_xx + viscosity v_xxxx = Pi,
    Pi = P (v^2 / 2)_x - filter((u^2 / 2)_x)

with v the filtered field and P the cut-off: products are free of aliasing. Pi goes on
the right-hand side, as everywhere in this project.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

# Points of the contour on which the coefficients of the scheme are averaged.
_CONTOUR = 32


@dataclass(frozen=True)
class KuramotoSivashinsky:
    """The equation on a grid; fields are real, (..., num_points), `_hat` is their rfft.

    Attributes:
        viscosity: of the fourth derivative; sets the scale of the cells.
        length: of the domain.
        num_points: of the grid, even; a third of the wavenumbers is kept free for
            products (the 2/3 rule).
    """

    viscosity: float = 1.0
    length: float = 32.0 * np.pi
    num_points: int = 256

    def __post_init__(self) -> None:
        positive = self.viscosity > 0 and self.length > 0
        if not positive or self.num_points < 4 or self.num_points % 2:
            raise ValueError(
                "expected a viscosity and a length above 0 and an even number of at "
                f"least 4 points; received {self}."
            )

    @cached_property
    def wavenumbers(self) -> np.ndarray:
        """Of the rfft, in radians per length."""
        return 2.0 * np.pi / self.length * np.arange(self.num_points // 2 + 1)

    @cached_property
    def resolved(self) -> np.ndarray:
        """Which of them products leave free of aliasing."""
        return np.arange(self.num_points // 2 + 1) < self.num_points / 3

    @cached_property
    def linear(self) -> np.ndarray:
        """Growth rate of each wavenumber: `k^2 - viscosity k^4`."""
        return self.wavenumbers**2 - self.viscosity * self.wavenumbers**4

    def nonlinear(self, u_hat: np.ndarray) -> np.ndarray:
        """`-(u^2 / 2)_x`, of resolved wavenumbers alone."""
        square_hat = np.fft.rfft(np.fft.irfft(u_hat, self.num_points) ** 2)
        return -0.5j * self.wavenumbers * square_hat * self.resolved

    def start(self, count: int, seed: int) -> np.ndarray:
        """Spectra of smooth random fields of mean 0: (count, num_points / 2 + 1)."""
        rng = np.random.default_rng(seed)
        noise_hat = np.fft.rfft(rng.standard_normal((count, self.num_points)))
        u_hat = noise_hat * np.exp(-(self.wavenumbers**2)) * self.resolved
        u_hat[:, 0] = 0.0
        return u_hat


def etdrk4(equation: KuramotoSivashinsky, time_step: float):
    """Returns `u_hat -> u_hat a step later`: exponential time differencing, order 4.

    Cox & Matthews 2002, doi:10.1006/jcph.2002.6995, with coefficients by contour
    integrals as by Kassam & Trefethen 2005, doi:10.1137/S1064827502410633.
    """
    rates = time_step * equation.linear
    angles = np.pi * (np.arange(_CONTOUR) + 0.5) / _CONTOUR
    z = rates[:, None] + np.exp(1j * angles)
    whole, half = np.exp(rates), np.exp(rates / 2.0)

    def averaged(values):
        return time_step * np.mean(values.real, axis=1)

    step = averaged((np.exp(z / 2.0) - 1.0) / z)
    first = averaged((-4.0 - z + np.exp(z) * (4.0 - 3.0 * z + z**2)) / z**3)
    middle = averaged((2.0 + z + np.exp(z) * (z - 2.0)) / z**3)
    last = averaged((-4.0 - 3.0 * z - z**2 + np.exp(z) * (4.0 - z)) / z**3)

    def advanced(u_hat):
        at_start = equation.nonlinear(u_hat)
        a = half * u_hat + step * at_start
        at_a = equation.nonlinear(a)
        b = half * u_hat + step * at_a
        at_b = equation.nonlinear(b)
        c = half * a + step * (2.0 * at_b - at_start)
        at_c = equation.nonlinear(c)
        return (
            whole * u_hat
            + first * at_start
            + 2.0 * middle * (at_a + at_b)
            + last * at_c
        )

    return advanced


def snapshots(
    equation: KuramotoSivashinsky,
    count: int,
    *,
    trajectories: int = 8,
    spin_up: float = 150.0,
    interval: float = 10.0,
    time_step: float = 0.25,
    seed: int = 0,
) -> np.ndarray:
    """Fields of several trajectories on the attractor.

    Args:
        equation: what to solve.
        count: snapshots of each trajectory.
        trajectories: computed at once.
        spin_up: time before the first snapshot.
        interval: time between two.
        time_step: of the scheme.
        seed: of the start fields.

    Returns:
        (trajectories, count, num_points).
    """
    advance = etdrk4(equation, time_step)
    u_hat = equation.start(trajectories, seed)
    for _ in range(round(spin_up / time_step)):
        u_hat = advance(u_hat)
    fields = []
    for _ in range(count):
        fields.append(np.fft.irfft(u_hat, equation.num_points))
        for _ in range(round(interval / time_step)):
            u_hat = advance(u_hat)
    return np.stack(fields, axis=1)


@dataclass(frozen=True)
class CoarseFilter:
    """Gaussian filter `exp(-k^2 width^2 / 24)`, then a sharp cut to the coarse grid.

    Attributes:
        equation: on the fine grid.
        num_points: of the coarse grid, even, at most those of the fine one.
        width: of the Gaussian; two points of the coarse grid if not given.
    """

    equation: KuramotoSivashinsky
    num_points: int = 64
    width: float | None = None

    def filtered(self, fields: np.ndarray) -> np.ndarray:
        """Filtered fields on the coarse grid, Nyquist left out: (..., num_points)."""
        width = self.width or 2.0 * self.equation.length / self.num_points
        damping = np.exp(-(self.equation.wavenumbers**2) * width**2 / 24.0)
        return self.cut(np.fft.rfft(fields) * damping)

    def cut(self, hat: np.ndarray) -> np.ndarray:
        """Fields on the coarse grid of spectra on the fine one."""
        kept = hat[..., : self.num_points // 2 + 1].copy()
        kept[..., -1] = 0.0
        return np.fft.irfft(kept, self.num_points) * self.num_points / self._fine

    @property
    def _fine(self) -> int:
        return self.equation.num_points

    def derivative(self, fields: np.ndarray) -> np.ndarray:
        """`d/dx` on the coarse grid."""
        wavenumbers = self.equation.wavenumbers[: self.num_points // 2 + 1]
        return np.fft.irfft(1j * wavenumbers * np.fft.rfft(fields), self.num_points)

    def advection(self, coarse: np.ndarray) -> np.ndarray:
        """`P (v^2 / 2)_x`, without aliasing: the product is on the fine grid."""
        hat = np.fft.rfft(coarse) * self._fine / self.num_points
        fine = np.fft.irfft(hat, self._fine)
        slope_hat = 0.5j * self.equation.wavenumbers * np.fft.rfft(fine**2)
        return self.cut(slope_hat)

    def closure(self, fields: np.ndarray) -> np.ndarray:
        """Pi of fine fields, (..., num_points) on the coarse grid."""
        fine_slope = -np.fft.irfft(
            self.equation.nonlinear(np.fft.rfft(fields)), self._fine
        )
        return self.advection(self.filtered(fields)) - self.filtered(fine_slope)
