"""Learning rates of Auto-RGN follow from gradients."""

import keras
import numpy as np
import pytest
import retraining_variants
from scorers import GradientNorm

from keras_spectral_tl.transfer import Samples


def test_the_rates_of_auto_rgn_are_relative_gradients_over_the_largest():
    """y = c b x at x = 1 for the truth 0: the slopes are 2 y c in b and 2 y b in c."""
    layers = [keras.layers.Dense(1, use_bias=False, name=name) for name in "bc"]
    model = keras.Sequential([keras.Input((1,)), *layers])
    for layer, weight in zip(layers, (4.0, 2.0), strict=True):
        layer.set_weights([np.full((1, 1), weight)])
    data = Samples.of((np.ones((1, 1), "float32"), np.zeros((1, 1), "float32")))
    norms = GradientNorm()(model, data, data, np.random.default_rng(0)).values
    # |slope| / |weight|: 16 * 2 / 4 = 8 and 16 * 4 / 2 = 32.
    assert dict(norms) == pytest.approx({"b": 8.0, "c": 32.0}, rel=1e-5)
    rates = retraining_variants.layer_rates(norms).by_variable(model)
    assert sorted(rates.values()) == pytest.approx([0.25, 1.0])
    still = retraining_variants.layer_rates({"b": 0.0, "c": 2.0}).by_variable(model)
    assert min(still.values()) < 1e-6
