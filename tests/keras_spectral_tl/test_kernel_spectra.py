"""Kernel spectra: planted filters are told apart, and the class forgets the grid."""

import keras
import numpy as np
import pytest

from keras_spectral_tl._shells import shell_sum_matrix
from keras_spectral_tl.layers import PeriodicConv2D, PeriodicPadding2D
from keras_spectral_tl.spectra import kernel_spectra
from keras_spectral_tl.spectra._convolutions import (
    ConvolutionKernel,
    convolution_kernel,
    kernel_transform,
    rms_transfer,
)
from keras_spectral_tl.spectra._kernel_shapes import KERNEL_CLASSES
from keras_spectral_tl.spectra._kernels import layer_kernel_spectra

# Weights are stored in float32 (relative 6e-8), up to 25 of them are added.
FLOAT32 = 1e-6
# Transforms of float64 kernels.
ROUND_OFF = 1e-13

POINTS = np.arange(5) - 2


def outer(along_x: np.ndarray, along_y: np.ndarray) -> np.ndarray:
    return np.outer(along_x, along_y)


def gabor(fraction_x: float, fraction_y: float, width: float = 1.2) -> np.ndarray:
    """Gabor kernel with its carrier at these fractions of the Nyquist wavenumber."""
    envelope = np.exp(-(POINTS**2) / (2 * width**2))
    phase = np.pi * (fraction_x * POINTS[:, None] + fraction_y * POINTS[None, :])
    return outer(envelope, envelope) * np.cos(phase)


DELTA = outer(POINTS == 0, POINTS == 0).astype(float)
GAUSSIAN = outer(np.exp(-(POINTS**2) / 2), np.exp(-(POINTS**2) / 2))
LAPLACIAN = np.zeros((5, 5))
LAPLACIAN[1:4, 1:4] = [[0, 1, 0], [1, -4, 1], [0, 1, 0]]


def model_with(
    kernels: list[np.ndarray], layer: keras.layers.Layer | None = None
) -> keras.Model:
    """A model of one convolution whose kernels are given, one an output channel."""
    layer = layer or keras.layers.Conv2D(len(kernels), kernels[0].shape, name="conv")
    model = keras.Sequential([keras.Input((16, 16, 1)), layer])
    weights = np.stack(kernels, axis=-1)[:, :, None, :]
    layer.kernel.assign(weights)
    return model


def test_delta_has_a_flat_spectrum() -> None:
    spectra = kernel_spectra(model_with([2 * DELTA]), 16).layers["conv"]
    np.testing.assert_allclose(spectra.profiles[0, 0], 2.0, atol=ROUND_OFF)
    assert spectra.classes[0, 0] == "all-pass"


def test_laplacian_follows_its_closed_form_and_is_high_pass() -> None:
    nx, ny = 24, 16
    spectra = kernel_spectra(model_with([LAPLACIAN]), (nx, ny)).layers["conv"]
    theta_x = 2 * np.pi * np.fft.fftfreq(nx)[:, None]
    theta_y = 2 * np.pi * np.fft.rfftfreq(ny)[None, :]
    expected = 4 - 2 * np.cos(theta_x) - 2 * np.cos(theta_y)
    np.testing.assert_allclose(spectra.mean_transfer, expected, atol=ROUND_OFF)
    assert spectra.classes[0, 0] == "high-pass"
    assert spectra.peak_fractions[0, 0] == 1.0
    assert spectra.peak_wavenumbers[0, 0] == pytest.approx(np.hypot(nx / 2, ny / 2))


def test_laplacian_grows_as_the_square_of_small_wavenumbers() -> None:
    n = 256
    layer = kernel_spectra(model_with([LAPLACIAN]), n).layers["conv"]
    k_squared = np.arange(13)[:, None] ** 2 + np.arange(13)[None, :] ** 2
    expected = k_squared * (2 * np.pi / n) ** 2
    # 4 sin^2(theta / 2) is at most theta^2 / 12 = 0.7 % below theta^2 up to k = 12.
    np.testing.assert_allclose(layer.mean_transfer[:13, :13], expected, rtol=0.01)


def test_gaussian_is_low_pass_and_falls_with_wavenumber() -> None:
    spectra = kernel_spectra(model_with([GAUSSIAN]), 32).layers["conv"]
    assert spectra.classes[0, 0] == "low-pass"
    assert spectra.peak_wavenumbers[0, 0] == 0.0
    assert spectra.mean_profile[0] == pytest.approx(GAUSSIAN.sum(), rel=FLOAT32)
    assert np.all(np.diff(spectra.mean_profile[:16]) < 0)


