"""The closure network, and exact or fresh copies of models of every kind."""

import random

import keras
import numpy as np
import pytest

from keras_spectral_tl import freezing, models
from keras_spectral_tl._graph.copies import seed_random_states
from keras_spectral_tl._graph.layers import layers_with_weights
from keras_spectral_tl.layers import PeriodicConv2D
from tests.keras_spectral_tl.common import values

RNG = np.random.default_rng(2)


class Subclassed(keras.Model):
    def __init__(self, units=3, **options):
        super().__init__(**options)
        self.units = units
        self.first = keras.layers.Dense(units, activation="relu")
        self.last = keras.layers.Dense(1)

    def call(self, inputs):
        return self.last(self.first(inputs))

    def get_config(self):
        return {**super().get_config(), "units": self.units}


class Tripled(keras.layers.Layer):
    """A layer that only a file can rebuild: its class is not registered."""

    def build(self, input_shape):
        self.factor = self.add_weight(shape=(), name="factor", initializer="ones")

    def call(self, inputs):
        return 3.0 * self.factor * inputs


class NoConfig(keras.Model):
    def __init__(self, head):
        super().__init__()
        self.head = head

    def call(self, inputs):
        return self.head(inputs)

    def get_config(self):
        raise NotImplementedError("no config")


def _functional_with_skip():
    inputs = keras.Input((4,))
    hidden = keras.layers.Dense(4, activation="relu")(inputs)
    hidden = keras.layers.BatchNormalization()(hidden)
    hidden = keras.layers.Dropout(0.5)(keras.layers.Add()([inputs, hidden]))
    return keras.Model(inputs, Tripled()(keras.layers.Dense(1)(hidden)))


def _nested():
    inner = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4)], name="inner")
    inputs = keras.Input((4,))
    return keras.Model(inputs, keras.layers.Dense(1)(inner(inner(inputs))))


def _subclassed():
    model = Subclassed()
    model(np.zeros((1, 4)))
    return model


def _subclassed_with_tripled():
    class Outer(Subclassed):
        def __init__(self, **options):
            super().__init__(**options)
            self.tripled = Tripled()

        def call(self, inputs):
            return self.tripled(super().call(inputs))

    model = Outer()
    model(np.zeros((1, 4)))
    return model


KINDS = [_functional_with_skip, _nested, _subclassed, _subclassed_with_tripled]


def _hashes(model):
    return list(freezing.layer_hashes(model).values())


def _randomise(model):
    for weight in model.weights:
        weight.assign(RNG.uniform(0.5, 1.5, weight.shape))


def test_default_network_has_the_published_size_and_weight_order():
    model = models.build_sgs_cnn((None, None, 2))
    assert model.count_params() == 927_041
    assert [w.path for w in model.weights] == [
        f"conv_{n}/{name}" for n in range(1, 12) for name in ("kernel", "bias")
    ]
    assert list(layers_with_weights(model)) == [f"conv_{n}" for n in range(1, 12)]


@pytest.mark.parametrize("periodic", [True, False])
def test_activations_padding_and_shapes(periodic):
    model = models.build_sgs_cnn((6, 8, 2), 3, 4, 3, periodic)
    convolutions = [model.get_layer(f"conv_{n}") for n in (1, 2, 3)]
    names = [layer.activation.__name__ for layer in convolutions]
    assert names == ["relu", "relu", "linear"]
    kinds = {isinstance(layer, PeriodicConv2D) for layer in convolutions}
    assert kinds == {periodic}
    assert model.output_shape == (None, 6, 8, 1)


