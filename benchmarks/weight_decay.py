"""What weight decay does to the kernels of a base network: noise, classes, filters.

The mini tier, k_f = 16: 192 samples, 40 epochs of 8, the rate falling from 2e-3 to 0 as
a cosine, AdamW with a decay of 0 (Adam), 3 and 1 a unit of summed rate, so that
``exp(-0.96 decay)`` of the initialization is left: all, .06 and .38. Two seeds; nothing
is chosen.

    python benchmarks/weight_decay.py --data data --out runs/filters

Networks and results that are in the output directory already are not made again.
"""

import argparse
import itertools
from pathlib import Path
from typing import Any

import keras
import numpy as np
from score_settings import BASE_EPOCHS
from score_sweeps import Arrays, Workshop, read_json, write_arrays, write_json

import keras_spectral_tl as kst
from keras_spectral_tl import spectra
from keras_spectral_tl.metrics import pattern_correlation

DECAYS, SEEDS = (0.0, 3.0, 1.0), (0, 3)
PASSBANDS = ("low-pass", "band-pass", "high-pass")
LEVEL = 0.05


def new_network(shape: tuple[int, ...], seed: int) -> keras.Model:
    """The network as it is drawn before any training."""
    keras.utils.set_random_seed(seed)
    return kst.build_sgs_cnn(shape, num_layers=6, num_filters=16)


def trained(data: Arrays, seed: int, decay: float) -> keras.Model:
    """As `score_sweeps.train_base`, with decay of all weights."""
    model = new_network(data[0].shape[1:], seed)
    steps = BASE_EPOCHS * -(-len(data[0]) // 8)
    schedule = keras.optimizers.schedules.CosineDecay(2e-3, steps)
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=decay)
    model.compile(optimizer=optimizer, loss="mse")
    model.fit(*data, batch_size=8, epochs=BASE_EPOCHS, verbose=0)
    return model


def network(workshop: Workshop, seed: int, decay: float) -> keras.Model:
    """The trained network, kept on disk; without decay that of the workshop."""
    model, data, _ = workshop.base("kf16", seed)
    if decay:
        path = workshop.out / f"kf16-decay{decay:g}-seed{seed}.npz"
        if not path.exists():
            weights = trained(data, seed, decay).get_weights()
            write_arrays(path, **{str(i): w for i, w in enumerate(weights)})
        with np.load(path) as file:
            model.set_weights([file[str(i)] for i in range(len(file.files))])
    return model


def described(model: keras.Model, start: keras.Model) -> dict[str, Any]:
    """Of each layer: what is left of its start, classes of kernels, filters."""
    kernels = kst.kernel_spectra(model, 64)
    table = {}
    for name, layer in kst.layers_with_weights(model).items():
        now = np.ravel(layer.get_weights()[0])
        then = np.ravel(start.get_layer(name).get_weights()[0])
        found = spectra.principal_filters(model, name, level=LEVEL)
        shares = kernels[name].class_shares()
        number = int(found.significant.sum())
        table[name] = {
            "norm": float(np.linalg.norm(now) / np.linalg.norm(then)),
            "along the start": float(now @ then / (then @ then)),
            "kernels": len(now) // 25,
            **{kind: float(shares.get(kind, 0.0)) for kind in PASSBANDS},
            "filters": number,
            "classes": found.classes[:number].tolist(),
            "shares": found.shares[: max(number, 1)].tolist(),
            "noise": float(found.noise_shares[0]),
        }
    return table


def run(workshop: Workshop, path: Path) -> dict[str, Any]:
    """All results, by "decay, seed"; resumes."""
    done = read_json(path)
    fields = workshop.fields("kf16")
    for decay, seed in itertools.product(DECAYS, SEEDS):
        key = f"{decay:g}, {seed}"
        if key in done:
            continue
        model = network(workshop, seed, decay)
        normalization = workshop.base("kf16", seed)[2]
        x, y = normalization.normalize(fields["test_x"], fields["test_y"])
        outputs = model.predict(x[::3], batch_size=32, verbose=0)
        start = new_network(x.shape[1:], seed)
        done[key] = {
            "cc": float(pattern_correlation(y[::3], outputs)),
            "layers": described(model, start),
        }
        write_json(path, done)
        print(key, done[key], flush=True)
    return done


def table(done: dict[str, Any]) -> str:
    """A row for each network, and each of its layers, in Markdown."""
    names = "left of the start | low-, band-, high-pass kernels | filters | shares"
    lines = [f"| decay, seed | CC | layer | {names} |", "|---" * 7 + "|"]
    for key, found in done.items():
        for name, row in found["layers"].items():
            counts = [round(row[kind] * row["kernels"]) for kind in PASSBANDS]
            shares = " ".join(f"{share:.2f}" for share in row["shares"])
            lines.append(
                f"| {key} | {found['cc']:.3f} | `{name}` | "
                f"{row['along the start']:.2f} | {counts} of {row['kernels']} | "
                f"{', '.join(row['classes']) or 'none'} | {shares} "
                f"({row['noise']:.2f}) |"
            )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--out", type=Path, default=Path("runs/filters"))
    arguments = parser.parse_args()
    workshop = Workshop(arguments.data, arguments.out)
    print(table(run(workshop, arguments.out / "weight_decay.json")))


if __name__ == "__main__":
    main()
