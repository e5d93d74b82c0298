"""Exact spectral identities of layers, with their residuals."""

from importlib import import_module
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_spectral_tl.layers import (
    PeriodicConv2D,
    PeriodicPadding1D,
    PeriodicPadding2D,
    PeriodicPadding3D,
)
from keras_spectral_tl.spectra import convolution_residuals, relu_identity
from tests.keras_spectral_tl.common import noise

DOCS = Path(__file__).parents[2] / "docs" / "identities.md"

# The layers run in float32 (6e-8 a term, tens of terms an output); the prediction and
# the comparison run in float64.
FLOAT32 = 1e-6
# The ReLU identity runs in float64 throughout, on sums of at most 200 terms.
FLOAT64 = 1e-13
# Zero padding is wrong on the border: here a sixth of the points at least.
CLEARLY_WRONG = 0.05


def model_of(
    *layers: keras.layers.Layer, shape: tuple[int, ...] = (14, 12, 4)
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
    assert list(result) == ["first", "second"]
    assert max(result.values()) < FLOAT32
    assert result.exact() == ("first", "second")


def test_padding_by_a_separate_layer_is_recognised() -> None:
    model = model_of(PeriodicPadding2D(2), keras.layers.Conv2D(3, 5, name="conv"))
    residuals = convolution_residuals(model, noise(2, 14, 12, 4))
    assert residuals["conv"] < FLOAT32


def test_groups_and_depthwise_kernels_act_on_their_own_inputs() -> None:
    grouped = PeriodicConv2D(6, 3, groups=2, name="grouped")
    depthwise = keras.layers.DepthwiseConv2D(3, depth_multiplier=2, name="depthwise")
    model = model_of(grouped, PeriodicPadding2D(1), depthwise)
    residuals = convolution_residuals(model, noise(2, 14, 12, 4))
    assert set(residuals) == {"grouped", "depthwise"}
    assert max(residuals.values()) < FLOAT32


def test_separable_convolution_is_covered() -> None:
    separable = keras.layers.SeparableConv2D(3, 3, depth_multiplier=2, name="separable")
    model = model_of(PeriodicPadding2D(1), separable)
    residuals = convolution_residuals(model, noise(2, 14, 12, 4))
    assert residuals["separable"] < FLOAT32


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
    assert result["conv"] > CLEARLY_WRONG
    assert result.exact() == ()


def conv_output(
    field: np.ndarray, layer: keras.layers.Layer, stride: int
) -> np.ndarray:
    """Every stride-th point of a circular cross-correlation, summed tap by tap."""
    kernel = np.asarray(layer.kernel, np.float64)
    total = np.zeros((*field.shape[:-1], kernel.shape[-1]))
    axes = tuple(range(1, field.ndim - 1))
    for tap in np.ndindex(kernel.shape[:-2]):
        shift = [
            (size - 1) // 2 - a for a, size in zip(tap, kernel.shape, strict=False)
        ]
        total += np.roll(field, shift, axes) @ kernel[tap]
    every = (slice(None, None, stride),) * len(axes)
    return total[(slice(None), *every)] + np.asarray(layer.bias)


@pytest.mark.parametrize(
    ("kind", "pad", "grid"),
    [
        (keras.layers.Conv1D, PeriodicPadding1D, (24,)),
        (keras.layers.Conv3D, PeriodicPadding3D, (8, 4, 12)),
    ],
)
@pytest.mark.parametrize("stride", [1, 2, 4])
def test_folded_spectrum_is_that_of_the_strided_convolution(kind, pad, grid, stride):
    """Against a convolution written out, as layer and theorem could err together."""
    conv = kind(3, 5, strides=stride, name="conv")
    model, x = model_of(pad(2), conv, shape=(*grid, 4)), noise(2, *grid, 4)
    expected = conv_output(x.astype(np.float64), conv, stride)
    outputs = model.predict(x, verbose=0)
    assert np.linalg.norm(outputs - expected) < FLOAT32 * np.linalg.norm(expected)
    assert convolution_residuals(model, x)["conv"] < FLOAT32


def test_kernel_no_wider_than_its_stride_never_meets_a_border() -> None:
    patches = keras.layers.Conv2D(3, (2, 3), strides=(2, 3), name="patches")
    grow = keras.layers.Conv2DTranspose(2, 2, strides=2, padding="same", name="grow")
    model = model_of(patches, grow, shape=(15, 13, 4))
    residuals = convolution_residuals(model, noise(2, 15, 13, 4))
    assert set(residuals) == {"patches", "grow"}
    assert max(residuals.values()) < FLOAT32


@pytest.mark.parametrize("stride", [1, 2, 3, 6])
@pytest.mark.parametrize("padding", ["valid", "same"])
def test_transposed_convolution_repeats_the_spectrum_and_convolves(stride, padding):
    # Away from the border "same" and "valid" are cut from one and the same output.
    field = np.zeros((1, 14, 12, 2), "float32")
    field[:, 4:9, 4:8] = noise(1, 5, 4, 2)
    layer = keras.layers.Conv2DTranspose(
        3, (5, 4), strides=stride, padding=padding, name="up"
    )
    model = model_of(layer, shape=(14, 12, 2))
    assert convolution_residuals(model, field)["up"] < FLOAT32


def test_causal_convolution_reads_backwards_only() -> None:
    field = np.zeros((2, 24, 4), "float32")
    field[:, 12:18] = noise(2, 6, 4)
    causal = keras.layers.Conv1D(
        3, 3, dilation_rate=2, padding="causal", name="causal", use_bias=False
    )
    model = model_of(causal, shape=(24, 4))
    assert convolution_residuals(model, field)["causal"] < FLOAT32
    assert convolution_residuals(model, noise(2, 24, 4)).exact() == ()


def test_strides_that_do_not_divide_the_period_are_left_out_with_the_reason() -> None:
    strided = PeriodicConv2D(3, 3, strides=(2, 5), name="strided")
    model = model_of(PeriodicConv2D(2, 3, name="conv"), strided)
    result = convolution_residuals(model, noise(1, 14, 12, 4))
    assert list(result.left_out) == ["strided"]
    assert "12 points with stride 5 gave 3" in result.left_out["strided"]
    assert list(result) == ["conv"]


def test_strides_on_a_grid_they_do_not_divide_are_reported_as_not_exact() -> None:
    strided = keras.layers.Conv2D(3, 5, strides=4, name="strided")
    model = model_of(PeriodicPadding2D(2), strided)
    result = convolution_residuals(model, noise(1, 14, 12, 4))
    assert result["strided"] > CLEARLY_WRONG


@pytest.fixture(scope="module")
def rows():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(DOCS.parents[1] / "benchmarks"))
        return import_module("identity_table").identity_table()


