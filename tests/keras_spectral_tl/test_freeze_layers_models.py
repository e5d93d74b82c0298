"""Phases inside one fit in every kind of model: only the chosen weights move."""

import itertools

import keras
import numpy as np
import pytest

from keras_spectral_tl import freezing
from keras_spectral_tl.callbacks import FreezeLayers
from keras_spectral_tl.freezing._changes import TrainableFlags

RNG = np.random.default_rng(31)
X = RNG.normal(size=(8, 3)).astype("float32")
Y = RNG.normal(size=(8, 1)).astype("float32")


def _dense(name, units=3):
    return keras.layers.Dense(units, activation="tanh", name=name)


def _nested():
    inner = keras.Sequential([keras.Input((3,)), _dense("a"), _dense("b")], name="in")
    inputs = keras.Input((3,))
    return keras.Model(inputs, keras.layers.Dense(1, name="c")(inner(inputs)))


def _shared():
    inputs, shared = keras.Input((3,)), _dense("a")
    hidden = _dense("b")(shared(inputs))
    return keras.Model(inputs, keras.layers.Dense(1, name="c")(shared(hidden)))


def _normalized():
    layers = [_dense("a"), keras.layers.BatchNormalization(name="norm"), _dense("c", 1)]
    return keras.Sequential([keras.Input((3,)), *layers])


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = _dense("a"), _dense("b"), _dense("c", 1)

    def call(self, inputs):
        return self.c(self.b(self.a(inputs)))


def _subclassed():
    model = Subclassed()
    model(X)
    return model


def _moved(model, schedule, epochs=2):
    """Return the layers that each epoch of one fit moves."""
    hashes = [freezing.layer_hashes(model)]
    note = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: hashes.append(freezing.layer_hashes(model))
    )
    model.fit(
        X, Y, batch_size=4, epochs=epochs, verbose=0, validation_data=(X, Y),
        callbacks=[FreezeLayers(schedule), note],
    )  # fmt: skip
    return [
        [name for name in after if before[name] != after[name]]
        for before, after in itertools.pairwise(hashes)
    ]


@pytest.mark.parametrize(
    ("make", "first", "second"),
    [
        (_nested, ["in/b"], ["in/a", "c"]),
        (_shared, ["b"], ["a", "c"]),
        (_normalized, ["a", "c"], ["norm", "c"]),
        (_subclassed, ["b"], ["a", "c"]),
    ],
)
def test_only_the_layers_of_a_phase_move(make, first, second):
    model = make()
    model.compile(keras.optimizers.Adam(0.01), "mse")
    assert _moved(model, {0: first, 1: second}) == [first, second]


@pytest.fixture
def mixed_float16():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    yield
    keras.config.set_dtype_policy(before)


def test_mixed_float16_keeps_its_loss_scale(mixed_float16):
    """Keras wraps the optimizer by itself; a new scale would be 2^15 again."""
    model = _shared()
    model.compile(keras.optimizers.Adam(0.01), "mse")
    optimizer = model.optimizer
    assert isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
    optimizer.build(model.trainable_variables)
    optimizer.dynamic_scale.assign(64.0)
    assert _moved(model, {0: ["b"], 1: ["a", "c"]}) == [["b"], ["a", "c"]]
    assert model.optimizer is optimizer
    assert float(np.asarray(optimizer.dynamic_scale)) == 64.0
    assert int(np.asarray(optimizer.step_counter)) == 4


def test_several_steps_in_one_execution():
    steps = 1 if keras.backend.backend() == "torch" else 2  # torch has one only
    model = _shared()
    model.compile(keras.optimizers.Adam(0.01), "mse", steps_per_execution=steps)
    assert _moved(model, {0: ["b"], 1: ["a", "c"]}) == [["b"], ["a", "c"]]


def test_parts_of_layers_are_phases_too():
    model = _normalized()
    model.compile(keras.optimizers.Adam(0.01), "mse")
    before = freezing.weight_hashes(model)
    schedule = {0: freezing.KernelsOf("a"), 1: freezing.BiasesOf(["a", "c"])}
    assert _moved(model, schedule) == [["a"], ["a", "c"]]
    after = freezing.weight_hashes(model)
    moved = [name for name in after if before[name] != after[name]]
    assert moved == ["a/kernel", "a/bias", "c/bias"]


class Counts(keras.layers.Layer):
    """Counts its calls in training mode, whatever its flags say."""

    def build(self, shape):
        self.calls = self.add_weight(
            shape=(), initializer="zeros", trainable=False, name="calls"
        )

    def call(self, inputs, training=False):
        if training:
            self.calls.assign(self.calls + 1.0)
        return inputs


def _spectrally_normalized():
    inner = keras.layers.Dense(4, name="d")
    return [keras.layers.SpectralNormalization(inner, name="s")]


@pytest.mark.parametrize(
    ("first", "named"),
    [
        (
            _spectrally_normalized,
            r"s/.*s/d/kernel.*SpectralNormalization.*regardless of flags",
        ),
        (lambda: [Counts(name="n")], r"n/calls.*n \(Counts\)"),
    ],
)
@pytest.mark.parametrize("schedule", [{0: "o"}, {1: "o"}])
def test_a_layer_that_writes_its_own_weights_is_noticed(first, named, schedule):
    model = keras.Sequential(
        [keras.Input((4,)), *first(), keras.layers.Dense(2, name="o")]
    )
    model.compile("adam", "mse")
    x, y = np.ones((8, 4), "float32"), np.ones((8, 2), "float32")
    flags = TrainableFlags.of(model)
    with pytest.raises(RuntimeError, match=named):
        model.fit(x, y, epochs=3, verbose=0, callbacks=[FreezeLayers(schedule)])
    assert TrainableFlags.of(model) == flags
    # Where it may move, it does.
    everywhere = FreezeLayers({0: None})
    model.fit(x, y, epochs=2, verbose=0, callbacks=[everywhere])


class WritesLate(keras.callbacks.Callback):
    """Moves a frozen weight in the third epoch."""

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 2:
            kernel = self.model.get_layer("a").kernel
            kernel.assign(0.0 * kernel)


@pytest.mark.parametrize("schedule", [{0: "b"}, {0: "b", 4: "a"}])
def test_a_weight_that_moves_late_is_noticed_when_the_phase_ends(schedule):
    layers = [keras.layers.Dense(4, name=name) for name in "ab"]
    model = keras.Sequential([keras.Input((4,)), *layers])
    model.compile("adam", "mse")
    x = np.ones((8, 4), "float32")
    callbacks = [FreezeLayers(schedule), WritesLate()]
    with pytest.raises(RuntimeError, match=r"a/kernel.*another callback"):
        model.fit(x, x, epochs=5, verbose=0, callbacks=callbacks)


def test_weights_that_early_stopping_puts_back_are_no_mistake():
    layers = [keras.layers.Dense(4, name=name) for name in "ab"]
    model = keras.Sequential([keras.Input((4,)), *layers])
    model.compile(keras.optimizers.SGD(1e-3), "mse")
    x = np.ones((8, 4), "float32")
    stopping = keras.callbacks.EarlyStopping(
        "loss", patience=1, min_delta=1e9, restore_best_weights=True
    )
    schedule = FreezeLayers({0: "a", 1: "b"})
    history = model.fit(x, x, epochs=5, verbose=0, callbacks=[stopping, schedule])
    assert len(history.epoch) == 2
