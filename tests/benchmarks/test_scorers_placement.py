"""Rules of the literature for where to adapt, on cases that are worked out by hand."""

import keras
import numpy as np
import pytest
from scorers import FeatureNorms, KernelCondition, KindOfShift, TangentCondition

from keras_spectral_tl.transfer import Samples


def values(scorer, model, x, y=None, seed=0):
    x = np.asarray(x, "float32")
    y = keras.ops.convert_to_numpy(model(x)) if y is None else y
    data = Samples.of((x, y))
    return dict(scorer(model, data, data, np.random.default_rng(seed)).values)


def dense(*kernels, bias=0.0):
    """A linear network without hidden activations; `bias` in every layer."""
    layers = [
        keras.layers.Dense(np.shape(kernel)[1], name=name)
        for name, kernel in zip("abc", kernels, strict=False)
    ]
    model = keras.Sequential([keras.Input((len(kernels[0]),)), *layers])
    for layer, kernel in zip(layers, kernels, strict=True):
        layer.set_weights([np.array(kernel), np.full(np.shape(kernel)[1], bias)])
    return model


@pytest.mark.parametrize(
    ("x", "expected"),
    [
        # |W x| = 3; by chance |W| |x| / sqrt(2) = 5 / sqrt(2).
        ([[1.0, 0.0]], 3.0 * np.sqrt(2.0) / 5.0),
        # Along the kernel: as large as it can be, the root of the number of inputs.
        ([[3.0, 4.0]], np.sqrt(2.0)),
        ([[30.0, 40.0]], np.sqrt(2.0)),
        # Across it.
        ([[4.0, -3.0]], 0.0),
        # The mean over samples.
        ([[3.0, 4.0], [4.0, -3.0]], np.sqrt(0.5)),
    ],
)
def test_the_feature_norm_of_a_dense_layer(x, expected):
    # Neither a bias nor the scale of the kernel counts.
    for model in (dense([[3.0], [4.0]], bias=7.0), dense([[6.0], [8.0]])):
        assert values(FeatureNorms(), model, x)["a"] == pytest.approx(
            -expected, abs=1e-6
        )


def test_the_feature_norm_of_convolutions():
    """A delta passes fields on as chance would; a mean is aligned with a constant."""
    conv = keras.layers.Conv2D(1, 3, activation="relu", name="conv")
    model = keras.Sequential([keras.Input((6, 6, 1)), conv])
    delta = np.zeros((3, 3, 1, 1))
    delta[1, 1] = -5.0
    ones = np.ones((2, 6, 6, 1))
    for kernel, expected in ((delta, 1.0), (np.ones((3, 3, 1, 1)), 3.0)):
        conv.set_weights([kernel, np.zeros(1)])
        assert values(FeatureNorms(), model, ones)["conv"] == pytest.approx(-expected)


def test_the_feature_norm_of_a_random_kernel_is_about_1():
    rng = np.random.default_rng(1)
    model = dense(rng.normal(size=(200, 300)))
    found = values(FeatureNorms(), model, rng.normal(size=(4, 200)))["a"]
    # |W z|^2 of 300 outputs scatters by sqrt(2 / 300) = .08; four samples.
    assert found == pytest.approx(-1.0, abs=0.1)


def test_the_condition_of_kernels():
    rotation = np.array([[0.6, -0.8], [0.8, 0.6]])
    model = dense(rotation @ np.diag([6.0, 2.0]), rotation, [[1.0], [2.0]])
    found = values(KernelCondition(), model, [[1.0, 0.0]])
    assert found["a"] == pytest.approx(-3.0, rel=1e-6)
    assert found["b"] == pytest.approx(-1.0, rel=1e-6)
    assert np.isnan(found["c"])


def test_the_condition_of_the_tangent_kernel():
    """y = c b x: with dy/dweights of two samples written down.

    Layer a: J = c_a (x_n, 1), so K = c_a^2 (x_m x_n + 1). For x = 3 and -1: the kernel
    ((10, -2), (-2, 2)) has the eigenvalues 6 +- sqrt(20).
    Layer b: its input is w x = 6, -2, so K = ((37, -11), (-11, 5)), 21 +- sqrt(377).
    """
    model = dense([[2.0]], [[5.0]])
    found = values(TangentCondition(), model, [[3.0], [-1.0]])
    for name, mean, half in (("a", 6.0, np.sqrt(20.0)), ("b", 21.0, np.sqrt(377.0))):
        expected = -np.log10((mean + half) / (mean - half))
        assert found[name] == pytest.approx(expected, rel=1e-4)


def test_points_that_depend_on_each_other_have_no_condition():
    # Three samples, two weights; and one sample twice.
    assert (
        values(TangentCondition(), dense([[2.0]]), [[1.0], [2.0], [3.0]])["a"]
        == -np.inf
    )
    with pytest.raises(ValueError, match="num_points"):
        TangentCondition(num_points=1)


def test_points_of_one_field_are_different_and_the_same_for_all_layers():
    """A 1 x 1 convolution of one channel: J = (x_p, 1) at the two points of a field."""
    conv = keras.layers.Conv2D(1, 1, name="conv")
    model = keras.Sequential([keras.Input((2, 1, 1)), conv])
    conv.set_weights([np.full((1, 1, 1, 1), 2.0), np.zeros(1)])
    found = values(TangentCondition(), model, np.reshape([3.0, -1.0], (1, 2, 1, 1)))
    half = np.sqrt(20.0)
    assert found["conv"] == pytest.approx(-np.log10((6 + half) / (6 - half)), rel=1e-4)


@pytest.mark.parametrize(
    ("kind", "order"), [("input", "abcde"), ("feature", "cbdae"), ("output", "edcba")]
)
def test_the_kind_of_shift_says_where_to_begin(kind, order):
    layers = [keras.layers.Dense(2, name=name) for name in "abcde"]
    model = keras.Sequential([keras.Input((2,)), *layers])
    found = values(KindOfShift(kind), model, [[1.0, 2.0]])
    assert "".join(sorted(found, key=lambda name: -found[name])) == order


def test_a_kind_of_shift_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="'label'"):
        KindOfShift("label")
