"""What follows from trials: progress beyond them, the choice, the sample curve."""

import dataclasses
import json
import math
from statistics import NormalDist
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from keras_spectral_tl import freezing
from keras_spectral_tl._results import NOT_WORTH
from keras_spectral_tl.scoring import Arm
from keras_spectral_tl.scoring._contest.candidate import (
    Candidate,
    greatest_change,
    learned_from_nothing,
    progressed,
)
from keras_spectral_tl.scoring._contest.verdict import (
    SCATTER,
    Verdict,
    choose,
    row_of,
)
from keras_spectral_tl.scoring._effort import Effort
from keras_spectral_tl.scoring._forecast_result import ArmForecast, SampleCurve

pytestmark = pytest.mark.once


def test_progress_beyond_the_trials_is_that_of_a_power_law():
    """Two points of a + b n^-.8 determine the third."""
    effort = Effort(steps=500, batch_size=8)

    def error(passes):
        return 0.1 + 2.0 * passes**-0.8

    added = effort.beyond(48, 160) * (error(48) - error(160))
    assert error(160) - added == pytest.approx(error(4000))


def test_no_more_is_to_come_than_there_are_passes():
    assert Effort(steps=20, batch_size=8).beyond(48, 160) == 0.0
    assert Effort(steps=500, batch_size=8).beyond(48, 48) == 0.0
    # A shorter retraining does not get as far, but at least as the short trial did.
    assert -1.0 < Effort(steps=10, batch_size=8).beyond(48, 160) < 0.0
    assert Effort(steps=6, batch_size=8).beyond(48, 160) == -1.0
    assert Effort(steps=10, batch_size=1).beyond(48, 160) == -1.0
    more = [Effort(steps, 8).beyond(48, 160) for steps in (30, 100, 1000, 10**9)]
    assert more == sorted(more)
    assert more[-1] == pytest.approx(160**-0.8 / (48**-0.8 - 160**-0.8), rel=1e-4)


def test_the_effort_is_read_off_the_recipe():
    assert Effort.of({}, 100) == Effort(500, 8)
    assert Effort.of({}, 3) == Effort(500, 3)
    assert Effort.of({"epochs": 60, "batch_size": 4}, 18) == Effort(300, 4)
    assert Effort.of({"steps": 7}, 16) == Effort(7, 8)
    # A number is the highest rate of a cosine.
    assert Effort.of({"steps": 100, "learning_rate": 1e-3}, 16).rate == 1e-3
    # The constant rate of an optimizer counts as a cosine of the same sum.
    adam = {"optimizer": keras.optimizers.Adam(1e-3), "epochs": 50, "batch_size": 8}
    found = Effort.of(adam, 16)
    assert (found.steps, found.batch_size) == (100, 8)
    assert found.rate == pytest.approx(2e-3)
    assert Effort(480, 8).rate_of_trial(1e-3, 120) == pytest.approx(2e-3)


def candidate(short, long=None, selector="conv_1", effort=None, rate=1e-3, tested=2):
    """An arm after trials of 48 and 160 steps; `short` maps a power of 3 to 1 - E."""

    def trial(correlation, passes, peak):
        return SimpleNamespace(
            correlation=correlation,
            correlations=correlation + np.resize([-0.01, 0.01], tested),
            base_correlation=0.9,
            base_correlations=np.full(2, 0.9),
            errors=np.array([0.5]),
            without_piece=None,
            passes=passes,
            rate=peak,
        )

    before = SimpleNamespace(correlation=0.8)
    trials = SimpleNamespace(short=48, long=160, unchanged=before, shortened=0.0)
    found = Candidate(Arm("arm", selector), trials, "", rate=rate)
    for power, correlation in short.items():
        peak = rate * 3.0**power
        peak = (Effort(48, 1) if effort is None else effort).rate_of_trial(peak, 48)
        found.short[power] = trial(correlation, 48, peak)
    if long is not None:
        peak = found.long_rate(Effort(48, 1) if effort is None else effort)
        found.long = trial(long, 160, peak)
    return found


