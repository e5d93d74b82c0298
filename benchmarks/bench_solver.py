"""Cost of the solver against its transforms and against a peer, fluidsim, in one run.

    pip install -e ".[bench]"
    python benchmarks/bench_solver.py --json runs/benchmark.json > runs/benchmark.md

One right-hand side takes two fields to physical space and two back, so four real
two-dimensional transforms of the whole grid are its natural unit, the floor. Times are
medians of interleaved repetitions; only the ratios are worth quoting, measured on a
machine that does nothing else. Exits with 1 when the peer and the solver disagree.
"""

import argparse
import contextlib
import ctypes
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import benchmark_report as report
import setting_up
import thread_pools
from benchmarked_solver import Case, OwnSolver
from interleaved_timing import Effort
from solver_comparison import (
    AgreementRun,
    DisagreementError,
    MakeSolver,
    agreement_row,
    cost_row,
)
from time_to_solution import Problem, solve

SIZES = (64, 128, 256, 512, 1024)
SECTIONS = ("costs", "agreement", "solution", "threads")
NO_PEER = (
    "fluidsim is not installed, so nothing is compared with it; install it with: "
    'pip install -e ".[bench]"'
)
# Both code paths of the solver (packed rows and pairs), one and two threads.
AGREEMENT_RUNS: tuple[AgreementRun, ...] = (
    AgreementRun(Case(64), duration=5.0, num_steps=500),
    AgreementRun(Case(128), duration=2.0, num_steps=250),
    AgreementRun(Case(256), duration=2.0, num_steps=400),
    AgreementRun(Case(256, threads=2), duration=0.5, num_steps=100),
    AgreementRun(Case(512), duration=0.5, num_steps=200),
)
NEIGHBOURS = tuple(
    (neighbour, threads, policy)
    for neighbour in ("none", "tensorflow", "numba")
    for threads, policy in ((1, ""), (2, ""), (2, "PASSIVE"))
)
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


@contextlib.contextmanager
def standard_output_as_error() -> Iterator[None]:
    """Libraries print while they plan, some from C: keep that out of the tables."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        ctypes.CDLL(None).fflush(None)
        os.dup2(kept, 1)
        os.close(kept)


def options_from(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", type=Path, help="file to write the results to")
    parser.add_argument("--planner", default="FFTW_ESTIMATE", help="of our transforms")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=SECTIONS)
    parser.add_argument(
        "--clock",
        choices=tuple(CLOCKS),
        default="wall",
        help="cpu: CPU time, for --threads 1 on a machine that is busy",
    )
    parser.add_argument(
        "--quick", action="store_true", help="a smoke test of seconds; means nothing"
    )
    options = parser.parse_args(arguments)
    if options.clock == "cpu" and options.threads != [1]:
        parser.error("--clock cpu adds up all threads: give --threads 1 with it")
    return options


def installed_peer() -> MakeSolver | None:
    if find_spec("fluidsim") is None:
        return None
    from fluidsim_peer import fastest_fluidsim

    return fastest_fluidsim


def measure_costs(
    options: argparse.Namespace, peer: MakeSolver | None
) -> list[dict[str, Any]]:
    effort = Effort(clock=CLOCKS[options.clock])
    sizes, threads = options.sizes, options.threads
    if options.quick:
        effort = Effort(repetitions=3, seconds_each=0.005)
        sizes, threads = [32, 64], [1]
    rows = []
    for size in sizes:
        for number in threads:
            case = Case(size, threads=number, planner=options.planner)
            rows.append(cost_row(case, OwnSolver, peer, effort))
            print(f"measured N = {size}, {number} thread(s)", file=sys.stderr)
    return rows


def measure_agreement(
    options: argparse.Namespace, peer: MakeSolver
) -> list[dict[str, Any]]:
    runs = AGREEMENT_RUNS
    if options.quick:
        runs = (AgreementRun(Case(32), duration=0.2, num_steps=20),)
    return [agreement_row(run, OwnSolver, peer) for run in runs]


def measure_solution(
    options: argparse.Namespace, peer: MakeSolver | None
) -> list[dict[str, Any]]:
    effort = Effort(repetitions=3, clock=CLOCKS[options.clock])
    problems = [Problem(Case(256, threads=n), effort=effort) for n in options.threads]
    if options.quick:
        tiny = Case(32, viscosity=1e-2)
        steps = (10, 20, 40, 80)
        problems = [
            Problem(tiny, 0.5, num_steps=steps, reference_steps=200, effort=effort)
        ]
    solvers: dict[str, MakeSolver] = {"own": OwnSolver}
    if peer is not None:
        solvers["peer"] = peer
    results = [solve(problem, solvers) for problem in problems]
    if not options.quick:
        names = setting_up.SOLVERS if peer is not None else setting_up.SOLVERS[:1]
        for problem, result in zip(problems, results, strict=True):
            result["setting_up"] = {
                name: setting_up.measure(name, problem.case) for name in names
            }
    return results


def measure_threads(options: argparse.Namespace) -> dict[str, Any]:
    if options.quick:
        return {"neighbours": thread_pools.measure([("none", 1, "")], 2)}
    return {
        "neighbours": thread_pools.measure(NEIGHBOURS),
        "processes": thread_pools.processes_and_threads(),
    }


def measure(options: argparse.Namespace, peer: MakeSolver | None) -> dict[str, Any]:
    """Everything that was asked for, as plain values."""
    results: dict[str, Any] = {
        "machine": report.machine(),
        "versions": report.versions(),
        "planner": options.planner,
        "clock": options.clock,
        "quick": options.quick,
        "peer": NO_PEER if peer is None else "fluidsim",
        "rows": [],
        "agreement": [],
        "time_to_solution": [],
        "threads": {},
    }
    # First, so that nothing is measured of a solver that is wrong.
    if "agreement" in options.only and peer is not None:
        results["agreement"] = measure_agreement(options, peer)
    if "costs" in options.only:
        results["rows"] = measure_costs(options, peer)
    if "solution" in options.only:
        results["time_to_solution"] = measure_solution(options, peer)
    if "threads" in options.only:
        results["threads"] = measure_threads(options)
    results["machine"]["load_average_at_end"] = report.machine()["load_average"]
    results["claims"] = report.claims(results)
    return results


def main(arguments: Sequence[str] | None = None, peer: MakeSolver | None = None) -> int:
    """Measures, prints and writes; returns the exit code."""
    options = options_from(arguments)
    try:
        with standard_output_as_error():
            results = measure(options, peer or installed_peer())
    except DisagreementError as error:
        print(f"FAILED: {error}", file=sys.stderr)
        return 1
    print(report.document(results))
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(results, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
