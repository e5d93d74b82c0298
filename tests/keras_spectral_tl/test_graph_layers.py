"""Every layer that owns weights is found once, in order, under a unique name."""

import keras
import numpy as np
import pytest

from keras_spectral_tl._graph.layers import (
    ModelLayers,
    count_parameters,
    fetch,
    layers_with_weights,
    own_weights,
    parents_first,
)
from keras_spectral_tl._keras_internals import own_trainable_variables, sublayers
from tests.keras_spectral_tl.common import Scaled


def _dense(name, units=2, **options):
    return keras.layers.Dense(units, name=name, **options)


class _Subclassed(keras.Model):
    def __init__(self):
        super().__init__(name="subclassed")
        self.blocks = [_dense("block"), _dense("block")]
        self.head = keras.Sequential([_dense("inner")], name="head")

    def call(self, inputs):
        for block in self.blocks:
            inputs = block(inputs)
        return self.head(inputs)


def _nested():
    encoder = keras.Sequential(
        [keras.Input((3,)), _dense("first"), _dense("second")], name="encoder"
    )
    inputs = keras.Input((3,))
    return keras.Model(inputs, _dense("first")(encoder(inputs)))


def test_sequential_lists_layers_with_weights_only():
    layers = [_dense("a"), keras.layers.ReLU(), keras.layers.Dropout(0.1), _dense("b")]
    model = keras.Sequential([keras.Input((3,)), *layers])
    assert layers_with_weights(model) == {"a": layers[0], "b": layers[3]}


def test_functional_order_is_graph_order_with_a_skip_connection():
    inputs = keras.Input((3,))
    first = _dense("z_first", 3)(inputs)
    second = _dense("a_second", 3)(first)
    outputs = _dense("m_last")(keras.layers.Add()([inputs, second]))
    names = list(layers_with_weights(keras.Model(inputs, outputs)))
    assert names == ["z_first", "a_second", "m_last"]


def test_nested_models_are_flattened_in_order_with_paths():
    names = list(layers_with_weights(_nested()))
    assert names == ["encoder/first", "encoder/second", "first"]


def test_subclassed_model_with_equal_names_gets_unique_keys():
    model = _Subclassed()
    model(np.zeros((1, 2)))
    names = list(layers_with_weights(model))
    assert names == ["block", "block_2", "head/inner"]


def test_shared_layer_appears_once():
    shared = _dense("shared", 3)
    inputs = keras.Input((3,))
    model = keras.Model(inputs, shared(shared(inputs)))
    assert layers_with_weights(model) == {"shared": shared}


def test_recurrent_cell_and_wrapped_layer_own_the_weights():
    layers = [
        keras.layers.SimpleRNN(2, return_sequences=True, name="rnn"),
        keras.layers.TimeDistributed(_dense("point"), name="each"),
    ]
    model = keras.Sequential([keras.Input((4, 3)), *layers])
    names = list(layers_with_weights(model))
    assert names == ["rnn/simple_rnn_cell", "each/point"]


def test_layer_with_weight_and_sublayer_lists_both():
    model = keras.Sequential([keras.Input((3,)), Scaled(name="scaled")])
    layers = layers_with_weights(model)
    assert list(layers) == ["scaled/own", "scaled/inner"]
    own = own_weights(layers["scaled/own"])
    assert [w.name for w in own] == ["scale"]


def test_own_weights_cover_the_model_exactly_once():
    model = keras.Sequential(
        [
            keras.Input((8, 8, 2)),
            keras.layers.DepthwiseConv2D(3),
            keras.layers.BatchNormalization(),
            keras.layers.SeparableConv2D(2, 3),
            keras.layers.Dropout(0.5),
        ]
    )
    layers = layers_with_weights(model).values()
    found = [id(w) for layer in layers for w in own_weights(layer)]
    assert sorted(found) == sorted(id(w) for w in model.weights)


def test_batch_normalization_statistics_are_weights_but_not_trainable():
    layer = keras.layers.BatchNormalization(name="norm")
    model = keras.Sequential([keras.Input((3,)), layer])
    model.trainable = False
    assert list(layers_with_weights(model)) == ["norm"]
    own = own_trainable_variables(layer)
    assert count_parameters(own) == 6
    assert count_parameters(own_weights(layer)) == 12


