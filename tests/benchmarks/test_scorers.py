"""Scores from the literature, against values computed without the package."""

import keras
import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import multivariate_normal
from scorers import (
    ActivationEvidence,
    FisherTrace,
    GradientNorm,
    GradientSNR,
    LossConvexity,
    NewtonGain,
    SpectralGainScore,
    SpectralShapeScore,
    SuccessiveHalving,
    sweep_cost,
)
from scorers.activations import log_evidence

from keras_spectral_tl.linearization import LayerLinearization
from keras_spectral_tl.loss_landscape import LayerLoss
from keras_spectral_tl.transfer import Samples

# Products of the networks are in single precision.
SINGLE = 1e-4

WITHOUT_TRAINING = (
    GradientNorm(),
    GradientSNR(),
    FisherTrace(),
    NewtonGain(iterations=1),
    LossConvexity(num_steps=3, num_random=0),
    ActivationEvidence(),
)


def score(scorer, model, target, seed=0):
    data = Samples.of(target)
    return scorer(model, data, data, np.random.default_rng(seed))


class TwoLayers:
    """f = relu(x W + c) v + e with its Jacobians by the chain rule."""

    def __init__(self, num_samples=7, seed=3):
        rng = np.random.default_rng(seed)
        self.x = rng.standard_normal((num_samples, 2))
        self.y = rng.standard_normal((num_samples, 1))
        self.kernel, self.bias = rng.standard_normal((2, 4)), rng.standard_normal(4)
        self.head, self.shift = rng.standard_normal((4, 1)), rng.standard_normal(1)

    @property
    def model(self):
        a = keras.layers.Dense(4, activation="relu", name="a")
        b = keras.layers.Dense(1, name="b")
        model = keras.Sequential([keras.Input((2,)), a, b])
        a.set_weights([self.kernel, self.bias])
        b.set_weights([self.head, self.shift])
        return model

    @property
    def data(self):
        return self.x.astype("float32"), self.y.astype("float32")

    @property
    def hidden(self):
        return np.maximum(self.x @ self.kernel + self.bias, 0.0)

    @property
    def errors(self):
        return self.y - self.hidden @ self.head - self.shift

    def jacobian(self, layer):
        """(samples, weights)."""
        ones = np.ones((len(self.x), 1))
        if layer == "b":
            return np.concatenate([self.hidden, ones], axis=1)
        slope = (self.hidden > 0.0) * self.head[:, 0]
        kernel = self.x[:, :, None] * slope[:, None, :]
        return np.concatenate([kernel.reshape(len(self.x), -1), slope], axis=1)


@pytest.fixture(scope="module")
def net():
    return TwoLayers()


def test_the_gradient_snr_is_over_samples(net):
    scored = score(GradientSNR(), net.model, net.data)
    for name in ("a", "b"):
        gradients = -2.0 * net.errors * net.jacobian(name)
        mean, variance = gradients.mean(axis=0), gradients.var(axis=0, ddof=1)
        varies = variance > 0.0
        expected = np.mean(mean[varies] ** 2 / variance[varies])
        assert scored.values[name] == pytest.approx(expected, rel=SINGLE)


def test_the_gradient_snr_of_dead_units_is_zero(net):
    model = net.model
    model.get_layer("a").set_weights([net.kernel, np.full(4, -100.0)])
    assert score(GradientSNR(), model, net.data).values["a"] == 0.0


def test_the_fisher_trace_is_that_of_the_matrix(net):
    scored = score(FisherTrace(), net.model, net.data)
    variance = np.mean(net.errors**2)
    for name in ("a", "b"):
        slopes = net.errors / variance * net.jacobian(name)
        matrix = slopes.T @ slopes / len(slopes)
        assert scored.values[name] == pytest.approx(np.trace(matrix), rel=SINGLE)


def test_the_fisher_trace_does_not_change_with_the_units_of_the_output(net):
    louder = TwoLayers()
    louder.y, louder.head, louder.shift = 10 * net.y, 10 * net.head, 10 * net.shift
    before, after = (
        score(FisherTrace(), each.model, each.data).values["a"]
        for each in (net, louder)
    )
    assert after == pytest.approx(before, rel=SINGLE)


def test_the_newton_gain_is_the_share_that_least_squares_removes(net):
    scored = score(NewtonGain(iterations=30), net.model, net.data)
    for name in ("a", "b"):
        columns = net.jacobian(name)
        step, *_ = np.linalg.lstsq(columns, net.errors, rcond=None)
        rest = net.errors - columns @ step
        expected = 1.0 - np.sum(rest**2) / np.sum(net.errors**2)
        assert scored.values[name] == pytest.approx(expected, rel=10 * SINGLE)


