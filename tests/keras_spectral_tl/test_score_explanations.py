"""Reasons of scores on fields of any rank and layout, and inputs of open size."""

import keras
import numpy as np
import pytest

from keras_spectral_tl.scoring import HeldOutRetraining, score_layers
from keras_spectral_tl.scoring._evidence import (
    least_removed,
    moments,
)
from keras_spectral_tl.scoring._explanation import explain_spectra, kernel_profiles

ROOT_OF_ROUND_OFF = 1e-7
# TensorFlow has no convolutions with channels first on a CPU.
LAYOUTS = ("channels_last", "channels_first")[
    : 2 - (keras.backend.backend() == "tensorflow")
]


def test_several_inputs_of_open_size_are_scored():
    a, b = (keras.Input((None, None, 1), name=name) for name in "ab")
    together = keras.layers.Concatenate()([a, b])
    convolution = keras.layers.Conv2D(1, 3, padding="same", name="only")
    model = keras.Model([a, b], convolution(together))
    rng = np.random.default_rng(0)
    x = [rng.normal(size=(4, 8, 8, 1)).astype("float32") for _ in range(2)]
    scores = score_layers(model, (x, x[0]), (x, x[1]), [HeldOutRetraining(steps=2)])
    assert scores.ranking == ("only",)
    fixed = keras.Model(*_fixed_inputs(convolution))
    again = score_layers(fixed, (x, x[0]), (x, x[1]), [HeldOutRetraining(steps=2)])
    name = "held_out_retraining"
    assert scores.results[name].cost == again.results[name].cost


def _fixed_inputs(convolution):
    a, b = (keras.Input((8, 8, 1), name=name) for name in "ab")
    return [a, b], convolution(keras.layers.Concatenate()([a, b]))


def _convolutions(rank, data_format):
    """Two convolutions on 8 points a side; what they map to is given."""
    layer = getattr(keras.layers, f"Conv{rank}D")
    sides = (8,) * rank
    first = data_format == "channels_first"
    options = dict(padding="same", data_format=data_format)
    layers = [layer(2, 3, name="one", **options), layer(1, 3, name="two", **options)]
    shape = (1, *sides) if first else (*sides, 1)
    return keras.Sequential([keras.Input(shape), *layers])


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("data_format", LAYOUTS)
def test_reasons_are_along_the_spatial_axes(rank, data_format):
    model = _convolutions(rank, data_format)
    axis = 2 if data_format == "channels_first" else 1
    x = np.random.default_rng(1).normal(size=(3, *model.input_shape[1:]))
    wave = np.cos(2 * np.pi * 2 * np.arange(8) / 8)  # k = 2 along the first axis
    y = np.zeros_like(x) + wave.reshape(-1, *(1,) * (x.ndim - axis - 1))
    x, y = x.astype("float32"), y.astype("float32")
    scores = score_layers(model, (x, 2 * y), (x, y), [HeldOutRetraining(steps=2)])
    assert scores.provenance["grid"] == [8] * rank
    assert scores.systems["target"].argmax() == 2
    assert scores.systems["target"][2] == pytest.approx(0.5)
    evidence = scores.explain("one")["held_out_retraining"]
    assert evidence["residual_spectrum_before"].argmax() == 2
    assert evidence["why"]
    assert len(scores.kernels["one"]) >= 5


def _differences(points):
    """One layer of central differences: |F(k)| = |sin(2 pi k / points)|."""
    layer = keras.layers.Conv1D(1, 3, padding="same", name="deep")
    layer.build((None, points, 1))
    layer.set_weights([np.reshape((-0.5, 0.0, 0.5), (3, 1, 1)), np.zeros(1)])
    return layer


def test_what_kernels_pass_is_relative_to_white_noise():
    """The mean of sin^2 over the modes is 1 / 2."""
    layer = _differences(16)
    model = keras.Sequential([keras.Input((16, 1)), layer])
    profile = kernel_profiles(model, ["deep"], (16,))["deep"]
    expected = np.sqrt(2.0) * np.abs(np.sin(2 * np.pi * np.arange(9) / 16))
    np.testing.assert_allclose(profile, expected, atol=ROOT_OF_ROUND_OFF)
    for k, removed in ((1, [1.0]), (4, [1.0]), (0, [0.25, 0.75])):
        before, after = np.ones(9), np.ones(9)
        after[k : k + len(removed)] -= removed
        spectra = {"residual_spectrum_before": before, "residual_spectrum_after": after}
        found = explain_spectra(spectra, {}, profile)
        weighted = np.dot(removed, expected[k : k + len(removed)] ** 2)
        assert found["kernels_pass"] == pytest.approx(np.sqrt(weighted))
        assert f"{np.sqrt(weighted):.2f} times" in found["why"]
    assert np.isnan(explain_spectra(spectra, {})["kernels_pass"])


