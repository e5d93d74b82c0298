"""Physical parameters and resolution of a flow, checked at construction."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from turbulence_data._checks import (
    TWO_PI,
    as_lengths,
    as_pair,
    check_at_least_zero,
    check_positive,
    check_whole,
    is_finite_number,
)

_REAL_FIELDS = (
    "reynolds",
    "linear_drag",
    "beta",
    "forcing_amplitude",
    "hyperviscosity",
)


@dataclass(frozen=True)
class FlowConfig:
    """A flow on a doubly periodic domain: resolution and physical parameters.

        d(vorticity)/dt + J = nu lap(vorticity) - nu_h (-lap)^p vorticity
                              - beta v - drag vorticity - f,
        f = amplitude k_f [cos(k_f x) + cos(k_f y)],   nu = 1 / reynolds

    Attributes:
        num_points: points per direction, one number or `(nx, ny)`; stored as a pair.
        reynolds: inverse viscosity; `math.inf` for an inviscid flow.
        linear_drag: rate of the linear drag, at least 0.
        forcing_wavenumber: k_f, a wavenumber of the domain, or None for no forcing, or
            one that is given to `evolve` or an ensemble.
        beta: gradient of the Coriolis parameter along y.
        hyperviscosity: coefficient nu_h, at least 0.
        hyperviscosity_order: power p of the Laplacian, at least 2.
        lengths: domain size `(Lx, Ly)`.
        forcing_amplitude: factor of the forcing; less than 1 for filtered equations,
            see `filtering.les_flow`.

    Raises:
        ValueError: when a value is out of range or values contradict each other.

    Example:
        >>> FlowConfig(num_points=256, reynolds=2000, forcing_wavenumber=16).viscosity
        0.0005
    """

    num_points: int | tuple[int, int]
    reynolds: float
    linear_drag: float = 0.1
    forcing_wavenumber: int | None = 4
    beta: float = 0.0
    hyperviscosity: float = 0.0
    hyperviscosity_order: int = 2
    lengths: tuple[float, float] = (TWO_PI, TWO_PI)
    forcing_amplitude: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "num_points", as_pair(self.num_points))
        object.__setattr__(self, "lengths", as_lengths(self.lengths))
        if self.reynolds != math.inf:
            check_positive("reynolds (math.inf where inviscid)", self.reynolds)
        for name in ("linear_drag", "hyperviscosity"):
            check_at_least_zero(name, getattr(self, name))
        for name in ("beta", "forcing_amplitude"):
            if not is_finite_number(getattr(self, name)):
                raise ValueError(
                    f"{name} must be a finite number; received {getattr(self, name)!r}."
                )
        check_whole("hyperviscosity_order", self.hyperviscosity_order, at_least=2)
        if self.forcing_wavenumber is not None:
            self._check_forcing()
            object.__setattr__(self, "forcing_wavenumber", int(self.forcing_wavenumber))
        for name in _REAL_FIELDS:  # NumPy scalars would not survive a round trip
            object.__setattr__(self, name, float(getattr(self, name)))
        order = int(self.hyperviscosity_order)
        object.__setattr__(self, "hyperviscosity_order", order)

    def _check_forcing(self) -> None:
        check_whole("forcing_wavenumber", self.forcing_wavenumber, at_least=1)
        check_positive("forcing_wavenumber", self.forcing_wavenumber)
        wavenumber = float(self.forcing_wavenumber or 0)
        for n, length in zip(self.shape, self.lengths, strict=True):
            mode = wavenumber * length / TWO_PI
            if not math.isfinite(mode) or abs(mode - round(mode)) > 1e-9:
                raise ValueError(
                    f"forcing_wavenumber={self.forcing_wavenumber} is not periodic on "
                    f"a side of length {length:g}; choose a multiple of "
                    f"{TWO_PI / length:g}."
                )
            if round(mode) > (n - 1) // 3:
                raise ValueError(
                    f"forcing_wavenumber={self.forcing_wavenumber} is not resolved: "
                    f"{n} points hold wavenumbers up to {(n - 1) // 3} after "
                    f"dealiasing. Lower it, or use at least {3 * round(mode) + 1} "
                    "points."
                )

    @property
    def viscosity(self) -> float:
        """`nu = 1 / reynolds`."""
        return 1.0 / self.reynolds

    @property
    def shape(self) -> tuple[int, int]:
        """`num_points` as the pair `(nx, ny)`."""
        return as_pair(self.num_points)

    def to_dict(self) -> dict[str, Any]:
        """Return the parameters as plain values, in the order of the signature."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> FlowConfig:
        """Return the config of such values; lists (from JSON) become tuples."""
        arguments: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in values.items()
        }
        return cls(**arguments)