def test_new_weights_may_go_on_to_learn_by_their_own_power_law():
    def correlation(passes):
        return 1.0 - 2.0 * passes**-0.3

    found = candidate({0: correlation(48)}, correlation(160), freezing.NewWeights())
    reached = learned_from_nothing(found, Effort(500, 8))
    assert reached == pytest.approx(correlation(4000))
    # A shorter retraining gets as far as the long trial, and no further.
    reached = learned_from_nothing(found, Effort(5, 8))
    assert reached == pytest.approx(correlation(160))


def test_what_a_higher_rate_adds_is_not_taken_for_what_steps_add():
    effort = Effort(1200, 8)
    usual = candidate({0: 0.8}, 0.85, effort=effort)
    lowered = candidate({-1: 0.8}, 0.85, effort=effort)
    # Rates fall by sqrt(48 / 160) for the one, and not at all for the other.
    assert lowered.long_rate(effort) == pytest.approx(lowered.short[-1].rate)
    whole, part = (np.mean(progressed(arm, effort)) - 0.85 for arm in (usual, lowered))
    assert whole == pytest.approx(effort.beyond(48, 160) * 0.05)
    assert part == pytest.approx(whole / 2.0)


@pytest.mark.parametrize(
    ("powers", "share"),
    [
        ({0: 0.8}, 1.0),
        ({0: 0.8, 1: 0.9}, 3.0),
        ({-1: 0.8}, 1.0),  # bore sqrt(1200 / 48) / 3, more than the usual rate
        ({-2: 0.8, -1: 0.7}, 5.0 / 9.0),
    ],
)
def test_a_retraining_goes_as_high_as_the_trials_bore(powers, share):
    effort = Effort(1200, 8)
    found = candidate(powers, effort=effort)
    rate = found.retraining_rate(effort)
    assert rate == pytest.approx(share * 1e-3)
    bore = effort.rate_of_trial(1e-3 * 3.0**found.power, 48)
    assert rate <= bore
    expected = min(effort.rate_of_trial(rate, 160), bore)
    assert found.long_rate(effort) == pytest.approx(expected)


def test_a_retraining_shorter_than_the_trials_keeps_their_best_rate():
    effort = Effort(12, 8)
    found = candidate({-1: 0.8}, effort=effort)
    assert found.retraining_rate(effort) == pytest.approx(1e-3 / 3.0)


def test_new_weights_do_not_count_as_a_change():
    effort = Effort(160, 1)
    gained, lost = candidate({0: 0.82}, 0.83), candidate({0: 0.78})
    scratch = candidate({0: 0.1}, 0.2, freezing.NewWeights())
    change = greatest_change([gained, lost, scratch], effort)
    assert change == pytest.approx(0.03)


def test_a_short_trial_is_the_less_certain_the_more_arms_change():
    """Half of a 90 % interval is 1.645 standard errors, added in squares."""
    effort, quantile = Effort(160, 1), NormalDist().inv_cdf(0.95)

    def half(change):
        row, _ = row_of(candidate({0: 0.8}), effort, (0.0, change), 0.0)
        return row.correlation_high - row.correlation

    sampled = 0.15 * 0.2  # two samples: 15 % of 1 - correlation
    errors = [
        math.sqrt((half(change) / quantile) ** 2 - sampled**2)
        for change in (0.0, 0.01, 0.05, 1.0)
    ]
    assert errors == pytest.approx([0.002, 0.004, 0.012, 0.02])


@pytest.mark.parametrize(("tested", "error"), [(2, 0.02), (4, 0.002 + 0.2 * 0.01)])
def test_one_or_two_samples_do_not_tell_how_little_arms_change(tested, error):
    effort = Effort(160, 1)
    arms = [candidate({0: c}, tested=tested) for c in (0.8, 0.81)]
    row = Verdict.of(arms, effort, 0.0, 0.0).rows[0]
    sampled = 0.15 * 0.2 if tested == 2 else 0.0  # the inflation is 0
    half = math.hypot(error, sampled) * NormalDist().inv_cdf(0.95)
    assert row.correlation_high - row.correlation == pytest.approx(half)


