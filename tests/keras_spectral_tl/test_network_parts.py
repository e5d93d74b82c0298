"""Scores fit what `retrain` would: the same weights, points, inputs, in any network."""

import keras
import numpy as np
import pytest

from keras_spectral_tl import transfer
from keras_spectral_tl._graph.layers import fetch
from keras_spectral_tl.freezing import select_layers
from keras_spectral_tl.models import build_sgs_cnn
from keras_spectral_tl.scoring import HeldOutRetraining, _network_parts, score_layers
from keras_spectral_tl.scoring._network_parts import PartedNetwork
from keras_spectral_tl.transfer import Samples
from tests.keras_spectral_tl.common import noise

L = keras.layers
FEW = HeldOutRetraining(steps=3)


def values(model, data, scorer=FEW):
    scores = score_layers(model, data, data, [scorer])
    return scores.scores[scorer.name]


def dense(*names, units=4):
    layers = [L.Dense(units, "relu", name=name) for name in names]
    return keras.Sequential([keras.Input((units,)), *layers, L.Dense(1, name="out")])


def parts_of(model, x, names):
    network = PartedNetwork(model, x, batch_size=4)
    return network, list(network.parts({name: name for name in names}))


def test_each_part_computes_what_the_network_computes():
    model, x = dense("a", "b", "c"), noise(5, 4)
    network, parts = parts_of(model, x, ("a", "b", "c", "out"))
    expected = keras.ops.convert_to_numpy(model(x))
    np.testing.assert_allclose(network.outputs, expected, atol=1e-6)
    for part in parts:
        outputs = part.function.outputs(part.function.start, part.inputs, 2)
        np.testing.assert_allclose(outputs, expected, atol=1e-6)


def test_parts_asked_for_again_are_the_same_functions_of_the_same_inputs():
    model, x = dense("a", "b", "c"), noise(5, 4)
    network, first = parts_of(model, x, ("a", "b", "c"))
    again = list(network.parts({"again": "b", "c": "c"}))
    for one, other in zip(first[1:], again, strict=True):
        assert one.function is other.function
        np.testing.assert_array_equal(one.inputs, other.inputs)
    network.forget_parts()
    (new,) = network.parts({"b": "b"})
    assert new.function is not first[1].function
    np.testing.assert_array_equal(new.inputs, first[1].inputs)


@pytest.mark.parametrize("frozen", ["kernel", "low rank"])
def test_a_rehearsal_trains_what_retraining_trains(frozen):
    """A kernel frozen alone stays; of a low-rank update the base does."""
    model, x = dense("a", "b"), noise(8, 4)
    layer = model.get_layer("b")
    if frozen == "kernel":
        layer.kernel.trainable = False
    else:
        layer.enable_lora(1)
    (part,) = parts_of(model, x, ("b",))[1]
    shapes = [value.shape for value in part.function.values]
    result = transfer.retrain(
        model, (x, noise(8, 1, seed=1)), "b", epochs=1, batch_size=8
    )
    trained = [tuple(v.shape) for v in result.model.trainable_variables]
    assert sorted(shapes) == sorted(trained)
    expected = {"kernel": [(4,)], "low rank": [(1, 4), (4,), (4, 1)]}
    assert sorted(shapes) == sorted(expected[frozen])


def sequences():
    """Four words and four of padding, with garbage as their truth."""
    tokens = keras.Input((8,), dtype="int32")
    hidden = L.Dense(6, "relu", name="d")(L.Embedding(20, 6, mask_zero=True)(tokens))
    model = keras.Model(tokens, L.Dense(2, name="out")(hidden))
    rng = np.random.default_rng(0)
    x = rng.integers(1, 20, (8, 8)).astype("int32")
    x[:, 4:] = 0
    return model, x, noise(8, 8, 2)


def test_padding_has_no_influence():
    model, x, y = sequences()
    garbage = y.copy()
    garbage[:, 4:] = 50.0
    assert values(model, (x, y)) == values(model, (x, garbage))


def test_without_a_mask_every_point_counts():
    model, x, y = sequences()
    plain = keras.Sequential([keras.Input((8,)), L.Embedding(20, 6), *model.layers[2:]])
    plain.set_weights(model.get_weights())
    other = y.copy()
    other[:, 4:] = 50.0
    assert values(plain, (x, y)) != values(plain, (x, other))


def test_masks_that_a_cut_would_lose_keep_the_network_whole():
    """An average over what the mask leaves, behind the layer that is trained."""
    tokens = keras.Input((8,), dtype="int32")
    hidden = L.Dense(6, name="d")(L.Embedding(20, 6, mask_zero=True)(tokens))
    pooled = L.GlobalAveragePooling1D()(hidden)
    model = keras.Model(tokens, L.Dense(2, name="out")(pooled))
    x = sequences()[1]
    expected = keras.ops.convert_to_numpy(model(x))
    for part in parts_of(model, x, ("d", "out"))[1]:
        outputs = part.function.outputs(part.function.start, part.inputs, 4)
        np.testing.assert_allclose(outputs, expected, atol=1e-5)


