"""The benchmark of sample curves: its table is that of the kept results on the page."""

import json
from pathlib import Path

import pytest
import sample_curves

PAGE = Path(__file__).parents[2] / "docs" / "how_many_samples.md"


def row(case="one_to_two", seed=0, expected=0.9, measured=0.88):
    return {
        "case": case,
        "seed": seed,
        "samples": 4,
        "here": 0.8,
        "expected": expected,
        "low": 0.85,
        "high": 0.95,
        "measured": measured,
    }


def test_a_ratio_of_errors_is_1_where_the_curve_was_right():
    assert sample_curves.ratio(row(measured=0.9)) == pytest.approx(1.0)
    assert sample_curves.ratio(row()) == pytest.approx(1.2)


def test_the_mean_leaves_out_the_settings_that_the_choice_was_made_with():
    rows = [row(), row(seed=1, measured=0.9), row("k25_to_k4", measured=0.5)]
    *_, last = sample_curves.table(rows).splitlines()
    assert last == "| mean deviation from 1, 2 settings not seen | | | | | .10 |"


def test_the_page_shows_the_kept_results():
    rows = json.loads(sample_curves.KEPT.read_text())
    assert sample_curves.table(rows) in PAGE.read_text()
    for kept in rows:
        assert kept["low"] <= kept["expected"] <= kept["high"]
        assert max(kept["stand_for"]) == kept["samples"]
