"""Faults on purpose: what is done, how often, and what the packages make of it.

    python benchmarks/bench_faults.py [--only kills] [--count 20] [--out runs/faults]

Prints the table of docs/faults.md and writes it as JSON. Trials that need more rights
than this process has (a full file system of its own, a limit of memory) say so.
"""

import argparse
import dataclasses
import json
from pathlib import Path

from benchmark_report import machine
from faults import damage, disks, kills, memory
from faults.trial import Trial

GROUPS = {
    "kills": kills.trials,
    "damage": damage.trials,
    "disks": disks.trials,
    "memory": memory.trials,
}


def table(trials: list[Trial]) -> str:
    rows = [
        f"| {t.where} | {t.fault} | {t.found} of {t.count} | {t.outcome} |"
        for t in trials
    ]
    head = [
        "| where | what was done | as it should | what happens |",
        "|---|---|---|---|",
    ]
    return "\n".join([*head, *rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", choices=GROUPS, nargs="+", default=list(GROUPS))
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path("runs/faults"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for name in options.only:
        trials = GROUPS[name](options.out, options.count)
        print(table(trials), flush=True)
        document = {
            "machine": machine(),
            "trials": [dataclasses.asdict(trial) for trial in trials],
        }
        (options.out / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
