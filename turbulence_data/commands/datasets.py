"""What the commands share: naming a dataset, and what lies on disk of it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from turbulence_data.flows import NAMED_FLOWS, named_flow

PACKAGE = "turbulence_data"


def add_dataset(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments that name a dataset."""
    parser.add_argument("flow", metavar="FLOW", help="a name that `list` shows")
    parser.add_argument(
        "--data-dir",
        metavar="DIR",
        help="where TFDS keeps data (default: $TFDS_DATA_DIR or ~/tensorflow_datasets)",
    )


def builder_of(options: argparse.Namespace, **arguments: Any) -> Any:
    """Returns the TFDS builder of the dataset that the arguments name.

    Raises:
        KeyError: for an unknown flow.
    """
    from turbulence_data.turbulence_data_dataset_builder import Builder

    name = options.flow.removeprefix(f"{PACKAGE}/")
    named_flow(name)
    return Builder(config=name, data_dir=options.data_dir, **arguments)


def place_of(builder: Any) -> dict[str, Any]:
    """Returns which dataset it is, where, and whether it is there."""
    return {
        "dataset": builder.info.full_name,
        "directory": str(builder.data_dir),
        "is_prepared": bool(builder.is_prepared()),
    }


def how_to_make(place: dict[str, Any]) -> str:
    """Returns what to tell of a dataset that is not there."""
    name = place["dataset"].split("/")[1]
    return (
        f"{place['dataset']} is not in {place['directory']}; make it: "
        f"python -m {PACKAGE} generate {name}"
    )


def flow_row(name: str) -> dict[str, Any]:
    """Returns what there is to know of a named flow before it is simulated."""
    ensemble = NAMED_FLOWS[name]
    flow = ensemble.flow
    reynolds = flow.reynolds if flow.viscosity > 0.0 else None
    return {
        "flow": name,
        "reynolds": reynolds,
        "forcing_wavenumber": flow.forcing_wavenumber,
        "beta": flow.beta,
        "dns_points": list(flow.shape),
        "les_points": list(ensemble.les_shape),
        "trajectories": list(ensemble.num_trajectories),
        "snapshots": ensemble.num_snapshots,
        "megabytes": round(2 * ensemble.num_bytes / 1e6, 1),  # in two formats
    }


def size_of(directory: Path) -> int:
    """Returns the bytes of all files below a directory."""
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


def table(header: list[str], rows: list[list[str]]) -> str:
    """Returns columns of text; the first is left-aligned, the others right."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in [header, *rows]
    )
