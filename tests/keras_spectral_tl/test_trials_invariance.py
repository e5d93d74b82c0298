"""Trials of ways to retrain: the same however a function is written."""

import keras
import numpy as np
import pytest

from keras_spectral_tl._graph.layers import fetch, layers_with_weights, named_weights
from keras_spectral_tl.freezing import LowRankOf
from keras_spectral_tl.scoring import Arm
from keras_spectral_tl.scoring._effort import Effort, low_rank_size, usual_rate
from keras_spectral_tl.scoring._holdout import (
    Sizes,
    splits_of,
)
from keras_spectral_tl.scoring._network_parts import PartedNetwork
from keras_spectral_tl.scoring._trials import Trials, pool_of
from keras_spectral_tl.transfer import Samples
from tests.keras_spectral_tl.common import SHAPE, noise, planted

# Trials under changes of the network and its samples that change no function.


def tried(model, target):
    """Rate and trial of each layer, and the unchanged network's."""
    samples = Samples.of(target)
    splits = splits_of(np.shape(target[1]), (1, 2), Sizes(4, 2, 2), rng_of(0))
    pool = pool_of(samples, None, None, (), rng_of(0))
    trials = Trials(model, pool, splits, np.random.SeedSequence(0), Effort(500, 8))
    weights = named_weights(layers_with_weights(model)).values()
    kernels = [fetch(w) for w in weights if len(w.shape) > 1]
    found = {}
    arms = [Arm(name, name) for name in ("conv_1", "conv_2", "conv_3")]
    for arm, part, run in trials.of(arms):
        rate = usual_rate(part.function.values, kernels)
        found[arm.label] = rate, run(rate, 12)
    return found


def rng_of(seed):
    return np.random.default_rng(seed)


def rescaled(model, target):
    """Two ReLU layers times c and 1 / c, with the bias in between."""
    first, second = (model.get_layer(name) for name in ("conv_1", "conv_2"))
    first.set_weights([4.0 * w for w in first.get_weights()])
    kernel, bias = second.get_weights()
    second.set_weights([kernel / 4.0, bias])
    return target, {"conv_1": 4.0, "conv_3": 1.0}


def units_of_y(model, target):
    last = model.get_layer("conv_3")
    last.set_weights([8.0 * w for w in last.get_weights()])
    return (target[0], 8.0 * target[1]), {"conv_1": 1.0, "conv_2": 1.0, "conv_3": 8.0}


def units_of_x(model, target):
    first = model.get_layer("conv_1")
    kernel, bias = first.get_weights()
    first.set_weights([kernel / 2.0, bias])
    return (2.0 * target[0], target[1]), {"conv_2": 1.0, "conv_3": 1.0}


def channels_in_another_order(model, target):
    order = [2, 0, 3, 1]
    first, second = (model.get_layer(name) for name in ("conv_1", "conv_2"))
    kernel, bias = first.get_weights()
    first.set_weights([kernel[..., order], bias[order]])
    kernel, bias = second.get_weights()
    second.set_weights([kernel[:, :, order], bias])
    return target, dict.fromkeys(("conv_1", "conv_2", "conv_3"), 1.0)


@pytest.fixture(scope="module")
def before():
    model, _, target = planted()
    return tried(model, target)


@pytest.mark.once
@pytest.mark.parametrize(
    "change", [rescaled, units_of_y, units_of_x, channels_in_another_order]
)
def test_trials_do_not_depend_on_how_a_function_is_written(before, change):
    """The rate follows the size of the kernels, so Adam takes the same way.

    Not so where weights of one layer scale differently: the second of two rescaled
    layers, and the first where the units of x change, have a bias that does not scale.
    """
    model, _, target = planted()
    target, factors = change(model, target)
    after = tried(model, target)
    for label, factor in factors.items():
        (rate, trial), (scaled, other) = before[label], after[label]
        assert scaled == pytest.approx(factor * rate, rel=1e-6)
        np.testing.assert_allclose(other.correlations, trial.correlations, atol=2e-4)
        np.testing.assert_allclose(other.errors, trial.errors, rtol=2e-3, atol=1e-5)


