"""Inputs are matched by their names, which are kept; others are refused in words."""

import warnings

import keras
import numpy as np
import pytest

import keras_spectral_tl as kst
from keras_spectral_tl import spectra, transfer
from keras_spectral_tl.freezing import OutputGain
from tests.keras_spectral_tl.common import noise


def two_inputs(structure=list):
    """Of a field and two parameters, as a list, a tuple or a dict."""
    field = keras.Input((8, 1), name="field")
    params = keras.Input((2,), name="params")
    factor = keras.layers.Reshape((8, 1))(keras.layers.Dense(8)(params))
    outputs = keras.layers.Multiply()([keras.layers.Conv1D(1, 1)(field), factor])
    named = {"field": field, "params": params}
    inputs = named if structure is dict else structure(named.values())
    return keras.Model(inputs, outputs)


FIELD, PARAMS, TRUTH = np.ones((3, 8, 1)), np.ones((3, 2)), np.ones((3, 8, 1))


@pytest.mark.parametrize(
    ("structure", "x", "message"),
    [
        (list, FIELD, r"takes 'field' \(8, 1\), 'params' \(2,\), but x holds 1 array"),
        (dict, FIELD, "Pass a dict of arrays by these names"),
        (dict, {"field": FIELD}, "x has no params. Received a dict with field"),
        (
            dict,
            {"field": FIELD, "par": PARAMS},
            "no params. Received a dict with f.*par",
        ),
        (list, (FIELD, FIELD), r"shape \(2,\) of input 'params', but x .* \(8, 1\)"),
    ],
)
def test_inputs_that_do_not_fit_are_named(structure, x, message):
    with pytest.raises(ValueError, match=message):
        kst.retrain(two_inputs(structure), (x, TRUTH), "dense")


def test_a_model_and_data_in_the_wrong_order_are_told_in_one_line():
    model = two_inputs()
    with pytest.raises(TypeError, match="Functional: the model comes before the data"):
        kst.retrain((FIELD, TRUTH), model, "dense")
    with pytest.raises(
        TypeError, match=r"as the first argument\. Received tuple"
    ) as found:
        kst.layers_with_weights((FIELD, TRUTH))
    assert len(str(found.value)) < 300


@pytest.mark.parametrize("shape", [(3, 16, 1), (3, 8, 2), (3, 8, 8, 1)])
def test_a_wrong_shape_is_one_short_line_without_the_data(shape):
    """Keras' own message holds all values of a sample."""
    layer = keras.layers.Dense(1, name="dense")
    model = keras.Sequential([keras.Input((8, 1)), keras.layers.Flatten(), layer])
    with pytest.raises(ValueError, match=r"takes samples of shape \(8, 1\)") as found:
        kst.retrain(model, (np.full(shape, 0.123), np.ones((3, 1))), "dense")
    assert str(shape[1:]) in str(found.value)
    assert "0.123" not in str(found.value) and "\n" not in str(found.value)
    assert found.value.__suppress_context__


def test_an_error_of_a_layer_itself_is_not_hidden():
    @keras.saving.register_keras_serializable("tests")
    class Broken(keras.layers.Layer):
        def call(self, x, training=None):
            raise RuntimeError("a fault of the layer")

        def compute_output_shape(self, shape):
            return shape

    inputs = keras.Input((8, 1))
    dense = keras.layers.Dense(1, name="dense")(inputs)
    model = keras.Model(inputs, Broken()(dense))
    with pytest.raises(RuntimeError, match="a fault of the layer"):
        kst.retrain(model, (FIELD, TRUTH), "dense")


def twins():
    """Of two inputs of one shape, of which only the first reaches the output."""
    inputs = {name: keras.Input((8, 1), name=name) for name in ("a", "b")}
    outputs = keras.layers.Conv1D(1, 1, name="conv")(inputs["a"])
    nothing = keras.layers.Rescaling(0.0)(inputs["b"])
    return keras.Model(inputs, keras.layers.Add()([outputs, nothing]))


