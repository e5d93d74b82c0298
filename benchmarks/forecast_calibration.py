"""How good forecasts are over many settings: levels, intervals, choices.

Of the settings in `kept_settings.py`, the small networks of six convolutions: the six
transfers of one plane of fluid, some base networks, 64, 16, 4 and 1 target samples in
their own statistics, without what was in view when constants of the forecast were
chosen. Or those of another tier:

    python benchmarks/forecast_calibration.py [--figure FILE]
    python benchmarks/forecast_calibration.py --tier deep

`--figure` draws what was measured against what was predicted.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from kept_settings import (
    Setting,
    best_layer,
    by_samples,
    kept_settings,
    layers_of,
    regret,
    short,
    without_choices,
)
from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
from reproduction.report import kendall_tau

from keras_spectral_tl.plotting import save_figure

COLOURS = {64: "#CC79A7", 16: "#0072B2", 4: "#009E73", 1: "#D55E00"}
# What a rule would choose, of arms that were all measured.
RULES = {
    "`forecast.best`": lambda s: s["best"],
    "always all layers": lambda s: "all layers",
    "always filters": lambda s: "filters",
    "always the first layer": lambda s: "conv_1",
    "always the second layer": lambda s: "conv_2",
    "the layer that `score_layers` puts first": lambda s: s["first"],
    "the best single layer, measured": best_layer,
    "never retrain": lambda s: "unchanged",
}


def forecast_rows(settings: list[Setting]) -> list[tuple[str, dict[str, float]]]:
    """The label and the row of each arm that was forecast."""
    return [
        (label, row)
        for setting in settings
        for label, row in setting["arms"].items()
        if "predicted" in row
    ]


def of_layers(setting: Setting, name: str) -> list[float]:
    """What was predicted of the layers, or measured."""
    return [setting["arms"][layer][name] for layer in layers_of(setting)]


def levels(settings: list[Setting]) -> dict[str, float]:
    """How near predicted levels and intervals are to what was measured.

    "from scratch" counts in the share of intervals alone: its level is no forecast but
    a bound.
    """
    rows = forecast_rows(settings)
    known = [row for label, row in rows if label != "from scratch"]
    off = np.array([row["predicted"] - row["measured"] for row in known])
    base = np.array([row["base_predicted"] - row["base_measured"] for row in known])
    inside = [row["low"] <= row["measured"] <= row["high"] for _, row in rows]
    taus = [
        kendall_tau(*(of_layers(setting, name) for name in ("predicted", "measured")))
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


def figure(settings: list[Setting]) -> Figure:
    """Draw what was measured against what was predicted, and shares in intervals."""
    drawn = Figure(figsize=(8.4, 3.9), layout="constrained")
    left, right = drawn.subplots(1, 2, width_ratios=(1.15, 1))
    for number, some in by_samples(settings).items():
        rows = [row for label, row in forecast_rows(some) if label != "from scratch"]
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


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    tiers = ("calibration", "deep")  # others were packed without their forecasts
    parser.add_argument("--tier", default=tiers[0], choices=tiers)
    parser.add_argument("--figure", type=Path, help="file to draw into")
    options = parser.parse_args()
    settings = without_choices(kept_settings())[options.tier]
    tables = [levels_table, rules_table, cases_table]
    if any(setting["variants"] for setting in settings):
        tables.append(variants_table)
    print(*(table(settings) for table in tables), sep="\n\n")
    if options.figure:
        save_figure(figure(settings), options.figure)


if __name__ == "__main__":
    main()
