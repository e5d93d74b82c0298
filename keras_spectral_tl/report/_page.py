"""A study as one self-contained HTML page that loads nothing from other sites."""

import collections
import dataclasses
import importlib.resources
import io
import itertools
import math
import os
import pathlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from keras_spectral_tl import plotting
from keras_spectral_tl._checks import require
from keras_spectral_tl._files import known_form, write_bytes
from keras_spectral_tl._results import percent
from keras_spectral_tl.plotting._kernels import plot_filters
from keras_spectral_tl.report._study import (
    Study,
    channel_names,
    file_of,
    forecast_answer,
    forecast_rows,
    forecast_view,
    literal,
    number,
    shown,
)

_INSTALL = "keras-spectral-tl[report]"
# Colours used in figures, and their replacements in the light and dark theme.
_INK, _FAINT = "#010203", "#c1c2c3"
_THEME = {
    _INK: "currentColor",
    "#000000": "currentColor",
    _FAINT: "var(--line)",
    "#0072b2": "var(--blue)",
    "#d55e00": "var(--orange)",
    "#009e73": "var(--green)",
    "#cc79a7": "var(--pink)",
    "#e69f00": "var(--yellow)",
    "#56b4e9": "var(--sky)",
    "#7f7f7f": "var(--grey)",
}
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "report",
    "grid.color": _FAINT,
    "legend.frameon": False,
    **{f"{part}.facecolor": "none" for part in ("figure", "axes", "savefig")},
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor"), _INK),
    **dict.fromkeys(("xtick.color", "ytick.color"), _INK),
}
_CONVENTIONS = {
    "spectra of fields and activations": "sum over the shell [k − 1/2, k + 1/2)",
    "spectra of kernels": "mean over the same shell of |F[kernel]|",
    "wavenumbers k": "integers: waves in the length 2π of the domain",
    "order of fields": "(samples, x, y, channels)",
}


