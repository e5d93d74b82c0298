"""What the benchmark asks of a solver, and this package's own."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyfftw
from numpy.typing import NDArray

from turbulence_data import FlowConfig
from turbulence_data.solver import (
    FftwEngine,
    Grid,
    Numerics,
    Simulation,
    VorticityEquation,
    advance_to,
    integrating_factor_rk4,
    truncated_modes,
)

Field = NDArray[np.float64]

# Steps that are timed, not solved: so short that no state ever changes visibly.
TINY_STEP = 1e-6


@dataclass(frozen=True)
class Case:
    """A decaying flow without drag on a square of side 2 pi, and how to compute it.

    Attributes:
        num_points: per direction.
        viscosity: nu.
        threads: of one Fourier transform.
        planner: of our transforms while a right-hand side is timed.
    """

    num_points: int
    viscosity: float = 1e-3
    threads: int = 1
    planner: str = "FFTW_ESTIMATE"


class BenchmarkedSolver(Protocol):
    """One solver of one case. Fields are (N, N), axis 0 is x."""

    description: str

    def kept_modes(self) -> NDArray[np.bool_]:
        """Which (kx, ky) are solved for, (N, N) in the order of `np.fft.fft2`."""

    def start(self, vorticity: Field) -> None:
        """Makes a field the present state, at time 0."""

    def right_hand_side(self) -> None:
        """Evaluates the nonlinear terms of the present state."""

    def tendency(self) -> Field:
        """Returns the nonlinear terms of the present state as a field."""

    def step(self) -> None:
        """Takes one step of `TINY_STEP`."""

    def advance(self, duration: float, num_steps: int) -> Field:
        """Returns the vorticity after equal steps from the start."""

    def advance_by_cfl(self, duration: float, setting: float | None) -> Field:
        """Returns the vorticity after steps of the solver's own choice."""

    def cfl_settings(self) -> tuple[float | None, ...]:
        """What `advance_by_cfl` can be given, longest steps first."""


class OwnSolver:
    """`turbulence_data`, as `Simulation` and `evolve` run it."""

    def __init__(self, case: Case) -> None:
        self.description = "turbulence_data"
        self._n = case.num_points
        flow = FlowConfig(
            case.num_points,
            reynolds=1.0 / case.viscosity,
            linear_drag=0.0,
            forcing_wavenumber=None,
        )
        self._simulation = Simulation(
            flow, numerics=Numerics(engine=FftwEngine(threads=case.threads))
        )
        self._modes = truncated_modes(Grid((self._n, self._n)))
        equation = VorticityEquation(flow, self._modes)
        side = FftwEngine(case.threads).right_hand_side(equation, case.planner)
        self._nonlinear_terms = side.nonlinear_terms
        self._tiny_step = integrating_factor_rk4(side, TINY_STEP)

    def kept_modes(self) -> NDArray[np.bool_]:
        modes = self._modes
        return both_signs(modes.kx, modes.ky, modes.mask, self._n)

    def start(self, vorticity: Field) -> None:
        self._state = self._modes.from_physical(vorticity)
        self._slope = np.empty_like(self._state)
        self._first = self._simulation.start(vorticity)

    def right_hand_side(self) -> None:
        self._nonlinear_terms(self._state, 0.0, self._slope)

    def tendency(self) -> Field:
        self.right_hand_side()
        return self._modes.to_physical(self._slope)

    def step(self) -> None:
        self._tiny_step(self._state, 0.0)

    def advance(self, duration: float, num_steps: int) -> Field:
        time_step = duration / num_steps
        end = self._simulation.advance(self._first, duration, time_step)
        return self._simulation.vorticity(end)

    def advance_by_cfl(self, duration: float, setting: float | None) -> Field:
        end = advance_to(self._simulation, self._first, duration, None)
        return self._simulation.vorticity(end)

    def cfl_settings(self) -> tuple[float | None, ...]:
        return (None,)


def both_signs(
    kx: NDArray[Any], ky: NDArray[Any], mask: NDArray[Any], num_points: int
) -> NDArray[np.bool_]:
    """Marks the stored modes and their mirrors; the mean is left out."""
    plane = np.zeros((num_points, num_points), bool)
    where = np.asarray(mask, bool)
    kept = (np.broadcast_to(k, where.shape)[where] for k in (kx, ky))
    x, y = (np.rint(k).astype(int) for k in kept)
    plane[x % num_points, y % num_points] = True
    plane[-x % num_points, -y % num_points] = True
    plane[0, 0] = False
    return plane


def four_transforms(
    num_points: int, threads: int, pairs: int = 2
) -> Callable[[], None]:
    """The floor: measured real transforms, there and back, whole grid, in place."""
    field = pyfftw.zeros_aligned((num_points, num_points))
    hat = pyfftw.zeros_aligned((num_points, num_points // 2 + 1), "complex128")
    options = {"axes": (0, 1), "flags": ("FFTW_MEASURE",), "threads": threads}
    forward = pyfftw.FFTW(field, hat, **options)
    inverse = pyfftw.FFTW(hat, field, direction="FFTW_BACKWARD", **options)
    # Zeros stay zeros; unnormalized repetition would take anything else to infinity.
    field[...] = 0.0
    hat[...] = 0.0

    def run() -> None:
        for _ in range(pairs):
            inverse.execute()
            forward.execute()

    return run
