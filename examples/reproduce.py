"""The transfer experiment of one case, in pieces if need be, at some sizes.

A network learns the subgrid forcing of one system and is to work on another, of which
few snapshots exist. Every layer is scored, and then retrained alone; so are pairs of
the best, and the controls. Kernels and activations before and after are compared, and
each network is run inside an LES.

    python examples/reproduce.py --case k25_to_k4 --tier mini
    python examples/reproduce.py --case k25_to_k4 --tier full --engine jax

    --case    two flows, see docs/reproduction.md      --tier    mini, deep, full ...
    --stages  data base scores forecast sweep baselines analysis online report
              (default: all)
    --samples N [N ...]       --normalizations own base    (default: of the tier, both)
    --seeds N   --first-seed 0   --pairs N   --stop-after MINUTES
    --data-dir data   --out runs/reproduction   --export-zoo DIR
    --engine fftw (default) or jax

What is finished is on disk: the same command goes on where it stopped, on any machine
that sees the directories. `--stop-after 9` works for nine minutes and ends with code
124 if there is more to do; `--stages data base` does a part. With `--export-zoo DIR`
the base network and its target samples are packed as an entry of `model_zoo`.
"""

import argparse
import logging
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

if __name__ == "__main__" and {"-h", "--help"} & {*sys.argv}:
    print(__doc__)  # before anything slow is imported
    sys.exit()

import numpy as np
from model_zoo.export import check_place, export_entry
from reproduction import analysis, report, stages
from reproduction.clock import Deadline, OutOfTime
from reproduction.study import Study
from reproduction.tiers import CASES, NORMALIZATIONS, TIERS

from turbulence_data import JaxEngine

STAGES = {
    "data": stages.make_data,
    "base": stages.train_bases,
    "scores": stages.score,
    "forecast": stages.forecast,
    "sweep": stages.sweep,
    "baselines": stages.compare_baselines,
    "analysis": analysis.analyse,
    "online": analysis.run_online,
    "report": report.write,
}
# Trajectories that an accelerator advances side by side.
_SIDE_BY_SIDE = 8
# What `timeout` ends with: there is more to do.
STOPPED = 124


def parse_options(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--case", choices=sorted(CASES), required=True)
    parser.add_argument("--tier", choices=list(TIERS), default="mini")
    parser.add_argument("--stages", nargs="+", choices=list(STAGES))
    parser.add_argument("--stop-after", type=float, metavar="MINUTES")
    parser.add_argument("--seeds", type=int, help="how many; of the tier by default")
    parser.add_argument("--first-seed", type=int, default=0, help="the others follow")
    parser.add_argument("--pairs", type=int, help="of the best single layers")
    parser.add_argument("--samples", type=int, nargs="+", help="of the target")
    parser.add_argument(
        "--normalizations", nargs="+", choices=NORMALIZATIONS, default=NORMALIZATIONS
    )
    parser.add_argument("--engine", choices=["fftw", "jax"], default="fftw")
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--out", type=Path, default=Path("runs/reproduction"))
    parser.add_argument("--export-zoo", type=Path, metavar="DIR")
    return parser.parse_args(arguments)


def study_of(options: argparse.Namespace) -> Study:
    engine: dict[str, Any] = {}
    if options.engine == "jax":
        engine = {
            "numerics": {
                "engine": JaxEngine(batch_size=_SIDE_BY_SIDE),
                "dtype": np.float32,
            },
            "executor": lambda: ThreadPoolExecutor(_SIDE_BY_SIDE),
        }
    return Study(
        options.case,
        options.tier,
        options.data_dir,
        options.out / options.tier,
        options.seeds,
        Deadline(options.stop_after),
        num_target=tuple(options.samples or ()),
        normalizations=tuple(options.normalizations),
        num_pairs=options.pairs,
        first_seed=options.first_seed,
        **engine,
    )


def main(arguments: list[str] | None = None) -> int:
    options = parse_options(arguments)
    for name in ("tensorflow", "absl"):  # they warn of every new model's prediction
        logging.getLogger(name).setLevel(logging.ERROR)
    study = study_of(options)
    if options.export_zoo:
        check_place(study, options.export_zoo)
    has_online = study.tier.inputs is None  # a closure gives no other inputs
    every = [name for name in STAGES if name != "online" or has_online]
    try:
        for name in options.stages or every:
            print(f"-- {name}", flush=True)
            STAGES[name](study)
    except OutOfTime:
        print("the time is over; the same command goes on from here")
        return STOPPED
    if options.export_zoo:
        print(f"packed: {export_entry(study, options.export_zoo, options.first_seed)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
