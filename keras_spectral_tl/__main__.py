"""The program `keras-spectral-tl`, also `python -m keras_spectral_tl`.

Exit codes: 0 done; 1 nothing is recommended; 2 wrong usage or input: one line on
stderr says what; 3 a fault of the program; 130 interrupted.
"""

import argparse
import contextlib
import importlib.metadata
import inspect
import json
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from typing import Any

from keras_spectral_tl.cli._choosing import Forecast, Score
from keras_spectral_tl.cli._retraining import Retrain
from keras_spectral_tl.cli._showing import Report, Spectra

_COMMANDS: dict[str, Any] = {
    "forecast": Forecast(),
    "score": Score(),
    "retrain": Retrain(),
    "spectra": Spectra(),
    "report": Report(),
}
# What the input may cause, such as a damaged file.
_EXPECTED = (
    FloatingPointError,
    ImportError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    top = argparse.ArgumentParser(
        prog="python -m keras_spectral_tl",
        description="How to retrain a trained network for a new system, if at all.",
        epilog="exit codes: 0 done; 1 nothing is recommended; 2 wrong usage or input; "
        "3 a fault of the program; 130 interrupted",
    )
    version = importlib.metadata.version("keras-spectral-tl")
    top.add_argument(
        "--version", action="version", version=f"keras-spectral-tl {version}"
    )
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    for name, command in _COMMANDS.items():
        one = commands.add_parser(
            name,
            help=(command.__doc__ or "").split("\n")[0],
            description=inspect.getdoc(command),
            epilog=f"example:\n  python -m keras_spectral_tl {command.example}",
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
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    for name in ("absl", "tensorflow"):  # they warn about predictions of new models
        logging.getLogger(name).setLevel(logging.ERROR)
    options = parser().parse_args(arguments)
    try:
        with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
            # Doubts are printed by the commands, not as Python warnings.
            warnings.filterwarnings("ignore", "Check the network and its data")
            code, document = options.command.run(options)
    except Exception as error:
        of_tensorflow = type(error).__module__.startswith("tensorflow.")
        if not (isinstance(error, _EXPECTED) or of_tensorflow):
            traceback.print_exc()
            return 3
        message = error.args[0] if isinstance(error, KeyError) else error
        print(f"error: {' '.join(str(message).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    text = _as_json(document) if options.json else ""
    if hasattr(sys.stdout, "reconfigure"):  # texts have signs such as a root
        sys.stdout.reconfigure(errors="replace")
    try:
        print(text or options.command.text(document), flush=True)
    except BrokenPipeError:  # the reader has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return int(code)


def _as_json(document: Any) -> str:
    from keras_spectral_tl._files import finite

    return json.dumps(finite(document), indent=2, allow_nan=False)


if __name__ == "__main__":
    sys.exit(main())
