"""What every way to retrain gave in the settings of a tier: the tables of the page.

    for case in decaying_to_forced forced_to_decaying reynolds_1e3_to_1e5 \\
            reynolds_1e5_to_1e3 k25_to_k4 k4_to_k25; do
        python examples/reproduce.py --case $case --tier calibration --seeds 3 \\
            --samples 16 --stages data base scores forecast sweep baselines
        python examples/reproduce.py --case $case --tier deep --seeds 1 --pairs 1
    done
    python benchmarks/tier_tables.py --runs runs/reproduction

`--runs` packs what is found of both tiers into `benchmarks/scores/tiers.json`; without
it the kept results are read.
"""

import argparse
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from score_sweeps import write_json

KEPT = Path(__file__).parent / "scores" / "tiers.json"
# Rows below those of the layers, and their names on the page.
WAYS = {
    "best pair": "best pair",
    "bias_only": "biases",
    "filters": "six filters in all layers",
    "all": "all layers",
    "from_scratch": "from scratch",
}
SAMPLES = 16
# A table each: by samples, or of several cases with `SAMPLES` samples.
DEEP_TABLES = (
    ("k25_to_k4",),
    ("k4_to_k25",),
    (
        "decaying_to_forced",
        "forced_to_decaying",
        "reynolds_1e3_to_1e5",
        "reynolds_1e5_to_1e3",
    ),
)

Setting = dict[str, Any]


def pack(tier: Path) -> list[Setting]:
    """Read the correlations on target and base of all settings that are complete."""
    settings = []
    for path in sorted(tier.glob("*/baselines/*-n*-seed*.json")):
        whose, count, seed = path.stem.split("-")
        sweep = json.loads((path.parents[1] / "sweep" / path.name).read_text())
        pairs = sweep["pairs"]
        pair = max(pairs, key=lambda name: pairs[name]["cc"], default=None)
        arms = {**sweep["layers"], **json.loads(path.read_text())}
        if pair is not None:
            arms["best pair"] = pairs[pair]
        settings.append(
            {
                "case": path.parents[1].name,
                "normalization": whose,
                "samples": int(count[1:]),
                "seed": int(seed[4:]),
                "pair": pair,
                "arms": {
                    name: [round(row["cc"], 5), round(row["base_cc"], 5)]
                    for name, row in arms.items()
                },
            }
        )
    return settings


def layers_of(setting: Setting) -> list[str]:
    """The names of the layers that were retrained alone."""
    return [name for name in setting["arms"] if name.startswith("conv_")]


def best_layer(setting: Setting) -> str:
    """The layer that gave most on the target."""
    return max(layers_of(setting), key=lambda name: setting["arms"][name][0])


def target_table(settings: list[Setting]) -> str:
    """CC on the target, a row a case and normalization, over seeds."""
    numbers = [name.removeprefix("conv_") for name in layers_of(settings[0])]
    heads = ["case", "normalization", "before = gain only", *numbers]
    rows = []
    for case, whose, some in _systems(settings):
        layers = layers_of(some[0])
        found = {
            name: [setting["arms"][name][0] for setting in some]
            for name in ("unchanged", *layers, "all", "from_scratch")
        }
        cells = {name: _over_seeds(values) for name, values in found.items()}
        best = max(layers, key=lambda name: sum(found[name]))
        cells[best] = f"**{cells[best]}**"
        rows.append([f"`{case}`", whose, *cells.values()])
    return _table([*heads, "all layers", "from scratch"], rows)


def base_table(settings: list[Setting]) -> str:
    """CC on the base before and after, a row a case and normalization, over seeds."""
    ways: dict[str, Callable[[Setting], str]] = {
        "before": lambda setting: "unchanged",
        "best layer": best_layer,
        "six filters in all layers": lambda setting: "filters",
        "biases": lambda setting: "bias_only",
        "all layers": lambda setting: "all",
    }
    rows = [
        [f"`{case}`", whose]
        + [_over_seeds([s["arms"][way(s)][1] for s in some]) for way in ways.values()]
        for case, whose, some in _systems(settings)
    ]
    return _table(["case", "normalization", *ways], rows)


def layers_table(settings: list[Setting], head: Callable[[Setting], str]) -> str:
    """CC on the target, and on the base in brackets, a row a way to retrain."""
    names = {"unchanged": "before = gain only"}
    names |= {name: name for name in layers_of(settings[0])} | WAYS
    rows = [
        [label, *(_cell(setting, name) for setting in settings)]
        for name, label in names.items()
    ]
    return _table(["", *map(head, settings)], rows)


def _cell(setting: Setting, name: str) -> str:
    if name not in setting["arms"]:
        return "-"
    target, base = map(_short, setting["arms"][name])
    if name == best_layer(setting):
        target = f"**{target}**"
    pair = setting["pair"].replace("conv_", "") if name == "best pair" else ""
    return f"{target} ({base}) {pair}".rstrip()


def _systems(settings: list[Setting]) -> Iterable[tuple[str, str, list[Setting]]]:
    for case in dict.fromkeys(setting["case"] for setting in settings):
        for whose in ("own", "base"):
            some = [
                setting
                for setting in settings
                if (setting["case"], setting["normalization"]) == (case, whose)
            ]
            if some:
                yield case, whose, some


def _over_seeds(values: list[float]) -> str:
    """Mean and standard deviation."""
    spread = f" ± {_short(np.std(values, ddof=1))}" if len(values) > 1 else ""
    return _short(np.mean(values)) + spread


def _short(value: Any) -> str:
    return f"{value:.3f}".replace("0.", ".", 1)


def _table(heads: list[str], rows: list[list[str]]) -> str:
    lines = [f"| {' | '.join(cells)} |" for cells in (heads, *rows)]
    return "\n".join([lines[0], "|" + " --- |" * len(heads), *lines[1:]])


def page_tables(kept: dict[str, list[Setting]]) -> list[str]:
    """The tables of the page: the small networks, then the deep ones."""
    small = [s for s in kept["calibration"] if s["samples"] == SAMPLES]
    tables = [target_table(small), base_table(small)]
    for cases in DEEP_TABLES:
        some = [s for s in kept["deep"] if s["case"] in cases and s["seed"] == 0]
        if len(cases) > 1:
            some = [s for s in some if s["samples"] == SAMPLES]
        some.sort(
            key=lambda s: (
                cases.index(s["case"]),
                s["normalization"] == "base",
                s["samples"],
            )
        )
        tables.append(layers_table(some, _case if len(cases) > 1 else samples_of))
    return tables


def _case(setting: Setting) -> str:
    return f"`{setting['case']}`, {setting['normalization']}"


def samples_of(setting: Setting) -> str:
    """The head of a column: whose statistics, and how many samples."""
    number = setting["samples"]
    return f"{setting['normalization']}, {number} sample{'s' * (number > 1)}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=Path, help="folder of the tiers, to pack")
    parser.add_argument("--kept", type=Path, default=KEPT)
    options = parser.parse_args()
    if options.runs:
        packed = {name: pack(options.runs / name) for name in ("calibration", "deep")}
        write_json(options.kept, packed)
    print(*page_tables(json.loads(options.kept.read_text())), sep="\n\n")


if __name__ == "__main__":
    main()