def chain(*kernels):
    """Convolutions without biases; ReLU behind all but the last."""
    layers = []
    for number, kernel in enumerate(kernels, 1):
        activation = "relu" if number < len(kernels) else None
        options = {"padding": "same", "activation": activation, "use_bias": False}
        layers.append(
            keras.layers.Conv2D(
                kernel.shape[-1], kernel.shape[0], name=f"conv_{number}", **options
            )
        )
    model = keras.Sequential([keras.Input(SHAPE), *layers])
    model.set_weights(kernels)
    return model


def kernels_of_a_chain():
    rng = rng_of(3)
    sizes = [(3, 3, SHAPE[-1], 3), (3, 3, 3, 2), (3, 3, 2, 1)]
    return [rng.normal(0, 0.3, size) for size in sizes]


def both_rescaled(first, second, last):
    return [4.0 * first, second / 4.0, last]


def twice_as_wide(first, second, last):
    """Every channel twice; what takes both takes half of each."""
    first, second = (np.repeat(kernel, 2, axis=3) for kernel in (first, second))
    second, last = (np.repeat(kernel, 2, axis=2) / 2.0 for kernel in (second, last))
    return [first, second, last]


def deeper(first, second, last):
    """The identity in front of the last layer: ReLU leaves what is positive."""
    identity = np.zeros((3, 3, 2, 2))
    identity[1, 1] = np.eye(2)
    return [first, second, identity, last]


@pytest.mark.once
@pytest.mark.parametrize("change", [both_rescaled, twice_as_wide, deeper])
def test_without_biases_layers_take_the_same_way_in_networks_of_any_size(change):
    """A layer moves its outputs alike where the same function is wider, or deeper."""
    x = noise(6, *SHAPE).astype("float32")
    target = x, noise(6, 8, 8, 1, seed=1)
    kernels = kernels_of_a_chain()
    found = [tried(chain(*some), target) for some in (kernels, change(*kernels))]
    for label in ("conv_1", "conv_2") if change is deeper else found[0]:
        one, other = (trials[label][1] for trials in found)
        np.testing.assert_allclose(other.correlations, one.correlations, atol=1e-5)
        np.testing.assert_allclose(other.errors, one.errors, rtol=1e-4)


def test_the_rate_is_that_of_the_kernels_alone():
    kernel, bias = 0.05 * np.ones((3, 3, 2, 2)), np.zeros(2)
    alone = usual_rate([kernel], [kernel])
    assert usual_rate([kernel, bias], [kernel]) == alone
    assert usual_rate([bias], [kernel]) == alone  # biases have no size of their own
    assert usual_rate([], []) == usual_rate([bias], [bias.reshape(1, 2)]) == 1e-3
    assert usual_rate([3.0 * kernel], []) == pytest.approx(3.0 * alone)
    # The mean is geometric: factors c and 1 / c cancel.
    both = usual_rate([kernel, kernel], [])
    assert usual_rate([5.0 * kernel, kernel / 5.0], []) == pytest.approx(both)


@pytest.mark.parametrize("rank", [1, 4, 64])
@pytest.mark.parametrize(("size", "reach"), [(0.05, 0.1), (2.0, 0.1), (0.05, 3.0)])
def test_a_low_rank_update_moves_a_kernel_as_it_moves_itself(rank, size, reach):
    """By .046 of its size a step of Adam, whatever the rank and what it reaches.

    The first step moves each weight of the factor that is 0 by the rate, either way.
    """
    rng = rng_of(rank)
    kernel = size * rng.normal(size=(5, 5, 16, 64))
    factor = reach * rng.normal(size=(5, 5, 16, rank))
    own = usual_rate([kernel], [kernel])
    rate = usual_rate([low_rank_size(kernel, factor)], [kernel])
    moved = factor @ (rate * rng.choice([-1.0, 1.0], size=(rank, 64)))
    # Columns of 400 numbers and rows of 64 signs are orthogonal to 1 / sqrt(400 64).
    assert np.sqrt(np.mean(moved**2)) == pytest.approx(own, rel=0.03)


