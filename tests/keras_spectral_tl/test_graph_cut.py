"""A network cut in two is the network; frozen activations are computed once."""

import keras
import numpy as np
import pytest

from keras_spectral_tl import freezing, transfer
from keras_spectral_tl._graph import cut as prefix_activations
from keras_spectral_tl._graph.cut import (
    Activations,
    LayerGraph,
    PrefixCache,
    acts_alike,
    evaluated,
)
from keras_spectral_tl._graph.layers import (
    layers_with_weights,
    own_weights,
    parents_first,
)
from keras_spectral_tl.freezing._changes import set_trainable

# Float32 activations of order one, summed in another order for another batch size.
BATCHING = 1e-5

RNG = np.random.default_rng(3)
X = RNG.normal(size=(7, 4)).astype("float32")
FIELDS = RNG.normal(size=(5, 8, 8, 2)).astype("float32")


def split(network, layers):
    """Prefix and suffix of a network at the cut before some layers.

    None if the cut is at the inputs or there is no graph to cut.
    """
    selection = freezing.select_layers(network, layers)
    graph = LayerGraph.of(network)
    cut = graph.cut(selection) if graph else None
    if graph is None or cut is None:
        return None
    if {id(tensor) for tensor in cut} <= {id(tensor) for tensor in graph.inputs}:
        return None
    _, prefix = graph.part(graph.inputs, cut)
    _, suffix = graph.part(cut, graph.outputs)
    return prefix, suffix


def _dense(name, units=4):
    return keras.layers.Dense(units, activation="tanh", name=name)


def _conv(name, filters=3, **options):
    return keras.layers.Conv2D(filters, 3, padding="same", name=name, **options)


def _sequential():
    return keras.Sequential([keras.Input((4,)), *map(_dense, "abc")])


def _skips():
    inputs = keras.Input((4,))
    first = _dense("a")(inputs)
    second = _dense("b")(first) + first
    return keras.Model(inputs, _dense("c")(keras.ops.concatenate([second, inputs])))


def _shared():
    shared, inputs = _dense("shared"), keras.Input((4,))
    middle = _dense("middle")(shared(inputs))
    return keras.Model(inputs, _dense("last")(shared(middle)))


def _nested():
    inner = keras.Sequential([keras.Input((4,)), _dense("a"), _dense("b")], name="in")
    block_inputs = keras.Input((4,))
    hidden = _dense("c")(inner(block_inputs))
    ends = {"deep": hidden, "unused": _dense("u")(hidden), "skip": block_inputs}
    block = keras.Model(block_inputs, ends, name="block")
    inputs = keras.Input((4,))
    outputs = block(_dense("first")(inputs))
    return keras.Model(inputs, _dense("last")(outputs["deep"] + outputs["skip"]))


def _unet():
    inputs = keras.Input((8, 8, 2))
    skip = _conv("down", activation="relu")(inputs)
    low = _conv("bottom", activation="relu")(keras.layers.MaxPooling2D()(skip))
    joined = keras.layers.Concatenate()([keras.layers.UpSampling2D()(low), skip])
    return keras.Model(inputs, _conv("out", 1)(_conv("up")(joined)))


def _resnet():
    inputs = hidden = keras.Input((8, 8, 2))
    hidden = _conv("stem")(hidden)
    for block in ("one", "two"):
        norm = keras.layers.BatchNormalization(name=f"norm_{block}")(hidden)
        hidden = hidden + _conv(f"conv_{block}")(keras.layers.ReLU()(norm))
    model = keras.Model(inputs, _conv("head", 1)(hidden))
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.moving_mean.assign(RNG.uniform(0.1, 0.5, layer.moving_mean.shape))
    return model


BUILDS = [_sequential, _skips, _shared, _nested, _unet, _resnet]


def _array(tensor):
    return np.asarray(keras.ops.convert_to_numpy(tensor))


def _samples(network):
    return X if len(network.inputs[0].shape) == 2 else FIELDS


