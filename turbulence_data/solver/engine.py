"""What advances a flow: the contract of an engine, and the one on pyFFTW."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from turbulence_data.diagnostics import energy_budget, enstrophy, enstrophy_budget
from turbulence_data.filtering import FilteredFields, filtered_dns
from turbulence_data.solver.equations import VorticityEquation
from turbulence_data.solver.state import State
from turbulence_data.solver.time_stepping import Scheme
from turbulence_data.solver.transforms import Field, FieldHat


class Integrals(NamedTuple):
    """Of one moment, per unit area.

    Attributes:
        energy: kinetic energy.
        enstrophy: half the mean squared vorticity.
        enstrophy_dissipation: loss of enstrophy to viscosity, hyperviscosity and drag,
            at most 0.
        work: of the forcing; of a stochastic one its expected injection.
        dissipation: loss of energy to viscosity, hyperviscosity and drag, at most 0.
    """

    energy: float
    enstrophy: float
    enstrophy_dissipation: float
    work: float
    dissipation: float


class Integrator(Protocol):
    """One flow on one engine.

    Coefficients have the layout of `solver.modes.Modes`, in NumPy or in whatever the
    engine computes with; it takes both. Leading axes are fields side by side.
    """

    def steps(
        self, vorticity_hat: FieldHat, since: State, time_step: float, numbers: range
    ) -> FieldHat:
        """Returns the coefficients after some steps, each ended by its random kick.

        Args:
            vorticity_hat: coefficients before the first of them; may be written over.
            since: the moment that steps are counted from: its time and step number.
            time_step: length of a step.
            numbers: the steps, counted from 0 at that moment.
        """

    def advection_rate(self, vorticity_hat: FieldHat) -> float:
        """Returns `max(|u| Kx + |v| Ky)`, over all fields; nan wins."""

    def energy(self, vorticity_hat: FieldHat) -> float:
        """Returns the kinetic energy per unit area, the mean over all fields."""

    def to_physical(self, vorticity_hat: FieldHat) -> Field:
        """Returns the fields on the grid, as NumPy arrays."""

    def integrals(self, vorticity_hat: FieldHat, time: float) -> Integrals:
        """Returns the integrals of one field."""

    def filtered(
        self, vorticity_hat: FieldHat, num_points: tuple[int, int], width: float
    ) -> FilteredFields:
        """Returns what `filtering.filtered_dns` does of one field."""


@runtime_checkable
class Engine(Protocol):
    """Where and with what a flow is computed; `FftwEngine` or `JaxEngine`."""

    def integrator(self, equation: VorticityEquation, scheme: Scheme) -> Integrator:
        """Returns an equation, ready to be advanced by a scheme.

        Raises:
            ValueError: for a scheme that the engine does not have.
        """


@dataclass(frozen=True)
class FftwEngine:
    """The default: pyFFTW and NumPy, or numba where installed, on CPU cores.

    Its bits depend on nothing but the flow, on any number of processes.
    """

    def integrator(self, equation: VorticityEquation, scheme: Scheme) -> Integrator:
        """See `Engine`; any scheme will do."""
        return _FftwIntegrator(equation, scheme)


def check_engine(engine: object) -> None:
    """Raises TypeError for what is no engine."""
    if not isinstance(engine, Engine) or isinstance(engine, type):
        raise TypeError(
            "engine must be an object such as FftwEngine() or JaxEngine(); received "
            f"{engine!r}."
        )


_KEPT_STEPS = 3


class _FftwIntegrator:
    def __init__(self, equation: VorticityEquation, scheme: Scheme) -> None:
        self._equation, self._modes = equation, equation.modes
        # (equation, time step) -> step, with the factors of the last few of them.
        self._step_of = lru_cache(maxsize=_KEPT_STEPS)(scheme)

    def steps(
        self, vorticity_hat: FieldHat, since: State, time_step: float, numbers: range
    ) -> FieldHat:
        step = self._step_of(self._equation, time_step)
        kick = self._equation.drive.kick
        for field_hat in _each(vorticity_hat):
            for number in numbers:
                step(field_hat, since.time + number * time_step)
                kick(field_hat, since.step_number + number, time_step)
        return vorticity_hat

    def advection_rate(self, vorticity_hat: FieldHat) -> float:
        rate = self._equation.advection_rate
        return float(np.max([rate(field_hat) for field_hat in _each(vorticity_hat)]))

    def energy(self, vorticity_hat: FieldHat) -> float:
        return self._modes.energy(vorticity_hat) / len(_each(vorticity_hat))

    def to_physical(self, vorticity_hat: FieldHat) -> Field:
        return self._modes.to_physical(vorticity_hat)

    def integrals(self, vorticity_hat: FieldHat, time: float) -> Integrals:
        # What is looked at is looked at in double precision.
        vorticity = self.to_physical(vorticity_hat).astype(np.float64)
        flow, forcing = self._equation.flow, self._equation.forcing
        unforced = replace(flow, forcing_wavenumber=None)
        budget = energy_budget(vorticity, flow, forcing=forcing, time=time)
        return Integrals(
            self.energy(vorticity_hat),
            enstrophy(vorticity),
            enstrophy_budget(vorticity, unforced).total,
            budget.work,
            budget.viscosity + budget.hyperviscosity + budget.drag,
        )

    def filtered(
        self, vorticity_hat: FieldHat, num_points: tuple[int, int], width: float
    ) -> FilteredFields:
        vorticity = self.to_physical(vorticity_hat).astype(np.float64)
        lengths = self._equation.flow.lengths
        return filtered_dns(vorticity, num_points, filter_width=width, lengths=lengths)


def _each(vorticity_hat: FieldHat) -> FieldHat:
    """All fields along one leading axis, a view."""
    return vorticity_hat.reshape(-1, *vorticity_hat.shape[-2:])
