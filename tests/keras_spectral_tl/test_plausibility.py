"""Doubts about a network and its data: each is planted, and none is made up."""

import re

import keras
import numpy as np
import pytest

import keras_spectral_tl as kst
from keras_spectral_tl.metrics._plausibility import (
    INTRODUCTION,
    network_doubts,
    scale_doubts,
    y_doubts,
)
from keras_spectral_tl.scoring import Arm
from keras_spectral_tl.transfer import Samples
from keras_spectral_tl.transfer._options import weighted

ARMS = [Arm("all layers")]


@pytest.fixture(scope="module")
def model():
    """A network that gives y = x_0 + x_1 / 5 exactly."""
    inputs = keras.Input((8, 8, 2))
    layer = keras.layers.Conv2D(1, 1, name="sum")
    found = keras.Model(inputs, layer(inputs))
    layer.set_weights([np.array([1.0, 0.2]).reshape(1, 1, 2, 1), np.zeros(1)])
    return found


def system(seed, count=12, scale=1.0, order=(0, 1), sign=1.0):
    x = np.random.default_rng(seed).normal(size=(count, 8, 8, 2)).astype("float32")
    y = x[..., :1] + 0.2 * x[..., 1:]
    return scale * x[..., list(order)], sign * scale * y


def doubts(model, base, target):
    pairs = Samples.of(base), Samples.of(target)
    return network_doubts(model, *pairs) + scale_doubts(*pairs)


def doubts_in(warnings):
    return [w for w in warnings if str(w.message).startswith(INTRODUCTION)]


def test_a_network_that_works_is_not_doubted(model):
    assert doubts(model, system(0), system(1, scale=9.0)) == []


def test_scales_apart_by_more_than_ten_are_told_with_the_ratio(model):
    inputs, outputs = doubts(model, system(0), system(1, scale=1000.0))
    ratio = np.std(system(1)[0], axis=(0, 1, 2)) / np.std(system(0)[0], axis=(0, 1, 2))
    assert any(f"{1000 * r:.3g} times the standard deviation" in inputs for r in ratio)
    assert outputs.startswith("y of the target")


def test_a_mean_apart_by_more_than_three_deviations_is_told(model):
    x, y = system(1)
    shift = 5.0 / np.std(system(0)[1])  # in standard deviations of the base
    assert doubts(model, system(0), (x, y + 2.0)) == []
    (found,) = doubts(model, system(0), (x, y + 5.0))
    told = float(re.search(r"y of the target has a mean .* by (\S+) times", found)[1])
    assert told == pytest.approx(shift, rel=0.01)


@pytest.mark.parametrize("fill", [False, True])
def test_a_y_in_other_units_is_told_though_base_and_target_agree(model, fill):
    """Correlations are 1 in all units; the base tells what the network gives."""
    (x, y), (x2, y2), weights = system(0), system(1), np.ones((8, 8, 1))
    weights[:2] = 0.0
    loss = kst.losses.WeightedMeanSquaredError(weights)
    for scale, level, told in (
        (1.0, 2.0, None),
        (1.0, 20.0, (20.0 / np.std(y), r"a mean that is off by (\S+) standard")),
        (1e-3, 0.0, (1000.0, r"have (\S+) times the standard deviation of y")),
        (5.0, 0.0, None),
    ):
        pairs = [(x, scale * y + level), (x2, scale * y2 + level)]
        if fill:
            for _, values in pairs:
                values[:, :2] = -9999.0
        pairs = [weighted(Samples.of(p), loss if fill else None) for p in pairs]
        found = network_doubts(model, *pairs)
        assert len(found) == (told is not None)
        if told:
            size = float(re.search(told[1], found[0])[1])
            assert size == pytest.approx(told[0], rel=0.1)
            assert "not in the units of the network" in found[0]


def test_logits_of_classes_have_no_units():
    x = np.random.default_rng(0).normal(size=(40, 3)).astype("float32")
    dense = keras.layers.Dense(3, use_bias=False)
    network = keras.Sequential([keras.Input((3,)), dense])
    dense.set_weights([100.0 * np.eye(3)])
    classes = Samples.of((x, np.eye(3)[np.argmax(x, axis=1)]))
    assert network_doubts(network, classes, None) == []


