"""Rehearsed retrainings are those of Keras, and find what a planted layer needs."""

import keras
import numpy as np
import pytest

from keras_spectral_tl import models
from keras_spectral_tl.linearization import LayerFunction
from keras_spectral_tl.metrics import pattern_correlation
from keras_spectral_tl.models import build_sgs_cnn
from keras_spectral_tl.scoring import HeldOutRetraining, score_layers
from keras_spectral_tl.scoring._effort import adam, path_of, rising_and_falling
from keras_spectral_tl.transfer import Samples, retrain
from tests.keras_spectral_tl.common import answer, drawn, teacher_of

SHAPE = (16, 12, 2)
LAYERS = ("conv_1", "conv_2", "conv_3")


def network(kernel_size=3):
    return drawn(build_sgs_cnn(SHAPE, 3, num_filters=4, kernel_size=kernel_size))


def planted(layer, num_samples=12, kernel_size=3):
    """A network and samples of a teacher that differs from it in one layer only."""
    student, rng = network(kernel_size), np.random.default_rng(1)
    teacher = teacher_of(student, rng, layer)
    x = rng.standard_normal((num_samples, *SHAPE)).astype("float32")
    return student, (x, answer(teacher, x))


def scored(scorer, model, data, seed=0):
    target = Samples.of(data)
    return scorer(model, target, target, np.random.default_rng(seed))


@pytest.mark.parametrize("layer", LAYERS)
def test_a_planted_layer_is_found(layer):
    model, target = planted(layer)
    # The rates sum to .3, as far as the weights were moved.
    scorer = HeldOutRetraining(steps=60, learning_rate=1e-2)
    scores = score_layers(model, target, target, [scorer])
    assert scores.ranking[0] == layer
    assert scores.recommended == (layer,)


def test_the_gradient_is_that_of_linear_regression():
    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal((5, 3)), rng.random((5, 2))
    y, values = rng.standard_normal((5, 2)), rng.standard_normal(6)
    layers = [keras.Input((3,)), keras.layers.Dense(2, use_bias=False, name="dense")]
    function = LayerFunction(keras.Sequential(layers), "dense")
    expected = 2.0 * x.T @ (weight * (x @ values.reshape(3, 2) - y))
    np.testing.assert_allclose(
        function.gradient(values, x.astype("float32"), y, weight),
        expected.ravel(),
        rtol=1e-5,
    )
    np.testing.assert_allclose(
        function.outputs(values, x.astype("float32"), batch_size=2),
        x @ values.reshape(3, 2),
        rtol=1e-5,
        atol=1e-6,
    )


def test_the_gradient_of_one_sample_is_its_part_of_the_sum():
    model, (x, y) = planted("conv_2", num_samples=3)
    function, ones = LayerFunction(model, "conv_2"), np.ones_like(y)
    whole = function.gradient(function.start, x, y, ones)
    parts = [
        function.gradient(function.start, x[[i]], y[[i]], ones[[i]])
        for i in range(len(x))
    ]
    scale = np.abs(whole).max()
    np.testing.assert_allclose(np.sum(parts, axis=0), whole, atol=1e-5 * scale)


def test_adam_is_that_of_keras():
    rates = np.array([0.1, 0.3, 0.2, 0.05, 0.01])
    start, rng = np.array([1.0, -2.0, 3.0]), np.random.default_rng(0)
    slopes = rng.standard_normal((5, 3))
    order = np.arange(5)[:, None]
    reached = adam(lambda _, rows: slopes[rows[0]], start, order, rates)
    variable = keras.Variable(start.astype("float32"))
    optimizer = keras.optimizers.Adam(0.1, beta_1=0.9, beta_2=0.99, epsilon=1e-7)
    optimizer.build([variable])
    for slope, rate in zip(slopes, rates, strict=True):
        optimizer.learning_rate = rate
        gradient = keras.ops.convert_to_tensor(slope.astype("float32"))
        optimizer.apply([gradient])
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(variable.value), reached, rtol=1e-5
    )


class OneSample(keras.optimizers.schedules.LearningRateSchedule):
    """Up over a quarter of eight steps, and down as a cosine."""

    def __call__(self, step):
        step = keras.ops.cast(step, "float32")
        rise = keras.ops.minimum((step + 1.0) / 3.0, 1.0)
        fall = keras.ops.maximum(step - 2.0, 0.0) / 6.0
        return 1e-2 * rise * 0.5 * (1.0 + keras.ops.cos(np.pi * fall))


