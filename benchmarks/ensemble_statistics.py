"""Statistics of a named flow, against those of an independent solver.

    python benchmarks/ensemble_statistics.py forced_re1e3_kf4 --trajectories 4
        [--snapshots 60] [--num-points 256] [--reference NAME] [--out runs/statistics]

Finished simulations are kept in `--out` and used again. The reference
(`reference_statistics.json`) comes from a float32 solver written independently: 24
snapshots of 8 simulations a flow, without error bars. Its error is taken from the
spread of our own snapshots, as if it held 8 independent ones.
"""

import argparse
import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from turbulence_data import NAMED_FLOWS, EnsembleConfig
from turbulence_data.diagnostics import variance_spectrum
from turbulence_data.generation import HISTORY, process_pool, run_trajectories

REFERENCE = Path(__file__).with_name("reference_statistics.json")
SIMULATIONS_OF_REFERENCE = 8
BANDS = ((1, 3), (4, 7), (8, 15), (16, 31), (32, 63))
# Snapshots of one block are averaged first: successive ones are correlated.
BLOCK = 10

Table = dict[str, np.ndarray]


def ensemble_of(name: str, snapshots: int, num_points: int | None) -> EnsembleConfig:
    """Returns the named ensemble, on another grid at the same Courant number."""
    named = NAMED_FLOWS[name]
    points = num_points or named.flow.shape[0]
    return replace(
        named,
        flow=replace(named.flow, num_points=points),
        num_snapshots=snapshots,
        time_step=named.time_step * named.flow.shape[0] / points,
    )


def keep(trajectory: Any, path: Path) -> None:
    """Writes what the statistics need of one simulation, whole or not at all."""
    partial = path.with_suffix(".partial.npz")
    np.savez(
        partial,
        times=trajectory.times,
        history=trajectory.history,
        vorticity=trajectory.vorticity,
        streamfunction=trajectory.streamfunction,
    )
    partial.rename(path)


def snapshots(path: Path) -> Table:
    """Returns one row a snapshot: energies of the DNS, variances of filtered fields."""
    with np.load(path) as data:
        history, vorticity = data["history"], data["vorticity"]
        streamfunction, start = data["streamfunction"], data["times"][0]
    sampled = history[history[:, HISTORY.index("time")] >= start]
    spectra = np.stack([variance_spectrum(field)[1] for field in vorticity])
    table = {
        "energy": sampled[:, HISTORY.index("energy")],
        "enstrophy": sampled[:, HISTORY.index("enstrophy")],
        "variance of streamfunction": np.mean(streamfunction**2, axis=(1, 2)),
        "variance of vorticity": np.mean(vorticity**2, axis=(1, 2)),
    }
    for low, high in BANDS:
        name = f"variance of vorticity, k = {low}-{high}"
        table[name] = spectra[:, low : high + 1].sum(axis=1)
    return table


def reference_values(name: str) -> dict[str, float]:
    values = json.loads(REFERENCE.read_text())[name]
    spectrum = np.array(values["vorticity_variance_spectrum_k0_to_63"])
    return {
        "energy": values["last_E"],
        "enstrophy": values["last_Z"],
        "variance of streamfunction": values["std_streamfunction"] ** 2,
        "variance of vorticity": values["std_vorticity"] ** 2,
        **{
            f"variance of vorticity, k = {low}-{high}": spectrum[low : high + 1].sum()
            for low, high in BANDS
        },
    }


def compare(tables: list[Table], reference: dict[str, float]) -> Iterator[str]:
    """Yields the lines of a table: ours, the reference, how many errors apart."""
    yield "| quantity | this solver | reference | difference | in standard errors |"
    yield "|---|---|---|---|---|"
    for name, expected in reference.items():
        blocks = [
            part.mean()
            for table in tables
            for part in np.array_split(table[name], max(1, len(table[name]) // BLOCK))
        ]
        mean, own = np.mean(blocks), np.std(blocks, ddof=1) / math.sqrt(len(blocks))
        spread = np.std(np.concatenate([table[name] for table in tables]), ddof=1)
        error = math.hypot(own, spread / math.sqrt(SIMULATIONS_OF_REFERENCE))
        yield (
            f"| {name} | {mean:.4g} +- {own:.2g} | {expected:.4g} | "
            f"{mean / expected - 1:+.1%} | {(mean - expected) / error:+.1f} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("flow", choices=sorted(NAMED_FLOWS))
    parser.add_argument("--reference", help="row of the reference, the flow's own name")
    parser.add_argument("--num-points", type=int, help="resolution, the flow's own")
    parser.add_argument("--trajectories", type=int, default=4)
    parser.add_argument("--snapshots", type=int, default=60)
    parser.add_argument("--processes", type=int, help="one a core where not given")
    parser.add_argument("--out", type=Path, default=Path("runs/statistics"))
    options = parser.parse_args()
    reference = reference_values(options.reference or options.flow)
    ensemble = ensemble_of(options.flow, options.snapshots, options.num_points)
    options.out.mkdir(parents=True, exist_ok=True)
    label = f"{options.flow}_n{ensemble.flow.shape[0]}"
    name = f"{label}_{options.snapshots}_{{}}.npz"
    paths = [options.out / name.format(i) for i in range(options.trajectories)]
    missing = [number for number, path in enumerate(paths) if not path.exists()]
    with process_pool(options.processes) as pool:
        for trajectory in run_trajectories(ensemble, missing, pool):
            keep(trajectory, paths[trajectory.trajectory_id])
    tables = [snapshots(path) for path in paths]
    if ensemble.flow.forcing_wavenumber is None:  # the reference tells where they end
        for table in tables:
            for name in ("energy", "enstrophy"):
                table[name] = table[name][-1:]
    count = sum(len(table["energy"]) for table in tables)
    print(f"{label}: {len(paths)} simulations, {count} snapshots\n")
    print("\n".join(compare(tables, reference)))


if __name__ == "__main__":
    main()
