"""A saved and loaded result trains the same weights, with the same moments."""

import json
import warnings

import keras
import numpy as np
import pytest

from keras_spectral_tl import freezing, transfer
from keras_spectral_tl._graph.layers import ModelLayers, fetch
from keras_spectral_tl.freezing._changes import TrainableFlags
from tests.keras_spectral_tl.common import dense

RNG = np.random.default_rng(2)
X = RNG.normal(size=(8, 5, 3)).astype("float32")
Y = (X[..., :1] * X[..., 1:2] + 0.3).astype("float32")
RATE = 1e-2


def _wrapped(*layers):
    inputs = keras.Input((5, 3))
    outputs = inputs
    for layer in layers:
        outputs = layer(outputs)
    return keras.Model(inputs, dense("o", 1, None)(outputs))


def _recurrent():
    return _wrapped(keras.layers.LSTM(2, return_sequences=True, name="cells"))


def _bidirectional():
    gru = keras.layers.GRU(2, return_sequences=True, name="gru")
    steps = keras.layers.TimeDistributed(dense("inside"), name="steps")
    return _wrapped(keras.layers.Bidirectional(gru, name="both"), steps)


def _attention():
    inputs = keras.Input((5, 3))
    seen = keras.layers.MultiHeadAttention(2, 2, name="mha")(inputs, inputs)
    return keras.Model(inputs, dense("o", 1, None)(seen))


@keras.saving.register_keras_serializable("test_saved_flags")
class Own(keras.Model):
    """Layers with automatic names, which are others in the loaded model."""

    def __init__(self, **options):
        super().__init__(**options)
        self.first = keras.layers.GRU(2, return_sequences=True)
        self.second = keras.layers.Dense(2)
        self.last = keras.layers.Dense(1, name="o")

    def call(self, inputs):
        return self.last(self.second(self.first(inputs)))


def _subclassed():
    model = Own()
    model(X)
    return model


def _parts(model):
    """Names of weights by position of the layer, as in every copy of the model."""
    named = ModelLayers.of(model)
    training = {id(variable) for variable in model.trainable_variables}
    return [
        (place, path.removeprefix(f"{name}/"))
        for place, name in enumerate(named.names)
        for path, weight in named.weights_of(name).items()
        if id(weight) in training
    ]


def _moments(model):
    return [fetch(variable) for variable in model.optimizer.variables]


def _saved(build, chosen, folder):
    model = build()
    result = transfer.retrain(
        model, (X, Y), chosen, epochs=2, optimizer=keras.optimizers.Adam(RATE)
    )
    result.save(folder)
    return result


CASES = [
    (_recurrent, "o"),
    (_bidirectional, "o"),
    (_bidirectional, ["both/forward_gru/gru_cell", "steps/inside"]),
    (_attention, "mha/query"),
    (_attention, "o"),
    (_subclassed, "o"),
    (_subclassed, -2),
]


