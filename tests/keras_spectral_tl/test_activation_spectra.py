"""Activation spectra: analytic cases, every model type, exact restoration."""

import re
import tracemalloc
from collections.abc import Callable, Iterator

import keras
import numpy as np
import pytest
from keras import ops

from keras_spectral_tl._graph.calls import LayerFields, read_calls
from keras_spectral_tl._keras_internals import sublayers
from keras_spectral_tl.freezing import KernelsOf
from keras_spectral_tl.scoring._explanation import activation_shifts
from keras_spectral_tl.spectra import (
    activation_spectra,
    convolution_residuals,
    layer_gains,
    radial_spectrum,
    relu_identity,
    retraining_shifts,
    spectral_shift,
)
from keras_spectral_tl.transfer import Samples
from tests.keras_spectral_tl.common import noise

# Activations are computed in float32 (relative 6e-8) and squared.
FLOAT32 = 1e-6


def conv(name: str, activation: str | None = "relu", filters: int = 3) -> keras.Layer:
    return keras.layers.Conv2D(
        filters, 3, padding="same", activation=activation, name=name
    )


def sequential() -> keras.Model:
    layers = [keras.Input((8, 6, 2)), conv("conv_1"), conv("conv_2", None)]
    return keras.Sequential(layers)


def functional_with_skip() -> keras.Model:
    inputs = keras.Input((8, 6, 2))
    hidden = conv("conv_1")(inputs)
    hidden = keras.layers.Add(name="add")([hidden, conv("conv_2", None)(hidden)])
    return keras.Model(inputs, hidden)


def nested() -> keras.Model:
    inner = keras.Sequential([keras.Input((8, 6, 2)), conv("conv_1")], name="inner")
    inputs = keras.Input((8, 6, 2))
    return keras.Model(inputs, conv("conv_2", None)(inner(inputs)))


