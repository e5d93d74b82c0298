"""Choosing layers, freezing them, restoring every flag, and hashing weights."""

import re
import warnings

import keras
import numpy as np
import pytest

from keras_spectral_tl import freezing
from keras_spectral_tl._graph.layers import (
    count_parameters,
    layers_with_weights,
    own_weights,
    parents_first,
)
from keras_spectral_tl.freezing._changes import FreezeRecord
from tests.keras_spectral_tl.common import Scaled, trainable_names


def _dense(name, units=2):
    return keras.layers.Dense(units, name=name)


def _sequential(*names):
    return keras.Sequential([keras.Input((2,)), *(_dense(name) for name in names)])


def _nested():
    encoder = keras.Sequential(
        [keras.Input((2,)), _dense("first"), _dense("second")], name="encoder"
    )
    inputs = keras.Input((2,))
    return keras.Model(inputs, _dense("last")(encoder(inputs)))


def _flags(model):
    layers = parents_first(model)
    return [layer.trainable for layer in layers], [w.trainable for w in model.weights]


def _trained_weights(model):
    return {id(variable) for variable in model.trainable_weights}


def _own(model, *names):
    layers = layers_with_weights(model)
    return {id(w) for name in names for w in layers[name].weights}


@pytest.mark.parametrize(
    ("selector", "names"),
    [
        ("a_2", ("a_2",)),
        (0, ("a_1",)),
        (-1, ("b_3",)),
        (np.int64(1), ("a_2",)),
        (["b_3", 0], ("a_1", "b_3")),
        (("a_1", "a_1"), ("a_1",)),
        (re.compile(r"^a_"), ("a_1", "a_2")),
        (keras.layers.Dense, ("a_1", "a_2", "b_3")),
        (lambda layer: layer.name.endswith("2"), ("a_2",)),
        ([re.compile("b"), lambda layer: layer.name == "a_1"], ("a_1", "b_3")),
        (None, ("a_1", "a_2", "b_3")),
    ],
)
def test_selectors_choose_in_model_order(selector, names):
    model = _sequential("a_1", "a_2", "b_3")
    assert freezing.select_layers(model, selector).names == names


def test_a_selection_and_a_layer_are_selectors():
    model = _nested()
    selection = freezing.select_layers(model, "encoder/second")
    assert freezing.select_layers(model, selection) == selection
    encoder = model.get_layer("encoder")
    chosen = freezing.select_layers(model, encoder).names
    assert chosen == ("encoder/first", "encoder/second")


def test_name_of_a_container_means_everything_in_it():
    chosen = freezing.select_layers(_nested(), "encoder").names
    assert chosen == ("encoder/first", "encoder/second")


def test_parameter_counts_add_up_and_leave_statistics_frozen():
    norm = keras.layers.BatchNormalization(name="norm")
    model = keras.Sequential([keras.Input((2,)), _dense("dense"), norm])
    selection = freezing.select_layers(model, ["dense", "norm"])
    assert (selection.num_trainable, selection.num_frozen) == (6 + 4, 4)
    assert selection.num_trainable + selection.num_frozen == model.count_params()


@pytest.mark.parametrize(
    ("selector", "error", "message"),
    [
        ("a_9", KeyError, "a_9.*Did you mean.*a_1"),
        (2, ValueError, "index 2 is out of range.*a_1, a_2"),
        (-3, ValueError, "index -3 is out of range"),
        (re.compile("zzz"), ValueError, "zzz.*chose no layer"),
        ([], ValueError, r"\[\] chose no layer"),
        (keras.layers.Conv2D, ValueError, "Conv2D.*chose no layer"),
        (True, TypeError, "Received True of type bool"),
        (1.5, TypeError, "Received 1.5 of type float"),
        (dict, TypeError, "Received <class 'dict'>"),
    ],
)
def test_bad_selectors_are_explained(selector, error, message):
    with pytest.raises(error, match=message):
        freezing.select_layers(_sequential("a_1", "a_2"), selector)


