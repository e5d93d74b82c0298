"""Regrets of rules are differences to the best arm; the page shows the kept ones."""

from pathlib import Path

import forecast_controls
import numpy as np
import pytest

PAGE = Path(__file__).parents[2] / "docs" / "forecast_benchmark.md"


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


def test_a_choice_that_was_not_measured_is_unknown():
    forecast = {**DOCUMENT["forecast"], "best": "output gain"}
    found = forecast_controls.regrets({**DOCUMENT, "forecast": forecast}, {})
    assert np.isnan(found["`forecast.best`"])
    assert found["always all layers"] == pytest.approx(0.03)


def test_another_network_than_that_of_the_zoo_is_refused():
    with pytest.raises(ValueError, match="another network"):
        forecast_controls.subject("deep_k25_to_k4-own-n16-seed1", None)


def test_the_page_shows_the_kept_regrets():
    table = forecast_controls.table(forecast_controls.KEPT)
    assert table in PAGE.read_text()