class Subclassed(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.first = conv("conv_1")
        self.second = conv("conv_2", None)

    def call(self, inputs: object) -> object:
        return self.second(self.first(inputs))


def subclassed() -> keras.Model:
    model = Subclassed()
    model(noise(1, 8, 6, 2))
    return model


MODELS = [sequential, functional_with_skip, nested, subclassed]


def layer_named(model: keras.Model, name: str) -> keras.Layer:
    stack = [model]
    while stack:
        layer = stack.pop()
        if layer.name == name:
            return layer
        stack.extend(sublayers(layer))
    raise AssertionError(name)


@pytest.mark.parametrize("build", MODELS)
def test_spectra_sum_to_the_mean_square_in_every_model_type(
    build: Callable[[], keras.Model],
) -> None:
    model, x = build(), noise(5, 8, 6, 2)
    spectra = activation_spectra(model, x, batch_size=2)
    first = layer_named(model, "conv_1")
    name = next(n for n in spectra.pre_activation if n.endswith("conv_1"))
    linear = keras.layers.Conv2D(3, 3, padding="same")
    linear.build(x.shape)
    linear.set_weights([np.asarray(weight) for weight in first.weights])
    before = ops.convert_to_numpy(linear(x))
    energies = {
        "pre": (spectra.pre_activation[name].sum(), np.mean(before**2)),
        "post": (spectra.post_activation[name].sum(), np.mean(before.clip(0) ** 2)),
    }
    for found, expected in energies.values():
        assert found == pytest.approx(expected, rel=FLOAT32)
    assert spectra.num_samples == 5


@pytest.mark.parametrize("build", MODELS)
def test_order_is_that_of_execution_and_names_are_those_of_the_layers(
    build: Callable[[], keras.Model],
) -> None:
    names = list(activation_spectra(build(), noise(1, 8, 6, 2)).pre_activation)
    expected = ["inner/conv_1" if build is nested else "conv_1", "conv_2"]
    assert names[:2] == expected
    assert names[2:] == (["add"] if build is functional_with_skip else [])


def test_single_mode_through_a_pointwise_layer_and_a_relu() -> None:
    nx, ny = 16, 12
    layer = keras.layers.Conv2D(1, 1, activation="relu", name="conv")
    model = keras.Sequential([keras.Input((nx, ny, 1)), layer])
    layer.kernel.assign(np.full((1, 1, 1, 1), 2.0))
    layer.bias.assign([1.0])
    wave = np.sin(2 * np.pi * 3 * np.arange(nx) / nx)[:, None] * np.ones(ny)
    spectra = activation_spectra(model, wave[None, :, :, None])
    before = spectra.pre_activation["conv"]
    assert before[0] == pytest.approx(1.0, abs=FLOAT32)
    assert before[3] == pytest.approx(2.0, abs=FLOAT32)
    assert np.delete(before, [0, 3]).max() < FLOAT32
    after = radial_spectrum(np.maximum(1 + 2 * wave, 0))
    np.testing.assert_allclose(spectra.post_activation["conv"], after, atol=FLOAT32)


def test_batch_size_does_not_matter() -> None:
    model, x = sequential(), noise(7, 8, 6, 2)
    whole = activation_spectra(model, x, batch_size=7)
    pieces = activation_spectra(model, x, batch_size=3)
    for name, spectrum in whole.pre_activation.items():
        np.testing.assert_allclose(pieces.pre_activation[name], spectrum, rtol=1e-4)


def test_batches_of_inputs_and_targets_are_the_same_as_the_array() -> None:
    model, x = sequential(), noise(6, 8, 6, 2)
    stream = ((x[i : i + 2], None) for i in range(0, 6, 2))
    streamed = activation_spectra(model, stream)
    direct = activation_spectra(model, x, batch_size=2)
    assert streamed.num_samples == 6
    for name, spectrum in direct.post_activation.items():
        np.testing.assert_array_equal(streamed.post_activation[name], spectrum)


def test_channels_average_to_the_layer() -> None:
    spectra = activation_spectra(sequential(), noise(2, 8, 6, 2), per_channel=True)
    channels = spectra["conv_1"].pre_channels
    assert channels.shape[0] == 3
    np.testing.assert_allclose(
        channels.mean(axis=0), spectra.pre_activation["conv_1"], rtol=1e-12
    )
    plain = activation_spectra(sequential(), noise(1, 8, 6, 2))["conv_1"]
    assert plain.pre_channels is None


def test_separate_activation_layers_have_their_input_as_pre_activation() -> None:
    relu = keras.layers.ReLU(name="relu")
    tanh = keras.layers.Activation("tanh", name="tanh")
    model = keras.Sequential([keras.Input((8, 6, 2)), relu, tanh])
    x = noise(3, 8, 6, 2)
    spectra = activation_spectra(model, x)
    assert spectra.pre_activation["relu"].sum() == pytest.approx(np.mean(x**2))
    rectified = np.mean(x.clip(0) ** 2)
    assert spectra.post_activation["relu"].sum() == pytest.approx(rectified)
    assert spectra.pre_activation["tanh"].sum() == pytest.approx(rectified)


def test_shared_layer_is_averaged_over_its_uses() -> None:
    shared = conv("shared", filters=2)
    inputs = keras.Input((8, 6, 2))
    model = keras.Model(inputs, shared(shared(inputs)))
    x = noise(2, 8, 6, 2)
    once = keras.Model(inputs, shared(inputs))
    middle = ops.convert_to_numpy(once(x))
    first = activation_spectra(once, x).pre_activation["shared"]
    second = activation_spectra(once, middle).pre_activation["shared"]
    both = activation_spectra(model, x).pre_activation["shared"]
    np.testing.assert_allclose(both, (first + second) / 2, rtol=1e-4)


def test_channels_first_layers_are_read_along_their_own_axes() -> None:
    pool = keras.layers.AveragePooling2D(1, data_format="channels_first", name="pool")
    model = keras.Sequential([keras.Input((2, 8, 6)), pool])
    x = noise(3, 2, 8, 6)
    spectrum = activation_spectra(model, x).pre_activation["pool"]
    expected = radial_spectrum(x).mean(axis=(0, 1))
    np.testing.assert_allclose(spectrum, expected, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("build", MODELS)
def test_model_is_left_exactly_as_it_was(build: Callable[[], keras.Model]) -> None:
    model, x = build(), noise(2, 8, 6, 2)
    layers = [layer_named(model, name) for name in ("conv_1", "conv_2")]
    before = [dict(vars(layer)) for layer in layers]
    weights = [np.array(np.asarray(w)) for w in model.weights]
    expected = ops.convert_to_numpy(model(x))
    activation_spectra(model, x)
    for layer, attributes in zip(layers, before, strict=True):
        assert vars(layer).keys() == attributes.keys()
        assert vars(layer)["activation"] is attributes["activation"]
    for weight, value in zip(model.weights, weights, strict=True):
        np.testing.assert_array_equal(np.asarray(weight), value)
    np.testing.assert_array_equal(ops.convert_to_numpy(model(x)), expected)


def test_model_is_restored_after_an_exception() -> None:
    model = sequential()
    before = [dict(vars(layer)) for layer in model.layers]

    def fail(name: str, call: LayerFields) -> None:
        if name == "conv_2":
            raise OverflowError(name)

    with pytest.raises(OverflowError):
        read_calls(model, noise(1, 8, 6, 2), fail)
    for layer, attributes in zip(model.layers, before, strict=True):
        assert vars(layer).keys() == attributes.keys()
        assert vars(layer)["activation"] is attributes["activation"]


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_half_precision_layers_are_read_in_their_own_precision(policy: str) -> None:
    layer = keras.layers.Conv2D(1, 1, activation="relu", name="conv", dtype=policy)
    model = keras.Sequential([keras.Input((8, 6, 1)), layer])
    layer.kernel.assign(np.ones((1, 1, 1, 1)))
    x = noise(2, 8, 6, 1)
    spectra = activation_spectra(model, x)
    # bfloat16 keeps eight bits: 0.4 % an element, averaged over 96 of them.
    energy = spectra.pre_activation["conv"].sum()
    assert energy == pytest.approx(np.mean(x**2), rel=0.004)
    rectified = spectra.post_activation["conv"].sum()
    assert rectified == pytest.approx(np.mean(x.clip(0) ** 2), rel=0.004)


def test_compiled_predict_is_not_disturbed() -> None:
    model, x = sequential(), noise(2, 8, 6, 2)
    expected = model.predict(x, verbose=0)
    activation_spectra(model, x)
    np.testing.assert_array_equal(model.predict(x, verbose=0), expected)


def test_random_layers_do_not_advance() -> None:
    dropout = keras.layers.Dropout(0.5, seed=1)
    model = keras.Sequential([keras.Input((8, 6, 2)), dropout, conv("conv_1")])
    state = np.array(np.asarray(dropout.seed_generator.state))
    activation_spectra(model, noise(2, 8, 6, 2))
    np.testing.assert_array_equal(np.asarray(dropout.seed_generator.state), state)


def test_shift_separates_gain_from_shape() -> None:
    spectra = activation_spectra(sequential(), noise(4, 8, 6, 2))
    louder = {name: 9 * s for name, s in spectra.pre_activation.items()}
    for shift in spectral_shift(spectra, louder).values():
        assert shift.gain == pytest.approx(np.log(9))
        assert shift.distance == pytest.approx(0.0, abs=1e-12)


def test_shift_of_disjoint_spectra_is_one_and_antisymmetric() -> None:
    low, high = {"a": np.array([0.0, 2.0, 0.0])}, {"a": np.array([0.0, 0.0, 1.0])}
    there, back = spectral_shift(low, high)["a"], spectral_shift(high, low)["a"]
    assert there.distance == 1.0
    assert there.gain == -back.gain == pytest.approx(-np.log(2))
    np.testing.assert_array_equal(there.shape, -back.shape)


def test_shift_between_grids_uses_the_shells_complete_on_both() -> None:
    """One flow of large scales on two grids differs by nothing."""
    model = keras.Sequential(
        [keras.Input((None, None, 1)), keras.layers.Conv2D(1, 1, name="conv")]
    )
    x, y = (2 * np.pi * np.arange(n) / n for n in (24, 16))
    fine = np.sin(2 * x)[:, None] + np.cos(3 * x)[None, :] + np.sin(11 * x)[:, None]
    coarse = np.sin(2 * y)[:, None] + np.cos(3 * y)[None, :] + np.zeros((16, 16))
    results = [
        activation_spectra(model, field[None, :, :, None].astype("float32"))
        for field in (fine, coarse)
    ]
    assert [r["conv"].grid for r in results] == [(24, 24), (16, 16)]
    shift = spectral_shift(*results)["conv"]
    assert shift.shape.shape == (8,)  # k = 0 .. 7; sin(11 x) is not on the coarse grid
    assert shift.distance < FLOAT32 and abs(shift.gain) < FLOAT32
    bare = [r.pre_activation for r in results]
    with pytest.raises(ValueError, match=r"\(18,\) and \(12,\), from grids that are"):
        spectral_shift(*bare)


def test_one_and_three_axes_are_read_where_asked_for() -> None:
    for rank, shape in ((1, (9, 2)), (3, (4, 6, 5, 2))):
        relu = keras.layers.ReLU(name="relu")
        x = noise(3, *shape)
        model = keras.Sequential([keras.Input(shape), relu])
        spectra = activation_spectra(model, x, rank=rank)
        rectified = np.mean(x.clip(0) ** 2)
        assert spectra.post_activation["relu"].sum() == pytest.approx(rectified)
        assert spectra["relu"].grid == shape[:-1]
        cure = rf"2 spatial axes.*outputs with {rank}: pass rank={rank}\.$"
        with pytest.raises(ValueError, match=cure):
            activation_spectra(model, x)
        with pytest.raises(ValueError, match=cure):
            activation_spectra(model, x, layers=["relu"])
    with pytest.raises(ValueError, match="rank=4"):
        activation_spectra(sequential(), noise(1, 8, 6, 2), rank=4)


def test_memory_does_not_grow_with_the_number_of_samples() -> None:
    model = keras.Sequential([keras.Input((64, 64, 2)), conv("conv_1")])

    def peak(num_batches: int) -> int:
        batches = (noise(4, 64, 64, 2, seed=seed) for seed in range(num_batches))
        tracemalloc.start()
        activation_spectra(model, batches)
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return highest

    peak(2)  # caches and compiled functions
    # A batch of float32 activations is 0.2 MB. Ten times the batches: what kept them
    # would grow tenfold; when garbage is collected makes a difference below two.
    assert 200_000 < peak(20) < 2 * peak(2)


def test_bad_shifts_are_refused() -> None:
    good = {"a": np.array([1.0, 1.0])}
    with pytest.raises(ValueError, match=r"\['a', 'b'\]"):
        spectral_shift(good, {"b": good["a"]})
    with pytest.raises(ValueError, match=r"\(2,\) and \(3,\)"):
        spectral_shift(good, {"a": np.ones(3)})
    with pytest.raises(ValueError, match=r"0\.0 \(target\)"):
        spectral_shift(good, {"a": np.zeros(2)})
    with pytest.raises(ValueError, match=r"shape \(2, 2\) for 'a'"):
        spectral_shift(good, {"a": np.ones((2, 2))})


@pytest.mark.parametrize(
    ("selector", "names"),
    [
        ("conv_1", ["conv_1"]),
        (-1, ["conv_2"]),
        (re.compile("conv"), ["conv_1", "conv_2"]),
        (KernelsOf("conv_2"), ["conv_2"]),
        (["add", "conv_1", 0], ["conv_1", "add"]),
    ],
)
def test_layers_are_a_selector_everywhere(selector: object, names: list[str]) -> None:
    model, x = functional_with_skip(), noise(2, 8, 6, 2)
    assert list(activation_spectra(model, x, selector).pre_activation) == names
    assert list(retraining_shifts(model, model, x, x, selector)) == names
    convolutions = [name for name in names if name != "add"]
    # "add" has two inputs, so no gain.
    assert list(layer_gains(model, x, selector)) == convolutions
    found = convolution_residuals(model, x, selector)
    assert list(found) == convolutions
    assert set(relu_identity(model, x, selector)) == set(names) & {"conv_1"}


def test_a_container_stands_for_the_layers_in_it() -> None:
    found = activation_spectra(nested(), noise(1, 8, 6, 2), "inner")
    assert list(found.pre_activation) == ["inner/conv_1"]


def test_a_list_of_inputs_is_read_as_a_dict_of_them_is() -> None:
    first, second = keras.Input((8, 6, 2), name="a"), keras.Input((8, 6, 1), name="b")
    conv = keras.layers.Conv2D(2, 3, name="conv")
    model = keras.Model(
        [first, second], conv(keras.ops.concatenate([first, second], -1))
    )
    a, b = noise(3, 8, 6, 2), noise(3, 8, 6, 1)
    found, expected = (
        activation_spectra(model, x, batch_size=2).pre_activation["conv"]
        for x in ([a, b], {"a": a, "b": b})
    )
    np.testing.assert_array_equal(found, expected)
    in_batches = activation_spectra(model, [{"a": a, "b": b}]).pre_activation["conv"]
    np.testing.assert_allclose(in_batches, expected, rtol=1e-6)
    with pytest.raises(ValueError, match=r"takes 'a' \(8, 6, 2\), 'b' .*3 array"):
        activation_spectra(model, [a, b, b])


def test_unknown_layer_is_refused_with_near_names() -> None:
    with pytest.raises(KeyError, match="conv_1"):
        activation_spectra(sequential(), noise(1, 8, 6, 2), layers=["conv1"])


def test_layer_without_spatial_output_is_refused_by_name() -> None:
    flat = [conv("conv_1"), keras.layers.Flatten(), keras.layers.Dense(1, name="last")]
    model = keras.Sequential([keras.Input((8, 6, 2)), *flat])
    with pytest.raises(ValueError, match=r"\['last'\].*\['conv_1'\]"):
        activation_spectra(model, noise(1, 8, 6, 2), layers=["conv_1", "last"])
    dense = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)], name="flat")
    with pytest.raises(ValueError, match=r"'flat'.*compiled function"):
        activation_spectra(dense, noise(1, 2))


