"""What the spectral callbacks add to a fit, at their defaults.

    python benchmarks/bench_callbacks.py [--epochs 20] [--samples 400] [--json FILE]

Fits the quickstart's network (6 layers, 16 channels) on 64 x 64 fields, as `make demo`
does, with `KernelSpectra` and `ActivationSpectra` at their defaults, event files and
npz files included. Printed for each: the time it took in all epochs over the time of
the rest (its share of a step, averaged), timed inside one fit, so that the load of the
machine cancels; and the set-up before the first epoch (imports, and a quantile of noise
kernels that is computed once in a process).

The first record is always made. So the bound of 1 % holds once a fit lasts a hundred
times as long as one record.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np

import keras_spectral_tl as kst
from keras_spectral_tl.callbacks import ActivationSpectra, KernelSpectra


class Timed(keras.callbacks.Callback):
    """Passes every call on to another callback and counts its time."""

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner = inner
        self.seconds: list[float] = []

    def set_model(self, model: keras.Model) -> None:
        super().set_model(model)
        self.inner.set_model(model)

    def on_train_begin(self, logs: Any = None) -> None:
        self._timed(self.inner.on_train_begin, logs)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._timed(self.inner.on_epoch_end, epoch, logs)

    def on_train_end(self, logs: Any = None) -> None:
        self._timed(self.inner.on_train_end, logs)

    def _timed(self, call: Any, *arguments: Any) -> None:
        start = time.perf_counter()
        call(*arguments)
        self.seconds.append(time.perf_counter() - start)


def measure(num_samples: int, epochs: int, folder: Path) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((num_samples, 64, 64, 2)).astype("float32")
    y = rng.standard_normal((num_samples, 64, 64, 1)).astype("float32")
    model = kst.build_sgs_cnn((64, 64, 2), num_layers=6, num_filters=16)
    model.compile(keras.optimizers.Adam(), "mse")
    model.fit(x[:16], y[:16], batch_size=8, verbose=0)  # compiles
    options: dict[str, Any] = {"directory": folder / "npz", "log_dir": folder / "log"}
    timed = {
        "KernelSpectra": Timed(KernelSpectra(64, **options)),
        "ActivationSpectra": Timed(ActivationSpectra(x[:4], **options)),
    }
    start = time.perf_counter()
    model.fit(
        x, y, batch_size=8, epochs=epochs, verbose=0, callbacks=list(timed.values())
    )
    total = time.perf_counter() - start
    rest = total - sum(sum(callback.seconds) for callback in timed.values())
    steps = epochs * -(-num_samples // 8)
    return {
        "epochs": epochs,
        "steps": steps,
        "ms_a_step": 1e3 * rest / steps,
        "callbacks": {
            name: {
                "set_up_ms": 1e3 * callback.seconds[0],
                "share_of_a_step": sum(callback.seconds[1:]) / rest,
                "record_ms": 1e3
                * sum(callback.seconds[1:])
                / max(1, len(callback.inner.history)),
                "records": len(callback.inner.history),
                "skipped": len(callback.inner.skipped),
            }
            for name, callback in timed.items()
        },
    }


def report(found: dict[str, Any]) -> str:
    lines = [
        f"{found['steps']} steps of {found['ms_a_step']:.0f} ms in {found['epochs']} "
        "epochs",
        "",
        "| callback | of a step | a record | records | set-up, once |",
        "|---|---|---|---|---|",
    ]
    for name, row in found["callbacks"].items():
        lines.append(
            f"| `{name}` | {row['share_of_a_step']:.2%} | {row['record_ms']:.0f} ms "
            f"| {row['records']} of {row['records'] + row['skipped']} "
            f"| {row['set_up_ms']:.0f} ms |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--samples", type=int, default=400)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(options.samples, options.epochs, Path(folder))
    print(report(found))
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
