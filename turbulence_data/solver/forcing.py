"""Forcing of the vorticity equation: what drives a flow, and how it acts on modes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from turbulence_data.config import FlowConfig
from turbulence_data.solver.modes import Modes
from turbulence_data.solver.state import check_field
from turbulence_data.solver.transforms import FieldHat

Coordinates = NDArray[np.float64]

VorticitySource = Callable[[Coordinates, Coordinates, float], ArrayLike]
"""`(x, y, time) -> source of vorticity`; x has the shape (nx, 1), y has (1, ny)."""

# Coefficients that are fewer than this part of all are added one by one.
_SPARSE = 1.0 / 64.0


class Noise(Protocol):
    """Random kicks, white in time, on the modes of one simulation."""

    @property
    def variance(self) -> NDArray[np.float64]:
        """Expected `|kick_hat|^2` of each mode per unit of time."""

    @property
    def places(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Rows and columns of the coefficients that are kicked, each once."""

    def kicks(self, step_number: int, time_step: float) -> FieldHat:
        """Returns the kicks there that end a step, from nothing but the arguments."""

    def filtered(self, response: NDArray[np.float64], modes: Modes) -> Noise:
        """Returns the noise times a response, on other modes.

        Args:
            response: one factor a mode, in the layout of a real transform of a grid
                that resolves the noise.
            modes: of the result; what they do not resolve is dropped.
        """


@dataclass(frozen=True, eq=False)
class Drive:
    """A forcing on the modes of one simulation: what it adds, and when.

    Attributes:
        steady: coefficients of the part that never changes, or None.
        varying: `time -> coefficients` of the part that does, or None.
        noise: what is added after every step, or None.
    """

    steady: FieldHat | None = None
    varying: Callable[[float], FieldHat] | None = None
    noise: Noise | None = None

    def add_source(self, tendency_hat: FieldHat, time: float) -> None:
        """Adds the deterministic parts at `time` to a tendency, in place."""
        if self._nonzero is not None:
            where, values = self._nonzero
            tendency_hat[where] += values
        if self.varying is not None:
            tendency_hat += self.varying(time)

    def kick(self, vorticity_hat: FieldHat, step_number: int, time_step: float) -> None:
        """Adds the random part of a whole step to the vorticity, in place."""
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
    """What drives a flow, before it is put on a grid."""

    def on(self, modes: Modes) -> Drive:
        """Returns the forcing on the modes of a simulation."""

    def for_trajectory(self, ensemble_seed: int, trajectory_id: int) -> Forcing:
        """Returns the forcing of one trajectory of an ensemble: itself, or a stream."""


@dataclass(frozen=True)
class CosineForcing:
    """The steady source `-amplitude k_f [cos(k_f x) + cos(k_f y)]`, after Kolmogorov.

    Has four coefficients, so its cost does not grow with the grid.

    Attributes:
        wavenumber: k_f.
        amplitude: factor.
    """

    wavenumber: float
    amplitude: float = 1.0

    def on(self, modes: Modes) -> Drive:
        """See `Forcing`."""
        hat = np.zeros(modes.shape, modes.complex_dtype)
        along_x = (modes.ky == 0.0) & np.isclose(np.abs(modes.kx), self.wavenumber)
        along_y = (modes.kx == 0.0) & np.isclose(modes.ky, self.wavenumber)
        # cos = half the sum of two conjugate modes; along y one of them is implied.
        hat[along_x | along_y] = -0.5 * self.amplitude * self.wavenumber
        return Drive(steady=hat)

    def for_trajectory(self, ensemble_seed: int, trajectory_id: int) -> CosineForcing:
        """Returns itself: every trajectory is driven alike."""
        return self


@dataclass(frozen=True)
class SteadyForcing:
    """A source of vorticity that does not change, evaluated once.

    Attributes:
        source: `(x, y) -> source of vorticity`, real, of mean zero.

    Example:
        >>> from turbulence_data.solver.grid import Grid
        >>> from turbulence_data.solver.modes import truncated_modes
        >>> jets = SteadyForcing(lambda x, y: 3.0 * np.sin(3.0 * y))
        >>> hat = jets.on(truncated_modes(Grid((16, 16)))).steady
        >>> round(float(hat[0, 3].imag), 12)
        -1.5
    """

    source: Callable[[Coordinates, Coordinates], ArrayLike]

    def __post_init__(self) -> None:
        _check_callable(self.source, "(x, y)")

    def on(self, modes: Modes) -> Drive:
        """See `Forcing`; evaluates the source.

        Raises:
            ValueError: for a source that does not fit the grid, is complex or not
                finite, or has a mean.
        """
        grid = modes.grid
        return Drive(steady=_source_hat(self.source(grid.x, grid.y), modes, ""))

    def for_trajectory(self, ensemble_seed: int, trajectory_id: int) -> SteadyForcing:
        """Returns itself: every trajectory is driven alike."""
        return self


