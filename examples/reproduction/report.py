"""Tables of a case, from what its stages left on disk."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import kendalltau

from keras_spectral_tl import plotting
from reproduction.clock import read_json, write_json
from reproduction.study import Study
from reproduction.tiers import NORMALIZATIONS, Setting

CONTROLS = ("unchanged", "gain_only", "bias_only", "filters", "all", "from_scratch")
# Curves against the number of samples, of the arms named or chosen in each transfer.
_CHOICES = {
    "best single layer": lambda t: t["best"],
    "layer put first by score_layers": lambda t: t["first"],
    "choice of the forecast": lambda t: (t["forecast"] or {}).get("best"),
    "six filters in all layers": lambda t: "filters",
    "all layers": lambda t: "all",
    "from scratch": lambda t: "from_scratch",
    "not retrained": lambda t: "unchanged",
}
AGAINST_SAMPLES = {
    "samples": ("cc", "CC on the target"),
    "forgotten": ("base_cc", "CC on the base afterwards"),
}
"""Name of a picture against the number of samples -> figure and label of its axis."""
_CONTROL_LABELS = ("from scratch", "not retrained")
# The choice coincides with the curve of what it chose, so it is drawn over all.
_ON_TOP = {"linestyle": "", "marker": "+", "color": "black", "zorder": 5}
_ON_TOP |= {"markersize": 11, "markeredgewidth": 2}
_LINES = {
    "unchanged": "not retrained",
    "gain_by_output": "a gain for each output",
    "all": "all layers",
    "from_scratch": "from scratch",
}
_MEASURED = ("loss", "cc", "cc_by_output", "base_cc")


def write(study: Study) -> None:
    """Writes `report.md`, `summary.json` and the figures of finished stages.

    `transfer.png` has the error by retrained layer; where there are several numbers of
    samples, `samples.png` and `forgotten.png` have the correlation on the target, and
    on the base, against them.
    """
    summary = {
        "case": study.case,
        "tier": study.tier_name,
        "base": study.tier.flows[study.base_system],
        "target": study.tier.flows[study.target_system],
        "transfers": [t for s in study.settings() if (t := transfer(study, s))],
        "seconds_by_stage": study.times.by_stage(),
        **{stage: _found(study, stage) for stage in ("data", "analysis", "online")},
    }
    write_json(study.folder / "summary.json", summary)
    text = "\n\n".join([f"# {study.case}, {study.tier_name} tier", *_parts(summary)])
    (study.folder / "report.md").write_text(text + "\n")
    if complete := [t for t in summary["transfers"] if t["controls"]]:
        plotting.save_figure(draw(complete), study.folder / "transfer.png")
        if len({t["num_target"] for t in complete}) > 1:
            panels = {
                f"normalization: {whose}": [
                    t for t in complete if t["normalization"] == whose
                ]
                for whose in dict.fromkeys(t["normalization"] for t in complete)
            }
            for name, (figure, label) in AGAINST_SAMPLES.items():
                axes = draw_against_samples(panels, figure, label)
                plotting.save_figure(axes, study.folder / f"{name}.png")
    print(text)


def draw(transfers: list[dict[str, Any]]) -> Any:
    """Draws what each layer alone gives, in the mean over seeds, and the controls."""
    layers = list(transfers[0]["cc"])
    panels: dict[str, dict[str, Any]] = {}
    for first in transfers:
        normalization, number = first["normalization"], first["num_target"]
        seeds = [
            t["measured"]
            for t in transfers
            if (t["normalization"], t["num_target"]) == (normalization, number)
        ]

        def loss(name: str, seeds: Any = seeds) -> float:
            return float(np.mean([measured[name]["loss"] for measured in seeds]))

        title = f"{number} sample{'s' * (number > 1)}, normalization: {normalization}"
        places = np.arange(1, len(layers) + 1)
        panels[title] = {"one layer alone": (places, [loss(n) for n in layers])}
        for name, label in _LINES.items():
            if name in seeds[0]:
                panels[title][label] = (places, np.full(len(places), loss(name)))
    return plotting.plot_curves(
        dict(sorted(panels.items(), key=lambda item: int(item[0].split()[0]))),
        "retrained layer",
        "mean square error over variance",
    )


def draw_against_samples(
    panels: Mapping[str, list[dict[str, Any]]], figure: str, ylabel: str
) -> Any:
    """Draws a figure of the chosen arms against the number of samples, by panel.

    In the mean over seeds; numbers where a choice was not retrained are left out. The
    axis shows the ways to retrain the base network; the legend has the range of a curve
    that leaves it.
    """
    drawn: dict[str, dict[str, Any]] = {}
    for title, transfers in panels.items():
        numbers = sorted({t["num_target"] for t in transfers})
        curves = drawn[title] = {}
        for label, choice in _CHOICES.items():
            values = []
            for number in numbers:
                rows = [
                    t["measured"].get(choice(t))
                    for t in transfers
                    if t["num_target"] == number
                ]
                known = [np.nan if row is None else row[figure] for row in rows]
                values.append(np.mean(known))
            if np.isfinite(values).any():
                curves[label] = (numbers, values)
    found = plotting.plot_curves(drawn, "target samples", ylabel, "x")
    for axes, transfers in zip(found, panels.values(), strict=True):
        numbers = sorted({t["num_target"] for t in transfers})
        axes.set_xticks(numbers, [str(number) for number in numbers])
        axes.minorticks_off()
        _show_retrained(axes)
    return found


def _show_retrained(axes: Any) -> None:
    """Cuts the axis of correlations below those of retrained base networks."""
    kept = [x for x in axes.lines if x.get_label() not in _CONTROL_LABELS]
    low = min(np.nanmin(line.get_ydata()) for line in kept)
    high = max(np.nanmax(line.get_ydata()) for line in axes.lines)
    room = max(high - low, 0.01)
    axes.set_ylim(low - 0.3 * room, high + 0.1 * room)
    for line in axes.lines:
        line.set_marker("o")
        if line.get_label() == "choice of the forecast":
            line.set(**_ON_TOP)
        ends = np.nanmin(line.get_ydata()), np.nanmax(line.get_ydata())
        if ends[0] < axes.get_ylim()[0]:
            line.set_label("{} ({:.2f} to {:.2f})".format(line.get_label(), *ends))
    axes.legend(fontsize=7)


def transfer(study: Study, setting: Setting) -> dict[str, Any] | None:
    """What is known of one setting; None before its sweep is done."""
    found = {
        stage: _read(study.folder / stage / f"{setting.label}.json")
        for stage in ("scores", "forecast", "sweep", "baselines")
    }
    swept = found["sweep"]
    if swept is None:
        return None
    cc = {name: row["cc"] for name, row in swept["layers"].items()}
    scores = found["scores"] or {"scores": {}, "ranking": []}
    controls = found["baselines"] or {}
    measured = {**controls, **swept["layers"], **swept["pairs"]}
    if any(figure not in row for row in measured.values() for figure in _MEASURED):
        raise ValueError(
            f"Results in {study.folder} are of an earlier version, which kept no loss: "
            "delete its folders sweep and baselines, and run these stages again."
        )
    return {
        **vars(setting),
        "cc": cc,
        "pairs": {name: row["cc"] for name, row in swept["pairs"].items()},
        "controls": {name: row["cc"] for name, row in controls.items()},
        "measured": {
            name: {figure: row[figure] for figure in _MEASURED}
            for name, row in measured.items()
        },
        "forecast": _forecast(found["forecast"], measured),
        "best": swept["best"],
        "first": scores["ranking"][0] if scores["ranking"] else None,
        "depth_tau": kendall_tau(list(cc.values()), range(len(cc), 0, -1)),
        "scorers": {
            name: {
                "tau": kendall_tau([values[layer] for layer in cc], list(cc.values())),
                "regret": max(cc.values()) - cc[max(values, key=values.__getitem__)],
            }
            for name, values in scores["scores"].items()
        },
    }


def _forecast(
    found: dict[str, Any] | None, measured: dict[str, Any]
) -> dict[str, Any] | None:
    """How good a forecast was, over the arms that were retrained."""
    if found is None:
        return None
    cc = {name: row["cc"] for name, row in measured.items() if name in found["arms"]}
    rows = {name: found["arms"][name] for name in cc}
    inside = [
        row["correlation_low"] <= cc[name] <= row["correlation_high"]
        for name, row in rows.items()
    ]
    chosen = found["best"]
    return {
        "best": chosen,
        "regret": max(cc.values()) - cc[chosen] if chosen in cc else None,
        "inside_intervals": [sum(inside), len(inside)],
        "correlation": {name: row["correlation"] for name, row in rows.items()},
    }


def kendall_tau(first: Sequence[float], second: Sequence[float]) -> float:
    """Kendall's rank correlation (tau-b); nan where one of them is constant."""
    if len(first) < 2:
        return math.nan
    return float(kendalltau(first, second).statistic)