def test_bad_data_is_refused() -> None:
    model, x = sequential(), noise(2, 8, 6, 2)
    with pytest.raises(ValueError, match="no samples"):
        activation_spectra(model, x[:0])
    with pytest.raises(ValueError, match="batch_size=0"):
        activation_spectra(model, x, batch_size=0)
    x[0, 0, 0, 0] = np.inf
    with pytest.raises(ValueError, match="x has 1 values"):
        activation_spectra(model, x)


def test_changing_grid_between_batches_is_refused() -> None:
    model = keras.Sequential([keras.Input((None, None, 2)), conv("conv_1")])

    def batches() -> Iterator[np.ndarray]:
        yield noise(1, 8, 8, 2)
        yield noise(1, 12, 12, 2)

    with pytest.raises(ValueError, match=r"'conv_1'.*\(8, 8\) and \(12, 12\)"):
        activation_spectra(model, batches())


def test_a_dict_of_several_inputs_is_cut_into_batches() -> None:
    one, two = keras.Input((8, 8, 1), name="one"), keras.Input((8, 8, 1), name="two")
    joined = keras.layers.Concatenate()([one, two])
    model = keras.Model([one, two], conv("read")(joined))
    x = {"one": noise(5, 8, 8, 1), "two": noise(5, 8, 8, 1, seed=1)}
    found = activation_spectra(model, x, batch_size=2).pre_activation["read"]
    whole = activation_spectra(model, [x]).pre_activation["read"]
    np.testing.assert_allclose(found, whole, rtol=FLOAT32)