@pytest.mark.parametrize(
    ("fraction_x", "fraction_y"), [(0.5, 0.0), (0.0, 0.6), (0.5, -0.5)]
)
def test_gabor_is_band_pass_with_its_peak_at_the_carrier(
    fraction_x: float, fraction_y: float
) -> None:
    n = 64
    spectra = kernel_spectra(model_with([gabor(fraction_x, fraction_y)]), n)
    layer = spectra.layers["conv"]
    assert layer.classes[0, 0] == "band-pass"
    carrier = n / 2 * np.hypot(fraction_x, fraction_y)
    # The mirror image at -k pulls a lobe of five points by less than a tenth of k_max.
    assert layer.peak_wavenumbers[0, 0] == pytest.approx(carrier, abs=0.1 * n / 2)


@pytest.mark.parametrize("noise", [0.02, 0.05, 0.1])
def test_planted_classes_survive_noise(noise: float) -> None:
    rng = np.random.default_rng(7)
    planted = [GAUSSIAN, gabor(0.5, 0.0), gabor(0.4, 0.4), LAPLACIAN] * 8
    kernels = [k + noise * np.abs(k).max() * rng.normal(size=(5, 5)) for k in planted]
    classes = kernel_spectra(model_with(kernels), 32).layers["conv"].classes[0]
    expected = ["low-pass", "band-pass", "band-pass", "high-pass"] * 8
    assert np.mean(classes == np.array(expected)) >= 0.9


@pytest.mark.parametrize("num_points", [16, 31, 32, 64, 128, (48, 20)])
def test_class_does_not_depend_on_the_grid(num_points: int | tuple[int, int]) -> None:
    kernels = [DELTA, GAUSSIAN, gabor(0.5, 0.0), gabor(0.4, 0.4), LAPLACIAN]
    classes = kernel_spectra(model_with(kernels), num_points).layers["conv"].classes
    expected = ["all-pass", "low-pass", "band-pass", "band-pass", "high-pass"]
    assert classes[0].tolist() == expected


def test_ridge_of_a_derivative_takes_its_smallest_wavenumber() -> None:
    difference = np.zeros((5, 5))
    difference[2:4, 2] = [-1, 1]
    layer = kernel_spectra(model_with([difference]), 32).layers["conv"]
    assert layer.peak_wavenumbers[0, 0] == 16.0


