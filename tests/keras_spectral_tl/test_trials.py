"""Trials: how many steps they take, and at which rates they begin."""

import contextlib

import keras
import numpy as np
import pytest

import keras_spectral_tl as kst
from keras_spectral_tl import models
from keras_spectral_tl.scoring import Arm, HeldOutRetraining, _network_parts
from keras_spectral_tl.scoring._contest.candidate import Candidate
from keras_spectral_tl.scoring._contest.contest import Contest
from keras_spectral_tl.scoring._effort import Effort, steps_on
from keras_spectral_tl.scoring._holdout import (
    Sizes,
    splits_of,
)
from keras_spectral_tl.scoring._rehearsal import RateTooHighError
from keras_spectral_tl.scoring._trials import Trials, pool_of, shares_of_correlation
from keras_spectral_tl.transfer import Samples
from tests.keras_spectral_tl.common import noise


@pytest.mark.parametrize(
    ("grid", "steps"), [((4, 4), 48), ((64, 64), 48), ((128, 128), 24), ((256, 64), 24)]
)
def test_fields_of_four_times_the_points_take_half_the_steps(grid, steps):
    """The noise of a mean falls as the root of the number of points."""
    assert steps_on((3, *grid, 1), 48) == steps


@pytest.mark.parametrize(
    ("steps", "lengths", "samples"),
    [
        (1000, (48, 160), 1),
        (160, (48, 160), 1),
        (100, (30, 100), 1),  # 30 % of it as of a longer one
        (60, (18, 60), 2),  # as many as make 160 samples in all
        (40, (40, 40), 4),
        (10, (10, 10), 4),  # of six samples four are fitted
        (1, (1, 1), 4),
    ],
)
def test_no_trial_is_longer_than_the_retraining(steps, lengths, samples):
    _, bench = trials(1.0, effort=Effort(steps, 8))
    assert (bench.short, bench.long) == lengths
    for _, _, run in bench.of([Arm("conv_2", ("conv_2",))]):
        assert run(1e-3, bench.long).passes == bench.long * samples


def test_few_steps_want_the_higher_rate_that_gets_as_far():
    """rate sqrt(steps) is the same for all retrainings of fewer than 160 steps."""
    far = [Effort(n, 8).hurried(1e-3) * n**0.5 for n in (1, 10, 40, 160)]
    assert far == pytest.approx([far[0]] * 4)
    assert Effort(160, 8).hurried(1e-3) == Effort(500, 1).hurried(1e-3) == 1e-3


def test_there_is_a_step_on_any_field():
    assert steps_on((1, 10**6, 10**6, 1), 48) == 1


def test_a_rehearsal_tests_as_many_points_on_larger_fields():
    usual = HeldOutRetraining()
    assert usual.on_fields((16, 64, 64, 1)) == usual
    larger = usual.on_fields((16, 96, 96, 1))
    assert larger.num_tested == round(32 * 64**2 / 96**2)
    assert larger.steps == 100
    assert usual.on_fields((16, 512, 512, 1)).num_tested == 8
    one = HeldOutRetraining(num_tested=1)
    assert one.on_fields((16, 512, 512, 1)).num_tested == 1


EFFORT = Effort(500, 8)


def trials(
    size_of_target,
    with_base=True,
    known=False,
    channels=4,
    grid=(8, 8),
    effort=EFFORT,
):
    """A bench for fields of the target that are so many times those of the base.

    A `known` target is nearly what the network gives already.
    """
    keras.utils.set_random_seed(3)
    shape = (*grid, 2)
    model = models.build_sgs_cnn(shape, num_layers=3, num_filters=channels)
    x = noise(6, *shape).astype("float32")
    y = x[..., :1]
    if known:
        y = 0.1 * y + keras.ops.convert_to_numpy(model(size_of_target * x))
    target = Samples.of((size_of_target * x, y))
    base = Samples.of((x, x[..., :1])) if with_base else None
    pool = pool_of(target, base, None, (), np.random.default_rng(0))
    splits = splits_of(
        (6, *grid, 1), (1, 2), Sizes(48, 32, 8), np.random.default_rng(1)
    )
    return model, Trials(model, pool, splits, np.random.SeedSequence(2), effort)


@pytest.mark.parametrize(("number", "left"), [(40, 32), (12, 4), (8, 8)])
def test_the_base_is_not_tested_on_samples_that_are_replayed(number, left):
    x = noise(number, 4, 4, 1).astype("float32")
    base, rng = Samples.of((x, x)), np.random.default_rng(0)
    replay = x.astype("float64"), x.astype("float64")  # the same numbers
    pool = pool_of(Samples.of((2 * x, x)), base, replay, (), rng)
    tested, replayed = pool.y[pool.base[:8]], pool.y[pool.replayed]
    shared = {row.tobytes() for row in tested} & {row.tobytes() for row in replayed}
    # Of eight samples none would be left to replay.
    assert len(shared) == (8 if number == 8 else 0)
    assert len(replayed) == left
    assert len(pool.x) == len(pool.y)


