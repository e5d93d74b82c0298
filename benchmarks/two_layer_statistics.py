"""Standard deviations of the two-layer flows, with their scatter over trajectories.

    python benchmarks/two_layer_statistics.py --data data [--size mini_] [--flows eddy]

Those of the tier `published` of `examples/reproduce.py` are `--size published_`.

Over space, time and all trajectories of all splits, of which each is a run of its own;
behind ±, the standard deviation over trajectories of that of one. Then the correlation
of the forcings of different operators, snapshot by snapshot, in both layers.
"""

import argparse
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

import turbulence_data  # noqa: F401 (registers the dataset)

FLOWS = ("eddy", "jet", "3jet", "rd20")
LAYERS = ("upper", "lower")
OPERATORS = {"operator_1": "operator_1_", "operator_2": "", "operator_3": "operator_3_"}
FIELDS = (
    "u",
    "v",
    "potential_vorticity",
    "operator_1_potential_vorticity",
    "sgs_forcing",
    "operator_1_sgs_forcing",
    "operator_3_sgs_forcing",
)
NAMES = [f"{field}_{layer}" for field in FIELDS for layer in LAYERS]


def trajectories(name: str, data: Path) -> dict[tuple[str, int], list[Any]]:
    """Returns the snapshots of each trajectory of a flow."""
    found: dict[tuple[str, int], list[Any]] = {}
    builder = tfds.builder(f"turbulence_data/{name}", data_dir=data)
    builder.download_and_prepare()
    is_random_access = builder.info.file_format is tfds.core.FileFormat.ARRAY_RECORD
    for split in ("train", "validation", "test"):
        if is_random_access:
            examples = builder.as_data_source(split=split)
        else:
            examples = tfds.as_numpy(builder.as_dataset(split=split))
        for example in examples:
            found.setdefault((split, int(example["trajectory"])), []).append(example)
    return found


def deviations(runs: list[list[Any]]) -> dict[str, tuple[float, float]]:
    """Returns the standard deviation of each field and its scatter over runs."""
    squares = np.array(
        [
            [np.mean([np.mean(np.float64(s[n]) ** 2) for s in run]) for n in NAMES]
            for run in runs
        ]
    )
    whole, scatter = np.sqrt(squares.mean(0)), np.sqrt(squares).std(0, ddof=1)
    return dict(zip(NAMES, zip(whole, scatter, strict=True), strict=True))


def correlation(runs: list[list[Any]], first: str, second: str, layer: str) -> float:
    """Returns the mean correlation of the forcings of two operators."""
    names = [
        f"{OPERATORS[operator]}sgs_forcing_{layer}" for operator in (first, second)
    ]
    pairs = [[s[name].ravel() for name in names] for run in runs for s in run]
    return float(np.mean([np.corrcoef(*pair)[0, 1] for pair in pairs]))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--size", choices=["mini_", "published_", ""], default="mini_")
    parser.add_argument("--flows", nargs="+", choices=FLOWS, default=FLOWS)
    arguments = parser.parse_args()
    for flow in arguments.flows:
        name = f"{arguments.size}qg_{flow}"
        runs = list(trajectories(name, arguments.data).values())
        print(f"{name}, {len(runs)} trajectories")
        for field, (whole, scatter) in deviations(runs).items():
            print(f"  {field:38} {whole:.3e} ± {scatter:.1e}")
        for first, second in combinations(OPERATORS, 2):
            found = [correlation(runs, first, second, layer) for layer in LAYERS]
            print(f"  {first} and {second}: {found[0]:.2f}, {found[1]:.2f}")


if __name__ == "__main__":
    main()