@pytest.mark.parametrize("dilation", [(1, 1), (2, 1), (2, 3)])
def test_matrix_transform_is_the_fft_of_the_padded_kernel(
    dilation: tuple[int, int],
) -> None:
    kernels = np.random.default_rng(0).normal(size=(2, 3, 4))
    padded = np.zeros((2, 16, 12))
    rows = dilation[0] * np.arange(3)
    columns = dilation[1] * np.arange(4)
    padded[:, rows[:, None], columns] = kernels
    origin = (dilation[0] * 2 // 2, dilation[1] * 3 // 2)
    centred = np.roll(padded, (-origin[0], -origin[1]), axis=(1, 2))
    transform = kernel_transform(kernels, (16, 12), dilation)
    np.testing.assert_allclose(transform, np.fft.rfft2(centred), atol=ROUND_OFF)


def test_mean_profile_is_a_mean_over_the_modes_of_the_full_plane() -> None:
    nx, ny = 12, 10
    kernel = np.random.default_rng(3).normal(size=(5, 5))
    layer = kernel_spectra(model_with([kernel]), (nx, ny)).layers["conv"]
    kx, ky = np.fft.fftfreq(nx, 1 / nx)[:, None], np.fft.fftfreq(ny, 1 / ny)[None, :]
    shells = np.floor(np.hypot(kx, ky) + 0.5).astype(int).ravel()
    transfer = np.abs(np.fft.fft2(kernel, s=(nx, ny))).ravel()
    expected = np.bincount(shells, transfer) / np.bincount(shells)
    np.testing.assert_allclose(layer.mean_profile, expected, rtol=FLOAT32)


@pytest.mark.parametrize(
    ("size", "dilation", "grid"),
    [
        ((3,), (2,), (9,)),
        ((5, 4), (1, 2), (12, 15)),
        ((5, 5), (1, 1), (5, 6)),  # the autocorrelation is wider than the grid
        ((3, 2, 3), (1, 1, 1), (6, 5, 7)),
    ],
)
def test_rms_transfer_is_the_root_of_the_mean_square_over_kernels(
    size, dilation, grid
) -> None:
    weights = np.random.default_rng(0).normal(size=(*size, 3, 2))
    kernel = ConvolutionKernel(weights, dilation)
    power = np.abs(kernel_transform(kernel.stacked(), grid, dilation)) ** 2
    summing = shell_sum_matrix(*grid)
    mean = summing @ power.mean(axis=0).ravel() / summing.sum(axis=1)
    np.testing.assert_allclose(
        rms_transfer("conv", kernel, grid), np.sqrt(mean), rtol=1e-12
    )


def test_dilation_repeats_the_spectrum() -> None:
    dilated = keras.layers.Conv2D(1, 3, dilation_rate=2, name="conv")
    kernel = GAUSSIAN[1:4, 1:4]
    transfer = kernel_spectra(model_with([kernel], dilated), 16).layers["conv"]
    half = transfer.mean_transfer[:8]
    np.testing.assert_allclose(half, transfer.mean_transfer[8:], atol=1e-12)


def test_chunks_give_the_same_as_one_kernel_at_a_time() -> None:
    kernels = list(np.random.default_rng(1).normal(size=(300, 3, 3)))
    together = kernel_spectra(model_with(kernels), 8).layers["conv"]
    alone = kernel_spectra(model_with(kernels[290:291]), 8).layers["conv"]
    np.testing.assert_allclose(
        together.profiles[0, 290], alone.profiles[0, 0], atol=ROUND_OFF
    )
    assert together.classes[0, 290] == alone.classes[0, 0]


def test_every_kind_of_2d_convolution_is_covered_and_the_rest_listed() -> None:
    model = keras.Sequential(
        [
            keras.Input((12, 12, 2)),
            PeriodicConv2D(4, 3, name="periodic"),
            keras.layers.BatchNormalization(name="norm"),
            keras.layers.DepthwiseConv2D(3, depth_multiplier=2, name="depthwise"),
            keras.layers.Conv2D(4, 3, groups=2, name="grouped"),
            keras.layers.Conv2DTranspose(3, 3, name="transposed"),
            keras.layers.SeparableConv2D(5, 3, name="separable"),
            keras.layers.Flatten(),
            keras.layers.Dense(2, name="dense"),
        ]
    )
    result = kernel_spectra(model, 12)
    shapes = {name: layer.classes.shape for name, layer in result.layers.items()}
    assert shapes == {
        "periodic": (2, 4),
        "depthwise": (4, 2),
        "grouped": (4, 4),
        "transposed": (4, 3),
        "separable": (3, 5),
    }
    assert result.left_out == ("norm", "dense")


ONE_AND_THREE_AXES = [
    (keras.layers.Conv1D, (12, 4), {"groups": 2, "strides": 2}, (2, 6)),
    (keras.layers.Conv1D, (12, 4), {"dilation_rate": 2}, (4, 6)),
    (keras.layers.SeparableConv1D, (12, 4), {"depth_multiplier": 2}, (4, 6)),
    (keras.layers.Conv1DTranspose, (12, 4), {"strides": 2}, (4, 6)),
    (keras.layers.Conv3D, (6, 7, 8, 2), {}, (2, 6)),
    (keras.layers.Conv3DTranspose, (6, 7, 8, 2), {}, (2, 6)),
]


@pytest.mark.parametrize(
    ("layer_type", "shape", "options", "expected"), ONE_AND_THREE_AXES
)
def test_layers_with_one_and_three_axes(layer_type, shape, options, expected) -> None:
    layer = layer_type(6, 3, name="conv", **options)
    model = keras.Sequential([keras.Input(shape), layer])
    grid = tuple(range(12, 12 + len(shape) - 1))
    found = kernel_spectra(model, grid).layers["conv"]
    assert found.classes.shape == expected
    # Parseval: the mean over all modes of |F|^2 is the energy of the kernel, and the
    # mean of |F| is what the shells of the profile average to.
    kernel = convolution_kernel(layer)
    sizes = shell_sum_matrix(*grid).sum(axis=1)
    transforms = full_transforms(kernel, grid)
    np.testing.assert_allclose(
        found.profiles.reshape(-1, len(sizes)) @ sizes / sizes.sum(),
        np.abs(transforms).reshape(len(transforms), -1).mean(axis=1),
        rtol=1e-12,
    )


def full_transforms(kernel: ConvolutionKernel, grid: tuple[int, ...]) -> np.ndarray:
    """FFT of the zero-padded kernels, dilated by hand."""
    stack = kernel.stacked()
    padded = np.zeros((len(stack), *grid))
    rows = [
        step * np.arange(n)
        for n, step in zip(kernel.size, kernel.dilation, strict=True)
    ]
    padded[(slice(None), *np.ix_(*rows))] = stack
    return np.fft.fftn(padded, axes=range(1, padded.ndim))


def test_depthwise_layer_with_one_axis_and_channels_first() -> None:
    layer = keras.layers.DepthwiseConv1D(3, depth_multiplier=2, name="conv")
    layer.build((None, 8, 3))
    assert convolution_kernel(layer).weights.shape == (3, 3, 2)
    weights = [np.arange(9.0).reshape(3, 3, 1, 1), np.zeros(1)]
    spectra = []
    for data_format, shape in (
        ("channels_last", (8, 8, 1)),
        ("channels_first", (1, 8, 8)),
    ):
        conv = keras.layers.Conv2D(1, 3, data_format=data_format, name="conv")
        conv.build((None, *shape))
        conv.set_weights(weights)
        spectra.append(layer_kernel_spectra(convolution_kernel(conv), (8, 8)))
    np.testing.assert_array_equal(spectra[0].profiles, spectra[1].profiles)


def test_one_number_fits_layers_with_any_number_of_axes() -> None:
    inputs = keras.Input((8, 8, 1))
    flat = keras.layers.Reshape((64, 1))(
        keras.layers.Conv2D(1, 3, padding="same")(inputs)
    )
    model = keras.Model(inputs, keras.layers.Conv1D(2, 3, name="line")(flat))
    found = kernel_spectra(model, 16).layers
    assert found["line"].mean_transfer.shape == (9,)
    assert len(found) == 2
    assert kernel_spectra(model, (16, 8)).left_out == ("line",)


def test_separable_kernel_is_the_product_of_its_two_kernels() -> None:
    layer = keras.layers.SeparableConv2D(2, 3, name="separable")
    model = keras.Sequential([keras.Input((8, 8, 1)), layer])
    layer.depthwise_kernel.assign(np.ones((3, 3, 1, 1)))
    layer.pointwise_kernel.assign(np.array([2.0, -3.0]).reshape(1, 1, 1, 2))
    profiles = kernel_spectra(model, 8).layers["separable"].profiles
    np.testing.assert_allclose(profiles[0, :, 0], [18.0, 27.0], rtol=FLOAT32)


def test_shares_of_the_classes_sum_to_one() -> None:
    shares = kernel_spectra(model_with([DELTA, GAUSSIAN]), 16).layers["conv"]
    expected = {name: 0.0 for name in KERNEL_CLASSES}
    expected |= {"low-pass": 0.5, "all-pass": 0.5}
    assert shares.class_shares() == expected


def test_the_grid_is_that_of_the_input_by_default() -> None:
    model = model_with([GAUSSIAN])
    found, expected = kernel_spectra(model), kernel_spectra(model, (16, 16))
    assert found.num_points == expected.num_points == (16, 16)
    profiles = [result.layers["conv"].profiles for result in (found, expected)]
    np.testing.assert_array_equal(*profiles)
    first = keras.layers.Conv2D(2, 3, data_format="channels_first", name="conv")
    line = keras.layers.Conv1D(2, 3, name="conv")
    for shape, layer in (((1, 12, 10), first), ((9, 3), line)):
        grid = kernel_spectra(keras.Sequential([keras.Input(shape), layer])).num_points
        assert grid == (shape[1:] if layer is first else shape[:-1])


def unet(data_format: str, points: tuple[int, int]) -> keras.Model:
    """Every way to coarsen and refine: stride, pooling, transposed, upsampling."""
    layers = keras.layers
    how = {"padding": "same", "data_format": data_format}
    is_last = data_format == "channels_last"
    inputs = keras.Input((*points, 1) if is_last else (1, *points))
    first = layers.Conv2D(2, 3, name="first", **how)(inputs)
    x = layers.Conv2D(2, 3, strides=(2, 1), name="strided", **how)(first)
    x = layers.AveragePooling2D((1, 2), data_format=data_format)(x)
    half = layers.Conv2D(2, 3, name="half", **how)(x)
    x = PeriodicPadding2D(2, data_format=data_format)(half)
    x = layers.Conv2D(2, 5, strides=2, data_format=data_format, name="valid")(x)
    inner = keras.Sequential([keras.Input(x.shape[1:]), layers.Activation("relu")])
    inner.add(layers.Conv2D(2, 5, name="quarter", **how))
    x = keras.ops.tanh(inner(x))
    x = layers.Conv2DTranspose(2, 2, strides=2, name="up", **how)(x)
    x = layers.Concatenate(axis=-1 if is_last else 1)([half, x])
    x = layers.UpSampling2D(2, data_format=data_format)(x)
    return keras.Model(inputs, layers.Conv2D(1, 3, name="last", **how)(x))


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_each_layer_has_its_own_grid_by_default(data_format: str) -> None:
    found = kernel_spectra(unet(data_format, (16, 8)))
    # A kernel of 5 x 5 points goes around a grid of 4 x 2.
    expected = {
        "first": (16, 8),
        "strided": (16, 8),
        "half": (8, 4),
        "valid": (8, 4),
        "quarter": (4, 2),
        "up": (8, 4),
        "last": (16, 8),
    }
    assert {name.split("/")[-1]: one.grid for name, one in found.items()} == expected
    assert found.num_points == (16, 8)


def test_wavenumbers_behind_a_stride_count_waves_across_the_domain() -> None:
    """A wave through a network of two layers, of which the first leaves out points."""
    inner = PeriodicConv2D(1, 3, use_bias=False, name="inner")
    outer = PeriodicConv2D(1, 1, strides=2, use_bias=False)
    model = keras.Sequential([keras.Input((16, 16, 1)), outer, inner])
    kernel = np.random.default_rng(0).normal(size=(3, 3, 1, 1))
    outer.set_weights([np.ones((1, 1, 1, 1))])
    inner.set_weights([kernel])
    phase = 2 * np.pi * 3 * np.arange(16) / 16
    waves = np.stack([np.cos(phase), np.sin(phase)])[:, :, None, None]
    x = np.broadcast_to(waves, (2, 16, 16, 1))
    real, imaginary = model.predict(x, verbose=0)[:, 0, 0, 0]
    found = kernel_spectra(model)["inner"]
    assert found.mean_transfer[3, 0] == pytest.approx(
        np.hypot(real, imaginary), rel=FLOAT32
    )
    # On a given grid it is as if the layer stood on these points.
    on_input = kernel_spectra(model, 16)["inner"]
    assert on_input.mean_transfer[6, 0] == pytest.approx(found.mean_transfer[3, 0])


def test_an_open_grid_must_be_given() -> None:
    conv = keras.layers.Conv2D(2, 3)
    model = keras.Sequential([keras.Input((None, None, 1)), conv])
    with pytest.raises(ValueError, match="num_points=64"):
        kernel_spectra(model)
    assert kernel_spectra(model, 8).num_points == (8, 8)


def test_model_without_convolutions_is_refused_with_its_layers() -> None:
    dense = keras.layers.Dense(2, name="hidden")
    model = keras.Sequential([keras.Input((3,)), dense])
    with pytest.raises(ValueError, match=r"are: hidden \(Dense\)"):
        kernel_spectra(model, 16)


def test_kernel_wider_than_the_grid_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'conv' span \(5, 5\).* of \(4, 4\)"):
        kernel_spectra(model_with([DELTA]), 4)


def test_bad_arguments_are_refused() -> None:
    model = model_with([DELTA])
    with pytest.raises(TypeError, match=r"num_points=16\.5"):
        kernel_spectra(model, 16.5)
    with pytest.raises(ValueError, match="Received 1"):
        kernel_spectra(model, 1)
    with pytest.raises(ValueError, match=r"\(16, 8, 4\).*are: conv \(Conv2D\)"):
        kernel_spectra(model, (16, 8, 4))


def test_a_kernel_that_has_diverged_has_no_peak() -> None:
    kernels = np.random.default_rng(0).normal(size=(3, 3, 1, 2))
    kernels[..., 1] = np.nan
    model = keras.Sequential([keras.Input((8, 8, 1)), PeriodicConv2D(2, 3, name="a")])
    model.get_layer("a").kernel.assign(kernels)
    peaks = kernel_spectra(model, 8)["a"].peak_wavenumbers
    assert np.isfinite(peaks[0, 0]) and np.isnan(peaks[0, 1])


@pytest.mark.parametrize(
    "coarsen",
    [
        lambda h: keras.ops.average_pool(h, 2, 2),
        lambda h: h[:, ::2, ::2],
        lambda h: keras.ops.image.resize(h, (8, 6), data_format="channels_last"),
    ],
)
def test_the_grid_behind_an_operation_that_is_no_layer(coarsen) -> None:
    """It is that of the activations there, as behind a pooling layer."""
    how = {"padding": "same", "data_format": "channels_last"}
    inputs = keras.Input((16, 12, 2))
    hidden = coarsen(keras.layers.Conv2D(2, 3, name="fine", **how)(inputs))
    hidden = keras.layers.Conv2D(2, 3, name="coarse", **how)(hidden)
    outputs = keras.layers.Conv2D(1, 3, strides=2, name="last", **how)(hidden)
    found = kernel_spectra(keras.Model(inputs, outputs))
    grids = {name: one.grid for name, one in found.items()}
    assert grids == {"fine": (16, 12), "coarse": (8, 6), "last": (8, 6)}
