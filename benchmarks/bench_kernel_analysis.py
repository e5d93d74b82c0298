"""Time and memory of the full spectral analysis of an 11-layer network.

    python benchmarks/bench_kernel_analysis.py [--layers 11] [--channels 64]

Eleven layers of 64 channels, 5 x 5 points, on 128 x 128 fields: 4,096 kernels in each
layer but the first and the last. Kernels have random Gabor functions added to noise, so
that classes, fits and clusters have something to find. Timed are

- transfer functions, profiles, peaks and classes on the grid (`kernel_spectra`),
- shapes, classes, Gabor fits and clusters (`analyse_kernels`),
- what changed, against a reseeded retraining (`kernel_changes`),
- the filters of the change of each layer (`principal_filters`),
- activation spectra of one sample (`activation_spectra`), its forward pass apart.

Peak memory is that of NumPy and Python (tracemalloc) above what there was before,
measured in a second run, as tracing takes time.
"""

import argparse
import json
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

import keras_spectral_tl as kst
from keras_spectral_tl.spectra import analyse_kernels, kernel_changes, principal_filters


def network(num_layers: int, num_filters: int, num_points: int) -> keras.Model:
    keras.utils.set_random_seed(0)
    shape = (num_points, num_points, 2)
    model = kst.build_sgs_cnn(shape, num_layers=num_layers, num_filters=num_filters)
    rng = np.random.default_rng(0)
    x = np.arange(5) - 2.0
    for layer in kst.layers_with_weights(model).values():
        kernel, *bias = layer.get_weights()
        k = rng.uniform(-np.pi, np.pi, (2, 1, 1, *kernel.shape[2:]))
        phase = rng.uniform(0, 2 * np.pi, kernel.shape[2:])
        waves = np.cos(k[0] * x[:, None, None, None] + k[1] * x[:, None, None] + phase)
        envelope = np.exp(-(x[:, None] ** 2 + x**2) / 4)[..., None, None]
        kernel += kernel.std() * envelope * waves
        layer.set_weights([kernel, *bias])
    return model


def moved(model: keras.Model, seed: int) -> keras.Model:
    copy = keras.models.clone_model(model)
    rng = np.random.default_rng(seed)
    copy.set_weights(
        [w + 0.01 * rng.standard_normal(w.shape) for w in model.get_weights()]
    )
    return copy


def forward_seconds(model: keras.Model, x: np.ndarray) -> float:
    model(x, training=False)
    start = time.perf_counter()
    model(x, training=False)
    return time.perf_counter() - start


def measure(work: Callable[[], Any]) -> dict[str, float]:
    start, cpu = time.perf_counter(), time.process_time()
    work()
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    return {"seconds": seconds, "cpu_seconds": cpu}


def peak_megabytes(work: Callable[[], Any]) -> float:
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--layers", type=int, default=11)
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--points", type=int, default=128)
    parser.add_argument("--without-memory", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    model = network(options.layers, options.channels, options.points)
    others = [moved(model, seed) for seed in (1, 2)]
    shape = (1, options.points, options.points, 2)
    x = np.random.default_rng(0).standard_normal(shape).astype("float32")
    forward = forward_seconds(model, x)
    works = {
        "kernel_spectra": lambda: kst.kernel_spectra(model, options.points),
        "analyse_kernels": lambda: analyse_kernels(model),
        "kernel_changes": lambda: kernel_changes(model, *others),
        "principal_filters": lambda: [
            principal_filters(model, others[0], name)
            for name in kst.layers_with_weights(model)
        ],
        "activation_spectra": lambda: kst.activation_spectra(model, x),
    }
    rows = {name: measure(work) for name, work in works.items()}
    rows["activation_spectra"]["seconds"] -= forward
    if not options.without_memory:
        for name, work in works.items():
            rows[name]["peak_megabytes"] = peak_megabytes(work)
    print("| analysis | seconds | CPU seconds | peak MB |\n|---|---|---|---|")
    for name, row in rows.items():
        peak = row.get("peak_megabytes")
        print(
            f"| `{name}` | {row['seconds']:.1f} | {row['cpu_seconds']:.1f} "
            f"| {'-' if peak is None else f'{peak:.0f}'} |"
        )
    total = sum(row["seconds"] for row in rows.values())
    cpu = sum(row["cpu_seconds"] for row in rows.values())
    print(f"| all | {total:.1f} | {cpu:.1f} | |")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