@pytest.mark.parametrize("build", BUILDS)
def test_the_parts_make_up_the_network_bit_for_bit(build):
    network = build()
    x, layers = _samples(network), layers_with_weights(network)
    cuts = 0
    for name in layers:
        parts = None if name == "block/u" else split(network, name)
        if parts is None:
            continue
        cuts += 1
        prefix, suffix = parts
        expected = _array(network(x, training=False))
        outputs = suffix(prefix(x, training=False), training=False)
        np.testing.assert_array_equal(_array(outputs), expected)
        own = {id(v) for v in own_weights(layers[name])}
        assert own <= {id(v) for v in suffix.weights}
        assert not own & {id(v) for v in prefix.weights}
        everything = {id(v) for v in network.weights}
        assert {id(v) for v in (*prefix.weights, *suffix.weights)} <= everything
    assert cuts >= len(layers) - 2


def _cut(network, layers):
    return [tensor.shape[1:] for tensor in LayerGraph.of(network).cut(layers)]


def test_skip_connections_cross_the_cut():
    assert _cut(_unet(), "down") == [(8, 8, 2)]
    assert _cut(_unet(), "bottom") == [(4, 4, 3), (8, 8, 3)]
    assert _cut(_unet(), "up") == [(8, 8, 6)]
    assert _cut(_skips(), "b") == [(4,), (4,)]  # the first layer and the input
    assert len(_cut(_resnet(), "norm_one")) == 1  # both branches start from one tensor
    assert len(_cut(_resnet(), "conv_two")) == 2


def test_the_earliest_of_several_layers_decides():
    assert _cut(_unet(), ["up", "bottom"]) == _cut(_unet(), "bottom")


def test_a_shared_layer_is_cut_before_its_first_use():
    assert split(_shared(), "shared") is None
    prefix, suffix = split(_shared(), "middle")
    assert "shared" in {layer.name for layer in prefix.layers}
    assert "shared" in {layer.name for layer in suffix.layers}


def test_the_cut_goes_through_nested_models_and_leaves_unused_outputs_out():
    network = _nested()
    prefix, suffix = split(network, "block/in/b")
    names = [layer.name for layer in (*prefix.layers, *suffix.layers)]
    assert {"first", "a", "b", "c", "last"} <= set(names)
    assert not {"block", "in", "u"} & set(names)
    assert [len(model.inputs) for model in (prefix, suffix)] == [1, 2]


def test_several_inputs_by_name_and_in_order():
    inputs = {name: keras.Input((4,), name=name) for name in ("v", "u")}
    hidden = _dense("b")(_dense("a")(inputs["u"])) + inputs["v"]
    network = keras.Model(list(inputs.values()), _dense("c")(hidden))
    graph = LayerGraph.of(network)
    data = {"u": X, "v": 2 * X}
    for x in (data, [data["v"], data["u"]]):
        arrays = graph.arrays(x)
        np.testing.assert_array_equal(arrays[0], 2 * X)
        sets = Activations(graph, [arrays], PrefixCache()).at(graph.cut("b"))
        assert len(sets[0]) == 2
    assert graph.arrays({"w": X}) is None
    assert graph.arrays(X) is None


@pytest.mark.parametrize("training", [None, False])  # Keras overrides it in a fit
def test_dropout_lies_behind_the_cut(training):
    inputs = keras.Input((4,))
    hidden = keras.layers.Dropout(0.5)(_dense("a")(inputs), training=training)
    network = keras.Model(inputs, _dense("c")(_dense("b")(hidden)))
    prefix, suffix = split(network, "c")
    assert [layer.name for layer in prefix.layers[1:]] == ["a"]
    assert len(suffix.layers) == 4


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.first, self.last = _dense("first"), _dense("last")

    def call(self, inputs):
        return self.last(self.first(inputs))


class OwnStep(keras.Model):
    def train_step(self, *args, **options):
        return super().train_step(*args, **options)


def test_networks_that_cannot_be_cut():
    subclassed = Subclassed()
    subclassed(X)
    inputs = keras.Input((4,))
    own_step = OwnStep(inputs, _dense("last")(_dense("first")(inputs)))
    fixed = keras.Sequential([keras.Input(batch_shape=(7, 4)), *map(_dense, "ab")])
    for network in (subclassed, own_step, fixed):
        assert LayerGraph.of(network) is None and split(network, -1) is None
    assert split(_sequential(), "a") is None  # nothing in front
    with pytest.raises(KeyError, match=r"'aa'.*Did you mean 'a'"):
        split(_sequential(), "aa")


