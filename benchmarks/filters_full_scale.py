"""What retraining one layer changes in the full-scale network, told as filters.

The entry `full_k25_to_k4` of the model zoo (eleven layers of 64 channels, 128 x 128
points, made by another program): `conv_2` retrained on its 16 target samples, once from
each seed of the order of batches; the filters of the change, and what the first
of them are worth on test samples. The rate is that of the forecast for 32 samples; no
choice is made here.

    python benchmarks/filters_full_scale.py [--steps 80] [--seeds 0]
"""

import argparse
import sys
import time
from pathlib import Path

import keras
import numpy as np

import keras_spectral_tl as kst
from keras_spectral_tl import spectra
from keras_spectral_tl.metrics import pattern_correlation

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
from model_zoo import load

LAYER, RATE, BATCH_SIZE, NUM_TEST = "conv_2", 4e-4, 2, 4
NUMBERS = (0, 1, 2, 3, 6, 12)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=80)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    options = parser.parse_args()
    entry = load("full_k25_to_k4")
    x, y = (part[:NUM_TEST] for part in entry.test)
    for seed in options.seeds:
        start = time.perf_counter()
        schedule = keras.optimizers.schedules.CosineDecay(RATE, options.steps)
        after = kst.retrain(
            entry.model,
            entry.target,
            LAYER,
            optimizer=keras.optimizers.Adam(schedule),
            epochs=-(-options.steps * BATCH_SIZE // len(entry.target[0])),
            batch_size=BATCH_SIZE,
            seed=seed,
        ).model
        print(f"seed {seed}: {time.perf_counter() - start:.0f} s", flush=True)
        change = spectra.principal_filters(entry.model, after, LAYER)
        print(change, flush=True)
        print(kst.spectra.kernel_changes(entry.model, after).layers[LAYER].summary())
        data = (x, y)
        print(
            change.effects(
                entry.model, after, LAYER, data, numbers=NUMBERS, batch_size=2
            )
        )
        kernel = entry.model.get_layer(LAYER).get_weights()[0]
        new, *bias = after.get_layer(LAYER).get_weights()
        moved = new - kernel
        drawn = np.random.default_rng(seed).standard_normal(moved.shape)
        drawn *= np.linalg.norm(moved) / np.linalg.norm(drawn)
        after.get_layer(LAYER).set_weights([kernel + drawn, *bias])
        outputs = after.predict(x, batch_size=2, verbose=0)
        print(f"random change of its size: CC {pattern_correlation(y, outputs):.3f}")


if __name__ == "__main__":
    main()