@pytest.mark.parametrize(("build", "chosen"), CASES)
def test_a_loaded_result_goes_on_as_the_one_that_was_saved(build, chosen, tmp_path):
    result = _saved(build, chosen, tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter(
            "error", UserWarning
        )  # Keras says so where it skips the optimizer
        loaded = transfer.load_retrained(tmp_path)
    assert _parts(loaded) == _parts(result.model)
    pairs = zip(_moments(result.model), _moments(loaded), strict=True)
    for before, after in pairs:
        np.testing.assert_array_equal(after, before)
    for model in (result.model, loaded):
        model.fit(X, Y, epochs=2, batch_size=8, shuffle=False, verbose=0)
    for one, other in zip(result.model.weights, loaded.weights, strict=True):
        np.testing.assert_array_equal(fetch(other), fetch(one))


def test_an_optimizer_of_several_comes_back_with_its_moments(tmp_path):
    rates = transfer.LearningRates([("o", 0.5)])
    model = _wrapped(dense("a"))
    result = transfer.retrain(model, (X, Y), None, epochs=2, learning_rates=rates)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        loaded = transfer.load_retrained(result.save(tmp_path))
    pairs = zip(_moments(result.model), _moments(loaded), strict=True)
    assert all(np.array_equal(before, after) for before, after in pairs)


@pytest.mark.parametrize("build", [_recurrent, _bidirectional])
def test_keras_alone_finds_recurrent_cells_frozen(build, tmp_path):
    result = _saved(build, "o", tmp_path)
    before = TrainableFlags.of(result.model)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        loaded = keras.models.load_model(tmp_path / "model.keras")
    assert _parts(loaded) == _parts(result.model)
    assert len(_moments(loaded)) == len(_moments(result.model))
    assert all(part.trainable == flag for part, flag in before.flags)


@pytest.mark.parametrize("chosen", [freezing.BiasesOf(), freezing.StatisticsOf()])
def test_single_weights_and_statistics_alone_come_back(chosen, tmp_path):
    def build():
        return _wrapped(dense("a"), keras.layers.BatchNormalization(name="norm"))

    result = _saved(build, chosen, tmp_path)
    loaded = transfer.load_retrained(tmp_path)
    assert _parts(loaded) == _parts(result.model)
    for name in ("a", "norm", "o"):
        flags = [model.get_layer(name).trainable for model in (result.model, loaded)]
        assert flags[0] == flags[1], name


def test_a_result_saved_without_its_flags_is_loaded_as_keras_does(tmp_path):
    result = _saved(lambda: _wrapped(dense("a")), "o", tmp_path)
    record = json.loads((tmp_path / "retraining.json").read_text())
    del record["trainable_weights"]
    (tmp_path / "retraining.json").write_text(json.dumps(record))
    loaded = transfer.load_retrained(tmp_path)
    assert _parts(loaded) == _parts(result.model) == [(1, "kernel"), (1, "bias")]
    assert len(_moments(loaded)) == len(_moments(result.model))


@pytest.mark.parametrize("flags", [{"a": None}, {"a": None, "o": ["cernel"]}])
def test_flags_of_another_model_are_refused(flags, tmp_path):
    _saved(lambda: _wrapped(dense("a")), "o", tmp_path)
    record = json.loads((tmp_path / "retraining.json").read_text())
    changed = json.dumps(record | {"trainable_weights": flags})
    (tmp_path / "retraining.json").write_text(changed)
    with pytest.raises(
        ValueError, match=r"record of trainable weights.*its layers, a"
    ) as caught:
        transfer.load_retrained(tmp_path)
    assert ("with the weights o/cernel" in str(caught.value)) == ("o" in flags)


@pytest.mark.parametrize("kind", [keras.optimizers.SGD, keras.optimizers.Adam])
def test_rates_by_layer_of_a_sequential_model_come_back(kind, tmp_path):
    """Keras puts the model's name before paths of weights in a copy, not in a file."""
    layers = [dense("a"), dense("b"), dense("o", 1, None)]
    model = keras.Sequential([keras.Input((5, 3)), *layers])
    rates = transfer.LearningRates([("a", 0.01), ("b", 0.5)])
    result = transfer.retrain(
        model, (X, Y), None, epochs=1, learning_rates=rates, optimizer=kind(0.1)
    )
    loaded = transfer.load_retrained(result.save(tmp_path))
    for each in (result.model, loaded):
        each.fit(X, Y, batch_size=8, shuffle=False, verbose=0)
    for one, other in zip(result.model.weights, loaded.weights, strict=True):
        np.testing.assert_array_equal(fetch(other), fetch(one))


def test_rates_by_layer_come_back_with_an_output_gain(tmp_path):
    """The gain wraps the sequential model in another."""
    layers = [dense("a"), dense("o", 1, None)]
    model = keras.Sequential([keras.Input((5, 3)), *layers])
    rates = transfer.LearningRates([("a", 0.01)])
    chosen = ["a", freezing.OutputGain(initial=0.5)]
    result = transfer.retrain(model, (X, Y), chosen, epochs=1, learning_rates=rates)
    loaded = transfer.load_retrained(result.save(tmp_path))
    for each in (result.model, loaded):
        each.fit(X, Y, batch_size=8, shuffle=False, verbose=0)
    for one, other in zip(result.model.weights, loaded.weights, strict=True):
        np.testing.assert_array_equal(fetch(other), fetch(one))


MERGED = [
    (_attention, freezing.LowRankOf("mha"), []),
    (_subclassed, freezing.LowRankOf([-2, "o"]), []),
    (_attention, [freezing.LowRankOf("mha"), "o"], [(4, "kernel"), (4, "bias")]),
]


@pytest.mark.parametrize(("build", "part", "left"), MERGED)
def test_an_update_that_was_merged_no_longer_trains(build, part, left, tmp_path):
    model = build()
    if build is _subclassed:
        part = freezing.LowRankOf(list(ModelLayers.of(model).names[-2:]))
    result = transfer.retrain(model, (X, Y), part, epochs=2)
    loaded = transfer.load_retrained(result.save(tmp_path))
    assert _parts(loaded) == left
    outputs = [m.predict(X, verbose=0) for m in (result.model, loaded)]
    np.testing.assert_allclose(*outputs, atol=1e-5)


def test_gains_that_no_file_would_hold_are_refused_before_they_train():
    name = ModelLayers.of(model := _subclassed()).names[-2]
    with pytest.raises(ValueError, match=r"cannot have channel gains.*functional"):
        transfer.retrain(model, (X, Y), freezing.ChannelGainsOf(name), epochs=1)


def test_gains_beside_a_lambda_train():
    """Keras does not make a Lambda from its configuration; a file has the gains."""
    inputs = keras.Input((4, 4, 1))
    conv = keras.layers.Conv2D(2, 3, data_format="channels_last", name="conv")
    outputs = keras.layers.Conv2D(1, 1, data_format="channels_last")(
        keras.layers.Lambda(lambda t: 2.0 * t)(conv(inputs))
    )
    x, y = np.ones((2, 4, 4, 1)), np.ones((2, 2, 2, 1))
    model = keras.Model(inputs, outputs)
    result = transfer.retrain(model, (x, y), freezing.ChannelGainsOf("conv"), epochs=1)
    assert result.changed == ("conv",)
