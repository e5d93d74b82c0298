"""Networks and classic closures at work: inside an LES, against filtered DNS.

A network trained on one flow is moved to another one, as in quickstart.py: as it is,
with its output gain fitted, with the recommended layer retrained, and trained from
scratch. Each of them, and every classic closure, then drives an LES from the same start
fields. One table holds both what is measured on snapshots (a priori) and what comes out
of the LES (a posteriori).

    python examples/online_les.py [--case forcing] [--turnovers 12] [--members 5]

Data, networks and the filtered DNS are kept in --data-dir and --out for the next run.
"""

import argparse
import json
import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import online_figures
import quickstart

import keras_spectral_tl as kst
import turbulence_data
from keras_spectral_tl import metrics
from turbulence_data.a_posteriori import (
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
    evaluate,
)
from turbulence_data.execution import run_trajectories
from turbulence_data.filtering import les_flow

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
    "tails",
    "decorrelation",
    "enstrophy transfer",
)


class Study(NamedTuple):
    """What a case needs: the target system, the networks, the filtered DNS."""

    target: quickstart.System
    networks: dict[str, keras.Model]
    reference: Reference


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
    scores = kst.score_layers(model, some_of_base, target.train)
    print(f"   layer to retrain: {scores.ranking[0]}. {scores.reason}")
    options = {**quickstart.RETRAIN, "seed": seed}
    results = {
        "gain only": kst.gain_only(model, target.train),
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
    duration = turnovers / target.normalisation.vorticity[1]
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
        np.savez(file, times=made.times, **fields)
    flow = les_flow(ensemble.flow, ensemble.num_points_les)
    with np.load(file) as saved:
        return Reference(flow, **{name: saved[name] for name in saved.files})


def closures_of(study: Study) -> dict[str, object]:
    """Every network with the statistics it was given, then the classic closures."""
    statistics = asdict(study.target.normalisation)
    networks = {
        name: kst.KerasClosure(network, statistics)
        for name, network in study.networks.items()
    }
    stabilised = {"retrained, clipped": ClippedBackscatter(networks["retrained"])}
    return {**networks, **stabilised, **CLASSIC}


def a_priori(closures: Mapping[str, object], target: quickstart.System) -> list[dict]:
    """Scores on the test snapshots, in physical units; transfer is of enstrophy."""
    x, y = target.normalisation.denormalise(*target.test)
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


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--case", choices=CASES, default="forcing")
    parser.add_argument("--turnovers", type=float, default=12.0)
    parser.add_argument("--members", type=int, default=5)
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--out", type=Path, default=Path("runs/online"))
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def prepare(options: argparse.Namespace, out: Path, watch: quickstart.Stopwatch):
    """Makes or loads everything that the LES need."""
    base_name, target_name = CASES[options.case]
    with watch.stage("data"):
        base = quickstart.load_system(base_name, options.data_dir)
        target = quickstart.load_system(
            target_name, options.data_dir, quickstart.NUM_TARGET
        )
    with watch.stage("networks"):
        networks = networks_of(base, target, out, options.seed)
    with watch.stage("filtered DNS"):
        reference = reference_of(
            target, options.members, options.turnovers, options.data_dir
        )
    return Study(target, networks, reference)


def main() -> None:
    options = parse_options()
    for name in ("tensorflow", "absl"):
        logging.getLogger(name).setLevel(logging.ERROR)
    out = options.out / options.case
    out.mkdir(parents=True, exist_ok=True)
    watch = quickstart.Stopwatch()
    study = prepare(options, out, watch)
    reference, closures = study.reference, closures_of(study)
    with watch.stage("a priori"):
        before = a_priori(closures, study.target)
    with watch.stage("LES"):
        comparison = compare(closures, reference)
    rows = [{**a, **b} for a, b in zip(before, comparison.rows, strict=True)]
    groups = {
        "networks": [name for name in closures if name not in CLASSIC],
        "classic closures": list(CLASSIC),
    }
    online_figures.draw(out, comparison, groups)
    summary = {
        "rows": rows,
        "turnover_time": reference.turnover_time,
        "turnovers": float(reference.times[-1] / reference.turnover_time),
        "members": options.members,
        "normalisation": asdict(study.target.normalisation),
        "wall_seconds": watch.seconds,
    }
    (out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    print("\n" + markdown_table(rows, list(TABLE)))
    print(f"\nsummary.json and figures: {out}/")


if __name__ == "__main__":
    main()
