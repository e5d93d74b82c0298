"""What retraining one layer changed in the network of the quickstart, in numbers.

Trains the quickstart's base network and retrains one of its layers twice, with two
seeds, from the same start and on the same 16 target snapshots: what both retrainings
have in common is told from the noise of training. Prints the tables of
docs/explanation.md; gallery.py draws its figures.

    python examples/explain.py [--data-dir data] [--out runs/explain] [--seeds 0 1 2]

Networks that are in the output directory already are not trained again.
"""

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

if __name__ == "__main__" and {"-h", "--help"} & {*sys.argv}:
    print(__doc__)  # before anything slow is imported
    sys.exit()

import keras
import numpy as np
from quickstart import (
    BASE,
    NUM_TARGET,
    RETRAIN,
    TARGET,
    System,
    correlation,
    load_system,
    train_base,
)

import keras_spectral_tl as kst
from keras_spectral_tl import spectra
from keras_spectral_tl.spectra import read_calls

LAYER = "conv_2"  # the one that the quickstart recommends, with every seed
NETWORKS = ("base", "retrained", "reseeded", "control")
CLASSES = ("low-pass", "band-pass", "high-pass", "all-pass", "unstructured")
# Bands of wavenumbers: the base's forcing is at 16, the target's at 4.
BANDS = ((1, 4), (5, 10), (11, 20), (21, 31))

SECTIONS = {
    "bands": "{}, by k",
    "consistency": "kernel power against: {}",
    "shifts": "pre-activations of {}",
    "active": "ReLU of {}",
}

Networks = dict[str, keras.Model]


def networks(
    base: System,
    target: System,
    seed: int,
    out: Path,
    names: Sequence[str] = NETWORKS,
) -> Networks:
    """The base network and retrainings of its layer; from disk if they are there.

    "control" is retrained on as many snapshots of the base system: what retraining does
    to the kernels when there is nothing new to learn.
    """
    out.mkdir(parents=True, exist_ok=True)
    files = {name: out / f"{name}.keras" for name in NETWORKS}
    if not files["base"].exists():
        train_base(base.train, seed).save(files["base"])
    model = keras.models.load_model(files["base"])
    step = len(base.train[0]) // NUM_TARGET
    some_of_base = tuple(part[::step][:NUM_TARGET] for part in base.train)
    retrainings = {
        "retrained": (target.train, seed),
        "reseeded": (target.train, seed + 100),
        "control": (some_of_base, seed),
    }
    for name, (data, its_seed) in retrainings.items():
        if name in names and not files[name].exists():
            result = kst.retrain(model, data, LAYER, seed=its_seed, **RETRAIN)
            result.model.save(files[name])
    return {name: keras.models.load_model(files[name]) for name in names}


def accuracy(found: Networks, base: System, target: System) -> dict[str, float]:
    """Correlation and spectrum RMSE on the test trajectories."""
    rows = {"base on base": (found["base"], base)}
    rows |= {
        f"{name} on target": (model, target)
        for name, model in found.items()
        if name != "control"
    }
    table = {}
    for name, (model, system) in rows.items():
        truth, predicted = system.test[1], predictions(model, system)
        table[f"{name}: CC"] = correlation(model, system.test)
        table[f"{name}: spectrum RMSE"] = spectra.spectrum_rmse(truth, predicted)
    return table


def predictions(model: keras.Model, system: System) -> np.ndarray:
    return model.predict(system.test[0], batch_size=16, verbose=0)


def mean_spectrum(fields: np.ndarray) -> np.ndarray:
    """Radial spectrum, mean over samples and channels."""
    found = spectra.radial_spectrum(fields, (1, 2))
    return found.reshape(-1, found.shape[-1]).mean(axis=0)


