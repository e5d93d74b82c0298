"""Figures of pages, drawn from the tables and the code on them.

    python examples/page_figures.py [--docs docs]

Writes cost_of_flows.png, faults.png, forecast.png, how_many_samples.png,
normalization.png, schedules.png, seeds.png, solver_speed.png and torch_axes.png into
the folder `figures` of the documents.
"""

import argparse
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

if __name__ == "__main__" and {"-h", "--help"} & {*sys.argv}:
    print(__doc__)  # before anything slow is imported
    sys.exit()

import numpy as np
from matplotlib.figure import Figure

from keras_spectral_tl.callbacks import LayerByLayer
from keras_spectral_tl.plotting import plot_forecast, save_figure

# Chosen by the forecast of the page on forecasts.
CHOSEN = "all layers"
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#CFCFCF"


def table_of(page: Path, first_columns: str) -> list[list[str]]:
    """Rows of the first table of a page whose first columns have these headings."""
    heading = rf"^\| {re.escape(first_columns)} \|.*\n\|[-| ]+\n((?:\|.*\n)+)"
    rows, *_ = re.findall(heading, page.read_text(), re.M)
    return [
        [re.sub(r"[`*]", "", cell).strip() for cell in row.split("|")[1:-1]]
        for row in rows.splitlines()
    ]


