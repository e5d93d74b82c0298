"""Forcing of a flow: steady, time-dependent or stochastic."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from turbulence_data._checks import (
    TWO_PI,
    as_array,
    check_at_least_zero,
    check_callable,
    check_positive,
    check_whole,
)
from turbulence_data.config import FlowConfig
from turbulence_data.solver._grid import (
    Field,
    FieldHat,
    Grid,
    check_field,
    to_spectral,
)
from turbulence_data.solver._modes import Modes

Coordinates = NDArray[np.float64]

SteadySource = Callable[[Coordinates, Coordinates], ArrayLike]
VorticitySource = Callable[[Coordinates, Coordinates, float], ArrayLike]
"""`(x, y, time) -> source of vorticity`; x has the shape (nx, 1), y has (1, ny)."""

# If fewer than this fraction of coefficients are nonzero, only these are added.
_SPARSE = 1.0 / 64.0
# Largest part of the mean square of a source that may lie beyond the resolved modes.
_LARGEST_LOSS = 0.01
# A larger part is lost of edges, as of a disc: told in a warning up to this one.
_LOSS_OF_EDGES = 0.1
# Times at which a varying source is there, if it is not at the first, and the part of
# their mean square that round-off may leave where waves cancel.
_LATER, _ROUND_OFF = (0.1, 1.0, 10.0), 1e-20
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
        field = _source_on(modes.grid, self.source)
        _complain(*_loss_of(field, self.source, modes))
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


class VaryingSource:
    """`time -> coefficients` of a time-dependent source, with checks."""

    def __init__(self, source: VorticitySource, modes: Modes) -> None:
        self.source, self._modes = source, modes
        # Mean squares of the source: the largest so far, and that at later times.
        self._strongest, self._later = 0.0, max(map(self._power, _LATER))
        # Two stages of a step are at the same time.
        self._at = lru_cache(maxsize=1)(self._coefficients)

    def __call__(self, time: float) -> FieldHat:
        """Return the coefficients at a time."""
        return self._at(time)

    def _coefficients(self, time: float) -> FieldHat:
        modes, when, before = self._modes, f" at time {time:.6g}", self._strongest
        source = self._source_at(time)
        field = _source_on(modes.grid, source, when, max(before, self._later) ** 0.5)
        field_hat = modes.from_physical(field)
        power = float(np.mean(field**2))
        kept = float(np.sum(modes.hermitian_weights * np.abs(field_hat) ** 2))
        is_first = before == 0.0 < power
        # At an instant without forcing, what round-off leaves may have any scale.
        if is_first or power - kept > _LARGEST_LOSS * max(power, before):
            lost, reason = _loss_of(field, source, modes, when, before)
            is_lost = lost > _LARGEST_LOSS and is_first
            if is_lost and power < _ROUND_OFF * self._later:
                return field_hat  # waves that cancel leave no scale to judge by
            _complain(lost, reason)
        self._strongest = max(power, before)
        return field_hat

    def _power(self, time: float) -> float:
        """Return the mean square of the source at a time; 0 where there is none."""
        with suppress(Exception):  # of a table that ends before
            source = _source_on(self._modes.grid, self._source_at(time))
            return float(np.mean(source**2))
        return 0.0

    def _source_at(self, time: float) -> SteadySource:
        return lambda x, y: self.source(x, y, time)


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

    def _ring(
        self, lengths: tuple[float, float]
    ) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        """Return mode numbers (kx, ky), shape (2, m), and |k|, one of each pair +-k.

        Their order depends only on the domain.
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


def _source_on(
    grid: Grid, source: SteadySource, when: str = "", scale: float = 0.0
) -> Field:
    """Return a source on the points of a grid, checked."""
    values, shape = as_array("a forcing", source(grid.x, grid.y)), grid.num_points
    # One axis may have length 1, as in cos(x), but shapes must not be ambiguous.
    fits = values.ndim == 2 and all(
        n in (1, whole) for n, whole in zip(values.shape, shape, strict=True)
    )
    if not fits:
        raise ValueError(
            f"a forcing must return its source of vorticity{when} on the grid, of "
            f"shape {shape}, ({shape[0]}, 1) or (1, {shape[1]}) like x and y; "
            f"received {values.shape}."
        )
    values = np.broadcast_to(values, shape)
    return check_field(f"source of vorticity{when}", values, shape, scale)


def _complain(lost: float, reason: str) -> None:
    """Warn if a hundredth of a source is lost; ValueError for a tenth."""
    if lost > _LOSS_OF_EDGES:
        raise ValueError(reason)
    if lost > _LARGEST_LOSS:
        warnings.warn(reason, stacklevel=2)


def _loss_of(
    field: Field,
    source: SteadySource,
    modes: Modes,
    when: str = "",
    strongest: float = 0.0,
) -> tuple[float, str]:
    """Return the part of the mean square of a source that modes lose, and a message.

    Seen only on the points of the flow, scales between them look like larger ones. So
    the source is evaluated on twice as many points, unless it is a table on the points
    of the flow.

    Args:
        field: the source on the points of the flow.
        source: the source at the same time.
        modes: modes of the flow.
        when: the time, for the message.
        strongest: mean square of the source at other times, if it was larger.
    """
    nx, ny = modes.grid.num_points
    with suppress(Exception):  # of a table, whatever it raises
        field = _source_on(Grid((2 * nx, 2 * ny), modes.grid.lengths), source, when)
    grid = Grid(field.shape, modes.grid.lengths)
    power = grid.hermitian_weights * np.abs(to_spectral(field)) ** 2
    rows = np.arange(field.shape[0])
    numbers = np.minimum(rows, field.shape[0] - rows)
    # By mode number, along x and along y.
    along = np.bincount(numbers, power.sum(axis=1)), power.sum(axis=0)
    kept = np.sum(power[numbers <= modes.cutoff[0], : modes.cutoff[1] + 1])
    total = max(float(power.sum()), strongest)
    lost = float(power.sum() - kept)
    if lost <= _LARGEST_LOSS * total:
        return 0.0, ""
    # Half of the loss that is allowed along each side. A DNS drops the upper third.
    tails = [part.sum() - np.cumsum(part) for part in along]
    needed = [int(np.argmax(t <= 0.5 * _LARGEST_LOSS * total)) for t in tails]
    per_mode = 3 if modes.quadrature == modes.grid else 2
    most = zip((nx, ny), needed, strict=True)
    points = tuple(max(n, per_mode * k + 1) for n, k in most)
    return lost / total, (
        f"the source of vorticity{when} is not resolved: {100.0 * lost / total:.3g} % "
        f"of its mean square is beyond {modes.largest_wavenumbers}, the largest "
        f"wavenumbers in x and y that {modes.grid.num_points} points resolve, and "
        "would be dropped or act on other wavenumbers. Use a smoother source, or "
        f"{points} points or more; in an LES, les_forcing(forcing, flow, num_points)."
    )
