"""All layers retrained with the learning rates of Auto-RGN, in the kept settings.

The rate of a layer is that of the forecast for all layers, times the layer's relative
gradient norm over the largest of them (Lee et al. 2022, arXiv:2210.11466). Norms are
taken once, at the start; the paper takes them anew in each epoch. At the rate of the
forecast and, where other arms had several rates too, at three times it, as the factors
are 1 at most. Where the target has its own statistics the retraining starts from the
best output gain, as the forecast does. Correlation on the same unseen target snapshots
as all arms; resumes.

    python benchmarks/auto_rgn.py --out runs/forecasts
    python benchmarks/auto_rgn.py --out runs/forecasts \
        --deep runs/reproduction/deep --deep-data data

`--out` holds networks, fields and forecasts of a run of `forecasts.py`, `--deep` those
of a deep study of `examples/reproduce.py`.
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import forecast_controls
import keras
import numpy as np
from forecast_controls import AUTO_RGN, DEEP, KEPT
from score_settings import BATCH_SIZE, STEPS
from score_sweeps import Workshop
from scorers import GradientNorm

import keras_spectral_tl as kst
from keras_spectral_tl import freezing
from keras_spectral_tl.metrics import least_squares_gain, pattern_correlation
from keras_spectral_tl.transfer import LearningRates, Samples

FACTORS = (1.0, 3.0)


def layer_rates(norms: Mapping[str, float]) -> LearningRates:
    """Factors of the rate: relative gradient norms over the largest of them."""
    largest = max(norms.values())
    # A layer without a gradient stays where it is; a factor has to be positive.
    return LearningRates([(n, max(v / largest, 1e-9)) for n, v in norms.items()])


def measured(
    model: keras.Model, target: Samples, test: Any, options: Mapping[str, Any]
) -> float:
    """Correlation on the test samples after retraining; options are those below."""
    norms = GradientNorm()(model, target, target, np.random.default_rng(0)).values
    layers: Any = None
    if options["gain"]:
        outputs = model.predict(target.x, batch_size=8, verbose=0)
        gain = least_squares_gain(target.y, outputs)
        layers = [None, freezing.OutputGain(initial=gain)]
    size = min(BATCH_SIZE, len(target))
    schedule = keras.optimizers.schedules.CosineDecay(options["rate"], STEPS)
    after = kst.retrain(
        model,
        (target.x, target.y),
        layers,
        optimizer=keras.optimizers.Adam(schedule),
        learning_rates=layer_rates(norms),
        epochs=-(-STEPS // (len(target) // size)),
        batch_size=size,
        seed=options["seed"],
    ).model
    outputs = after.predict(test[0], batch_size=32, verbose=0)
    return float(pattern_correlation(test[1], outputs))


def deep_case(name: str, data: Path, out: Path) -> tuple[Any, Samples, Any, float]:
    """Network, target samples, test samples and rate of a setting of the deep tier."""
    from reproduction.study import Study
    from reproduction.tiers import Setting

    study = Study("k25_to_k4", "deep", data, out)
    _, normalization, _, _ = name.split("-")
    setting = Setting(normalization, 16, 0)
    target, test = study.target_data(setting)
    path = study.folder / "forecast" / f"{setting.label}.json"
    rate = json.loads(path.read_text())["recipes"]["all"]["learning_rate"]
    return study.base_network(0), Samples.of(target), test, rate


def case(name: str, workshop: Workshop) -> tuple[Any, Samples, Any, float]:
    """The same of a setting of the small networks."""
    setting = forecast_controls.setting_of(name)
    model, _, scale = workshop.base(setting.base, setting.seed)
    target, test = workshop.target(setting, scale)
    path = workshop.out / f"forecast-{name}.json"
    arms = json.loads(path.read_text())["forecast"]["arms"]
    return model, Samples.of(target), test, arms["all layers"]["learning_rate"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kept", type=Path, default=KEPT)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--out", type=Path, default=Path("runs/forecasts"))
    parser.add_argument("--deep", type=Path, help="folder of a deep study")
    parser.add_argument("--deep-data", type=Path, default=Path("data"))
    arguments = parser.parse_args()
    workshop = Workshop(arguments.data, arguments.out)
    path = arguments.kept / AUTO_RGN
    found = json.loads(path.read_text()) if path.exists() else {}
    names = [p.stem[9:] for p in arguments.kept.glob("forecast-*.json")]
    cheapest_first = sorted(names, key=lambda n: (n.startswith(DEEP), "-n1-" not in n))
    for factor in FACTORS:
        for name in cheapest_first:
            done = found.setdefault(name, {})
            # The arms of the deep network were measured at one rate.
            left_out = name.startswith(DEEP) and not (arguments.deep and factor == 1.0)
            if f"{factor:g}" in done or left_out:
                continue
            model, target, test, rate = (
                deep_case(name, arguments.deep_data, arguments.deep)
                if name.startswith(DEEP)
                else case(name, workshop)
            )
            options = {
                "rate": factor * rate,
                "gain": "-own-" in name,
                "seed": int(name.split("-seed")[1]),
            }
            try:
                value = measured(model, target, test, options)
            except FloatingPointError:
                value = None
            done[f"{factor:g}"] = value
            path.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
            print(name, factor, value, flush=True)


if __name__ == "__main__":
    main()