@dataclass(frozen=True)
class TimeDependentForcing:
    """A source of vorticity that changes in time; a plain callable becomes one.

    Evaluated at each of the times that the stages of a step need, once for each.

    Attributes:
        source: `(x, y, time) -> source of vorticity`, real, of mean zero.
    """

    source: VorticitySource

    def __post_init__(self) -> None:
        _check_callable(self.source, "(x, y, time)")

    def on(self, modes: Modes) -> Drive:
        """See `Forcing`.

        Raises:
            ValueError: for a source that at time 0 does not fit the grid, is complex or
                not finite, or has a mean. The drive checks every other time likewise.
        """
        varying = VaryingSource(self.source, modes)
        varying(0.0)
        return Drive(varying=varying)

    def for_trajectory(
        self, ensemble_seed: int, trajectory_id: int
    ) -> TimeDependentForcing:
        """Returns itself: every trajectory is driven alike."""
        return self


class VaryingSource:
    """`time -> coefficients` of a source that changes in time, checked.

    Attributes:
        source: `(x, y, time) -> source of vorticity`.
    """

    def __init__(self, source: VorticitySource, modes: Modes) -> None:
        self.source, self._modes = source, modes
        # Two stages of a step are at the same time.
        self._at = lru_cache(maxsize=1)(self._coefficients)

    def __call__(self, time: float) -> FieldHat:
        """Returns the coefficients at a time."""
        return self._at(time)

    def _coefficients(self, time: float) -> FieldHat:
        grid = self._modes.grid
        values = self.source(grid.x, grid.y, time)
        return _source_hat(values, self._modes, f" at time {time:.6g}")


ForcingLike = Forcing | VorticitySource
"""A forcing, or the function of a `TimeDependentForcing`."""


def as_forcing(forcing: ForcingLike) -> Forcing:
    """Returns a forcing for anything that can be one.

    Raises:
        TypeError: for anything else.
    """
    return forcing if isinstance(forcing, Forcing) else TimeDependentForcing(forcing)


def drive_of(flow: FlowConfig, forcing: ForcingLike | None, modes: Modes) -> Drive:
    """Returns what drives a flow: the forcing given, or else the flow's own.

    Raises:
        ValueError: when there are both.
    """
    if flow.forcing_wavenumber is None:
        return Drive() if forcing is None else as_forcing(forcing).on(modes)
    if forcing is not None:
        raise ValueError(
            "the flow has a forcing of its own and one was given: received "
            f"forcing_wavenumber={flow.forcing_wavenumber} and {forcing!r}. Choose "
            "FlowConfig(..., forcing_wavenumber=None), or no other forcing."
        )
    return CosineForcing(flow.forcing_wavenumber, flow.forcing_amplitude).on(modes)


def _source_hat(values: ArrayLike, modes: Modes, when: str) -> FieldHat:
    source, shape = np.asarray(values), modes.grid.num_points
    # One axis may be missing, as in cos(x), but not so that x and y can be mistaken.
    fits = source.ndim == 2 and all(
        n in (1, whole) for n, whole in zip(source.shape, shape, strict=True)
    )
    if not fits:
        raise ValueError(
            f"a forcing must return its source of vorticity{when} on the grid, of "
            f"shape {shape}, ({shape[0]}, 1) or (1, {shape[1]}) like x and y; "
            f"received {source.shape}."
        )
    field = check_field("source of vorticity", np.broadcast_to(source, shape), shape)
    return modes.from_physical(field)


def _check_callable(source: object, arguments: str) -> None:
    if not callable(source):
        raise TypeError(
            "a forcing must be a RingForcing, a SteadyForcing or a callable "
            f"{arguments} -> source of vorticity; received {source!r}."
        )
