"""Parts of layers, depth, and what a selection says of its cost."""

import pickle
import re

import keras
import numpy as np
import pytest

from keras_spectral_tl import freezing, models
from keras_spectral_tl._graph.calls import trace_calls
from keras_spectral_tl._graph.layers import (
    count_parameters,
    layers_with_weights,
    named_weights,
)
from keras_spectral_tl.freezing import (
    BiasesOf,
    Depth,
    KernelsOf,
    LowRankOf,
    NormalizationOf,
    OutputGain,
    StatisticsOf,
    select_layers,
)
from tests.keras_spectral_tl.common import values

pytestmark = pytest.mark.once


def _dense(name, units=2):
    return keras.layers.Dense(units, name=name)


def _mixed():
    layers = [
        keras.layers.Conv2D(3, 3, name="conv"),
        keras.layers.BatchNormalization(name="batch"),
        keras.layers.LayerNormalization(name="layer"),
        keras.layers.Flatten(),
        _dense("out", 1),
    ]
    return keras.Sequential([keras.Input((5, 5, 2)), *layers])


class Backwards(keras.Model):
    """Attributes in the opposite order of the calls."""

    def __init__(self):
        super().__init__()
        self.third, self.second, self.first = map(_dense, ("third", "second", "first"))

    def call(self, inputs):
        return self.third(self.second(self.first(inputs)))


def _backwards():
    model = Backwards()
    model(np.zeros((1, 2)))
    return model


def _nested_backwards():
    inputs = keras.Input((2,))
    return keras.Model(inputs, _dense("last")(_backwards()(inputs)))


@pytest.mark.parametrize(
    ("part", "paths"),
    [
        (KernelsOf(), ("conv/kernel", "out/kernel")),
        (KernelsOf("conv"), ("conv/kernel",)),
        (KernelsOf(["out", 0]), ("conv/kernel", "out/kernel")),
        (BiasesOf(), ("conv/bias", "out/bias")),
        (BiasesOf(re.compile("^o")), ("out/bias",)),
        (NormalizationOf("layer"), ("layer/gamma", "layer/beta")),
        (NormalizationOf("batch"), ("batch/gamma", "batch/beta")),
        ([BiasesOf("conv"), "out"], ("conv/bias", "out/kernel", "out/bias")),
        ([BiasesOf("out"), KernelsOf("out")], ("out/kernel", "out/bias")),
        (slice(-1, None), ("out/kernel", "out/bias")),
    ],
)
def test_parts_choose_exactly_their_weights(part, paths):
    model = _mixed()
    selection = select_layers(model, part)
    assert selection.variables == paths
    assert select_layers(model, selection) == selection
    with freezing.only_trainable(model, part):
        weights = named_weights(layers_with_weights(model))
        active = {id(variable) for variable in model.trainable_weights}
        assert active == {id(weights[path]) for path in paths}
        count = count_parameters(model.trainable_weights)
        assert count == selection.num_trainable
    assert selection.num_trainable + selection.num_frozen == model.count_params()


def test_statistics_move_with_a_trained_batch_normalization_only():
    model = _mixed()
    moving = ("batch/moving_mean", "batch/moving_variance")
    assert select_layers(model, NormalizationOf()).statistics == moving
    assert select_layers(model, KernelsOf()).statistics == ()
    alone = select_layers(model, StatisticsOf())
    assert (alone.names, alone.variables) == (("batch",), ())
    assert alone.statistics == moving and alone.num_trainable == 0
    assert select_layers(model, alone) == alone


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (NormalizationOf("conv"), r"NormalizationOf\(layers='conv'\).*chose no layer"),
        (StatisticsOf("layer"), "StatisticsOf.*another part"),
        (LowRankOf("out", 3), r"LowRankOf.*use LowRankOf\(.*rank=3\)\.prepare"),
        (OutputGain(), r"OutputGain\(\).prepare\(model\)"),
    ],
)
def test_a_part_that_the_model_lacks_is_explained(part, message):
    with pytest.raises(ValueError, match=message):
        select_layers(_mixed(), part)


@pytest.mark.parametrize(
    ("depth", "names"),
    [
        (Depth(1), ("first",)),
        (Depth(-1), ("third",)),
        (Depth(1, 2), ("second", "first")),
        (Depth(-2, -1), ("third", "second")),
        (Depth(2, -1), ("third", "second")),
    ],
)
def test_depth_counts_calls_not_attributes(depth, names):
    assert select_layers(_backwards(), depth).names == names
    assert next(iter(layers_with_weights(_backwards()))) == "third"


def test_depth_goes_into_nested_and_subclassed_models():
    model = _nested_backwards()
    assert select_layers(model, Depth(1)).names[0].endswith("/first")
    assert select_layers(model, Depth(-1)).names == ("last",)
    assert len(select_layers(model, Depth(1, -1)).names) == 4