def test_parents_come_before_contents_also_when_shared():
    shared = _dense("shared", 3)
    outer = keras.Sequential([keras.Input((3,)), shared], name="outer")
    inputs = keras.Input((3,))
    model = keras.Model(inputs, outer(shared(inputs)))
    order = parents_first(model)
    assert len(order) == len({id(layer) for layer in order})
    for layer in order:
        for inner in sublayers(layer):
            assert order.index(layer) < order.index(inner)


def test_fetch_returns_the_values():
    variable = keras.Variable(np.arange(3.0, dtype="float32"))
    np.testing.assert_array_equal(fetch(variable), [0.0, 1.0, 2.0])


def test_model_without_weights_has_no_layers():
    model = keras.Sequential([keras.Input((3,)), keras.layers.ReLU()])
    assert layers_with_weights(model) == {}


def test_unbuilt_model_is_refused():
    with pytest.raises(ValueError, match="'later' is not built"):
        layers_with_weights(keras.Sequential([_dense("a")], name="later"))


def test_not_a_model_is_refused():
    with pytest.raises(TypeError, match="Received str: 'conv_1'"):
        layers_with_weights("conv_1")


def test_a_path_is_a_known_name():
    assert ModelLayers.of(_nested()).known("encoder/second") == "encoder/second"


def test_an_unknown_name_gets_near_ones_and_the_list():
    with pytest.raises(KeyError) as caught:
        ModelLayers.of(_nested()).known("frist")
    message = str(caught.value)
    assert "'frist'" in message and "Did you mean 'first'" in message
    assert "encoder/first, encoder/second, first" in message


def test_an_unknown_name_without_near_ones_gets_no_proposal():
    with pytest.raises(KeyError) as caught:
        ModelLayers.of(_nested()).known("qqqq")
    assert "Did you mean" not in str(caught.value)


class _Nameless(keras.layers.Layer):
    """The style of the Keras guide: weights without names, counted by the process."""

    names = (None, None, None)

    def build(self, input_shape):
        shape = (input_shape[-1], 2)
        first, *several = (self.add_weight(shape=shape, name=n) for n in self.names)
        self.first, self.several = first, several

    def call(self, inputs):
        return sum(keras.ops.matmul(inputs, w) for w in [self.first, *self.several])


def _nameless(names=_Nameless.names):
    layer = _Nameless(name="l")
    layer.names = names
    return keras.Sequential([keras.Input((3,)), layer]), layer


def test_weights_without_a_name_are_called_by_their_attribute():
    for _ in range(2):
        model, layer = _nameless()
        weights = ModelLayers.of(model).weights
        assert list(weights) == ["l/first", "l/variable", "l/variable_2"]
        assert list(weights.values()) == [layer.first, *layer.several]


def test_a_copy_has_the_same_paths_in_the_same_places():
    model, _ = _nameless()
    other, layer = _nameless(("a", "b", "c"))
    weights = ModelLayers.of(model).of_copy(other).weights
    assert list(weights) == ["l/first", "l/variable", "l/variable_2"]
    assert list(weights.values()) == [layer.first, *layer.several]


def test_a_model_with_fewer_weights_is_no_copy():
    model, _ = _nameless()
    other = keras.Sequential([keras.Input((3,)), _dense("l", 2)])
    with pytest.raises(ValueError, match=r"not a copy.*places of l/variable_2"):
        ModelLayers.of(model).of_copy(other)


def test_a_shared_weight_has_a_path_in_each_layer():
    model = keras.Sequential(
        [
            keras.Input((3,)),
            keras.layers.SpectralNormalization(_dense("d", 2), name="s"),
        ]
    )
    named = ModelLayers.of(model)
    kernel = named.weights["s/d/kernel"]
    assert named.weights["s/own/kernel"] is kernel
    assert named.paths([kernel]) == ("s/own/kernel", "s/d/kernel")


# Stands for a module of torch, which need not be installed.
TORCH_MODULE = type("Net", (), {"__module__": "torch.nn"})()


@pytest.mark.once
@pytest.mark.parametrize(
    ("given", "mend"),
    [
        ("base.keras", r"Received str: .*keras\.models\.load_model\(path\)"),
        (
            type("Net", (), {"__module__": "torch.nn"})(),
            r"Received torch\.nn.*torch_mo",
        ),
        (3, r"Received int: 3\.$"),
    ],
)
def test_what_is_no_keras_model_is_told_how_to_become_one(given, mend):
    with pytest.raises(TypeError, match=mend):
        layers_with_weights(given)