def test_freeze_and_unfreeze_report_what_changed():
    model = _sequential("a", "b", "c")
    record = freezing.freeze_layers(model, ["a", "b"])
    assert record == FreezeRecord(
        changed=("a", "b"),
        trainable=("c",),
        frozen=("a", "b"),
        compile_again=False,
        variables=("a/kernel", "a/bias", "b/kernel", "b/bias"),
    )
    assert freezing.freeze_layers(model, "a").changed == ()
    assert freezing.unfreeze_layers(model, "b").trainable == ("b", "c")
    assert freezing.unfreeze_layers(model).changed == ("a",)
    assert freezing.freeze_layers(model).trainable == ()
    assert model.trainable_weights == []


def test_unfreezing_inside_a_frozen_container_leaves_neighbours_frozen():
    model = _nested()
    model.get_layer("encoder").trainable = False
    record = freezing.unfreeze_layers(model, "encoder/second")
    assert record.changed == ("encoder/second",)
    assert _trained_weights(model) == _own(model, "encoder/second", "last")


def test_unfreezing_in_a_frozen_model_works():
    model = _nested()
    model.trainable = False
    freezing.unfreeze_layers(model, "last")
    assert _trained_weights(model) == _own(model, "last")


@pytest.mark.parametrize("name", ["scaled/own", "scaled/inner", "other"])
def test_layer_with_own_weight_and_sublayer_is_switched_apart(name):
    model = keras.Sequential(
        [keras.Input((2,)), Scaled(name="scaled"), _dense("other")]
    )
    layers = layers_with_weights(model)
    with freezing.only_trainable(model, name) as selection:
        expected = {id(w) for w in own_weights(layers[name])}
        assert _trained_weights(model) == expected
        count = count_parameters(model.trainable_weights)
        assert selection.num_trainable == count


def test_shared_layer_in_two_containers_is_frozen_everywhere():
    shared = _dense("shared")
    first = keras.Sequential([keras.Input((2,)), shared, _dense("a")], name="first")
    second = keras.Sequential([keras.Input((2,)), shared, _dense("b")], name="second")
    inputs = keras.Input((2,))
    model = keras.Model(inputs, second(first(inputs)))
    freezing.freeze_layers(model, "first/shared")
    assert _trained_weights(model) == _own(model, "first/a", "second/b")


@pytest.mark.parametrize("layers", ["last", "encoder/first", None, [0, 2]])
def test_only_trainable_restores_every_flag(layers):
    model = _nested()
    model.get_layer("encoder").get_layer("second").trainable = False
    model.get_layer("last").bias.trainable = False
    before = _flags(model)
    with freezing.only_trainable(model, layers) as selection:
        assert trainable_names(model) == selection.names
    assert _flags(model) == before


def test_only_trainable_restores_after_an_exception():
    model = _nested()
    model.get_layer("encoder").trainable = False
    before = _flags(model)
    with pytest.raises(ZeroDivisionError), freezing.only_trainable(model, "last"):
        raise ZeroDivisionError
    assert _flags(model) == before


def test_a_weight_frozen_by_hand_stays_frozen():
    model = _sequential("a", "b")
    model.get_layer("a").bias.trainable = False
    with freezing.only_trainable(model, "a"):
        assert _trained_weights(model) == {id(model.get_layer("a").kernel)}


def test_frozen_batch_normalization_runs_in_inference_mode():
    norm = keras.layers.BatchNormalization(name="norm")
    model = keras.Sequential([keras.Input((2,)), norm, _dense("dense")])
    before = freezing.layer_hashes(model)
    x = np.random.default_rng(0).normal(3.0, 2.0, (8, 2))
    freezing.freeze_layers(model, "norm")
    model.compile("sgd", "mse")
    model.fit(x, x, verbose=0)
    after = freezing.layer_hashes(model)
    assert after["norm"] == before["norm"]
    assert after["dense"] != before["dense"]


def test_normalization_without_trainable_weights_is_frozen_by_its_flag():
    norm = keras.layers.BatchNormalization(scale=False, center=False, name="norm")
    model = keras.Sequential([keras.Input((2,)), norm, _dense("dense")])
    assert freezing.freeze_layers(model, "norm").changed == ("norm",)
    assert not norm.trainable
    assert freezing.unfreeze_layers(model, "norm").changed == ("norm",)


