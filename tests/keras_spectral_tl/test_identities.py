"""Exact spectral identities of layers, with their residuals."""

import keras
import numpy as np
import pytest

from keras_spectral_tl.layers.periodic_conv2d import PeriodicConv2D
from keras_spectral_tl.layers.periodic_padding2d import PeriodicPadding2D
from keras_spectral_tl.spectra import (
    convolution_residuals,
    relu_energy_moved,
    relu_residuals,
)

# The layers run in float32 (6e-8 a term, tens of terms an output); the prediction and
# the comparison run in float64.
FLOAT32 = 1e-6
# The ReLU identity runs in float64 throughout, on sums of at most 200 terms.
FLOAT64 = 1e-13
# Zero padding is wrong on the border: here a third of the points.
CLEARLY_WRONG = 0.05


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def model_of(
    *layers: keras.layers.Layer, shape: tuple[int, int, int] = (14, 12, 4)
) -> keras.Model:
    """A model of these layers with no bias at zero."""
    model = keras.Sequential([keras.Input(shape), *layers])
    for layer in layers:
        if getattr(layer, "bias", None) is not None:
            layer.bias.assign(np.linspace(0.5, 1.0, layer.bias.shape[0]))
    return model


@pytest.mark.parametrize("kernel_size", [1, 4, (3, 5)])
@pytest.mark.parametrize("dilation", [1, 2])
def test_periodic_convolution_is_diagonal_in_fourier_space(
    kernel_size: int | tuple[int, int], dilation: int
) -> None:
    first = PeriodicConv2D(
        3, kernel_size, dilation_rate=dilation, activation="relu", name="first"
    )
    model = model_of(first, PeriodicConv2D(1, kernel_size, name="second"))
    result = convolution_residuals(model, noise(3, 14, 12, 4), batch_size=2)
    assert list(result.residuals) == ["first", "second"]
    assert max(result.residuals.values()) < FLOAT32
    assert result.exact() == ("first", "second")


def test_padding_by_a_separate_layer_is_recognised() -> None:
    model = model_of(PeriodicPadding2D(2), keras.layers.Conv2D(3, 5, name="conv"))
    residuals = convolution_residuals(model, noise(2, 14, 12, 4)).residuals
    assert residuals["conv"] < FLOAT32


def test_groups_and_depthwise_kernels_act_on_their_own_inputs() -> None:
    grouped = PeriodicConv2D(6, 3, groups=2, name="grouped")
    depthwise = keras.layers.DepthwiseConv2D(3, depth_multiplier=2, name="depthwise")
    model = model_of(grouped, PeriodicPadding2D(1), depthwise)
    residuals = convolution_residuals(model, noise(2, 14, 12, 4)).residuals
    assert set(residuals) == {"grouped", "depthwise"}
    assert max(residuals.values()) < FLOAT32


def test_separable_convolution_is_covered() -> None:
    separable = keras.layers.SeparableConv2D(3, 3, depth_multiplier=2, name="separable")
    model = model_of(PeriodicPadding2D(1), separable)
    residuals = convolution_residuals(model, noise(2, 14, 12, 4)).residuals
    assert residuals["separable"] < FLOAT32


@pytest.mark.parametrize("kernel_size", [3, 4, 5])
def test_transposed_convolution_convolves(kernel_size: int) -> None:
    # A field that vanishes near the border does not notice how it is padded.
    field = np.zeros((1, 14, 12, 2), "float32")
    field[:, 4:9, 4:8] = noise(1, 5, 4, 2)
    layer = keras.layers.Conv2DTranspose(
        3, kernel_size, padding="same", use_bias=False, name="up"
    )
    model = model_of(layer, shape=(14, 12, 2))
    assert convolution_residuals(model, field).residuals["up"] < FLOAT32


