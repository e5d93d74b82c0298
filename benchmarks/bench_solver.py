"""Cost of the solver against four full FFTW transforms, in one run.

    python benchmarks/bench_solver.py [--json FILE] [--planner FFTW_MEASURE]

One right-hand side takes two fields to physical space and two back, so four real
two-dimensional transforms of the whole grid are its natural unit. Times are medians of
interleaved repetitions; only the ratios are worth quoting, on a machine that is idle.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable

import numpy as np
import pyfftw

from turbulence_data import FlowConfig, RandomVorticity
from turbulence_data.solver.equations import VorticityEquation
from turbulence_data.solver.grid import Grid
from turbulence_data.solver.modes import truncated_modes
from turbulence_data.solver.time_stepping import integrating_factor_rk4

SIZES = (64, 128, 256, 512, 1024)
REPETITIONS = 7
SECONDS_EACH = 0.2


def seconds_a_call(function: Callable[[], object], num_calls: int) -> float:
    start = time.perf_counter()
    for _ in range(num_calls):
        function()
    return (time.perf_counter() - start) / num_calls


def four_transforms(num_points: int, threads: int) -> Callable[[], None]:
    field = pyfftw.zeros_aligned((num_points, num_points))
    hat = pyfftw.zeros_aligned((num_points, num_points // 2 + 1), "complex128")
    options = {"axes": (0, 1), "flags": ("FFTW_MEASURE",), "threads": threads}
    forward = pyfftw.FFTW(field, hat, **options)
    inverse = pyfftw.FFTW(hat, field, direction="FFTW_BACKWARD", **options)
    field[...] = np.random.default_rng(0).standard_normal(field.shape)
    forward.execute()

    def run() -> None:
        for _ in range(2):
            inverse.execute()
            forward.execute()

    return run


def measure(num_points: int, threads: int, planner: str) -> dict[str, float]:
    grid = Grid((num_points, num_points))
    flow = FlowConfig(num_points, reynolds=1000.0)
    modes = truncated_modes(grid)
    equation = VorticityEquation(flow, modes, planner=planner, threads=threads)
    start = RandomVorticity()(grid, np.random.default_rng(0))
    state, out = modes.from_physical(start), np.empty(modes.shape, complex)
    step = integrating_factor_rk4(equation, 1e-5)
    runs = {
        "floor": four_transforms(num_points, threads),
        "right_hand_side": lambda: equation.nonlinear_terms(state, 0.0, out),
        "quarter_step": lambda: step(state, 0.0),
    }
    counts, times = {}, {name: [] for name in runs}
    for name, run in runs.items():
        run()
        counts[name] = max(2, int(SECONDS_EACH / seconds_a_call(run, 2)))
    for _ in range(REPETITIONS):
        for name, run in runs.items():
            share = 4.0 if name == "quarter_step" else 1.0
            times[name].append(seconds_a_call(run, counts[name]) / share)
    medians = {name: statistics.median(values) for name, values in times.items()}
    ratios = {
        f"{name}_ratio": statistics.median(
            a / b for a, b in zip(times[name], times["floor"], strict=True)
        )
        for name in ("right_hand_side", "quarter_step")
    }
    return {"num_points": num_points, "threads": threads, **medians, **ratios}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", help="file to write the rows to")
    parser.add_argument("--planner", default="FFTW_ESTIMATE")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    options = parser.parse_args()
    rows = []
    print("   N threads   floor ms     RHS ms  ratio   step/4 ms  ratio")
    for size in options.sizes:
        for threads in options.threads:
            row = measure(size, threads, options.planner)
            rows.append(row)
            print(
                f"{size:4d} {threads:7d} {row['floor'] * 1e3:10.4f} "
                f"{row['right_hand_side'] * 1e3:10.4f} "
                f"{row['right_hand_side_ratio']:6.2f} "
                f"{row['quarter_step'] * 1e3:11.4f} {row['quarter_step_ratio']:6.2f}",
                flush=True,
            )
    if options.json:
        with open(options.json, "w") as file:
            json.dump({"planner": options.planner, "rows": rows}, file, indent=1)


if __name__ == "__main__":
    main()