def levels() -> keras.Model:
    """Two levels that share their pooling and their activation."""
    pool, bend = (
        keras.layers.MaxPooling2D(2, name="pool"),
        keras.layers.ReLU(name="bend"),
    )
    convs = [keras.layers.Conv2D(2, 3, padding="same", name=f"c{n}") for n in (1, 2)]
    x = inputs = keras.Input((16, 12, 1))
    for conv in convs:
        x = pool(bend(conv(x)))
    return keras.Model(inputs, x)


def test_a_layer_without_weights_at_several_levels_is_left_out_unless_named() -> None:
    model, x = levels(), np.random.default_rng(0).normal(size=(3, 16, 12, 1))
    assert sorted(activation_spectra(model, x)) == ["c1", "c2"]
    assert sorted(layer_gains(model, x)) == ["c1", "c2"]
    with pytest.raises(ValueError, match=r"'bend' works on .*\(16, 12\) and \(8, 6"):
        activation_spectra(model, x, ["bend"])
    shifts = activation_shifts(model, *(Samples.of((x, x)),) * 2, (1, 2))
    assert sorted(shifts) == ["c1", "c2"]


def test_batches_may_be_lists_of_inputs_and_targets_as_of_a_torch_loader() -> None:
    model, x = levels(), np.random.default_rng(0).normal(size=(4, 16, 12, 1))
    pairs = [[x[:2], x[:2]], [x[2:], x[2:]]]
    found, expected = (activation_spectra(model, one) for one in (pairs, x))
    for name, layer in expected.items():
        np.testing.assert_allclose(
            found[name].pre_activation, layer.pre_activation, rtol=1e-6
        )
