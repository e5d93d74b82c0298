"""Stochastic forcing of a ring of wavenumbers, with a known injection of energy."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from turbulence_data._checks import (
    TWO_PI,
    check_at_least_zero,
    check_positive,
    check_whole,
)
from turbulence_data.solver.forcing import Drive
from turbulence_data.solver.modes import Modes
from turbulence_data.solver.transforms import FieldHat

# Decides round-off for wavenumbers on the edge of the ring, which belong to it.
_NUDGE = 1e-9


@dataclass(frozen=True)
class RingForcing:
    """Isotropic Gaussian noise, white in time, on `||k| - wavenumber| <= width / 2`.

    Each step of length h ends with a kick `sqrt(h) xi` of the vorticity, where the M
    modes of the ring are independent (but for xi being real) and

        <|xi_hat(k)|^2> = 2 k^2 energy_injection / M,

    so that every mode receives the same energy, and the expected kinetic energy given
    per unit area and time is

        sum_k <|xi_hat|^2> / (2 k^2) = energy_injection

    exactly, whatever the flow and the steps: a kick does not depend on the flow that
    it meets (Ito). The enstrophy injection is energy_injection times the mean k^2 of
    the ring. After Lilly (1969, doi:10.1063/1.1692444) and Alvelius (1999,
    doi:10.1063/1.870050).

    A kick depends on the seed and the number of the step alone, by a counter-based
    generator, and not on the grid. So runs repeat, go on from a `State` bit for bit,
    and a run at half the resolution meets the same kicks. Steps of another length are
    another realisation. Right after a kick the energy stands `energy_injection h / 2`
    above its mean over a step.

    Attributes:
        wavenumber: k_f, the middle of the ring.
        width: of the ring, across.
        energy_injection: expected energy given per unit area and time.
        seed: of the noise, a whole number of any size.

    Raises:
        ValueError: when a value is out of range.

    Example:
        >>> ring = RingForcing(wavenumber=6.0, width=2.0, energy_injection=0.01)
        >>> ring.for_trajectory(0, 1) == ring.for_trajectory(0, 2)
        False
    """

    wavenumber: float
    width: float
    energy_injection: float
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("wavenumber", "energy_injection"):
            check_positive(name, getattr(self, name))
        check_at_least_zero("width", self.width)
        check_whole("seed", self.seed, at_least=0)
        for name in ("wavenumber", "width", "energy_injection"):  # 8 and 8.0 are one
            object.__setattr__(self, name, float(getattr(self, name)))
        object.__setattr__(self, "seed", int(self.seed))

    def on(self, modes: Modes) -> Drive:
        """Returns the noise on the modes of a simulation.

        Raises:
            ValueError: when the ring holds no wavenumber of the domain, or one that is
                not resolved.
        """
        numbers, wavenumbers = self._ring(modes.grid.lengths)
        reach = np.abs(numbers).max(axis=1, initial=0)
        if not wavenumbers.size:
            spacings = tuple(TWO_PI / length for length in modes.grid.lengths)
            raise ValueError(
                f"no wavenumber of the domain, multiples of {spacings}, is in the ring "
                f"of {self!r}; choose another wavenumber or a larger width."
            )
        if reach[0] > modes.cutoff[0] or reach[1] > modes.cutoff[1]:
            raise ValueError(
                f"{self!r} is not resolved: it holds modes (kx, ky) up to "
                f"{tuple(reach.tolist())}, but {modes.grid.num_points} points resolve "
                f"{modes.cutoff}. Lower its wavenumber or width, or use more points."
            )
        # The ring has twice as many modes as there are here, see `_ring`.
        amplitudes = wavenumbers * np.sqrt(self.energy_injection / wavenumbers.size)
        return Drive(noise=RingNoise(modes, numbers, amplitudes, self.seed))

    def for_trajectory(self, ensemble_seed: int, trajectory_id: int) -> RingForcing:
        """Returns the same forcing with the stream of one trajectory of an ensemble."""
        stream = np.random.SeedSequence(
            self.seed, spawn_key=(int(ensemble_seed), int(trajectory_id))
        )
        low, high = stream.generate_state(2, np.uint64).tolist()
        return replace(self, seed=low + (high << 64))

    def _ring(
        self, lengths: tuple[float, float]
    ) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        """Mode numbers (kx, ky), shape (2, m), and |k| of one mode of each pair +-k.

        Their order depends on the domain alone.
        """
        half = 0.5 * self.width + _NUDGE * self.wavenumber
        nx, ny = (int((self.wavenumber + half) * length / TWO_PI) for length in lengths)
        x, y = np.meshgrid(np.arange(-nx, nx + 1), np.arange(ny + 1), indexing="ij")
        modulus = TWO_PI * np.hypot(x / lengths[0], y / lengths[1])
        is_one_of_pair = (y > 0) | (x > 0)
        inside = is_one_of_pair & (np.abs(modulus - self.wavenumber) <= half)
        return np.stack([x[inside], y[inside]]), modulus[inside]


@dataclass(frozen=True, eq=False)
class RingNoise:
    """The noise of a `RingForcing` on the modes of one simulation.

    Attributes:
        modes: the modes.
        numbers: mode numbers (kx, ky), shape (2, m), one of each pair +-k.
        amplitudes: root of the expected `|kick_hat|^2` per unit of time, shape (m,).
        seed: of the stream.
    """

    modes: Modes
    numbers: NDArray[np.intp]
    amplitudes: NDArray[np.float64]
    seed: int

    def kicks(self, step_number: int, time_step: float) -> FieldHat:
        """Returns the kicks that end a step, at `places`."""
        # Every step has its own 2^64 blocks of the counter.
        bits = np.random.Philox(key=self._key, counter=[0, 0, 0, step_number])
        real, imag = np.random.Generator(bits).standard_normal(self.numbers.shape)
        kicks = np.sqrt(0.5 * time_step) * self.amplitudes * (real + 1j * imag)
        # Drawn for the whole ring, so that the grid has no influence.
        kicks = kicks[self._is_resolved]
        # Both modes of a pair are stored where ky is 0.
        return np.concatenate([kicks, kicks[self._on_axis].conj()])

    @cached_property
    def places(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Rows and columns of the coefficients that are kicked; see `forcing.Noise`."""
        partners = self._x[self._on_axis]
        rows = np.concatenate([self._x, -partners])
        return rows, np.concatenate([self._y, np.zeros_like(partners)])

    @property
    def variance(self) -> NDArray[np.float64]:
        """Expected `|kick_hat|^2` of each mode per unit of time."""
        variance = np.zeros(self.modes.shape)
        power = self.amplitudes[self._is_resolved] ** 2
        variance[self.places] = np.concatenate([power, power[self._on_axis]])
        return variance

    def filtered(self, response: NDArray[np.float64], modes: Modes) -> RingNoise:
        """Returns the noise times a response, on other modes; see `forcing.Noise`."""
        x, y = self.numbers
        amplitudes = self.amplitudes * response[x, y]
        return replace(self, modes=modes, amplitudes=amplitudes)

    @cached_property
    def _key(self) -> NDArray[np.uint64]:
        words = np.random.SeedSequence(self.seed).generate_state(2, np.uint64)
        return words.astype(np.uint64)

    @cached_property
    def _is_resolved(self) -> NDArray[np.bool_]:
        x, y = np.abs(self.numbers)
        return np.asarray((x <= self.modes.cutoff[0]) & (y <= self.modes.cutoff[1]))

    @cached_property
    def _x(self) -> NDArray[np.intp]:
        return np.asarray(self.numbers[0, self._is_resolved])

    @cached_property
    def _y(self) -> NDArray[np.intp]:
        return np.asarray(self.numbers[1, self._is_resolved])

    @cached_property
    def _on_axis(self) -> NDArray[np.intp]:
        return np.flatnonzero(self._y == 0)
