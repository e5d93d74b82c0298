"""Phases inside one fit: the right weights move, state survives, flags come back."""

import keras
import numpy as np
import pytest

from keras_spectral_tl import freezing
from keras_spectral_tl.callbacks import FreezeLayers, LayerByLayer
from keras_spectral_tl.freezing._changes import TrainableFlags
from tests.keras_spectral_tl.common import trainable_names

RNG = np.random.default_rng(9)
X = RNG.normal(size=(8, 3)).astype("float32")
Y = RNG.normal(size=(8, 1)).astype("float32")
STEPS = 2  # batches an epoch
ALL = ("a", "b", "c")


def _dense(name, units=3, activation="tanh"):
    return keras.layers.Dense(units, activation=activation, name=name)


def _model(optimizer=None):
    layers = [_dense("a"), _dense("b"), _dense("c", 1, None)]
    model = keras.Sequential([keras.Input((3,)), *layers])
    model.compile(optimizer or keras.optimizers.Adam(0.01), "mse")
    return model


def _fit(model, *callbacks, epochs=1, **options):
    return model.fit(
        X, Y, batch_size=4, epochs=epochs, shuffle=False, verbose=0,
        callbacks=list(callbacks), **options,
    )  # fmt: skip


class Recorder(keras.callbacks.Callback):
    """Notes hashes, moments and counters at the end of every epoch."""

    def on_train_begin(self, logs=None):
        self.hashes = [freezing.layer_hashes(self.model)]
        self.moments, self.optimizers, self.iterations = [], [], []

    def on_epoch_end(self, epoch, logs=None):
        optimizer = self.model.optimizer
        self.hashes.append(freezing.layer_hashes(self.model))
        self.optimizers.append(optimizer)
        self.iterations.append(int(np.asarray(optimizer.iterations)))
        self.moments.append(_moments(optimizer))

    def moved(self, epoch):
        before, after = self.hashes[epoch : epoch + 2]
        return tuple(name for name in before if before[name] != after[name])


def _moments(optimizer):
    return {
        variable.path: np.array(np.asarray(variable))
        for variable in optimizer.variables
        if "momentum" in variable.path or "velocity" in variable.path
    }


def test_each_phase_moves_its_layers_and_no_other_bit():
    model, recorder = _model(), Recorder()
    schedule = {0: "a", 1: ["b", "c"], 3: None, 4: "c"}
    _fit(model, FreezeLayers(schedule), recorder, epochs=5)
    moved = [recorder.moved(epoch) for epoch in range(5)]
    assert moved == [("a",), ("b", "c"), ("b", "c"), ALL, ("c",)]


def test_before_the_first_phase_the_model_trains_with_its_own_flags():
    model, recorder = _model(), Recorder()
    _fit(model, FreezeLayers({1: "b"}), recorder, epochs=2)
    assert [recorder.moved(0), recorder.moved(1)] == [ALL, ("b",)]


def test_a_fit_that_begins_in_the_middle_enters_the_right_phase():
    model, recorder = _model(), Recorder()
    callback = FreezeLayers({0: "a", 2: "b", 9: "c"})
    _fit(model, callback, recorder, epochs=4, initial_epoch=3)
    assert recorder.moved(0) == ("b",)


def test_one_phase_equals_freezing_before_compile():
    model = _model()
    expected = keras.models.clone_model(model)
    for new, old in zip(expected.weights, model.weights, strict=True):
        new.assign(np.asarray(old))
    freezing.freeze_layers(expected, ["a", "c"])
    expected.compile(keras.optimizers.Adam(0.01), "mse")
    _fit(expected, epochs=3)
    _fit(model, FreezeLayers({0: "b"}), epochs=3)
    assert freezing.layer_hashes(model) == freezing.layer_hashes(expected)


def test_a_schedule_that_changes_nothing_equals_a_plain_fit():
    model = _model()
    plain = keras.models.clone_model(model)
    for new, old in zip(plain.weights, model.weights, strict=True):
        new.assign(np.asarray(old))
    plain.compile(keras.optimizers.Adam(0.01), "mse")
    _fit(plain, epochs=3)
    _fit(model, FreezeLayers({0: list(ALL), 1: ["c", "b", "a"], 2: None}), epochs=3)
    assert freezing.layer_hashes(model) == freezing.layer_hashes(plain)


def test_moments_iterations_and_learning_rate_survive():
    model, recorder = _model(), Recorder()
    model.optimizer.learning_rate = 0.003
    _fit(model, FreezeLayers({1: "a", 2: "b", 3: None}), recorder, epochs=4)
    assert recorder.iterations == [STEPS * n for n in (1, 2, 3, 4)]
    assert float(np.asarray(model.optimizer.learning_rate)) == pytest.approx(0.003)
    moments = recorder.moments
    for epoch, training in ((1, ("a",)), (2, ("b",)), (3, ALL)):
        before, after = moments[epoch - 1 : epoch + 1]
        changed = {path for path in after if np.any(before[path] != after[path])}
        # A path ends in _<layer>_<kernel or bias>_<slot>.
        expected = {path for path in after if path.split("_")[-3] in training}
        assert changed == expected


