"""What retraining gave in larger networks than the demo's (docs/reproduction.md).

python examples/larger_networks.py
"""

import argparse
import json
from pathlib import Path
from statistics import fmean

HERE = Path(__file__).parent
KEPT = HERE.parent / "benchmarks" / "scores" / "tiers.json"
FULL = HERE / "model_zoo" / "full_k25_to_k4" / "provenance.json"


def larger_networks() -> dict[str, list[float]]:
    """CC of larger networks: unchanged, best layer, all layers, from scratch."""

    def figures(networks: list[dict[str, float]]) -> list[float]:
        rows = [
            [
                row["unchanged"],
                max(cc for name, cc in row.items() if name.startswith("conv_")),
                row["all layers"],
                row["from scratch"],
            ]
            for row in networks
        ]
        return [fmean(column) for column in zip(*rows, strict=True)]

    found = {}
    deep = json.loads(KEPT.read_text())["deep"]
    for case, whose, title in (
        ("k25_to_k4", "own", "k_f 16 to 4, its own statistics"),
        ("k25_to_k4", "base", "the same, of the base"),
        ("decaying_to_forced", "own", "decaying to forced, its own statistics"),
    ):
        wanted = case, whose, 16  # samples
        found[f"11 layers of 32: {title}"] = figures(
            [
                {name: row["measured"] for name, row in setting["arms"].items()}
                for setting in deep
                if tuple(map(setting.get, ("case", "normalization", "samples")))
                == wanted
            ]
        )
    sweeps = json.loads(FULL.read_text())["sweep"]["normalization"]
    for whose, title in (
        ("own", "k_f 25 to 4, its own statistics"),
        ("base", "the same, of the base"),
    ):
        row = {name: gave["cc"] for name, gave in sweeps[whose].items()}
        found[f"11 layers of 64: {title}"] = figures([row])
    return found


def print_larger_networks() -> None:
    heads = ("before", "best layer", "all layers", "from scratch")
    found = larger_networks()
    width = max(map(len, found)) + 1
    print("\nthe same question with larger networks, measured before; CC on the target")
    print(" " * width + "".join(f"{head:>13}" for head in heads))
    for title, figures in found.items():
        print(f"{title:{width}}" + "".join(f"{cc:13.3f}" for cc in figures))
    print("Which regime is yours: docs/reproduction.md")


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    print_larger_networks()
