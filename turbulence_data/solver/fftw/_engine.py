"""The engine on pyFFTW: CPU cores, NumPy or numba for the pointwise work."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from turbulence_data._checks import check_whole
from turbulence_data.filtering import FilteredFields, filtered_dns
from turbulence_data.solver._equation import (
    Equation,
    Integrals,
    Integrator,
    LayerTerms,
    RightHandSide,
    State,
)
from turbulence_data.solver._grid import Field, FieldHat
from turbulence_data.solver._modes import Modes
from turbulence_data.solver._schemes import Scheme, Step
from turbulence_data.solver.fftw._advection import Advection
from turbulence_data.solver.fftw._layers import FluxForm, VelocityForm

_KEPT_STEPS = 3


@dataclass(frozen=True)
class FftwEngine:
    """The default engine: pyFFTW with NumPy, or numba if installed, on CPU cores.

    Its results are bitwise the same for any number of processes and threads.

    Attributes:
        threads: number of threads per grid; to make data, use one process per core.

    Raises:
        ValueError: for fewer than one thread.
    """

    # Not compared, since threads do not change the results.
    threads: int = field(default=1, compare=False)

    def __post_init__(self) -> None:
        check_whole("threads", self.threads, at_least=1)

    def integrator(self, equation: Equation, scheme: Scheme) -> Integrator:
        """Return an equation, ready to be advanced by any scheme."""
        return _FftwIntegrator(
            equation, scheme, FftwOperations(equation.modes, self.threads)
        )

    def right_hand_side(
        self, equation: Equation, planner: str = "FFTW_ESTIMATE"
    ) -> RightHandSide:
        """Return the equation of one field in the form that time-stepping schemes need.

        Args:
            equation: the equation.
            planner: FFTW planner; if it measures, the last bits differ in each run.
        """
        operations = FftwOperations(equation.modes, self.threads, planner)
        return RightHandSide(equation, operations)


class FftwOperations:
    """`Operations` of equations on pyFFTW, planned at first use."""

    def __init__(
        self, modes: Modes, threads: int = 1, planner: str = "FFTW_ESTIMATE"
    ) -> None:
        self.modes, self.threads, self._planner = modes, threads, planner
        self._layers: tuple[LayerTerms, VelocityForm | FluxForm] | None = None

    @cached_property
    def advection(self) -> Advection:
        """`(vorticity_hat, out)`: writes `-J(streamfunction, vorticity)`."""
        return Advection(self.modes, self._planner, self.threads)

    def layered_advection(
        self, terms: LayerTerms, q_hat: FieldHat, out: FieldHat
    ) -> None:
        if self._layers is None or self._layers[0] is not terms:
            form = VelocityForm if self.modes.products_are_exact else FluxForm
            planned = form(self.modes, terms, self._planner, self.threads)
            self._layers = terms, planned
        self._layers[1](q_hat, out)

    def advection_rate(self, vorticity_hat: FieldHat) -> float:
        return self.advection.rate(vorticity_hat)


class _FftwIntegrator:
    def __init__(
        self, equation: Equation, scheme: Scheme, operations: FftwOperations
    ) -> None:
        self._equation, self._operations = equation, operations
        # Buffers hold one field at a time; those of rates are others, since a closure
        # may ask for the rate of a field, also from another thread.
        self._lock, self._is_stepping = threading.RLock(), False
        self._rate_lock = threading.Lock()
        self._rate_operations = FftwOperations(equation.modes, operations.threads)

        # With the factors of the last few time steps.
        @lru_cache(maxsize=_KEPT_STEPS)
        def step_of(num_fields: int, time_step: float) -> Step:
            return scheme(RightHandSide(equation, operations, num_fields), time_step)

        self._step_of = step_of
        closure = equation.closure
        takes_batches = getattr(closure, "accepts_batches", False)
        self._joins = takes_batches and not hasattr(closure, "on")

    def steps(
        self, vorticity_hat: FieldHat, since: State, time_step: float, numbers: range
    ) -> FieldHat:
        vorticity_hat = _writable(vorticity_hat)
        with self._lock:
            if self._is_stepping:
                raise RuntimeError(
                    "a closure or forcing cannot advance the simulation that calls it, "
                    "whose buffers hold its own step; make another Simulation for it."
                )
            self._is_stepping = True
            try:
                self._step(self._each(vorticity_hat), since, time_step, numbers)
            finally:
                self._is_stepping = False
        return vorticity_hat

    def _step(
        self, fields: FieldHat, since: State, time_step: float, numbers: range
    ) -> None:
        # A network gets all fields at once; all else is done one by one in cache.
        size = len(fields) if self._joins else 1
        groups = [fields[i : i + size] for i in range(0, len(fields), size)]
        for group in groups:
            step = self._step_of(len(group), time_step)
            target = group if len(group) > 1 else group[0]
            for number in numbers:
                step(target, since.time + number * time_step)
                for field_hat in group:
                    self._equation.drive.kick(
                        field_hat, since.step_number + number, time_step
                    )
                    self._equation.end_step(field_hat)

    def advection_rates(self, vorticity_hat: FieldHat) -> NDArray[np.float64]:
        rate, operations = self._equation.advection_rate, self._rate_operations
        fields = self._each(_writable(vorticity_hat))
        with self._rate_lock:
            return np.array([rate(operations, hat) for hat in fields])

    def energy(self, vorticity_hat: FieldHat) -> float:
        fields = self._each(np.asarray(vorticity_hat))
        return float(np.mean([self._equation.energy(hat) for hat in fields]))

    def to_physical(self, vorticity_hat: FieldHat) -> Field:
        return self._equation.modes.to_physical(np.asarray(vorticity_hat))

    def integrals(self, vorticity_hat: FieldHat, time: float) -> Integrals:
        return self._equation.integrals(np.asarray(vorticity_hat), time)

    def filtered(
        self, vorticity_hat: FieldHat, num_points: tuple[int, int], width: float
    ) -> FilteredFields:
        vorticity = self.to_physical(vorticity_hat).astype(np.float64)
        lengths = self._equation.modes.grid.lengths
        return filtered_dns(vorticity, num_points, filter_width=width, lengths=lengths)

    def _each(self, vorticity_hat: FieldHat) -> FieldHat:
        """Return a view of all fields along one leading axis."""
        return vorticity_hat.reshape(-1, *self._equation.shape)


def _writable(vorticity_hat: FieldHat) -> FieldHat:
    """Return coefficients as compiled kernels take them, unlike arrays of JAX."""
    return np.require(vorticity_hat, requirements=("C", "W"))
