"""Regret of forecasts and of fixed rules, over all arms that were measured.

From kept results of `forecasts.py`: the correlation on unseen target snapshots that
every arm gave, at the best of the rates tried; and of the deep tier of
`examples/reproduce.py`, where every arm had the rate of its forecast (`--deep` packs
its files). Rules of the literature are given the same networks and target samples, and
choose one layer each; a setting of the deep tier has those of the model zoo.

    python benchmarks/forecast_controls.py
    python benchmarks/forecast_controls.py --deep runs/reproduction/deep/k25_to_k4
    python benchmarks/forecast_controls.py --score --out runs/forecasts

`--score` scores what has no kept choice yet; `--data` has to hold the flows, or `--out`
networks and fields of an earlier run. Without it the kept choices are read.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
from score_settings import Setting
from score_sweeps import Workshop
from scorers import (
    FeatureNorms,
    GradientNorm,
    HeldOutLeastSquares,
    KernelCondition,
    KindOfShift,
    PowerLawAlpha,
    TangentCondition,
)

from keras_spectral_tl.transfer import Samples

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
from model_zoo import load

KEPT = Path(__file__).parent / "scores" / "forecasts"
CHOICES = "layers_by_scorer.json"
DEEP = "deep_k25_to_k4"
NAMES = {
    "all": "all layers",
    "bias_only": "biases",
    "from_scratch": "from scratch",
    "gain_only": "output gain",
}
# From the cheapest to the dearest; a row of the table each. A mapping of flows that are
# forced elsewhere to a kind of shift is in `KindOfShift`: of the inputs.
SCORERS = {
    KindOfShift("input"): "first layer (surgical fine-tuning, shift of inputs)",
    KindOfShift("feature"): "middle layer (the same, shift of features)",
    KindOfShift("output"): "last layer (the same, shift of outputs)",
    KernelCondition(): "layer of the least condition number (KappaTune)",
    PowerLawAlpha(): "layer of the largest exponent of heavy tails",
    FeatureNorms(): "layer of the least normalized feature norm (PLoP)",
    TangentCondition(): "layer of the best conditioned tangent kernel",
    GradientNorm(): "layer of the largest relative gradient (Auto-RGN's criterion)",
    HeldOutLeastSquares(
        iterations=8
    ): "layer by conjugate gradients, linearized, held out",
}


def setting_of(name: str) -> Setting:
    """The setting of the small networks that a kept file is named after."""
    systems, normalization, count, seed = name.split("-")
    base, target = systems.split("_to_")
    return Setting(base, target, normalization, int(count[1:]), int(seed[4:]))


def subject(name: str, workshop: Workshop) -> tuple[keras.Model, Samples, Samples]:
    """The network of a setting, base samples, and the target samples."""
    systems, normalization, *_, seed = name.split("-")
    if systems == DEEP:
        entry = load(DEEP)
        if seed != f"seed{entry.provenance['seed']}":
            raise ValueError(f"the model zoo has another network than that of {name}.")
        x, y = entry.target
        if normalization == "base":
            physical = entry.target_normalization.denormalize(x, y)
            x, y = entry.base_normalization.normalize(*physical)
        return entry.model, Samples.of(entry.base), Samples.of((x, y))
    setting = setting_of(name)
    model, base_data, scale = workshop.base(setting.base, setting.seed)
    samples = workshop.target(setting, scale)[0]
    return model, Samples.of(base_data), Samples.of(samples)


def score(kept: Path, workshop: Workshop) -> None:
    """Let every scorer choose a layer where no choice is kept; resumes."""
    path = kept / CHOICES
    chosen = json.loads(path.read_text())
    names = [p.stem[9:] for p in kept.glob("forecast-*.json")]
    for scorer in SCORERS:
        for name in sorted(names, key=_order):
            if scorer.name in chosen.setdefault(name, {}):
                continue
            found = scorer(*subject(name, workshop), np.random.default_rng(0)).values
            known = {a: v for a, v in found.items() if not np.isnan(v)}
            # Nothing to choose from: no exponent can be fitted to so small kernels.
            best = max(known, key=lambda layer: known[layer]) if known else None
            chosen[name][scorer.name] = best
            path.write_text(json.dumps(chosen, indent=1, sort_keys=True) + "\n")
            print(name, scorer.name, best, flush=True)


def pack(folder: Path, kept: Path) -> None:
    """Keep what was forecast and measured of the settings of a deep study."""
    for path in sorted((folder / "forecast").glob("*-n16-seed*.json")):
        forecast = json.loads(path.read_text())
        sweep, controls = (
            json.loads((folder / stage / path.name).read_text())
            for stage in ("sweep", "baselines")
        )
        arms = {**sweep["layers"], **sweep["pairs"], **controls}
        document = {
            "arms": {
                NAMES.get(label, label): {
                    "1": {
                        "correlation": row["cc"],
                        "relative_rmse": row["relative_rmse"],
                        "base_correlation": row["base_cc"],
                    }
                }
                for label, row in arms.items()
            },
            "forecast": {
                "best": NAMES.get(forecast["best"], forecast["best"]),
                "arms": {
                    NAMES.get(label, label): {
                        key: row[key]
                        for key in (
                            "correlation",
                            "correlation_low",
                            "correlation_high",
                            "base_correlation",
                            "learning_rate",
                        )
                    }
                    for label, row in forecast["arms"].items()
                },
            },
        }
        text = json.dumps(document, indent=1)
        (kept / f"forecast-{DEEP}-{path.name}").write_text(text + "\n")


def regrets(document: dict[str, Any], chosen: dict[str, str]) -> dict[str, float]:
    """Return what each rule gives away of the correlation of the best arm.

    nan for a rule whose arm was not measured.

    Args:
        document: a kept forecast with what its arms gave.
        chosen: scorer to the layer that it chose.
    """
    gives = {
        label: max(found["correlation"] for found in rates.values() if found)
        for label, rates in document["arms"].items()
        if any(rates.values())
    }
    layers = {a: v for a, v in gives.items() if a.startswith("conv_") and "+" not in a}
    rules = {
        "`forecast.best`": gives.get(document["forecast"]["best"], np.nan),
        "always all layers": gives["all layers"],
        "always the first half": gives.get("first half", np.nan),
        "always the second layer": gives["conv_2"],
        "the best single layer, measured": max(layers.values()),
        **{
            label: gives.get(chosen.get(scorer.name), np.nan)
            for scorer, label in SCORERS.items()
        },
        "any layer, mean": float(np.mean(list(layers.values()))),
        "any arm, mean": float(np.mean(list(gives.values()))),
    }
    best = max(gives.values())
    return {rule: best - value for rule, value in rules.items()}


def table(kept: Path) -> str:
    """A row a rule, a column a setting, and the mean of those where all are known."""
    chosen = json.loads((kept / CHOICES).read_text())
    names = sorted(chosen, key=_order)
    columns = {
        name: regrets(
            json.loads((kept / f"forecast-{name}.json").read_text()), chosen[name]
        )
        for name in names
    }
    lines = [
        f"| rule | {' | '.join(map(heading, names))} | mean |",
        f"|---|{'---|' * (len(names) + 1)}",
    ]
    for rule in columns[names[0]]:
        values = [column[rule] for column in columns.values()]
        if not np.any(np.isfinite(values)):
            continue
        cells = [
            f"{v:.4f}".removeprefix("0") if np.isfinite(v) else "-"
            for v in (*values, np.mean(values))
        ]
        lines.append(f"| {rule} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _order(name: str) -> tuple[bool, str]:
    """The deep network last."""
    return name.startswith(DEEP), name


def heading(name: str) -> str:
    """A setting in a few characters."""
    systems, normalization, count, seed = name.split("-")
    between = systems.replace("kf", "").replace("_", " ")
    between = between.replace("deep k25 to k4", "deep 16 to 4")
    return f"{between}, {normalization}, {count[1:]}" + (
        ", seed 0" if seed == "seed0" and not name.startswith(DEEP) else ""
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kept", type=Path, default=KEPT)
    parser.add_argument("--deep", type=Path, help="folder of a deep study to pack")
    parser.add_argument("--score", action="store_true", help="score what is missing")
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--out", type=Path, default=Path("runs/forecasts"))
    arguments = parser.parse_args()
    if arguments.deep:
        pack(arguments.deep, arguments.kept)
    if arguments.score:
        score(arguments.kept, Workshop(arguments.data, arguments.out))
    print(table(arguments.kept))


if __name__ == "__main__":
    main()
