"""Tables of the benchmark of scores, from what is kept of sweeps and scores."""

import re
from collections.abc import Callable, Iterable
from typing import Any

import kuramoto_sivashinsky_sweeps as ks
import numpy as np
import score_planted
import score_settings
from score_statistics import (
    Interval,
    bootstrap_interval,
    is_top_1,
    kendall_tau,
    pairs_ordered,
    regret,
    regret_in_error,
)

# Under this name stands the layer that a score has to find.
PLANTED = "planted_layer"
Read = Callable[[str], dict[str, Any]]
# Of two layers nearer than this in CC it hardly matters which is retrained.
APART = 0.003
HEADER = (
    f"| scorer | settings | Kendall tau | pairs > {APART} in order | first is best | "
    "regret in CC | regret in relative MSE | cost / sweep |\n" + "|---" * 8 + "|"
)


def print_tables(read: Read) -> None:
    """Prints all tables as Markdown."""
    turbulence = score_settings.settings()
    groups = {
        role: [s for s in turbulence if s.role == role]
        for role in reversed(score_settings.ROLES)
    }
    sweeps, scores = read("turbulence_sweeps"), read("turbulence_scores")
    for title, settings in groups.items():
        for numbers in ((16, 64), (64,), (16,), (4,), (1,)):
            chosen = [s.label for s in settings if s.num_target in numbers]
            print_sweep_table(
                f"Turbulence, {title}, {_counts(numbers)} target samples",
                sweeps,
                scores,
                chosen,
                cluster=lambda label: re.sub(r"-(own|base)-n\d+", "", label),
            )
    sweeps, scores = ks.Workshop().sweeps(), read("ks_scores")
    for numbers in ((16, 64), (4,), (1,)):
        chosen = [s.label for s in ks.settings() if s.num_target in numbers]
        print_sweep_table(
            f"Kuramoto-Sivashinsky, {_counts(numbers)} target samples",
            sweeps,
            scores,
            chosen,
            cluster=lambda label: re.sub(r"-n\d+", "", label),
        )
    print_planted_table(read("planted_scores"))


def print_sweep_table(
    title: str,
    sweeps: dict[str, Any],
    scores: dict[str, Any],
    labels: Iterable[str],
    cluster: Callable[[str], str],
) -> None:
    """One row a scorer: figures over settings, 95 % intervals over cases and seeds."""
    known = [label for label in labels if label in sweeps and label in scores]
    if not known:
        return
    print(f"\n### {title}\n\n{HEADER}")
    for name in scorers_of(scores[label] for label in known):
        rows = [label for label in known if name in scores[label]]
        figures = [_figures(sweeps[label], scores[label][name]) for label in rows]
        clusters = [cluster(label) for label in rows]
        columns = [
            bootstrap_interval(column, clusters)
            for column in zip(*figures, strict=True)
        ]
        cells = [
            _cell(c, digits)
            for c, digits in zip(columns, (2, 2, 2, 4, 4), strict=False)
        ]
        cost = np.mean([scores[label][name]["cost"] for label in rows])
        print(f"| {name} | {len(rows)} | {' | '.join(cells)} | {cost:.3f} |")


def print_planted_table(scores: dict[str, Any]) -> None:
    """How often the planted layer comes first, by architecture."""
    settings = [s for s in score_planted.planted_settings() if s.label in scores]
    if not settings:
        return
    layers = {s.label: next(iter(scores[s.label][PLANTED]["values"])) for s in settings}
    groups: dict[str, list[Any]] = {}
    for setting in settings:
        groups.setdefault(setting.architecture, []).append(setting)
    print("\n### Planted layers: share found first\n")
    print(
        "| scorer | " + " | ".join(groups) + " |\n|---" * 1 + "|---" * len(groups) + "|"
    )
    for name in scorers_of(scores[s.label] for s in settings):
        cells = []
        for members in groups.values():
            hits = [
                is_top_1(scores[s.label][name]["values"], layers[s.label])
                for s in members
                if name in scores[s.label]
            ]
            cells.append(f"{sum(hits)} of {len(hits)}")
        print(f"| {name} | {' | '.join(cells)} |")


def scorers_of(rows: Iterable[dict[str, Any]]) -> list[str]:
    """Names of all scorers in the rows, in the order met."""
    found = dict.fromkeys(name for row in rows for name in row)
    return [name for name in found if name != PLANTED]


def _figures(sweep: dict[str, Any], scored: dict[str, Any]) -> tuple[float, ...]:
    cc = {name: row["cc"] for name, row in sweep["layers"].items()}
    rmse = {name: row["relative_rmse"] for name, row in sweep["layers"].items()}
    values = scored["values"]
    best = max(cc, key=cc.__getitem__)
    return (
        kendall_tau(values, cc),
        pairs_ordered(values, cc, APART),
        float(is_top_1(values, best)),
        regret(values, cc),
        regret_in_error(values, rmse),
    )


def _counts(numbers: tuple[int, ...]) -> str:
    return " and ".join(map(str, numbers))


def _cell(interval: Interval, digits: int) -> str:
    low, high = interval.low, interval.high
    return f"{interval.value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"
