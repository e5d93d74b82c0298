"""Tables of a tier show best layers, means over seeds, and what is on the page."""

from pathlib import Path

import numpy as np
import tier_tables
from kept_settings import ONLINE, SHIFTS, kept_settings, short, without_choices
from reproduction.report import draw_against_samples

PAGE = Path(__file__).parents[2] / "docs" / "reproduction.md"


def setting(case="a_to_b", normalization="own", samples=16, seed=0, shift=0.0):
    arms = {
        "conv_1": (0.6 + shift, 0.8),
        "conv_2": (0.7 - shift, 0.7),
        "unchanged": (0.5, 0.9),
        "biases": (0.51, 0.89),
        "filters": (0.72, 0.71),
        "all layers": (0.8 + 2 * shift, 0.6),
        "from scratch": (0.4, 0.3),
    }
    return {
        "case": case,
        "normalization": normalization,
        "samples": samples,
        "seed": seed,
        "pair": None,
        "arms": {
            label: {"measured": target, "base_measured": base}
            for label, (target, base) in arms.items()
        },
    }


def test_only_a_leading_zero_is_left_out():
    numbers = [0.5, -0.5, 0.04, 10.613, -10.6, 20.04, 100.4, 9.997, 0.9996]
    assert [short(number, 2) for number in numbers] == [
        *(".50", "-.50", ".04", "10.61", "-10.60", "20.04", "100.40", "10.00", "1.00")
    ]


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
    pair = {"label": "conv_1+conv_2", "measured": 0.75, "base_measured": 0.65}
    some = [setting(samples=1), setting(normalization="base") | {"pair": pair}]
    table = tier_tables.layers_table(some)
    assert table.splitlines()[0] == "|  | own, 1 sample | base, 16 samples |"
    assert "| conv_2 | **.700** (.700) | **.700** (.700) |" in table
    assert "| best pair | - | .750 (.650) 1+2 |" in table


def test_closures_are_shown_with_what_they_give_offline():
    gave = dict.fromkeys(ONLINE, 0.5) | {"stable": 1.0, "E error small scales": 13.12}
    online = dict.fromkeys(("no closure", "gain only", "best layer"), gave)
    one = setting() | {"online": online | {"all layers": gave | {"stable": 2 / 3}}}
    one["arms"]["output gain"] = one["arms"]["unchanged"]
    _, _, *rows = tier_tables.online_table([setting(), one]).splitlines()
    rest = " | .50 | .50 | .50 | .50 | 13.1 | .50 | .50 |"
    assert rows == [
        "| `a_to_b` | no closure | - | all" + rest,
        "| `a_to_b` | gain only | .500 | all" + rest,
        "| `a_to_b` | conv_2 | .700 | all" + rest,
        "| `a_to_b` | all layers | .800 | .67" + rest,
    ]


def test_the_figure_shows_what_is_gained_over_the_unchanged_network():
    some = [setting(), setting(samples=1, shift=0.2)]
    for one, chosen in zip(some, ("all layers", "unchanged"), strict=True):
        one["best"] = chosen
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
        | {"best": "all layers", "first": "conv_1"}
        for (samples, seed), shift in shifts.items()
    ]
    base = setting("k25_to_k4", "base") | {"best": "all layers", "first": None}
    cases = [one | {"case": case} for case in tier_tables.DEEP_PANELS for one in some]
    panels = tier_tables.deep_panels({"deep": [*cases, base]})
    first, *_ = draw_against_samples(panels, "cc", "CC")
    assert first.get_title() == "k_f 16 to 4"
    curves = {line.get_label(): line.get_xydata() for line in first.lines}
    # All layers .8 and twice the shift; conv_2 .7 less the shift, conv_1 .6 and it.
    np.testing.assert_allclose(curves["all layers"], [[1, 0.82], [16, 0.9]])
    np.testing.assert_allclose(curves["choice of the forecast"], curves["all layers"])
    np.testing.assert_allclose(curves["best single layer"], [[1, 0.69], [16, 0.66]])
    first = curves["layer put first by score_layers"]
    np.testing.assert_allclose(first, [[1, 0.61], [16, 0.65]])


def test_layers_are_shown_by_the_number_of_samples():
    pair = {"label": "conv_1+conv_2", "measured": 0.75, "base_measured": 0.65}
    some = [
        setting(samples=4, shift=0.2) | {"pair": pair},  # conv_1 .8, conv_2 .5
        setting(samples=4, seed=1),  # .6 and .7
        setting(samples=64, normalization="base"),
    ]
    _, _, *rows = tier_tables.numbers_table(some).splitlines()
    assert rows == [
        "| `a_to_b` | own | 4 | 2 | .500 | **.700** | .600 | .750 |",
        "| `a_to_b` | base | 64 | 1 | .500 | .600 | **.700** | - |",
    ]


def test_changes_before_the_retrained_layer_are_left_out():
    def analysis(retrained, *layers):
        rows = {name: dict.fromkeys(layers, -0.25) for name in SHIFTS}
        return {"analysis": {"layer": retrained, **rows}}

    some = [
        setting() | analysis("conv_2", "conv_1", "conv_2", "output_gain"),
        setting() | analysis("conv_1", "conv_1", "conv_2"),
        setting(),
    ]
    head, _, *rows = tier_tables.shifts_table(some).splitlines()
    assert head == "| case, retrained |  | 1 | 2 | output gain |"
    assert [row.split(" | ", 2)[2] for row in rows] == [
        *("-.25 | -.25 | -.25 |", " | -.25 | -.25 |", " | -.25 | -.25 |"),
        *3 * ["-.25 | -.25 | - |"],
    ]


def test_the_page_shows_the_kept_results():
    kept = kept_settings()
    page = PAGE.read_text()
    for table in tier_tables.page_tables(kept):
        assert table in page


def test_choices_of_networks_of_all_sizes_are_compared_with_the_best_way():
    some = [
        setting(samples=4) | {"best": "conv_2"},  # .7 where all layers give .8
        setting(samples=40) | {"best": "all layers"},
        setting(samples=1, shift=-0.2) | {"best": "conv_2"},  # .9, all layers .4
    ]
    some[0]["pair"] = {"measured": 0.95, "base_measured": 0.5}  # was not forecast
    used = setting("k25_to_k4", samples=1) | {"best": "unchanged"}
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
    kept = kept_settings()
    found = tier_tables.made_worse(kept)
    number, worse = found["transfers"], found["all layers"]
    page = PAGE.with_name("forecast.md").read_text()
    assert tier_tables.choices_table(kept) in page
    text = " ".join(page.split())
    judged = sum(map(len, without_choices(kept).values()))
    assert f"over {judged} settings" in text
    assert f"In {number} transfers of all kinds" in text
    assert f"all layers made the network worse in {worse}" in text
