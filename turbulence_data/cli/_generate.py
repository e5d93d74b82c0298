"""Make a dataset: simulate its flow, filter it, store it for TFDS.

A run that was stopped goes on where it stopped; data that are there are kept.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from turbulence_data.cli._datasets import add_dataset, builder_of, size_of
from turbulence_data.generation._pool import process_pool

NAME = "generate"
EXAMPLE = "generate tiny_forced_re2e2_kf4 --data-dir data --processes 2"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the dataset, the number of processes and the format of the records."""
    add_dataset(parser)
    parser.add_argument(
        "--processes",
        type=int,
        metavar="N",
        help="trajectories made at once (default: one a core)",
    )
    parser.add_argument(
        "--file-format",
        choices=("tfrecord", "array_record"),
        help="tfrecord for tfds.load (default), array_record for tfds.data_source; "
        "where the data are there in the other format, it is added",
    )


def run(options: argparse.Namespace) -> tuple[int, Any]:
    """Make the data where they are not there; return where they lie."""
    with process_pool(options.processes) as executor:
        builder = builder_of(
            options, executor=executor, file_format=options.file_format
        )
        builder.download_and_prepare()
    return 0, {
        "dataset": builder.info.full_name,
        "directory": str(builder.data_dir),
        "file_formats": builder.file_formats,
        "examples": {n: s.num_examples for n, s in builder.info.splits.items()},
        "bytes": size_of(Path(builder.data_dir)),
        "content_sha256": builder.info.metadata["content_sha256"],
    }


def text(document: Any) -> str:
    """Return what was made, and where."""
    examples = ", ".join(f"{n} {split}" for split, n in document["examples"].items())
    return (
        f"{document['dataset']}: {examples}; {document['bytes'] / 1e6:.1f} MB as "
        f"{' and '.join(document['file_formats'])} in {document['directory']}"
    )
