"""Calibration counts levels, intervals and choices; the page shows the kept ones."""

import json
from pathlib import Path

import base_symmetries
import forecast_calibration as calibration
import forecast_options
import kept_settings
import planted_forecasts
import pytest
from kept_settings import regret, without_choices
from score_sweeps import gathered

PAGE = Path(__file__).parents[2] / "docs" / "forecast_benchmark.md"
OTHER = kept_settings.KEPT.with_name("ks_forecasts.json")


def row(predicted, measured, base_predicted=0.9, base_measured=0.9, half=0.1):
    return {
        "predicted": predicted,
        "low": predicted - half,
        "high": predicted + half,
        "measured": measured,
        "base_predicted": base_predicted,
        "base_measured": base_measured,
    }


SETTING = {
    "case": "one_to_two",
    "samples": 4,
    "seed": 0,
    "best": "filters",
    "first": "conv_2",
    "variants": {"all layers, pull 1": {"cc": 0.91, "base_cc": 0.94}},
    "arms": {
        "unchanged": row(0.5, 0.5),
        "conv_1": row(0.8, 0.75, base_measured=0.84),
        "conv_2": row(0.7, 0.85, base_predicted=0.88),
        "filters": row(0.86, 0.9),
        "all layers": row(0.84, 0.88),
        "from scratch": row(0.3, 0.6, half=0.4),
    },
}


def test_levels_are_means_over_arms_and_from_scratch_counts_in_intervals_alone():
    found = calibration.levels([SETTING])
    assert (found["settings"], found["arms"], found["inside"]) == (1, 6, 5)
    assert found["off"] == pytest.approx((0.05 + 0.15 + 0.04 + 0.04) / 5)
    assert found["bias"] == pytest.approx((0.05 - 0.15 - 0.04 - 0.04) / 5)
    assert found["base_off"] == pytest.approx((0.06 + 0.02) / 5)
    assert found["tau"] == -1.0  # two layers, predicted the wrong way round


def test_regrets_of_rules_are_differences_to_the_best_arm():
    expected = {
        "`forecast.best`": 0.0,
        "always all layers": 0.02,
        "always the first layer": 0.15,
        "the layer that `score_layers` puts first": 0.05,
        "the best single layer, measured": 0.05,
        "never retrain": 0.4,
    }
    for rule, given_away in expected.items():
        choice = calibration.RULES[rule](SETTING)
        assert regret(SETTING, choice) == pytest.approx(given_away)


def test_what_a_variant_adds_is_the_mean_difference_to_its_arm():
    other = {**SETTING, "variants": {"all layers, pull 1": {"cc": 0.87, "base_cc": 1}}}
    *_, row = calibration.variants_table([SETTING, other]).splitlines()
    # +.03 and -.01 on the target, +.04 and +.1 on the base.
    assert row == "| all layers, pull 1 | +0.010 ± 0.028, +0.070 |"


def test_runs_are_packed_with_what_was_said_and_the_best_pair(tmp_path):
    def row(cc):
        return {"cc": cc, "base_cc": cc + 0.1, "loss": 1.0}

    said = {
        "correlation": 0.5,
        "correlation_low": 0.4,
        "correlation_high": 0.6,
        "base_correlation": 0.9,
        "steps": 400,
    }
    documents = {
        "forecast": {"best": "all", "arms": {"all": said, "conv_2": said}},
        "scores": {"ranking": ["conv_2", "conv_1"], "recommended": []},
        "sweep": {
            "layers": {"conv_1": row(0.6)},
            "pairs": {"conv_1+conv_2": row(0.7), "conv_1+conv_3": row(0.8)},
        },
        "baselines": {"unchanged": row(0.5), "all": row(0.85)},
        "analysis": {
            "layer": "conv_1",
            "retrained_kernels": {"relative_change": 0.41999},
            "kernel_classes": {"conv_1": {"low-pass": 2}, "conv_2": {"low-pass": 1}},
            "activations": {
                "conv_1": dict.fromkeys((*kept_settings.SHIFTS, "data_distance"), 0.25)
            },
        },
    }
    for stage, document in documents.items():
        path = tmp_path / "a_to_b" / stage / "base-n4-seed2.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(document))
    for stage in ("forecast", "baselines"):  # without its sweep: not complete
        incomplete = tmp_path / "a_to_b" / stage / "own-n4-seed2.json"
        incomplete.write_text(json.dumps(documents[stage]))
    (found,) = kept_settings.pack(tmp_path)
    assert found == {
        "case": "a_to_b",
        "normalization": "base",
        "samples": 4,
        "seed": 2,
        "best": "all layers",
        "first": "conv_2",
        "recommended": [],
        "pair": {"label": "conv_1+conv_3", "measured": 0.8, "base_measured": 0.9},
        "variants": {},
        "analysis": {
            "layer": "conv_1",
            "relative_change": 0.42,
            "kernel_classes": {"low-pass": 3},
            "data_gain": {"conv_1": 0.25},
            "retraining_gain": {"conv_1": 0.25},
            "alignment": {"conv_1": 0.25},
        },
        "online": {},
        "arms": {
            "conv_1": {"measured": 0.6, "base_measured": 0.7},
            "unchanged": {"measured": 0.5, "base_measured": 0.6},
            "all layers": {
                "measured": 0.85,
                "base_measured": 0.95,
                "predicted": 0.5,
                "low": 0.4,
                "high": 0.6,
                "base_predicted": 0.9,
            },
        },
    }