def test_the_newton_gain_of_one_iteration_is_that_of_steepest_descent(net):
    value = score(NewtonGain(iterations=1), net.model, net.data).values["a"]
    gradient = net.jacobian("a").T @ net.errors
    image = net.jacobian("a") @ gradient
    gain = np.sum(gradient**2) ** 2 / np.sum(image**2)
    assert value == pytest.approx(gain / np.sum(net.errors**2), rel=SINGLE)


def test_nothing_is_gained_where_nothing_is_wrong(net):
    model = net.model
    target = net.data[0], model.predict(net.data[0], verbose=0)
    for scorer in (NewtonGain(), FisherTrace()):
        assert set(score(scorer, model, target).values.values()) == {0.0}


@pytest.mark.parametrize("columns", [3, 7])
def test_the_evidence_is_the_maximum_of_the_marginal_likelihood(columns):
    rng = np.random.default_rng(columns)
    features = rng.standard_normal((9, columns))
    truth = features[:, :2] @ [1.0, -0.5] + 0.4 * rng.standard_normal(9)

    def negative(logarithms):
        prior, noise = np.exp(logarithms)
        covariance = features @ features.T / prior + np.eye(9) / noise
        return -multivariate_normal(np.zeros(9), covariance).logpdf(truth)

    starts = [(0.0, 0.0), (0.0, 2.0), (2.0, 0.0)]
    box = {"method": "Nelder-Mead", "bounds": [(-15.0, 15.0)] * 2}
    best = min(minimize(negative, start, **box).fun for start in starts)
    assert log_evidence(features, truth) == pytest.approx(-best / 9, abs=1e-4)


def test_the_evidence_of_a_dense_layer_is_that_of_its_outputs(net):
    scored = score(ActivationEvidence(), net.model, net.data)
    truth = (net.y[:, 0] - net.y.mean()) / net.y.std()
    expected = log_evidence(net.hidden - net.hidden.mean(axis=0), truth)
    assert scored.values["a"] == pytest.approx(expected, rel=SINGLE)


def test_activations_and_target_are_compared_at_the_same_places():
    """A strided layer that holds the target of every second point explains it all."""
    inputs = keras.Input((8, 6, 1))
    half = keras.layers.Conv2D(1, 1, strides=2, name="half")
    double = keras.layers.UpSampling2D(2)
    last = keras.layers.Conv2D(1, 3, padding="same", name="last")
    model = keras.Model(inputs, last(double(half(inputs))))
    half.set_weights([np.ones((1, 1, 1, 1)), np.zeros(1)])
    x = np.random.default_rng(0).standard_normal((3, 8, 6, 1)).astype("float32")
    y = np.repeat(np.repeat(x[:, ::2, ::2], 2, axis=1), 2, axis=2)
    values = score(ActivationEvidence(max_points=90), model, (x, y)).values
    # Noise of a variance of 1e-12 is the least there is: about 13 nats a point.
    assert values["half"] > 10.0 > values["last"]


def test_activations_without_a_place_have_no_evidence():
    inputs = keras.Input((4, 4, 1))
    means = keras.layers.GlobalAveragePooling2D()(inputs)
    gate = keras.layers.Dense(2, name="gate")(means)
    conv = keras.layers.Conv2D(2, 1, name="conv")(inputs)
    out = keras.layers.Conv2D(1, 1, name="out")(conv * gate[:, None, None, :])
    x = np.random.default_rng(0).standard_normal((3, 4, 4, 1)).astype("float32")
    values = score(ActivationEvidence(), keras.Model(inputs, out), (x, x**2)).values
    assert np.isnan(values["gate"])
    assert np.isfinite([values["conv"], values["out"]]).all()


def wave(weight=1.0):
    dense = keras.layers.Dense(1, keras.ops.sin, use_bias=False, name="wave")
    model = keras.Sequential([keras.Input((1,)), dense])
    dense.set_weights([np.array([[weight]])])
    return model


