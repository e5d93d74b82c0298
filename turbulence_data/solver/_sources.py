"""Sources of vorticity on the points of a flow, and whether its modes resolve them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from turbulence_data._checks import as_array
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

# Largest part of the mean square of a source that may lie beyond the resolved modes.
_LARGEST_LOSS = 0.01
# A larger part is lost of edges, as of a disc: told in a warning up to this one.
_LOSS_OF_EDGES = 0.1
# Times at which a varying source is there, if it is not at the first, and the part of
# their mean square that round-off may leave where waves cancel.
_LATER, _ROUND_OFF = (0.1, 0.137, 1.0, 1.37, 10.0), 1e-20


class VaryingSource:
    """`time -> coefficients` of a time-dependent source, with checks."""

    def __init__(self, source: VorticitySource, modes: Modes) -> None:
        self.source, self._modes = source, modes
        self._strongest = 0.0  # mean square
        # Two stages of a step are at the same time.
        self._at = lru_cache(maxsize=1)(self._coefficients)

    def __call__(self, time: float) -> FieldHat:
        """Return the coefficients at a time."""
        return self._at(time)

    def _coefficients(self, time: float) -> FieldHat:
        modes, when, before = self._modes, f" at time {time:.6g}", self._strongest
        field, source = self._field(time, when), self._source_at(time)
        field_hat = modes.from_physical(field)
        power = float(np.mean(field**2))
        kept = float(np.sum(modes.hermitian_weights * np.abs(field_hat) ** 2))
        is_first = before == 0.0 < power
        # At an instant without forcing, what round-off leaves may have any scale.
        if is_first or power - kept > _LARGEST_LOSS * max(power, before):
            lost, reason = loss_of(field, source, modes, when, before)
            is_lost = lost > _LARGEST_LOSS and is_first
            if is_lost and power < _ROUND_OFF * self._later:
                return field_hat  # waves that cancel leave no scale to judge by
            complain(lost, reason)
        self._strongest = max(power, before)
        return field_hat

    def _field(self, time: float, when: str) -> Field:
        """Return the source, which may have a mean of round-off where waves cancel."""
        grid, source = self._modes.grid, self._source_at(time)
        try:
            return source_on(grid, source, when, self._strongest**0.5)
        except ValueError:
            if self._power(time) >= _ROUND_OFF * self._later:
                raise
        return source_on(grid, source, when, np.inf)

    @cached_property
    def _later(self) -> float:
        return max((p for p in map(self._power, _LATER) if p < np.inf), default=0.0)

    def _power(self, time: float) -> float:
        """Return the mean square of the source at a time; 0 where there is none."""
        with suppress(Exception):  # of a table that ends before
            source = source_on(self._modes.grid, self._source_at(time), "", np.inf)
            return float(np.mean(source**2))
        return 0.0

    def _source_at(self, time: float) -> SteadySource:
        return lambda x, y: self.source(x, y, time)


def source_on(
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


def complain(lost: float, reason: str) -> None:
    """Warn if a hundredth of a source is lost; ValueError for a tenth."""
    if lost > _LOSS_OF_EDGES:
        raise ValueError(reason)
    if lost > _LARGEST_LOSS:
        warnings.warn(reason, stacklevel=2)


def loss_of(
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
        field = source_on(Grid((2 * nx, 2 * ny), modes.grid.lengths), source, when)
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
