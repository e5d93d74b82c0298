"""Two layers retrained together: does `max_layers=2` name the right second one?

    python benchmarks/score_pairs.py [--data-dir data]     measure, an hour
    python benchmarks/score_pairs.py --table               from what is kept

The settings are those of `score_settings` with seed 0 and 16 target samples. The layer
ranked first is retrained together with each other layer, and the CC of these pairs is
compared with what the rehearsals said. Controls: the layer ranked second as the
partner, the next layer in the network, and any other layer.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import score_settings
from score_sweeps import Workshop, read_json, retrain_options, write_json

import keras_spectral_tl as kst
from keras_spectral_tl.freezing import layers_with_weights

KEPT = Path(__file__).with_name("scores") / "turbulence_pairs.json"
NUM_BASE = 24


def settings() -> list[score_settings.Setting]:
    """Seed 0, 16 samples: six cases in two normalizations."""
    everything = score_settings.settings()
    return [s for s in everything if s.seed == 0 and s.num_target == 16]


def measure(workshop: Workshop, setting: score_settings.Setting) -> dict[str, Any]:
    """Scores of the pairs with the best layer, and what retraining them gives."""
    model, base, normalization = workshop.base(setting.base, setting.seed)
    target, test = workshop.target(setting, normalization)
    some = tuple(part[:NUM_BASE] for part in base)
    scorer = kst.HeldOutRetraining()
    scores = kst.score_layers(model, some, target, [scorer], setting.seed, max_layers=2)
    names = list(layers_with_weights(model, trainable=True))
    first = scores.ranking[0]
    if not scores.together.values:
        return {"ranking": list(scores.ranking), "recommended": [], "together": {}}
    pairs = [tuple(n for n in names if n in (first, o)) for o in names if o != first]
    sweep = kst.oracle_sweep(
        model, target, test, layers=[first, *pairs], **retrain_options(setting)
    )
    return {
        "ranking": list(scores.ranking),
        "recommended": list(scores.recommended),
        "alone": dict(scores.scores[scorer.name]),
        "together": dict(scores.together.values),
        "cc": {row["layer"]: float(row["cc"]) for row in sweep.rows},
    }


def partners(found: dict[str, Any]) -> dict[str, str]:
    """Rule -> the pair it would retrain."""
    names = sorted(found["ranking"], key=lambda name: int(name.split("_")[1]))
    first, second = found["ranking"][:2]

    def label(other: str) -> str:
        return "+".join(name for name in names if name in (first, other))

    place = names.index(first)
    neighbour = names[place + 1] if place + 1 < len(names) else names[place - 1]
    return {
        "rehearsed together": max(found["together"], key=found["together"].__getitem__),
        "ranked second": label(second),
        "next layer": label(neighbour),
    }


def print_table(kept: dict[str, Any]) -> None:
    """Gain over the single layer and regret against the best pair, by rule."""
    rows: dict[str, list[tuple[float, float]]] = {}
    for found in kept.values():
        if not found["together"]:
            continue  # no layer was recommended, so no pair was rehearsed
        alone = found["cc"][found["ranking"][0]]
        pairs = {label: cc for label, cc in found["cc"].items() if "+" in label}
        reached = {rule: pairs[label] for rule, label in partners(found).items()}
        reached["any other, on average"] = float(np.mean(list(pairs.values())))
        reached["the best"] = max(pairs.values())
        for rule, cc in reached.items():
            rows.setdefault(rule, []).append((cc - alone, reached["the best"] - cc))
    added = sum(len(found["recommended"]) == 2 for found in kept.values())
    some = sum(len(found["recommended"]) >= 1 for found in kept.values())
    print(f"a layer is recommended in {some} of {len(kept)} settings, two in {added}\n")
    print("| partner of the best layer | settings | gain in CC | regret in CC |")
    print("|---|---|---|---|")
    for rule, figures in rows.items():
        gain, regret = np.mean(figures, axis=0)
        print(f"| {rule} | {len(figures)} | {gain:.4f} | {regret:.4f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--out", type=Path, default=Path("runs/bench_scores"))
    parser.add_argument("--table", action="store_true", help="only print the table")
    options = parser.parse_args()
    if not options.table:
        workshop = Workshop(options.data_dir, options.out)
        for setting in settings():
            kept = read_json(KEPT)
            if setting.label not in kept:
                write_json(KEPT, {**kept, setting.label: measure(workshop, setting)})
                print(setting.label, flush=True)
    print_table(read_json(KEPT))


if __name__ == "__main__":
    main()