def test_the_convexity_is_that_of_the_lines_of_the_loss():
    x, y = np.array([[1.0], [4.0]], "float32"), np.array([[0.5], [1.0]], "float32")
    scored = score(LossConvexity(num_random=1, reach=2.0), wave(), (x, y))
    steps = np.linspace(-2.0, 2.0, 9)
    weights = 1.0 + np.outer(steps, [1.0, -1.0])
    losses = np.mean((np.sin(weights[..., None] * x[:, 0]) - y[:, 0]) ** 2, axis=-1)
    evidence = scored.evidence["wave"]
    for name in ("gradient", "random 1"):
        # A single weight has two directions, of its own length.
        distance = np.abs(evidence[name][:, None] - losses).max(axis=0)
        assert distance.min() < SINGLE
    # By hand: the lower hull of the points is that of the cheapest pairs around each.
    line = evidence["gradient"]
    hull = [
        min(
            np.interp(s, [steps[i], steps[j]], [line[i], line[j]])
            for i in range(k + 1)
            for j in range(k, 9)
            if i < j or i == j == k
        )
        for k, s in enumerate(steps)
    ]
    expected = 1.0 - np.max(line - hull) / np.ptp(line)
    assert expected < 0.9
    assert scored.values["wave"] == pytest.approx(expected, rel=SINGLE)


def test_the_loss_of_a_linear_layer_is_convex(net):
    assert score(LossConvexity(), net.model, net.data).values["b"] == 1.0


def test_a_loss_that_is_not_finite_has_no_convexity():
    x = np.ones((2, 1), "float32")
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, name="d")])
    model.get_layer("d").set_weights([np.array([[3e19]]), np.zeros(1)])
    assert np.isnan(score(LossConvexity(), model, (x, x)).values["d"])


@pytest.fixture(scope="module")
def halving():
    """Three layers; behind the dead units of b nothing but c can mend anything."""
    layers = [keras.layers.Dense(6, "tanh", name="a")]
    layers += [keras.layers.Dense(6, "relu", name="b"), keras.layers.Dense(2, name="c")]
    model = keras.Sequential([keras.Input((3,)), *layers])
    layers[1].set_weights([np.ones((6, 6)), np.full(6, -100.0)])
    x = np.random.default_rng(5).standard_normal((20, 3)).astype("float32")
    y = np.ones((20, 2), "float32")
    scorer = SuccessiveHalving(steps=24, learning_rate=0.03)
    return model, (x, y), scorer, score(scorer, model, (x, y))


def test_halving_finds_the_layer_that_can_mend(halving):
    scored = halving[-1]
    assert max(scored.values, key=scored.values.get) == "c"
    for name in ("a", "b"):
        assert scored.evidence[name]["error_ratio"] == pytest.approx(
            [1.0] * len(scored.evidence[name]["steps"]), rel=SINGLE
        )
    assert scored.evidence["c"]["error_ratio"][0] < 1.0


def test_the_better_half_goes_on_with_twice_the_steps(halving):
    evidence, values = halving[-1].evidence, halving[-1].values
    rounds = sorted(len(row["steps"]) for row in evidence.values())
    assert rounds == [1, 2, 3]
    for name, row in evidence.items():
        survived = len(row["steps"]) - 1
        assert row["steps"] == [24 * 2**k for k in range(survived + 1)]
        assert survived < values[name] <= survived + 1
    assert len(evidence["c"]["steps"]) == 3


def test_the_passes_of_halving_are_those_of_its_runs(halving):
    _, _, _, scored = halving
    # Multiply-adds 18, 36, 12 of a, b, c. A step from stored activations: forward from
    # the layer on, the gradient of its weights, backward through the layers after it.
    passes = {"a": (66 + 18 + 48) / 66, "b": (48 + 36 + 12) / 66, "c": (12 + 12) / 66}
    # 15 of the 20 samples train, in 4 batches: 24 steps are 6 epochs.
    expected = 5.0
    for round_number in range(3):
        expected += 15 + 5
        for name, row in scored.evidence.items():
            if len(row["steps"]) > round_number:
                expected += 6 * 2**round_number * 15 * passes[name] + 5
    assert scored.cost.forward == np.ceil(round(expected, 6))
    assert scored.cost.backward == 0


def test_halving_leaves_the_model_as_it_is(halving):
    model, (x, y), _, _ = halving
    before = [w.copy() for w in model.get_weights()]
    score(SuccessiveHalving(steps=1), model, (x, y))
    after = model.get_weights()
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))


def test_the_cost_of_a_sweep_is_counted_in_passes(halving):
    model = halving[0]
    training = 10 * 4 * ((66 + 18 + 48) + (48 + 36 + 12) + (12 + 12)) / 66
    testing = 7 * (66 + 48 + 12) / 66
    cost = sweep_cost(model, num_target=4, num_test=7, epochs=10)
    assert cost.total == np.ceil(4 + 7 + training + testing)
    with pytest.raises(ValueError, match=r"epochs.*0"):
        sweep_cost(model, 4, 7, epochs=0)


