"""Gains of layers by wavenumber, and shifts before and after retraining."""

import keras
import numpy as np
import pytest

from keras_spectral_tl.layers import PeriodicConv2D
from keras_spectral_tl.spectra import layer_gains, retraining_shifts
from keras_spectral_tl.spectra._convolutions import kernel_transform
from tests.keras_spectral_tl.common import noise

# Activations are computed in float32 (relative 6e-8) and squared.
FLOAT32 = 1e-5


def test_gain_of_a_single_mode_is_the_kernel_transform_squared() -> None:
    conv = PeriodicConv2D(1, 3, use_bias=False, name="conv")
    model = keras.Sequential([keras.Input((16, 12, 1)), conv])
    transform = kernel_transform(np.asarray(conv.kernel)[..., 0, 0], (16, 12))
    x = 2 * np.pi * np.arange(16)[:, None] / 16
    y = 2 * np.pi * np.arange(12)[None, :] / 12
    for kx, ky in ((0, 2), (3, 0), (2, 4)):
        wave = np.cos(kx * x + ky * y)[None, ..., None]
        gain = layer_gains(model, wave)["conv"].linear
        shell = int(np.floor(np.hypot(kx, ky) + 0.5))
        assert gain[shell] == pytest.approx(abs(transform[kx, ky]) ** 2, rel=FLOAT32)


def test_gains_of_linear_part_and_activation_multiply() -> None:
    conv = keras.layers.Conv2D(3, 3, padding="same", activation="relu", name="conv")
    model = keras.Sequential([keras.Input((8, 6, 2)), conv])
    x = noise(5, 8, 6, 2)
    gain = layer_gains(model, x, batch_size=2)["conv"]
    np.testing.assert_allclose(gain.linear * gain.activation, gain.total, rtol=1e-12)
    energy = gain.inputs.sum(), gain.post_activation.sum()
    outputs = model.predict(x, verbose=0)
    assert energy[0] == pytest.approx(np.mean(x**2), rel=FLOAT32)
    assert energy[1] == pytest.approx(np.mean(outputs**2), rel=FLOAT32)


def test_gain_across_grids_keeps_the_complete_shells_of_both() -> None:
    pool = keras.layers.AveragePooling2D(2, name="pool")
    model = keras.Sequential([keras.Input((16, 20, 1)), pool])
    wave = np.sin(2 * 2 * np.pi * np.arange(20) / 20)[None, None, :, None]
    gain = layer_gains(model, wave * np.ones((1, 16, 1, 1)))["pool"].total
    assert gain.shape == (4,)  # 8 points along x: k = 0 .. 3
    # The mean of two neighbours is the middle value times cos(k h / 2).
    assert gain[2] == pytest.approx(np.cos(np.pi * 2 / 20) ** 2, rel=FLOAT32)
    assert np.isnan(gain[3])


def test_model_without_such_layers_is_refused() -> None:
    model = keras.Sequential([keras.Input((4, 2)), keras.layers.ReLU()], name="series")
    with pytest.raises(ValueError, match=r"'series'.*2 spatial axes"):
        layer_gains(model, noise(1, 4, 2))
    assert len(layer_gains(model, noise(1, 4, 2), rank=1)) == 1


def two_layers(gain: float) -> keras.Model:
    layers = [
        PeriodicConv2D(1, 1, use_bias=False, name="first"),
        PeriodicConv2D(1, (3, 1), use_bias=False, name="second"),
    ]
    model = keras.Sequential([keras.Input((16, 16, 1)), *layers])
    layers[0].kernel.assign(np.ones((1, 1, 1, 1)))
    taps = gain * np.array([0.25, 0.5, 0.25])
    layers[1].kernel.assign(taps.reshape(3, 1, 1, 1))
    return model


def test_retraining_a_layer_moves_its_spectrum_and_no_earlier_one() -> None:
    x = noise(4, 16, 16, 1)
    shifts = retraining_shifts(two_layers(1.0), two_layers(3.0), x, 2 * x)
    first, second = shifts["first"], shifts["second"]
    assert first.retraining.gain == 0.0 and first.retraining.distance == 0.0
    assert first.alignment == 0.0
    assert second.data.gain == pytest.approx(np.log(4), rel=FLOAT32)
    assert second.retraining.gain == pytest.approx(np.log(9), rel=FLOAT32)
    assert second.both.gain == pytest.approx(np.log(36), rel=FLOAT32)


def test_retraining_that_undoes_the_shift_of_the_data_is_aligned_to_minus_one() -> None:
    """The target is the base smoothed along y; a new kernel sharpens it again."""
    base = noise(4, 16, 16, 1)
    k = np.arange(9)
    transfer = (1.0 + 0.5 * np.cos(2 * np.pi * k / 16))[None, None, :, None]
    hat = np.fft.rfft2(base, axes=(1, 2)) * transfer
    target = np.fft.irfft2(hat, s=(16, 16), axes=(1, 2)).astype("float32")
    inverse = np.fft.fftshift(np.fft.irfft(1 / transfer.ravel(), 16))
    conv = PeriodicConv2D(1, (1, 17), use_bias=False, name="conv")
    before = keras.Sequential([keras.Input((16, 16, 1)), conv])
    after = keras.models.clone_model(before)
    delta = np.zeros((1, 17, 1, 1))
    delta[0, 8] = 1.0
    conv.kernel.assign(delta)
    sharpening = np.zeros((1, 17, 1, 1))
    sharpening[0, :16, 0, 0] = inverse
    after.layers[-1].kernel.assign(sharpening)
    shift = retraining_shifts(before, after, base, target)["conv"]
    assert shift.data.distance > 0.05
    assert shift.alignment == pytest.approx(-1.0, abs=FLOAT32)
    assert shift.both.distance < FLOAT32