def test_depth_skips_layers_that_cannot_train():
    scale = keras.layers.Normalization(mean=0.0, variance=1.0, name="scale")
    model = keras.Sequential([keras.Input((2,)), scale, _dense("a")])
    assert select_layers(model, Depth(1)).names == ("a",)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Depth(0), ValueError, r"from 1.*Depth\(first=0"),
        (lambda: Depth(1.5), TypeError, "Received first=1.5"),
        (lambda: select_layers(_mixed(), Depth(5)), ValueError, r"1 \.\.\. 4"),
        (lambda: select_layers(_mixed(), Depth(3, 2)), ValueError, "no range"),
        (lambda: LowRankOf("out", rank=0), ValueError, "rank=0"),
    ],
)
def test_bad_depths_and_ranks_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_tracing_leaves_the_model_as_it_was():
    model = _nested_backwards()
    x = np.ones((3, 2), "float32")
    before, state = values(model(x)), [dict(vars(v)) for v in model.layers]
    trace_calls(model)
    np.testing.assert_array_equal(values(model(x)), before)
    assert [vars(layer).keys() for layer in model.layers] == [s.keys() for s in state]


def _cost_of(*layers, shape=(6, 6, 4)):
    model = keras.Sequential([keras.Input(shape), *layers])
    return select_layers(model, None).cost()


@pytest.mark.parametrize(
    ("layer", "shape", "multiply_adds"),
    [
        (keras.layers.Dense(3), (5,), 5 * 3),
        (keras.layers.Dense(3), (7, 5), 7 * 5 * 3),
        (keras.layers.Conv1D(3, 5, padding="same"), (8, 2), 8 * 5 * 2 * 3),
        (keras.layers.Conv2D(3, 3), (6, 6, 4), 16 * 9 * 4 * 3),
        (keras.layers.Conv2D(4, 3, strides=2, padding="same"), (6, 6, 4), 9 * 144),
        (keras.layers.Conv2D(4, 3, padding="same", groups=2), (6, 6, 4), 36 * 72),
        (keras.layers.Conv3D(2, 2), (3, 3, 3, 1), 8 * 8 * 2),
        (keras.layers.DepthwiseConv2D(3), (6, 6, 4), 16 * 9 * 4),
        (keras.layers.SeparableConv2D(5, 3), (6, 6, 4), 16 * (9 * 4 + 4 * 5)),
        (keras.layers.Conv2DTranspose(3, 2, strides=2), (6, 6, 4), 36 * 4 * 4 * 3),
        (keras.layers.EinsumDense("abc,cd->abd", (7, 3)), (7, 5), 7 * 5 * 3),
        (keras.layers.BatchNormalization(), (6, 6, 4), 6 * 6 * 4),
    ],
)
def test_multiply_adds_of_each_kind_of_layer(layer, shape, multiply_adds):
    assert _cost_of(layer, shape=shape).forward == multiply_adds


def test_a_training_step_costs_one_two_or_three_forward_passes():
    model = models.build_sgs_cnn((8, 8, 2), num_layers=3, num_filters=4, kernel_size=3)
    sizes = [64 * 9 * 2 * 4, 64 * 9 * 4 * 4, 64 * 9 * 4]
    every = select_layers(model, None).cost()
    assert list(every.layers.values()) == sizes and every.forward == sum(sizes)
    assert every.step == 3 * sum(sizes) - sizes[0]
    for place, size in enumerate(sizes):
        cost = select_layers(model, place).cost()
        above = sum(sizes[place + 1 :])
        assert cost.step == sum(sizes) + size + above
        assert cost.cached_step == size + above + size + above
    biases = select_layers(model, BiasesOf(-1)).cost()
    assert biases.step == sum(sizes) + 64


def test_a_shared_layer_counts_every_call():
    shared, inputs = _dense("shared"), keras.Input((2,))
    model = keras.Model(inputs, shared(shared(inputs)))
    assert select_layers(model, None).cost().layers == {"shared": 8}


def test_open_sizes_need_an_input_shape():
    model = models.build_sgs_cnn((None, None, 2), num_layers=1, kernel_size=3)
    selection = select_layers(model, 0)
    assert "call .cost(input_shape)" in str(selection)
    assert selection.cost((4, 5, 2)).forward == 20 * 9 * 2
    with pytest.raises(ValueError, match=r"sizes of its input open: \(None, None, 2\)"):
        selection.cost()


def test_a_pickled_selection_forgets_its_model_alone():
    selection = select_layers(_mixed(), BiasesOf())
    copy = pickle.loads(pickle.dumps(selection))
    assert copy == selection and select_layers(_mixed(), copy) == selection
    with pytest.raises(ValueError, match="not known any more"):
        copy.cost()


def test_the_table_names_weights_counts_and_cost():
    text = str(select_layers(_mixed(), [BiasesOf("conv"), "batch"]))
    assert re.search(r"conv +bias\n", text)
    assert re.search(r"batch +gamma, beta, moving_mean, moving_variance\n", text)
    assert "9 of " in text and "in a training step" in text