@dataclasses.dataclass(frozen=True)
class _Table:
    """Rows of text under column names; the first column names the row."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    marked: Sequence[int] = ()


@dataclasses.dataclass(frozen=True)
class _Chart:
    """A drawing, with its numbers as a table if there are not too many."""

    title: str
    svg: str
    numbers: _Table | None = None


def write_report(
    study: "Study | str | os.PathLike[str]", path: str | os.PathLike[str] | None = None
) -> pathlib.Path:
    """Write a study as one HTML page that works offline.

    The page begins with what to retrain, how certain that is, and the expected gain.
    It lists the parts that the study lacks.

    Args:
        study: The study, or the folder that holds it (`Study.read`).
        path: The page to write; `report.html` in that folder if not given.

    Returns:
        The path of the page, which is written completely or not at all.

    Raises:
        ImportError: If Jinja2 or matplotlib is not installed.
        TypeError: If a `Study` comes without a path.
        NotADirectoryError, ValueError: As `Study.read`; ValueError also for a file with
            a record that is damaged.

    Example:
        >>> import tempfile
        >>> study = Study(a_priori=[{"network": "base", "data": "target", "cc": 0.57}])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     page = write_report(study, f"{folder}/report.html")
        ...     "0.57" in page.read_text()
        True
    """
    if isinstance(study, str | os.PathLike):
        place = pathlib.Path(study)
        path = place / "report.html" if path is None else path
        return write_bytes(path, _html_of_folder(place).encode())
    if path is None:
        raise TypeError("Expected a path to write the page to. Received a study alone.")
    return write_bytes(path, html(study).encode())


def _html_of_folder(place: pathlib.Path) -> str:
    """Return the page of a folder; ValueError names the file that cannot be shown."""
    study = Study.read(place)
    try:
        return html(study)
    except (ImportError, OSError):
        raise
    except Exception:  # what a damaged record raises, anywhere
        for name, part in study.parts.items():
            with known_form(place / file_of(name)):
                html(dataclasses.replace(Study(), **{name: part}))
        raise


def html(study: Study) -> str:
    """Return the page as text."""
    jinja2 = require("jinja2", "Reports", _INSTALL)
    matplotlib = require("matplotlib", "Reports", _INSTALL)
    template = importlib.resources.files("keras_spectral_tl.report") / "page.html.j2"
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    with matplotlib.rc_context(_STYLE):
        charts = {
            "forecast": _forecast_charts(study),
            "systems": _system_charts(study),
            "layers": _layer_charts(study),
            "retrained": _retrained_charts(study),
            "filters": _filter_charts(study),
        }
    page: str = environment.from_string(template.read_text(encoding="utf-8")).render(
        study=study,
        answer=_answer(study),
        charts=charts,
        forecast=_forecast_table(study),
        layers=_layer_table(study),
        figures=_figure_tables(study),
        provenance=_provenance_tables(study),
        shown=shown,
    )
    # Elements need unique names, since several drawings share a page.
    numbers = itertools.count()
    return re.sub(
        r'<svg class="chart".*?</svg>',
        lambda found: found[0].replace("CHART-", f"c{next(numbers)}-"),
        page,
        flags=re.DOTALL,
    )


def _answer(study: Study) -> dict[str, str]:
    """Return the recommendation, its certainty, and correlations before and after."""
    if study.forecast:
        return forecast_answer(study.forecast, _tested(study)[1])
    scores, sweep = study.scores, study.sweep
    chosen = list(scores.get("recommended") or study.retraining.get("trained") or ())
    if scores and not scores["recommended"]:
        what = "No single layer is sure to be worth retraining."
    elif chosen:
        what = f"Retrain {' and '.join(chosen)}."
    elif sweep:
        chosen = [sweep["best"]]
        what = f"Retrain {chosen[0]}, the best of the layers tried."
    else:
        what = "Not known: score the layers first."
    sure = "Not known: the layers were not scored beforehand."
    if scores:
        first, _, rest = scores["reason"].partition(" ")
        first = first if first.strip(":,") in scores["ranking"] else first.capitalize()
        sure = f"{first} {rest}".strip()
    cc = {row["layer"]: number(row["cc"]) for row in sweep.get("rows", ())}
    best = sweep.get("best")
    lost = cc.get(best, math.nan) - cc.get("+".join(chosen), math.nan)
    if len(chosen) == 1 and math.isfinite(lost):
        sure += f" Retraining each of {len(cc)} layers in turn "
        sure += (
            "confirms it as the best."
            if best == chosen[0]
            else f"finds {best} better, by {lost:.3f} in CC."
        )
    return {
        "What to do": what,
        "How sure": sure,
        "Gain": _gain(study, "+".join(chosen)),
    }


def _tested(study: Study) -> tuple[str, dict[str, float]]:
    """Return the data networks were tested on, and the correlation of each network.

    Networks are named by what was retrained, "base" and "unchanged" if nothing was.
    """
    on_target = [row for row in study.a_priori if "target" in str(row.get("data"))]
    places = dict.fromkeys(str(row["data"]) for row in on_target)
    place = next((p for p in places if "test" in p), next(iter(places), ""))
    cc = {row["layer"]: number(row["cc"]) for row in study.sweep.get("rows", ())}
    cc |= {
        str(row["network"])
        .removesuffix(" retrained")
        .removesuffix(", as forecast"): number(row.get("cc"))
        for row in on_target
        if row["data"] == place
    }
    cc = {name: value for name, value in cc.items() if math.isfinite(value)}
    if "base" in cc:
        cc["unchanged"] = cc["base"]
    return place, cc


def _gain(study: Study, chosen: str) -> str:
    place, cc = _tested(study)
    swept = {row["layer"] for row in study.sweep.get("rows", ())}
    after = cc.get(chosen)
    if "base" not in cc or after is None:
        before = f"{cc['base']:.3f} before" if "base" in cc else "not measured before"
        return f"Correlation with the truth (CC): {before}, not measured after."
    others = [
        f"{name} {cc[name]:.3f}"
        for name in cc
        if name not in ("base", "unchanged", chosen) and name not in swept
    ]
    beside = f" For comparison: {', '.join(others)}." if others else ""
    return (
        f"Correlation with the truth (CC) on {place.split(', ')[-1]}: "
        f"{cc['base']:.3f} → {after:.3f}.{beside}"
    )


def _chart(
    title: str,
    draw: Callable[..., Any],
    *arguments: Any,
    xlabel: str = "",
    numbers: _Table | None = None,
) -> _Chart:
    """Draw one panel with a function of `plotting`, as SVG in the page's colours."""
    drawn = draw(*map(literal, arguments))
    axes, *others = drawn if isinstance(drawn, list) else [drawn]
    if not others:
        axes.set_title("")  # the page has a caption
    axes.set_xlabel(xlabel or axes.get_xlabel())
    file = io.StringIO()
    axes.get_figure(root=True).savefig(file, format="svg", bbox_inches="tight")
    text = file.getvalue()
    text = re.sub(
        r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.S
    )
    used = set(re.findall(r'(?:url\(#|href="#)([^")]+)', text))
    text = re.sub(
        r' id="([^"]+)"',
        lambda name: f' id="CHART-{name[1]}"' if name[1] in used else "",
        text,
    )
    text = re.sub(r'(url\(#|href="#)', r"\1CHART-", text)
    text = re.sub(r"font-family: [^;\"]+", "font-family: system-ui, sans-serif", text)
    for colour, name in _THEME.items():
        text = text.replace(colour, name)
    box = re.findall(r'viewBox="([^"]+)"', text)[0]
    width = 1.4 * float(box.split()[2])  # so that all text has the same size
    label = title.replace('"', "").replace("<", "").replace("&", "")
    head = f'<svg class="chart" role="img" aria-label="{label}" viewBox="{box}" '
    head += f'style="max-width: {width:.0f}px">'
    return _Chart(title, head + text[text.index(">") + 1 :], numbers)