def _parts(summary: dict[str, Any]) -> list[str]:
    parts = [f"`{summary['base']}` to `{summary['target']}`."]
    parts += [_data_table(summary["data"])] if summary["data"] else []
    numbers = sorted({t["num_target"] for t in summary["transfers"]})
    for normalization in NORMALIZATIONS:
        for number in numbers:
            chosen = [
                t
                for t in summary["transfers"]
                if (t["normalization"], t["num_target"]) == (normalization, number)
            ]
            if chosen:
                parts += _transfer_tables(chosen, normalization, number)
    if summary["analysis"]:
        parts += ["Activations and kernels, by seed:", _analysis_table(summary)]
    for name, found in summary["online"].items():
        parts += [f"Online, {name}:", _online_table(found["rows"])]
    seconds = summary["seconds_by_stage"]
    parts.append("Wall seconds by stage:")
    parts.append(table(list(seconds), [[f"{value:.0f}" for value in seconds.values()]]))
    return parts


def _data_table(data: dict[str, Any]) -> str:
    return table(
        ["flow", "k_max eta", "resolved"],
        [
            [
                name,
                "" if d["k_max_eta"] is None else f"{d['k_max_eta']:.2f}",
                {True: "yes", False: "no", None: ""}[d["is_resolved"]],
            ]
            for name, d in data.items()
        ],
    )


