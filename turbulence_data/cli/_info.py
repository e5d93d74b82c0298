"""Show what a dataset on disk holds: sizes, statistics, provenance.

Exit code 1 where it is not on disk, or `--check` finds other content than was made.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from itertools import chain
from pathlib import Path
from typing import Any

from turbulence_data.cli._datasets import (
    add_dataset,
    builder_of,
    how_to_make,
    place_of,
    size_of,
    table,
)
from turbulence_data.generation._ensemble import SPLITS
from turbulence_data.generation._statistics import content_hash

NAME = "info"
EXAMPLE = "info tiny_forced_re2e2_kf4 --data-dir data --check"
_AS_MADE = "as made"
_FIGURES = (
    "k_max_eta",
    "interval_in_turnover_times",
    "decorrelation_in_turnover_times",
    "largest_courant_ratio",
    "largest_budget_residual",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the dataset, and whether to read all of it."""
    add_dataset(parser)
    parser.add_argument(
        "--check", action="store_true", help="read all examples, compare their SHA-256"
    )


def run(options: argparse.Namespace) -> tuple[int, Any]:
    """Return what is known of the data."""
    builder = builder_of(options)
    place = place_of(builder)
    if not place["is_prepared"]:
        return 1, place
    metadata = dict(builder.info.metadata)
    document = {
        **place,
        "file_formats": builder.file_formats,
        "examples": {n: s.num_examples for n, s in builder.info.splits.items()},
        "bytes": size_of(Path(builder.data_dir)),
        "statistics": metadata,
    }
    if options.check:
        document["content_read"] = _content_read(builder, metadata["content_sha256"])
        document["is_unchanged"] = document["content_read"] == _AS_MADE
    return int(not document.get("is_unchanged", True)), document


def text(document: Any) -> str:
    """Return the figures of a dataset, spectra and histories left out."""
    if not document["is_prepared"]:
        return how_to_make(document)
    statistics = document["statistics"]
    examples = ", ".join(f"{n} {split}" for split, n in document["examples"].items())
    lines = [
        f"{document['dataset']} in {document['directory']}",
        f"{examples}; {document['bytes'] / 1e6:.1f} MB as "
        + " and ".join(document["file_formats"]),
        "",
        table(
            ["field, train split", "mean", "std", "rms"],
            [
                [name, *(f"{row[key]:.4g}" for key in ("mean", "std", "rms"))]
                for name, row in statistics["fields"].items()
            ],
        ),
        "",
        *(
            f"{name.replace('_', ' ')}: {_number(statistics[name])}"
            for name in _FIGURES
        ),
        "",
        *(f"{key}: {value}" for key, value in statistics["conventions"].items()),
        f"pi_convention: {statistics['pi_convention']}",
        "made with: "
        + ", ".join(f"{name} {v}" for name, v in statistics["versions"].items()),
        f"config SHA-256: {statistics['config_hash']}",
        f"content SHA-256: {statistics['content_sha256']}",
    ]
    if "is_unchanged" in document:
        lines.append(f"content read: {document['content_read']}")
    return "\n".join(lines)


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3g}"


def _content_read(builder: Any, expected: str) -> str:
    """Return what reading all examples says, in each format they are stored in."""
    from tensorflow_datasets import as_numpy

    readers = {
        "array_record": builder.as_data_source,
        "tfrecord": lambda split: as_numpy(builder.as_dataset(split=split)),
    }
    for name in builder.file_formats:
        try:
            found = _hash_of(builder, readers[name], name)
        except Exception as error:  # of whatever reads the files
            return f"CANNOT BE READ ({name}): {' '.join(str(error).split())[:200]}"
        if found != expected:
            return f"NOT WHAT WAS MADE ({name})"
    return _AS_MADE


def _hash_of(builder: Any, read: Callable[[str], Iterable[Any]], name: str) -> str:
    from tqdm import tqdm

    total = sum(split.num_examples for split in builder.info.splits.values())
    examples = chain.from_iterable(map(read, SPLITS))
    title = f"Reading {name}"
    return content_hash(tqdm(examples, total=total, desc=title, unit=" examples"))
