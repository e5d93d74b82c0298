"""How good forecasts are on an equation that is not turbulence, in one dimension.

    python benchmarks/kuramoto_sivashinsky_forecasts.py [--table]

Settings, base networks and fields are those of `kuramoto_sivashinsky_sweeps.py`: the
closure of the filtered equation at one viscosity and another, 64, 16, 4 and 1 target
samples in their own statistics, three seeds. Every arm is forecast, then retrained by
its recipe and tested on two unseen trajectories. No constant of the forecast was chosen
with these settings in view, so all of them are reported. Resumes.
"""

import functools
from pathlib import Path
from typing import Any

import numpy as np
from forecast_calibration import levels_table, rules_table
from kept_settings import compared
from kuramoto_sivashinsky_sweeps import Setting, Workshop, settings
from score_settings import BATCH_SIZE, STEPS
from score_sweeps import gathered, kept_parser

import keras_spectral_tl as kst
from keras_spectral_tl import freezing
from keras_spectral_tl.scoring import Arm

KEPT = Path(__file__).with_name("scores") / "ks_forecasts.json"
NUM_BASE = 24
ARMS = (
    Arm("unchanged", ()),
    Arm("output gain", freezing.OutputGain()),
    Arm("biases", freezing.BiasesOf()),
    Arm("filters", freezing.FiltersOf()),
    *(f"conv_{number}" for number in range(1, 6)),
    Arm("all layers"),
    Arm("from scratch", freezing.NewWeights()),
)


def measured(setting: Setting, workshop: Workshop) -> dict[str, Any]:
    """What was said of every arm, and what its recipe gave."""
    model, base = workshop.base(setting.base, setting.seed)
    target, test = workshop.target(setting)
    base_test = _normalized_test(workshop, setting)
    rows = np.linspace(0, len(base[0]) - 1, NUM_BASE).astype(int)
    shown = base[0][rows], base[1][rows]
    size = min(BATCH_SIZE, setting.num_target)
    told = {"seed": setting.seed, "batch_size": size, "steps": STEPS}
    found = kst.forecast(model, shown, target, arms=ARMS, progress=False, **told)
    scores = kst.score_layers(model, shown, target, **told)
    swept = found.measure(model, target, test, base_test=base_test, progress=False)
    gave = {row["layer"]: row for row in swept.rows}
    return {
        "case": f"{setting.base}_to_{setting.target}",
        "samples": setting.num_target,
        "seed": setting.seed,
        "best": found.best.label,
        "first": scores.ranking[0],
        "variants": {},
        "arms": {
            label: compared(said, gave[label]["cc"], gave[label]["base_correlation"])
            for label, said in found.to_dict()["arms"].items()
        },
    }


def _normalized_test(workshop: Workshop, setting: Setting) -> tuple[Any, Any]:
    """Unseen samples of the base in the units of its network."""
    fields = workshop.fields(setting.base)
    statistics = kst.transfer.ChannelStatistics.of(fields["train"])
    return statistics.normalize(*fields["test"])


def main() -> None:
    options = kept_parser(__doc__, KEPT).parse_args()
    workshop = Workshop()
    tasks = [
        (setting.label, functools.partial(measured, setting, workshop))
        for setting in settings()
    ]
    rows = list(gathered(options.kept, [] if options.table else tasks).values())
    print(levels_table(rows), rules_table(rows), sep="\n\n")


if __name__ == "__main__":
    main()