def test_only_the_periodic_network_commutes_with_shifts():
    field = RNG.normal(size=(1, 8, 8, 2)).astype("float32")
    errors = []
    for periodic in (True, False):
        model = models.build_sgs_cnn((8, 8, 2), 3, 4, 3, periodic)
        shifted = values(model(np.roll(field, 3, axis=1)))
        expected = np.roll(values(model(field)), 3, axis=1)
        errors.append(np.max(np.abs(shifted - expected)) / np.max(np.abs(expected)))
    assert errors[0] < 1e-5 < 1e-2 < errors[1]  # float32 round-off against order one


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"input_shape": (8, 8)}, r"Received input_shape=\(8, 8\)"),
        ({"input_shape": (8, 8, None)}, r"Received input_shape=\(8, 8, None\)"),
        ({"input_shape": (0, 8, 2)}, r"Received input_shape=\(0, 8, 2\)"),
        ({"num_layers": 0}, "at least 1. Received num_layers=0"),
        ({"kernel_size": -3}, "at least 1. Received kernel_size=-3"),
        ({"num_layers": 10**30}, r"at most 2e\+09 weights"),
        ({"kernel_size": 10**5, "num_layers": 1}, r"at most 2e\+09 weights"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        models.build_sgs_cnn(**{"input_shape": (8, 8, 2), **arguments})
    with pytest.raises(TypeError, match=r"num_filters=2\.5"):
        models.build_sgs_cnn((8, 8, 2), num_filters=2.5)


@pytest.mark.parametrize("build", KINDS)
def test_copy_is_equal_and_independent(build):
    model = build()
    _randomise(model)
    before, x = _hashes(model), RNG.normal(size=(5, 4)).astype("float32")
    copy = models.copy_model(model)
    assert _hashes(copy) == before
    outputs = values(copy(x, training=False))
    np.testing.assert_array_equal(outputs, values(model(x, training=False)))
    _randomise(copy)
    assert _hashes(model) == before


def test_copy_of_a_compiled_model_has_its_own_optimizer():
    model = _nested()
    model.compile("adam", "mse")
    copy = models.copy_model(model)
    copy.compile("adam", "mse")
    copy.fit(np.ones((2, 4)), np.ones((2, 1)), verbose=0)
    assert int(model.optimizer.iterations) == 0


def test_a_model_that_can_neither_be_cloned_nor_saved_is_refused():
    model = NoConfig(keras.layers.Dense(1))
    model(np.zeros((1, 4)))
    with pytest.raises(ValueError, match=r"NoConfig.*neither.*get_config"):
        models.copy_model(model)


class Plain(keras.Model):
    def __init__(self):
        super().__init__()
        self.head = keras.layers.Dense(2)

    def call(self, inputs):
        return self.head(inputs)


class Mended(Plain):
    def __init__(self, **kwargs):
        keras.Model.__init__(self, **kwargs)
        self.head = keras.layers.Dense(2)


def test_a_subclassed_model_is_copied_after_the_mend_that_the_refusal_names():
    x = np.ones((1, 4))
    plain, mended = Plain(), Mended()
    expected = [model.predict(x, verbose=0) for model in (plain, mended)]
    with pytest.raises(ValueError, match=r"__init__ .* take \*\*kwargs.*get_config"):
        models.copy_model(plain)
    copied = models.copy_model(mended).predict(x, verbose=0)
    np.testing.assert_array_equal(copied, expected[1])


@pytest.mark.parametrize("build", [_functional_with_skip, _nested, _subclassed])
def test_fresh_weights_follow_the_seed_alone(build):
    model = build()
    before = _hashes(model)
    first, again = models.fresh_model(model, 1), models.fresh_model(model, 1)
    other = models.fresh_model(model, 2)
    assert _hashes(first) == _hashes(again) != _hashes(other)
    assert _hashes(model) == before != _hashes(first)


def test_fresh_model_leaves_the_global_random_state_alone():
    model = _nested()
    random.seed(5)
    expected = random.random()
    random.seed(5)
    models.fresh_model(model, 1)
    assert random.random() == expected


def test_fresh_model_keeps_statistics_of_the_data():
    normalize = keras.layers.Normalization()
    model = keras.Sequential([keras.Input((4,)), normalize, keras.layers.Dense(1)])
    normalize.adapt(RNG.normal(3.0, 2.0, (32, 4)))
    before, after = _hashes(model), _hashes(models.fresh_model(model, 1))
    assert before[0] == after[0] and before[1] != after[1]


def test_seeded_random_states_repeat_dropout():
    model = _functional_with_skip()
    x = RNG.normal(size=(50, 4)).astype("float32")
    outputs = []
    for seed in (3, 3, 4):
        seed_random_states(model, seed)
        outputs.append(values(model(x, training=True)))
    np.testing.assert_array_equal(outputs[0], outputs[1])
    assert not np.array_equal(outputs[0], outputs[2])


def _difference(model, copy, x):
    outputs = [network.predict(x, verbose=0) for network in (model, copy)]
    return float(np.max(np.abs(outputs[0] - outputs[1])))


@pytest.mark.parametrize("nested", [False, True])
def test_a_copy_keeps_the_statistics_of_an_adapted_layer(nested):
    x = 300 + 10 * RNG.normal(size=(50, 4)).astype("float32")
    normalization = keras.layers.Normalization()
    normalization.adapt(x)
    layers = [keras.Input((4,)), normalization]
    front = keras.Sequential(layers) if nested else normalization
    model = keras.Sequential([keras.Input((4,)), front, keras.layers.Dense(2)])
    assert _difference(model, models.copy_model(model), x) == 0.0
    fresh = models.fresh_model(model, seed=1)
    part = keras.Sequential([keras.Input((4,)), fresh.layers[0]])
    assert abs(float(np.mean(part.predict(x, verbose=0)))) < 1e-4


@pytest.mark.parametrize("words", [[5, 7, 9, 7], ["a", "b", "c", "b"]])
def test_a_copy_keeps_the_vocabulary_of_a_lookup(words):
    text = isinstance(words[0], str)
    if keras.backend.backend() != "tensorflow":
        return  # Keras computes lookups with TensorFlow
    lookup = keras.layers.StringLookup() if text else keras.layers.IntegerLookup()
    lookup.adapt(np.array(words))
    inputs = keras.Input((4,), dtype="string" if text else "int64")
    hidden = keras.layers.Embedding(8, 3)(lookup(inputs))
    model = keras.Model(inputs, keras.layers.Dense(2)(hidden))
    x = keras.ops.convert_to_tensor([words, words[::-1]])
    copy = models.copy_model(model, x)
    assert np.array_equal(np.asarray(copy(x)), np.asarray(model(x)))


class _Hidden(keras.layers.Layer):
    """A layer with a number that neither its configuration nor its file holds."""

    offset = 0.0

    def call(self, inputs):
        return inputs + self.offset


def test_a_copy_that_computes_something_else_is_refused():
    hidden = _Hidden()
    model = keras.Sequential([keras.Input((4,)), hidden, keras.layers.Dense(1)])
    models.copy_model(model)
    hidden.offset = 2.0
    with pytest.raises(ValueError, match=r"computes other outputs.*save_own_variables"):
        models.copy_model(model)


@keras.saving.register_keras_serializable("tests")
class Backbone(keras.Model):
    """As in keras_hub: a functional model whose configuration knows its sizes only."""

    def __init__(self, units=8, **options):
        inputs = keras.Input((4,))
        hidden = keras.layers.Dense(units, activation="relu", name="a")(inputs)
        super().__init__(inputs, keras.layers.Dense(2, name="b")(hidden), **options)
        self.units = units

    def get_config(self):
        return {"units": self.units, "name": self.name}


@pytest.mark.parametrize("state", ["lora", "float8", "int8"])
@pytest.mark.parametrize("backbone", [True, False])
def test_a_copy_keeps_low_rank_updates_and_quantization(state, backbone):
    model = Backbone()
    if not backbone:
        model = keras.Model(model.inputs, model.outputs)
    dense = model.get_layer("a")
    if state == "lora":
        dense.enable_lora(2)
        dense.lora_kernel_b.assign(RNG.normal(size=(2, 8)))
    else:
        for name in "ab":
            model.get_layer(name).quantize(state)
    x = RNG.normal(size=(8, 4)).astype("float32")
    copy = models.copy_model(model)
    assert _difference(model, copy, x) == 0.0
    assert type(copy) is type(model)
    trained = [len(network.trainable_weights) for network in (model, copy)]
    assert trained[0] == trained[1]