def test_one_sample_has_no_spread_and_leaves_none_to_hold_out(net):
    one = TwoLayers(num_samples=1)
    for scorer in (GradientSNR(), SuccessiveHalving()):
        scored = score(scorer, one.model, one.data)
        assert np.isnan(list(scored.values.values())).all()
        assert scored.cost.total == 0
    for scorer in WITHOUT_TRAINING[2:5]:
        assert np.isfinite(
            list(score(scorer, one.model, one.data).values.values())
        ).all()


@pytest.mark.parametrize("scorer", WITHOUT_TRAINING, ids=lambda s: s.name)
def test_nested_models_are_scored_layer_by_layer(scorer):
    inner = keras.Sequential(
        [keras.Input((3,)), keras.layers.Dense(4, "tanh", name="deep")], name="inner"
    )
    model = keras.Sequential(
        [keras.Input((3,)), inner, keras.layers.Dense(1, name="head")]
    )
    x = np.random.default_rng(0).standard_normal((5, 3)).astype("float32")
    scored = score(scorer, model, (x, x[:, :1] ** 2))
    assert set(scored.values) == {"inner/deep", "head"}
    assert np.isfinite(list(scored.values.values())).all()
    assert scored.cost.total > 0


@pytest.mark.parametrize(
    ("scorer", "options", "message"),
    [
        (NewtonGain, {"iterations": 0}, r"iterations.*0"),
        (LossConvexity, {"num_steps": 4}, r"odd.*4"),
        (LossConvexity, {"reach": float("nan")}, r"reach.*nan"),
        (ActivationEvidence, {"max_points": 2}, r"max_points.*2"),
        (SuccessiveHalving, {"held_out": 1.0}, r"held_out.*1\.0"),
        (SuccessiveHalving, {"steps": True}, r"steps.*True"),
    ],
)
def test_bad_options_are_refused(scorer, options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        scorer(**options)


@pytest.mark.parametrize("rank", [1, 2])
def test_gain_and_shape_of_a_spectral_shift_are_apart(rank):
    """A louder target shifts the gain alone, another wave the shape alone."""
    conv = (keras.layers.Conv1D, keras.layers.Conv2D)[rank - 1](1, 1, name="conv")
    model = keras.Sequential([keras.Input((8,) * rank + (1,)), conv])
    conv.set_weights([np.ones((1,) * rank + (1, 1)), np.zeros(1)])
    wave = np.cos(2.0 * np.pi * np.arange(8) / 8)
    fields = wave if rank == 1 else np.tile(wave[:, None], (1, 8))
    x = fields[None, ..., None].astype("float32")
    shorter = x[:, (2 * np.arange(8)) % 8]
    for scorer, louder, other in (
        (SpectralGainScore(), np.log(9.0), 0.0),
        (SpectralShapeScore(), 0.0, 1.0),
    ):
        base = Samples.of((x, x))
        for target, expected in ((3.0 * x, louder), (shorter, other)):
            data = Samples.of((target, target))
            scored = scorer(model, base, data, np.random.default_rng(0))
            assert scored.values["conv"] == pytest.approx(expected, abs=1e-5)
            assert scored.cost.total == 2


def counted(monkeypatch, kind, names):
    """Samples that go through compiled functions of `kind`, by name."""
    counts = dict.fromkeys(names, 0)
    make = kind.__init__

    def counting(name, function):
        def call(*arguments):
            counts[name] += len(keras.tree.flatten(arguments[-1])[0])
            return function(*arguments)

        return call

    def made(self, *arguments, **options):
        make(self, *arguments, **options)
        for name in names:
            setattr(self, name, counting(name, getattr(self, name)))

    monkeypatch.setattr(kind, "__init__", made)
    return counts


@pytest.mark.parametrize(
    "scorer",
    [GradientNorm(), GradientSNR(), FisherTrace(), NewtonGain(2, batch_size=5)],
    ids=lambda scorer: scorer.name,
)
def test_costs_are_the_passes_taken(net, monkeypatch, scorer):
    counts = counted(monkeypatch, LayerLinearization, ("_jvp", "_vjp"))
    cost = score(scorer, net.model, net.data).cost
    # One forward pass of every sample for the errors; two in forward mode.
    assert cost.forward == len(net.x) + 2 * counts["_jvp"] + counts["_vjp"]
    assert cost.backward == counts["_vjp"]


def test_the_cost_of_the_landscape_is_the_passes_taken(net, monkeypatch):
    counts = counted(monkeypatch, LayerLoss, ("_value", "_gradient"))
    cost = score(LossConvexity(), net.model, net.data).cost
    assert cost.forward == counts["_value"] + counts["_gradient"]
    assert cost.backward == counts["_gradient"]