def test_embeddings_are_scored():
    model, x, y = sequences()
    found = values(model, (x, y))
    assert len(found) == 3
    assert np.isfinite(list(found.values())).all()


@pytest.mark.parametrize("kind", [list, tuple, dict])
def test_several_inputs_are_scored_as_they_are_trained(kind):
    inputs = [keras.Input((3,), name=name) for name in "ab"]
    hidden = L.Dense(4, "relu", name="d")(L.Concatenate()(inputs))
    x = [noise(8, 3, seed=seed) for seed in range(2)]
    given = dict(zip("ab", inputs, strict=True)) if kind is dict else inputs
    model = keras.Model(given, L.Dense(1, name="out")(hidden))
    x = dict(zip("ab", x, strict=True)) if kind is dict else kind(x)
    found = values(model, (x, noise(8, 1)))
    assert set(found) == {"d", "out"}
    assert np.isfinite(list(found.values())).all()


def test_targets_of_one_number_a_sample_are_scored():
    """Rank 1: (samples,)."""
    inputs = keras.Input((4,))
    outputs = L.Reshape(())(L.Dense(1, name="out")(L.Dense(3, name="d")(inputs)))
    model = keras.Model(inputs, outputs)
    x, y = noise(12, 4), noise(12)
    column = keras.Sequential([keras.Input((4,)), *model.layers[1:3]])
    ranked, columns = values(model, (x, y)), values(column, (x, y[:, None]))
    for name in ("d", "out"):
        assert ranked[name] == pytest.approx(columns[name], abs=1e-6)


@pytest.mark.parametrize("shape", [(4,), (8, 8, 1)])
def test_two_nested_models_of_one_factory_are_scored(shape):
    def encoder(name):
        layers = [keras.Input(shape), L.Dense(shape[-1], name="d")]
        return keras.Sequential(layers, name=name)

    inputs = keras.Input(shape)
    model = keras.Model(inputs, encoder("B")(encoder("A")(inputs)))
    x = noise(4, *shape)
    assert set(values(model, (x, 2 * x))) == {"A/d", "B/d"}


@keras.saving.register_keras_serializable(package="tests")
class Counting(L.Layer):
    """Counts its calls in a weight of its own."""

    def build(self, shape):
        self.calls = self.add_weight(
            shape=(), initializer="zeros", trainable=False, name="calls"
        )

    def call(self, x):
        self.calls.assign(self.calls + 1.0)
        return x


def test_layers_that_count_their_calls_stay_as_they_are():
    layers = [L.Dense(4, name="a"), Counting(name="counter"), L.Dense(1, name="out")]
    model = keras.Sequential([keras.Input((4,)), *layers])
    before = float(fetch(model.get_layer("counter").calls))
    found = values(model, (noise(8, 4), noise(8, 1)))
    assert set(found) == {"a", "out"}
    assert float(fetch(model.get_layer("counter").calls)) == before


def test_networks_for_one_number_of_samples_are_refused_in_words():
    inputs = keras.Input(batch_shape=(4, 5, 2))
    model = keras.Model(inputs, L.Dense(1)(L.LSTM(3, stateful=True)(inputs)))
    x, y = noise(8, 5, 2), noise(8, 1)
    with pytest.raises(ValueError, match="batches of 4 samples only"):
        score_layers(model, (x, y), (x, y))


def test_one_sample_is_cut_along_space_in_either_layout():
    if keras.backend.backend() == "tensorflow":
        return  # no such convolutions on a CPU
    x, y = noise(1, 8, 12, 2), noise(1, 8, 12, 6, seed=1)
    found = []
    for layout in ("channels_last", "channels_first"):
        first = layout == "channels_first"
        options = {"padding": "same", "data_format": layout}
        layers = [
            L.Conv2D(4, 3, activation="relu", name="a", **options),
            L.Conv2D(6, 3, name="b", **options),
        ]
        order = (0, 3, 1, 2) if first else (0, 1, 2, 3)
        model = keras.Sequential([keras.Input(x.transpose(order).shape[1:]), *layers])
        rng = np.random.default_rng(2)
        model.set_weights([rng.normal(0, 0.3, w.shape) for w in model.get_weights()])
        found.append(values(model, (x.transpose(order), y.transpose(order))))
    for name in "ab":
        assert found[1][name] == pytest.approx(found[0][name], abs=1e-4)


def test_a_cost_is_that_of_the_steps_of_the_part():
    """Dense layers: 4 x 4 forward each; behind the cut a step costs what is left."""
    model, x = dense("a", "b"), noise(8, 4)
    for part in parts_of(model, x, ("a", "b", "out"))[1]:
        cost = select_layers(model, part.label).cost()
        assert part.step == pytest.approx(cost.cached_step / cost.forward)
    data = Samples.of((x, noise(8, 1)))
    scorer = HeldOutRetraining(steps=10, num_points=1, num_tested=1)
    cost = scorer.rehearse(model, data, [("out",)], np.random.default_rng(0)).cost
    share = 4 / (16 + 16 + 4)
    # All samples to the cut, ten steps (forward and gradient) and two samples tested.
    assert cost.total == np.ceil(8 + 10 * 2 * share + 2 * share)


