"""What one step of the JAX engine costs, against a plain version and its transforms.

    python benchmarks/bench_engine.py [--sizes 1024] [--batch 8] [--json FILE]

On a GPU the case is 8 trajectories at 1024 x 1024 in float32. Without one the sizes are
small and the numbers are those of a CPU, which the report says. Everything is timed in
turn, so ratios are of one run. Peers, all on the same arrays:

- plain: the step one would write first, five real transforms a right-hand side
  (`plain_jax_solver`); it must give the same field;
- real FFTs: 16 real 2-D transforms of the batch, the four of each right-hand side;
- own FFTs: the 8 complex 2-D transforms that `packed_transforms` does instead;
- memory: each of these 8 reads and writes its array twice, once for each axis, as fast
  as a copy of that array.
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from benchmark_report import machine, table, versions
from interleaved_timing import Effort, Times, interleaved
from jax_transforms import TRANSFORMS, packed_transforms
from plain_jax_solver import plain_run

from turbulence_data import FlowConfig, JaxEngine, RandomVorticity
from turbulence_data.solver import Grid, Numerics, Simulation, State

TIME_STEP = 6.25e-4
# Two runs of float32 part by this much over the steps compared.
AGREEMENT = 1e-4
RATIOS = {
    "faster_than_plain": "plain / own",
    "over_real_ffts": "own / 16 real FFTs",
    "over_own_ffts": "own / own FFTs",
}

Results = dict[str, Any]


def starts(num_points: int, batch: int) -> np.ndarray:
    grid, draw = Grid((num_points, num_points)), RandomVorticity(0.5, 6.0)
    fields = [draw(grid, np.random.default_rng(seed)) for seed in range(batch)]
    return np.stack(fields).astype(np.float32)


def flow_of(num_points: int) -> FlowConfig:
    return FlowConfig(num_points, reynolds=2e4, forcing_wavenumber=4)


def engine_run(
    num_points: int, transforms: Any, fields: np.ndarray, num_steps: int
) -> tuple[Simulation, Callable[[], Any]]:
    """A simulation, and a call that makes steps of it without looking at the result."""
    simulation = Simulation(
        flow_of(num_points),
        numerics=Numerics(engine=JaxEngine(transforms=transforms), dtype=np.float32),
    )
    hat = jnp.asarray(simulation.start(fields).vorticity_hat)
    begin, numbers = State(hat), range(num_steps)
    integrator = simulation.numerics.engine.integrator(
        simulation.equation, simulation.numerics.scheme
    )

    def run() -> Any:
        reached = integrator.steps(hat, begin, TIME_STEP, numbers)
        return jax.block_until_ready(reached)

    return simulation, run


def fft_runs(fields: np.ndarray) -> dict[str, Callable[[], Any]]:
    """The transforms of one step and nothing else."""
    real = jnp.asarray(fields)
    complex_fields = real.astype(jnp.complex64)
    points = fields.shape[-2:]

    @jax.jit
    def sixteen(array: jax.Array) -> jax.Array:
        for _ in range(8):
            array = jnp.fft.irfft2(jnp.fft.rfft2(array), s=points)
        return array

    @jax.jit
    def eight(array: jax.Array) -> jax.Array:
        for _ in range(8):
            array = jnp.fft.fft2(array)
        return array

    copy = jax.jit(lambda array: array + 1.0)
    return {
        "real_ffts": lambda: jax.block_until_ready(sixteen(real)),
        "own_ffts": lambda: jax.block_until_ready(eight(complex_fields)),
        "copy": lambda: jax.block_until_ready(copy(complex_fields)),
    }


def check_agreement(num_points: int, fields: np.ndarray) -> float:
    """Relative distance of the ends of the plain and of the engine's own run.

    Raises:
        SystemExit: when they solve different equations.
    """
    num_steps = 20
    plain = plain_run(flow_of(num_points), TIME_STEP, jnp.float32)(fields, num_steps)
    simulation, _ = engine_run(num_points, packed_transforms, fields, num_steps)
    end = simulation.advance(simulation.start(fields), num_steps * TIME_STEP, TIME_STEP)
    own = simulation.vorticity(end)
    distance = float(np.linalg.norm(own - np.asarray(plain)) / np.linalg.norm(own))
    if not distance < AGREEMENT:
        raise SystemExit(f"engine and plain version do not agree: {distance:.3g}")
    return distance


def measure(num_points: int, batch: int, effort: Effort) -> Results:
    fields, num_steps = starts(num_points, batch), 20
    agreement = check_agreement(num_points, fields)
    plain, on_device = (
        plain_run(flow_of(num_points), TIME_STEP, jnp.float32),
        jnp.asarray(fields),
    )
    runs: dict[str, Callable[[], Any]] = {
        transforms.__name__: engine_run(num_points, transforms, fields, num_steps)[1]
        for transforms in TRANSFORMS
    }
    runs["plain"] = lambda: jax.block_until_ready(plain(on_device, num_steps))
    times = interleaved(runs | fft_runs(fields), effort)
    steps = {name: num_steps if name in runs else 1 for name in times.rounds}
    milliseconds = {name: 1e3 * times.median(name) / n for name, n in steps.items()}
    milliseconds["memory"] = 8 * 2 * milliseconds.pop("copy")
    return {
        "num_points": num_points,
        "batch": batch,
        "milliseconds": milliseconds,
        "copied_bytes_a_second": 16.0 * fields.size / times.median("copy"),
        "agreement": agreement,
        **ratios(times, num_steps),
    }


def ratios(times: Times, num_steps: int) -> Results:
    own = "packed_transforms"
    return {
        "faster_than_plain": times.ratio("plain", own),
        "over_real_ffts": times.ratio(own, "real_ffts") / num_steps,
        "over_own_ffts": times.ratio(own, "own_ffts") / num_steps,
    }


def report(results: Results) -> str:
    columns = [transforms.__name__ for transforms in TRANSFORMS]
    columns += ["plain", "real_ffts", "own_ffts", "memory"]
    header = ["batch x N^2", *(f"{name} ms" for name in columns)]
    header += ["copy GB/s", *RATIOS.values()]
    rows = [
        [f"{row['batch']} x {row['num_points']}^2"]
        + [f"{row['milliseconds'][name]:.3f}" for name in columns]
        + [f"{row['copied_bytes_a_second'] / 1e9:.1f}"]
        + [f"{row[name]:.2f}" for name in RATIOS]
        for row in results["rows"]
    ]
    device = f"Device: {results['device']}; float32, a step of integrating_factor_rk4."
    if results["platform"] == "cpu":
        device += " These are numbers of a CPU; nothing is claimed of a GPU."
    return f"{device}\n\n{table(header, rows)}"


def device_name() -> str:
    """The card, or the processor with its cores."""
    if jax.default_backend() == "cpu":
        facts = machine()
        return f"{facts['processor']}, cores: {facts['cores']}"
    return str(jax.devices()[0].device_kind)


def parse_options(arguments: list[str] | None) -> argparse.Namespace:
    on_cpu = jax.default_backend() == "cpu"
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    default = [64, 128, 256] if on_cpu else [256, 512, 1024]
    parser.add_argument("--sizes", type=int, nargs="+", default=default)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=Path)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    options = parse_options(arguments)
    effort = Effort(options.rounds, 0.1)
    results = {
        "device": device_name(),
        "platform": jax.default_backend(),
        "machine": machine(),
        "versions": versions() | {"jax": jax.__version__},
        "rows": [measure(n, options.batch, effort) for n in options.sizes],
    }
    print(report(results))
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