GOOD = {"a": noise(6, 8, 1), "b": noise(6, 8, 1, seed=1)}, noise(6, 8, 1, seed=2)
BAD = {**GOOD[0], "aa": noise(6, 8, 1, seed=3)}, GOOD[1]
QUICK = {"epochs": 1, "batch_size": 6}
ENTRIES = {
    "retrain": lambda model: kst.retrain(model, BAD, "conv", **QUICK),
    "gain": lambda model: transfer.fit_output_gain(model, BAD),
    "sweep": lambda model: kst.oracle_sweep(model, BAD, GOOD, **QUICK),
    "tested": lambda model: kst.oracle_sweep(model, GOOD, BAD, **QUICK),
    "kept": lambda model: kst.oracle_sweep(model, GOOD, GOOD, base_test=BAD, **QUICK),
    "baselines": lambda model: transfer.baselines(
        model, BAD, GOOD, include=["gain_only"]
    ),
    "base": lambda model: kst.forecast(model, BAD, GOOD, ["conv"], steps=2),
    "target": lambda model: kst.forecast(model, GOOD, BAD, ["conv"], steps=2),
    "replay": lambda model: kst.forecast(
        model, GOOD, GOOD, ["conv"], steps=2, replay=BAD
    ),
    "validation": lambda model: kst.retrain(
        model, GOOD, "conv", validation_data=BAD, **QUICK
    ),
    "scored": lambda model: kst.score_layers(model, GOOD, BAD),
    "merit": lambda model: kst.retrain(model, GOOD, "conv", **QUICK).row(BAD),
    "spectra": lambda model: spectra.activation_spectra(model, BAD[0]),
}


@pytest.mark.parametrize("entry", ENTRIES)
def test_an_unused_input_is_refused_before_the_model_is_called(entry):
    """Keras warns, and takes the first two in the order of names, a and aa."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "The structure of `inputs`")
        with pytest.raises(ValueError, match=r"'a' .*'b' .* no aa\..*leave out aa\."):
            ENTRIES[entry](twins())


def test_an_unused_input_is_refused_of_a_list_too():
    x = {"field": FIELD, "params": PARAMS, "date": PARAMS}
    with pytest.raises(ValueError, match=r"field.*params.*leave out date"):
        kst.retrain(two_inputs(), (x, TRUTH), "dense")


@keras.saving.register_keras_serializable("test_inputs")
class Free(keras.Model):
    """Takes what it needs out of a dict."""

    def __init__(self, **options):
        super().__init__(**options)
        self.conv = keras.layers.Conv1D(1, 1, name="conv")

    def call(self, inputs):
        return self.conv(inputs["a"])


def test_a_subclassed_model_takes_what_it_needs():
    model = Free()
    model(BAD[0])
    assert kst.retrain(model, BAD, "conv", **QUICK).changed == ("conv",)


def test_arrays_without_names_are_refused_where_inputs_have_names():
    """Keras warns at every call, and takes them in the order of the sorted names."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        with pytest.raises(ValueError, match=r"x holds 2 array.*Pass a dict of arrays"):
            kst.retrain(twins(), (tuple(GOOD[0].values()), GOOD[1]), "conv", **QUICK)


NAMED = {"field": noise(4, 8, 1), "params": noise(4, 2, seed=1)}


@pytest.mark.parametrize("structure", [list, tuple, dict])
@pytest.mark.parametrize("closed", [False, True], ids=["trained", "closed"])
def test_a_model_with_a_gain_keeps_structure_and_names_of_inputs(structure, closed):
    model, data = two_inputs(structure), (NAMED, noise(4, 8, 1, seed=2))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        if closed:
            found = transfer.fit_output_gain(model, data).model
        else:
            found = kst.retrain(model, data, OutputGain(), **QUICK).model
        outputs = [np.asarray(m.predict(NAMED, verbose=0)) for m in (model, found)]
    keras.tree.assert_same_structure(found.input, model.input)
    expected = [tensor.name for tensor in keras.tree.flatten(model.input)]
    assert [part.name for part in keras.tree.flatten(found.input)] == expected
    gain = np.vdot(*outputs) / np.vdot(outputs[0], outputs[0])
    np.testing.assert_allclose(outputs[1], gain * outputs[0], rtol=0, atol=1e-6)