def test_exchanged_systems_are_told(model):
    rng = np.random.default_rng(5)
    other = tuple(rng.normal(size=part.shape).astype("float32") for part in system(0))
    _, reason, *_ = doubts(model, other, system(1))
    assert reason.endswith("1.00: are the systems exchanged?")


def test_exchanged_channels_are_found_in_each_system(model):
    """The correlation of x_1 + x_0 / 5 with x_0 + x_1 / 5 is 0.4 / 1.04."""
    skill, reason = doubts(model, system(0, 32, order=(1, 0)), system(1))
    reached = float(re.search(r"correlation of (\S+)", skill)[1])
    assert reached == pytest.approx(0.4 / 1.04, abs=0.05)
    assert reason.startswith("In the base, channels 0 and 1 of x look exchanged")
    assert "1.00" in reason
    (found,) = doubts(model, system(0), system(1, order=(1, 0)))
    assert found.startswith("In the target, channels 0 and 1")


@pytest.mark.parametrize(
    ("form", "name"),
    [
        (lambda u, v: {"scalars": u, "profiles": v}, "x['profiles']"),
        (lambda u, v: [u, v], "x[1]"),
    ],
)
def test_exchanged_channels_of_one_of_several_inputs_are_named(form, name):
    """A network that gives y = profile_0 + profile_2 / 5 exactly."""
    scalars = keras.Input((3,), name="scalars")
    profiles = keras.Input((16, 3), name="profiles")
    layer = keras.layers.Conv1D(1, 1)
    zero = keras.layers.RepeatVector(16)(scalars[:, :1] * 0.0)
    network = keras.Model(form(scalars, profiles), layer(profiles) + zero)
    layer.set_weights([np.array([1.0, 0.0, 0.2]).reshape(1, 3, 1), np.zeros(1)])
    rng = np.random.default_rng(0)
    v = rng.normal(size=(12, 16, 3)).astype("float32")
    u, y = rng.normal(size=(12, 3)).astype("float32"), v[..., :1] + 0.2 * v[..., 2:]
    right = form(u, v), y
    assert doubts(network, right, right) == []
    wrong = form(u, v[..., [1, 0, 2]]), y
    (found,) = doubts(network, right, wrong)
    assert found.startswith(f"In the target, channels 0 and 1 of {name} look exchanged")
    reason = doubts(network, wrong, right)[1]
    assert reason.startswith(f"In the base, channels 0 and 1 of {name} look exchanged")


def test_a_sign_is_found(model):
    skill, reason = doubts(model, system(0, sign=-1.0), system(1))
    assert "-1.00" in skill
    assert "sign of y" in reason


def test_a_constant_target_is_told(model):
    x, y = system(1)
    assert any("constant" in text for text in doubts(model, system(0), (x, 0 * y)))


def test_points_that_never_change_are_told_with_their_share():
    x, y = system(1)
    y[:, :2] = -9999.0  # a quarter of the points: rows of land
    (found,) = y_doubts(Samples.of((x, y)))
    assert found.startswith("At 25% of its points")
    assert "WeightedMeanSquaredError" in found
    assert y_doubts(Samples.of((x[:2], y[:2]))) == []  # two samples tell little
    assert y_doubts(Samples.of(system(1))) == []
    assert y_doubts(Samples.of((x, 0 * y))) == []  # constant: told by the scales
    loss = kst.losses.WeightedMeanSquaredError(np.arange(8.0)[:, None, None] >= 2.0)
    assert y_doubts(weighted(Samples.of((x, y)), loss)) == []


def test_a_correlation_over_two_numbers_is_doubted():
    """It is 1 or -1, whatever the numbers."""
    x = np.random.default_rng(0).normal(size=(8, 4))
    (found,) = y_doubts(Samples.of((x, x[:, :2])))
    assert found.startswith("Each sample of y has 2 numbers")
    assert y_doubts(Samples.of((x, x[:, :1]))) == []
    assert y_doubts(Samples.of((np.tile(x, 2), np.tile(x, 2)))) == []