def samples_figure(page: Path) -> Figure:
    rows = table_of(page, "target samples")
    counts, _, taus, regrets = np.array(rows, float).T
    figure = Figure(figsize=(7.2, 2.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(counts, taus, "o-", color=BLUE)
    left.set(ylim=(0, 1), ylabel="rank correlation with the sweep")
    right.plot(counts, regrets, "o-", color=ORANGE)
    right.set(ylim=(0, None), ylabel="CC lost by the layer put first")
    for axes in (left, right):
        axes.set_xscale("log", base=2)
        axes.set_xticks(counts, [f"{count:.0f}" for count in counts])
        axes.set_xlabel("target samples")
        axes.grid(alpha=0.3)
    return figure


def forecast_figure(page: Path) -> Any:
    rows, measured = [], {}
    for label, predicted, interval, found, *_ in table_of(page, "way to retrain"):
        low, high = map(float, interval.split(" to "))
        ends = {"correlation_low": low, "correlation_high": high}
        rows.append(SimpleNamespace(label=label, correlation=float(predicted), **ends))
        measured[label] = float(found)
    best = SimpleNamespace(label=CHOSEN)
    forecast = SimpleNamespace(rows=rows, best_row=best)
    return plot_forecast(forecast, measured)


def normalization_figure(page: Path) -> Figure:
    rows = table_of(page, "case")
    places = np.arange(len(rows))[::-1]
    values = np.array([row[1:] for row in rows], float)
    figure = Figure(figsize=(7.2, 3.2), layout="constrained")
    axes = figure.subplots()
    for column, label, colour, shift in (
        (0, "target's own statistics", ORANGE, 0.13),
        (1, "base's statistics", BLUE, -0.13),
    ):
        before, after = values[:, column], values[:, column + 2]
        axes.hlines(places + shift, before, after, color=colour, alpha=0.5)
        axes.plot(before, places + shift, "o", color=colour, mfc="white")
        axes.plot(after, places + shift, "o", color=colour, label=label)
    axes.plot([], [], "o", color="black", mfc="white", label="before retraining")
    axes.plot([], [], "o", color="black", label="best layer retrained")
    axes.set_yticks(places, [row[0] for row in rows])
    axes.set_xlabel("correlation with the true forcing (CC)")
    axes.grid(alpha=0.3, axis="x")
    figure.legend(loc="outside upper center", ncols=2, frameon=False, fontsize=9)
    return figure


def seeds_figure(page: Path) -> Figure:
    """Draws what each network of the demo gives, one mark a seed."""
    rows = table_of(page, "correlation")
    values = np.array([row[1:] for row in rows], float)
    figure = Figure(figsize=(7.2, 3.2), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(rows))[::-1]
    axes.hlines(places, values.min(1), values.max(1), color=GREY, lw=3)
    for seed, (colour, mark) in enumerate(((BLUE, "o"), (ORANGE, "s"), ("black", "x"))):
        look = {"color": colour, "ls": "", "label": f"seed {seed}"}
        axes.plot(values[:, seed], places, mark, **look)
    axes.set_yticks(places, [row[0].split(" (")[0] for row in rows])
    axes.set_xlabel("correlation with the true forcing (CC)")
    axes.grid(alpha=0.3, axis="x")
    axes.legend(frameon=False, fontsize=9)
    return figure


def schedule_figure() -> Figure:
    layers = [f"conv_{i}" for i in range(1, 5)]
    phases = {
        'LayerByLayer("unfreeze_from_top", 5)': LayerByLayer("unfreeze_from_top", 5),
        '{0: "conv_2", 10: None}': lambda epoch, names, _: (
            ("conv_2",) if epoch < 10 else names
        ),
    }
    figure = Figure(figsize=(7.2, 2.4), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for axes, (title, schedule) in zip(panels, phases.items(), strict=True):
        for place, layer in enumerate(layers):
            trains = [
                layer in schedule(epoch, tuple(layers), {}) for epoch in range(30)
            ]
            colours = [ORANGE if one else GREY for one in trains]
            axes.barh(place, 1, left=range(30), height=0.7, color=colours)
        axes.set(xlabel="epoch", xlim=(0, 30))
        axes.set_title(title, fontsize=9, family="monospace")
    panels[0].set_yticks(range(4), layers)
    panels[1].bar(0, 0, color=ORANGE, label="trains")
    panels[1].bar(0, 0, color=GREY, label="frozen")
    figure.legend(loc="outside right", frameon=False, fontsize=9)
    return figure


def cost_figure(page: Path) -> Figure:
    measured = {
        row[0]: float(row[2]) / 3600.0
        for row in table_of(page, "flow | N | seconds a simulation")
    }
    predicted = {
        row[0]: float(row[3])
        for row in table_of(page, "flow | N | ms a step")
        if row[3]
    }
    figure = Figure(figsize=(7.2, 4.0), layout="constrained")
    axes = figure.subplots()
    rows = sorted({**measured, **predicted}.items(), key=lambda row: row[1])
    for known, label, colour in (
        (measured, "measured", BLUE),
        (predicted, "predicted", ORANGE),
    ):
        places = [place for place, (name, _) in enumerate(rows) if name in known]
        hours = [rows[place][1] for place in places]
        axes.plot(hours, places, "o", color=colour, label=label)
    axes.set_yticks(range(len(rows)), [name for name, _ in rows], fontsize=8)
    axes.set_xscale("log")
    seconds = {1: "1 s", 10: "10 s", 60: "1 min", 600: "10 min"}
    seconds |= {3600: "1 h", 36000: "10 h"}
    axes.set_xticks([time / 3600.0 for time in seconds], [*seconds.values()])
    axes.minorticks_off()
    axes.set_xlabel("one simulation on one core")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    return figure


def speed_figure(page: Path) -> Figure:
    rows = np.array(table_of(page, "N | threads | floor ms"), float)
    figure = Figure(figsize=(5.4, 3.2), layout="constrained")
    axes = figure.subplots()
    for column, label, look in (
        (9, "fluidsim: a quarter of a step", {"color": ORANGE, "marker": "s"}),
        (5, "turbulence_data: a quarter of a step", {"color": BLUE, "marker": "o"}),
        (2, "four transforms of the grid", {"color": "black", "linestyle": ":"}),
    ):
        axes.loglog(rows[:, 0], rows[:, column], label=label, **look)
    axes.set_xticks(rows[:, 0], [f"{points:.0f}²" for points in rows[:, 0]])
    axes.minorticks_off()
    axes.set(xlabel="points of the grid", ylabel="milliseconds, one thread")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return figure


def faults_figure(page: Path) -> Figure:
    rows = table_of(page, "file")[::-1]
    shares = np.array([[float(n) for n in row[1].split(",")] for row in rows])
    shares *= 100.0 / shares.sum(axis=1, keepdims=True)
    figure = Figure(figsize=(7.2, 3.2), layout="constrained")
    axes = figure.subplots()
    left = np.zeros(len(rows))
    for column, label, colour in (
        (0, "noticed", BLUE),
        (1, "same values came back", GREY),
        (2, "other values, believed", ORANGE),
    ):
        axes.barh(
            range(len(rows)), shares[:, column], left=left, color=colour, label=label
        )
        left += shares[:, column]
    axes.set_yticks(range(len(rows)), [row[0] for row in rows], fontsize=8)
    axes.set(xlabel="files with one flipped bit, %", xlim=(0, 100))
    figure.legend(loc="outside upper center", ncols=3, frameon=False, fontsize=9)
    return figure


def torch_figure() -> Figure:
    panels = {
        "kernel of a convolution": (
            ("out", "in", "height", "width"),
            ("height", "width", "in", "out"),
        ),
        "batch of fields": (
            ("samples", "channels", "x", "y"),
            ("samples", "x", "y", "channels"),
        ),
    }
    figure = Figure(figsize=(4.4, 3.4), layout="constrained")
    for axes, (title, (before, after)) in zip(
        figure.subplots(2, 1), panels.items(), strict=True
    ):
        for height, names in ((1.0, before), (0.0, after)):
            for place, name in enumerate(names):
                moved = "in" if name in ("in", "channels") else name
                colour = {"in": ORANGE, "out": BLUE}.get(moved, "black")
                box = {"boxstyle": "round", "facecolor": "white", "edgecolor": colour}
                axes.text(
                    place, height, name, ha="center", va="center", bbox=box, fontsize=9
                )
        for place, name in enumerate(before):
            ends = {"xy": (after.index(name), 0.22), "xytext": (place, 0.78)}
            arrow = {"arrowstyle": "->", "color": "grey"}
            axes.annotate("", **ends, arrowprops=arrow)
        axes.set(xlim=(-0.6, 3.6), ylim=(-0.3, 1.3), xticks=[], title=title)
        axes.set_yticks([0.0, 1.0], ["Keras", "torch"])
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--docs", type=Path, default=Path("docs"))
    docs = parser.parse_args().docs
    figures = {
        "forecast": forecast_figure(docs / "forecast_benchmark.md").figure,
        "cost_of_flows": cost_figure(docs / "distributed.md"),
        "faults": faults_figure(docs / "faults.md"),
        "how_many_samples": samples_figure(docs / "how_many_samples.md"),
        "normalization": normalization_figure(docs / "normalization.md"),
        "schedules": schedule_figure(),
        "seeds": seeds_figure(docs / "randomness.md"),
        "solver_speed": speed_figure(docs / "benchmarks.md"),
        "torch_axes": torch_figure(),
    }
    for name, figure in figures.items():
        save_figure(figure.axes[0], docs / "figures" / f"{name}.png")


if __name__ == "__main__":
    main()