def rows_of(*rows):
    """Rows of (correlation, on the base, weights, relative error)."""
    return [
        ArmForecast(
            arm=Arm(f"arm {place}"),
            correlation=correlation,
            correlation_low=correlation,
            correlation_high=correlation,
            relative_rmse=rmse,
            base_correlation=base,
            parameters=parameters,
            learning_rate=1e-3,
            steps=100,
            batch_size=4,
            cost=1.0,
            measured_steps=48,
        )
        for place, (correlation, base, parameters, rmse) in enumerate(rows)
    ]


def test_the_interval_of_the_error_follows_from_that_of_the_correlation():
    """With the best gain the error is sqrt(1 - c^2): .8 at .6, .6 at .8, 1 at 0."""
    (row,) = rows_of((0.6, 0.9, 10, 0.8))
    row = dataclasses.replace(row, correlation_low=-0.2, correlation_high=0.8)
    assert row.relative_rmse_interval == pytest.approx((0.6, 1.0))
    assert row.row()["relative_rmse_high"] == row.relative_rmse_interval[1]
    (right,) = rows_of((1.0, 0.9, 10, 0.1))
    assert right.relative_rmse_interval == (0.1, 0.1)


def chosen(rows, keep=0.0, error=SCATTER):
    return choose(rows, lambda _one, _other: error, keep)


def closed(row):
    """A row of an arm that trains nothing step by step: unchanged, or a gain."""
    return dataclasses.replace(row, measured_steps=0)


LEAST = 0.5 * min(SCATTER, NOT_WORTH)


def test_of_arms_that_tie_the_highest_is_chosen():
    rows = rows_of((0.9, 1, 100, 0.5), (0.9 - LEAST, 1, 10, 0.5), (0.5, 1, 1, 0.5))
    assert chosen(rows) == (0, [1], True)


def test_of_equal_arms_that_with_the_fewest_weights_is_chosen():
    rows = rows_of((0.9, 1, 100, 0.5), (0.8999, 1, 10, 0.5), (0.8996, 1, 1, 0.5))
    assert chosen(rows) == (1, [0, 2], True)


def test_near_one_differences_count_relative_to_the_error():
    """.999 and .9985 leave errors of .001 and .0015: half as much again."""
    best, behind = rows_of((0.999, 1, 100, 0.05), (0.9985, 1, 0, 0.05))
    assert chosen([best, closed(behind)])[0] == 0
    best, behind = rows_of((0.9, 1, 100, 0.05), (0.8995, 1, 0, 0.05))
    assert chosen([best, closed(behind)])[0] == 1
    equal = rows_of((0.999, 1, 100, 0.05), (0.998995, 1, 10, 0.05))
    assert chosen(equal)[0] == 1


@pytest.mark.parametrize(("reached", "share"), [(0.9, 1.0), (0.98, 1.0), (0.999, 0.05)])
def test_near_one_the_scatter_shrinks_with_the_error(reached, share):
    arms = [candidate({0: reached}, tested=4)]
    row = Verdict.of(arms, Effort(160, 1), 0.0, 0.0).rows[0]
    error = min(0.002 + 0.2 * (reached - 0.8), 0.02) * share
    expected = error * NormalDist().inv_cdf(0.95)
    assert row.correlation - row.correlation_low == pytest.approx(expected)


def test_a_network_is_left_alone_if_retraining_it_is_not_worth_it():
    """The unchanged network goes before its gain, which has a weight."""
    best, gain, same = rows_of(
        (0.9, 1, 100, 0.5), (0.9 - LEAST, 1, 1, 0.5), (0.9 - 1.5 * LEAST, 1, 0, 0.5)
    )
    assert chosen([best, closed(gain), closed(same)]) == (2, [0, 1], True)
    assert chosen([best, closed(gain)]) == (1, [0], True)
    (behind,) = rows_of((0.9 - 1.5 * NOT_WORTH, 1, 0, 0.5))
    assert chosen([best, closed(behind)]) == (0, [1], True)


