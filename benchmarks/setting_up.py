"""Planning and compiling: seconds to a first right-hand side in a fresh process.

    python benchmarks/setting_up.py SOLVER NUM_POINTS THREADS

prints them; modules are imported before the clock starts. FFTW keeps its plans within a
process and numba its machine code on disk: it cannot be measured among other runs.
"""

import subprocess
import sys
import time

from benchmarked_solver import Case, OwnSolver
from solver_comparison import MakeSolver, random_start

SOLVERS = ("turbulence_data", "fluidsim")


def measure(solver: str, case: Case) -> float:
    """Seconds to the first right-hand side of one of `SOLVERS`."""
    arguments = [solver, str(case.num_points), str(case.threads)]
    done = subprocess.run(
        [sys.executable, __file__, *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout.strip().split("\n")[-1])


def _maker(solver: str) -> MakeSolver:
    if solver == "turbulence_data":
        return OwnSolver
    from fluidsim_peer import FluidsimSolver, fluidsim_modules

    fluidsim_modules()
    return FluidsimSolver


def child(solver: str, case: Case) -> float:
    make, start = _maker(solver), random_start(case.num_points)
    before = time.perf_counter()
    made = make(case)
    made.start(start)
    made.right_hand_side()
    return time.perf_counter() - before


if __name__ == "__main__":
    print(child(sys.argv[1], Case(int(sys.argv[2]), threads=int(sys.argv[3]))))
