"""Networks and classic closures at work: inside an LES, against filtered DNS.

A network trained on one flow is moved to another one, as in quickstart.py: as it is,
with its output gain fitted, with the recommended layer retrained, and trained from
scratch. Each of them, and every classic closure, then drives an LES from the same start
fields. One table holds both what is measured on snapshots (a priori) and what comes out
of the LES (a posteriori).

    python examples/online_les.py [--case forcing] [--turnovers 12] [--members 5]
                                  [--time-step 0.01] [--seeds 0 1 2]
                                  [--data-dir data] [--out runs/online]

Without a time step it is 0.4 of the CFL limit. Of several seeds of the networks the
table holds the mean. Uncertainties are over the start fields, and over the seeds. Data,
networks and the filtered DNS are kept in --data-dir and --out for the next run.
"""

import argparse
import json
import logging
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import NamedTuple

if __name__ == "__main__" and {"-h", "--help"} & {*sys.argv}:
    print(__doc__)  # before anything slow is imported
    sys.exit()

import keras
import numpy as np
import online_figures
import quickstart

import keras_spectral_tl as kst
import turbulence_data
from keras_spectral_tl import metrics
from keras_spectral_tl.report import system_record
from turbulence_data.a_posteriori import (
    Comparison,
    Reference,
    compare,
    markdown_table,
    reference_ensemble,
)
from turbulence_data.closures import (
    ClippedBackscatter,
    DynamicLeith,
    DynamicSmagorinsky,
    GradientModel2,
    GradientModel4,
    JansenHeld,
    Leith,
    NoClosure,
    Smagorinsky,
    SumOfClosures,
    evaluate,
)
from turbulence_data.generation import run_trajectories

CASES = {
    "forcing": ("mini_forced_re2e3_kf16", "mini_forced_re2e3_kf4"),
    "reynolds": ("mini_forced_re5e2_kf4", "mini_forced_re4e3_kf4"),
}
FEWEST_SNAPSHOTS = 41  # and at least one a turnover
CLASSIC = {
    "none": NoClosure(),
    "Smagorinsky": Smagorinsky(),
    "Leith": Leith(),
    "dynamic Smagorinsky": DynamicSmagorinsky(),
    "dynamic Leith": DynamicLeith(),
    "GM2": GradientModel2(),
    "GM4": GradientModel4(),
    "Jansen-Held": JansenHeld(),
    "GM2 + dynamic Smagorinsky": SumOfClosures(GradientModel2(), DynamicSmagorinsky()),
}
TABLE = (
    "closure",
    "CC",
    "CC forward",
    "CC backscatter",
    "relative RMSE",
    "spectrum RMSE",
    "transfer",
    "stable",
    "energy",
    "enstrophy",
    "E error large scales",
    "E error middle scales",
    "E error small scales",
    "Z error small scales",
    "tails",
    "decorrelation",
    "enstrophy transfer",
)
# What fits a terminal; the whole table is in table.md.
SHORT = ("closure", "CC", "stable", "energy", "E error small scales", "decorrelation")

Row = dict[str, float | str]


class Study(NamedTuple):
    """What a case needs: both systems, networks by seed, the filtered DNS."""

    base: quickstart.System
    target: quickstart.System
    networks: dict[int, dict[str, keras.Model]]
    reference: Reference
    time_step: float | None = None


class Scored(NamedTuple):
    """Rows of a table, the standard error of each number, the LES behind them."""

    rows: list[Row]
    errors: list[dict[str, float]]
    comparison: Comparison


def networks_of(
    base: quickstart.System, target: quickstart.System, out: Path, seed: int
) -> dict[str, keras.Model]:
    """The base network and what transfer makes of it, from files where there are."""
    names = ("base", "gain only", "retrained", "all layers", "scratch")
    files = {name: out / f"{name.replace(' ', '_')}_{seed}.keras" for name in names}
    if all(file.exists() for file in files.values()):
        return {name: keras.models.load_model(file) for name, file in files.items()}
    model = quickstart.train_base(base.train, seed)
    some_of_base = tuple(part[::8] for part in base.train)
    scores = kst.score_layers(model, some_of_base, target.train, **quickstart.RETRAIN)
    print(f"   layer to retrain: {scores.ranking[0]}. {scores.reason}")
    options = {**quickstart.RETRAIN, "seed": seed}
    results = {
        "gain only": kst.fit_output_gain(model, target.train),
        "retrained": kst.retrain(model, target.train, scores.ranking[0], **options),
        "all layers": kst.retrain_all(model, target.train, **options),
        "scratch": kst.from_scratch(model, target.train, **options),
    }
    networks = {"base": model, **{name: r.model for name, r in results.items()}}
    for name, network in networks.items():
        network.save(files[name])
    return networks


