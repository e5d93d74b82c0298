"""List the named flows, with their resolution and size on disk."""

from __future__ import annotations

import argparse
from typing import Any

from turbulence_data.cli._datasets import table
from turbulence_data.flows import NAMED_FLOWS

NAME = "list"
EXAMPLE = "list"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add nothing: the command has no arguments of its own."""


def run(options: argparse.Namespace) -> tuple[int, Any]:
    """Return the flows."""
    return 0, [_row(name) for name in NAMED_FLOWS]


def text(document: Any) -> str:
    """Return a table of the flows."""
    header = ["flow", "Re", "forced at", "beta", "DNS", "LES", "trajectories"]
    header += ["snapshots", "MB on disk"]
    rows = [
        [
            row["flow"],
            "inviscid" if row["reynolds"] is None else f"{row['reynolds']:g}",
            "decaying"
            if row["forcing_wavenumber"] is None
            else f"k = {row['forcing_wavenumber']}",
            f"{row['beta']:g}",
            " x ".join(map(str, row["dns_points"])),
            " x ".join(map(str, row["les_points"])),
            " + ".join(map(str, row["trajectories"])),
            str(row["snapshots"]),
            f"{row['megabytes']:g}",
        ]
        for row in document
    ]
    note = "trajectories: train + validation + test; snapshots: of each trajectory."
    return f"{table(header, rows)}\n\n{note}"


def _row(name: str) -> dict[str, Any]:
    ensemble = NAMED_FLOWS[name]
    flow = ensemble.flow
    return {
        "flow": name,
        "reynolds": flow.reynolds if flow.viscosity > 0.0 else None,
        "forcing_wavenumber": flow.forcing_wavenumber,
        "beta": flow.beta,
        "dns_points": list(flow.shape),
        "les_points": list(ensemble.les_shape),
        "trajectories": list(ensemble.num_trajectories),
        "snapshots": ensemble.num_snapshots,
        "megabytes": round(ensemble.num_bytes / 1e6, 1),
    }
