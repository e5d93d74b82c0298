"""`python -m turbulence_data`: datasets from the command line."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import difflib
import importlib.metadata
import inspect
import json
import logging
import math
import os
import shlex
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from tqdm import tqdm

from turbulence_data.flows import NAMED_FLOWS
from turbulence_data.generation._ensemble import SPLITS
from turbulence_data.generation._pool import TrajectoryFailedError, process_pool
from turbulence_data.generation._statistics import content_hash
from turbulence_data.interchange._export import ExportSource, check_ending, export

PACKAGE = "turbulence_data"
_AS_MADE = "as made"
_FIGURES = (
    "k_max_eta",
    "interval_in_turnover_times",
    "decorrelation_in_turnover_times",
    "largest_courant_ratio",
    "largest_budget_residual",
)


class Command:
    """A command, whose docstring is its help text."""

    name: str
    example: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the arguments of the command."""

    def run(self, options: argparse.Namespace) -> tuple[int, Any]:
        """Return the exit code and the document that is printed."""
        raise NotImplementedError

    def text(self, document: Any) -> str:
        """Return the document as text."""
        raise NotImplementedError


class List(Command):
    """List the named flows, with their resolution and size on disk."""

    name = "list"
    example = "list"

    def run(self, options: argparse.Namespace) -> tuple[int, Any]:
        return 0, [_row(name) for name in NAMED_FLOWS]

    def text(self, document: Any) -> str:
        header = ["flow", "Re", "forced at", "beta", "DNS", "LES", "trajectories"]
        header += ["snapshots", "MB on disk"]
        rows = [
            [
                row["flow"],
                *_driven(row),
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


class Generate(Command):
    """Make a dataset: simulate its flow, filter it, store it for TFDS.

    An interrupted run resumes where it stopped; existing data are kept.
    """

    name = "generate"
    example = "generate tiny_forced_re2e2_kf4 --data-dir data --processes 2"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        add_dataset(parser)
        parser.add_argument(
            "--processes",
            type=int,
            metavar="N",
            help="trajectories made at once (default: one per core)",
        )
        parser.add_argument(
            "--file-format",
            choices=("tfrecord", "array_record"),
            help="tfrecord for tfds.load (default), array_record for tfds.data_source; "
            "if the data exist in the other format, it is added",
        )

    def run(self, options: argparse.Namespace) -> tuple[int, Any]:
        with process_pool(options.processes) as executor:
            builder = builder_of(
                options, executor=executor, file_format=options.file_format
            )
            builder.download_and_prepare()
        return 0, {
            "dataset": builder.info.full_name,
            "directory": str(builder.data_dir),
            **_stored(builder),
            "content_sha256": builder.info.metadata["content_sha256"],
        }

    def text(self, document: Any) -> str:
        return (
            f"{document['dataset']}: {_contents(document)} in {document['directory']}"
        )


class Info(Command):
    """Show what a dataset on disk holds: sizes, statistics, provenance.

    Exit code 1 if it is not on disk, or if `--check` finds that its content changed.
    """

    name = "info"
    example = "info tiny_forced_re2e2_kf4 --data-dir data --check"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        add_dataset(parser)
        parser.add_argument(
            "--check",
            action="store_true",
            help="read all examples, compare their SHA-256",
        )

    def run(self, options: argparse.Namespace) -> tuple[int, Any]:
        builder = builder_of(options)
        place = place_of(builder)
        if not place["is_prepared"]:
            return 1, place
        metadata = dict(builder.info.metadata)
        document = {**place, **_stored(builder), "statistics": metadata}
        if options.check:
            document["content_read"] = _content_read(
                builder, metadata["content_sha256"]
            )
            document["is_unchanged"] = document["content_read"] == _AS_MADE
        return int(not document.get("is_unchanged", True)), document

    def text(self, document: Any) -> str:
        if not document["is_prepared"]:
            return how_to_make(document)
        statistics = document["statistics"]
        lines = [
            f"{document['dataset']} in {document['directory']}",
            _contents(document),
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


class Export(Command):
    """Write a split of a dataset as a Zarr store, a netCDF file or a NumPy file.

    The suffix of FILE sets the format: .zarr, .nc (both for xarray) or .npz. Fields are
    in physical units.
    """

    name = "export"
    example = "export tiny_forced_re2e2_kf4 target.npz --data-dir data --split train"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        add_dataset(parser)
        parser.add_argument("file", type=Path, metavar="FILE", help="what to write")
        which = parser.add_mutually_exclusive_group()
        which.add_argument(
            "--split",
            choices=SPLITS,
            default=SPLITS[0],
            help=f"one of {', '.join(SPLITS)} (default: train)",
        )
        which.add_argument(
            "--mix-splits",
            nargs="+",
            choices=SPLITS,
            metavar="SPLIT",
            help="several splits in one file, where training and test samples lie side "
            "by side; the file says which is which",
        )
        parser.add_argument(
            "--features",
            nargs="+",
            metavar="NAME",
            help="only these features, such as vorticity sgs_forcing, with trajectory "
            "and time (default: all; a .npz file needs all inputs and outputs of a "
            "network, as it holds them as x and y)",
        )

    def run(self, options: argparse.Namespace) -> tuple[int, Any]:
        check_ending(options.file)
        builder = builder_of(options)
        place = place_of(builder)
        if not place["is_prepared"]:
            return 1, place
        splits = [*dict.fromkeys(options.mix_splits or [options.split])]
        source = ExportSource.from_builder(builder, splits, options.features)
        needed = f"{source.metadata['inputs']} {source.metadata['outputs']}"
        lacking = options.features and {*needed.split()} - {*options.features}
        if options.file.suffix == ".npz" and lacking:
            raise ValueError(
                f"a .npz file holds x and y, so --features must name all of {needed}, "
                f"or be left out; received {' '.join(options.features)}. A .zarr or "
                ".nc file may hold any of them."
            )
        total = sum(builder.info.splits[name].num_examples for name in splits)
        export(_with_progress(source, total), options.file)
        path = options.file
        return 0, {
            **place,
            "file": str(path),
            "splits": splits,
            "bytes": size_of(path) if path.is_dir() else path.stat().st_size,
        }

    def text(self, document: Any) -> str:
        if not document["is_prepared"]:
            return how_to_make(document)
        splits = ", ".join(document["splits"])
        size = f"{document['bytes'] / 1e6:.1f} MB"
        return f"{document['dataset']} ({splits}), {size}: {document['file']}"


def _row(name: str) -> dict[str, Any]:
    ensemble = NAMED_FLOWS[name]
    flow = ensemble.flow
    reynolds = getattr(flow, "reynolds", math.inf)
    return {
        "flow": name,
        "layers": ensemble.features.num_layers,
        "reynolds": reynolds if math.isfinite(reynolds) else None,
        "forcing_wavenumber": getattr(flow, "forcing_wavenumber", None),
        "beta": flow.beta,
        "dns_points": list(flow.shape),
        "les_points": list(ensemble.les_shape),
        "trajectories": list(ensemble.num_trajectories),
        "snapshots": ensemble.num_snapshots,
        "megabytes": round(ensemble.num_bytes / 1e6, 1),
    }


def _driven(row: Mapping[str, Any]) -> tuple[str, str]:
    """Return the columns of Reynolds number and forcing."""
    wavenumber = row["forcing_wavenumber"]
    if row["layers"] == 2:
        return "inviscid", "shear"
    return (
        "inviscid" if row["reynolds"] is None else f"{row['reynolds']:g}",
        "decaying" if wavenumber is None else f"k = {wavenumber}",
    )


def _stored(builder: Any) -> dict[str, Any]:
    return {
        "file_formats": builder.file_formats,
        "examples": {n: s.num_examples for n, s in builder.info.splits.items()},
        "bytes": size_of(Path(builder.data_dir)),
    }


def _contents(document: dict[str, Any]) -> str:
    examples = ", ".join(f"{n} {split}" for split, n in document["examples"].items())
    formats = " and ".join(document["file_formats"])
    return f"{examples}; {document['bytes'] / 1e6:.1f} MB as {formats}"


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3g}"


def _content_read(builder: Any, expected: str) -> str:
    """Read all examples in each stored format and return the result in words."""
    from tensorflow_datasets import as_numpy

    readers = {
        "array_record": builder.as_data_source,
        "tfrecord": lambda split: as_numpy(builder.as_dataset(split=split)),
    }
    total = sum(split.num_examples for split in builder.info.splits.values())
    for name in builder.file_formats:
        try:
            examples = chain.from_iterable(map(readers[name], SPLITS))
            found = content_hash(
                tqdm(examples, f"Reading {name}", total, unit=" examples")
            )
        except Exception as error:  # from any library that reads the files
            return f"CANNOT BE READ ({name}): {' '.join(str(error).split())[:200]}"
        if found != expected:
            return f"NOT WHAT WAS MADE ({name})"
    return _AS_MADE


def _with_progress(source: ExportSource, total: int) -> ExportSource:
    bar = tqdm(total=total, desc="Writing", unit=" examples")

    def counted(examples: Iterable[Any]) -> Iterator[Any]:
        for example in examples:
            yield example
            bar.update()

    examples = {split: counted(part) for split, part in source.examples.items()}
    return dataclasses.replace(source, examples=examples)


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
    """Return the TFDS builder of the dataset that the arguments name."""
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
    """Return the name of a dataset, its directory, and whether it exists."""
    return {
        "dataset": builder.info.full_name,
        "directory": str(builder.data_dir),
        "is_prepared": bool(builder.is_prepared()),
    }


def how_to_make(place: dict[str, Any]) -> str:
    """Return a message on how to make a missing dataset."""
    name = place["dataset"].split("/")[1]
    root = place["directory"].removesuffix(place["dataset"])
    return (
        f"{place['dataset']} is not in {place['directory']}; make it: "
        f"python -m {PACKAGE} generate {name} --data-dir {shlex.quote(root or '/')}"
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


_COMMANDS = (List(), Generate(), Info(), Export())
_EXPECTED = (ImportError, LookupError, OSError, RuntimeError, TypeError, ValueError)


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    top = argparse.ArgumentParser(
        prog="python -m turbulence_data",
        description="Make and look at datasets of filtered 2-D turbulence.",
        epilog="exit codes: 0 done; 1 data not on disk, or changed; 2 wrong usage or "
        "input, such as the name of no flow, or a disk error; 3 a fault of the "
        "program; 130 interrupted",
    )
    version = importlib.metadata.version("keras-spectral-tl")  # one distribution
    top.add_argument(
        "--version", action="version", version=f"turbulence-data {version}"
    )
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    for command in _COMMANDS:
        example = f"example:\n  python -m turbulence_data {command.example}"
        one = commands.add_parser(
            command.name,
            help=(command.__doc__ or "").split("\n")[0],
            description=inspect.getdoc(command),
            epilog=example,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.add_arguments(one)
        one.add_argument(
            "--json", action="store_true", help="print the result as JSON on stdout"
        )
        one.set_defaults(command=command)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    logging.getLogger("absl").setLevel(logging.ERROR)  # TFDS looks for many files
    options = parser().parse_args(arguments)
    try:
        with contextlib.redirect_stdout(sys.stderr):  # messages of libraries
            code, document = options.command.run(options)
    except Exception as error:
        if not _is_expected(error):
            traceback.print_exc()
            return 3
        message = error.args[0] if isinstance(error, KeyError) else error
        print(f"error: {' '.join(str(message).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    text = json.dumps(document, indent=2) if options.json else ""
    try:
        print(text or options.command.text(document), flush=True)
    except BrokenPipeError:  # the reader has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return int(code)


def _is_expected(error: Exception) -> bool:
    """Return whether an error is due to input or disk, including errors of TFDS."""
    of_tensorflow = type(error).__module__.startswith("tensorflow.")
    return isinstance(error, (TrajectoryFailedError, *_EXPECTED)) or of_tensorflow


if __name__ == "__main__":
    sys.exit(main())
