"""What was forecast and measured in the settings of all tiers, in one kept file.

Every arm is forecast, then retrained by its recipe and tested on unseen simulations:

    for case in decaying_to_forced forced_to_decaying reynolds_1e3_to_1e5 \\
            reynolds_1e5_to_1e3 k25_to_k4 k4_to_k25; do
        python examples/reproduce.py --case $case --tier calibration --seeds 3 \\
            --samples 64 16 4 1 --stages data base scores forecast sweep baselines
        python benchmarks/retraining_variants.py --case $case
        python examples/reproduce.py --case $case --tier deep --seeds 2 --pairs 1
    done
    python benchmarks/kept_settings.py --runs runs/reproduction

`--runs` packs what is found of these and other tiers into
`benchmarks/scores/tiers.json`, beside settings that were kept before and in place of
the same ones. `tier_tables.py` and `forecast_calibration.py` make tables and figures.
"""

import argparse
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from forecast_controls import NAMES
from score_sweeps import write_json

KEPT = Path(__file__).parent / "scores" / "tiers.json"
# The cases that are packed of each tier.
TIERS = {
    "calibration": "*",
    "deep": "*",
    "mini": "qg_*",
    "published": "*",
    "as_published": "*",
}
# Cases and seeds of the tier "calibration" in view when constants were chosen.
USED_FOR_CHOICES = {("k25_to_k4", 0), ("k4_to_k25", 0)}

# What is kept of an analysis, by layer, see `spectra.retraining_shifts`.
SHIFTS = ("data_gain", "retraining_gain", "alignment")
# What is kept of an LES with a network inside, see `a_posteriori.compare`.
ONLINE = (
    "stable",
    "energy",
    "enstrophy",
    "E error large scales",
    "E error middle scales",
    "E error small scales",
    "energy transfer",
    "enstrophy transfer",
)

STAGES = (
    "forecast",
    "sweep",
    "baselines",
    "scores",
    "variants",
    "analysis",
    "online",
)
"""Folders that settings are packed from."""

Setting = dict[str, Any]
Row = dict[str, float]


def pack(tier: Path, cases: str = "*") -> list[Setting]:
    """Read what was forecast and measured of all settings that are complete."""
    settings = []
    for path in sorted(tier.glob(f"{cases}/baselines/*-n*-seed*.json")):
        whose, count, seed = path.stem.split("-")
        found = {stage: _read(path.parents[1] / stage / path.name) for stage in STAGES}
        said, sweep, scores = (found[name] for name in ("forecast", "sweep", "scores"))
        if not said or not sweep:  # not complete yet
            continue
        pairs = sweep["pairs"]
        pair = max(pairs, key=lambda name: pairs[name]["cc"], default=None)
        settings.append(
            {
                "case": path.parents[1].name,
                "normalization": whose,
                "samples": int(count[1:]),
                "seed": int(seed[4:]),
                "best": NAMES.get(said["best"], said["best"]),
                "first": scores["ranking"][0] if scores else None,
                "recommended": scores.get("recommended"),
                "pair": pair and {"label": pair, **_given(None, pairs[pair])},
                "variants": {
                    name: {key: round(value, 5) for key, value in row.items()}
                    for name, row in found["variants"].items()
                    if row is not None
                },
                "analysis": _analysed(found["analysis"]) if found["analysis"] else {},
                "online": {
                    row["closure"]: {name: round(row[name], 3) for name in ONLINE}
                    for row in found["online"].get("rows", ())
                },
                "arms": {
                    NAMES.get(label, label): _given(said["arms"].get(label), row)
                    for label, row in {**sweep["layers"], **found["baselines"]}.items()
                },
            }
        )
    return settings


def _read(path: Path) -> dict[str, Any]:
    """A result, empty if the stage was not run."""
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found


def _analysed(found: Mapping[str, Any]) -> dict[str, Any]:
    """Kernels by class, and how spectra of activations differ, by layer."""
    classes: Counter[str] = Counter()
    for counts in found["kernel_classes"].values():
        classes.update(counts)
    return {
        "layer": found["layer"],
        "relative_change": round(found["retrained_kernels"]["relative_change"], 3),
        "kernel_classes": dict(classes),
        **{
            name: {
                layer: round(row[name], 3)
                for layer, row in found["activations"].items()
            }
            for name in SHIFTS
        },
    }


def joined(kept: Iterable[Setting], found: Iterable[Setting]) -> list[Setting]:
    """Settings that are kept and found, in order; what is found replaces the same."""
    every = {_label(setting): setting for setting in (*kept, *found)}
    return [every[label] for label in sorted(every)]


def _label(setting: Setting) -> tuple[str, str]:
    name = "{normalization}-n{samples}-seed{seed}".format_map(setting)
    return setting["case"], name


def compared(said: Mapping[str, float] | None, cc: float, base_cc: float) -> Row:
    """What an arm gave, and what was said of it, a row of a forecast, if anything."""
    found = {"measured": cc, "base_measured": base_cc}
    if said is not None:
        found |= {
            "predicted": said["correlation"],
            "low": said["correlation_low"],
            "high": said["correlation_high"],
            "base_predicted": said["base_correlation"],
        }
    return {name: round(value, 5) for name, value in found.items()}


def _given(said: Mapping[str, float] | None, row: Mapping[str, float]) -> Row:
    return compared(said, row["cc"], row["base_cc"])


def kept_settings(path: Path = KEPT) -> dict[str, list[Setting]]:
    """Return the kept settings by tier."""
    found: dict[str, list[Setting]] = json.loads(path.read_text())
    return found


def without_choices(kept: Mapping[str, list[Setting]]) -> dict[str, list[Setting]]:
    """Return the settings that had no part in choices of constants of the forecast."""
    calibration = [
        setting
        for setting in kept["calibration"]
        if setting["normalization"] == "own"
        and (setting["case"], setting["seed"]) not in USED_FOR_CHOICES
    ]
    return {**kept, "calibration": calibration}


def by_samples(settings: list[Setting]) -> dict[int, list[Setting]]:
    """Settings by their number of target samples, most first."""
    numbers = sorted({setting["samples"] for setting in settings}, reverse=True)
    return {n: [s for s in settings if s["samples"] == n] for n in numbers}


def layers_of(setting: Setting) -> list[str]:
    """The names of the layers that were retrained alone."""
    return [label for label in setting["arms"] if label.startswith("conv_")]


def best_layer(setting: Setting) -> str:
    """The layer that gave most on the target."""
    return max(layers_of(setting), key=lambda n: float(setting["arms"][n]["measured"]))


def regret(setting: Setting, label: str) -> float:
    """What an arm gives away of the correlation of the best one."""
    arms = setting["arms"]
    best = max(row["measured"] for row in arms.values())
    return float(best - arms[label]["measured"])


def short(value: float, digits: int = 3) -> str:
    """A number without the zero before its point."""
    text = f"{value:.{digits}f}"
    return re.sub(r"^(-?)0\.", r"\1.", text)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=Path, required=True, help="folder of the tiers")
    parser.add_argument("--kept", type=Path, default=KEPT)
    options = parser.parse_args()
    kept = kept_settings(options.kept) if options.kept.exists() else {}
    packed = {
        name: joined(kept.get(name, ()), pack(options.runs / name, cases))
        for name, cases in TIERS.items()
    }
    write_json(options.kept, packed)
    print(*(f"{name}: {len(some)} settings" for name, some in packed.items()), sep="\n")


if __name__ == "__main__":
    main()