def log_ratio(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """``log(first / second)``; NaN where one of them is empty."""
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.log(first / second)
    return np.where(np.isfinite(found), found, np.nan)


def differences(found: Networks, base: System, target: System) -> dict[str, np.ndarray]:
    """How the systems differ by wavenumber, in three places; logarithms of ratios."""
    systems = {"base": base, "target": target}
    gains = {
        name: spectra.layer_gains(found["base"], system.test[0][::4], [LAYER])[LAYER]
        for name, system in systems.items()
    }
    truth = {name: mean_spectrum(s.test[1]) for name, s in systems.items()}
    before = mean_spectrum(predictions(found["base"], target))
    after = mean_spectrum(predictions(found["retrained"], target))
    return {
        f"input of {LAYER}, target / base": log_ratio(
            gains["target"].inputs, gains["base"].inputs
        ),
        "true forcing, target / base": log_ratio(truth["target"], truth["base"]),
        "deficit on the target, truth / base network": log_ratio(
            truth["target"], before
        ),
        "left after retraining, truth / retrained": log_ratio(truth["target"], after),
    }


def kernels_of(model: keras.Model) -> np.ndarray:
    kernel = np.asarray(model.get_layer(LAYER).kernel, float)  # (5, 5, inputs, outputs)
    return np.moveaxis(kernel.reshape(5, 5, -1), -1, 0)


def kernel_numbers(found: Networks) -> dict[str, Any]:
    """What changed in the kernels, against the reseeded retraining."""
    changes = spectra.kernel_changes(*(found[name] for name in NETWORKS[:3])).layers[
        LAYER
    ]
    control = spectra.kernel_changes(found["base"], found["control"]).layers[LAYER]
    noise = changes.significance
    counts = {
        when: {name: int(np.sum(kinds == name)) for name in CLASSES}
        for when, kinds in (
            ("before", changes.classes_before),
            ("after", changes.classes_after),
        )
    }
    return {
        "relative_change": changes.relative_change,
        "relative_change, control": control.relative_change,
        "norm_change": float(
            np.linalg.norm(changes.norms_after) / np.linalg.norm(changes.norms_before)
            - 1
        ),
        "mean_spectral_distance": float(changes.spectral_distances.mean()),
        "agreement": noise.layer_agreement,
        "p_value": noise.layer_p_value,
        "significant_kernels": int(noise.significant().sum()),
        "num_kernels": len(noise.agreements),
        "classes": counts,
        "by_class": changes.by_class(),
    }


def explain(base: System, target: System, seed: int, out: Path) -> dict[str, Any]:
    """All numbers of one seed."""
    found = networks(base, target, seed, out)
    wanted = differences(found, base, target)
    numbers = kernel_numbers(found)
    grid = base.train[0].shape[1:3]
    before, after, control = (
        kernels_of(found[name]) for name in ("base", "retrained", "control")
    )
    compared = {
        name: spectra.change_consistency(before, after, ratio, grid)
        for name, ratio in wanted.items()
    }
    forcing = wanted["true forcing, target / base"]
    compared["true forcing, target / base; control"] = spectra.change_consistency(
        before, control, forcing, grid
    )
    shifts = spectra.retraining_shifts(
        found["base"], found["retrained"], base.test[0][::4], target.test[0][::4]
    )
    power, *_, control_power = (c.power_changes for c in compared.values())
    return {
        "seed": seed,
        "accuracy": accuracy(found, base, target),
        "kernels": numbers,
        "bands": {
            "kernel power, after / before": in_bands(np.append(np.nan, power)),
            "kernel power, control / before": in_bands(
                np.append(np.nan, control_power)
            ),
            **{name: in_bands(ratio) for name, ratio in wanted.items()},
        },
        "consistency": {
            name: {"correlation": c.correlation, "p_value": c.p_value}
            for name, c in compared.items()
        },
        "shifts": {name: shift_numbers(s) for name, s in shifts.items()},
        "active": active_units(found, base, target),
    }


def active_units(
    found: Networks, base: System, target: System
) -> dict[str, dict[str, float]]:
    """Of each ReLU the share of points that it lets through; of dead channels."""
    runs = {
        "base data": (found["base"], base),
        "target data": (found["base"], target),
        "target data, retrained": (found["retrained"], target),
    }
    table: dict[str, dict[str, float]] = {}
    for label, (model, system) in runs.items():
        sums: dict[str, list[np.ndarray]] = {}

        def add(name: str, call: Any, sums: dict[str, list[np.ndarray]] = sums) -> None:
            if call.pre_activation is not call.post_activation:
                active = np.mean(call.pre_activation > 0, axis=(2, 3))
                sums.setdefault(name, []).append(active)

        read_calls(model, system.test[0][::4], add)
        for name, parts in sums.items():
            active = np.concatenate(parts).mean(axis=0)
            table.setdefault(name, {})[f"active, {label}"] = float(active.mean())
            dead = int(np.sum(active < 1e-3))
            table[name][f"channels off, {label}"] = dead
    return table


def in_bands(log_ratios: np.ndarray) -> dict[str, float]:
    """Geometric mean of the ratios in each band of wavenumbers."""
    return {
        f"{low}-{high}": float(np.exp(np.nanmean(log_ratios[low : high + 1])))
        for low, high in BANDS
    }


def shift_numbers(shift: Any) -> dict[str, float]:
    """Gains as ratios of energies, distances as shares of energy at other k."""
    parts = {"data": shift.data, "retraining": shift.retraining, "left": shift.both}
    numbers = {f"{n} gain": float(np.exp(part.gain)) for n, part in parts.items()}
    numbers |= {f"{n} distance": part.distance for n, part in parts.items()}
    return {**numbers, "alignment": shift.alignment}


def table(title: str, rows: dict[str, list[str]], seeds: list[int]) -> str:
    """A Markdown table with a column a seed."""
    head = f"| {title} | " + " | ".join(f"seed {seed}" for seed in seeds) + " |"
    lines = [head, "|---" * (len(seeds) + 1) + "|"]
    lines += [f"| {name} | " + " | ".join(cells) + " |" for name, cells in rows.items()]
    return "\n".join(lines) + "\n"


def tables(found: list[dict[str, Any]]) -> str:
    """Everything of docs/explanation.md that is a number."""
    seeds = [numbers["seed"] for numbers in found]

    def rows(*path: str, form: str = "{:.3f}") -> dict[str, list[str]]:
        parts = [reduce(getitem, path, numbers) for numbers in found]
        keys = dict.fromkeys(key for part in parts for key in part)
        cells = {key: [part.get(key) for part in parts] for key in keys}
        return {
            key: ["-" if v is None else form.format(v) for v in values]
            for key, values in cells.items()
            if not isinstance(values[0], dict)
        }

    parts = [
        table("accuracy", rows("accuracy"), seeds),
        table(f"kernels of {LAYER}", rows("kernels", form="{:.3g}"), seeds),
    ]
    for when in ("before", "after"):
        title = f"kernels by class, {when}"
        parts.append(table(title, rows("kernels", "classes", when, form="{}"), seeds))
    for kind in dict.fromkeys(k for n in found for k in n["kernels"]["by_class"]):
        some = [n for n in found if kind in n["kernels"]["by_class"]]
        if len(some) == len(found):
            title = f"{kind} kernels"
            parts.append(table(title, rows("kernels", "by_class", kind), seeds))
    for section, title in SECTIONS.items():
        for name in found[0][section]:
            parts.append(table(title.format(name), rows(section, name), seeds))
    return "\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--out", type=Path, default=Path("runs/explain"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    for name in ("tensorflow", "absl"):  # they warn of every new model's prediction
        logging.getLogger(name).setLevel(logging.ERROR)
    base = load_system(BASE, options.data_dir)
    target = load_system(TARGET, options.data_dir, NUM_TARGET)
    found = [
        explain(base, target, seed, options.out / f"seed_{seed}")
        for seed in options.seeds
    ]
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "explanation.json").write_text(json.dumps(found, indent=2) + "\n")
    print(tables(found))


if __name__ == "__main__":
    main()
