"""How good forecasts are over many settings: levels, intervals, choices.

The small networks of six convolutions, the six transfers of one plane of fluid, some
base networks, 64, 16, 4 and 1 target samples in their own statistics. Every arm is
forecast, then retrained by its recipe and tested on unseen simulations.

    for case in decaying_to_forced forced_to_decaying reynolds_1e3_to_1e5 \\
            reynolds_1e5_to_1e3 k25_to_k4 k4_to_k25; do
        python examples/reproduce.py --case $case --tier calibration \\
            --normalizations own --seeds 3 --samples 64 16 4 1 \\
            --stages data base scores forecast sweep baselines
        python benchmarks/retraining_variants.py --case $case
    done
    python benchmarks/forecast_calibration.py --runs runs/reproduction/calibration

Constants of the forecast were chosen with the cases k25_to_k4 and k4_to_k25, seed 0, of
this tier in view: these are left out. All others had no part in it. `--runs` packs what
is found into `benchmarks/scores/forecast_calibration.json`, beside settings that were
kept before and in place of the same ones; without it the kept results are read.
`--figure` draws what was measured against what was predicted. Deep networks are kept
likewise:

    python benchmarks/forecast_calibration.py --runs runs/reproduction/deep \\
        --normalizations own base --kept benchmarks/scores/deep_tier.json
"""

import argparse
import json
import sys
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from forecast_controls import NAMES
from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
from reproduction.report import kendall_tau

from keras_spectral_tl.plotting import save_figure

KEPT = Path(__file__).parent / "scores" / "forecast_calibration.json"
DEEP = KEPT.with_name("deep_tier.json")
USED_FOR_CHOICES = {("calibration", case, 0) for case in ("k25_to_k4", "k4_to_k25")}
COLOURS = {64: "#CC79A7", 16: "#0072B2", 4: "#009E73", 1: "#D55E00"}
# What a rule would choose, of arms that were all measured.
RULES = {
    "`forecast.best`": lambda s: s["best"],
    "always all layers": lambda s: "all layers",
    "always filters": lambda s: "filters",
    "always the first layer": lambda s: "conv_1",
    "always the second layer": lambda s: "conv_2",
    "the layer that `score_layers` puts first": lambda s: s["first"],
    "the best single layer, measured": lambda s: max(
        layers_of(s), key=lambda name: layers_of(s)[name]["measured"]
    ),
    "never retrain": lambda s: "unchanged",
}

Setting = dict[str, Any]


def pack(runs: Path, normalizations: Collection[str] = ("own",)) -> list[Setting]:
    """Read what was forecast and measured of all complete settings of a tier."""
    settings = []
    for path in sorted(runs.glob("*/baselines/*-n*-seed*.json")):
        case, (whose, count, seed) = path.parents[1].name, path.stem.split("-")
        used = (runs.name, case, int(seed[4:])) in USED_FOR_CHOICES
        if used or whose not in normalizations:
            continue
        forecast, scores, sweep, controls = (
            json.loads((path.parents[1] / stage / path.name).read_text())
            for stage in ("forecast", "scores", "sweep", "baselines")
        )
        arms = {}
        for label, row in {**sweep["layers"], **controls}.items():
            said = forecast["arms"].get(label)
            if said is not None:
                name = NAMES.get(label, label)
                arms[name] = compared(said, row["cc"], row["base_cc"])
        settings.append(
            {
                "case": case,
                "normalization": whose,
                "samples": int(count[1:]),
                "seed": int(seed[4:]),
                "best": NAMES.get(forecast["best"], forecast["best"]),
                "first": scores["ranking"][0],
                "variants": _variants(path.parents[1] / "variants" / path.name),
                "arms": arms,
            }
        )
    return settings


def joined(kept: Iterable[Setting], found: Iterable[Setting]) -> list[Setting]:
    """Settings that are kept and found, in order; what is found replaces the same."""
    every = {_label(setting): setting for setting in (*kept, *found)}
    return [every[label] for label in sorted(every)]


def _label(setting: Setting) -> tuple[str, str]:
    name = "{normalization}-n{samples}-seed{seed}".format_map(setting)
    return setting["case"], name


def compared(said: Mapping[str, float], cc: float, base_cc: float) -> dict[str, float]:
    """What was said of an arm, a row of a forecast, beside what it gave."""
    found = {
        "predicted": said["correlation"],
        "low": said["correlation_low"],
        "high": said["correlation_high"],
        "measured": cc,
        "base_predicted": said["base_correlation"],
        "base_measured": base_cc,
    }
    return {name: round(value, 5) for name, value in found.items()}