def test_change_after_training_warns_that_compile_is_needed():
    model = _sequential("a", "b")
    model.compile("sgd", "mse")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        freezing.freeze_layers(model, "a")
    model.fit(np.ones((2, 2)), np.ones((2, 2)), verbose=0)
    with pytest.warns(UserWarning, match=r"layers changed \(b\).*compile"):
        assert freezing.freeze_layers(model, "b").compile_again


def test_hashes_see_one_bit_and_nothing_else():
    model = _sequential("a", "b")
    before = freezing.layer_hashes(model)
    assert freezing.layer_hashes(model) == before
    bias = model.get_layer("b").bias
    bias.assign(np.array([0.0, np.nextafter(np.float32(0), np.float32(1))]))
    after = freezing.layer_hashes(model)
    assert after["a"] == before["a"] and after["b"] != before["b"]
    assert all(len(digest) == 64 for digest in after.values())


def test_hashes_differ_for_other_shapes_of_equal_bytes():
    wide = keras.Sequential([keras.Input((1,)), keras.layers.Dense(4, use_bias=False)])
    tall = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, use_bias=False)])
    for model in (wide, tall):
        model.weights[0].assign(np.ones(model.weights[0].shape))
    digests = [[*freezing.layer_hashes(model).values()] for model in (wide, tall)]
    assert digests[0] != digests[1]


@pytest.mark.parametrize("layers", ["b", None])
def test_unfreezing_leaves_the_kernel_beside_a_low_rank_update(layers):
    model = _sequential("a", "b")
    dense = model.get_layer("b")
    dense.enable_lora(1)
    before = _trained_weights(model)
    freezing.unfreeze_layers(model, layers)
    assert _trained_weights(model) == before
    freezing.freeze_layers(model, layers)
    freezing.unfreeze_layers(model, layers)
    assert _trained_weights(model) == before
    dense.trainable = False  # by hand, with all its weights
    freezing.unfreeze_layers(model, "b")
    assert _trained_weights(model) == before


def test_unfreezing_leaves_a_weight_that_the_user_froze():
    model = _sequential("a", "b")
    model.get_layer("b").kernel.trainable = False
    before = _trained_weights(model)
    freezing.freeze_layers(model, "b")
    freezing.freeze_layers(model)
    freezing.unfreeze_layers(model)
    assert _trained_weights(model) == before
    freezing.unfreeze_layers(model, freezing.KernelsOf("b"))
    assert _trained_weights(model) == _own(model, "a", "b")


def test_unfreezing_thaws_a_weight_that_was_frozen_here():
    model = _sequential("a", "b")
    freezing.freeze_layers(model, freezing.KernelsOf("b"))
    freezing.unfreeze_layers(model, "b")
    assert _trained_weights(model) == _own(model, "a", "b")


def test_what_a_block_froze_is_forgotten_with_its_flags():
    model = _sequential("a", "b")
    kernel = model.get_layer("b").kernel
    with freezing.only_trainable(model, freezing.BiasesOf()):
        assert not kernel.trainable
    kernel.trainable = False  # by the user
    freezing.freeze_layers(model, "b")
    freezing.unfreeze_layers(model, "b")
    assert not kernel.trainable and model.get_layer("b").bias.trainable


class _Tied(keras.layers.Layer):
    def __init__(self, other, **options):
        super().__init__(**options)
        self.kernel = other.kernel

    def call(self, inputs):
        return keras.ops.matmul(inputs, keras.ops.transpose(self.kernel))


def _autoencoder():
    inputs, encoder = keras.Input((3,)), keras.layers.Dense(2, name="enc")
    hidden = encoder(inputs)
    return keras.Model(inputs, _Tied(encoder, name="dec")(hidden))


def test_a_tied_weight_is_one_weight():
    model = _autoencoder()
    both = ("enc/kernel", "dec/kernel")
    selection = freezing.select_layers(model, None)
    assert (selection.num_trainable, selection.num_frozen) == (8, 0)
    record = freezing.freeze_layers(model, freezing.KernelsOf("enc"))
    assert record.variables == both
    assert record.changed == ("enc", "dec")
    assert record.trainable == ("enc",)
    assert [w.name for w in model.trainable_weights] == ["bias"]
    assert freezing.unfreeze_layers(model, "dec").variables == both
    with freezing.only_trainable(model, "dec") as chosen:
        assert chosen.variables == both
        assert [w.name for w in model.trainable_weights] == ["kernel"]
