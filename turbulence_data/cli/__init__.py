"""`python -m turbulence_data {list,generate,info,export}`: data from the command line.

Exit codes: 0 done; 1 nothing there, or not what it should be (`info`); 2 wrong usage or
input, or an error of a disk: one line on stderr says which; 130 interrupted.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import inspect
import json
import logging
import os
import sys
import traceback
from collections.abc import Sequence

from turbulence_data.cli._commands import Export, Generate, Info, List
from turbulence_data.generation._pool import TrajectoryFailedError

_COMMANDS = (List(), Generate(), Info(), Export())
_EXPECTED = (ImportError, LookupError, OSError, RuntimeError, TypeError, ValueError)


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    top = argparse.ArgumentParser(
        prog="python -m turbulence_data",
        description="Make and look at datasets of filtered 2-D turbulence.",
        epilog="exit codes: 0 done; 1 no such data; 2 wrong usage or input; "
        "3 a fault of the program; 130 interrupted",
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
    """Run one command and return its exit code.

    Args:
        arguments: of the command line; None for those of this process.
    """
    logging.getLogger("absl").setLevel(logging.ERROR)  # TFDS looks for many files
    options = parser().parse_args(arguments)
    try:
        with contextlib.redirect_stdout(sys.stderr):  # where libraries report
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
    except BrokenPipeError:  # whoever reads has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return int(code)


def _is_expected(error: Exception) -> bool:
    """Return whether input or disk is to blame, errors of TFDS included."""
    of_tensorflow = type(error).__module__.startswith("tensorflow.")
    return isinstance(error, (TrajectoryFailedError, *_EXPECTED)) or of_tensorflow