@pytest.mark.parametrize("channels", [31, 32])
def test_wide_convolutions_of_the_copy_compute_in_half_precision(channels, monkeypatch):
    model = build_sgs_cnn((8, 8, 2), num_layers=3, num_filters=channels)
    x = noise(4, 8, 8, 2, seed=3)
    exact = model.predict(x, verbose=0)
    monkeypatch.setattr(_network_parts, "_has_bfloat16", lambda: True)
    network = PartedNetwork(model, x, 2)
    off = np.max(np.abs(network.outputs - exact)) / np.std(exact)
    # A number of bfloat16 has 8 bits: products of conv_2 alone are rounded.
    rounded = channels == 32 and keras.backend.backend() == "tensorflow"
    assert (1e-5 < off < 2.0**-6) if rounded else off < 1e-5
    (part,) = network.parts({"conv_2": "conv_2"})
    order = np.zeros(1, int)
    slope = part.function.gradient(
        part.function.start,
        part.inputs[order],
        np.zeros((1, 8, 8, 1)),
        np.ones((1, 8, 8, 1)),
    )
    assert slope.shape == (channels**2 * 25 + channels,)
    assert {layer.dtype_policy.name for layer in model.layers} == {"float32"}
    np.testing.assert_array_equal(model.predict(x, verbose=0), exact)


def test_layers_with_a_precision_of_their_own_keep_it(monkeypatch):
    monkeypatch.setattr(_network_parts, "_has_bfloat16", lambda: True)
    model = keras.Sequential(
        [keras.Input((8, 8, 32)), keras.layers.Conv2D(32, 3, dtype="mixed_float16")]
    )
    _network_parts.compute_in_half_precision(model)
    assert model.layers[-1].compute_dtype == "float16"


@keras.saving.register_keras_serializable("tests")
class Transposed(L.Layer):
    """A decoder with the kernel of an encoder."""

    def __init__(self, encoder, **options):
        super().__init__(**options)
        self.encoder = encoder

    def build(self, shape):
        self.kernel = self.encoder.kernel

    def call(self, x):
        return keras.ops.matmul(x, keras.ops.transpose(self.kernel))

    def get_config(self):
        encoder = keras.saving.serialize_keras_object(self.encoder)
        return {**super().get_config(), "encoder": encoder}

    @classmethod
    def from_config(cls, config):
        encoder = keras.saving.deserialize_keras_object(config.pop("encoder"))
        return cls(encoder, **config)


def test_a_weight_of_two_layers_moves_in_both():
    inputs, encoder = keras.Input((4,)), L.Dense(4, name="enc", use_bias=False)
    decoder = Transposed(encoder, name="dec")
    model = keras.Model(inputs, decoder(L.Dense(4, name="mid")(encoder(inputs))))
    x = noise(8, 4)
    (part,) = parts_of(model, x, ("dec/own",))[1]
    outputs = part.function.outputs(part.function.start + 0.3, part.inputs, 4)
    encoder.kernel.assign(encoder.kernel + 0.3)
    np.testing.assert_allclose(outputs, fetch(model(x)), atol=1e-5)


@pytest.mark.parametrize(
    ("layer", "shape", "inputs"),
    [
        (L.Conv2D(5, 3), (6, 6, 4), [36]),
        (L.DepthwiseConv2D(3, depth_multiplier=2), (6, 6, 4), [9]),
        (L.SeparableConv2D(5, 3), (6, 6, 4), [9, 4]),
        (L.Conv2DTranspose(5, 3), (6, 6, 4), [36]),
        (L.GRU(5), (6, 4), [4, 5]),  # its bias has two axes, but no inputs
        (L.EinsumDense("abc,cde->abde", (6, 2, 3), bias_axes="de"), (6, 4), [4]),
    ],
)
def test_kernels_have_the_inputs_of_one_output(layer, shape, inputs):
    """The learning rate of trials follows from them."""
    last = {"data_format": "channels_last"} if hasattr(layer, "data_format") else {}
    layer = type(layer).from_config({**layer.get_config(), **last})
    model = keras.Sequential([keras.Input(shape), layer])
    found = _network_parts.kernels_of(model)
    assert [len(kernel) for kernel in found] == inputs


def test_a_bias_of_two_axes_sets_no_learning_rate():
    """Keys of attention have biases without any effect, which stay nearly zero."""
    inputs = keras.Input((4, 3))
    attention = L.MultiHeadAttention(2, 3, name="attention")
    model = keras.Model(inputs, attention(inputs, inputs))
    x = noise(4, 4, 3)
    network = PartedNetwork(model, x, batch_size=4)
    (part,) = network.parts({"all": None})
    kernels = [fetch(w) for w in model.weights if not w.name.endswith("bias")]
    sized = [value for value in part.sizes if value.ndim > 1]
    assert sorted(map(np.size, sized)) == sorted(map(np.size, kernels))
