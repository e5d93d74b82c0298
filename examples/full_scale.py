"""A full-scale network: what to retrain, said beforehand and then measured.

Eleven layers of 64 channels on fields of 128 x 128 points, trained on turbulence forced
at wavenumber 25, and 16 snapshots of turbulence forced at wavenumber 4 (the entry
`full_k25_to_k4` of the model zoo, made by an independent program). The example
compares the network's activations on both systems, scores the layers, forecasts a few
ways to retrain, and does what the forecast recommends. It ends with the sweep that
comes with the entry, if it has one: with 64 snapshots and ten times the samples seen
(500 steps of 8, here 200 of 2).

    python examples/full_scale.py [--entry full_k25_to_k4] [--out runs/full_scale]
        [--arms conv_2 "all layers"] [--steps 200]

Takes some 15 minutes on two cores (24 on one); `--arms conv_2` takes half of that, and
`--entry deep_k25_to_k4`, eleven layers of 32 channels, a few.
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
STEPS, BATCH_SIZE = 200, 2
ARMS = ("conv_1", "conv_2", "conv_3", "conv_6", "conv_11", "all layers")


def report(row: dict) -> None:
    """Print a score or a trial as soon as it is known."""
    name = row.get("arm") or row["layer"]
    kind = "correlation" if "correlation" in row else "score"
    print(f"  {row['done']:3d}/{row['total']}  {name:12}", end="")
    print(f"  {kind} {row[kind]:.3f}", flush=True)


def parse_options(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--entry", default="full_k25_to_k4", help="of the model zoo")
    parser.add_argument("--out", type=Path, default=Path("runs/full_scale"))
    parser.add_argument("--arms", nargs="+", default=ARMS)
    parser.add_argument("--steps", type=int, default=STEPS)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    options = parse_options(arguments)
    effort = {"steps": options.steps, "batch_size": BATCH_SIZE, "progress": report}
    entry = load(options.entry)
    model, data = entry.model, (entry.base, entry.target)
    x, y = entry.test
    networks, measured = {"unchanged": model}, {}
    start = time.perf_counter()

    print("Activations, target over base (gain: logarithm of the ratio of energies):")
    base, target = (kst.activation_spectra(model, inputs) for inputs, _ in data)
    print(kst.spectral_shift(base, target))
    print("Scores:")
    print(kst.score_layers(model, *data, **effort))
    print("Trials:")
    arms = [Arm(n) if n == "all layers" else n for n in options.arms]
    forecast = kst.forecast(model, *data, arms=arms, **effort)
    print(forecast)
    print(f"said after {time.perf_counter() - start:.0f} s\n")

    if forecast.recipe is not None:
        start = time.perf_counter()
        result = kst.retrain(model, entry.target, **forecast.recipe)
        networks[forecast.best.label] = result.model
        print(f"{forecast.best.label} retrained: {time.perf_counter() - start:.0f} s")
        print(f"predicted {forecast.best_row.correlation:.3f}")
    fields = {"truth": y[0, ..., 0]}
    for name, network in networks.items():
        outputs = network.predict(x, batch_size=BATCH_SIZE, verbose=0)
        measured[name] = pattern_correlation(y, outputs)
        print(f"measured, {name}: {measured[name]:.3f}")
        fields[name] = outputs[0, ..., 0]

    swept = {arm: row["cc"] for arm, row in entry.sweep.get("own", {}).items()}
    if swept:
        print("Forecast, and the sweep of the entry (its own training):")
    for row in forecast.rows:
        if row.label in swept:
            print(
                f"  {row.label:12} {row.correlation:.3f}  swept {swept[row.label]:.3f}"
            )
    options.out.mkdir(parents=True, exist_ok=True)
    figures = {
        "forecast": forecast.plot(measured=swept | measured),
        "fields": plotting.plot_fields(fields, "standard deviations"),
    }
    for name, axes in figures.items():
        path = options.out / f"{name}.png"
        print("figure:", plotting.save_figure(axes, path))


if __name__ == "__main__":
    main()
