"""How long each solver takes to reach an accuracy, with the longest steps that do."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from benchmarked_solver import BenchmarkedSolver, Case, Field
from interleaved_timing import Effort, seconds_a_call
from solver_comparison import MakeSolver, random_start, relative_difference


@dataclass(frozen=True)
class Problem:
    """A flow, an end and an accuracy.

    Attributes:
        case: the flow.
        duration: end of the run.
        tolerance: allowed temporal error, relative, in the max norm of the end field.
        energy: of the random start field.
        num_steps: numbers of equal steps to try, fewest first.
        reference_steps: number of steps of the run that errors are measured against.
        effort: how often every run is timed, and by which clock.
    """

    case: Case
    duration: float = 5.0
    tolerance: float = 1e-4
    energy: float = 0.1
    num_steps: tuple[int, ...] = (200, 250, 300, 350, 400, 450, 500, 600, 800, 1000)
    reference_steps: int = 2500
    effort: Effort = field(default_factory=lambda: Effort(repetitions=3))


@dataclass(frozen=True)
class Way:
    """One way of reaching the end, and its error."""

    label: str
    run: Callable[[], Field]
    error: float


def solve(problem: Problem, solvers: dict[str, MakeSolver]) -> dict[str, Any]:
    """Times the cheapest accurate way of every solver, in turn.

    Returns:
        Per solver the error, steps and median seconds of equal steps and of its own
        step control. Planning and compiling have happened before.
    """
    start = random_start(problem.case.num_points, problem.energy)
    made = {name: make(problem.case) for name, make in solvers.items()}
    for solver in made.values():
        solver.start(start)
    own = next(iter(made.values()))
    reference = own.advance(problem.duration, problem.reference_steps)
    ways = {
        (name, kind): way
        for name, solver in made.items()
        for kind, way in _accurate_ways(solver, problem, reference).items()
    }
    seconds: dict[tuple[str, str], list[float]] = {key: [] for key in ways}
    for _ in range(problem.effort.repetitions):
        for key, way in ways.items():
            seconds[key].append(seconds_a_call(way.run, 1, problem.effort.clock))
    result: dict[str, Any] = {
        **{name: getattr(problem.case, name) for name in ("num_points", "threads")},
        "viscosity": problem.case.viscosity,
        "duration": problem.duration,
        "tolerance": problem.tolerance,
        "rms_vorticity": float((start**2).mean() ** 0.5),
    }
    for name, solver in made.items():
        result[name] = {"solver": solver.description}
    for (name, kind), way in ways.items():
        result[name][kind] = {
            "setting": way.label,
            "error": way.error,
            "seconds": statistics.median(seconds[name, kind]),
        }
    return result


def _accurate_ways(
    solver: BenchmarkedSolver, problem: Problem, reference: Field
) -> dict[str, Way]:
    """The longest equal steps that are accurate, and the longest chosen ones."""
    duration = problem.duration
    candidates: dict[str, list[tuple[str, Callable[[], Field]]]] = {
        "equal_steps": [
            (f"{number} steps", lambda number=number: solver.advance(duration, number))
            for number in problem.num_steps
        ],
        "chosen_steps": [
            (
                "default" if setting is None else f"CFL {setting:g}",
                lambda setting=setting: solver.advance_by_cfl(duration, setting),
            )
            for setting in solver.cfl_settings()
        ],
    }
    found = {}
    for kind, runs in candidates.items():
        for label, run in runs:
            error = _error(run, reference)
            if error < problem.tolerance:
                found[kind] = Way(label, run, error)
                break
    return found


def _error(run: Callable[[], Field], reference: Field) -> float:
    """The temporal error, infinite where the steps are too long to be stable."""
    try:
        return relative_difference(run(), reference)
    except (ValueError, FloatingPointError):
        return float("inf")


def best_seconds(result: dict[str, Any], name: str) -> float:
    """Seconds of a solver's cheapest accurate way."""
    kinds = ("equal_steps", "chosen_steps")
    return min(result[name][k]["seconds"] for k in kinds if k in result[name])