def test_the_score_is_that_of_a_fit_with_keras():
    """Two samples, each held out once: the order of the one to fit is known."""
    # PyTorch cannot train with single samples and kernels of three points a side.
    model, (x, y) = planted("conv_1", num_samples=2, kernel_size=5)
    y = y + 0.3 * np.random.default_rng(2).standard_normal(y.shape).astype("float32")
    values = scored(HeldOutRetraining(steps=8, learning_rate=1e-2), model, (x, y))
    for name in LAYERS:
        after = []
        for fitted, held in ((1, 0), (0, 1)):
            copy = models.copy_model(model)
            for layer in copy.layers:
                layer.trainable = layer.name == name
            copy.compile(keras.optimizers.Adam(OneSample(), beta_2=0.99), "mse")
            copy.fit(x[[fitted]], y[[fitted]], batch_size=1, epochs=8, verbose=0)
            after.append(answer(copy, x[[held]])[0])
        before, after = answer(model, x), np.stack(after)

        def error(q):
            lines = np.stack([q.ravel(), np.ones(q.size)], axis=1)
            fitted = np.linalg.lstsq(lines, y.ravel(), rcond=None)[0]
            return np.sum((y.ravel() - lines @ fitted) ** 2, dtype=float)

        expected = 1.0 - error(after) / error(before)
        assert values.values[name] == pytest.approx(expected, abs=1e-4)
        change = pattern_correlation(y, after) - pattern_correlation(y, before)
        cc = values.evidence[name]["cc_by_step"]
        assert cc[1] - cc[0] == pytest.approx(change, abs=1e-4)


def test_points_of_no_weight_are_not_seen():
    """So one half of a field can be fitted, whatever stands in the other."""
    model, (x, y) = planted("conv_2", num_samples=1)
    function, weight, other = LayerFunction(model, "conv_2"), np.ones_like(y), y.copy()
    weight[:, :8], other[:, :8] = 0.0, 100.0
    ours, theirs = (
        function.gradient(function.start, x, part, weight) for part in (y, other)
    )
    np.testing.assert_array_equal(ours, theirs)


def test_a_retraining_that_diverges_is_a_bad_one():
    model, target = planted("conv_2", num_samples=8)
    scorer = HeldOutRetraining(steps=4, learning_rate=1e38)
    result = scored(scorer, model, target)
    assert all(np.isfinite(value) for value in result.values.values())
    assert max(result.values.values()) <= 0.0


@pytest.mark.once
@pytest.mark.parametrize(("num_points", "expected"), [(1, 1), (6, 2), (64, 9)])
def test_small_samples_are_taken_together(num_points, expected):
    """12 samples of 3 outputs: 9 are fitted."""
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="dense")])
    rng = np.random.default_rng(0)
    data = rng.standard_normal((12, 4)), rng.standard_normal((12, 3))
    data = tuple(part.astype("float32") for part in data)
    costs = [
        scored(
            HeldOutRetraining(steps, num_points=num_points, num_tested=1), model, data
        ).cost.total
        for steps in (5, 10)
    ]
    # A linear layer costs two forward passes a sample: forward, and its gradient.
    assert costs[1] - costs[0] == 5 * expected * 2


@pytest.mark.once
@pytest.mark.parametrize(
    ("options", "divisions"),
    [({"num_tested": 1}, 1), ({"num_tested": 4}, 2), ({}, 4)],
)
def test_few_samples_are_divided_until_enough_are_tested(options, divisions):
    """Eight samples, two of which are held out at a time."""
    model = keras.Sequential([keras.Input((10, 10, 1)), keras.layers.Dense(1)])
    x = np.random.default_rng(0).standard_normal((8, 10, 10, 1)).astype("float32")
    result = scored(HeldOutRetraining(steps=1, **options), model, (x, x))
    ((_, evidence),) = result.evidence.items()
    assert len(evidence["moments_before"]) == 2 * divisions


