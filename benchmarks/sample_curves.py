"""Is the curve against samples right at four times the samples?

In the settings of the calibration (`kept_settings.py`) with 16 and 4 samples:
the curve of retraining all layers, made with these samples; then all layers retrained
with four times as many, by the recipe that is forecast with them, and tested on unseen
simulations.

That n counts the samples held out too was chosen with seed 0 of k25_to_k4, k4_to_k25
and reynolds_1e3_to_1e5 in view; all others had no part in it.

    python benchmarks/sample_curves.py --runs runs/reproduction --data-dir data
    python benchmarks/sample_curves.py          # the table of the kept results

The base networks have to be there (`examples/reproduce.py --tier calibration`); what is
finished is not made again.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from kept_settings import short

import keras_spectral_tl as kst
from keras_spectral_tl.metrics import pattern_correlation
from keras_spectral_tl.scoring import Arm

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
from reproduction import stages
from reproduction.recipes import foretold_options
from reproduction.study import Study
from reproduction.tiers import CASES, Setting

KEPT = Path(__file__).parent / "scores" / "sample_curves.json"
NUMBERS, TIMES = (16, 4), 4
ALL = Arm("all layers")
SEEN = {("k25_to_k4", 0), ("k4_to_k25", 0), ("reynolds_1e3_to_1e5", 0)}


def forecast_of(study: Study, setting: Setting) -> kst.Forecast:
    """Forecast retraining all layers, and nothing else."""
    model, (target, _) = study.base_network(setting.seed), study.target_data(setting)
    options = foretold_options(study, setting)
    base = study.scored_base_data()
    return kst.forecast(model, base, target, arms=[ALL], progress=False, **options)


def retrained(study: Study, setting: Setting, found: kst.Forecast) -> float:
    """Correlation of all layers, retrained by their recipe, on unseen simulations."""
    model, (target, test) = study.base_network(setting.seed), study.target_data(setting)
    after = kst.retrain(model, target, **(found.recipe_for(ALL.label) or {})).model
    return float(pattern_correlation(test[1], stages.outputs_of(after, test[0])))


def measured(study: Study, setting: Setting) -> dict[str, Any]:
    """The curve, and what more samples gave."""
    more = Setting(setting.normalization, TIMES * setting.num_target, setting.seed)
    found = forecast_of(study, setting)
    curve = found.sample_curve(ALL.label)
    expected, low, high = curve.at(more.num_target)
    return {
        "case": study.case,
        "seed": setting.seed,
        "samples": setting.num_target,
        "stand_for": curve.num_samples.tolist(),
        "correlations": curve.correlations.tolist(),
        "here": retrained(study, setting, found),
        "expected": expected,
        "low": low,
        "high": high,
        "measured": retrained(study, more, forecast_of(study, more)),
    }


def table(rows: list[dict[str, Any]]) -> str:
    """A row a setting: what was expected of more samples, and what they gave."""
    lines = [
        "| transfer, seed | samples | all layers give | with four times as many: "
        "expected | measured | error over that expected |",
        "|---|---|---|---|---|---|",
    ]
    for row in sorted(rows, key=lambda row: (-row["samples"], row["case"])):
        name = f"{row['case']}, {row['seed']}" + ", seen" * was_seen(row)
        numbers = {key: short(row[key]) for key in ("here", "expected", "measured")}
        expected = (
            f"{numbers['expected']} ({short(row['low'])} to {short(row['high'])})"
        )
        gave = f"{numbers['here']} | {expected} | {numbers['measured']}"
        lines.append(f"| {name} | {row['samples']} | {gave} | {short(ratio(row), 2)} |")
    errors = [abs(ratio(row) - 1.0) for row in rows if not was_seen(row)]
    if errors:
        name = f"mean deviation from 1, {len(errors)} settings not seen"
        lines.append(f"| {name} | | | | | {short(np.mean(errors), 2)} |")
    return "\n".join(lines)


def was_seen(row: dict[str, Any]) -> bool:
    """Whether what the curve counts was chosen with this setting in view."""
    return (row["case"], row["seed"]) in SEEN


def ratio(row: dict[str, Any]) -> float:
    """Error measured over error expected."""
    return float((1.0 - row["measured"]) / (1.0 - row["expected"]))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=Path, help="folder of the tiers, to run in")
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--cases", nargs="+", choices=sorted(CASES))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--kept", type=Path, default=KEPT)
    options = parser.parse_args()
    plane = [case for case in CASES if not case.startswith("qg_")]
    if options.runs:
        folder = options.runs / "calibration"
        for case in options.cases or plane:
            study = Study(
                case,
                "calibration",
                options.data_dir,
                folder,
                options.seeds,
                num_target=NUMBERS,
                normalizations=("own",),
            )
            for setting in study.settings():
                row = study.once("curves", setting.label, measured, setting)
                print(table([row]).splitlines()[-1], flush=True)
        rows = [json.loads(p.read_text()) for p in sorted(folder.glob("*/curves/*"))]
        options.kept.write_text(json.dumps(rows, indent=0) + "\n")
    print(table(json.loads(options.kept.read_text())))


if __name__ == "__main__":
    main()
