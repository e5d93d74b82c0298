"""A full-scale network: what to retrain, forecast and then measured.

Eleven layers of 64 channels on fields of 128 x 128 points, trained on turbulence forced
at wavenumber 25, and 16 snapshots of turbulence forced at wavenumber 4 (the entry
`full_k25_to_k4` of the model zoo, made by an independent program). The forecast of a
few arms, the retraining that it recommends, and both beside the sweep that comes with
the entry, which had 64 snapshots and ten times the steps.

    python examples/full_scale.py --out runs/full_scale

Takes about ten minutes on two cores; `--arms conv_2` takes three.
"""

import argparse
import sys
import time
from pathlib import Path

if __name__ == "__main__" and {"-h", "--help"} & {*sys.argv}:
    print(__doc__)  # before anything slow is imported
    sys.exit()

from model_zoo import load

import keras_spectral_tl as kst
from keras_spectral_tl import plotting
from keras_spectral_tl.metrics import pattern_correlation
from keras_spectral_tl.scoring import Arm

# A tenth of the effort of the sweep, so that it takes minutes.
EFFORT = {"steps": 200, "batch_size": 2}
ARMS = ("conv_1", "conv_2", "conv_3", "conv_6", "conv_11", "all layers")


def report(row: dict) -> None:
    """Print a trial as soon as it is known."""
    print(f"  {row['done']:3d}/{row['total']}  {row['arm']:12}", end="")
    print(f"  correlation {row['correlation']:.3f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/full_scale"))
    parser.add_argument("--arms", nargs="+", default=ARMS)
    arguments = parser.parse_args()
    entry = load("full_k25_to_k4")
    arms = [Arm(n) if n == "all layers" else n for n in arguments.arms]
    start = time.perf_counter()
    print("Trials:")
    forecast = kst.forecast(
        entry.model, entry.base, entry.target, arms=arms, progress=report, **EFFORT
    )
    print(forecast)
    print(f"forecast: {time.perf_counter() - start:.0f} s\n")
    swept = {arm: v["cc"] for arm, v in entry.sweep["own"].items()}
    if forecast.recipe is not None:
        start = time.perf_counter()
        result = kst.retrain(entry.model, entry.target, **forecast.recipe)
        x, y = entry.test
        given = pattern_correlation(y, result.model.predict(x, batch_size=2, verbose=0))
        label, row = forecast.best.label, forecast.best_row
        print(f"{label}: predicted {row.correlation:.3f},", end="")
        print(f" measured {given:.3f} in {time.perf_counter() - start:.0f} s")
    print("The sweep of the entry (64 snapshots, 500 steps of 8):")
    for row in forecast.rows:
        if row.label in swept:
            print(
                f"  {row.label:12} {row.correlation:.3f}  swept {swept[row.label]:.3f}"
            )
    path = arguments.out / "full_scale.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    print("figure:", plotting.save_figure(forecast.plot(measured=swept), path))


if __name__ == "__main__":
    main()