def test_scores_repeat_and_the_model_is_untouched():
    model, target = planted("conv_3", num_samples=3)
    before = [w.copy() for w in model.get_weights()]
    first, second, other = (
        scored(HeldOutRetraining(steps=3), model, target, seed).values
        for seed in (0, 0, 1)
    )
    assert first == second
    assert first != other
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.once
@pytest.mark.parametrize(
    "options",
    [{"steps": 0}, {"learning_rate": 0.0}, {"num_points": 0}, {"batch_size": 1.5}],
)
def test_wrong_settings_are_refused(options):
    (name,) = options
    with pytest.raises((ValueError, TypeError), match=name):
        HeldOutRetraining(**options)


def rates_of(optimizer, steps):
    """Learning rates that Keras itself uses, step by step."""
    variable = keras.Variable(np.zeros(1, "float32"))
    optimizer.build([variable])
    found = []
    for _ in range(steps):
        found.append(float(keras.ops.convert_to_numpy(optimizer.learning_rate)))
        optimizer.apply([keras.ops.ones(1)])
    return found


@pytest.mark.parametrize("falling", [False, True])
def test_the_path_is_the_sum_of_the_rates_that_keras_takes(falling):
    """16 samples in batches of 4, five epochs: 20 steps."""
    rate = keras.optimizers.schedules.CosineDecay(1e-3, 20) if falling else 3e-4
    recipe = {"optimizer": keras.optimizers.Adam(rate), "epochs": 5, "batch_size": 4}
    expected = sum(rates_of(keras.optimizers.Adam(rate), 20))
    assert path_of(recipe, 16) == pytest.approx(expected, rel=1e-5)
    given = {"learning_rate": rate, "steps": 20}
    assert path_of(given, 16) == pytest.approx(expected, rel=1e-5)


def test_the_defaults_are_those_of_retraining():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, name="d")])
    x = np.random.default_rng(0).standard_normal((40, 2)).astype("float32")
    optimizer = retrain(model, (x, x[:, :1]), "d").model.optimizer
    steps = int(keras.ops.convert_to_numpy(optimizer.iterations))
    rate = float(keras.ops.convert_to_numpy(optimizer.learning_rate))
    assert path_of({}, 40) == pytest.approx(steps * rate, rel=1e-6)


@pytest.mark.once
@pytest.mark.parametrize("steps", [1, 40, 150])
def test_the_rates_of_a_rehearsal_sum_to_the_path_it_stands_for(steps):
    """For every size of network: only the highest rate is scaled."""
    scorer = HeldOutRetraining(steps=steps)
    path = 2e-3 * steps
    matched = scorer.matching(path)
    rates = matched.learning_rate * rising_and_falling(matched.steps)
    assert np.sum(rates) == pytest.approx(path, rel=1e-12)
    assert matched.steps == steps
    # The sweeps of the mini tier: 400 steps falling from 1e-3, .2 in all.
    if steps == 150:
        assert scorer.matching(0.2).learning_rate == pytest.approx(2.65e-3, rel=0.01)
    assert scorer.matching(1e9).learning_rate == 1e-2


@pytest.mark.once
@pytest.mark.parametrize(
    "recipe", [{"epochs": 0}, {"steps": 1.5}, {"learning_rate": -1.0}, {"epoch": 3}]
)
def test_what_is_no_recipe_is_refused(recipe):
    (name,) = recipe
    with pytest.raises((TypeError, ValueError), match=name):
        path_of(recipe, 16)


def test_rates_that_are_not_those_of_adam_are_warned_of():
    with pytest.warns(UserWarning, match="SGD moves weights by rate times gradient"):
        path_of({"optimizer": keras.optimizers.SGD(0.1)}, 16)


def test_splits_of_ones_own_are_used():
    """Trajectories that must not be on both sides."""
    model, target = planted("conv_1", num_samples=6)
    splits = [([0, 1, 2], [3, 4, 5]), ([3, 4, 5], [0, 1])]
    scorer = HeldOutRetraining(steps=2, splits=splits)
    evidence = scored(scorer, model, target).evidence["conv_1"]
    assert len(evidence["moments_before"]) == 5
    for wrong in ([([0, 1], [1, 2])], [([0], [])], [([0], [1]), ([2], [1])], []):
        with pytest.raises(ValueError, match="splits must be pairs"):
            scored(HeldOutRetraining(steps=2, splits=wrong), model, target)