def test_a_mask_crosses_the_cut():
    layers = [
        keras.layers.Embedding(9, 4, mask_zero=True, name="table"),
        _dense("hidden"),
        keras.layers.GlobalAveragePooling1D(),
        _dense("last"),
    ]
    network = keras.Sequential([keras.Input((6,), dtype="int32"), *layers])
    tokens = np.array([[1, 2, 0, 0, 0, 0], [3, 4, 5, 6, 7, 8]])
    expected = _array(network(tokens))
    prefix, suffix = split(network, "hidden")
    assert sorted(str(tensor.dtype) for tensor in prefix.outputs) == ["bool", "float32"]
    activations = [_array(tensor) for tensor in prefix(tokens)]
    np.testing.assert_array_equal(_array(suffix(activations)), expected)


class Counting(keras.layers.Layer):
    """Counts its calls in training, frozen or not."""

    def build(self, shape):
        self.count = self.add_weight(shape=(), initializer="zeros", trainable=False)

    def call(self, inputs, training=False):
        if training:
            self.count.assign(self.count + 1.0)
        return inputs


class Doubling(keras.layers.Layer):
    """Gives something else in training."""

    def call(self, inputs, training=False):
        return 2.0 * inputs if training else inputs


class Penalty(keras.layers.Layer):
    """Adds a loss."""

    def call(self, inputs):
        self.add_loss(keras.ops.sum(inputs**2))
        return inputs


@pytest.mark.parametrize("layer", [Counting, Doubling, Penalty])
def test_what_acts_differently_in_training_is_found_out(layer):
    network = keras.Sequential([keras.Input((4,)), _dense("a"), layer(), _dense("b")])
    graph = LayerGraph.of(network)
    set_trainable(network, ["b"])
    before = [_array(v) for v in network.weights]
    assert Activations(graph, [[X]], PrefixCache()).at(graph.cut("b")) is None
    for variable, value in zip(network.weights, before, strict=True):
        np.testing.assert_array_equal(_array(variable), value)


def test_only_a_frozen_batch_normalization_acts_alike():
    network = _resnet()
    assert not acts_alike(network, [FIELDS])
    freezing.freeze_layers(network)
    assert acts_alike(network, [FIELDS])


def test_activations_are_those_of_the_network():
    network, cache = _resnet(), PrefixCache(batch_size=5)
    graph = LayerGraph.of(network)
    set_trainable(network, ["head"])
    prefix, _ = split(network, "head")
    ((found,),) = Activations(graph, [[FIELDS]], cache).at(graph.cut("head"))
    np.testing.assert_array_equal(found, _array(prefix(FIELDS, training=False)))
    other = Activations(graph, [[FIELDS]], PrefixCache(batch_size=2))
    ((found_by_two,),) = other.at(graph.cut("head"))
    np.testing.assert_allclose(found_by_two, found, rtol=0, atol=BATCHING)


def test_a_walk_through_all_cuts_calls_every_layer_once(monkeypatch):
    network = _sequential()
    graph = LayerGraph.of(network)
    freezing.freeze_layers(network)
    called = []

    def spy(model, *arguments):
        called.append([layer.name for layer in model.layers if layer.name in "abc"])
        return evaluated(model, *arguments)

    monkeypatch.setattr(prefix_activations, "evaluated", spy)
    activations = Activations(graph, [[X], [X[:2]]], PrefixCache())
    for name in "abc":
        sets = activations.at(graph.cut(name))
    assert called == [["a"], ["a"], ["b"], ["b"]]  # two sets of samples
    assert [len(arrays[0]) for arrays in sets] == [7, 2]
    prefix, _ = split(network, "c")
    np.testing.assert_allclose(sets[0][0], _array(prefix(X)), rtol=0, atol=BATCHING)


