"""Regret of forecasts and of fixed rules, over all arms that were measured.

From kept results of `forecasts.py`: the correlation on unseen target snapshots that
every arm gave, at the best of the rates tried. Scorers are given the same networks and
target samples and choose one layer each (`gradient_norm` is relative to the weights,
the criterion of Auto-RGN); `--data` has to hold the flows, or `--out`
networks and fields of an earlier run. Without `--score` the kept scores are read.

    python benchmarks/forecast_controls.py
    python benchmarks/forecast_controls.py --score --out runs/forecasts
"""

import argparse
import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
from score_settings import Setting
from score_sweeps import Workshop
from scorers import GradientNorm, PowerLawAlpha

from keras_spectral_tl.transfer import Samples

KEPT = Path(__file__).parent / "scores" / "forecasts"


def condition_numbers(model: keras.Model) -> dict[str, float]:
    """Minus the condition number of each kernel, as a matrix (inputs, outputs).

    The least is chosen, as KappaTune does (arXiv:2506.16289). A kernel of one output
    has none: its number would be 1.
    """
    found = {}
    for layer in model.layers:
        weights = [w for w in layer.get_weights() if w.ndim > 1]
        if not weights or weights[0].shape[-1] == 1:
            continue
        kernel = weights[0].astype(np.float64)
        matrix = kernel.reshape(-1, kernel.shape[-1])
        singular = np.linalg.svd(matrix, compute_uv=False)
        found[layer.name] = -float(singular[0] / singular[-1])
    return found


def scored(setting: Setting, workshop: Workshop) -> dict[str, str]:
    """Return the layer that each scorer puts first."""
    model, base_data, normalization = workshop.base(setting.base, setting.seed)
    target = Samples.of(workshop.target(setting, normalization)[0])
    base = Samples.of(base_data)
    values = {"condition number": condition_numbers(model)}
    for scorer in (GradientNorm(), PowerLawAlpha()):
        result = scorer(model, base, target, np.random.default_rng(0))
        values[scorer.name] = dict(result.values)
    return {
        name: max(found, key=lambda layer: np.nan_to_num(found[layer], nan=-np.inf))
        for name, found in values.items()
        if np.any(np.isfinite(list(found.values())))
    }


def regrets(document: dict[str, Any], chosen: dict[str, str]) -> dict[str, float]:
    """Return what each rule gives away of the correlation of the best arm."""
    gives = {
        label: max(found["correlation"] for found in rates.values() if found)
        for label, rates in document["arms"].items()
        if any(rates.values())
    }
    layers = {a: v for a, v in gives.items() if a.startswith("conv_") and "+" not in a}
    rules = {
        "forecast.best": gives[document["forecast"]["best"]],
        "all layers": gives["all layers"],
        "first half": gives["first half"],
        "second layer": gives["conv_2"],
        "best single layer (oracle)": max(layers.values()),
        "random arm (mean)": float(np.mean(list(gives.values()))),
        "random layer (mean)": float(np.mean(list(layers.values()))),
        **{f"layer by {name}": gives[layer] for name, layer in chosen.items()},
    }
    best = max(gives.values())
    return {rule: best - value for rule, value in rules.items()}


def table(kept: Path) -> str:
    """A row a rule, a column a setting, and the mean."""
    scores = json.loads((kept / "layers_by_scorer.json").read_text())
    found = {
        name: regrets(json.loads((kept / f"forecast-{name}.json").read_text()), chosen)
        for name, chosen in scores.items()
    }
    rules = list(dict.fromkeys(rule for column in found.values() for rule in column))
    lines = [
        f"| rule | {' | '.join(found)} | mean |",
        f"|---|{'---|' * (len(found) + 1)}",
    ]
    for rule in rules:
        values = [column.get(rule, np.nan) for column in found.values()]
        cells = [f"{v:.4f}".removeprefix("0") for v in (*values, np.nanmean(values))]
        lines.append(f"| {rule} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _setting(name: str) -> Setting:
    systems, normalization, count, seed = name.split("-")
    base, target = systems.split("_to_")
    return Setting(base, target, normalization, int(count[1:]), int(seed[4:]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kept", type=Path, default=KEPT)
    parser.add_argument("--score", action="store_true", help="score the layers anew")
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--out", type=Path, default=Path("runs/forecasts"))
    arguments = parser.parse_args()
    if arguments.score:
        workshop = Workshop(arguments.data, arguments.out)
        names = [p.stem[9:] for p in sorted(arguments.kept.glob("forecast-*.json"))]
        scores = {name: scored(_setting(name), workshop) for name in names}
        path = arguments.kept / "layers_by_scorer.json"
        path.write_text(json.dumps(scores, indent=1) + "\n")
    print(table(arguments.kept))


if __name__ == "__main__":
    main()
