"""What weight decay does to the kernels of a base network: noise, classes, filters.

The mini tier, k_f = 16: the base networks of benchmarks/forecasts.py, seeds 0 and 3,
trained on for 480 steps of two of their 192 samples, the rate falling from 3e-3 to 0 as
a cosine, by AdamW with a decay of 0 (Adam) or 4 a unit of summed rate, so that
``exp(-0.72 x 4) = .06`` is left of what no gradient holds. Nothing is chosen. "Left of
the start" is the projection on the weights as drawn, for networks that were drawn here.

    python benchmarks/weight_decay.py --data data --out runs/filters

Networks and results that are in the output directory already are not made again.
"""

import itertools
from pathlib import Path
from typing import Any

import keras
import numpy as np
from score_sweeps import Workshop, opened, read_json, write_arrays, write_json

import keras_spectral_tl as kst
from keras_spectral_tl import spectra
from keras_spectral_tl.metrics import pattern_correlation

DECAYS, SEEDS = (0.0, 4.0), (0, 3)
RATE, STEPS = 3e-3, 480
PASSBANDS = ("low-pass", "band-pass", "high-pass")
LEVEL = 0.05


def new_network(shape: tuple[int, ...], seed: int) -> keras.Model:
    """The network as it is drawn before any training."""
    keras.utils.set_random_seed(seed)
    return kst.build_sgs_cnn(shape, num_layers=6, num_filters=16)


def network(workshop: Workshop, seed: int, decay: float) -> keras.Model:
    """The base network, trained on with decay of all weights; kept on disk."""
    model, data, _ = workshop.base("kf16", seed)
    path = workshop.out / f"kf16-decay{decay:g}-seed{seed}.npz"
    if not path.exists():
        keras.utils.set_random_seed(seed)
        schedule = keras.optimizers.schedules.CosineDecay(RATE, STEPS)
        optimizer = keras.optimizers.AdamW(schedule, weight_decay=decay)
        model.compile(optimizer=optimizer, loss="mse")
        epochs = STEPS * 2 // len(data[0])
        model.fit(*data, batch_size=2, epochs=epochs, verbose=0)
        weights = {str(i): w for i, w in enumerate(model.get_weights())}
        write_arrays(path, **weights)
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
    for seed, decay in itertools.product(SEEDS, DECAYS):
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
    workshop, out = opened(__doc__, "runs/filters")
    print(table(run(workshop, out / "weight_decay.json")))


if __name__ == "__main__":
    main()
