"""What a closure costs inside an LES: ratios to the step without one, in one run.

    python benchmarks/bench_online.py [--num-points 128] [--quick]

Every closure is timed in turn with the step without closure, so that a busy moment hits
both. For a network the overhead is what a step costs beyond four forward passes on a
ready batch and the step without closure.
"""

import argparse
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from interleaved_timing import Effort, Times, interleaved

import keras_spectral_tl as kst
from turbulence_data import FlowConfig, RandomVorticity
from turbulence_data.closures import (
    DynamicLeith,
    DynamicSmagorinsky,
    GradientModel2,
    GradientModel4,
    JansenHeld,
    Leith,
    NoClosure,
    Smagorinsky,
)
from turbulence_data.solver import (
    FftwEngine,
    Grid,
    VorticityEquation,
    integrating_factor_rk4,
    padded_modes,
)

CLASSIC = (
    Smagorinsky(),
    DynamicSmagorinsky(),
    Leith(),
    DynamicLeith(),
    GradientModel2(),
    GradientModel4(),
    JansenHeld(),
)
STATISTICS = dict.fromkeys(("streamfunction", "vorticity", "sgs_forcing"), (0.0, 1.0))


def step_of(closure: Any, num_points: int) -> Callable[[], None]:
    """One step of an LES from a fixed field; steps are short, so nothing grows."""
    grid = Grid((num_points, num_points))
    modes = padded_modes(grid)
    flow = FlowConfig(num_points, 1e4)
    equation = VorticityEquation(flow, modes, closure)
    step = integrating_factor_rk4(FftwEngine().right_hand_side(equation), 1e-6)
    start = RandomVorticity(0.5, 6.0)(grid, np.random.default_rng(0))
    state = modes.from_physical(start)
    return lambda: step(state, 0.0)


def classic_times(num_points: int, effort: Effort) -> Times:
    runs = {"none": step_of(NoClosure(), num_points)}
    for closure in CLASSIC:
        runs[type(closure).__name__] = step_of(closure, num_points)
    return interleaved(runs, effort)


def network_times(num_points: int, effort: Effort, num_filters: int) -> Times:
    """A step with a network, four of its forward passes, and a step without."""
    model = kst.build_sgs_cnn(
        (num_points, num_points, 2), num_layers=6, num_filters=num_filters
    )
    closure = kst.KerasClosure(model, STATISTICS)
    field = np.random.default_rng(0).standard_normal((num_points, num_points))
    batch = closure.inputs(field, field)

    def forward_passes() -> None:
        for _ in range(4):
            closure.forward(batch)

    def calls() -> None:
        for _ in range(4):
            closure(field, field)

    runs = {
        "step": step_of(closure, num_points),
        "forward passes": forward_passes,
        "calls": calls,
        "none": step_of(NoClosure(), num_points),
    }
    return interleaved(runs, effort)


def table(times: Times) -> list[dict[str, Any]]:
    return [
        {
            "closure": name,
            "ms a step": 1e3 * times.median(name),
            "over none": times.ratio(name, "none"),
        }
        for name in times.rounds
    ]


def overheads(times: Times) -> Mapping[str, float]:
    """Parts of a step with a network: its calls less its passes, and all but both."""
    rounds = zip(*(times.rounds[name] for name in times.rounds), strict=True)
    calls, whole = [], []
    for step, passes, called, none in rounds:
        calls.append((called - passes) / step)
        whole.append((step - passes - none) / step)
    return {
        "of the calls": float(np.median(calls)),
        "of everything": float(np.median(whole)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--num-points", type=int, default=128)
    parser.add_argument("--json", type=Path, help="file to write the results to")
    parser.add_argument("--quick", action="store_true", help="a check, not a benchmark")
    options = parser.parse_args()
    effort = Effort(2, 0.01) if options.quick else Effort(9, 0.15)
    rows = table(classic_times(options.num_points, effort))
    print(f"one step of an LES on {options.num_points}^2 points\n")
    print("| closure | ms a step | over none |\n|---|---|---|")
    for row in rows:
        print(f"| {row['closure']} | {row['ms a step']:.2f} | {row['over none']:.2f} |")
    results: dict[str, Any] = {"num_points": options.num_points, "rows": rows}
    for num_filters in (4,) if options.quick else (16, 64):
        times = network_times(options.num_points, effort, num_filters)
        found = overheads(times)
        results[f"network of {num_filters}"] = {
            "ms a step": 1e3 * times.median("step"),
            "ms of four forward passes": 1e3 * times.median("forward passes"),
            "overhead": found,
        }
        print(
            f"\nnetwork of 6 layers, {num_filters} channels: step "
            f"{1e3 * times.median('step'):.1f} ms, four forward passes "
            f"{1e3 * times.median('forward passes'):.1f} ms; overhead of the calls "
            f"{found['of the calls']:.1%}, of everything {found['of everything']:.1%}"
        )
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