def test_moments_of_a_frozen_layer_wait_unchanged():
    model, recorder = _model(keras.optimizers.SGD(0.01, momentum=1.0)), Recorder()

    class Probe(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            if batch == 0:
                seen.append(_moments(self.model.optimizer))

    seen = []
    _fit(model, FreezeLayers({1: "b", 2: None}), Probe(), recorder, epochs=3)
    after_first, before_third = recorder.moments[0], seen[2]
    for path, value in after_first.items():
        if "b_kernel" not in path and "b_bias" not in path:
            np.testing.assert_array_equal(before_third[path], value)


@pytest.mark.parametrize(
    "optimizer",
    [
        keras.optimizers.SGD(0.01),
        keras.optimizers.RMSprop(0.01, centered=True, momentum=0.5),
        keras.optimizers.Adam(0.01, amsgrad=True, clipnorm=1.0),
        keras.optimizers.Nadam(0.01),
        keras.optimizers.Adafactor(0.01),
        keras.optimizers.Adam(keras.optimizers.schedules.ExponentialDecay(0.1, 1, 0.9)),
    ],
    ids=lambda optimizer: optimizer.name,
)
def test_optimizers_of_every_kind_of_state_are_carried_over(optimizer):
    recorder, model = Recorder(), _model(optimizer)
    _fit(model, FreezeLayers({0: "a", 1: ["a", "b"]}), recorder, epochs=2)
    assert [recorder.moved(0), recorder.moved(1)] == [("a",), ("a", "b")]
    assert recorder.iterations == [STEPS, 2 * STEPS]
    assert all(type(used) is type(optimizer) for used in recorder.optimizers)


def test_averages_of_weights_start_where_the_weights_are():
    optimizer = keras.optimizers.SGD(1e-6, use_ema=True, ema_momentum=0.5)
    model = _model(optimizer)
    before = [np.array(np.asarray(weight)) for weight in model.weights]
    _fit(model, FreezeLayers({0: "a", 1: None}), epochs=2)
    for weight, value in zip(model.weights, before, strict=True):
        # An average begun at zero would halve the weights.
        np.testing.assert_allclose(np.asarray(weight), value, atol=1e-4)


def test_weight_decay_exclusions_survive():
    optimizer = keras.optimizers.AdamW(0.0, weight_decay=0.5)
    optimizer.learning_rate = 0.1
    model = _model(optimizer)
    optimizer.exclude_from_weight_decay(var_names=["kernel"])
    _fit(model, FreezeLayers({0: "a"}))
    layer = model.get_layer("a")
    assert not model.optimizer._use_weight_decay(layer.kernel)
    assert model.optimizer._use_weight_decay(layer.bias)


def test_flags_come_back_and_training_goes_on_with_all_moments():
    model = _model()
    model.get_layer("c").trainable = False
    model.compile(keras.optimizers.Adam(0.01), "mse")
    before = TrainableFlags.of(model)
    recorder = Recorder()
    _fit(model, FreezeLayers({0: "a", 1: "c"}), epochs=2)
    assert TrainableFlags.of(model) == before
    _fit(model, recorder)
    assert recorder.moved(0) == ("a", "b")
    assert recorder.iterations == [3 * STEPS]


def test_an_instance_can_be_used_again_and_on_another_model():
    callback = FreezeLayers({0: "a"})
    for model in (_model(), _model()):
        for _ in range(2):
            recorder = Recorder()
            _fit(model, callback, recorder)
            assert recorder.moved(0) == ("a",)
            assert trainable_names(model) == ALL


class Bomb(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        raise ZeroDivisionError


def test_restore_after_an_exception():
    model, callback = _model(), FreezeLayers({0: "a"})
    with pytest.raises(ZeroDivisionError):
        _fit(model, callback, Bomb())
    assert trainable_names(model) == ("a",)
    callback.restore()
    assert trainable_names(model) == ALL
    recorder = Recorder()
    _fit(model, recorder)
    assert recorder.moved(0) == ALL


@pytest.mark.parametrize("compile_again", [False, True])
def test_the_next_fit_after_an_exception_begins_with_the_own_flags(compile_again):
    model, callback, recorder = _model(), FreezeLayers({1: "a"}), Recorder()

    class LateBomb(Bomb):
        def on_train_batch_end(self, batch, logs=None):
            if trainable_names(self.model) == ("a",):
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        _fit(model, callback, LateBomb(), epochs=2)
    if compile_again:
        model.compile(keras.optimizers.Adam(0.01), "mse")
    _fit(model, callback, recorder, epochs=2)
    assert [recorder.moved(0), recorder.moved(1)] == [ALL, ("a",)]
    assert trainable_names(model) == ALL


def test_frozen_statistics_do_not_move():
    norm = keras.layers.BatchNormalization(name="norm")
    model = keras.Sequential([keras.Input((3,)), norm, _dense("c", 1, None)])
    model.compile("adam", "mse")
    recorder = Recorder()
    _fit(model, FreezeLayers({0: "c", 1: "norm"}), recorder, epochs=2)
    assert [recorder.moved(0), recorder.moved(1)] == [("c",), ("norm",)]


def test_nested_models_with_equal_variable_paths_keep_their_own_moments():
    def block(name):
        return keras.Sequential([keras.Input((3,)), _dense("dense")], name=name)

    inputs = keras.Input((3,))
    outputs = _dense("c", 1, None)(block("right")(block("left")(inputs)))
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9), "mse")
    _fit(model)
    expected = [np.array(np.asarray(m)) for m in model.optimizer.momentums[2:4]]

    class Probe(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            if batch == 0:
                momentums = self.model.optimizer.momentums
                seen.extend(np.array(np.asarray(m)) for m in momentums)

    seen = []
    _fit(model, FreezeLayers({0: "right/dense"}), Probe())
    for value, before in zip(seen, expected, strict=True):
        np.testing.assert_array_equal(value, before)


def test_evaluate_and_predict_leave_everything_alone():
    model, callback = _model(), FreezeLayers({0: "a"})
    before = freezing.layer_hashes(model), TrainableFlags.of(model)
    model.evaluate(X, Y, verbose=0, callbacks=[callback])
    model.predict(X, verbose=0, callbacks=[callback])
    after = freezing.layer_hashes(model), TrainableFlags.of(model)
    assert after == before


def test_validation_and_learning_rate_callbacks_work_beside_it():
    model = _model()
    rates = keras.callbacks.LearningRateScheduler(lambda epoch: 0.1 / (epoch + 1))
    history = _fit(
        model, FreezeLayers({0: "a", 1: "b"}), rates, epochs=2, validation_data=(X, Y)
    )
    assert len(history.history["val_loss"]) == 2
    rate = float(np.asarray(model.optimizer.learning_rate))
    assert rate == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("schedule", "error", "message"),
    [
        ("conv_1", TypeError, "Received 'conv_1'"),
        ({}, ValueError, "at least one epoch"),
        ({-1: "a"}, ValueError, "epoch=-1"),
        ({0.5: "a"}, TypeError, "epoch=0.5"),
        ({True: "a"}, TypeError, "epoch=True"),
    ],
)
def test_bad_schedules_are_refused_at_once(schedule, error, message):
    with pytest.raises(error, match=message):
        FreezeLayers(schedule)


