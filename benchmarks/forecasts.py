"""Forecasts against what every arm really gives, with the best of three rates.

For each setting: the forecast, made first; then every arm retrained by its recipe;
those within .03 of the best also at a third and three times the rate. Correlation on
50 unseen target snapshots and on unseen base snapshots. Choices (the relative rate,
the exponent, lengths of trials, the scatter) were made with seed 0 in view; seed 3 was
first forecast after that.

    python benchmarks/forecasts.py --data data --out runs/forecasts
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
from score_settings import BATCH_SIZE, STEPS, Setting
from score_sweeps import Workshop

import keras_spectral_tl as kst
from keras_spectral_tl.metrics import pattern_correlation, relative_rmse

FACTORS, WITHIN = (1.0 / 3.0, 3.0), 0.03
SETTINGS = [
    Setting(base, target, normalization, num_target, seed)
    for seed in (3, 0)
    for num_target in (16, 4, 1)
    for base, target, normalization in (
        ("kf16", "kf4", "own"),
        ("kf4", "kf16", "own"),
        ("kf16", "kf4", "base"),
    )
]


def measured(model: keras.Model, test: Any, base_test: Any) -> dict[str, float]:
    """Correlation on the target and on the base, relative error on the target."""
    outputs = model.predict(test[0], batch_size=32, verbose=0)
    on_base = model.predict(base_test[0], batch_size=32, verbose=0)
    return {
        "correlation": pattern_correlation(test[1], outputs),
        "relative_rmse": relative_rmse(test[1], outputs),
        "base_correlation": pattern_correlation(base_test[1], on_base),
    }


def at_rate(recipe: dict[str, Any], factor: float) -> dict[str, Any]:
    """The recipe with its learning rates times a factor."""
    rate = recipe["optimizer"].get_config()["learning_rate"]["config"]
    schedule = keras.optimizers.schedules.CosineDecay(
        factor * rate["initial_learning_rate"], rate["decay_steps"]
    )
    return {**recipe, "optimizer": keras.optimizers.Adam(schedule)}


def run(setting: Setting, workshop: Workshop, out: Path) -> None:
    """Forecast, then measure, one arm after another; resumes."""
    path = out / f"forecast-{setting.label}.json"
    done = json.loads(path.read_text()) if path.exists() else {"arms": {}}
    model, base_train, normalization = workshop.base(setting.base, setting.seed)
    target, test = workshop.target(setting, normalization)
    fields = workshop.fields(setting.base)
    base_test = normalization.normalize(fields["test_x"], fields["test_y"])
    size = min(BATCH_SIZE, setting.num_target)
    start = time.perf_counter()
    # The kept forecasts were shown `base_test`, see docs/forecast_benchmark.md.
    forecast = kst.forecast(
        model, base_train, target, seed=setting.seed, steps=STEPS, batch_size=size
    )
    if "forecast" not in done:
        done["seconds"] = time.perf_counter() - start
        done["forecast"] = forecast.to_dict()
    done["arms"].setdefault("unchanged", {})["1"] = measured(model, test, base_test)

    def measure(label: str, factor: float) -> None:
        found = done["arms"].setdefault(label, {})
        if f"{factor:.2g}" in found:
            return
        recipe = at_rate(forecast.recipe_for(label), factor)
        try:
            result = kst.retrain(model, target, seed=setting.seed, **recipe)
            found[f"{factor:.2g}"] = measured(result.model, test, base_test)
        except FloatingPointError:
            found[f"{factor:.2g}"] = None
        path.write_text(json.dumps(done, indent=1))

    labels = [
        row.label for row in forecast.rows if row.steps and row.label != "output gain"
    ]
    for label in labels:
        measure(label, 1.0)
    gives = {label: done["arms"][label]["1"] for label in labels}
    known = {label: v["correlation"] for label, v in gives.items() if v}
    for label in known:
        for factor in FACTORS:
            if known[label] > max(known.values()) - WITHIN:
                measure(label, factor)
    path.write_text(json.dumps(done, indent=1))


def table(out: Path) -> str:
    """Regret, coverage and errors of each setting, and of fixed rules."""
    head = (
        "setting | best | regret | all layers | second layer | best layer | "
        "covered | base error | tau of layers"
    )
    lines = [head]
    for path in sorted(out.glob("forecast-*.json")):
        done = json.loads(path.read_text())
        predicted = done["forecast"]["arms"]
        best = {
            label: max((v for v in rates.values() if v), key=lambda v: v["correlation"])
            for label, rates in done["arms"].items()
            if any(rates.values()) and label in predicted
        }
        gives = {label: found["correlation"] for label, found in best.items()}
        top, choice = max(gives.values()), done["forecast"]["best"]
        layers = [a for a in gives if a.startswith("conv_") and "+" not in a]
        covered = [
            predicted[arm]["correlation_low"]
            <= value
            <= predicted[arm]["correlation_high"]
            for arm, value in gives.items()
        ]
        missed = [
            abs(predicted[a]["base_correlation"] - best[a]["base_correlation"])
            for a in gives
        ]
        order = [predicted[a]["correlation"] for a in layers]
        real = [gives[a] for a in layers]
        lines.append(
            f"{path.stem[9:]} | {choice} | {top - gives.get(choice, np.nan):.4f} | "
            f"{top - gives.get('all layers', np.nan):.4f} | "
            f"{top - gives.get('conv_2', np.nan):.4f} | "
            f"{top - max(real, default=np.nan):.4f} | "
            f"{sum(covered)} of {len(covered)} | {np.mean(missed):.3f} | "
            f"{_tau(order, real):.2f}"
        )
    return "\n".join(lines)


def _tau(first: list[float], second: list[float]) -> float:
    a = np.sign(np.subtract.outer(first, first))
    b = np.sign(np.subtract.outer(second, second))
    count = len(first) * (len(first) - 1)
    return float(np.sum(a * b) / count) if count else float("nan")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--out", type=Path, default=Path("runs/forecasts"))
    parser.add_argument("--table", action="store_true", help="print the table only")
    arguments = parser.parse_args()
    workshop = Workshop(arguments.data, arguments.out)
    for setting in [] if arguments.table else SETTINGS:
        run(setting, workshop, arguments.out)
        print(setting.label, flush=True)
    print(table(arguments.out))


if __name__ == "__main__":
    main()
