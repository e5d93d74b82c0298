"""Controls of scores: orders that know nothing, and one that knows the answer."""

import keras
import numpy as np
import pytest
from scipy.stats import kstest, pareto
from scorers import (
    FirstLayer,
    FixedDepth,
    LastLayer,
    MeasuredOrder,
    PowerLawAlpha,
    RandomOrder,
)
from scorers.rules import fit_power_law

from keras_spectral_tl.scoring import Cost
from keras_spectral_tl.transfer import Samples

NAMES = ("a", "b", "c", "d")


@pytest.fixture(scope="module")
def model():
    layers = [keras.layers.Dense(8, name=name) for name in NAMES]
    return keras.Sequential([keras.Input((8,)), *layers])


def order(scorer, model, seed=0):
    x = np.zeros((1, 8), "float32")
    data = Samples.of((x, x))
    scored = scorer(model, data, data, np.random.default_rng(seed))
    return "".join(sorted(scored.values, key=lambda name: -scored.values[name]))


def test_orders_by_depth(model):
    assert order(FirstLayer(), model) == "abcd"
    assert order(LastLayer(), model) == "dcba"
    assert order(FixedDepth(1), model) == "abcd"
    assert order(FixedDepth(2), model)[0] == "b"
    assert order(FixedDepth(2), model)[-1] == "d"
    assert order(FixedDepth(-2), model)[0] == "c"
    assert order(FixedDepth(9), model) == "dcba"
    assert FixedDepth(2).name != FixedDepth(3).name
    with pytest.raises(ValueError, match=r"depth.*0"):
        FixedDepth(0)


def test_random_orders_are_uniform_and_repeat(model):
    orders = [order(RandomOrder(), model, seed) for seed in range(480)]
    assert order(RandomOrder(), model, 7) == orders[7]
    for place in range(4):
        counts = [sum(o[place] == name for o in orders) for name in NAMES]
        # Binomial with mean 120 and standard deviation 9.5: five of them.
        assert max(abs(count - 120) for count in counts) < 48


def test_the_measured_order_is_the_sweeps(model):
    measured = {"a": 0.1, "b": 0.4, "c": 0.3, "d": 0.2}
    assert order(MeasuredOrder(measured, Cost(9)), model) == "bcda"
    with pytest.raises(KeyError, match="'d'"):
        order(MeasuredOrder({"a": 0.1, "b": 0.4, "c": 0.3}, Cost(9)), model)


def test_the_power_law_is_the_likeliest_and_its_start_the_nearest():
    values = 1.0 + np.random.default_rng(2).pareto(1.5, 80)
    alpha, least = fit_power_law(values)
    distances = {}
    for start in np.sort(values)[:-4]:
        tail = values[values >= start]
        exponent, *_ = pareto.fit(tail, floc=0.0, fscale=start)
        distances[start] = kstest(tail, pareto(exponent, scale=start).cdf).statistic
        if start == least:
            assert alpha == pytest.approx(1.0 + exponent, rel=1e-6)
    assert distances[least] == pytest.approx(min(distances.values()), rel=1e-9)


def test_the_exponent_of_a_known_law_is_recovered():
    # Quantiles instead of draws: no chance in it.
    shares = (np.arange(4000) + 0.5) / 4000
    alpha, least = fit_power_law((1.0 - shares) ** (-1.0 / 2.0))
    assert alpha == pytest.approx(3.0, abs=0.05)
    assert least < 1.1


def test_too_few_eigenvalues_have_no_exponent():
    assert np.isnan(fit_power_law(np.arange(1.0, 5.0))).all()
    assert np.isnan(fit_power_law(np.full(20, 3.0))).all()
    head = keras.layers.Dense(1, name="head")
    model = keras.Sequential([keras.Input((8,)), head])
    data = Samples.of((np.zeros((1, 8)), np.zeros((1, 1))))
    scored = PowerLawAlpha()(model, data, data, np.random.default_rng(0))
    assert np.isnan(scored.values["head"])


def test_eigenvalues_of_a_convolution_are_those_of_its_taps():
    conv = keras.layers.Conv2D(3, (1, 2), use_bias=False, name="conv")
    model = keras.Sequential([keras.Input((4, 4, 3)), conv])
    kernel = np.random.default_rng(1).standard_normal((1, 2, 3, 3)).astype("float32")
    conv.set_weights([kernel])
    data = Samples.of((np.zeros((1, 4, 4, 3)), np.zeros((1, 4, 3, 3))))
    scored = PowerLawAlpha()(model, data, data, np.random.default_rng(0))
    taps = [np.linalg.eigvalsh(tap.T @ tap) for tap in kernel[0].astype(float)]
    expected = np.sort(np.concatenate(taps))
    assert scored.evidence["conv"]["eigenvalues"] == pytest.approx(expected, rel=1e-6)
