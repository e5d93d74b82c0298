"""Does the forecast find a planted layer, and choose a retraining that mends it?

The settings of `score_planted.py` with seed 2, of which none was used for choices: a
network, and a target that differs from it in one layer. All default arms are forecast.
Of the single layers the planted one has to come first; what is chosen has to train it.
Resumes; `--table` prints what is kept.

    python benchmarks/planted_forecasts.py
"""

import functools
from pathlib import Path
from typing import Any

from score_planted import PlantedSetting, plant, planted_settings
from score_sweeps import gathered, kept_parser

import keras_spectral_tl as kst

KEPT = Path(__file__).with_name("scores") / "planted_forecasts.json"
SEED = 2


def foretold(setting: PlantedSetting) -> dict[str, Any]:
    """What is predicted of the arms of one setting."""
    made = plant(setting)
    found = kst.forecast(made.model, made.base, made.target, progress=False)
    predicted = {row.label: round(row.correlation, 5) for row in found.rows}
    layers = kst.layers_with_weights(made.model, trainable=True)
    return {
        "architecture": setting.architecture,
        "planted": made.layer,
        "layers": {name: predicted[name] for name in layers},
        "chosen": found.best.label,
        "unchanged": predicted["unchanged"],
        "predicted": predicted[found.best.label],
    }


def what_is_chosen(setting: dict[str, Any]) -> str:
    """How what was chosen stands to the planted layer."""
    names = setting["chosen"].split("+")
    if names == [setting["planted"]]:
        return "the layer"
    if setting["planted"] in names:
        return "it and others"
    return "other layers" if names[0] in setting["layers"] else setting["chosen"]


def table(rows: list[dict[str, Any]]) -> str:
    """How often the planted layer comes first, and what is chosen, by architecture."""
    kinds = sorted({what_is_chosen(row) for row in rows}, key=_place)
    lines = [
        f"| architecture | planted layer first | chosen: {' | '.join(kinds)} |",
        f"|---|---|{'---|' * len(kinds)}",
    ]
    for name in dict.fromkeys(row["architecture"] for row in rows):
        some = [row for row in rows if row["architecture"] == name]
        first = sum(
            max(row["layers"], key=row["layers"].__getitem__) == row["planted"]
            for row in some
        )
        chosen = [what_is_chosen(row) for row in some]
        counts = " | ".join(str(chosen.count(kind)) for kind in kinds)
        lines.append(f"| {name} | {first} of {len(some)} | {counts} |")
    return "\n".join(lines)


def _place(kind: str) -> tuple[int, str]:
    order = ["the layer", "it and others", "all layers", "filters"]
    return (order.index(kind) if kind in order else len(order)), kind


def main() -> None:
    options = kept_parser(__doc__, KEPT).parse_args()
    tasks = [
        (setting.label, functools.partial(foretold, setting))
        for setting in planted_settings()
        if setting.seed == SEED
    ]
    kept = gathered(options.kept, [] if options.table else tasks)
    print(table(list(kept.values())))


if __name__ == "__main__":
    main()