def test_identities_hold_for_every_layer_type(rows) -> None:
    for row in rows:
        assert row.periodic < FLOAT32, row
        assert row.relu < FLOAT64, row
        assert 0.05 < row.moved < 0.95, row
        assert np.isnan(row.zero) or row.zero > CLEARLY_WRONG, row


def test_table_covers_every_convolution_of_keras(rows) -> None:
    names = [
        n for n in dir(keras.layers) if "Conv" in n and n[-2:] in ("1D", "2D", "3D")
    ]
    names += [n for n in dir(keras.layers) if n.endswith("DTranspose")]
    # ConvLSTM applies four convolutions a step, not one.
    convolutions = {n for n in names if "LSTM" not in n and "Convolution" not in n}
    assert convolutions | {"PeriodicConv2D"} == {row.layer for row in rows}


def test_table_in_the_docs_is_that_of_the_function(rows) -> None:
    lines = DOCS.read_text().split("<!-- identity_table -->")[1].strip().splitlines()
    cells = [[cell.strip(" `") for cell in line.split("|")[1:-1]] for line in lines[2:]]
    assert [(row.layer, row.options) for row in rows] == [(c[0], c[1]) for c in cells]
    for row, shown in zip(rows, cells, strict=True):
        assert float(shown[2]) < FLOAT32 and float(shown[4]) < FLOAT64
        # Weights are the same on every backend; the last digit is rounded.
        assert float(shown[5]) == pytest.approx(row.moved, abs=0.011)
        if shown[3] != "-":
            assert float(shown[3]) == pytest.approx(row.zero, abs=0.011)


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
    x = noise(2, 14, 12, 4)
    found = relu_identity(model, x, num_wavenumbers=num_wavenumbers)
    assert set(found) == {"conv", "relu"}
    assert max(layer.residual for layer in found.values()) < FLOAT64


def test_number_of_wavenumbers_is_checked() -> None:
    with pytest.raises(ValueError, match="num_wavenumbers=0"):
        relu_identity(model_of(), noise(1, 14, 12, 4), num_wavenumbers=0)


@pytest.mark.parametrize("grid", [(15,), (4, 5, 6)])
def test_relu_of_one_and_three_axes(grid: tuple[int, ...]) -> None:
    x = noise(2, *grid, 2)
    moved = relu_identity(relu_model((*grid, 2)), x)["relu"]
    assert moved.residual < FLOAT64
    total = np.sum(x.clip(0) ** 2)
    gains = np.sum(x.clip(0) ** 2, axis=1) if len(grid) == 1 else None
    assert 0.0 < moved.share < 1.0
    if gains is not None:
        shares = 1 - gains / np.sum(x**2, axis=1)
        assert moved.share == pytest.approx(np.sum(shares * gains) / total, abs=FLOAT32)


def relu_model(shape: tuple[int, ...]) -> keras.Model:
    return keras.Sequential([keras.Input(shape), keras.layers.ReLU(name="relu")])


def test_relu_of_a_wave_moves_half_its_energy_to_known_wavenumbers() -> None:
    n, k = 64, 2
    wave = np.cos(2 * np.pi * k * (np.arange(n) + 0.5) / n)
    x = np.broadcast_to(wave[None, :, None, None], (1, n, 4, 1)).astype("float32")
    moved = relu_identity(relu_model((n, 4, 1)), x)["relu"]
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
    moved = relu_identity(relu_model((12, 10, 1)), x)["relu"]
    ratio = np.mean(x.clip(0) ** 2) / np.mean(x**2)
    assert moved.share == pytest.approx(1 - ratio, abs=FLOAT32)
    assert moved.by_wavenumber.sum() == pytest.approx(moved.share)
    assert moved.active_fraction == np.mean(x > 0)


def test_relu_that_is_always_or_never_active_moves_nothing() -> None:
    positive = np.abs(noise(1, 8, 8, 1)) + 0.1
    for x, fraction in ((positive, 1.0), (-positive, 0.0)):
        moved = relu_identity(relu_model((8, 8, 1)), x)["relu"]
        assert moved.share == pytest.approx(0.0, abs=1e-12)
        assert moved.active_fraction == fraction
