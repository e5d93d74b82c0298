"""Forcing of a flow: steady, time-dependent or stochastic."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from turbulence_data._checks import (
    TWO_PI,
    check_at_least_zero,
    check_callable,
    check_object,
    check_positive,
    check_whole,
)
from turbulence_data.config import FlowConfig
from turbulence_data.solver._grid import (
    FieldHat,
)
from turbulence_data.solver._modes import Modes
from turbulence_data.solver._sources import (
    SteadySource,
    VaryingSource,
    VorticitySource,
    complain,
    loss_of,
    source_on,
)

# If fewer than this fraction of coefficients are nonzero, only these are added.
_SPARSE = 1.0 / 64.0
# Round-off margin, so that wavenumbers on the edge of a ring belong to it.
_NUDGE = 1e-9


@dataclass(frozen=True, eq=False)
class Drive:
    """A forcing on the modes of one simulation.

    Attributes:
        steady: coefficients of the steady part, or None.
        varying: `time -> coefficients` of the time-dependent part, or None.
        noise: random part, added after every step, or None.
    """

    steady: FieldHat | None = None
    varying: Callable[[float], FieldHat] | None = None
    noise: RingNoise | None = None

    def add_source(self, tendency_hat: FieldHat, time: float) -> None:
        """Add the deterministic parts at `time` to a tendency, in place."""
        if self._nonzero is not None:
            where, values = self._nonzero
            tendency_hat[where] += values
        if self.varying is not None:
            tendency_hat += self.varying(time)

    def source(
        self, modes: Modes, time: float, layers: tuple[int, ...] = ()
    ) -> FieldHat:
        """Return the coefficients of the deterministic parts at `time`."""
        source_hat = np.zeros((*layers, *modes.shape), modes.complex_dtype)
        self.add_source(source_hat, time)
        return source_hat

    def kick(self, vorticity_hat: FieldHat, step_number: int, time_step: float) -> None:
        """Add the random part of a whole step to the vorticity, in place."""
        if self.noise is not None:
            vorticity_hat[self.noise.places] += self.noise.kicks(step_number, time_step)

    @cached_property
    def _nonzero(self) -> tuple[Any, FieldHat] | None:
        if self.steady is None:
            return None
        is_sparse = np.count_nonzero(self.steady) < _SPARSE * self.steady.size
        where: Any = np.nonzero(self.steady) if is_sparse else slice(None)
        return where, self.steady[where]


@runtime_checkable
class Forcing(Protocol):
    """A source of vorticity, before it is put on a grid."""

    def on(self, modes: Modes) -> Drive:
        """Return the forcing on the modes of a simulation."""

    def for_trajectory(self, ensemble_seed: int, trajectory_id: int) -> Forcing:
        """Return the forcing of one trajectory, with its own random stream if any."""


class _Deterministic:
    def for_trajectory(self, ensemble_seed: int, trajectory_id: int) -> Self:
        """Return itself, since every trajectory has the same forcing."""
        return self


@dataclass(frozen=True)
class CosineForcing(_Deterministic):
    """The steady source `-amplitude k_f [cos(k_f x) + cos(k_f y)]`, after Kolmogorov.

    It has four coefficients, so its cost does not grow with the grid.
    """

    wavenumber: float
    amplitude: float = 1.0

    def on(self, modes: Modes) -> Drive:
        """Return the coefficients of the four modes."""
        hat = np.zeros(modes.shape, modes.complex_dtype)
        along_x = (modes.ky == 0.0) & np.isclose(np.abs(modes.kx), self.wavenumber)
        along_y = (modes.kx == 0.0) & np.isclose(modes.ky, self.wavenumber)
        # cos = half the sum of two conjugate modes; along y one of them is implied.
        hat[along_x | along_y] = -0.5 * self.amplitude * self.wavenumber
        return Drive(steady=hat)


@dataclass(frozen=True)
class SteadyForcing(_Deterministic):
    """A steady source of vorticity, the same at all times.

    Attributes:
        source: `(x, y) -> source of vorticity`, real, with zero mean.

    Example:
        >>> from turbulence_data.solver import Grid, truncated_modes
        >>> jets = SteadyForcing(lambda x, y: 3.0 * np.sin(3.0 * y))
        >>> hat = jets.on(truncated_modes(Grid((16, 16)))).steady
        >>> round(float(hat[0, 3].imag), 12)
        -1.5
    """

    source: SteadySource

    def __post_init__(self) -> None:
        check_callable("a source", self.source, "(x, y) -> source of vorticity")

    def on(self, modes: Modes) -> Drive:
        """Return the coefficients of the source.

        Raises:
            ValueError: for a source that does not fit the grid, is complex or not
                finite, has a mean, or is not resolved.
        """
        field = source_on(modes.grid, self.source)
        complain(*loss_of(field, self.source, modes))
        return Drive(steady=modes.from_physical(field))


@dataclass(frozen=True)
class TimeDependentForcing(_Deterministic):
    """A time-dependent source of vorticity; plain callables are converted to it.

    It is evaluated once at each of the times needed by the stages of a step.
    """

    source: VorticitySource

    def __post_init__(self) -> None:
        form = "(x, y, time) -> source of vorticity, a SteadyForcing or a RingForcing"
        check_callable("a forcing", self.source, form)

    def on(self, modes: Modes) -> Drive:
        """Return a drive that evaluates the source at each time."""
        varying = VaryingSource(self.source, modes)
        varying(0.0)
        return Drive(varying=varying)


@dataclass(frozen=True)
class RingForcing:
    """Isotropic Gaussian noise, white in time, on `||k| - wavenumber| <= width / 2`.

    Each step of length h ends with a random kick `sqrt(h) xi` of the vorticity, where
    the M modes of the ring are independent (except that xi is real) and

        <|xi_hat(k)|^2> = 2 k^2 energy_injection / M,

    so that every mode receives the same energy, and the expected injection of kinetic
    energy per unit area and time is

        sum_k <|xi_hat|^2> / (2 k^2) = energy_injection

    exactly, for any flow and time step, because a kick does not depend on the flow
    (Ito). The enstrophy injection is energy_injection times the mean k^2 of the ring.
    After Lilly (1969, doi:10.1063/1.1692444) and Alvelius (1999, doi:10.1063/1.870050).

    A kick depends only on the seed and the step number, by a counter-based generator,
    and not on the grid. So runs are reproducible, continue from a `State` bit for bit,
    and a run at half the resolution gets the same kicks. Steps of another length give
    another realisation. Right after a kick the energy is `energy_injection h / 2` above
    its mean over a step.

    Attributes:
        wavenumber: k_f, the middle of the ring.
        width: width of the ring.
        energy_injection: expected energy injection per unit area and time.
        seed: seed of the noise, a whole number of any size.

    Raises:
        ValueError: if a value is out of range.

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
        """Return the noise on the modes of a simulation.

        Raises:
            ValueError: if the ring contains no wavenumber of the domain, or an
                unresolved one.
        """
        self._check_near(modes)
        numbers, wavenumbers = self._ring(modes.grid.lengths)
        reach = np.abs(numbers).max(axis=1, initial=0)
        if not wavenumbers.size:
            spacings = tuple(TWO_PI / length for length in modes.grid.lengths)
            raise ValueError(
                f"no wavenumber of the domain, multiples of {spacings}, is in the ring "
                f"of {self!r}; choose another wavenumber or a larger width."
            )
        if reach[0] > modes.cutoff[0] or reach[1] > modes.cutoff[1]:
            raise self._not_resolved(tuple(reach.tolist()), modes)
        # The ring has twice as many modes, since `_ring` has one of each pair.
        amplitudes = wavenumbers * np.sqrt(self.energy_injection / wavenumbers.size)
        return Drive(noise=RingNoise(modes, numbers, amplitudes, self.seed))

    def for_trajectory(self, ensemble_seed: int, trajectory_id: int) -> RingForcing:
        """Return the same forcing with the stream of one trajectory of an ensemble."""
        stream = np.random.SeedSequence(
            self.seed, spawn_key=(int(ensemble_seed), int(trajectory_id))
        )
        low, high = stream.generate_state(2, np.uint64).tolist()
        return replace(self, seed=low + (high << 64))

    @property
    def _half_width(self) -> float:
        return 0.5 * self.width + _NUDGE * self.wavenumber

    def _reach(self, lengths: tuple[float, float]) -> list[int]:
        """Return bounds of the mode numbers of the ring."""
        most = self.wavenumber + self._half_width
        return [int(most * length / TWO_PI) for length in lengths]

    def _check_near(self, modes: Modes) -> None:
        """Refuse a ring so far out that not even its modes could be listed."""
        lengths, half = modes.grid.lengths, self._half_width
        reach = self._reach(lengths)
        is_beyond = self.wavenumber - half > math.hypot(*modes.largest_wavenumbers)
        for number, length, most in zip(reach, lengths, modes.cutoff, strict=True):
            # A mode along the axis, which a wide ring has.
            is_inside = abs(TWO_PI * (number / length) - self.wavenumber) <= half
            is_beyond |= number > most and is_inside
        if is_beyond:
            raise self._not_resolved(tuple(reach), modes)

    def _not_resolved(self, reach: tuple[int, ...], modes: Modes) -> ValueError:
        return ValueError(
            f"{self!r} is not resolved: it holds modes (kx, ky) up to {reach}, but "
            f"{modes.grid.num_points} points resolve {modes.cutoff}. Lower its "
            "wavenumber or width, or use more points."
        )

    def _ring(
        self, lengths: tuple[float, float]
    ) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        """Return mode numbers (kx, ky), shape (2, m), and |k|, one of each pair +-k.

        Their order depends only on the domain.
        """
        half, (nx, ny) = self._half_width, self._reach(lengths)
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
        seed: seed of the stream.
    """

    modes: Modes
    numbers: NDArray[np.intp]
    amplitudes: NDArray[np.float64]
    seed: int

    def kicks(self, step_number: int, time_step: float) -> FieldHat:
        """Return the kicks at `places` that end a step; depends only on arguments."""
        # Every step has its own 2^64 blocks of the counter.
        bits = np.random.Philox(key=self._key, counter=[0, 0, 0, step_number])
        real, imag = np.random.Generator(bits).standard_normal(self.numbers.shape)
        kicks = np.sqrt(0.5 * time_step) * self.amplitudes * (real + 1j * imag)
        # Drawn for the whole ring, so that the kicks do not depend on the grid.
        kicks = kicks[self._is_resolved]
        # For ky = 0 both modes of a pair are stored.
        return np.concatenate([kicks, kicks[self._on_axis].conj()])

    @cached_property
    def places(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Rows and columns of the coefficients that are kicked, each once."""
        x, y = self._resolved
        partners = x[self._on_axis]
        columns = np.concatenate([y, np.zeros_like(partners)])
        return np.concatenate([x, -partners]), columns

    @property
    def variance(self) -> NDArray[np.float64]:
        """Expected `|kick_hat|^2` of each mode per unit of time."""
        variance = np.zeros(self.modes.shape)
        power = np.abs(self.amplitudes[self._is_resolved]) ** 2
        variance[self.places] = np.concatenate([power, power[self._on_axis]])
        return variance

    def filtered(self, response: NDArray[np.float64], modes: Modes) -> RingNoise:
        """Return the noise times a response, on other modes.

        Args:
            response: one factor per mode, in the layout of a real transform of a grid
                that resolves the noise.
            modes: modes of the result; unresolved noise is dropped.
        """
        x, y = self.numbers
        amplitudes = self.amplitudes * response[x, y]
        return replace(self, modes=modes, amplitudes=amplitudes)

    @cached_property
    def _key(self) -> NDArray[Any]:
        return np.random.SeedSequence(self.seed).generate_state(2, np.uint64)

    @cached_property
    def _is_resolved(self) -> NDArray[np.bool_]:
        x, y = np.abs(self.numbers)
        return np.asarray((x <= self.modes.cutoff[0]) & (y <= self.modes.cutoff[1]))

    @cached_property
    def _resolved(self) -> NDArray[np.intp]:
        return np.asarray(self.numbers[:, self._is_resolved])

    @cached_property
    def _on_axis(self) -> NDArray[np.intp]:
        return np.flatnonzero(self._resolved[1] == 0)


ForcingLike = Forcing | VorticitySource
"""A forcing, or the function of a `TimeDependentForcing`."""


def as_forcing(forcing: ForcingLike) -> Forcing:
    """Convert a forcing or a source function to a forcing."""
    check_object("a forcing", forcing)
    return forcing if isinstance(forcing, Forcing) else TimeDependentForcing(forcing)


def drive_of(flow: FlowConfig, forcing: ForcingLike | None, modes: Modes) -> Drive:
    """Return the given forcing, or else the flow's own, on the modes."""
    if flow.forcing_wavenumber is None:
        return Drive() if forcing is None else as_forcing(forcing).on(modes)
    if forcing is not None:
        raise ValueError(
            "the flow has its own forcing and another one was given: received "
            f"forcing_wavenumber={flow.forcing_wavenumber} and {forcing!r}. Choose "
            "FlowConfig(..., forcing_wavenumber=None), or no other forcing."
        )
    return CosineForcing(flow.forcing_wavenumber, flow.forcing_amplitude).on(modes)
