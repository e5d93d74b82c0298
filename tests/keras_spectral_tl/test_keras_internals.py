"""Private attributes of Keras that the package relies on: a test for each."""

import keras
import numpy as np
import pytest

from keras_spectral_tl import _keras_internals as internals


def _model(*layers):
    return keras.Sequential([keras.Input((4,)), *layers])


def test_sublayers_are_tracked_in_order():
    first, second = keras.layers.Dense(2), keras.layers.Dense(1)
    assert internals.sublayers(_model(first, second))[-2:] == [first, second]
    assert internals.sublayers(first) == []
    wrapper = keras.layers.TimeDistributed(first)
    assert internals.sublayers(wrapper) == [first]


def test_own_weights_are_listed_whatever_the_flags_say():
    norm = keras.layers.BatchNormalization()
    model = _model(norm)
    for flag in (True, False):
        model.trainable = flag
        assert internals.own_trainable_variables(norm) == [norm.gamma, norm.beta]
        moving = [norm.moving_mean, norm.moving_variance]
        assert internals.own_statistics(norm) == moving


def test_random_generators_and_their_seeds():
    dropout = keras.layers.Dropout(0.5)
    _model(dropout)
    (generator,) = internals.own_seed_generators(dropout)
    internals.give_seed(generator, 3)
    internals.give_seed(generator, 4)
    assert generator._initial_seed == 3


def test_a_weight_added_to_a_layer_that_is_built():
    dense = keras.layers.Dense(3)
    model = _model(dense)
    weight = internals.add_weight_when_built(dense, "more", (3,), "ones")
    assert internals.own_trainable_variables(dense)[-1] is weight
    assert any(found is weight for found in model.trainable_variables)
    with pytest.raises(ValueError, match="cannot add new elements of state"):
        dense.add_weight(name="locked", shape=(3,))


def test_the_kernel_beside_a_low_rank_update():
    dense, embedding = keras.layers.Dense(3), keras.layers.Embedding(5, 3)
    dense.build((None, 4))
    embedding.build(None)
    for layer, base in ((dense, dense.kernel), (embedding, embedding.embeddings)):
        assert internals.low_rank_base(layer) is None
        layer.enable_lora(1)
        assert internals.low_rank_base(layer) is base
        assert not base.trainable


def test_a_fit_begins_at_the_initial_epoch():
    class Resume(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            assert internals.initial_epoch(self.model) == 0
            internals.set_initial_epoch(self.model, 2)

    model = _model(keras.layers.Dense(1))
    model.compile("sgd", "mse")
    x = np.ones((2, 4))
    history = model.fit(x, x[:, :1], epochs=4, verbose=0, callbacks=[Resume()])
    assert history.epoch == [2, 3]


def test_weights_slots_and_batches_of_an_optimizer():
    first, last = keras.layers.Dense(2), keras.layers.Dense(1)
    model = _model(first, last)
    options = {"use_ema": True, "gradient_accumulation_steps": 2}
    optimizer = keras.optimizers.Adam(**options)
    model.compile(optimizer, "mse")
    x = np.ones((6, 4))
    model.fit(x, x[:, :1], batch_size=2, verbose=0)
    assert internals.optimizer_batches(optimizer) == 3
    weights = internals.optimizer_weights(optimizer)
    assert list(weights) == model.trainable_variables
    slots = internals.optimizer_slots(optimizer)
    names = {"_momentums", "_velocities", internals.ACCUMULATED_GRADIENTS}
    assert slots.keys() == names | {internals.MOVING_AVERAGES}
    cut = {name: entries[2:] for name, entries in slots.items()}
    internals.set_optimizer_weights(optimizer, weights[2:], cut)
    before = [np.array(weight) for weight in weights]
    optimizer.apply([keras.ops.ones(weight.shape) for weight in last.weights])
    moved = [not np.array_equal(b, w) for b, w in zip(before, weights, strict=True)]
    assert moved == [False, False, True, True]
    internals.set_optimizer_batches(optimizer, 6)
    assert internals.optimizer_batches(optimizer) == 6
    assert int(optimizer.iterations) == 3


def test_the_learning_rate_of_an_optimizer_is_the_schedule_itself():
    schedule = keras.optimizers.schedules.CosineDecay(1e-3, 10)
    assert internals.learning_rate_of(keras.optimizers.Adam(schedule)) is schedule
    rate = internals.learning_rate_of(keras.optimizers.Adam(0.25))
    assert float(keras.ops.convert_to_numpy(rate)) == 0.25


def test_compiled_functions_are_dropped():
    model = _model(keras.layers.Dense(1))
    model.compile("sgd", "mse")
    assert not internals.drop_compiled_functions(model)
    x = np.ones((2, 4))
    model.fit(x, x[:, :1], verbose=0)
    model.predict(x, verbose=0)
    assert internals.drop_compiled_functions(model)
    assert model.train_function is None
    if keras.backend.backend() == "jax":
        assert model.predict_function is None


@pytest.mark.parametrize("mode", [None, "int8", "float8"])
def test_the_method_in_which_a_layer_is_called(mode):
    dense = keras.layers.Dense(2)
    model = _model(dense)
    if mode:
        dense.quantize(mode)
    name, method = internals.calling_method(dense)
    seen = []

    def call(*args, **kwargs):
        seen.append(name)
        return method(*args, **kwargs)

    with internals.replaced(dense, name, call):
        model(np.ones((1, 4), "float32"))
    assert len(seen) == 1
    assert name not in vars(dense)


class _Curious(keras.callbacks.Callback):
    def on_train_begin(self, logs=None):
        self.found = internals.callbacks_of_fit(self)


def test_a_callback_finds_the_others_of_its_fit_in_order():
    first, last = _Curious(), keras.callbacks.TerminateOnNaN()
    model = _model(keras.layers.Dense(1))
    model.compile("sgd", "mse")
    x = np.ones((2, 4))
    model.fit(x, x[:, :1], epochs=1, verbose=0, callbacks=[first, last])
    assert first.found[:2] == [first, last]
    assert internals.callbacks_of_fit(first) == []


def test_an_optimizer_that_a_file_holds_twice_stays_one():
    model, adam = _model(keras.layers.Dense(1)), keras.optimizers.Adam()
    both = keras.optimizers.OptimizerMap(adam, {".*bias": adam})
    model.compile(keras.optimizers.MultiOptimizer(both, name="multi"), "mse")
    with internals.ObjectSharingScope():  # as a file is written
        config = model.get_compile_config()
    internals.compile_as_saved(model, config)
    assert len(model.optimizer.optimizers) == 1
    model.compile_from_config(config)
    assert len(model.optimizer.optimizers) == 2


def test_a_mask_is_found_on_every_backend():
    masking = keras.layers.Masking()
    x = np.ones((2, 3, 1))
    x[1, 1] = 0.0
    mask = internals.keras_mask(masking(x))
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(mask), x[..., 0] > 0)
    assert internals.keras_mask(keras.ops.convert_to_tensor(x)) is None