def test_samples_with_equal_outputs_are_not_the_same():
    x, zero = noise(40, 4), np.zeros((40, 1))
    base = Samples.of((x[:20], zero[:20]))
    target = Samples.of((x[:8], zero[:8]))
    rng = np.random.default_rng(0)
    pool = pool_of(target, base, (x[20:], zero[20:]), (), rng)
    assert len(pool.replayed) == 20


@pytest.mark.parametrize(
    ("size", "with_base", "expected"),
    [(1.0, True, 1.0), (5.0, True, 5.0), (0.2, True, 1.0), (5.0, False, 1.0)],
)
def test_inputs_are_compared_with_those_of_the_base(size, with_base, expected):
    _, bench = trials(size, with_base)
    for _, part, _ in bench.of([Arm("conv_1", ("conv_1",))]):
        assert bench.larger_inputs(part) == pytest.approx(expected, rel=1e-6)


def test_sizes_are_those_of_inputs_in_half_precision_too(monkeypatch):
    """A sum of 8 bits stops growing after some hundred terms; here are 200,000."""
    monkeypatch.setattr(_network_parts, "_has_bfloat16", lambda: True)
    _, bench = trials(5.0, channels=32, grid=(32, 32))
    for _, part, _ in bench.of([Arm("conv_3", ("conv_3",))]):
        assert bench.larger_inputs(part) == pytest.approx(5.0, rel=0.01)


def first_rates(size, **options):
    """The rate of each arm at which its first trial ran."""
    model, bench = trials(size)
    arms = [Arm(name, (name,)) for name in ("conv_1", "conv_2", "conv_3")]
    candidates = [Candidate(arm, bench, "") for arm in arms]
    nothing = contextlib.nullcontext(lambda row: None)
    contest = Contest(model, Effort(30, 4, **options), nothing)
    contest.run(candidates, joined=False)
    return np.array([candidate.rate for candidate in candidates])


def test_rates_fall_with_the_size_of_the_inputs():
    """Without biases all layers of ReLU see inputs that are as many times larger."""
    np.testing.assert_allclose(first_rates(5.0), first_rates(1.0) / 5.0, rtol=1e-5)


def test_a_rate_that_is_given_is_kept():
    np.testing.assert_array_equal(first_rates(5.0, rate=1e-3), 1e-3)


def test_a_rate_that_spoils_the_network_ends_a_trial():
    """After a third of its steps."""
    _, bench = trials(1.0, known=True)
    for _, part, run in bench.of([Arm("conv_2", ("conv_2",))]):
        before = bench.passes
        with pytest.raises(RateTooHighError):
            run(1e3, 30, give_up=1.5)
        assert bench.passes - before == pytest.approx(10 * part.step)


def test_a_rate_that_does_not_changes_no_trial():
    _, bench = trials(1.0, known=True)
    for _, _, run in bench.of([Arm("conv_2", ("conv_2",))]):
        one, other = run(1e-4, 30, give_up=1.5), run(1e-4, 30)
        np.testing.assert_array_equal(one.outputs, other.outputs)
        assert one.passes == other.passes == 30


# Samples that are single numbers, correlated over the samples.


def numbers(seed, count, shape=()):
    """Pairs of normal numbers with a correlation of .6."""
    y, noise = np.random.default_rng(seed).normal(size=(2, *shape, count))
    return y, 0.6 * y + 0.8 * noise


def test_shares_of_a_correlation_have_it_as_mean_and_its_error_as_scatter():
    """Over many draws, the estimated standard error is that of Fisher's z."""
    count, true, pred = 40, *numbers(0, 40, shape=(2000,))
    shares = np.array(
        [shares_of_correlation(*pair) for pair in zip(true, pred, strict=True)]
    )
    found = shares.mean(axis=1)
    expected = [np.corrcoef(*pair)[0, 1] for pair in zip(true, pred, strict=True)]
    np.testing.assert_allclose(found, expected, atol=1e-12)
    errors = shares.std(axis=1, ddof=1) / np.sqrt(count)
    assert np.mean(errors) == pytest.approx(np.std(found), rel=0.1)
    assert np.mean(errors) == pytest.approx(0.64 / np.sqrt(count - 3), rel=0.1)
    assert np.all(shares_of_correlation(np.ones(5), np.arange(5.0)) == 0.0)


def test_intervals_of_single_numbers_hold_the_truth():
    """Nine in ten of the intervals of an unchanged network; 18 of 24 have p = .997."""
    network = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, name="a")])
    network.set_weights([np.array([[0.6]]), np.zeros(1)])
    inside = 0
    for seed in range(24):
        x, y = (part[:, None] for part in numbers(seed, 32))
        found = kst.forecast(network, None, (x, y), arms=[Arm("unchanged", ())])
        assert found.provenance["num_tested"] == 32
        assert " on target samples" in found.reason
        row = found.best_row
        inside += row.correlation_low <= 0.6 <= row.correlation_high
    assert inside >= 18


def test_three_numbers_have_no_correlation_to_forecast():
    network = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, name="a")])
    x, y = (part[:3, None] for part in numbers(0, 3))
    with pytest.raises(ValueError, match=r"4 target samples or more.*Received 3"):
        kst.forecast(network, None, (x, y), arms=[Arm("unchanged", ())])