def test_the_rate_of_a_low_rank_arm_follows_the_kernel_beside_it():
    """Read off the network, and of several kernels the geometric mean."""
    rates = []
    for scale in (1.0, 4.0):
        model, _, target = planted()
        layer = model.get_layer("conv_2")
        kernel, bias = layer.get_weights()
        layer.set_weights([scale * kernel, bias])
        network = PartedNetwork(model, target[0], 2)
        both = LowRankOf(("conv_1", "conv_2"), 2)
        one, two = (
            usual_rate(network.with_added("", part).sizes, [kernel])
            for part in (LowRankOf("conv_2", 2), both)
        )
        rates.append((one, two))
    assert rates[1][0] == pytest.approx(4.0 * rates[0][0])
    assert rates[1][1] == pytest.approx(2.0 * rates[0][1])


def test_every_image_of_a_sample_is_on_its_side():
    """Symmetries and replayed samples are fitted; what is tested is not among them."""
    target = Samples.of((np.arange(8.0).reshape(8, 1), np.arange(8.0).reshape(8, 1)))
    replay = (np.arange(20.0, 24).reshape(4, 1), np.zeros((4, 1)))
    flips = [lambda x, y: (x + 100.0, y), lambda x, y: (x + 200.0, y)]
    base = Samples.of((np.array([[50.0], [51.0]]), np.zeros((2, 1))))
    pool = pool_of(target, base, replay, flips, rng_of(0))
    for split in splits_of((8, 1), (), Sizes(48, 32, 8), rng_of(1)):
        fitted = pool.fitted(split)
        values = pool.x[fitted.fit].ravel()
        own = values[(values < 20.0) | (values >= 100.0)] % 100
        assert set(own) == set(split.fit.astype(float))
        assert not set(own) & set(split.held.astype(float))
        replayed = values[(values >= 20.0) & (values < 100.0)]
        assert len(replayed) == len(own) and set(replayed) == {20.0, 21.0, 22.0, 23.0}
        assert len(own) == 3 * len(split.fit)
    assert sorted(pool.x[pool.base].ravel()) == [50.0, 51.0]


def turned(x, y):
    """A quarter turn, which changes the sign of the outputs."""
    return np.rot90(x, 1, (1, 2)), -np.rot90(y, 1, (1, 2))


def reflected(x, y):
    return x[:, ::-1], y[:, ::-1]


def smoothed(x, y):
    return x, 0.5 * (y + np.roll(y, 1, axis=1))


def test_images_of_half_a_sample_hold_no_point_of_the_other_half():
    """Every point has a number of its own; of one sample a half is fitted."""
    numbers = 1.0 + np.arange(36.0).reshape(1, 6, 6, 1)
    target = Samples.of((numbers, numbers))
    replay = (numbers + 100.0, numbers + 100.0)
    pool = pool_of(target, None, replay, [turned, reflected], rng_of(0))
    for split in splits_of((1, 6, 6, 1), (1, 2), Sizes(48, 32, 8), rng_of(1)):
        fitted = pool.fitted(split)
        weight = fitted.weight_of(np.arange(len(fitted.fit)))
        held = set(numbers[0][split.held_mask > 0.0])
        own = set(numbers[0][split.fit_mask > 0.0])
        assert len(fitted.fit) == 6  # the sample, two images, as many of the base
        for row, mask in zip(fitted.fit, weight, strict=True):
            values = set(np.abs(pool.y[row][mask > 0.0]))
            if row in pool.replayed:
                assert values == {100.0 + n for n in held | own}
            else:
                assert values == own and not values & held


def test_images_that_mix_points_are_left_out_where_a_sample_is_halved():
    numbers = np.arange(36.0).reshape(1, 6, 6, 1)
    target = Samples.of((numbers, numbers))
    pool = pool_of(target, None, None, [smoothed, reflected], rng_of(0))
    for split in splits_of((1, 6, 6, 1), (1, 2), Sizes(48, 32, 8), rng_of(1)):
        fitted = pool.fitted(split)
        own, image = fitted.fit  # the sample itself, and reflected
        np.testing.assert_array_equal(pool.y[image], pool.y[own][::-1])
        np.testing.assert_array_equal(fitted.fit_mask[0], split.fit_mask)
        np.testing.assert_array_equal(fitted.fit_mask[1], split.fit_mask[::-1])