@pytest.mark.parametrize(
    "layer",
    [
        keras.layers.Conv2D(3, 5, padding="same", name="conv"),
        keras.layers.DepthwiseConv2D(5, padding="same", name="conv"),
        keras.layers.Conv2DTranspose(3, 5, padding="same", name="conv"),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_zero_padding_is_reported_as_not_exact(layer: keras.layers.Layer) -> None:
    result = convolution_residuals(model_of(layer), noise(2, 14, 12, 4))
    assert result.residuals["conv"] > CLEARLY_WRONG
    assert result.exact() == ()


def test_strided_layers_are_left_out() -> None:
    strided = keras.layers.Conv2D(3, 3, strides=2, name="strided")
    model = model_of(PeriodicConv2D(2, 3, name="conv"), strided)
    result = convolution_residuals(model, noise(1, 14, 12, 4))
    assert result.left_out == ("strided",)
    assert list(result.residuals) == ["conv"]


def test_model_without_convolutions_is_refused() -> None:
    model = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.ReLU(name="relu")])
    with pytest.raises(ValueError, match=r"layers called: \['relu'\]"):
        convolution_residuals(model, noise(1, 4, 4, 1))


@pytest.mark.parametrize("num_wavenumbers", [1, 20, 1000])
def test_relu_is_a_circular_convolution_with_its_active_set(
    num_wavenumbers: int,
) -> None:
    model = model_of(
        PeriodicConv2D(3, 3, activation="relu", name="conv"),
        PeriodicConv2D(2, 3, name="linear"),
        keras.layers.ReLU(name="relu"),
        keras.layers.Activation("tanh", name="tanh"),
    )
    residuals = relu_residuals(
        model, noise(2, 14, 12, 4), num_wavenumbers=num_wavenumbers
    )
    assert set(residuals) == {"conv", "relu"}
    assert max(residuals.values()) < FLOAT64


def test_number_of_wavenumbers_is_checked() -> None:
    with pytest.raises(ValueError, match="Received 0"):
        relu_residuals(model_of(), noise(1, 14, 12, 4), num_wavenumbers=0)


def relu_model(shape: tuple[int, int, int]) -> keras.Model:
    return keras.Sequential([keras.Input(shape), keras.layers.ReLU(name="relu")])


def test_relu_of_a_wave_moves_half_its_energy_to_known_wavenumbers() -> None:
    n, k = 64, 2
    wave = np.cos(2 * np.pi * k * (np.arange(n) + 0.5) / n)
    x = np.broadcast_to(wave[None, :, None, None], (1, n, 4, 1)).astype("float32")
    moved = relu_energy_moved(relu_model((n, 4, 1)), x)["relu"]
    # max(cos, 0) = 1 / pi + cos / 2 + (2 / 3 pi) cos(2 .) - ..., mean square 1 / 4;
    # aliases of the n / k = 32 points a period change this by 1 %.
    assert moved.share == pytest.approx(0.5, abs=FLOAT32)
    assert moved.active_fraction == 0.5
    assert moved.by_wavenumber[0] == pytest.approx(4 / np.pi**2, rel=0.01)
    harmonic = 4 * (2 / (3 * np.pi)) ** 2 / 2
    assert moved.by_wavenumber[2 * k] == pytest.approx(harmonic, rel=0.02)
    assert moved.by_wavenumber[k] < FLOAT32


def test_moved_share_is_one_minus_the_energy_ratio() -> None:
    x = noise(1, 12, 10, 1) + 0.4
    moved = relu_energy_moved(relu_model((12, 10, 1)), x)["relu"]
    ratio = np.mean(x.clip(0) ** 2) / np.mean(x**2)
    assert moved.share == pytest.approx(1 - ratio, abs=FLOAT32)
    assert moved.by_wavenumber.sum() == pytest.approx(moved.share)
    assert moved.active_fraction == np.mean(x > 0)


def test_relu_that_is_always_or_never_active_moves_nothing() -> None:
    positive = np.abs(noise(1, 8, 8, 1)) + 0.1
    for x, fraction in ((positive, 1.0), (-positive, 0.0)):
        moved = relu_energy_moved(relu_model((8, 8, 1)), x)["relu"]
        assert moved.share == pytest.approx(0.0, abs=1e-12)
        assert moved.active_fraction == fraction