def test_unknown_layers_are_told_before_any_training():
    model = _model()
    before = freezing.layer_hashes(model)
    with pytest.raises(KeyError, match=r"'aa'.*Did you mean 'a'"):
        _fit(model, FreezeLayers({0: "a", 1: "aa"}), epochs=2)
    assert freezing.layer_hashes(model) == before
    assert trainable_names(model) == ALL


def test_a_phase_that_trains_nothing_is_refused():
    layers = [keras.layers.Normalization(name="scale"), _dense("c", 1, None)]
    model = keras.Sequential([keras.Input((3,)), *layers])
    model.compile("adam", "mse")
    with pytest.raises(ValueError, match=r"In the phase 'scale' nothing would"):
        _fit(model, FreezeLayers({0: "c", 1: "scale"}), epochs=2)


class Opaque(keras.optimizers.SGD):
    """Has state that belongs to no weight by its place in a list."""

    def build(self, variables):
        super().build(variables)
        self.table = {"extra": self.add_variable((2,), name="extra")}


def test_state_of_unknown_weights_is_refused_only_where_it_would_be_lost():
    model, recorder = _model(Opaque(0.01)), Recorder()
    _fit(model, FreezeLayers({0: "a"}), recorder)
    assert recorder.moved(0) == ("a",)
    model = _model()
    model.get_layer("c").trainable = False
    model.compile(Opaque(0.01), "mse")
    with pytest.raises(TypeError, match=r"state of a Opaque.*extra.*before model.comp"):
        _fit(model, FreezeLayers({0: "c"}))


def test_a_class_of_schedules_is_no_schedule():
    with pytest.raises(TypeError, match=r"pass LayerByLayer\(\.\.\.\)"):
        FreezeLayers(LayerByLayer)


def test_two_freeze_layers_in_one_fit_are_refused():
    model, callback = _model(), FreezeLayers({0: "a"})
    before = freezing.layer_hashes(model), TrainableFlags.of(model)
    for callbacks in ([callback, FreezeLayers({0: "b"})], [callback, callback]):
        with pytest.raises(ValueError, match=r"two FreezeLayers.*Pass one"):
            _fit(model, *callbacks)
    recorder = Recorder()
    _fit(model, callback, recorder)  # the fit before was ended by an exception
    assert recorder.moved(0) == ("a",)
    assert TrainableFlags.of(model) == before[1]