def reference_of(
    target: quickstart.System, members: int, turnovers: float, data_dir: Path
) -> Reference:
    """Filtered DNS from independent start fields, from a file where there is one.

    Its turnover time 1 / rms(vorticity) is estimated from the dataset.
    """
    ensemble = turbulence_data.named_flow(target.name)
    duration = turnovers / target.normalization.vorticity[1]
    num_snapshots = max(FEWEST_SNAPSHOTS, round(turnovers) + 1)
    ensemble = reference_ensemble(ensemble, members, duration, num_snapshots)
    return kept(
        data_dir / f"reference_{target.name}_{members}_{turnovers:g}.npz", ensemble
    )


def kept(file: Path, ensemble: turbulence_data.EnsembleConfig) -> Reference:
    """The reference of an ensemble, from a file where there is one."""
    if not file.exists():
        found = run_trajectories(ensemble, ensemble.trajectory_ids("test"))
        ordered = sorted(found, key=lambda trajectory: trajectory.trajectory_id)
        made = Reference.from_trajectories(ensemble, ordered)
        fields = {"vorticity": made.vorticity, "sgs_forcing": made.sgs_forcing}
        np.savez(file, times=ordered[0].times, **fields)
    with np.load(file) as saved:
        fields = {name: saved[name] for name in saved.files}
    return Reference.from_fields(ensemble, **fields)


def closures_of(study: Study, seed: int) -> dict[str, object]:
    """Every network of a seed with the statistics it was given, and one stabilised."""
    statistics = asdict(study.target.normalization)
    networks = {
        name: kst.KerasClosure(network, statistics)
        for name, network in study.networks[seed].items()
    }
    return {**networks, "retrained, clipped": ClippedBackscatter(networks["retrained"])}


def a_priori(closures: Mapping[str, object], target: quickstart.System) -> list[Row]:
    """Scores on the test snapshots, in physical units; transfer is of enstrophy."""
    x, y = target.normalization.denormalize(*target.test)
    psi, vorticity, true = (
        field.astype(np.float64) for field in (x[..., 0], x[..., 1], y[..., 0])
    )
    rows = []
    for name, closure in closures.items():
        found = np.asarray(evaluate(closure, vorticity, psi))
        forward, back = psi * true < 0.0, psi * true > 0.0
        rows.append(
            {
                "closure": name,
                "CC": metrics.pattern_correlation(true, found),
                "CC forward": metrics.conditioned_correlation(true, found, forward),
                "CC backscatter": metrics.conditioned_correlation(true, found, back),
                "relative RMSE": metrics.relative_rmse(true, found),
                "spectrum RMSE": metrics.spectrum_rmse(true, found),
                "transfer": float(
                    np.mean(vorticity * found) / np.mean(vorticity * true)
                ),
            }
        )
    return rows


def scored(closures: Mapping[str, object], study: Study) -> Scored:
    """A priori and a posteriori on one table."""
    comparison = compare(closures, study.reference, study.time_step)
    before = a_priori(closures, study.target)
    rows = [{**a, **b} for a, b in zip(before, comparison.rows, strict=True)]
    return Scored(rows, comparison.standard_errors, comparison)


def over_seeds(tables: Sequence[Scored]) -> tuple[list[Row], list[dict], list[dict]]:
    """Mean rows of several seeds, their deviations, and total uncertainties.

    The uncertainty of what one network does adds both in squares: the standard error
    over the start fields and the standard deviation over the seeds.
    """
    means, deviations, totals = [], [], []
    for rows in zip(*(table.rows for table in tables), strict=True):
        numbers = [name for name, value in rows[0].items() if isinstance(value, float)]
        values = {name: [row[name] for row in rows] for name in numbers}
        means.append({**rows[0], **{name: np.mean(values[name]) for name in numbers}})
        deviations.append({name: deviation_of(values[name]) for name in numbers})
    for number, deviation in enumerate(deviations):
        errors = [table.errors[number] for table in tables]
        squares = {
            name: np.mean([e.get(name, 0.0) ** 2 for e in errors]) for name in deviation
        }
        totals.append({n: np.sqrt(squares[n] + d**2) for n, d in deviation.items()})
    return means, deviations, totals


