"""Cost of two-layer flow against its transforms and against a peer, pyqg, in one run.

    python benchmarks/bench_layers.py --json runs/layers.json
    python benchmarks/bench_layers.py --agree

The floor is that of a right-hand side by fluxes, as pyqg forms it: potential vorticity
and velocities of both layers to physical space and four fluxes back, ten real
two-dimensional transforms. This solver does so where it keeps what pyqg keeps
(`aliased_products`), and else needs nine, of which it leaves out what is not resolved.
Times are CPU times of one thread, medians of interleaved repetitions; only the ratios
are worth quoting. How pyqg is installed is said in docs/benchmarks.md.

`--agree` advances one start field with both, options alike, and compares them.
"""

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from benchmarked_solver import four_transforms
from interleaved_timing import Effort, Run, interleaved

from turbulence_data import TwoLayerConfig
from turbulence_data.solver import FftwEngine, Simulation

SIZES = (64, 128, 256)
EDDY = {"deformation_radius": 15e3, "beta": 1.5e-11, "bottom_drag": 5.787e-7}
FILTER = 23.6
# Steps that are timed, not solved: so short that no state ever changes visibly.
TINY_STEP = 1.0
# Weights of the newest rate and of older ones: the first step, the second, the others.
BY_AGE = ((1.0,), (1.5, -0.5), (23 / 12, -16 / 12, 5 / 12))
AGREED = 1e-9


def start_field(num_points: int) -> np.ndarray:
    field = np.random.default_rng(0).normal(size=(2, num_points, num_points))
    return 1e-6 * (field - field.mean(axis=(1, 2), keepdims=True))


def own_runs(num_points: int) -> dict[str, Run]:
    """A right-hand side as this solver has it, one as pyqg has it, and a step."""
    right_hand_side, step = _own(num_points, aliased=False)
    return {
        "own": right_hand_side,
        "own_aliased": _own(num_points, aliased=True)[0],
        "own_step": step,
    }


def _own(num_points: int, aliased: bool) -> tuple[Run, Run]:
    flow = TwoLayerConfig(
        num_points, **EDDY, exponential_filter=FILTER, aliased_products=aliased
    )
    simulation = Simulation(flow)
    state = simulation.start(start_field(num_points))
    q_hat, out = state.vorticity_hat.copy(), np.empty_like(state.vorticity_hat)
    side = FftwEngine().right_hand_side(simulation.equation)
    integrator = FftwEngine().integrator(
        simulation.equation, simulation.numerics.scheme
    )
    one = range(1)
    return (
        lambda: side.nonlinear_terms(q_hat, 0.0, out),
        lambda: integrator.steps(q_hat, state, TINY_STEP, one),
    )


def peer_runs(num_points: int) -> dict[str, Run]:
    """A right-hand side and a step of pyqg; nothing where it is not installed."""
    if find_spec("pyqg") is None:
        return {}
    model = peer_model(start_field(num_points), TINY_STEP)

    def right_hand_side() -> None:
        model._invert()
        model._do_advection()
        model._do_friction()

    return {"peer": right_hand_side, "peer_step": model._step_forward}


def peer_model(start: np.ndarray, time_step: float) -> Any:
    """The same flow in pyqg, from the same potential vorticity."""
    import pyqg

    model = pyqg.QGModel(
        nx=start.shape[-1],
        rd=15e3,
        beta=1.5e-11,
        rek=5.787e-7,
        dt=time_step,
        tmax=1e12,
        tavestart=1e12,
        twrite=10**12,
        ntd=1,
        log_level=0,
    )
    model.set_q1q2(*np.swapaxes(start, 1, 2))  # axis 2 is x there
    return model


def smooth_field(num_points: int, rms: float = 1e-5) -> np.ndarray:
    """Wavenumbers up to 8 of both layers, as strong as in developed eddies."""
    rng, cutoff = np.random.default_rng(0), 8
    hat = np.zeros((2, num_points, num_points // 2 + 1), complex)
    shape = (2, cutoff, cutoff)
    hat[:, 1 : cutoff + 1, 1 : cutoff + 1] = rng.normal(size=shape)
    hat[:, -cutoff:, 1 : cutoff + 1] = 1j * rng.normal(size=shape)
    field = np.fft.irfft2(hat, s=(num_points, num_points))
    return field * rms / np.sqrt(np.mean(field**2))


def adams_bashforth(start: np.ndarray, time_step: float) -> Iterator[np.ndarray]:
    """This solver with pyqg's products, filter and steps; yields every new field."""
    flow = TwoLayerConfig(
        start.shape[-1], **EDDY, exponential_filter=FILTER, aliased_products=True
    )
    equation = Simulation(flow).equation
    side = FftwEngine().right_hand_side(equation)
    q_hat, rates = equation.modes.from_physical(start), []
    for number in count():
        rate = np.empty_like(q_hat)
        side.nonlinear_terms(q_hat, 0.0, rate)
        rates = [rate + equation.linear_operator * q_hat, *rates[:2]]
        for weight, old in zip(BY_AGE[min(number, 2)], rates, strict=True):
            q_hat = q_hat + time_step * weight * old
        equation.end_step(q_hat)
        yield equation.modes.to_physical(q_hat)


def agree(num_points: int, steps: int, time_step: float = 7200.0) -> bool:
    """Prints the largest difference of both over the largest value; is it small?"""
    if find_spec("pyqg") is None:
        raise SystemExit(
            "--agree needs pyqg, which is not installed: docs/benchmarks.md says how."
        )
    start, difference = smooth_field(num_points), np.inf
    peer, own = peer_model(start, time_step), adams_bashforth(start, time_step)
    for number in range(1, steps + 1):
        peer._step_forward()
        field = next(own)
        if number % max(steps // 10, 1) == 0 or number == steps:
            other = np.swapaxes(np.fft.irfft2(peer.qh), 1, 2)
            size = np.abs(other).max()
            difference = np.abs(field - other).max() / size
            moved = np.abs(field - start).max() / size
            print(f"{number} steps: difference {difference:.1e}, change {moved:.2g}")
    return bool(difference < AGREED)


def cost_row(num_points: int, effort: Effort) -> dict[str, Any]:
    runs = own_runs(num_points) | peer_runs(num_points)
    runs["floor"] = four_transforms(num_points, threads=1, pairs=5)
    times = interleaved(runs, effort)
    row: dict[str, Any] = {"num_points": num_points}
    row |= {f"{name}_seconds": times.median(name) for name in runs}
    row["own_over_floor"] = times.ratio("own", "floor")
    row["step_over_floor"] = times.ratio("own_step", "floor")
    if "peer" in runs:
        row["peer_over_own"] = times.ratio("peer", "own")
        row["peer_over_own_aliased"] = times.ratio("peer", "own_aliased")
        row["step_over_peer_step"] = times.ratio("own_step", "peer_step")
    return row


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", type=Path, help="file to write the results to")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--quick", action="store_true", help="a smoke test of seconds")
    parser.add_argument("--agree", action="store_true", help="compare fields, no times")
    parser.add_argument("--steps", type=int, default=1000, help="of --agree")
    options = parser.parse_args(arguments)
    if options.agree:
        return 0 if agree(64, options.steps) else 1
    effort = Effort(clock=time.process_time)
    if options.quick:
        effort = Effort(3, 0.005, time.process_time)
    rows = [cost_row(size, effort) for size in options.sizes]
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(rows, indent=1))
    names = list(rows[0])
    print(" | ".join(names))
    for row in rows:
        print(" | ".join(f"{row[name]:.4g}" for name in names))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
