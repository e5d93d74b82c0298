"""The peer: fluidsim's ns2d solver (pseudo-spectral, 2/3 dealiasing, RK4).

It is given every advantage that costs it nothing: preallocated results, nothing
printed, saved or checked in the time loop, the fastest transform library it finds.
"""

import atexit
import contextlib
import io
import os
import shutil
import tempfile
from functools import cache
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

import numpy as np
from benchmarked_solver import TINY_STEP, Case, Field, both_signs
from interleaved_timing import Effort, interleaved
from numpy.typing import NDArray

# The first comes with fluidsim; the others with the plug-in fluidfft-fftw, which has
# to be compiled against an FFTW of the system.
TRANSFORMS = ("fft2d.with_pyfftw", "fft2d.with_fftw2d", "fft2d.with_fftw1d")
CFL_SETTINGS = (1.0, 0.8, 0.6, 0.5, 0.4, 0.3, 0.2)


@cache
def fluidsim_modules() -> SimpleNamespace:
    """Imports fluidsim, which reads its results folder from the environment."""
    folder = tempfile.mkdtemp(prefix="fluidsim_")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["FLUIDSIM_PATH"] = folder
    from fluiddyn.calcul import easypyfft
    from fluidfft import import_fft_class
    from fluidsim.solvers.ns2d.solver import Simul

    usable = []
    for name in TRANSFORMS:
        try:
            import_fft_class(name)
        except (ImportError, ValueError):
            continue
        usable.append(name)
    return SimpleNamespace(Simul=Simul, easypyfft=easypyfft, transforms=tuple(usable))


def fastest_fluidsim(case: Case) -> "FluidsimSolver":
    """Returns fluidsim with the transform library that serves this case best."""
    return FluidsimSolver(case, _fastest_transforms(case))


@cache
def _fastest_transforms(case: Case) -> str:
    names = fluidsim_modules().transforms
    solvers = {name: FluidsimSolver(case, name) for name in names}
    for solver in solvers.values():
        solver.start(np.zeros((case.num_points, case.num_points)))
    runs = {name: solver.right_hand_side for name, solver in solvers.items()}
    times = interleaved(runs, Effort(repetitions=5, seconds_each=0.03))
    return min(names, key=times.median)


class FluidsimSolver:
    """fluidsim's ns2d for one case. Its arrays are [y, x]: fields are transposed."""

    def __init__(self, case: Case, transforms: str = TRANSFORMS[0]) -> None:
        self._case, self._transforms = case, transforms
        self.description = f"fluidsim {version('fluidsim')} ({transforms})"
        self._sim = self._simul(use_cfl=False)
        self._adaptive: Any = None
        self._set_time_step(TINY_STEP)

    def kept_modes(self) -> NDArray[np.bool_]:
        oper = self._sim.oper
        return both_signs(
            oper.KX, oper.KY, oper.where_dealiased == 0, self._case.num_points
        )

    def start(self, vorticity: Field) -> None:
        self._vorticity = vorticity
        self._fill(self._sim)
        self._old = self._sim.tendencies_nonlin(self._sim.state.state_spect)

    def right_hand_side(self) -> None:
        self._sim.tendencies_nonlin(self._sim.state.state_spect, old=self._old)

    def tendency(self) -> Field:
        self.right_hand_side()
        hat = np.array(self._old.get_var("rot_fft"))
        return np.array(self._sim.oper.ifft(hat).T)

    def step(self) -> None:
        self._sim.time_stepping.one_time_step_computation()

    def advance(self, duration: float, num_steps: int) -> Field:
        self._fill(self._sim)
        self._set_time_step(duration / num_steps)
        stepping = self._sim.time_stepping
        for _ in range(num_steps):
            stepping.one_time_step_computation()
        return self._result(self._sim)

    def advance_by_cfl(self, duration: float, setting: float | None) -> Field:
        if self._adaptive is None:
            self._adaptive = self._simul(use_cfl=True)
        self._fill(self._adaptive)
        stepping, now = self._adaptive.time_stepping, 0.0
        stepping.CFL = setting
        while now < duration * (1.0 - 1e-12):
            stepping.compute_time_increment_CLF()
            stepping.deltat = min(stepping.deltat, duration - now)
            stepping.one_time_step_computation()
            now += stepping.deltat
        return self._result(self._adaptive)

    def cfl_settings(self) -> tuple[float | None, ...]:
        return CFL_SETTINGS

    def _simul(self, use_cfl: bool) -> Any:
        case, fluidsim = self._case, fluidsim_modules()
        fluidsim.easypyfft.nthreads = case.threads
        params = fluidsim.Simul.create_default_params()
        params.oper.nx = params.oper.ny = case.num_points
        params.oper.Lx = params.oper.Ly = 2.0 * np.pi
        params.oper.type_fft = self._transforms
        # It drops |k| >= coefficient * N / 2; half a mode above our largest kept one.
        largest = (case.num_points - 1) // 3
        params.oper.coef_dealiasing = (largest + 0.5) / (case.num_points / 2)
        params.nu_2 = case.viscosity
        params.time_stepping.USE_CFL = use_cfl
        params.time_stepping.type_time_scheme = "RK4"
        params.time_stepping.deltat0 = TINY_STEP
        params.init_fields.type = "in_script"
        params.output.HAS_TO_SAVE = False
        params.output.ONLINE_PLOT_OK = False
        params.output.periods_print.print_stdout = 0
        with contextlib.redirect_stdout(io.StringIO()):  # it prints a summary
            return fluidsim.Simul(params)

    def _fill(self, sim: Any) -> None:
        field = sim.oper.create_arrayX(value=0.0)
        field[...] = self._vorticity.T
        sim.state.init_from_rotfft(sim.oper.fft(field))

    def _set_time_step(self, time_step: float) -> None:
        stepping = self._sim.time_stepping
        stepping.deltat = time_step
        stepping.exact_linear_coefs.compute(time_step)

    @staticmethod
    def _result(sim: Any) -> Field:
        return np.array(sim.state.state_phys.get_var("rot").T)