def test_freezing_and_unfreezing_parts():
    model = _mixed()
    record = freezing.freeze_layers(model, BiasesOf())
    assert record.changed == ("conv", "out") and record.frozen == ()
    assert record.variables == ("conv/bias", "out/bias")
    assert freezing.freeze_layers(model, KernelsOf("out")).frozen == ("out",)
    assert not model.get_layer("out").trainable
    # A whole layer means all of it, also what was frozen one by one.
    assert freezing.unfreeze_layers(model, "conv").variables == ("conv/bias",)
    record = freezing.unfreeze_layers(model, BiasesOf("out"))
    assert record.variables == ("out/bias",) and record.frozen == ()


def test_statistics_follow_the_policy_that_was_asked_for():
    model = _mixed()
    freezing.freeze_layers(model, "batch")
    assert not model.get_layer("batch").trainable
    record = freezing.unfreeze_layers(model, StatisticsOf("batch"))
    assert (record.changed, record.variables) == (("batch",), ())
    assert model.get_layer("batch").trainable
    assert not model.get_layer("batch").gamma.trainable
    freezing.unfreeze_layers(model, "batch")
    with pytest.raises(ValueError, match="statistics of layer 'batch' move as long"):
        freezing.freeze_layers(model, StatisticsOf("batch"))


def test_output_gain_multiplies_the_output():
    model, x = _mixed(), np.ones((2, 5, 5, 2), "float32")
    scaled = OutputGain().prepare(model)
    before = values(scaled(x))
    np.testing.assert_array_equal(before, values(model(x)))
    selection = select_layers(scaled, OutputGain())
    assert selection.variables == ("output_gain/output_gain",)
    scaled.get_layer("output_gain").gain.assign(2.0)
    np.testing.assert_array_equal(values(scaled(x)), 2.0 * before)


def test_low_rank_updates_start_at_zero_and_are_refused_by_name():
    model, x = _mixed(), np.ones((2, 5, 5, 2), "float32")
    before = values(model(x))
    LowRankOf(rank=2).prepare({"out": model.get_layer("out")})
    np.testing.assert_array_equal(values(model(x)), before)
    weights = select_layers(model, LowRankOf()).variables
    assert weights == ("out/lora_kernel_a", "out/lora_kernel_b")
    with pytest.raises(ValueError, match=r"no low-rank update for layer 'batch'"):
        LowRankOf().prepare({"batch": model.get_layer("batch")})


@pytest.mark.parametrize("mode", ["int8", "int4", "float8"])
def test_a_quantized_model_costs_the_same_and_keeps_its_depths(mode):
    layers = [keras.layers.Dense(n, name=name) for name, n in (("a", 8), ("b", 4))]
    model = keras.Sequential([keras.Input((6,)), *layers])
    forward = freezing.select_layers(model, None).cost().forward
    for layer in layers:
        layer.quantize(mode)
    assert (
        freezing.select_layers(model, None).cost().forward == forward == 6 * 8 + 8 * 4
    )
    assert freezing.select_layers(model, freezing.Depth(1)).names == ("a",)


def test_a_class_and_a_name_stand_for_what_is_inside():
    recurrent = keras.layers.LSTM(3, return_sequences=True, name="r")
    both = keras.layers.Bidirectional(keras.layers.LSTM(3), name="both")
    attention = keras.layers.MultiHeadAttention(1, 2, name="at")
    inputs = keras.Input((5, 4))
    hidden = attention(recurrent(inputs), recurrent(inputs))
    model = keras.Model(inputs, both(hidden))

    def chosen(selector):
        return freezing.select_layers(model, selector).names

    assert chosen(keras.layers.Bidirectional) == chosen("both") == chosen(both)
    assert chosen(keras.layers.MultiHeadAttention) == chosen("at") == chosen(attention)
    assert chosen(keras.layers.LSTM) == (*chosen("r"), *chosen("both"))


class _Block(keras.layers.Layer):
    """A container with a weight of its own, as a LayerScale."""

    def __init__(self, **options):
        super().__init__(**options)
        self.inner = keras.layers.Dense(3, name="inner")

    def build(self, input_shape):
        self.inner.build(input_shape)
        self.gamma = self.add_weight(shape=(3,), name="gamma")

    def call(self, inputs):
        return self.gamma * self.inner(inputs)


def test_the_name_of_a_block_is_all_of_it_in_every_spelling():
    block = _Block(name="block")
    model = keras.Sequential([keras.Input((3,)), block, keras.layers.Dense(1)])
    for selector in ("block", block, _Block, re.compile("^block/")):
        names = freezing.select_layers(model, selector).names
        assert names == ("block/own", "block/inner"), selector
    assert freezing.select_layers(model, "block/own").variables == ("block/own/gamma",)


def test_a_depth_of_a_model_that_cannot_take_an_open_size_is_explained():
    inputs = keras.Input((None,))
    eight = keras.layers.Reshape((8,))(inputs)  # a sample must have eight values
    model = keras.Model(inputs, keras.layers.Dense(2, name="head")(eight))
    with pytest.raises(ValueError, match=r"sample of shape \(64,\).*layers by name"):
        select_layers(model, Depth(1))
