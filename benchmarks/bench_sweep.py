"""The sweep over all layers against one plain Keras fit for each of them.

Every row is done twice, one right after the other so that both see the same load: as
part of `oracle_sweep`, and as a user would write it, with Keras alone. Prints wall and
CPU seconds of both, whether the results agree, and with --processes those of the same
sweep on a pool of processes.

The arithmetic that can be saved is bounded: a frozen layer in front of the trained one
costs a forward pass, one behind it a forward and a backward pass, and only the former
is cached. The bound is printed; what is gained beyond it are compilations of smaller
graphs, epochs that run through (few samples), and processes that do not wait for each
other's threads. For long fits --layers conv_1 conv_6 conv_11 stands for all: costs are
linear in the place of the layer.
"""

import argparse
import concurrent.futures
import json
import multiprocessing
import os
import platform
import resource
import time
from typing import Any

import keras
import numpy as np

from keras_spectral_tl import metrics, models, transfer

HEADER = (
    "layer      wall plain  sweep  ratio   CPU plain  sweep  ratio   cc plain  sweep"
)


def samples(count: int, num_points: int, seed: int) -> tuple[Any, Any]:
    """Smooth random fields and a nonlinear function of their neighbourhood."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((count, num_points, num_points, 2))
    x = (x + np.roll(x, 1, axis=1) + np.roll(x, 1, axis=2)) / np.sqrt(3.0)
    y = np.roll(x[..., :1], 2, axis=1) * x[..., 1:] - 0.5 * x[..., :1]
    return x.astype("float32"), y.astype("float32")


def plain_fit(
    model: keras.Model, layer: str, target: Any, test: Any, options: Any
) -> float:
    """Retrain one layer with Keras alone and return the correlation on test data."""
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    for other in copy.layers:
        other.trainable = other.name == layer
    copy.compile(keras.optimizers.Adam(options.learning_rate), "mean_squared_error")
    copy.fit(
        *target, batch_size=options.batch_size, epochs=options.epochs, shuffle=False,
        verbose=0,
    )  # fmt: skip
    outputs = copy.predict(test[0], batch_size=options.batch_size, verbose=0)
    return metrics.pattern_correlation(test[1], outputs)


class Stopwatch:
    """Wall and CPU seconds since the last look."""

    def __init__(self) -> None:
        self.look()

    def look(self) -> tuple[float, float]:
        now = (time.perf_counter(), time.process_time())
        before, self.last = getattr(self, "last", now), now
        return now[0] - before[0], now[1] - before[1]


def rows_side_by_side(
    model: keras.Model, target: Any, test: Any, options: Any
) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    watch = Stopwatch()

    def report(row: Any) -> None:
        wall, cpu = watch.look()
        cc = plain_fit(model, row["layer"], target, test, options)
        plain_wall, plain_cpu = watch.look()
        rows.append(
            {
                "layer": row["layer"],
                "plain_wall": plain_wall, "sweep_wall": wall,
                "plain_cpu": plain_cpu, "sweep_cpu": cpu,
                "plain_cc": cc, "sweep_cc": row["cc"],
            }
        )  # fmt: skip
        print(line(rows[-1]), flush=True)

    transfer.oracle_sweep(
        model, target, test, progress=report, **sweep_options(options)
    )
    return rows


def sums(rows: list[dict[str, Any]]) -> dict[str, Any]:
    kinds = [name for name in rows[0] if name.endswith(("wall", "cpu"))]
    return {"layer": "all", **{kind: sum(row[kind] for row in rows) for kind in kinds}}


def arithmetic_bound(model: keras.Model) -> float:
    """Multiplications of plain fits over those with cached activations, all rows."""
    costs = [float(np.prod(layer.kernel.shape)) for layer in model.layers[1:]]
    behind = [sum(costs[place + 1 :]) for place in range(len(costs))]
    plain = sum(sum(costs) + b + c for b, c in zip(behind, costs, strict=True))
    return plain / sum(c + b + b + c for b, c in zip(behind, costs, strict=True))


def sweep_options(options: Any) -> dict[str, Any]:
    return {
        "layers": options.layers,
        "optimizer": keras.optimizers.Adam(options.learning_rate),
        "batch_size": options.batch_size,
        "epochs": options.epochs,
        "shuffle": False,
    }


def line(row: dict[str, Any]) -> str:
    times = "   ".join(
        f"{row[f'plain_{kind}']:9.2f} {row[f'sweep_{kind}']:6.2f} "
        f"{row[f'plain_{kind}'] / row[f'sweep_{kind}']:6.2f}"
        for kind in ("wall", "cpu")
    )
    cc = f"{row.get('plain_cc', np.nan):8.5f} {row.get('sweep_cc', np.nan):8.5f}"
    return f"{row['layer']:8s} {times}   {cc}"


def on_a_pool(
    model: keras.Model, target: Any, test: Any, options: Any
) -> tuple[float, float]:
    """Wall and CPU seconds of the sweep on processes, their start included."""
    context = multiprocessing.get_context("spawn")
    threads = str(max(1, (os.cpu_count() or 1) // options.processes))
    for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"):
        os.environ[name] = threads  # for the workers: more of them, less threads each
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    with concurrent.futures.ProcessPoolExecutor(options.processes, context) as pool:
        transfer.oracle_sweep(
            model, target, test, executor=pool, **sweep_options(options)
        )
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--num-points", type=int, default=32)
    parser.add_argument("--num-layers", type=int, default=11)
    parser.add_argument("--num-filters", type=int, default=16)
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--layers", nargs="+", help="only these; all by default")
    parser.add_argument("--processes", type=int, default=0)
    parser.add_argument("--json", help="file to write the rows to")
    return parser.parse_args()


def main() -> None:
    options = parsed()
    keras.utils.set_random_seed(0)
    shape = (options.num_points, options.num_points, 2)
    model = models.build_sgs_cnn(shape, options.num_layers, options.num_filters)
    target = samples(options.samples, options.num_points, seed=1)
    test = samples(options.samples, options.num_points, seed=2)
    plain_fit(model, "conv_1", target, test, options)  # start the libraries
    print(f"{keras.backend.backend()}, {shape}, {options.num_filters} filters")
    print(HEADER)
    rows = rows_side_by_side(model, target, test, options)
    total = sums(rows)
    print(line(total))
    largest = max(abs(row["plain_cc"] - row["sweep_cc"]) for row in rows)
    bound = arithmetic_bound(model)
    print(f"largest difference of cc: {largest:.1e}; ratio by arithmetic: {bound:.2f}")
    document = {
        "backend": keras.backend.backend(),
        "machine": platform.processor() or platform.machine(),
        "options": vars(options),
        "rows": rows,
        "total": total,
        "largest_difference": largest,
        "arithmetic_bound": bound,
    }
    if options.processes:
        wall, cpu = on_a_pool(model, target, test, options)
        document |= {"pool_wall": wall, "pool_cpu": cpu}
        print(
            f"on {options.processes} processes: {wall:.2f} s ({cpu:.2f} of CPU), "
            f"{total['plain_wall'] / wall:.2f} times as fast as plain"
        )
    if options.json:
        with open(options.json, "w") as file:
            json.dump(document, file, indent=1)


if __name__ == "__main__":
    main()
