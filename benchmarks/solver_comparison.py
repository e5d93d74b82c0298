"""Cost of a right-hand side and of a step, and whether two solvers solve the same."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from benchmarked_solver import (
    BenchmarkedSolver,
    Case,
    Field,
    OwnSolver,
    four_transforms,
)
from interleaved_timing import Effort, interleaved

from turbulence_data import RandomVorticity
from turbulence_data.solver import Grid

MakeSolver = Callable[[Case], BenchmarkedSolver]

# Round-off of two different orders of operations, amplified by the flow.
AGREEMENT = 1e-10


class DisagreementError(RuntimeError):
    """Two solvers of one flow give different answers: their times mean nothing."""


@dataclass(frozen=True)
class AgreementRun:
    """Equal steps of both solvers from one start field."""

    case: Case
    duration: float
    num_steps: int


def random_start(num_points: int, energy: float = 0.1) -> Field:
    """A random field around wavenumber 6, of RMS vorticity 10 sqrt(energy) or so."""
    draw = RandomVorticity(energy=energy)
    return draw(Grid((num_points, num_points)), np.random.default_rng(0))


def rough_field(num_points: int) -> Field:
    """White noise without mean: all modes are there, up to the edge of the mask."""
    field = np.random.default_rng(1).standard_normal((num_points, num_points))
    return field - field.mean()


def simulate(num_points: int, threads: int, num_steps: int) -> None:
    """A simulation to be run in another process."""
    solver = OwnSolver(Case(num_points, threads=threads))
    solver.start(random_start(num_points))
    solver.advance(1e-3 * num_steps, num_steps)


def cost_row(
    case: Case, own: MakeSolver, peer: MakeSolver | None, effort: Effort
) -> dict[str, Any]:
    """Seconds a right-hand side, and a quarter of a step, beside the floor."""
    start = random_start(case.num_points)
    runs: dict[str, Callable[[], object]] = {
        "floor": four_transforms(case.num_points, case.threads)
    }
    for prefix, make in (("", own), ("peer_", peer)):
        if make is not None:
            solver = make(case)
            solver.start(start)
            runs[f"{prefix}right_hand_side"] = solver.right_hand_side
            runs[f"{prefix}quarter_step"] = solver.step
    times = interleaved(runs, effort)
    row: dict[str, Any] = {"num_points": case.num_points, "threads": case.threads}
    for name in runs:
        share = 4.0 if name.endswith("quarter_step") else 1.0
        row[name] = times.median(name) / share
    for name in ("right_hand_side", "quarter_step"):
        share = 4.0 if name == "quarter_step" else 1.0
        row[f"{name}_ratio"] = times.ratio(name, "floor") / share
        if peer is not None:
            row[f"{name}_speed_up"] = times.ratio(f"peer_{name}", name)
    if peer is not None:
        row["peer"] = solver.description
    return row


def relative_difference(one: Field, other: Field) -> float:
    """Largest difference over the largest value."""
    return float(np.max(np.abs(one - other)) / np.max(np.abs(other)))


def agreement_row(
    run: AgreementRun, own: MakeSolver, peer: MakeSolver
) -> dict[str, Any]:
    """How far apart both solvers are, in one right-hand side and at the end.

    Raises:
        DisagreementError: when they keep different modes, or differ by more than
            `AGREEMENT` of the largest value.
    """
    case = run.case
    ours, theirs = own(case), peer(case)
    where = f"N = {case.num_points}, {case.threads} thread(s)"
    different = int(np.count_nonzero(ours.kept_modes() != theirs.kept_modes()))
    if different:
        raise DisagreementError(
            f"{where}: {different} modes are kept by only one of the solvers; choose "
            "the peer's dealiasing so that both keep the same."
        )
    row: dict[str, Any] = {
        "num_points": case.num_points,
        "threads": case.threads,
        "duration": run.duration,
        "num_steps": run.num_steps,
        "modes_kept": int(np.count_nonzero(ours.kept_modes())),
    }
    for solver in (ours, theirs):
        solver.start(rough_field(case.num_points))
    row["tendency"] = relative_difference(ours.tendency(), theirs.tendency())
    for solver in (ours, theirs):
        solver.start(random_start(case.num_points))
    row["end_field"] = relative_difference(
        ours.advance(run.duration, run.num_steps),
        theirs.advance(run.duration, run.num_steps),
    )
    for name in ("tendency", "end_field"):
        if not row[name] <= AGREEMENT:
            raise DisagreementError(
                f"{where}: the solvers do not agree: the {name.replace('_', ' ')} "
                f"differs by {row[name]:.3g} of its largest value, above the "
                f"{AGREEMENT:g} that round-off explains. Do not compare their times."
            )
    return row