def test_cuts_in_any_order_are_right():
    network = _unet()
    graph = LayerGraph.of(network)
    freezing.freeze_layers(network)
    activations = Activations(graph, [[FIELDS]], PrefixCache())
    for name in ("up", "bottom", "out", "down"):
        (arrays,) = activations.at(graph.cut(name))
        _, suffix = graph.part(graph.cut(name), graph.outputs)
        outputs = suffix(arrays[0] if len(arrays) == 1 else arrays)
        expected = _array(network(FIELDS))
        np.testing.assert_allclose(_array(outputs), expected, rtol=0, atol=BATCHING)


def test_activations_beyond_the_limit_lie_in_files_that_leave_no_trace(tmp_path):
    network = _sequential()
    graph = LayerGraph.of(network)
    freezing.freeze_layers(network)
    size = X.nbytes
    for limit, on_disk in ((0, [True, True]), (size, [False, True])):
        cache = PrefixCache(memory_limit=limit, directory=tmp_path, batch_size=2)
        sets = Activations(graph, [[X], [X]], cache).at(graph.cut("c"))
        arrays = [arrays[0] for arrays in sets]
        assert [isinstance(array, np.memmap) for array in arrays] == on_disk
        np.testing.assert_array_equal(*arrays)
        assert list(tmp_path.iterdir()) == []


def test_mixed_precision_is_kept():
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        network = _sequential()
    finally:
        keras.config.set_dtype_policy(policy)
    _, suffix = split(network, "c")
    assert suffix.dtype_policy.name == "mixed_bfloat16"
    assert suffix.inputs[0].dtype == "bfloat16"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"memory_limit": -1}, "memory_limit=-1"),
        ({"batch_size": 0}, "batch_size=0"),
    ],
)
def test_bad_caches_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        PrefixCache(**options)


def test_nested_models_may_hold_layers_of_one_name():
    def encoder(name):
        return keras.Sequential([keras.Input((4,)), _dense("d")], name=name)

    inputs = keras.Input((4,))
    network = keras.Model(inputs, _dense("d")(encoder("B")(encoder("A")(inputs))))
    names = [layer.name for layer in parents_first(network)]
    prefix, suffix = split(network, "B/d")
    expected = keras.ops.convert_to_numpy(network(X))
    cut = keras.ops.convert_to_numpy(suffix(prefix(X)))
    np.testing.assert_array_equal(cut, expected)
    graph = LayerGraph.of(network)
    _, whole = graph.part(graph.inputs, graph.outputs)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(whole(X)), expected)
    assert [layer.name for layer in parents_first(network)] == names


class _Multiplicative(keras.layers.Layer):
    """Noise that Keras does not know of: without a seed generator."""

    def call(self, inputs, training=False):
        return inputs * 1.5 if training else inputs


def test_zero_samples_do_not_hide_noise():
    network = keras.Sequential([keras.Input((4,)), _Multiplicative()])
    first_zero = np.concatenate([np.zeros((1, 4), "float32"), X])
    assert not acts_alike(network, [np.zeros((3, 4), "float32")])
    graph = LayerGraph.of(
        keras.Sequential([keras.Input((4,)), _Multiplicative(), _dense("c")])
    )
    cut = graph.cut("c")
    assert Activations(graph, [[first_zero]], PrefixCache()).at(cut) is None


def test_without_a_cache_rows_are_those_of_retrain_also_in_half_precision():
    """With one they differ on TensorFlow, whose compiled steps round less often."""
    layers = [_conv("first", activation="relu"), _conv("last", 1)]
    for layer in layers:
        layer.dtype_policy = keras.DTypePolicy("mixed_bfloat16")
    model = keras.Sequential([keras.Input((8, 8, 2)), *layers])
    data, options = (FIELDS, FIELDS[..., :1]), {"epochs": 3, "batch_size": 2}
    swept = transfer.oracle_sweep(model, data, data, cache=None, **options)
    for row in swept.rows:
        one = transfer.retrain(model, data, row["layer"], **options).row(data)
        names = ("cc", "relative_rmse")
        assert [row[name] for name in names] == [one[name] for name in names]