def test_what_was_in_view_when_constants_were_chosen_is_left_out():
    def one(case, seed, whose="own"):
        return {"case": case, "seed": seed, "normalization": whose}

    unseen = [one("k25_to_k4", 1), one("decaying_to_forced", 0)]
    seen = [one("k25_to_k4", 0), one("k4_to_k25", 0), one("k4_to_k25", 1, "base")]
    kept = {"calibration": [*seen, *unseen], "deep": seen}
    assert without_choices(kept) == {"calibration": unseen, "deep": seen}


def test_what_is_found_joins_what_is_kept_and_replaces_the_same_setting():
    def one(samples, seed, best):
        labels = {"case": "a_to_b", "normalization": "own", "best": best}
        return labels | {"samples": samples, "seed": seed}

    kept, found = [one(16, 0, "all"), one(1, 0, "all")], [one(16, 0, "conv_1")]
    assert kept_settings.joined(kept, [*found, one(4, 1, "all")]) == [
        one(1, 0, "all"),
        one(16, 0, "conv_1"),
        one(4, 1, "all"),
    ]


def test_the_page_shows_the_kept_results():
    settings = without_choices(kept_settings.kept_settings())["calibration"]
    page = PAGE.read_text()
    assert calibration.levels_table(settings) in page
    assert calibration.rules_table(settings) in page
    assert calibration.variants_table(settings) in page
    other = PAGE.with_name("reproduction.md").read_text()
    several = calibration.with_several_counts(settings)
    assert calibration.cases_table(several) in other


def test_the_page_shows_the_kept_results_of_deep_networks():
    settings = kept_settings.kept_settings()["deep"]
    page = PAGE.with_name("reproduction.md").read_text()
    for table in ("levels_table", "rules_table", "cases_table"):
        assert getattr(calibration, table)(settings) in page


def test_a_case_is_shown_with_its_best_layer_and_all_layers():
    def row(measured, base):
        return {"measured": measured, "base_measured": base}

    arms = {
        "unchanged": row(0.5, 0.9),
        "conv_1": row(0.6, 0.8),
        "conv_2": row(0.7, 0.85),
        "all layers": row(0.65, 0.75),
    }
    one = {"case": "a_to_b", "seed": 3, "samples": 4, "arms": arms}
    own, base = ({**one, "normalization": whose} for whose in ("own", "base"))
    *_, line = calibration.cases_table([own]).splitlines()
    assert line == "| `a_to_b` | .900 | .500, .700 (.850), .650 (.750) |"
    *_, line = calibration.cases_table([own, {**base, "samples": 1}]).splitlines()
    assert line == "| `a_to_b`, base | .900 | - | .500, .700 (.850), .650 (.750) |"


def test_the_page_shows_the_kept_forecasts_of_another_equation():
    settings = list(json.loads(OTHER.read_text()).values())
    page = PAGE.read_text()
    assert calibration.levels_table(settings) in page
    assert calibration.rules_table(settings) in page
    assert len(settings) == 24


def test_the_page_shows_the_kept_forecasts_with_options_and_of_planted_layers():
    page = PAGE.read_text()
    for bench in (forecast_options, planted_forecasts):
        rows = list(json.loads(bench.KEPT.read_text()).values())
        assert bench.table(rows) in page
    kept = json.loads(base_symmetries.KEPT.read_text())
    assert base_symmetries.table(kept) in page


def test_the_base_counts_in_the_regret_of_what_is_to_keep_it():
    arms = {"filters": row(0.8, 0.8, base_measured=0.9), "all layers": row(0.9, 0.82)}
    arms["all layers"]["base_measured"] = 0.7
    plain, keeping = (
        {"option": option, "arms": arms} for option in ("symmetries", "replay, keep")
    )
    assert forecast_options.regret(plain, "filters") == pytest.approx(0.02)
    assert forecast_options.regret(keeping, "filters") == 0.0
    lost = 0.7 * (0.8 - 0.82) + 0.3 * (0.9 - 0.7)
    assert forecast_options.regret(keeping, "all layers") == pytest.approx(lost)


def test_choices_are_compared_with_the_planted_layer():
    setting = {"planted": "conv_2", "layers": {"conv_1": 0.8, "conv_2": 0.9}}
    expected = {
        "conv_2": "the layer",
        "conv_1+conv_2": "it and others",
        "conv_1": "other layers",
        "all layers": "all layers",
    }
    for chosen, kind in expected.items():
        assert planted_forecasts.what_is_chosen({**setting, "chosen": chosen}) == kind


def test_what_is_kept_is_not_measured_again(tmp_path):
    made = []

    def task(label):
        return label, lambda: made.append(label) or {"n": len(made)}

    kept = tmp_path / "kept.json"
    assert gathered(kept, [task("a")]) == {"a": {"n": 1}}
    assert gathered(kept, [task("a"), task("b")]) == {"a": {"n": 1}, "b": {"n": 2}}
    assert made == ["a", "b"] and gathered(kept, []) == json.loads(kept.read_text())
