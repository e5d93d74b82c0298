"""What every way to retrain gave in the settings of a tier: the tables of the page.

Of the settings in `kept_settings.py`:

    python benchmarks/tier_tables.py [--figures DIR]

`--figures` draws what retraining gains (`when_to_retrain.png`) and what deep networks
reach by the number of samples (`deep_samples.png` on the target, `deep_forgotten.png`
on the base).
"""

import argparse
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from forecast_controls import NAMES
from kept_settings import (
    ONLINE,
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
from reproduction.report import AGAINST_SAMPLES, draw_against_samples, table

from keras_spectral_tl.plotting import save_figure

# Rows below those of the layers, and their names on the page.
WAYS = {
    "best pair": "best pair",
    "biases": "biases",
    "filters": "six filters in all layers",
    "all layers": "all layers",
    "from scratch": "from scratch",
}
SAMPLES = 16
# Cases of deep networks with a table by the number of samples, of seed 0.
DEEP_TABLES = ("k25_to_k4", "k4_to_k25")
# Cases drawn by the number of samples, in the mean over seeds.
DEEP_PANELS = {
    "k25_to_k4": "k_f 16 to 4",
    "k4_to_k25": "k_f 4 to 16",
    "forced_to_decaying": "forced to decaying",
    "reynolds_1e3_to_1e5": "Re 500 to 4000",
}

# Closures of an LES, and the arms that they are.
CLOSURES = {"base network": "unchanged", "gain only": "output gain"}
# Rows of the table over all settings: what each rule chooses.
CHOICES: dict[str, Callable[[Setting], str]] = {
    "`forecast.best`": lambda s: s["best"],
    "always all layers, at the rate of the forecast": lambda s: "all layers",
    "always filters": lambda s: "filters",
    "the best single layer, measured": best_layer,
}
# Its columns: numbers of samples.
COUNTS = {
    "64 samples": (64,),
    "16, 20 or 200": (16, 20, 200),
    "4 or 40": (4, 40),
    "1": (1,),
}

# What is drawn, and how.
CURVES: dict[str, tuple[Callable[[Setting], str], dict[str, Any]]] = {
    "all layers": (
        lambda s: "all layers",
        {"marker": "o", "color": "#D55E00", "ms": 5},
    ),
    "best single layer, measured": (
        best_layer,
        {"marker": "o", "color": "#0072B2", "ms": 5},
    ),
    "choice of the forecast": (
        lambda s: s["best"],
        {"marker": "+", "color": "black", "ms": 7},
    ),
}


def target_table(settings: list[Setting]) -> str:
    """CC on the target, a row a case and normalization, over seeds."""
    numbers = [name.removeprefix("conv_") for name in layers_of(settings[0])]
    heads = ["case", "normalization", "unchanged", *numbers]
    rows = []
    for case, whose, some in _systems(settings):
        layers = layers_of(some[0])
        found = {
            name: [setting["arms"][name]["measured"] for setting in some]
            for name in ("unchanged", *layers, "all layers", "from scratch")
        }
        cells = {name: _over_seeds(values) for name, values in found.items()}
        best = max(layers, key=lambda name: sum(found[name]))
        cells[best] = f"**{cells[best]}**"
        rows.append([f"`{case}`", whose, *cells.values()])
    return table([*heads, "all layers", "from scratch"], rows)


def numbers_table(settings: list[Setting]) -> str:
    """CC of each layer by the number of samples, in the mean over seeds."""
    numbers = [name.removeprefix("conv_") for name in layers_of(settings[0])]
    rows = []
    for case, whose, some in _systems(settings):
        for count, group in by_samples(some).items():
            layers = layers_of(group[0])
            means = {
                name: float(np.mean([s["arms"][name]["measured"] for s in group]))
                for name in ("unchanged", *layers)
            }
            pairs = [s["pair"]["measured"] for s in group if s["pair"]]
            cells = {name: short(mean) for name, mean in means.items()}
            best = max(layers, key=lambda name: means[name])
            cells[best] = f"**{cells[best]}**"
            pair = short(np.mean(pairs)) if pairs else "-"
            head = [f"`{case}`", whose, str(count), str(len(group))]
            rows.append([*head, *cells.values(), pair])
    heads = ["case", "normalization", "samples", "networks", "unchanged"]
    return table([*heads, *numbers, "best pair"], rows)


def shifts_table(settings: list[Setting]) -> str:
    """How spectra of activations differ, a row a quantity of an analysed setting."""
    names = {
        "data_gain": "log energy, target over base",
        "retraining_gain": "log energy, after over before",
        "alignment": "alignment of the changes of shape",
    }
    analysed = [s for s in settings if s.get("analysis")]
    longest = max((s["analysis"]["data_gain"] for s in analysed), key=len)
    heads = [name.removeprefix("conv_").replace("_", " ") for name in longest]
    rows = []
    for setting in analysed:
        found = setting["analysis"]
        layers = list(found["data_gain"])
        retrained = layers.index(found["layer"])
        for name, head in names.items():
            # What lies before the retrained layer does not change.
            known = layers if name == "data_gain" else layers[retrained:]
            cells = [
                short(found[name][layer], 2) if layer in known else ""
                for layer in layers
            ]
            padding = ["-"] * (len(heads) - len(layers))
            label = f"`{setting['case']}`, {found['layer']}"
            rows.append([label, head, *cells, *padding])
    return table(["case, retrained", "", *heads], rows)


def base_table(settings: list[Setting]) -> str:
    """CC on the base before and after, a row a case and normalization, over seeds."""
    ways: dict[str, Callable[[Setting], str]] = {
        "before": lambda setting: "unchanged",
        "best layer": best_layer,
        "six filters in all layers": lambda setting: "filters",
        "biases": lambda setting: "biases",
        "all layers": lambda setting: "all layers",
    }
    rows = [
        [f"`{case}`", whose]
        + [
            _over_seeds([s["arms"][way(s)]["base_measured"] for s in some])
            for way in ways.values()
        ]
        for case, whose, some in _systems(settings)
    ]
    return table(["case", "normalization", *ways], rows)


def layers_table(settings: list[Setting]) -> str:
    """CC on the target, and on the base in brackets, a row a way to retrain."""
    names = {name: name for name in ("unchanged", *layers_of(settings[0]))} | WAYS
    rows = [
        [label, *(_cell(setting, name) for setting in settings)]
        for name, label in names.items()
    ]
    return table(["", *map(_samples_of, settings)], rows)


def _cell(setting: Setting, name: str) -> str:
    row = setting["pair"] if name == "best pair" else setting["arms"].get(name)
    if row is None:
        return "-"
    target, base = short(row["measured"]), short(row["base_measured"])
    if name == best_layer(setting):
        target = f"**{target}**"
    layers = row.get("label", "").replace("conv_", "")
    return f"{target} ({base}) {layers}".rstrip()


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
    spread = f" ± {short(np.std(values, ddof=1))}" if len(values) > 1 else ""
    return short(np.mean(values)) + spread


def page_tables(kept: dict[str, list[Setting]]) -> list[str]:
    """The tables of the page: over seeds, then of single deep networks."""
    tables = []
    for tier in ("calibration", "deep"):
        some = [s for s in kept[tier] if s["samples"] == SAMPLES]
        tables += [target_table(some), base_table(some)]
    for case in DEEP_TABLES:
        some = [s for s in kept["deep"] if s["case"] == case and s["seed"] == 0]
        some.sort(key=lambda s: (s["normalization"] == "base", s["samples"]))
        tables.append(layers_table(some))
    tables.append(numbers_table([s for s in kept["deep"] if s["samples"] != SAMPLES]))
    return [*tables, shifts_table(kept["deep"]), online_table(kept["deep"])]


def _samples_of(setting: Setting) -> str:
    """The head of a column: whose statistics, and how many samples."""
    number = setting["samples"]
    return f"{setting['normalization']}, {number} sample{'s' * (number > 1)}"


def choices_table(kept: dict[str, list[Setting]]) -> str:
    """What choices give away of the best way, in the mean, of networks of all sizes."""
    settings = [s for some in without_choices(kept).values() for s in some]
    columns = {
        head: [setting for setting in settings if setting["samples"] in counts]
        for head, counts in COUNTS.items()
    }
    groups = {head: some for head, some in columns.items() if some}
    rows = [["settings", *(str(len(some)) for some in groups.values())]]
    for name, choose in CHOICES.items():
        means = [
            np.mean([regret(setting, choose(setting)) for setting in some])
            for some in groups.values()
        ]
        rows.append([name, *(short(mean, 4) for mean in means)])
    return table(["", *groups], rows)


def online_table(settings: list[Setting]) -> str:
    """What the LES gave with each network inside, a row a network of a setting."""
    heads = [name.removeprefix("E ").removesuffix(" scales") for name in ONLINE]
    rows = []

    def cell(name: str, value: float) -> str:
        if name == "stable":
            return "all" if value == 1.0 else short(value, 2)
        digits = 2 if abs(value) < 10.0 else 1
        return short(round(value, digits) + 0.0, digits)  # no minus before zero

    for setting in settings:
        for closure, row in setting.get("online", {}).items():
            arm = best_layer(setting) if closure == "best layer" else closure
            known = setting["arms"].get(CLOSURES.get(arm, arm))
            cells = [cell(name, row[name]) for name in ONLINE]
            offline = "-" if known is None else short(known["measured"])
            rows.append([f"`{setting['case']}`", arm, offline, *cells])
    return table(["case", "closure", "offline CC", *heads], rows)


def made_worse(kept: dict[str, list[Setting]]) -> dict[str, int]:
    """Counts transfers, and those worse than the unchanged network afterwards."""
    settings = [setting for tier in kept.values() for setting in tier]

    def worse(choose: Callable[[Setting], str]) -> int:
        return sum(_gain(setting, choose(setting)) < 0.0 for setting in settings)

    return {
        "transfers": len(settings),
        "all layers": worse(lambda s: "all layers"),
        "choice": worse(lambda s: s["best"]),
    }


def _gain(setting: Setting, chosen: str) -> float:
    arms = setting["arms"]
    return float(arms[chosen]["measured"] - arms["unchanged"]["measured"])


def figure(kept: dict[str, list[Setting]]) -> Figure:
    """Draw what retraining gains against the correlation of the unchanged network."""
    drawn = Figure(figsize=(8.4, 3.6), layout="constrained")
    panels = drawn.subplots(1, 2, sharex=True, sharey=True)
    settings = [setting for tier in kept.values() for setting in tier]
    ticks = (-0.02, -0.01, 0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3)
    for axes, numbers in zip(panels, (range(16, 201), range(1, 5)), strict=True):
        some = [setting for setting in settings if setting["samples"] in numbers]
        before = [setting["arms"]["unchanged"]["measured"] for setting in some]
        for label, (choose, style) in CURVES.items():
            gained = [_gain(setting, choose(setting)) for setting in some]
            axes.plot(before, gained, ls="", label=label, **style)
        axes.axhline(0.0, color="grey", lw=0.8)
        axes.set_yscale("symlog", linthresh=0.01)
        axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
        title = f"{numbers[0]} to {numbers[-1]} target samples"
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("CC of the unchanged network on the target")
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("CC gained by retraining")
    panels[1].legend(frameon=False, fontsize=8)
    return drawn


def deep_panels(kept: dict[str, list[Setting]]) -> dict[str, list[dict[str, Any]]]:
    """Deep networks by case, as the pictures by the number of samples take them."""
    names = {label: name for name, label in NAMES.items()}
    return {
        title: [
            {
                "num_target": setting["samples"],
                "best": best_layer(setting),
                "first": setting["first"],
                "forecast": {"best": names.get(setting["best"], setting["best"])},
                "measured": {
                    names.get(label, label): {
                        "cc": row["measured"],
                        "base_cc": row["base_measured"],
                    }
                    for label, row in setting["arms"].items()
                },
            }
            for setting in kept["deep"]
            if (setting["case"], setting["normalization"]) == (case, "own")
        ]
        for case, title in DEEP_PANELS.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--figures", type=Path, help="folder to draw into")
    options = parser.parse_args()
    kept = kept_settings()
    print(*page_tables(kept), choices_table(kept), made_worse(kept), sep="\n\n")
    if options.figures:
        options.figures.mkdir(parents=True, exist_ok=True)
        save_figure(figure(kept), options.figures / "when_to_retrain.png")
        for name, (measured, label) in AGAINST_SAMPLES.items():
            axes = draw_against_samples(deep_panels(kept), measured, label)
            save_figure(axes, options.figures / f"deep_{name}.png")


if __name__ == "__main__":
    main()
