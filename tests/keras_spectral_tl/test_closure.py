"""A network as a closure: the numbers it receives, once compiled, for any model."""

import pickle

import keras
import numpy as np
import pytest

import keras_spectral_tl
from keras_spectral_tl.closure import KerasClosure, compiled_forward
from keras_spectral_tl.models import build_sgs_cnn

STATISTICS = {
    "streamfunction": (0.25, 1.5),
    "vorticity": (-0.125, 7.0),
    "sgs_forcing": (0.5, 3.0),
}
FLOAT32 = 2e-6  # relative; another batch size may sum in another order


class CountsCalls(keras.layers.Layer):
    """How often Python runs: once a compilation, or every time where nothing is."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def call(self, inputs):
        self.calls += 1
        return inputs


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(3)
    return build_sgs_cnn((None, None, 2), num_layers=2, num_filters=3, kernel_size=3)


def fields(*shape, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((2, *shape))


def normalized(vorticity, streamfunction):
    """As the data pipeline does it: float32 throughout."""
    x = np.stack([streamfunction, vorticity], axis=-1).astype(np.float32)
    mean, std = (
        np.array([STATISTICS[n][i] for n in ("streamfunction", "vorticity")], "float32")
        for i in (0, 1)
    )
    return (x - mean) / std


def test_the_model_receives_the_very_numbers_of_training():
    vorticity, psi = fields(5, 12, 8)
    model = keras.Sequential([keras.Input((None, None, 2)), keras.layers.Conv2D(1, 1)])
    inputs = KerasClosure(model, STATISTICS).inputs(vorticity, psi)
    assert inputs.dtype == np.float32
    assert np.array_equal(inputs, normalized(vorticity, psi))


def test_it_is_the_prediction_in_physical_units(network):
    vorticity, psi = fields(3, 12, 8)
    closure = KerasClosure(network, STATISTICS)
    predicted = network.predict(normalized(vorticity, psi), verbose=0)
    expected = 0.5 + 3.0 * predicted[..., 0]
    result = closure(vorticity, psi)
    assert result.shape == (3, 12, 8)
    assert result.dtype == np.float64
    assert np.abs(result - expected).max() < FLOAT32 * np.abs(expected).max()


def test_one_field_and_an_ensemble_of_any_shape_agree(network):
    vorticity, psi = fields(2, 3, 12, 8)
    closure = KerasClosure(network, STATISTICS)
    together = closure(vorticity, psi)
    assert together.shape == (2, 3, 12, 8)
    alone = closure(vorticity[1, 2], psi[1, 2])
    assert np.abs(together[1, 2] - alone).max() < FLOAT32 * np.abs(alone).max()
    single = closure(vorticity.astype("float32"), psi.astype("float32"))
    assert single.dtype == np.float32


def test_it_is_compiled_once_for_a_shape_and_follows_the_weights():
    counter, gain = CountsCalls(), keras.layers.Conv2D(1, 1)
    model = keras.Sequential([keras.Input((8, 8, 2)), counter, gain])
    closure = KerasClosure(model, STATISTICS)
    counter.calls = 0
    outputs = []
    for number in range(4):
        gain.set_weights([np.full((1, 1, 2, 1), 0.5 * number), np.zeros(1)])
        outputs.append(closure(*fields(3, 8, 8)))
    if keras.backend.backend() != "torch":
        assert counter.calls == 1
    assert np.abs(outputs[0] - 0.5).max() < 1e-6  # no weights: the mean alone
    difference = (outputs[3] - 0.5) - 3.0 * (outputs[1] - 0.5)
    assert np.abs(difference).max() < 1e-5


def test_channels_and_models_of_other_kinds():
    """Vorticity alone; a subclassed model with dropout, which inference ignores."""

    class Subclassed(keras.Model):
        def __init__(self):
            super().__init__()
            self.convolution = keras.layers.Conv2D(1, 1, kernel_initializer="ones")
            self.dropout = keras.layers.Dropout(0.5)

        def call(self, inputs, training=False):
            return self.dropout(self.convolution(inputs), training=training)

    model = Subclassed()
    model(np.zeros((1, 4, 4, 1), "float32"))
    closure = KerasClosure(model, STATISTICS, input_fields=("vorticity",))
    vorticity, psi = fields(4, 4)
    expected = 0.5 + 3.0 * (vorticity + 0.125) / 7.0
    assert np.abs(closure(vorticity, psi) - expected).max() < 1e-5


def test_statistics_may_be_an_object_with_these_attributes(network):
    class Normalization:
        streamfunction = (0.25, 1.5)
        vorticity = (-0.125, 7.0)
        sgs_forcing = (0.5, 3.0)

    both = fields(8, 8)
    first = KerasClosure(network, Normalization())(*both)
    assert np.array_equal(first, KerasClosure(network, STATISTICS)(*both))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vorticity": None}, "'vorticity'"),
        ({"sgs_forcing": (0.0, 0.0)}, "'sgs_forcing'"),
        ({"streamfunction": (np.nan, 1.0)}, "'streamfunction'"),
        ({"streamfunction": (1.0,)}, "'streamfunction'"),
    ],
)
def test_statistics_that_cannot_normalize_are_refused(network, change, message):
    with pytest.raises(ValueError, match=message):
        KerasClosure(network, STATISTICS | change)


def test_models_that_do_not_fit_are_refused(network):
    with pytest.raises(ValueError, match="input_fields"):
        KerasClosure(network, STATISTICS, input_fields=("pressure",))
    with pytest.raises(ValueError, match="takes inputs of shape"):
        KerasClosure(network, STATISTICS, input_fields=("vorticity",))
    two = keras.Sequential([keras.Input((8, 8, 2)), keras.layers.Conv2D(2, 1)])
    with pytest.raises(ValueError, match="one channel"):
        KerasClosure(two, STATISTICS)(*fields(8, 8))


def test_half_precision_models_give_float32():
    layers = [keras.Input((4, 4, 2)), keras.layers.Conv2D(1, 1, dtype="mixed_float16")]
    outputs = compiled_forward(keras.Sequential(layers))(
        np.ones((1, 4, 4, 2), "float32")
    )
    assert outputs.dtype == np.float32


def test_flags_changed_between_two_calls_do_not_change_the_closure():
    """Two layers of equal shapes: compiled once, each weight stays in its place."""
    keras.utils.set_random_seed(2)
    hidden = [keras.layers.Conv2D(2, 1, name=name) for name in ("conv_b", "conv_c")]
    model = keras.Sequential(
        [keras.Input((8, 8, 2)), *hidden, keras.layers.Conv2D(1, 1)]
    )
    both = fields(8, 8)
    expected = KerasClosure(model, STATISTICS)(*both)
    closure, x = KerasClosure(model, STATISTICS), normalized(*both)[None]
    predicted = model.predict(x, verbose=0)
    for name in ("conv_b", "conv_c", None):
        with keras_spectral_tl.only_trainable(model, name):
            np.testing.assert_array_equal(closure(*both), expected)
            np.testing.assert_allclose(
                model.predict(x, verbose=0), predicted, rtol=FLOAT32, atol=FLOAT32
            )


def test_flags_changed_without_compile_do_not_swap_weights_in_evaluation():
    keras.utils.set_random_seed(2)
    hidden = [keras.layers.Dense(4, name=name) for name in "ab"]
    model = keras.Sequential([keras.Input((4,)), *hidden])
    model.compile("sgd", "mse")
    x = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")
    expected = model.predict(x, verbose=0), model.evaluate(x, x, verbose=0)
    for name in "ab":
        with keras_spectral_tl.only_trainable(model, name):
            found = model.predict(x, verbose=0), model.evaluate(x, x, verbose=0)
        np.testing.assert_allclose(found[0], expected[0], rtol=1e-5, atol=1e-6)
        assert found[1] == pytest.approx(expected[1], rel=1e-5)
    for name in "ab":
        keras_spectral_tl.freeze_layers(model, name)
        found = model.predict(x, verbose=0)
        np.testing.assert_allclose(found, expected[0], rtol=1e-5, atol=1e-6)
        keras_spectral_tl.unfreeze_layers(model, name)


def test_the_output_may_be_the_only_entry_of_a_dict(network):
    both = fields(8, 8)
    expected = KerasClosure(network, STATISTICS)(*both)
    inputs = keras.Input((None, None, 2))
    for wrapped in ({"forcing": network(inputs)}, [network(inputs)]):
        closure = KerasClosure(keras.Model(inputs, wrapped), STATISTICS)
        np.testing.assert_array_equal(closure(*both), expected)
    two = keras.Model(inputs, {"a": network(inputs), "b": 2 * network(inputs)})
    with pytest.raises(ValueError, match=r"has 2 outputs; expected one.*keras.Model"):
        KerasClosure(two, STATISTICS)


def test_a_closure_can_be_pickled(network):
    both, closure = fields(2, 8, 8), KerasClosure(network, STATISTICS)
    expected = closure(*both)
    again = pickle.loads(pickle.dumps(closure))
    assert again.statistics == closure.statistics
    np.testing.assert_allclose(again(*both), expected, rtol=FLOAT32)


def test_it_follows_weights_that_are_added_later(network):
    network = keras.models.clone_model(network)
    closure, pair = KerasClosure(network, STATISTICS), fields(8, 6)
    before = closure(*pair)
    layer = network.layers[1]
    layer.enable_lora(2)
    np.testing.assert_allclose(closure(*pair), before, rtol=1e-5, atol=1e-6)
    layer.lora_kernel_b.assign(np.ones(layer.lora_kernel_b.shape))
    expected = KerasClosure(network, STATISTICS)(*pair)
    np.testing.assert_allclose(closure(*pair), expected, rtol=1e-6)
    assert np.max(np.abs(expected - before)) > 1e-2


def test_a_streamfunction_of_another_shape_is_refused(network):
    vorticity, streamfunction = fields(8, 6)
    with pytest.raises(ValueError, match=r"one shape.*\(8, 6\) and \(6, 8\)"):
        KerasClosure(network, STATISTICS)(vorticity, streamfunction.T)