def _spectra_chart(title: str, spectra: Mapping[str, Any], ylabel: str) -> list[_Chart]:
    """Draw spectra against the wavenumber (the index), with gaps for unknown values."""
    known = {label: [number(v) for v in values] for label, values in spectra.items()}
    known = {k: v for k, v in known.items() if any(one > 0 for one in v[1:])}
    if not known:
        return []
    length = max(map(len, known.values()))
    rows = [
        [str(k), *(shown(v[k]) if k < len(v) else "–" for v in known.values())]
        for k in range(length)
    ]
    numbers = _Table(title, ["k", *known], rows)
    draw = plotting.plot_energy_spectra
    return [_chart(title, draw, known, ylabel, numbers=numbers)]


def _pictures(study: Study, kind: str) -> list[_Chart]:
    charts = []
    lines: dict[str, dict[str, Any]] = {}
    for one in study.pictures.get(kind, ()):
        if isinstance(one["values"][0], list):
            fields = {"": one["values"]}
            charts.append(_chart(one["title"], plotting.plot_fields, fields))
            continue
        x = [2.0 * math.pi * i / len(one["values"]) for i in range(len(one["values"]))]
        title = "predictions" if kind == "predictions" else one["title"]
        lines.setdefault(title, {})[one["title"]] = x, one["values"]
    for title, curves in lines.items():
        said = {"": curves}, "x", "value"
        charts.append(_chart(title, plotting.plot_curves, *said))
    return charts


def _forecast_charts(study: Study) -> list[_Chart]:
    if not study.forecast:
        return []
    said = forecast_view(literal(study.forecast)), _tested(study)[1]
    title = "every way to retrain: forecast, and what was measured"
    return [
        _chart(title, plotting.plot_forecast, *said, xlabel="CC (◆ the one to take)")
    ]


def _forecast_table(study: Study) -> _Table | None:
    if not study.forecast:
        return None
    rows = forecast_rows(study.forecast, _tested(study)[1])
    best = list(study.forecast["arms"]).index(study.forecast["best"])
    return _table("Ways to retrain, best forecast first", rows, [best])


def _system_charts(study: Study) -> list[_Chart]:
    charts = _pictures(study, "fields")
    records = study.systems
    for side in ("x", "y"):
        found = {role: record[f"{side}_spectra"] for role, record in records.items()}
        count = max(map(len, found.values()), default=0)
        known = [record.get("channels") for record in records.values()]
        names = channel_names(next(iter(known), None), count, count)[side]
        for channel in range(count):
            spectra = {k: s[channel] for k, s in found.items() if channel < len(s)}
            label = f"spectrum of {names[channel]}"
            charts += _spectra_chart(label, spectra, "mean square a shell")
    return charts


def _layer_charts(study: Study) -> list[_Chart]:
    scores, rows = study.scores, study.sweep.get("rows", ())
    order = list(scores.get("ranking") or [row["layer"] for row in rows])
    cc = {row["layer"]: number(row["cc"]) for row in rows}
    names = _short_names([*order, *cc])
    charts = []
    if scores:
        scorer = scores["provenance"]["deciding_scorer"]
        values = {names[n]: number(scores["scores"][scorer].get(n)) for n in order}
        spans = {names[n]: scores["intervals"].get(n) for n in order}
        whole = {
            name: span
            for name, span in spans.items()
            if span and all(math.isfinite(number(end)) for end in span)
        }
        title = f"before retraining: {scorer.replace('_', ' ')}"
        said = {scorer: values}, {scorer: whole}
        draw = plotting.plot_layer_scores
        charts.append(_chart(title, draw, *said, xlabel="score (◆ best)"))
    shown = {short: cc[name] for name, short in names.items() if name in cc}
    if shown:
        title = "after retraining: CC on test samples"
        draw = plotting.plot_layer_scores
        charts.append(_chart(title, draw, {"CC": shown}, xlabel="CC (◆ best)"))
    return charts


