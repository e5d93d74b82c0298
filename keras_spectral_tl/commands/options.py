"""Arguments that several commands have; nothing heavy is imported for them."""

import argparse
import math
from collections.abc import Callable

DATA = (
    "a TFDS dataset, NAME/CONFIG or NAME/CONFIG@SPLIT (train if no split is given), or "
    "an .npz or .zarr file with arrays x and y"
)


def whole(at_least: int) -> Callable[[str], int]:
    """A type of argument: whole numbers from `at_least` on."""

    def number(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = at_least - 1
        if value < at_least:
            raise argparse.ArgumentTypeError(
                f"expected a whole number of at least {at_least}; received {text!r}"
            )
        return value

    return number


def positive(text: str) -> float:
    """A type of argument: finite numbers above 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0.0 < value < math.inf:
        raise argparse.ArgumentTypeError(
            f"expected a number above 0; received {text!r}"
        )
    return value


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add the network."""
    parser.add_argument("model", metavar="MODEL", help="a network, a .keras file")


def add_reading(parser: argparse.ArgumentParser) -> None:
    """Add the options of how samples are read."""
    parser.add_argument(
        "--num-samples",
        type=whole(1),
        metavar="N",
        help="use N target samples, the first of a dataset's few-shot order, or spread "
        "evenly over a file (default: all)",
    )
    parser.add_argument(
        "--data-dir",
        metavar="DIR",
        help="where TFDS keeps data (default: $TFDS_DATA_DIR or ~/tensorflow_datasets)",
    )
    parser.add_argument(
        "--normalize",
        choices=("own", "none"),
        default="own",
        help="each system by mean and standard deviation of its own samples in use, "
        "or not at all: the values are as the network wants them (default: own)",
    )
    parser.add_argument("--seed", type=whole(0), default=0, help="of all randomness")
