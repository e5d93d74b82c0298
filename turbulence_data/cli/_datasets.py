"""Arguments and descriptions of datasets that the commands share."""

from __future__ import annotations

import argparse
import difflib
from pathlib import Path
from typing import Any

from turbulence_data.flows import NAMED_FLOWS

PACKAGE = "turbulence_data"


def add_dataset(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that name a dataset."""
    parser.add_argument(
        "flow", metavar="FLOW", help="a name that `list` shows, or of an own flow"
    )
    parser.add_argument(
        "--data-dir",
        metavar="DIR",
        help="where TFDS keeps data (default: $TFDS_DATA_DIR or ~/tensorflow_datasets)",
    )


def builder_of(options: argparse.Namespace, **arguments: Any) -> Any:
    """Return the TFDS builder of the dataset that the arguments name.

    Raises:
        KeyError: for a name that is neither that of a named flow nor of an own flow
            whose data are on disk.
    """
    from turbulence_data.turbulence_data_dataset_builder import Builder

    name = options.flow.removeprefix(f"{PACKAGE}/")
    try:
        return Builder(config=name, data_dir=options.data_dir, **arguments)
    except ValueError as error:
        if "unknown config" not in str(error):
            raise
        place = Path(Builder(data_dir=options.data_dir).data_dir_root) / PACKAGE
        own = sorted(
            path.name
            for path in (place.iterdir() if place.is_dir() else ())
            if path.name not in NAMED_FLOWS and any(path.glob("*/dataset_info.json"))
        )
        near = difflib.get_close_matches(name, [*NAMED_FLOWS, *own], n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise KeyError(
            f"unknown flow {name!r}.{hint} Named flows: {sorted(NAMED_FLOWS)}; own "
            f"flows in {place}: {own or 'none'}. Own flows are made in Python: "
            "Builder(config=TurbulenceConfig(name=, ensemble=)).download_and_prepare()."
        ) from None


def place_of(builder: Any) -> dict[str, Any]:
    """Return the name of a dataset, its directory, and whether it is there."""
    return {
        "dataset": builder.info.full_name,
        "directory": str(builder.data_dir),
        "is_prepared": bool(builder.is_prepared()),
    }


def how_to_make(place: dict[str, Any]) -> str:
    """Return what to tell of a dataset that is not there."""
    name = place["dataset"].split("/")[1]
    return (
        f"{place['dataset']} is not in {place['directory']}; make it: "
        f"python -m {PACKAGE} generate {name}"
    )


def size_of(directory: Path) -> int:
    """Return the bytes of all files below a directory."""
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


def table(header: list[str], rows: list[list[str]]) -> str:
    """Return columns of text; the first is left-aligned, the others right."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in [header, *rows]
    )