def _layer_table(study: Study) -> _Table | None:
    """Return one row per layer: its scores, and its correlation after retraining."""
    scores = study.scores
    swept = {row["layer"]: row for row in study.sweep.get("rows", ())}
    order = list(dict.fromkeys([*scores.get("ranking", ()), *swept]))
    decisive = scores["provenance"]["deciding_scorer"] if scores else ""
    rows: dict[str, dict[str, Any]] = {name: {"layer": name} for name in order}
    for name, row in rows.items():
        for key, said in scores.get("scores", {}).items():
            row["score" if key == decisive else key] = said.get(name)
        if scores:
            chance = scores["chances"].get(name)
            row["comes first in"] = None if chance is None else percent(chance)
        row |= {
            "CC after" if k == "cc" else k: v for k, v in swept.get(name, {}).items()
        }
    best = {study.sweep.get("best"), *scores.get("recommended", ())}
    marked = [place for place, name in enumerate(order) if name in best]
    if not rows:
        return None
    return _table("Layers, best score first", list(rows.values()), marked)


def _retrained_charts(study: Study) -> list[_Chart]:
    result, spectra = study.retraining, study.spectra
    charts = _pictures(study, "predictions")
    losses = {
        name.replace("_", " "): tuple(zip(*known, strict=True))
        for name, values in result.get("history", {}).items()
        if "loss" in name
        # Validation may leave out epochs.
        and (known := [(i, v) for i, v in enumerate(map(number, values), 1) if v == v])
    }
    if losses:
        arguments = {"": losses}, "epoch", "loss", "y"
        charts.append(_chart("training", plotting.plot_curves, *arguments))
    labels = {"kernels": "mean |F[kernel]|", "activations": "mean square a shell"}
    layers = dict.fromkeys(n for kind in labels for n in spectra.get(kind, {}))
    chosen = [name for name in result.get("trained", ()) if name in layers]
    for layer in chosen or layers:
        for kind, label in labels.items():
            curves = spectra.get(kind, {}).get(layer, {})
            charts += _spectra_chart(f"{layer}, {kind}", curves, label)
    return charts


def _filter_charts(study: Study) -> list[_Chart]:
    return [
        _chart(
            f"{layer}: what retraining changed, as filters",
            plot_filters,
            change["images"],
            change["shares"],
            change["classes"],
            list(map(number, change["noise_shares"])),
        )
        for layer, change in study.spectra.get("filters", {}).items()
    ]


def _figure_tables(study: Study) -> list[_Table]:
    """Return the metrics of all networks, except those in the table of the sweep."""
    swept = {row["layer"] for row in study.sweep.get("rows", ())}
    rows = [row for row in study.a_priori if row.get("network") not in swept]
    named = {"On samples": rows, "Inside an LES": study.a_posteriori}
    return [_table(title, part) for title, part in named.items() if part]


def _provenance_tables(study: Study) -> list[_Table]:
    parts = {
        **{k: v for k, v in study.provenance.items() if isinstance(v, dict)},
        "forecast, as made": study.forecast.get("provenance"),
        "scores": study.scores.get("provenance"),
        "retraining": study.retraining.get("provenance"),
        **{f"{k} data": {"SHA-256": r["sha256"]} for k, r in study.systems.items()},
        "conventions": _CONVENTIONS,
    }
    return [
        _Table(name.replace("_", " "), ("entry", "value"), _entries(record))
        for name, record in parts.items()
        if record
    ]


def _entries(record: Mapping[str, Any], above: str = "") -> list[list[str]]:
    rows: list[list[str]] = []
    for key, value in record.items():
        name = f"{above}{str(key).replace('_', ' ')}"
        if isinstance(value, dict) and value:
            rows += _entries(value, f"{name}: ")
        else:
            rows.append([name, shown(value)])
    return rows


def _table(
    title: str, rows: Sequence[Mapping[str, Any]], marked: Sequence[int] = ()
) -> _Table:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    cells = [[shown(row.get(key)) for key in columns] for row in rows]
    return _Table(title, [name.replace("_", " ") for name in columns], cells, marked)


def _short_names(names: Sequence[str]) -> dict[str, str]:
    """Return a short label for each name, or the name where labels would be equal."""
    short = {n: n if len(n) <= 22 else f"{n[:10]}…{n[-11:]}" for n in names}
    uses = collections.Counter(short.values())
    return {name: label if uses[label] == 1 else name for name, label in short.items()}
