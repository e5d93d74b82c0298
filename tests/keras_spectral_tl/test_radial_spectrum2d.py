"""The spectrum layer: equal to the NumPy one, differentiable, serialisable."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_spectral_tl.layers import RadialSpectrum2D
from keras_spectral_tl.spectra import radial_spectrum
from tests.keras_spectral_tl.common import noise

# float32 FFTs of up to 1,000 points, squared: a few units of 1.2e-7 of the total.
FLOAT32 = 2e-6
SHAPES = [(16, 16), (16, 12), (9, 14), (7, 5)]


@pytest.mark.parametrize("shape", SHAPES)
def test_layer_matches_the_numpy_spectrum(shape: tuple[int, int]) -> None:
    x = noise(3, *shape, 2)
    spectrum = ops.convert_to_numpy(RadialSpectrum2D()(x))
    expected = np.moveaxis(radial_spectrum(x, axes=(1, 2)), 1, 2)
    assert spectrum.shape == expected.shape
    np.testing.assert_allclose(spectrum, expected, atol=FLOAT32)


@pytest.mark.parametrize("shape", SHAPES)
def test_parseval(shape: tuple[int, int]) -> None:
    x = noise(2, *shape, 3)
    total = ops.convert_to_numpy(RadialSpectrum2D()(x)).sum(axis=1)
    np.testing.assert_allclose(total, np.mean(x**2, axis=(1, 2)), rtol=FLOAT32)


def test_channels_first_is_the_same_with_axes_moved() -> None:
    x = noise(2, 12, 8, 3)
    last = ops.convert_to_numpy(RadialSpectrum2D("channels_last")(x))
    first = RadialSpectrum2D("channels_first")(np.moveaxis(x, -1, 1))
    np.testing.assert_allclose(
        ops.convert_to_numpy(first), np.moveaxis(last, -1, 1), atol=FLOAT32
    )


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_symbolic_shape_is_the_real_one(data_format: str) -> None:
    inputs = keras.Input((10, 8, 6))
    model = keras.Model(inputs, RadialSpectrum2D(data_format)(inputs))
    assert model.output_shape[1:] == model(noise(2, 10, 8, 6)).shape[1:]
    assert model.predict(noise(3, 10, 8, 6), verbose=0).shape[0] == 3


def test_cyclic_shifts_do_not_change_the_spectrum() -> None:
    x = noise(1, 12, 10, 1)
    shifted = np.roll(x, (3, 7), axis=(1, 2))
    layer = RadialSpectrum2D()
    np.testing.assert_allclose(layer(x), layer(shifted), atol=FLOAT32)


def gradient_step(x: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Gradient of sum_k weights[k] spectrum[k] with respect to the field.

    Reads it off one step of plain gradient descent, which is the same on all backends.
    """
    field = keras.layers.EinsumDense("bs,sf->bf", x.size, name="field")
    n, m = x.shape
    inputs = keras.Input((1,))
    grid = keras.layers.Reshape((n, m, 1))(field(inputs))
    spectrum = keras.layers.Reshape((-1,))(RadialSpectrum2D()(grid))
    model = keras.Model(inputs, spectrum)
    field.kernel.assign(x.reshape(1, -1))
    model.compile(
        keras.optimizers.SGD(1.0), loss=lambda true, pred: ops.sum(true * pred, axis=-1)
    )
    model.fit(np.ones((1, 1)), weights[None], batch_size=1, verbose=0)
    return x - np.asarray(field.kernel).reshape(n, m)


def test_gradient_is_the_analytic_one() -> None:
    # sum_k w_k |x_hat|^2 is quadratic: its gradient is 2 / (nx ny) of x filtered by w.
    x = noise(8, 6)
    kx, ky = np.fft.fftfreq(8, 1 / 8)[:, None], np.fft.fftfreq(6, 1 / 6)[None, :]
    shells = np.floor(np.hypot(kx, ky) + 0.5).astype(int)
    weights = np.linspace(1, 2, shells.max() + 1)
    expected = 2 / x.size * np.fft.ifft2(np.fft.fft2(x) * weights[shells]).real
    np.testing.assert_allclose(gradient_step(x, weights), expected, atol=FLOAT32)


def test_gradient_of_the_zero_field_is_zero() -> None:
    zeros = np.zeros((6, 6), "float32")
    np.testing.assert_array_equal(gradient_step(zeros, np.ones(5)), zeros)


def test_layer_survives_its_configuration_and_a_file(tmp_path: object) -> None:
    layer = RadialSpectrum2D("channels_first", name="spectrum")
    copy = RadialSpectrum2D.from_config(layer.get_config())
    assert (copy.data_format, copy.name) == ("channels_first", "spectrum")
    inputs = keras.Input((6, 8, 2))
    model = keras.Model(inputs, RadialSpectrum2D()(inputs))
    model.save(f"{tmp_path}/model.keras")
    loaded = keras.models.load_model(f"{tmp_path}/model.keras")
    x = noise(1, 6, 8, 2)
    np.testing.assert_array_equal(
        ops.convert_to_numpy(loaded(x)), ops.convert_to_numpy(model(x))
    )


def test_half_precision_policy_does_not_reach_the_spectrum() -> None:
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        layer = RadialSpectrum2D()
    finally:
        keras.config.set_dtype_policy(policy)
    # Squared amplitudes of 1e-10 are below the smallest float16.
    spectrum = ops.convert_to_numpy(layer(1e-5 * noise(1, 8, 8, 1)))
    expected = radial_spectrum(1e-5 * noise(1, 8, 8, 1), axes=(1, 2))
    np.testing.assert_allclose(spectrum[0, :, 0], expected[0, 0], rtol=1e-4)


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="data_format='NHWC'"):
        RadialSpectrum2D("NHWC")
    with pytest.raises(ValueError, match=r"\(None, None, 8, 1\)"):
        RadialSpectrum2D()(keras.Input((None, 8, 1)))
    with pytest.raises(ValueError, match=r"\(2, 8, 8\)"):
        RadialSpectrum2D()(noise(2, 8, 8))
