"""How good forecasts are that are told of symmetries, or that are to keep the base.

In the settings of the calibration (`kept_settings.py`), without those that chose
constants, forecasts are made anew with

- `symmetries`: those of the target flow,
- `replay` and `keep=0.3`: base samples beside those of the target, and the base counts
  for 30 % of the choice,

and each arm is then retrained by its recipe, which has the same options, and tested on
unseen simulations of both systems. No constant was chosen with any of these. Resumes.

    python benchmarks/forecast_options.py --out runs/reproduction --data-dir data

`--out` and `--data-dir` are those of `examples/reproduce.py --tier calibration`, whose
stages up to "base" have to be there; what is kept in `scores/forecast_options.json` is
not measured again. `--table` prints the tables only.
"""

import functools
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from forecast_calibration import levels
from kept_settings import by_samples, compared, short
from score_sweeps import gathered, study_parser

import keras_spectral_tl as kst
from keras_spectral_tl import freezing
from keras_spectral_tl.scoring import Arm
from turbulence_data import symmetries

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
from reproduction.recipes import foretold_options
from reproduction.study import Study
from reproduction.tiers import Setting

KEPT = Path(__file__).with_name("scores") / "forecast_options.json"
KEEP = 0.3
NUM_REPLAYED = 24
SEEDS = {
    "k25_to_k4": 1,
    "k4_to_k25": 1,
    "forced_to_decaying": 0,
    "reynolds_1e3_to_1e5": 0,
    "reynolds_1e5_to_1e3": 0,
}
ARMS = (
    Arm("unchanged", ()),
    Arm("output gain", freezing.OutputGain()),
    Arm("biases", freezing.BiasesOf()),
    Arm("filters", freezing.FiltersOf()),
    "conv_1",
    "conv_2",
    Arm("all layers"),
)


def settings(data_dir: Path, out: Path) -> Iterator[tuple[Study, Setting]]:
    """Every transfer with the numbers of samples at which options matter."""
    for case, seed in SEEDS.items():
        study = Study(
            case, "calibration", data_dir, out, seed + 1, normalizations=("own",)
        )
        for setting in study.settings():
            if setting.seed == seed:
                yield study, setting


def options_of(study: Study, setting: Setting) -> dict[str, dict[str, Any]]:
    """What a forecast is told, by the name of the option."""
    flow = study.ensemble(study.target_system).flow
    (x, y), _ = study.base_data()
    # Between those that the forecast is shown.
    rows = np.linspace(0, len(x) - 1, 2 * NUM_REPLAYED).astype(int)[1::2]
    found: dict[str, dict[str, Any]] = {}
    if setting.num_target < 16:
        size = x.shape[1]
        found["symmetries"] = {"symmetries": symmetries.of(flow, num_points=size)}
    if setting.num_target > 1:
        found["replay, keep"] = {"replay": (x[rows], y[rows]), "keep": KEEP}
    return found


def measured(
    study: Study, setting: Setting, option: str, told: Mapping[str, Any]
) -> dict[str, Any]:
    """What was said of every arm, and what its recipe gave."""
    model, shown = study.base_network(setting.seed), study.scored_base_data()
    target, test = study.target_data(setting)
    said = {**foretold_options(study, setting), **told, "progress": False}
    found = kst.forecast(model, shown, target, arms=ARMS, **said)
    base_test = study.base_data()[1]
    swept = found.measure(model, target, test, base_test=base_test, progress=False)
    gave = {row["layer"]: row for row in swept.rows}
    return {
        "option": option,
        "case": study.case,
        "samples": setting.num_target,
        "seed": setting.seed,
        "best": found.best.label,
        "arms": {
            label: compared(row, gave[label]["cc"], gave[label]["base_correlation"])
            for label, row in found.to_dict()["arms"].items()
        },
    }


def value(row: Mapping[str, float], option: str) -> float:
    """What an arm is worth: its correlation, and its share of that on the base."""
    keep = KEEP if "keep" in option else 0.0
    return (1.0 - keep) * row["measured"] + keep * row["base_measured"]


def regret(setting: Mapping[str, Any], label: str) -> float:
    """What an arm gives away of the value of the best one."""
    worth = {k: value(row, setting["option"]) for k, row in setting["arms"].items()}
    return max(worth.values()) - worth[label]


def table(rows: list[dict[str, Any]]) -> str:
    """A row an option and a number of samples."""
    lines = [
        "| option | samples | arms in their 90 % interval | levels off by | base off "
        "by | regret of `forecast.best` | always all layers | always filters |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for option in dict.fromkeys(row["option"] for row in rows):
        groups = by_samples([row for row in rows if row["option"] == option])
        for number, some in groups.items():
            found = levels(some)
            chosen = np.mean([regret(row, row["best"]) for row in some])
            rules = [
                np.mean([regret(row, label) for row in some])
                for label in ("all layers", "filters")
            ]
            regrets = " | ".join(short(r, 4) for r in (chosen, *rules))
            lines.append(
                f"| {option} | {number} | {found['inside']} of {found['arms']} | "
                f"{found['off']:.3f} | {found['base_off']:.3f} | {regrets} |"
            )
    return "\n".join(lines).replace(" 0.", " .")


def main() -> None:
    options = study_parser(__doc__, KEPT).parse_args()
    folder = options.out / "calibration"
    tasks = (
        (
            f"{study.case}-{setting.label}-{option.replace(', ', '-')}",
            functools.partial(measured, study, setting, option, told),
        )
        for study, setting in settings(options.data_dir, folder)
        for option, told in options_of(study, setting).items()
    )
    kept = gathered(options.kept, () if options.table else tasks)
    print(table(list(kept.values())))


if __name__ == "__main__":
    main()
