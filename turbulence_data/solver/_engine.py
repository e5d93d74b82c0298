"""The contract between a simulation and the engine that computes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from turbulence_data._checks import by_shapes
from turbulence_data.filtering import FilteredFields
from turbulence_data.solver._equation import Equation, Integrals
from turbulence_data.solver._grid import Field, FieldHat
from turbulence_data.solver._schemes import Scheme


@dataclass(frozen=True)
class State:
    """A moment of a simulation: all that it needs to go on, bit for bit.

    Attributes:
        vorticity_hat: coefficients of the resolved modes.
        time: time.
        step_number: steps made so far, which number the kicks of a stochastic forcing.
    """

    vorticity_hat: FieldHat
    time: float = 0.0
    step_number: int = 0

    __repr__ = by_shapes


class Integrator(Protocol):
    """One flow on one engine.

    Coefficients have the layout of `Modes`, in NumPy or in whatever the engine computes
    with; it takes both. Leading axes are fields side by side.
    """

    def steps(
        self, vorticity_hat: FieldHat, since: State, time_step: float, numbers: range
    ) -> FieldHat:
        """Return the coefficients after some steps, each ended by its random kick.

        Args:
            vorticity_hat: coefficients before the first of them; may be written over.
            since: the moment that steps are counted from: its time and step number.
            time_step: length of a step.
            numbers: the steps, counted from 0 at that moment.
        """

    def advection_rates(self, vorticity_hat: FieldHat) -> NDArray[np.float64]:
        """Return `max(|u| Kx + |v| Ky)` of each field, one axis; nan wins."""

    def energy(self, vorticity_hat: FieldHat) -> float:
        """Return the kinetic energy per unit area, the mean over all fields."""

    def to_physical(self, vorticity_hat: FieldHat) -> Field:
        """Return the fields on the grid, as NumPy arrays."""

    def integrals(self, vorticity_hat: FieldHat, time: float) -> Integrals:
        """Return the integrals of one field."""

    def filtered(
        self, vorticity_hat: FieldHat, num_points: tuple[int, int], width: float
    ) -> FilteredFields:
        """Return the filtered fields of one field, as `filtered_dns` does."""


@runtime_checkable
class Engine(Protocol):
    """Computing of a flow on some machine; `FftwEngine` or `JaxEngine`."""

    def integrator(self, equation: Equation, scheme: Scheme) -> Integrator:
        """Return an equation, ready to be advanced by a scheme."""


def check_engine(engine: object) -> None:
    """Raise TypeError for what is no engine."""
    if not isinstance(engine, Engine) or isinstance(engine, type):
        raise TypeError(
            "engine must be an object such as FftwEngine() or JaxEngine(); received "
            f"{engine!r}."
        )
