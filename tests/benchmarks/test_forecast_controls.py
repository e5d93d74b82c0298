"""Regrets of rules are differences to the best arm; the page shows the kept ones."""

from pathlib import Path

import auto_rgn
import forecast_controls
import keras
import numpy as np
import pytest
from scorers import GradientNorm

from keras_spectral_tl.transfer import Samples

PAGE = Path(__file__).parents[2] / "docs" / "forecast.md"


def arm(*correlations):
    return {
        str(factor): {"correlation": value} if value else None
        for factor, value in enumerate(correlations)
    }


DOCUMENT = {
    "forecast": {"best": "conv_1"},
    "arms": {
        "unchanged": arm(0.5),
        "conv_1": arm(0.8, 0.82),
        "conv_2": arm(0.7),
        "conv_3": arm(0.6),
        "conv_1+conv_2": arm(0.9, None),
        "all layers": arm(0.87),
        "broken": arm(None),
    },
}


def test_regrets_are_differences_to_the_best_arm_at_the_best_of_its_rates():
    chosen = {"feature_norms": "conv_3", "gradient_norm": "conv_9"}
    found = forecast_controls.regrets(DOCUMENT, chosen)
    labels = {scorer.name: row for scorer, row in forecast_controls.SCORERS.items()}
    expected = {
        "`forecast.best`": 0.08,
        "always all layers": 0.03,
        "always the second layer": 0.2,
        "the best single layer, measured": 0.08,
        labels["feature_norms"]: 0.3,
        "any layer, mean": 0.9 - (0.82 + 0.7 + 0.6) / 3,
        "any arm, mean": 0.9 - (0.5 + 0.82 + 0.7 + 0.6 + 0.9 + 0.87) / 6,
    }
    for rule, regret in expected.items():
        assert found[rule] == pytest.approx(regret)
    # Neither the first half nor that layer was measured, and no other rule chose.
    unknown = [rule for rule, regret in found.items() if regret != regret]
    others = {row for name, row in labels.items() if name != "feature_norms"}
    assert set(unknown) == others | {"always the first half"}


def test_the_page_shows_the_kept_regrets():
    table = forecast_controls.table(forecast_controls.KEPT)
    assert table in PAGE.read_text()


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
    rates = auto_rgn.layer_rates(norms).by_variable(model)
    assert sorted(rates.values()) == pytest.approx([0.25, 1.0])
    still = auto_rgn.layer_rates({"b": 0.0, "c": 2.0}).by_variable(model)
    assert min(still.values()) < 1e-6