def _variants(path: Path) -> dict[str, dict[str, float]]:
    """What `retraining_variants.py` has measured; nothing where it was not run."""
    found = json.loads(path.read_text()) if path.exists() else {}
    return {
        name: {key: round(value, 5) for key, value in row.items()}
        for name, row in found.items()
        if row is not None
    }


def layers_of(setting: Setting) -> dict[str, dict[str, float]]:
    """The arms of single layers."""
    arms = setting["arms"].items()
    return {label: row for label, row in arms if label.startswith("conv_")}


def regret(setting: Setting, label: str) -> float:
    """What an arm gives away of the correlation of the best one."""
    arms = setting["arms"]
    best = max(row["measured"] for row in arms.values())
    return float(best - arms[label]["measured"])


def levels(settings: list[Setting]) -> dict[str, float]:
    """How near predicted levels and intervals are to what was measured.

    "from scratch" counts in the share of intervals alone: its level is no forecast but
    a bound.
    """
    rows = [
        (label, row) for setting in settings for label, row in setting["arms"].items()
    ]
    known = [row for label, row in rows if label != "from scratch"]
    off = np.array([row["predicted"] - row["measured"] for row in known])
    base = np.array([row["base_predicted"] - row["base_measured"] for row in known])
    inside = [row["low"] <= row["measured"] <= row["high"] for _, row in rows]
    taus = [
        kendall_tau(
            [row["predicted"] for row in layers_of(setting).values()],
            [row["measured"] for row in layers_of(setting).values()],
        )
        for setting in settings
    ]
    return {
        "settings": len(settings),
        "arms": len(rows),
        "inside": sum(inside),
        "covered": float(np.mean(inside)),
        "off": float(np.mean(np.abs(off))),
        "bias": float(np.mean(off)),
        "base_off": float(np.mean(np.abs(base))),
        "tau": float(np.nanmean(taus)),
    }


def levels_table(settings: list[Setting]) -> str:
    """A row a number of samples."""
    lines = [
        "| samples | settings | arms in their 90 % interval | levels off by | "
        "bias | base off by | order of the layers, tau |",
        "|---|---|---|---|---|---|---|",
    ]
    for number, some in by_samples(settings).items():
        found = levels(some)
        lines.append(
            f"| {number} | {found['settings']} | {found['inside']} of {found['arms']}, "
            f"{100 * found['covered']:.0f} % | {short(found['off'])} | "
            f"{found['bias']:+.3f} | {short(found['base_off'])} | "
            f"{found['tau']:.2f} |"
        )
    return "\n".join(lines)


def rules_table(settings: list[Setting]) -> str:
    """What each rule gives away, in the mean and at most, by the number of samples."""
    groups = by_samples(settings)
    lines = [f"| regret in CC | {_heads(groups)} |", f"|---|{'---|' * len(groups)}"]
    for rule, choose in RULES.items():
        cells = []
        for some in groups.values():
            found = [regret(setting, choose(setting)) for setting in some]
            cells.append(_cell(found))
        lines.append(f"| {rule} | {' | '.join(cells)} |")
    return "\n".join(lines)