def test_a_network_of_another_amplitude_is_not_left_alone():
    rows = rows_of((0.9, 1, 1, 0.5), (0.9, 1, 0, 0.8), (0.5, 1, 9, 0.5))
    assert chosen([rows[0], closed(rows[1]), rows[2]]) == (0, [1], True)


def reason(best, *ties, keep=0.0, gain=1.0):
    before = SimpleNamespace(
        correlation=0.9, base_correlation=math.nan, correlations=np.full(8, 0.9)
    )
    trials = SimpleNamespace(unchanged=before)
    arm = SimpleNamespace(trials=trials, first_gain=gain)
    return Verdict((best, *ties), arm, best, ties, False).reason({}, 16, keep=keep)


def test_the_reason_says_that_the_amplitude_decided():
    best, unchanged = rows_of((0.901, 1, 9, 0.5), (0.9, 1, 0, 0.75))
    text = reason(best, unchanged)
    assert "indistinguishable from arm 1 by the correlation" in text
    assert "relative RMSE 0.500, and 0.750 with arm 1" in text


def test_the_reason_says_how_far_a_cheaper_arm_is_behind():
    ahead, behind = rows_of((0.94, 1, 9, 0.5), (0.9, 1, 3, 0.75))
    text = reason(ahead, behind)
    assert text.endswith("arm 1, with the fewest weights of these, is 0.040 behind.")


def test_the_reason_compares_what_decided_with_keep():
    """.94 and .5 weigh 70 % and 30 %, as do .9 and .59: .808 and .807."""
    ahead, behind = rows_of((0.94, 0.5, 9, 0.5), (0.9, 0.59, 3, 0.5))
    assert reason(ahead, behind, keep=0.3).endswith(
        "is 0.001 behind in the mean of target (70 %) and base (30 %)."
    )


def test_the_reason_says_from_which_gain_the_recipe_starts():
    text = reason(*rows_of((0.9, 1, 9, 0.5)), gain=0.2123)
    assert "Retrain arm 0 from an output gain of 0.21 (9 weights, Adam from" in text


def test_the_reason_says_that_as_many_weights_train():
    best, other = rows_of((0.9, 1, 9, 0.5), (0.9, 1, 9, 0.5))
    other = dataclasses.replace(other, arm=Arm("from scratch"))
    told = 'It is indistinguishable from "from scratch", which trains as many weights.'
    assert told in reason(best, other)


def test_the_reason_says_on_how_many_samples_the_network_was_tested():
    text = reason(*rows_of((0.9, 1, 9, 0.5)))
    assert text.startswith("The network has a correlation of 0.900 on 8 of the target")


def test_the_reason_says_that_few_weights_decided():
    best, other = rows_of((0.9, 1, 9, 0.5), (0.901, 1, 10, 0.4))
    assert "of these it trains the fewest weights" in reason(best, other)
    better = rows_of((0.9, 1, 9, 0.5), (0.899, 1, 3, 0.4))
    assert reason(*better).endswith(
        "with the fewest weights of these, is 0.001 behind."
    )


@pytest.mark.parametrize(
    ("count", "part"),
    [(3, "arm 1, arm 2, arm 3;"), (4, "arm 3 and 1 other;"), (5, "and 2 others;")],
)
def test_the_reason_names_three_arms_that_tie_and_counts_the_others(count, part):
    best, *ties = rows_of(*[(0.9, 1, 9, 0.5)] * (1 + count))
    assert part in reason(best, *ties)


def test_a_difference_that_is_sure_decides():
    rows = rows_of((0.9, 1, 100, 0.5), (0.9 - 5 * SCATTER, 1, 10, 0.5))
    assert chosen(rows) == (0, [], False)


def test_a_difference_that_is_worth_it_but_not_sure_is_told():
    behind = 1.5 * max(SCATTER, NOT_WORTH)
    rows = rows_of((0.9, 1, 100, 0.5), (0.9 - behind, 1, 10, 0.5))
    assert chosen(rows, error=behind / 1.5) == (0, [1], True)
    assert chosen(rows, error=behind / 1.7) == (0, [], False)  # 1.645 for 5 %


