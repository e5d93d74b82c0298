"""List the named flows, with their resolution and size on disk."""

from __future__ import annotations

import argparse
from typing import Any

from turbulence_data.commands.datasets import flow_row, table
from turbulence_data.flows import NAMED_FLOWS

NAME = "list"
EXAMPLE = "list"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds nothing: the command has no arguments of its own."""


def run(options: argparse.Namespace) -> tuple[int, Any]:
    """Returns the flows."""
    return 0, [flow_row(name) for name in NAMED_FLOWS]


def text(document: Any) -> str:
    """Returns a table of the flows."""
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