def variants_table(settings: list[Setting]) -> str:
    """What each variant adds to its arm, on the target and on the base."""
    groups = by_samples([s for s in settings if s["variants"]])
    lines = [
        f"| change in CC, on the base | {_heads(groups)} |",
        f"|---|{'---|' * len(groups)}",
    ]
    for name in dict.fromkeys(n for s in settings for n in s["variants"]):
        arm, cells = name.split(",")[0], []
        for some in groups.values():
            known = [s for s in some if name in s["variants"]]
            target, base = (
                np.array(
                    [s["variants"][name][key] - s["arms"][arm][measured] for s in known]
                )
                for key, measured in (("cc", "measured"), ("base_cc", "base_measured"))
            )
            spread = f"{target.std(ddof=1):.3f}" if len(known) > 1 else "?"
            cells.append(f"{target.mean():+.3f} ± {spread}, {base.mean():+.3f}")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def cases_table(settings: list[Setting]) -> str:
    """What the best layer and all layers give, on the target and on the base."""
    groups = by_samples(settings)
    lines = [
        f"| unchanged, best layer, all layers | base, unchanged | {_heads(groups)} |",
        f"|---|---|{'---|' * len(groups)}",
    ]
    for system in dict.fromkeys(map(_system, settings)):
        cells, base = [], 0.0
        for some in groups.values():
            found = [s for s in some if _system(s) == system]
            if not found:
                cells.append("-")
                continue
            (setting,) = found
            layer = RULES["the best single layer, measured"](setting)
            unchanged, *ways = (
                setting["arms"][name] for name in ("unchanged", layer, "all layers")
            )
            base = unchanged["base_measured"]
            given = [
                f"{short(row['measured'])} ({short(row['base_measured'])})"
                for row in ways
            ]
            cells.append(f"{short(unchanged['measured'])}, {', '.join(given)}")
        case, whose, seed = system
        label = f"`{case}`" + ", base" * (whose == "base")
        seeds = {s["seed"] for s in settings if _system(s)[:2] == (case, whose)}
        label += f", seed {seed}" * (len(seeds) > 1)
        lines.append(f"| {label} | {short(base)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def with_several_counts(settings: list[Setting]) -> list[Setting]:
    """The networks that were retrained with several numbers of samples."""
    systems = [_system(setting) for setting in settings]
    return [setting for setting in settings if systems.count(_system(setting)) > 1]


def _system(setting: Setting) -> tuple[str, str, int]:
    return setting["case"], setting["normalization"], setting["seed"]


def _heads(groups: dict[int, list[Setting]]) -> str:
    return " | ".join(map(_samples, groups))


def _samples(number: int) -> str:
    return f"{number} sample" + "s" * (number > 1)


def by_samples(settings: list[Setting]) -> dict[int, list[Setting]]:
    """Settings by their number of target samples, most first."""
    numbers = sorted({setting["samples"] for setting in settings}, reverse=True)
    return {n: [s for s in settings if s["samples"] == n] for n in numbers}


def figure(settings: list[Setting]) -> Figure:
    """Draw what was measured against what was predicted, and shares in intervals."""
    drawn = Figure(figsize=(8.4, 3.9), layout="constrained")
    left, right = drawn.subplots(1, 2, width_ratios=(1.15, 1))
    for number, some in by_samples(settings).items():
        rows = [
            row
            for setting in some
            for label, row in setting["arms"].items()
            if label != "from scratch"
        ]
        said, low, high, found = (
            np.array([row[key] for row in rows])
            for key in ("predicted", "low", "high", "measured")
        )
        colour = COLOURS.get(number, "black")
        label = _samples(number)
        left.plot(said, found, ".", color=colour, ms=4, alpha=0.7, label=label)
        # Where in its interval a measured level is: 0 in the middle, 1 at the edge.
        half = np.where(found > said, high - said, said - low)
        order = np.sort(np.abs(found - said) / half)
        share = np.arange(1, len(order) + 1) / len(order)
        right.step(order, share, where="post", color=colour, label=label)
    ends = left.get_xlim()
    left.plot(ends, ends, color="grey", lw=0.8, zorder=0)
    left.set(xlabel="CC predicted", ylabel="CC measured", aspect="equal")
    right.axvline(1.0, color="grey", lw=0.8)
    right.axhline(0.9, color="grey", lw=0.8, ls=":")
    right.set(
        xlabel="distance from the prediction over half the 90 % interval",
        ylabel="share of the arms",
        xlim=(0, 2),
        ylim=(0, 1),
    )
    left.legend(frameon=False, fontsize=9)
    for axes in (left, right):
        axes.grid(alpha=0.3)
    return drawn


def _cell(regrets: list[float]) -> str:
    return f"{short(float(np.mean(regrets)), 4)} (max {short(max(regrets))})"


def short(value: float, digits: int = 3) -> str:
    return f"{value:.{digits}f}".replace("0.", ".", 1)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=Path, help="folder of the tier, to pack")
    parser.add_argument("--normalizations", nargs="+", default=["own"])
    parser.add_argument("--kept", type=Path, default=KEPT)
    parser.add_argument("--figure", type=Path, help="file to draw into")
    options = parser.parse_args()
    if options.runs:
        kept = json.loads(options.kept.read_text()) if options.kept.exists() else []
        packed = joined(kept, pack(options.runs, options.normalizations))
        options.kept.write_text(json.dumps(packed, indent=0) + "\n")
    settings = json.loads(options.kept.read_text())
    tables = [levels_table, rules_table, cases_table]
    if any(setting["variants"] for setting in settings):
        tables.append(variants_table)
    print(*(table(settings) for table in tables), sep="\n\n")
    if options.figure:
        save_figure(figure(settings), options.figure)


if __name__ == "__main__":
    main()