def test_fill_values_of_the_target_are_told_without_a_base(model):
    x, y = system(1)
    y[:, :2] = 0.0
    with pytest.warns(UserWarning, match="same value in all samples"):
        found = kst.forecast(model, None, (x, y), ARMS, steps=4)
    assert found.reason.startswith("At 25% of its points")


def test_layers_that_normalize_are_named():
    inputs = keras.Input((8, 8, 1))
    norm = keras.layers.Normalization(mean=100.0, variance=1.0, name="norm")
    outputs = keras.layers.Conv2D(1, 1)(keras.ops.relu(norm(inputs)))
    network = keras.Model(inputs, outputs)
    x, _ = system(0)
    pair = x[..., :1], x[..., :1]
    assert any("'norm'" in text for text in doubts(network, pair, pair))


def test_numbers_are_correlated_over_the_samples():
    """A network for one number a sample; of few samples nothing is said."""
    network = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    weights = np.array([[1.0], [-2.0], [0.5]])
    network.layers[0].set_weights([weights, np.zeros(1)])
    x = np.random.default_rng(0).normal(size=(20, 3)).astype("float32")
    assert doubts(network, (x, x @ weights), (x, x @ weights)) == []
    wrong = (x, np.random.default_rng(1).normal(size=(20, 1)))
    assert "own base samples" in doubts(network, wrong, wrong)[0]
    few = tuple(part[:4] for part in wrong)
    assert doubts(network, few, few) == []


def test_nests_and_labels_are_no_matter():
    one, two = keras.Input((4,)), keras.Input((4,))
    joined = keras.layers.Concatenate()([one, two])
    network = keras.Model([one, two], keras.layers.Dense(3)(joined))
    x = np.random.default_rng(0).normal(size=(6, 4)).astype("float32")
    labels = np.arange(6) % 3
    assert doubts(network, ((x, x), labels), ((x, x), labels)) == []


def test_scores_and_forecasts_warn_once_and_say_so_first(model):
    base, target = system(0, order=(1, 0)), system(1, order=(1, 0))
    with pytest.warns(UserWarning, match=INTRODUCTION) as seen:
        found = kst.forecast(model, base, target, ARMS, steps=4)
    assert len(doubts_in(seen)) == 1
    assert found.reason.startswith("The base network reaches a correlation of 0.")
    assert "look exchanged" in found.reason
    with pytest.warns(UserWarning, match="look exchanged") as seen:
        scores = kst.score_layers(model, base, target, steps=4)
    assert len(doubts_in(seen)) == 1
    assert scores.reason.startswith("The base network reaches")


def test_raw_samples_that_will_be_normalized_are_not_compared(model, recwarn):
    how = {"steps": 4, "normalization": kst.transfer.RefitOnTarget()}
    found = kst.forecast(model, system(0), system(1, scale=1e6), ARMS, **how)
    assert not doubts_in(recwarn.list)
    assert "standard deviation" not in found.reason


def labelled(start="2000-01-01", south=0.0, channels=2):
    """Fields of xarray, daily, whose channels have names."""
    xarray, pandas = (pytest.importorskip(name) for name in ("xarray", "pandas"))
    coordinates = {
        "time": pandas.date_range(start, periods=4),
        "latitude": south + np.arange(3.0),
        "channel": [f"channel {i}" for i in range(channels)],
    }
    return xarray.DataArray(np.zeros((4, 3, channels)), coordinates)


def test_labelled_fields_are_at_the_same_places_and_times():
    plain = np.zeros((4, 3, 1))
    for truth in (labelled(channels=1), labelled(south=1e-7), plain):
        assert len(Samples.of((labelled(), truth))) == 4
        assert len(Samples.of(({"a": plain, "b": labelled()}, truth))) == 4
        assert len(Samples.of((plain, truth))) == 4
    for other, text in (
        (labelled("2000-01-02"), "time=2000-01-01.* time=2000-01-02.* position 0"),
        (labelled(south=0.5), r"latitude=0\.0 in x and latitude=0\.5 in y"),
    ):
        with pytest.raises(ValueError, match=text):
            Samples.of((labelled(), other))
        with pytest.raises(ValueError, match=text):
            Samples.of(({"a": labelled(), "b": labelled()}, other))
