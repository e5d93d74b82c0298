"""Figures of three how-to pages, drawn from the tables and the code on them.

    python examples/page_figures.py [--docs docs]

Writes how_many_samples.png, normalization.png and schedules.png into the folder
`figures` of the documents.
"""

import argparse
import re
import sys
from pathlib import Path

if __name__ == "__main__" and {"-h", "--help"} & {*sys.argv}:
    print(__doc__)  # before anything slow is imported
    sys.exit()

import numpy as np
from matplotlib.figure import Figure

from keras_spectral_tl.callbacks import LayerByLayer
from keras_spectral_tl.plotting import save_figure

BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#CFCFCF"


def table_of(page: Path, first_column: str) -> list[list[str]]:
    """Rows of the table of a page whose first column has this heading."""
    heading = rf"^\| {re.escape(first_column)} \|.*\n\|[-|]+\n((?:\|.*\n)+)"
    (rows,) = re.findall(heading, page.read_text(), re.M)
    return [
        [cell.strip() for cell in row.split("|")[1:-1]] for row in rows.splitlines()
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--docs", type=Path, default=Path("docs"))
    docs = parser.parse_args().docs
    figures = {
        "how_many_samples": samples_figure(docs / "how_many_samples.md"),
        "normalization": normalization_figure(docs / "normalization.md"),
        "schedules": schedule_figure(),
    }
    for name, figure in figures.items():
        save_figure(figure.axes[0], docs / "figures" / f"{name}.png")


if __name__ == "__main__":
    main()
