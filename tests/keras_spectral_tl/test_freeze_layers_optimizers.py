"""Phases inside one fit equal separate fits that hand the optimizer's state on."""

import functools
import itertools

import keras
import numpy as np
import pytest

from keras_spectral_tl import freezing
from keras_spectral_tl.callbacks import FreezeLayers
from keras_spectral_tl.freezing._changes import set_trainable
from tests.keras_spectral_tl.common import adam, by_hand, trainable_names

RNG = np.random.default_rng(17)
X = RNG.normal(size=(6, 3)).astype("float32")
Y = RNG.normal(size=(6, 1)).astype("float32")
BATCHES = [(X[i : i + 2], Y[i : i + 2]) for i in (0, 2, 4)]
ALL = ("a", "b", "c")
FAST = {"run_eagerly": keras.backend.backend() != "jax"}
# The same arithmetic in another graph: the compiler may fuse it in another order.
ROUND_OFF = 1e-6


def _model(optimizer, **options):
    layers = [
        keras.layers.Dense(3, activation="tanh", name="a"),
        keras.layers.Dense(3, activation="tanh", name="b"),
        keras.layers.Dense(1, name="c", dtype="float32"),
    ]
    model = keras.Sequential([keras.Input((3,)), *layers], name="model")
    rng = np.random.default_rng(3)
    for weight in model.weights:
        weight.assign(rng.normal(size=weight.shape).astype("float32"))
    # Without graphs where that is faster: this is about the optimizer.
    model.compile(optimizer, "mse", **(options or FAST))
    return model


def _fit(model, *callbacks, epochs):
    model.fit(
        X, Y, batch_size=2, epochs=epochs, shuffle=False, verbose=0,
        callbacks=list(callbacks),
    )  # fmt: skip


def _by_hand(make_optimizer, phases):
    return by_hand(_model(make_optimizer()), make_optimizer, phases, **FAST)


def _assert_close(model, expected):
    for weight, other in zip(model.weights, expected.weights, strict=True):
        np.testing.assert_allclose(
            np.asarray(weight), np.asarray(other), rtol=ROUND_OFF, atol=ROUND_OFF
        )


def _hashes_by_epoch(model):
    """Return a callback, and the list that it fills."""
    hashes = []
    note = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: hashes.append(freezing.layer_hashes(model))
    )
    return note, hashes


def _scaled():
    # Grows after two steps, so that a scale which began anew would show.
    return keras.optimizers.LossScaleOptimizer(
        adam(), initial_scale=4.0, dynamic_growth_steps=2, name="scaled"
    )


def _multi():
    rates = keras.optimizers.OptimizerMap(
        keras.optimizers.SGD(0.1, momentum=0.9, name="sgd"), {".*/a/.*": adam()}
    )
    return keras.optimizers.MultiOptimizer(rates, name="multi")


def _decayed():
    """Everything that is a setting: decay, clipping, a schedule of the rate."""
    rate = keras.optimizers.schedules.ExponentialDecay(0.05, 2, 0.5)
    return keras.optimizers.AdamW(rate, 0.1, global_clipnorm=0.5, name="decayed")


@pytest.mark.parametrize("make", [_decayed, _scaled, _multi])
def test_phases_equal_separate_fits_with_the_state_handed_on(make):
    phases = [(ALL, BATCHES), (("b",), BATCHES), (("a", "c"), BATCHES * 2)]
    expected = _by_hand(make, phases)
    model = _model(make())
    optimizer = model.optimizer
    _fit(model, FreezeLayers({1: "b", 2: ["a", "c"]}), epochs=4)
    _assert_close(model, expected)
    assert model.optimizer is optimizer


@pytest.mark.parametrize("make", [_scaled, _multi])
def test_a_layer_frozen_at_compile_joins_with_new_moments(make):
    """The optimizer is then built again for all layers of the schedule."""
    phases = [(("b",), BATCHES), (("a", "b"), BATCHES)]
    expected = _by_hand(make, phases)
    model = _model(make())
    set_trainable(model, ["b"])
    model.compile(make(), "mse", **FAST)
    optimizer = model.optimizer
    _fit(model, FreezeLayers({1: ["a", "b"]}), epochs=2)
    _assert_close(model, expected)
    assert model.optimizer is optimizer
    assert trainable_names(model) == ("b",)
    assert len(optimizer._trainable_variables) == 2


def test_accumulated_gradients_are_applied_before_a_phase_begins():
    """Three batches an epoch, an update every two: epoch 1 begins in a window."""

    def make():
        return adam(gradient_accumulation_steps=2)

    batches = BATCHES * 4
    expected = _by_hand(make, [(("a",), batches[:4]), (("b", "c"), batches[4:])])
    model = _model(make())
    start, note, hashes = freezing.layer_hashes(model), *_hashes_by_epoch(model)
    _fit(model, FreezeLayers({0: "a", 1: ["b", "c"]}), note, epochs=4)
    _assert_close(model, expected)
    assert all(hashes[0][name] == start[name] for name in ("b", "c"))
    assert hashes[1]["a"] != hashes[0]["a"]  # the window of epoch 0, ended in epoch 1
    assert hashes[3]["a"] == hashes[1]["a"]


def test_a_window_longer_than_an_epoch_delays_a_phase_by_epochs():
    def make():
        return keras.optimizers.SGD(0.1, gradient_accumulation_steps=6)

    expected = _by_hand(make, [(("a",), BATCHES * 2), (("c",), BATCHES * 2)])
    model = _model(make())
    _fit(model, FreezeLayers({0: "a", 1: "b", 2: "c"}), epochs=4)
    _assert_close(model, expected)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_frozen_weights_keep_every_bit_with_and_without_jit(jit_compile, monkeypatch):
    if keras.backend.backend() == "torch":
        import torch

        # Traced as always, without the minutes that its C++ compiler takes.
        fast = functools.partial(torch.compile, backend="eager")
        monkeypatch.setattr(torch, "compile", fast)
    model = _model(adam(), jit_compile=jit_compile)
    start, note, hashes = freezing.layer_hashes(model), *_hashes_by_epoch(model)
    _fit(model, FreezeLayers({0: "b", 1: ["a", "c"]}), note, epochs=2)
    moved = [
        [name for name in ALL if before[name] != after[name]]
        for before, after in itertools.pairwise([start, *hashes])
    ]
    assert moved == [["b"], ["a", "c"]]


def test_executions_that_skip_every_update_are_refused():
    """Three batches as 2 + 1, an update every four: no update ends where one begins."""
    if keras.backend.backend() == "torch":
        with pytest.raises(ValueError, match="steps_per_execution` must be 1"):
            _fit(_model("sgd", steps_per_execution=2), epochs=1)
        return
    optimizer = keras.optimizers.SGD(0.1, gradient_accumulation_steps=4)
    model = _model(optimizer, steps_per_execution=2)
    with pytest.raises(ValueError, match=r"over 4 batches.*steps_per_execution=2"):
        model.fit(
            np.tile(X, (5, 1)), np.tile(Y, (5, 1)), batch_size=2, verbose=0,
            initial_epoch=0, epochs=2, callbacks=[FreezeLayers({0: "a", 1: "b"})],
        )  # fmt: skip
