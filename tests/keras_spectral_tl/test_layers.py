"""Periodic padding and convolution: exact equivariance and the convolution theorem."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_spectral_tl.layers import (
    PeriodicConv2D,
    PeriodicPadding1D,
    PeriodicPadding2D,
    PeriodicPadding3D,
)
from keras_spectral_tl.layers._periodic import _gather_periodically

SINGLE = 3e-6  # float32 sums of about 100 products of order one, relative
HALF = 2e-2  # the same in float16

SHAPE = (2, 6, 9, 4)  # not square, so that swapped axes fail


def _field(shape=SHAPE, seed=3):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def _call(layer, inputs):
    return np.asarray(keras.ops.convert_to_numpy(layer(inputs)))


def _correlate_by_fft(field, kernel, dilation=1):
    """Circular cross-correlation of channels-last fields in float64."""
    n, m = field.shape[1:3]
    spread = np.zeros((n, m, *kernel.shape[2:]))
    rows, cols = kernel.shape[:2]
    for a in range(rows):
        for b in range(cols):
            i = dilation * a - dilation * (rows - 1) // 2
            j = dilation * b - dilation * (cols - 1) // 2
            spread[i % n, j % m] += kernel[a, b]
    kernel_hat = np.fft.fft2(spread, axes=(0, 1))
    field_hat = np.fft.fft2(field.astype(np.float64), axes=(1, 2))
    outputs_hat = np.einsum("xyio,bxyi->bxyo", kernel_hat.conj(), field_hat)
    return np.fft.ifft2(outputs_hat, axes=(1, 2)).real


def _error(actual, expected):
    return np.max(np.abs(actual - expected)) / np.max(np.abs(expected))


@pytest.mark.parametrize(
    "padding", [0, 1, 3, (2, 5), ((1, 0), (0, 4)), 6, 13, ((25, 1), (0, 30))]
)
def test_padding_equals_numpy_wrap_bitwise_beyond_one_period(padding):
    field, layer = _field(), PeriodicPadding2D(padding, data_format="channels_last")
    expected = np.pad(field, ((0, 0), *layer.padding, (0, 0)), mode="wrap")
    outputs = _call(layer, field)
    np.testing.assert_array_equal(outputs, expected)
    assert layer.compute_output_shape(SHAPE) == expected.shape


def test_padding_channels_first_is_the_transpose():
    field, padding = _field(), ((1, 2), (3, 7))
    last = _call(PeriodicPadding2D(padding, data_format="channels_last"), field)
    layer = PeriodicPadding2D(padding, data_format="channels_first")
    first = _call(layer, field.transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(first.transpose(0, 2, 3, 1), last)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (PeriodicPadding1D(2), (2, 5, 3)),
        (PeriodicPadding1D((1, 13)), (2, 5, 3)),
        (PeriodicPadding3D(1), (2, 3, 4, 5, 2)),
        (PeriodicPadding3D(((1, 0), (9, 2), (0, 6))), (2, 3, 4, 5, 2)),
    ],
)
def test_padding_of_one_and_three_axes_equals_numpy_wrap_bitwise(layer, shape):
    field = _field(shape)
    sides = layer.padding if layer.rank > 1 else [layer.padding]
    expected = np.pad(field, ((0, 0), *sides, (0, 0)), mode="wrap")
    np.testing.assert_array_equal(_call(layer, field), expected)
    assert layer.compute_output_shape((None, *shape[1:])) == (None, *expected.shape[1:])
    config = {**layer.get_config(), "data_format": "channels_first"}
    first = _call(type(layer).from_config(config), np.moveaxis(field, -1, 1))
    np.testing.assert_array_equal(np.moveaxis(first, 1, -1), expected)


@pytest.mark.parametrize(
    ("layer", "shape", "shift"),
    [
        (PeriodicPadding1D((0, 10)), (1, 5, 2), 2),
        (PeriodicPadding3D(((0, 3), (0, 4), (0, 5))), (1, 3, 4, 5, 2), (1, 3, -2)),
    ],
)
def test_padding_of_one_and_three_axes_commutes_with_shifts(layer, shape, shift):
    field, axes = _field(shape), tuple(range(1, len(shape) - 1))
    shifted = _call(layer, np.roll(field, shift, axis=axes if layer.rank > 1 else 1))
    rolled = np.roll(_call(layer, field), shift, axis=axes if layer.rank > 1 else 1)
    np.testing.assert_array_equal(shifted, rolled)


@pytest.mark.parametrize("padding", [2, 8, ((3, 11), (0, 1))])
def test_padding_of_sizes_known_only_at_run_time(padding):
    inputs = keras.Input((None, None, 4))
    layer = PeriodicPadding2D(padding, data_format="channels_last")
    model = keras.Model(inputs, layer(inputs))
    assert model.output_shape == (None, None, None, 4)
    for shape in (SHAPE, (1, 4, 3, 4)):
        field = _field(shape)
        expected = np.pad(field, ((0, 0), *layer.padding, (0, 0)), mode="wrap")
        outputs = model.predict(field, verbose=0)
        np.testing.assert_array_equal(outputs, expected)


@pytest.mark.parametrize(("before", "after"), [(0, 0), (2, 1), (8, 1), (2, 20)])
def test_way_for_unknown_sizes_copies_the_same_values(before, after):
    field = _field()
    outputs = _gather_periodically(keras.ops.convert_to_tensor(field), before, after, 1)
    expected = np.pad(field, ((0, 0), (before, after), (0, 0), (0, 0)), mode="wrap")
    np.testing.assert_array_equal(np.asarray(outputs), expected)


def test_padding_traced_with_unknown_sizes():
    layer = PeriodicPadding2D(((8, 1), (2, 13)), data_format="channels_last")
    expected = _call(layer, _field())
    if keras.backend.backend() == "tensorflow":  # the one that traces unknown sizes
        signature = [tf.TensorSpec((None, None, None, 4), "float32")]
        padded = tf.function(layer.call, input_signature=signature)(_field())
        np.testing.assert_array_equal(padded, expected)
    assert expected.shape == layer.compute_output_shape(SHAPE)


@pytest.mark.parametrize(
    "padding", [-1, (1, -2), (1, 2, 3), "wrap", 1.5, ((1, 2), 3.0)]
)
def test_bad_padding_is_refused_with_its_value(padding):
    with pytest.raises(ValueError, match="Received padding=") as caught:
        PeriodicPadding2D(padding)
    assert repr(padding) in str(caught.value)


@pytest.mark.parametrize("padding", [-2, (1, 2, 3), ((1, 2),), "ab", (1, -1)])
def test_bad_padding_of_a_series_is_refused(padding):
    with pytest.raises(ValueError, match=r"\(before, after\)\. Received") as caught:
        PeriodicPadding1D(padding)
    assert repr(padding) in str(caught.value)


@pytest.mark.parametrize("padding", [(1, 2), ((1, 1), (2, 2)), (1, 2, -3), 0.5])
def test_bad_padding_of_three_axes_is_refused(padding):
    with pytest.raises(ValueError, match="three of them") as caught:
        PeriodicPadding3D(padding)
    assert repr(padding) in str(caught.value)


def test_input_of_another_rank_is_refused():
    for layer in (PeriodicPadding1D(1), PeriodicPadding3D(1)):
        with pytest.raises(ValueError, match="ndim=4"):
            layer(_field())


def test_bad_data_format_and_empty_axis_are_refused():
    with pytest.raises(ValueError, match="data_format='channels_middle'"):
        PeriodicPadding2D(1, data_format="channels_middle")
    layer = PeriodicPadding2D(1, data_format="channels_last")
    with pytest.raises(ValueError, match=r"shape \(2, 0, 9, 4\)"):
        layer.call(np.zeros((2, 0, 9, 4), "float32"))


@pytest.mark.parametrize(
    ("kernel_size", "dilation"),
    [(3, 1), ((5, 1), 1), ((2, 4), 1), (3, 2), ((13, 11), 1)],
)
def test_convolution_equals_the_fft_cross_correlation(kernel_size, dilation):
    layer = PeriodicConv2D(3, kernel_size, dilation_rate=dilation, use_bias=False)
    outputs = _call(layer, _field())
    kernel = np.asarray(layer.kernel, np.float64)
    assert outputs.shape == (*SHAPE[:3], 3)
    assert _error(outputs, _correlate_by_fft(_field(), kernel, dilation)) < SINGLE


@pytest.mark.parametrize("kernel_size", [3, 4, (1, 7)])
def test_convolution_commutes_bitwise_with_cyclic_shifts(kernel_size):
    layer = PeriodicConv2D(3, kernel_size, activation="relu")
    # Small integers: every sum is exact in float32, whatever order it is done in.
    rng = np.random.default_rng(5)
    field = rng.integers(-8, 9, SHAPE).astype("float32")
    layer.build(SHAPE)
    layer.kernel.assign(rng.integers(-8, 9, layer.kernel.shape).astype("float32"))
    shifted = _call(layer, np.roll(field, (2, -5), axis=(1, 2)))
    expected = np.roll(_call(layer, field), (2, -5), axis=(1, 2))
    np.testing.assert_array_equal(shifted, expected)


def test_padding_commutes_bitwise_with_cyclic_shifts():
    layer = PeriodicPadding2D(((0, 6), (0, 9)), data_format="channels_last")
    field = _field()
    shifted = _call(layer, np.roll(field, (1, 4), axis=(1, 2)))
    expected = np.roll(_call(layer, field), (1, 4), axis=(1, 2))
    np.testing.assert_array_equal(shifted, expected)


@pytest.mark.parametrize("strides", [2, 3, (4, 2)])
@pytest.mark.parametrize("kernel_size", [3, 4])
def test_strides_keep_every_sth_point(strides, kernel_size):
    coarse = PeriodicConv2D(2, kernel_size, strides)
    full = PeriodicConv2D(2, kernel_size)
    outputs, _ = _call(coarse, _field()), full.build(SHAPE)
    for target, source in zip(full.weights, coarse.weights, strict=True):
        target.assign(np.asarray(source))
    s, t = coarse.strides
    expected = _call(full, _field())[:, ::s, ::t]
    assert outputs.shape == expected.shape == coarse.compute_output_shape(SHAPE)
    assert _error(outputs, expected) < SINGLE


def test_even_kernel_reaches_further_ahead():
    layer = PeriodicConv2D(1, (2, 1), use_bias=False)
    layer.build((1, 4, 1, 1))
    layer.kernel.assign(np.array([10.0, 1.0]).reshape(2, 1, 1, 1))
    field = np.arange(4.0, dtype="float32").reshape(1, 4, 1, 1)
    # before = 0: output[i] = 10 input[i] + input[i + 1]
    assert _call(layer, field).ravel().tolist() == [1.0, 12.0, 23.0, 30.0]


def test_groups_equal_separate_convolutions():
    layer = PeriodicConv2D(6, 3, groups=2, use_bias=False)
    outputs = _call(layer, _field())
    kernel = np.asarray(layer.kernel, np.float64)
    parts = [
        _correlate_by_fft(_field()[..., c], kernel[..., o])
        for c, o in [(slice(0, 2), slice(0, 3)), (slice(2, 4), slice(3, 6))]
    ]
    assert _error(outputs, np.concatenate(parts, axis=-1)) < SINGLE


def test_channels_first_is_the_transpose():
    layer = PeriodicConv2D(3, (3, 5), data_format="channels_first", use_bias=False)
    outputs = _call(layer, _field().transpose(0, 3, 1, 2))
    kernel = np.asarray(layer.kernel, np.float64)
    expected = _correlate_by_fft(_field(), kernel).transpose(0, 3, 1, 2)
    assert outputs.shape == layer.compute_output_shape((2, 4, 6, 9))
    assert _error(outputs, expected) < SINGLE


def test_channels_first_shape_is_known_without_running():
    layer = PeriodicConv2D(3, 3, 2, data_format="channels_first")
    assert layer.compute_output_shape((None, 4, 7, None)) == (None, 3, 4, None)


def test_mixed_precision_computes_in_half_and_keeps_single_weights():
    layer = PeriodicConv2D(3, 3, dtype="mixed_float16", use_bias=False)
    outputs = layer(_field())
    assert keras.backend.standardize_dtype(outputs.dtype) == "float16"
    assert keras.backend.standardize_dtype(layer.kernel.dtype) == "float32"
    expected = _correlate_by_fft(_field(), np.asarray(layer.kernel, np.float64))
    outputs = keras.ops.convert_to_numpy(outputs).astype(np.float64)
    assert _error(outputs, expected) < HALF


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (PeriodicPadding1D((1, 7), name="pad"), (6, 4)),
        (PeriodicPadding2D(((1, 2), (3, 4)), name="pad"), (6, 9, 4)),
        (PeriodicPadding3D((1, 2, 0), dtype="mixed_float16"), (3, 2, 4, 1)),
        (
            PeriodicConv2D(
                4, (3, 2), dilation_rate=2, groups=2, activation="relu", name="conv"
            ),
            (6, 9, 4),
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_config_round_trip_and_saved_model(layer, shape, tmp_path):
    again = type(layer).from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    inputs = keras.Input(shape)
    model = keras.Model(inputs, again(inputs))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.layers[-1].get_config() == layer.get_config()
    field = _field((2, *shape))
    np.testing.assert_array_equal(
        loaded.predict(field, verbose=0), model.predict(field, verbose=0)
    )


@pytest.mark.parametrize("layer", [PeriodicPadding1D, PeriodicPadding3D])
def test_half_precision_padding_copies_half_precision_values(layer):
    pad = layer(1, dtype="mixed_float16")
    field = _field((1, *(4,) * pad.rank, 2))
    outputs = _call(pad, field)
    assert outputs.dtype == np.float16
    wrapped = np.pad(field, ((0, 0), *((1, 1),) * pad.rank, (0, 0)), mode="wrap")
    np.testing.assert_array_equal(outputs, wrapped.astype("float16"))


def test_convolution_trains_to_a_known_operator():
    rng, target = np.random.default_rng(1), PeriodicConv2D(1, 3, use_bias=False)
    x = rng.normal(size=(16, 8, 8, 1)).astype("float32")
    y = _call(target, x)
    inputs = keras.Input((8, 8, 1))
    model = keras.Model(inputs, PeriodicConv2D(1, 3, use_bias=False)(inputs))
    model.compile(keras.optimizers.Adam(0.05), "mse")
    model.fit(x, y, epochs=40, batch_size=4, verbose=0)
    # 160 steps of at most 0.05 suffice for nine weights of order one.
    assert _error(np.asarray(model.weights[0]), np.asarray(target.kernel)) < 0.05


def test_padding_argument_is_refused():
    with pytest.raises(TypeError, match="padding='same'"):
        PeriodicConv2D(1, 3, padding="same")


def test_a_size_that_is_not_finite_is_refused():
    with pytest.raises(ValueError, match=r"finite sizes.*kernel_size=\[3, inf\]"):
        PeriodicConv2D(1, [3, float("inf")])
