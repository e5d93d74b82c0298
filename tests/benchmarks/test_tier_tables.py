"""Tables of a tier show best layers, means over seeds, and what is on the page."""

import json
from pathlib import Path

import numpy as np
import tier_tables
from reproduction.report import draw_against_samples

PAGE = Path(__file__).parents[2] / "docs" / "reproduction.md"


def setting(case="a_to_b", normalization="own", samples=16, seed=0, shift=0.0):
    arms = {
        "conv_1": [0.6 + shift, 0.8],
        "conv_2": [0.7 - shift, 0.7],
        "unchanged": [0.5, 0.9],
        "bias_only": [0.51, 0.89],
        "filters": [0.72, 0.71],
        "all": [0.8 + 2 * shift, 0.6],
        "from_scratch": [0.4, 0.3],
    }
    return {
        "case": case,
        "normalization": normalization,
        "samples": samples,
        "seed": seed,
        "pair": None,
        "arms": arms,
    }


def test_the_best_layer_of_the_mean_is_bold_and_that_of_each_seed_is_on_the_base():
    some = [setting(), setting(seed=1, shift=0.2)]  # conv_1 is best with seed 1
    head, _, row = tier_tables.target_table(some).splitlines()
    assert head.endswith("| 1 | 2 | all layers | from scratch |")
    assert row == (
        "| `a_to_b` | own | .500 ± .000 | **.700 ± .141** | .600 ± .141 | "
        "1.000 ± .283 | .400 ± .000 |"
    )
    *_, row = tier_tables.base_table(some).splitlines()
    # The best layer leaves .7 with seed 0, .8 with seed 1.
    assert row == (
        "| `a_to_b` | own | .900 ± .000 | .750 ± .071 | .710 ± .000 | .890 ± .000 | "
        ".600 ± .000 |"
    )


def test_a_way_that_was_not_measured_is_a_dash():
    some = [
        setting(samples=1),
        setting(normalization="base") | {"pair": "conv_1+conv_2"},
    ]
    some[1]["arms"]["best pair"] = [0.75, 0.65]
    table = tier_tables.layers_table(some)
    assert table.splitlines()[0] == "|  | own, 1 sample | base, 16 samples |"
    assert "| conv_2 | **.700** (.700) | **.700** (.700) |" in table
    assert "| best pair | - | .750 (.650) 1+2 |" in table


def test_runs_are_packed_with_the_best_pair(tmp_path):
    def row(cc):
        return {"cc": cc, "base_cc": cc + 0.1, "loss": 1.0}

    documents = {
        "sweep": {
            "layers": {"conv_1": row(0.6)},
            "pairs": {"conv_1+conv_2": row(0.7), "conv_1+conv_3": row(0.8)},
        },
        "baselines": {"unchanged": row(0.5), "all": row(0.85)},
        "forecast": {"best": "all"},
    }
    for stage, document in documents.items():
        path = tmp_path / "a_to_b" / stage / "base-n4-seed2.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(document))
    incomplete = tmp_path / "a_to_b" / "sweep" / "own-n4-seed2.json"
    incomplete.write_text(json.dumps(documents["sweep"]))
    (found,) = tier_tables.pack(tmp_path)
    arms = found.pop("arms")
    assert found == {
        "case": "a_to_b",
        "normalization": "base",
        "samples": 4,
        "seed": 2,
        "pair": "conv_1+conv_3",
        "chosen": "all",
    }
    assert arms == {
        "conv_1": [0.6, 0.7],
        "unchanged": [0.5, 0.6],
        "all": [0.85, 0.95],
        "best pair": [0.8, 0.9],
    }


def test_the_figure_shows_what_is_gained_over_the_unchanged_network():
    some = [setting(), setting(samples=1, shift=0.2)]
    for one, chosen in zip(some, ("all", "unchanged"), strict=True):
        one["chosen"] = chosen
    many, few = tier_tables.figure({"deep": some}).axes
    points = [
        [line.get_xydata().tolist() for line in axes.lines[:3]] for axes in (many, few)
    ]
    # All layers, the best layer (conv_2, then conv_1), the choice of the forecast.
    expected = [
        [[[0.5, 0.3]], [[0.5, 0.2]], [[0.5, 0.3]]],
        [[[0.5, 0.7]], [[0.5, 0.3]], [[0.5, 0.0]]],
    ]
    np.testing.assert_allclose(points, expected, atol=1e-12)


def test_pictures_by_the_number_of_samples_are_means_over_seeds():
    shifts = {(1, 0): 0.0, (1, 1): 0.02, (16, 0): 0.04, (16, 1): 0.06}
    some = [
        setting("k25_to_k4", samples=samples, seed=seed, shift=shift)
        | {"chosen": "all"}
        for (samples, seed), shift in shifts.items()
    ]
    base = setting("k25_to_k4", "base") | {"chosen": "all"}
    cases = [one | {"case": case} for case in tier_tables.DEEP_PANELS for one in some]
    panels = tier_tables.deep_panels({"deep": [*cases, base]})
    first, *_ = draw_against_samples(panels, "cc", "CC")
    assert first.get_title() == "k_f 16 to 4"
    curves = {line.get_label(): line.get_xydata() for line in first.lines}
    # All layers .8 and twice the shift; conv_2 .7 less the shift, conv_1 .6 and it.
    np.testing.assert_allclose(curves["all layers"], [[1, 0.82], [16, 0.9]])
    np.testing.assert_allclose(curves["choice of the forecast"], curves["all layers"])
    np.testing.assert_allclose(curves["best single layer"], [[1, 0.69], [16, 0.66]])


def test_the_page_shows_the_kept_results():
    kept = json.loads(tier_tables.KEPT.read_text())
    page = PAGE.read_text()
    for table in tier_tables.page_tables(kept):
        assert table in page


def test_choices_of_networks_of_all_sizes_are_compared_with_the_best_way():
    some = [
        setting(samples=4) | {"chosen": "conv_2"},  # .7 where all layers give .8
        setting(samples=40) | {"chosen": "all"},
        setting(samples=1, shift=-0.2) | {"chosen": "conv_2"},  # .9, all layers .4
    ]
    some[0]["arms"]["best pair"] = [0.95, 0.5]  # was not forecast
    used = setting("k25_to_k4", samples=1) | {"chosen": "unchanged"}
    kept = {"deep": some, "calibration": [used]}
    lines = tier_tables.choices_table(kept).splitlines()[2:]
    cells = {line.split(" | ")[0][2:]: line.split(" | ")[1:] for line in lines}
    assert cells["settings"] == ["2", "1 |"]
    assert cells["`forecast.best`"] == [".0500", ".0000 |"]
    assert cells["always all layers, at the rate of the forecast"] == [
        ".0000",
        ".5000 |",
    ]
    assert cells["the best single layer, measured"] == [".1000", ".0000 |"]
    expected = {"transfers": 4, "all layers": 1, "choice": 0}
    assert tier_tables.made_worse(kept) == expected


def test_pages_show_what_choices_gave():
    kept = json.loads(tier_tables.KEPT.read_text())
    found = tier_tables.made_worse(kept)
    number, worse = found["transfers"], found["all layers"]
    page = PAGE.with_name("forecast.md").read_text()
    assert tier_tables.choices_table(kept) in page
    text = " ".join(page.split())
    assert f"over {len(tier_tables.without_choices(kept))} settings" in text
    assert f"In {number} transfers of all kinds" in text
    assert f"all layers made the network worse in {worse}" in text