def deviation_of(values: Sequence[float]) -> float:
    """Standard deviation over the seeds; 0 for one seed, NaN beside infinities."""
    if not np.all(np.isfinite(values)):
        return float("nan")
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def parser_of(document: str) -> argparse.ArgumentParser:
    """The options of this script, and of those that do more with its networks."""
    parser = argparse.ArgumentParser(description=document.split("\n")[0])
    parser.add_argument("--case", choices=CASES, default="forcing")
    parser.add_argument("--turnovers", type=float, default=12.0)
    parser.add_argument("--members", type=int, default=5)
    parser.add_argument("--time-step", type=float, help="0.4 of the CFL limit if none")
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--out", type=Path, default=Path("runs/online"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    return parser


def prepare(options: argparse.Namespace, out: Path, watch: quickstart.Stopwatch):
    """Makes or loads everything that the LES need."""
    base_name, target_name = CASES[options.case]
    with watch.stage("data"):
        base = quickstart.load_system(base_name, options.data_dir)
        target = quickstart.load_system(
            target_name, options.data_dir, quickstart.NUM_TARGET
        )
    with watch.stage("networks"):
        networks = {s: networks_of(base, target, out, s) for s in options.seeds}
    with watch.stage("filtered DNS"):
        reference = reference_of(
            target, options.members, options.turnovers, options.data_dir
        )
    return Study(base, target, networks, reference, options.time_step)


def summary_of(study: Study, by_seed: list[Scored], classic: Scored) -> dict:
    """The whole table, and what its means and uncertainties were made of."""
    means, deviations, totals = over_seeds(by_seed)
    reference = study.reference
    return {
        "rows": means + classic.rows,
        "uncertainties": totals + classic.errors,
        "rows_by_seed": {
            seed: table.rows
            for seed, table in zip(study.networks, by_seed, strict=True)
        },
        "deviations_over_seeds": deviations,
        "turnover_time": reference.turnover_time,
        "turnovers": float(reference.times[-1] / reference.turnover_time),
        "members": reference.vorticity.shape[1],
        "normalization": asdict(study.target.normalization),
    }


def report_of(study: Study, rows: Sequence[Row]) -> kst.Study:
    """What a report shows of it: the table, and what each closure is apart from it."""
    definitions = {str(row["closure"]): row["definition"] for row in rows}
    numbers = [{k: v for k, v in row.items() if k != "definition"} for row in rows]
    systems = {"base": study.base, "target": study.target}
    return kst.Study(
        title=f"Closures of an LES: from {study.base.name} to {study.target.name}",
        systems={
            role: system_record(system.train, system.name, "its own train samples")
            for role, system in systems.items()
        },
        a_posteriori=numbers,
        provenance={
            "closures": definitions,
            **{
                f"{role} data, as made": quickstart.data_record(system)
                for role, system in systems.items()
            },
        },
    )


def print_summary(summary: dict, out: Path) -> None:
    """Prints the columns that decide; writes all of them, and what each closure is."""
    turnovers = summary["turnovers"]
    rows = [
        {**row, "decorrelation": f"some > {turnovers:.3g}"}
        if row["decorrelation"] == math.inf
        else row
        for row in summary["rows"]
    ]
    errors = summary["uncertainties"]
    definitions = "\n".join(f"- {row['closure']}: {row['definition']}" for row in rows)
    table = markdown_table(rows, TABLE, errors)
    (out / "table.md").write_text(f"{table}\n\n{definitions}\n")
    print("\n" + markdown_table(rows, SHORT, errors))
    print(
        f"\n{turnovers:.1f} turnovers of {summary['turnover_time']:.4f} "
        "(1 / rms(vorticity) of the filtered DNS); decorrelation is in turnovers"
    )


def main() -> None:
    options = parser_of(__doc__).parse_args()
    for name in ("tensorflow", "absl"):
        logging.getLogger(name).setLevel(logging.ERROR)
    out = options.out / options.case
    out.mkdir(parents=True, exist_ok=True)
    watch = quickstart.Stopwatch()
    study = prepare(options, out, watch)
    with watch.stage("LES"):
        by_seed = [scored(closures_of(study, seed), study) for seed in study.networks]
        classic = scored(CLASSIC, study)
    panels = {
        "networks": [str(row["closure"]) for row in by_seed[0].rows],
        "classic closures": list(CLASSIC),
    }
    first, second = by_seed[0].comparison, classic.comparison
    both = replace(
        first,
        statistics={**first.statistics, **second.statistics},
        correlation={**first.correlation, **second.correlation},
    )
    online_figures.draw(out, both, panels)
    summary = summary_of(study, by_seed, classic)
    document = {**summary, "wall_seconds": watch.seconds}
    (out / "summary.json").write_text(json.dumps(document, indent=2) + "\n")
    quickstart.show(report_of(study, summary["rows"]), out)
    print_summary(summary, out)
    print(f"table.md with all columns and closures, summary.json, figures: {out}/")


if __name__ == "__main__":
    main()