def _transfer_tables(
    chosen: list[dict[str, Any]], normalization: str, number: int
) -> list[str]:
    title = f"CC on the target, {number} samples, {normalization} normalization:"
    rows = {}
    for group in ("controls", "cc", "pairs"):
        for name in dict.fromkeys(n for t in chosen for n in t[group]):
            values = [t[group].get(name) for t in chosen]
            rows[name] = ["" if v is None else f"{v:.3f}" for v in values]
    columns = ["", *(f"seed {t['seed']}" for t in chosen)]
    cc = table(columns, [[name, *values] for name, values in rows.items()])
    names = dict.fromkeys(n for t in chosen for n in t["measured"])
    figures = table(
        [
            "mean ± standard deviation of seeds",
            "loss",
            "CC by output",
            "CC on the base",
        ],
        [
            [name, *_over_seeds([t["measured"][name] for t in chosen])]
            for name in names
            if all(name in t["measured"] for t in chosen)
        ],
    )
    forecasts = [t["forecast"] for t in chosen]
    told = [
        f"Forecast: {f['best']}, regret "
        + ("unknown" if f["regret"] is None else f"{f['regret']:.4f}")
        + ", {} of {} inside their intervals.".format(*f["inside_intervals"])
        for f in forecasts
        if f is not None
    ]
    judged = [
        [name, *(_judgement(t["scorers"].get(name)) for t in chosen)]
        for name in dict.fromkeys(n for t in chosen for n in t["scorers"])
    ]
    depth = ["the shallower the better", *(f"{t['depth_tau']:.2f}" for t in chosen)]
    scores = table(["Kendall tau / regret", *columns[1:]], [*judged, depth])
    return [title, cc, figures, *told, scores]


def _over_seeds(rows: list[dict[str, Any]]) -> list[str]:
    def cell(values: Any) -> str:
        spread = f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
        return f"{np.mean(values):.3f}{spread}"

    by_output = np.asarray([row["cc_by_output"] for row in rows]).T
    return [
        cell([row["loss"] for row in rows]),
        ", ".join(cell(values) for values in by_output),
        cell([row["base_cc"] for row in rows]),
    ]


def _judgement(found: dict[str, float] | None) -> str:
    return "" if found is None else f"{found['tau']:.2f} / {found['regret']:.4f}"


def _analysis_table(summary: dict[str, Any]) -> str:
    header = ["", "layer", "spectrum RMSE before", "after", "kernel change"]
    header += ["data gain at it", "retraining gain at it", "alignment behind it"]
    rows = []
    for name, found in summary["analysis"].items():
        layer, shifts = found["layer"], found["activations"]
        numbers = [
            found["figures_before"]["spectrum_rmse"],
            found["figures_after"]["spectrum_rmse"],
            found["retrained_kernels"]["relative_change"],
            shifts[layer]["data_gain"],
            shifts[layer]["retraining_gain"],
            list(shifts.values())[-1]["alignment"],
        ]
        rows.append([name, layer, *(f"{number:.3f}" for number in numbers)])
    return table(header, rows)


def _online_table(rows: list[dict[str, Any]]) -> str:
    names = [name for name in rows[0] if name != "definition"]
    return table(
        names,
        [
            [
                f"{row[name]:.3g}" if isinstance(row[name], float) else str(row[name])
                for name in names
            ]
            for row in rows
        ],
    )


def table(header: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _found(study: Study, stage: str) -> dict[str, Any]:
    files = sorted((study.folder / stage).glob("*.json"))
    return {path.stem: read_json(path) for path in files}


def _read(path: Path) -> dict[str, Any] | None:
    return read_json(path) if path.exists() else None
