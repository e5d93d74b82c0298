"""Prints the scores of one network by several scorers as JSON: run once a backend."""

import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent.parent / "benchmarks"))
import scorers

import keras_spectral_tl as kst
from keras_spectral_tl import scoring

SCORERS = (
    scoring.HeldOutRetraining(),
    scorers.GradientNorm(),
    scorers.GradientSNR(),
    scorers.SpectralShiftScore(),
)


def main():
    """Everything is drawn by NumPy: the same on every backend."""
    rng = np.random.default_rng(0)
    model = kst.build_sgs_cnn((12, 20, 2), num_layers=3, num_filters=6)
    sizes = [np.sqrt(2.0 / np.prod((*w.shape[:-1], 1))) for w in model.get_weights()]
    model.set_weights(
        [
            size * rng.standard_normal(w.shape)
            for size, w in zip(sizes, model.get_weights(), strict=True)
        ]
    )
    x = rng.standard_normal((2, 10, 12, 20, 2)).astype("float32")
    y = np.tanh(x.sum(axis=-1, keepdims=True))
    base, target = (x[0], y[0]), (1.2 * x[1], 1.5 * y[1])
    scores = kst.score_layers(model, base, target, SCORERS).scores
    json.dump({name: dict(values) for name, values in scores.items()}, sys.stdout)


if __name__ == "__main__":
    main()
