"""Samples held out: none fitted and tested at once; errors are those of regression."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_spectral_tl.metrics._functions import correlations
from keras_spectral_tl.scoring._evidence import (
    half_interval,
    held_out_evidence,
    moments,
    samples_needed,
    shares_removed,
    standard_error,
    unexplained,
)
from keras_spectral_tl.scoring._holdout import (
    Sizes,
    grouped_splits,
    pieces_of,
    splits_of,
    variance_inflation,
)

pytestmark = pytest.mark.once


@pytest.mark.parametrize("num_samples", [2, 5, 7, 8, 9, 16, 24, 100])
def test_samples_are_never_fitted_and_tested_at_once(num_samples):
    sizes = Sizes(fit=12, held=6, tested=14)
    rng = np.random.default_rng(0)
    parts = splits_of((num_samples, 4, 4, 1), (1, 2), sizes, rng)
    tested = [i for part in parts for i in part.held]
    assert len(set(tested)) == len(tested)
    assert len(tested) >= min(14, num_samples)
    for part in parts:
        assert not set(part.fit) & set(part.held)
        assert len(set(part.fit)) == len(part.fit)
        assert len(part.fit) >= min(12, num_samples // 2, num_samples - 1)
        assert len(part.fit) <= 12
        assert len(part.held) <= 6


@given(
    groups=st.lists(st.integers(0, 9), min_size=2, max_size=40).filter(
        lambda groups: len(set(groups)) > 1
    ),
    fit=st.integers(1, 40),
    held=st.integers(1, 40),
    tested=st.integers(1, 60),
    seed=st.integers(0, 99),
)
def test_no_group_is_on_both_sides(groups, fit, held, tested, seed):
    sizes, labels = Sizes(fit, held, tested), np.array(groups)
    shape = (len(groups), 4, 1)
    splits = grouped_splits(shape, groups, sizes, np.random.default_rng(seed))
    assert 1 <= len(splits) <= min(4, len(set(groups)))
    everything = [i for split in splits for i in split.held]
    assert len(set(everything)) == len(everything)
    for split in splits:
        assert not set(labels[split.fit]) & set(labels[split.held])
        assert 1 <= len(set(split.fit)) == len(split.fit) <= fit
        assert 1 <= len(split.held) <= held
        assert split.fit_mask.shape == split.held_mask.shape == shape[1:]
    if held == 40 and tested == 60:
        assert sorted(everything) == list(range(len(groups)))


def test_groups_of_any_names_are_all_tested_once_where_there_is_room():
    groups = ["b", "a", "b", "c", "a", "d", "e", "b"]
    rng = np.random.default_rng(0)
    splits = grouped_splits((8, 3), groups, Sizes(48, 32, 8), rng)
    assert len(splits) == 4
    assert sorted(np.concatenate([s.held for s in splits])) == list(range(8))
    for split in splits:
        assert len(split.fit) + len(split.held) == 8


@pytest.mark.parametrize(
    ("sizes", "folds"),
    [
        (Sizes(48, 32, 8), 4),  # one fold has eight samples, of a single group
        (Sizes(48, 32, 2), 2),
        (Sizes(48, 32, 1), 1),
        (Sizes(48, 1, 8), 4),
    ],
)
def test_more_folds_are_tested_where_one_has_few_groups(sizes, folds):
    groups, rng = np.repeat(np.arange(4), 8), np.random.default_rng(0)
    splits = grouped_splits((32, 3), groups, sizes, rng)
    assert len(splits) == folds
    tested = np.concatenate([split.held for split in splits])
    assert len(set(groups[tested])) == folds


def test_groups_of_which_enough_are_tested_need_no_more_folds():
    groups, rng = np.repeat(np.arange(8), 2), np.random.default_rng(0)
    splits = grouped_splits((16, 3), groups, Sizes(48, 32, 8), rng)
    assert [len(split.held) for split in splits] == [4, 4]


@pytest.mark.parametrize("num_samples", range(2, 33))
def test_up_to_32_samples_each_is_tested_once(num_samples):
    shape, sizes = (num_samples, 4, 4, 1), Sizes(48, 32, 32)
    parts = splits_of(shape, (1, 2), sizes, np.random.default_rng(0))
    assert len(parts) == min(num_samples, 4)
    tested = np.concatenate([part.held for part in parts])
    assert sorted(tested) == list(range(num_samples))
    for part in parts:
        assert len(part.fit) + len(part.held) == num_samples


def test_no_more_folds_are_tested_than_it_takes():
    rng = np.random.default_rng(0)
    counts = [
        len(splits_of((n, 4, 4, 1), (1, 2), Sizes(48, 32, 16), rng))
        for n in (2, 3, 7, 8, 16, 24, 32, 63, 64, 1000)
    ]
    assert counts == [2, 3, 4, 4, 4, 3, 2, 2, 1, 1]


def test_a_single_sample_is_fitted_on_one_half_and_tested_on_the_other():
    sizes, rng = Sizes(12, 32, 32), np.random.default_rng(0)
    parts = splits_of((1, 4, 7, 2), (1, 2), sizes, rng)
    for part in parts:
        np.testing.assert_array_equal(part.fit_mask + part.held_mask, 1.0)
    np.testing.assert_array_equal(sum(part.held_mask for part in parts), 1.0)
    # Along the longer axis.
    assert parts[0].fit_mask[0, :, 0].tolist() == [1, 1, 1, 0, 0, 0, 0]
    assert splits_of((1, 3), (), sizes, rng) == []


def test_channels_are_never_cut_from_each_other():
    """Sixteen channels first, and one: the longest side is no side of space."""
    sizes, rng = Sizes(12, 32, 32), np.random.default_rng(0)
    for shape, axes in (((1, 16, 8, 8), (2, 3)), ((1, 1, 8), (2,))):
        for part in splits_of(shape, axes, sizes, rng):
            by_channel = part.fit_mask.reshape(shape[1], -1)
            np.testing.assert_array_equal(
                by_channel, by_channel[:1] * np.ones_like(by_channel)
            )
            assert 0 < by_channel[0].sum() < by_channel[0].size


def test_the_error_that_a_gain_leaves_is_that_of_linear_regression():
    rng = np.random.default_rng(0)
    y, q = rng.standard_normal((2, 3, 5, 5, 1))
    gain = np.linalg.lstsq(q.reshape(-1, 1), y.ravel(), rcond=None)[0]
    expected = np.sum((y.ravel() - gain * q.ravel()) ** 2)
    found = unexplained(moments(y, q, offset=False).sum(axis=0))
    assert found == pytest.approx(expected, rel=1e-12)


def test_a_gain_and_an_offset_of_each_channel_are_fitted_where_the_weight_is():
    rng = np.random.default_rng(1)
    y, q = rng.standard_normal((2, 3, 2, 6)) + np.array([[3.0], [-8.0]])
    weight = rng.integers(0, 2, y.shape).astype(float)
    columns = [q, *(np.ones((3, 1, 6)) * unit[:, None] for unit in np.eye(2))]
    design = np.stack([np.broadcast_to(c, y.shape).ravel() for c in columns], 1)
    chosen = weight.ravel() > 0.0
    fitted = np.linalg.lstsq(design[chosen], y.ravel()[chosen], rcond=None)[0]
    expected = np.sum((y.ravel() - design @ fitted)[chosen] ** 2)
    sums = moments(y, q, axes=(2,), weight=weight)
    assert unexplained(sums.sum(axis=0)) == pytest.approx(expected, rel=1e-9)


def test_the_jackknife_leaves_one_sample_out_at_a_time():
    rng = np.random.default_rng(2)
    y, before, after = rng.standard_normal((3, 5, 7))
    evidence = {
        "moments_before": moments(y, y + before),
        "moments_after": moments(y, y + 0.5 * after),
    }
    shares = shares_removed(evidence)
    for one in range(5):
        rest = np.delete(np.arange(5), one)
        left = [
            unexplained(moments(y[rest], y[rest] + error[rest]).sum(axis=0))
            for error in (before, 0.5 * after)
        ]
        assert shares[1 + one] == pytest.approx(1.0 - left[1] / left[0], rel=1e-9)
    expected = np.sqrt(4 / 5 * np.sum((shares[1:] - shares[1:].mean()) ** 2))
    assert standard_error(shares) == pytest.approx(expected)
    assert standard_error(shares, 4.0) == pytest.approx(2.0 * expected)


def test_the_jackknife_leaves_one_group_out_at_a_time():
    """Samples of a group are no independent evidence."""
    rng = np.random.default_rng(0)
    truth = rng.standard_normal((6, 5, 1))
    steps = np.stack([truth + noise * rng.standard_normal(truth.shape)
                      for noise in (1.0, 0.5)])  # fmt: skip
    groups = np.array(["b", "a", "c", "b", "a", "b"])
    each = held_out_evidence(truth, steps)
    found = held_out_evidence(truth, steps, groups=groups)
    assert found["error_removed"] == pytest.approx(each["error_removed"])
    assert (found["by_group"], "by_group" in each) == (True, False)
    expected = [
        1.0 - np.divide(*(
            unexplained(each[f"moments_{when}"][groups != name].sum(axis=0))
            for when in ("after", "before")
        ))
        for name in "abc"
    ]  # fmt: skip
    np.testing.assert_allclose(shares_removed(found)[1:], expected)


def test_folds_that_share_samples_are_not_taken_as_independent():
    """Nadeau and Bengio: (1 / J + n_held / n_fit) S^2 for the mean of J folds."""
    shape, sizes = (16, 4, 4, 1), Sizes(48, 32, 32)
    splits = splits_of(shape, (1, 2), sizes, np.random.default_rng(0))
    assert len(splits) == 4
    ratio = (1 / 4 + 4 / 12) / (1 / 4)
    assert variance_inflation(splits) == pytest.approx(ratio)


def test_the_interval_of_folds_covers_what_more_samples_would_say():
    """A mean fitted on twelve samples and tested on others: the share is known.

    With y = m + e, of equal variances, it leaves 1 + 1/12 of the variance of e of the
    2 that the prediction 0 leaves, over a long vector.
    """
    rng, inside = np.random.default_rng(3), 0
    for _ in range(300):
        pattern = rng.standard_normal(40)
        truth = 1.0 - (1.0 + 1.0 / 12) / (1.0 + np.mean(pattern**2))
        y = pattern + rng.standard_normal((16, 40))
        splits = splits_of((16, 40), (), Sizes(48, 32, 32), rng)
        after = np.zeros_like(y)
        for split in splits:
            after[split.held] = y[split.fit].mean(axis=0)
        before, left = (np.sum(part, axis=1) for part in (y**2, (y - after) ** 2))
        kept = [np.arange(16), *(np.delete(np.arange(16), one) for one in range(16))]
        shares = np.array([1.0 - left[k].sum() / before[k].sum() for k in kept])
        error = standard_error(shares, variance_inflation(splits))
        inside += abs(shares[0] - truth) < 1.753 * error  # t of 15, 90 %
    assert inside >= 0.9 * 300


@pytest.mark.parametrize("shape", [(64, 1), (5, 12, 1)])
def test_the_interval_of_one_sample_covers_what_more_would_say(shape):
    # White noise, so pieces are independent; the correlation is known, 1 / sqrt(2).
    rng, known = np.random.default_rng(0), 0.5**0.5
    pieces = pieces_of(shape, ())
    assert sum(piece == 0.0 for piece in pieces).min() == 1  # no point is left over
    assert sum(piece == 0.0 for piece in pieces).max() == 1
    covered = []
    for _ in range(400):
        q, noise = rng.normal(size=(2, 1, np.prod(shape)))
        without = [correlations(q + noise, q, p.reshape(1, -1)) for p in pieces]
        found = correlations(q + noise, q, np.ones_like(q))
        half = half_interval(found, 1.0, np.mean(without, axis=1))
        covered.append(abs(found[0] - known) <= half)
    assert 0.85 < np.mean(covered) < 0.95


def test_a_field_that_is_alike_everywhere_keeps_the_interval_of_few_samples():
    each = np.array([0.8])
    few = half_interval(each, 1.0)
    assert few == pytest.approx(1.645 * 0.15 * (1.0 - 0.8), rel=1e-3)
    assert half_interval(each, 1.0, np.full(8, 0.8)) == few


def test_how_many_samples_would_do():
    """A share of .5 with an error of .5: .5 sqrt(4 / m) t(m - 1) must be below .5."""
    assert samples_needed(0.5, 0.5, 4, 0.05) == 13
    assert samples_needed(0.01, 5.0, 4, 0.01, most=100) is None


def test_spectra_of_the_error_are_what_gain_and_offset_leave():
    x = 2.0 * np.pi * np.arange(16) / 16
    truth = (5.0 + np.cos(3 * x))[None, :, None] * np.ones((2, 1, 1))
    prediction = (np.cos(3 * x) + np.cos(2 * x))[None, :, None] * np.ones((2, 1, 1))
    steps = np.stack([prediction, prediction - np.cos(2 * x)[None, :, None]])
    found = held_out_evidence(truth, steps, axes=(1,))
    assert found["error_removed"] == pytest.approx(1.0)
    before = found["residual_spectrum_before"]
    # The best gain is 1/2: a quarter of each wave's mean square, 1/2, is left.
    expected = np.where(np.isin(np.arange(len(before)), (2, 3)), 0.125, 0.0)
    np.testing.assert_allclose(before, expected, atol=1e-12)


def test_spectra_of_a_weighted_error_add_up_to_it():
    rng = np.random.default_rng(3)
    truth, *steps = rng.standard_normal((3, 4, 16, 1))
    weight = rng.uniform(0.1, 20.0, (1, 16, 1))
    found = held_out_evidence(truth, np.stack(steps), (1,), weight)
    for when in ("before", "after"):
        error = unexplained(found[f"moments_{when}"].sum(axis=0))
        spectrum = found[f"residual_spectrum_{when}"]
        assert truth.size * spectrum.sum() == pytest.approx(error)


def test_nothing_is_removed_of_round_off():
    truth = np.random.default_rng(4).standard_normal((4, 16, 1))
    noise = 1e-8 * np.random.default_rng(5).standard_normal((2, 4, 16, 1))
    found = held_out_evidence(truth, 3.0 * truth + noise * [[[[1.0]]], [[[9.0]]]])
    assert found["error_removed"] == 0.0
    assert not shares_removed(found).any()
