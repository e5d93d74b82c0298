"""Write a split of a dataset as a Zarr store, a netCDF file or a NumPy file.

The ending of FILE decides: .zarr, .nc (both for xarray) or .npz. Fields are in physical
units.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from turbulence_data.cli._datasets import (
    add_dataset,
    builder_of,
    how_to_make,
    place_of,
    size_of,
)
from turbulence_data.generation._ensemble import SPLITS
from turbulence_data.interchange import (
    ExportSource,
    write_netcdf,
    write_npz,
    write_zarr,
)

NAME = "export"
EXAMPLE = "export tiny_forced_re2e2_kf4 target.npz --data-dir data --split train"
_WRITERS = {".zarr": write_zarr, ".nc": write_netcdf, ".npz": write_npz}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the dataset, the file and the split."""
    add_dataset(parser)
    parser.add_argument("file", type=Path, metavar="FILE", help="what to write")
    parser.add_argument(
        "--split",
        choices=SPLITS,
        default=SPLITS[0],
        help=f"one of {', '.join(SPLITS)} (default: train)",
    )
    parser.add_argument(
        "--mix-splits",
        nargs="+",
        choices=SPLITS,
        metavar="SPLIT",
        help="several splits in one file, where training and test samples lie side by "
        "side; the file says which is which",
    )


def run(options: argparse.Namespace) -> tuple[int, Any]:
    """Write the file; return what is in it.

    Raises:
        ValueError: for an ending that is not known.
    """
    writer = _WRITERS.get(options.file.suffix)
    if writer is None:
        raise ValueError(
            f"FILE must end in one of {', '.join(_WRITERS)}; received {options.file}."
        )
    builder = builder_of(options)
    place = place_of(builder)
    if not place["is_prepared"]:
        return 1, place
    splits = options.mix_splits or [options.split]
    source = ExportSource.from_builder(builder, splits)
    total = sum(builder.info.splits[name].num_examples for name in splits)
    writer(_with_progress(source, total), options.file)
    path = options.file
    return 0, {
        **place,
        "file": str(path),
        "splits": splits,
        "bytes": size_of(path) if path.is_dir() else path.stat().st_size,
    }


def text(document: Any) -> str:
    """Return what was written."""
    if not document["is_prepared"]:
        return how_to_make(document)
    splits = ", ".join(document["splits"])
    size = f"{document['bytes'] / 1e6:.1f} MB"
    return f"{document['dataset']} ({splits}), {size}: {document['file']}"


def _with_progress(source: ExportSource, total: int) -> ExportSource:
    from tqdm import tqdm

    bar = tqdm(total=total, desc="Writing", unit=" examples")

    def counted(examples: Iterable[Any]) -> Iterator[Any]:
        for example in examples:
            yield example
            bar.update()

    examples = {split: counted(part) for split, part in source.examples.items()}
    return dataclasses.replace(source, examples=examples)