def test_a_difference_without_error_decides_however_small_it_is():
    rows = rows_of((0.9, 1, 100, 0.5), (0.9 - 0.25 * NOT_WORTH, 1, 0, 0.5))
    assert chosen(rows, error=0.0) == (0, [], False)


def test_the_base_counts_by_its_weight():
    rows = rows_of((0.9, 0.2, 1, 0.5), (0.7, 0.8, 1, 0.5))
    assert chosen(rows)[0] == 0
    assert chosen(rows, keep=0.2)[0] == 0  # .76 against .72
    assert chosen(rows, keep=0.3)[0] == 1  # .69 against .73
    assert chosen(rows, keep=1.0)[0] == 1


def curve(asymptote=0.125, slope=0.5, spread=0.0):
    counts = np.array([4, 8, 16])
    correlations = 1.0 - asymptote - slope * counts**-0.5
    return SampleCurve(counts, correlations, asymptote, slope, spread)


def test_a_sample_curve_is_read_both_ways():
    """1 - .125 - .5 / sqrt(n)."""
    one = curve()
    assert one.at(16)[0] == 0.75
    assert one.at(64)[0] == 0.8125
    assert one.samples_for(0.75) == 16
    assert one.samples_for(0.8125) == 64
    assert one.samples_for(0.1) == 1
    assert one.samples_for(0.875) is None  # not even with infinitely many
    assert one.samples_for(0.9) is None
    needed = one.samples_for(0.8)
    assert one.at(needed)[0] >= 0.8 > one.at(needed - 1)[0]


def test_a_sample_curve_has_the_forms_of_a_result(tmp_path):
    one = curve()
    assert list(one.to_frame()["num_samples"]) == list(one.num_samples)
    document = json.loads(one.to_json(tmp_path / "curve.json").read_text())
    assert document["asymptote"] == 0.125 and document["slope"] == 0.5
    pytest.importorskip("matplotlib")
    measured, fitted = one.plot().lines
    np.testing.assert_array_equal(measured.get_ydata(), one.correlations)
    last = int(fitted.get_xdata()[-1])
    assert fitted.get_ydata()[-1] == pytest.approx(one.at(last)[0])


def test_samples_that_bring_nothing_are_not_asked_for():
    flat = curve(slope=0.0)
    assert flat.at(10**6)[0] == flat.at(1)[0] == 0.875
    assert flat.samples_for(0.8) == 1
    assert flat.samples_for(0.9) is None


def test_a_sample_curve_says_whether_more_data_would_help():
    assert str(curve()) == (
        "The forecast with 16 target samples is 0.750. With four times as many, 64, it "
        "is 0.812 (90 % interval 0.761 to 0.864), with any number at most 0.875: more "
        "data would help."
    )
    assert str(curve(slope=0.01)).endswith("more data would no longer help.")


def test_a_sample_curve_tells_the_forecast_itself_not_the_fit():
    one = dataclasses.replace(curve(), correlations=np.array([0.5, 0.6, 0.77]))
    assert "with 16 target samples is 0.770." in str(one)


def test_the_interval_of_a_sample_curve_widens_away_from_the_samples():
    low, high = curve(spread=0.01).at(16)[1:]
    assert high - low == pytest.approx(2 * 1.64 * 0.01)
    found = curve().at(64)
    assert found[2] - found[0] == pytest.approx(1.64 * 0.5 * 0.0625)
    widths = [np.ptp(curve(spread=0.01).at(n)[1:]) for n in (16, 32, 64, 1024)]
    assert widths == sorted(widths)


@pytest.mark.parametrize("bad", [0, -1, math.nan, "many"])
def test_what_is_no_number_of_samples_is_refused(bad):
    with pytest.raises((TypeError, ValueError), match="num_samples"):
        curve().at(bad)


@pytest.mark.parametrize("bad", [0.0, 1.0, 1.5, math.nan])
def test_what_is_no_correlation_is_refused(bad):
    with pytest.raises(ValueError, match="correlation"):
        curve().samples_for(bad)
