"""Statistics of scores: against SciPy, and where SciPy has no answer, by definition."""

import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import kendalltau

BENCHMARKS = Path(__file__).parent.parent.parent / "benchmarks"


@pytest.fixture(scope="module")
def statistics():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        yield import_module("score_statistics")
        sys.modules.pop("score_statistics")


def named(values):
    return {f"layer {i}": float(v) for i, v in enumerate(values)}


@pytest.mark.parametrize("seed", range(6))
def test_tau_is_tau_b(statistics, seed):
    rng = np.random.default_rng(seed)
    scores, measured = rng.integers(0, 4, (2, 9))
    expected = kendalltau(scores, measured).statistic
    found = statistics.kendall_tau(named(scores), named(measured))
    assert found == pytest.approx(expected, abs=1e-12)


def test_scores_that_are_no_numbers_are_the_lowest(statistics):
    measured = named([3, 2, 1, 0])
    nan = float("nan")
    as_lowest = kendalltau([3, 0, 0, 2], [3, 2, 1, 0]).statistic
    tau = statistics.kendall_tau(named([3, nan, nan, 2]), measured)
    assert tau == pytest.approx(as_lowest, abs=1e-12)
    # Without numbers there is no order; infinities are one.
    assert statistics.kendall_tau(named([nan] * 4), measured) == 0.0
    infinite = named([np.inf, np.inf, 0.0, -np.inf])
    expected = kendalltau([2, 2, 1, 0], [3, 2, 1, 0]).statistic
    assert statistics.kendall_tau(infinite, measured) == pytest.approx(expected)
    assert statistics.ranked(named([nan, 1, 2]))[-1] == "layer 0"


def test_tau_without_pairs_to_compare(statistics):
    assert np.isnan(statistics.kendall_tau(named([1]), named([1])))
    assert np.isnan(statistics.kendall_tau(named([1, 2]), named([5, 5])))
    assert statistics.kendall_tau(named([1, 1]), named([5, 6])) == 0.0


def test_pairs_too_near_to_tell_apart_do_not_count(statistics):
    measured = named([0.9, 0.8, 0.799])
    ordered = statistics.pairs_ordered
    assert ordered(named([3, 1, 2]), measured, 0.01) == 1.0
    assert ordered(named([3, 1, 2]), measured, 0.0) == pytest.approx(2 / 3)
    assert ordered(named([2, 2, 1]), measured, 0.01) == 0.5  # a tie is no order
    assert np.isnan(ordered(named([3, 1, 2]), measured, 1.0))


def test_regret_is_what_the_pick_loses(statistics):
    cc = named([0.7, 0.9, 0.8])
    rmse = named([0.5, 0.1, 0.2])
    assert statistics.regret(named([0, 2, 1]), cc) == 0.0
    assert statistics.regret(named([0, 1, 2]), cc) == pytest.approx(0.1)
    assert statistics.regret_in_error(named([0, 1, 2]), rmse) == pytest.approx(0.03)
    assert statistics.is_top_1(named([0, 2, 1]), "layer 1")
    # The first among equals, as the ranking has it.
    assert not statistics.is_top_1(named([2, 2, 1]), "layer 1")


def test_missing_scores_are_refused(statistics):
    with pytest.raises(ValueError, match="layer 1"):
        statistics.regret(named([1]), named([1, 2]))
    with pytest.raises(ValueError, match="layer 0"):
        statistics.kendall_tau(named([1]), named([np.nan]))


def test_the_interval_of_a_mean_covers_it_as_often_as_it_says(statistics):
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(200):
        # 24 clusters of 3 settings that are all alike within.
        values = np.repeat(rng.normal(2.0, 1.0, 24), 3)
        clusters = np.repeat(np.arange(24), 3).tolist()
        interval = statistics.bootstrap_interval(
            values, clusters, level=0.9, num_draws=200, seed=trial
        )
        covered += interval.low <= 2.0 <= interval.high
    # Binomial, standard deviation 2.1 %; percentiles of 24 clusters are short by some.
    assert 0.82 <= covered / 200 <= 0.97


def test_settings_of_one_cluster_are_no_independent_evidence(statistics):
    values = np.repeat([0.0, 1.0, 2.0, 3.0], 8)
    together = np.repeat(np.arange(4), 8).tolist()
    wide = statistics.bootstrap_interval(values, together)
    narrow = statistics.bootstrap_interval(values, list(range(32)))
    assert wide.value == narrow.value == 1.5
    assert wide.high - wide.low > 2.0 * (narrow.high - narrow.low)
    again = statistics.bootstrap_interval(values, together)
    assert wide == again


def test_intervals_leave_out_what_is_no_number(statistics):
    nan = float("nan")
    interval = statistics.bootstrap_interval([1.0, nan, 3.0], "abc")
    assert (interval.value, interval.num_clusters) == (2.0, 2)
    alone = statistics.bootstrap_interval([1.0, 2.0], "aa", np.max)
    assert alone.value == 2.0
    assert np.isnan([alone.low, alone.high]).all()
    with pytest.raises(ValueError, match="no value"):
        statistics.bootstrap_interval([nan], "a")
    with pytest.raises(ValueError, match="2 values and 1"):
        statistics.bootstrap_interval([1.0, 2.0], "a")
    with pytest.raises(ValueError, match=r"level.*1\.5"):
        statistics.bootstrap_interval([1.0], "a", level=1.5)


def test_costs_are_shares_of_a_sweep(statistics):
    assert statistics.cost_fraction(5, 100) == 0.05
    with pytest.raises(ValueError, match="sweep_passes=0"):
        statistics.cost_fraction(5, 0)
