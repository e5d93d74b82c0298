"""What the symmetries of the base system add when the base network is trained.

The small networks of six convolutions, turbulence forced at wavenumber 16 and then at
4, three seeds. A base network is trained with its samples alone, or with their
images under the symmetries of the flow, with equal steps; then all layers are retrained
on 16 target samples or one, in their own statistics, without images. Correlations on
unseen simulations. Resumes.

    python benchmarks/base_symmetries.py --out runs/reproduction --data-dir data

`--data-dir` has the mini flows (stage "data" of `examples/reproduce.py --tier mini`).
"""

import functools
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
from kept_settings import short
from score_sweeps import gathered, study_parser

import keras_spectral_tl as kst
from keras_spectral_tl.metrics import pattern_correlation
from turbulence_data import symmetries

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
from reproduction.recipes import epochs, falling_adam, passes
from reproduction.stages import outputs_of
from reproduction.study import Study
from reproduction.tiers import Setting

KEPT = Path(__file__).with_name("scores") / "base_symmetries.json"
CASE = "k25_to_k4"
SEEDS = range(3)
NUM_TARGET = (16, 1)


def measured(study: Study, seed: int, with_images: bool) -> dict[str, float]:
    """Correlations of a base network, before and after retraining all layers."""
    base, base_test = study.base_data()
    flow = study.ensemble(study.base_system).flow
    images = symmetries.of(flow, num_points=base[0].shape[1]) if with_images else None
    plan = study.tier.base_training
    keras.utils.set_random_seed(seed)
    network = kst.retrain(
        study.new_network(),
        base,
        None,
        optimizer=falling_adam(plan.rate, plan.steps),
        epochs=epochs(plan, len(base[0])),
        batch_size=plan.batch_size,
        seed=seed,
        symmetries=images,
    ).model
    found = {"base": _cc(network, base_test)}
    again = study.tier.retraining
    for number in NUM_TARGET:
        setting = Setting("own", number, seed)
        target, test = study.target_data(setting)
        found[f"before, {number}"] = _cc(network, test)
        options = {
            "optimizer": falling_adam(again.rate, again.steps),
            **passes(again, setting),
        }
        after = kst.retrain(network, target, None, **options).model
        found[f"after, {number}"] = _cc(after, test)
    return found


def _cc(model: keras.Model, data: tuple[np.ndarray, np.ndarray]) -> float:
    return float(pattern_correlation(data[1], outputs_of(model, data[0])))


def table(kept: dict[str, dict[str, Any]]) -> str:
    """Mean and standard deviation over seeds, without images and with them."""
    names = [
        "base",
        *(f"{when}, {n}" for n in NUM_TARGET for when in ("before", "after")),
    ]
    heads = ["the base"] + [
        f"{when}, {n} sample{'s' * (n > 1)}"
        for n in NUM_TARGET
        for when in ("before", "all layers")
    ]
    lines = [
        f"| base trained | {' | '.join(heads)} |",
        f"|---|{'---|' * len(heads)}",
    ]
    for images, label in (("plain", "without images"), ("images", "with images")):
        rows = [kept[f"{CASE}-{images}-seed{seed}"] for seed in SEEDS]
        cells = []
        for name in names:
            values = [row[name] for row in rows]
            spread = np.std(values, ddof=1)
            cells.append(f"{short(np.mean(values))} ± {short(spread)}")
        lines.append(f"| {label} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    options = study_parser(__doc__, KEPT).parse_args()
    study = Study(CASE, "mini", options.data_dir, options.out / "mini")
    tasks = [
        (
            f"{CASE}-{'images' if images else 'plain'}-seed{seed}",
            functools.partial(measured, study, seed, images),
        )
        for seed in SEEDS
        for images in (False, True)
    ]
    print(table(gathered(options.kept, [] if options.table else tasks)))


if __name__ == "__main__":
    main()
