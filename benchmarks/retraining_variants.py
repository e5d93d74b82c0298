"""What a gain first, symmetries, a pull and layerwise rates add to a retraining.

In the settings of the calibration (`kept_settings.py`), at the rate that the
forecast found for the arm without the addition:

- the same without the gain of the output from which recipes start where amplitudes
  differ,
- images of the samples under the symmetries of the target flow,
- L2-SP, a pull to the start of strength 1 and 10,
- the learning rates of Auto-RGN (Lee et al. 2022, arXiv:2210.11466): the rate of a
  layer is that of all layers times its relative gradient norm over the largest of them,
  taken once, at the start (the paper takes it anew in each epoch); also from three
  times the rate, as these factors are 1 at most.

Correlation on the same unseen target snapshots as all arms, and on the base; resumes.

    python benchmarks/retraining_variants.py --case k25_to_k4 --seeds 3

`--out` and `--data-dir` are those of `examples/reproduce.py --tier calibration`, whose
stages up to "forecast" have to be there.
"""

import argparse
import dataclasses
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scorers import GradientNorm

import keras_spectral_tl as kst
from keras_spectral_tl.metrics import pattern_correlation
from keras_spectral_tl.transfer import LearningRates, Samples
from turbulence_data import symmetries

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
from reproduction import stages
from reproduction.recipes import Recipes, recipes_of
from reproduction.study import Arrays, Study
from reproduction.tiers import CASES, Setting


def layer_rates(norms: Mapping[str, float]) -> LearningRates:
    """Factors of the rate: relative gradient norms over the largest of them."""
    largest = max(norms.values())
    # A layer without a gradient stays where it is; a factor has to be positive.
    return LearningRates([(n, max(v / largest, 1e-9)) for n, v in norms.items()])


Variant = tuple[Recipes, Any, float, dict[str, Any]]
"""Where it starts, layers, factor of the rate, and arguments of `retrain`."""


def variants(study: Study, setting: Setting, target: Arrays) -> dict[str, Variant]:
    """Every variant by its name, which begins with that of its arm."""
    recipes, samples = recipes_of(study, setting), Samples.of(target)
    rng = np.random.default_rng(0)
    norms = GradientNorm()(recipes.network, samples, samples, rng).values
    rates = {"learning_rates": layer_rates(norms)}
    flow = study.ensemble(study.target_system).flow
    images = {"symmetries": symmetries.of(flow, num_points=target[0].shape[1])}
    found: dict[str, Variant] = {
        "all layers, symmetries": (recipes, None, 1.0, images),
        "conv_2, symmetries": (recipes, "conv_2", 1.0, images),
        "all layers, pull 1": (recipes, None, 1.0, {"pull": 1.0}),
        "all layers, pull 10": (recipes, None, 1.0, {"pull": 10.0}),
        "all layers, Auto-RGN": (recipes, None, 1.0, rates),
        "all layers, Auto-RGN at three times the rate": (recipes, None, 3.0, rates),
    }
    if recipes.gain:
        base = study.base_network(setting.seed)
        plain = dataclasses.replace(recipes, network=base, inside="", gain="")
        found["all layers, no gain first"] = (plain, None, 1.0, {})
        found["conv_2, no gain first"] = (plain, "conv_2", 1.0, {})
    return found


def measured(study: Study, setting: Setting) -> dict[str, Any]:
    """Correlation on both systems by variant; None where a retraining diverged."""
    target, test = study.target_data(setting)
    base_x, base_y = study.base_data()[1]
    found: dict[str, Any] = {}
    chosen = variants(study, setting, target)
    for name, (recipes, layers, factor, extra) in chosen.items():
        arm = name.split(",")[0].replace("all layers", "all")
        options = recipes.options(arm, factor) | extra
        start, part = recipes.network, recipes.layers(layers)
        try:
            after = kst.retrain(start, target, part, **options).model
        except FloatingPointError:
            found[name] = None
            continue
        on_target, on_base = (stages.outputs_of(after, x) for x in (test[0], base_x))
        found[name] = {
            "cc": float(pattern_correlation(test[1], on_target)),
            "base_cc": float(pattern_correlation(base_y, on_base)),
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--case", choices=sorted(CASES), required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--out", type=Path, default=Path("runs/reproduction"))
    options = parser.parse_args()
    study = Study(
        options.case,
        "calibration",
        options.data_dir,
        options.out / "calibration",
        options.seeds,
        normalizations=("own",),
    )
    for setting in study.settings():
        study.once("variants", setting.label, measured, setting)
        print(options.case, setting.label, flush=True)


if __name__ == "__main__":
    main()
