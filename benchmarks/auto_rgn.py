"""All layers retrained with the learning rates of Auto-RGN, in settings of a study.

The rate of a layer is that of the forecast for all layers, times the layer's relative
gradient norm over the largest of them (Lee et al. 2022, arXiv:2210.11466). Norms are
taken once, at the start; the paper takes them anew in each epoch. At the rate of the
forecast and at three times it, as the factors are 1 at most. Correlation on the same
unseen target snapshots as all arms; resumes.

    python benchmarks/auto_rgn.py --out runs/reproduction --case k25_to_k4 --seeds 3

`--out` and `--data-dir` are those of `examples/reproduce.py --tier calibration`, whose
stages up to "forecast" have to be there.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scorers import GradientNorm

import keras_spectral_tl as kst
from keras_spectral_tl.metrics import pattern_correlation
from keras_spectral_tl.transfer import LearningRates, Samples

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
from reproduction import stages
from reproduction.study import Study
from reproduction.tiers import CASES, Setting

FACTORS = (1.0, 3.0)


def layer_rates(norms: Mapping[str, float]) -> LearningRates:
    """Factors of the rate: relative gradient norms over the largest of them."""
    largest = max(norms.values())
    # A layer without a gradient stays where it is; a factor has to be positive.
    return LearningRates([(n, max(v / largest, 1e-9)) for n, v in norms.items()])


def measured(study: Study, setting: Setting) -> dict[str, Any]:
    """Correlation after retraining by factor of the rate; None where it diverged."""
    model, (target, test) = study.base_network(setting.seed), study.target_data(setting)
    samples = Samples.of(target)
    norms = GradientNorm()(model, samples, samples, np.random.default_rng(0)).values
    found: dict[str, Any] = {}
    for factor in FACTORS:
        options = stages.retrain_options(study, setting, "all", factor)
        try:
            after = kst.retrain(
                model, target, learning_rates=layer_rates(norms), **options
            ).model
        except FloatingPointError:
            found[f"{factor:g}"] = None
            continue
        outputs = stages.outputs_of(after, test[0])
        found[f"{factor:g}"] = float(pattern_correlation(test[1], outputs))
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
        found = study.once("auto_rgn", setting.label, measured, setting)
        print(options.case, setting.label, json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