def test_a_kernel_behind_a_pooling_is_shown_on_its_own_grid():
    """Of the pooled grid's 8 points; the wavenumbers behind 4 it does not see."""
    pooled = _differences(8)
    layers = [keras.layers.AveragePooling1D(2), pooled, keras.layers.UpSampling1D()]
    model = keras.Sequential([keras.Input((16, 1)), *layers])
    profile = kernel_profiles(model, ["deep"], (16,))["deep"]
    expected = np.sqrt(2.0) * np.abs(np.sin(2 * np.pi * np.arange(5) / 8))
    np.testing.assert_allclose(profile, expected, atol=ROOT_OF_ROUND_OFF)
    before, after = np.zeros(9), np.zeros(9)
    before[[2, 6]] = 1.0
    spectra = {"residual_spectrum_before": before, "residual_spectrum_after": after}
    found = explain_spectra(spectra, {}, profile)
    assert found["kernels_pass"] == pytest.approx(np.sqrt(expected[2] ** 2 / 2))


def test_a_transposed_kernel_is_shown_on_the_grid_of_its_outputs():
    """Two ones: |F(k)| = 2 cos(pi k / 16), 2 on average over the squares."""
    layer = keras.layers.Conv1DTranspose(1, 2, strides=2, name="up", padding="same")
    model = keras.Sequential([keras.Input((8, 1)), layer])
    layer.set_weights([np.ones((2, 1, 1)), np.zeros(1)])
    profile = kernel_profiles(model, ["up"], (16,))["up"]
    expected = np.sqrt(2.0) * np.cos(np.pi * np.arange(9) / 16)
    np.testing.assert_allclose(profile, expected, atol=ROOT_OF_ROUND_OFF)


def test_a_kernel_too_wide_for_another_layers_grid_takes_no_profile_away():
    wide = keras.layers.Conv1D(1, 7, padding="same", name="wide")
    layers = [wide, keras.layers.AveragePooling1D(4), _differences(4)]
    model = keras.Sequential([keras.Input((16, 1)), *layers])
    assert set(kernel_profiles(model, ["wide", "deep"], (16,))) == {"wide", "deep"}


def test_layers_without_a_spectrum_have_no_profile():
    layers = [
        keras.layers.Conv1D(1, 5, name="wide"),
        keras.layers.Dense(2, name="dense"),
    ]
    zero = keras.layers.Conv1D(2, 3, name="zero", kernel_initializer="zeros")
    model = keras.Sequential([keras.Input((None, 1)), zero, *layers])
    names = ["zero", "wide", "dense", "a name of the scorer's own"]
    assert kernel_profiles(model, names, (4,)) == {}
    assert list(kernel_profiles(model, names, (8,))) == ["wide"]
    assert kernel_profiles(model, names, ()) == {}


@pytest.mark.once
def test_the_bound_on_what_is_removed_holds_as_often_as_it_says():
    """Six changes that remove nothing: the best seems to, in one of twenty at most."""
    rng, trials, wrong = np.random.default_rng(2), 400, 0
    for _ in range(trials):
        y = rng.normal(size=(4, 1000))
        before = y + rng.normal(size=y.shape)
        bounds = []
        for _ in range(6):
            after = y + rng.normal(size=y.shape) * rng.normal(1.0, 0.05, (4, 1))
            sums = {"before": moments(y, before), "after": moments(y, after)}
            evidence = {f"moments_{key}": value for key, value in sums.items()}
            bounds.append(least_removed(evidence, 0.05 / 6))
        wrong += max(bounds) > 0.0
    # Half of it would be lost to ties of the samples; five standard deviations above.
    assert wrong / trials < 0.05 + 5 * np.sqrt(0.05 * 0.95 / trials)


@pytest.mark.once
def test_the_bound_comes_near_to_what_is_removed():
    y = np.random.default_rng(3).normal(size=(4, 50_000))
    noise = np.random.default_rng(4).normal(size=y.shape)
    evidence = {
        "moments_before": moments(y, y + noise),
        "moments_after": moments(y, y + 0.5 * noise),
    }
    removed = 1.0 - (1.0 / (1.0 + 4.0)) / (1.0 / 2.0)  # 1 - CC^2 = v / (1 + v)
    found = least_removed(evidence, 0.01)
    assert 0.95 * removed < found < removed
    assert least_removed({k: v[:1] for k, v in evidence.items()}, 0.01) == -np.inf


@pytest.mark.once
@pytest.mark.parametrize("num_samples", [2, 8])
def test_noise_is_no_reason_to_retrain(num_samples):
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(4, 3, padding="same", activation="relu", name="one"),
            keras.layers.Conv2D(1, 3, padding="same", name="two"),
        ]
    )
    model.run_eagerly = True
    recommended = 0
    for seed in range(6):
        rng = np.random.default_rng(seed)
        x, y = rng.normal(size=(2, num_samples, 8, 8, 1)).astype("float32")
        scores = score_layers(
            model, (x, y), (x, y), [HeldOutRetraining(steps=20)], seed=seed
        )
        recommended += bool(scores.recommended)
        assert scores.abstained == (not scores.recommended)
        assert sum(scores.chances.values()) == pytest.approx(1.0)
    assert recommended <= 1
