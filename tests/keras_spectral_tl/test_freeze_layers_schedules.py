"""Schedules are pure functions: what trains when, and what is refused."""

import itertools

import keras
import numpy as np
import pytest

from keras_spectral_tl import freezing
from keras_spectral_tl.callbacks import FreezeLayers, LayerByLayer, NextPhaseOnPlateau
from keras_spectral_tl.callbacks._freeze_schedules import OWN_FLAGS, LayersByEpoch

LAYERS = ("a", "b", "c")
TOP = "unfreeze_from_top"


def _sizes(schedule, epochs=8):
    return [len(schedule(epoch, LAYERS, {})) for epoch in range(epochs)]


def test_gradual_unfreezing_adds_a_layer_each_interval_and_keeps_all():
    assert _sizes(LayerByLayer(TOP, 2)) == [1, 1, 2, 2, 3, 3, 3, 3]
    assert _sizes(LayerByLayer("unfreeze_from_bottom", 2)) == [1, 1, 2, 2, 3, 3, 3, 3]
    assert LayerByLayer(TOP, 2)(2, LAYERS, {}) == ("b", "c")
    assert LayerByLayer("unfreeze_from_bottom", 2)(2, LAYERS, {}) == ("a", "b")


def test_freeze_out_takes_a_layer_each_interval_and_leaves_the_last():
    assert _sizes(LayerByLayer("freeze_from_bottom", 2)) == [3, 3, 2, 2, 1, 1, 1, 1]
    assert LayerByLayer("freeze_from_bottom", 2)(7, LAYERS, {}) == ("c",)


def test_chosen_layers_last_until_the_next_are_given():
    schedule = LayersByEpoch({5: None, 2: "b"})
    phases = [schedule(epoch, LAYERS, {}) for epoch in (1, 2, 4, 5, 99)]
    assert phases == [OWN_FLAGS, "b", "b", None, None]


def _phases(values, **options):
    schedule = NextPhaseOnPlateau(["a", "b", "c"], "loss", **options)
    logs = {epoch: {"loss": value} for epoch, value in enumerate(values)}
    return [
        schedule(epoch, LAYERS, {e: log for e, log in logs.items() if e < epoch})
        for epoch in range(len(values) + 1)
    ]


def test_a_plateau_of_the_length_of_the_patience_ends_a_phase():
    values = [3.0, 2.0, 2.0, 1.9, 1.9, 1.9, 5.0]
    assert _phases(values, patience=2) == [*"aaaaaa", "b", "b"]
    assert _phases(values, patience=1)[:5] == ["a", "a", "a", "b", "b"]


def test_each_phase_is_judged_by_itself():
    # The first value of a phase is one to improve on, however bad it is.
    assert _phases([1.0, 1.0, 9.0, 8.0, 7.0]) == ["a", "a", "b", "b", "b", "b"]


def test_small_changes_and_missing_numbers_are_no_improvement():
    assert _phases([1.0, 0.95], min_delta=0.1)[-1] == "b"
    assert _phases([1.0, 0.85], min_delta=0.1)[-1] == "a"
    assert _phases([float("nan")])[-1] == "b"
    assert _phases([1.0, 2.0, 3.0], mode="max")[-1] == "a"


def test_epochs_without_validation_do_not_count():
    schedule = NextPhaseOnPlateau(["a", "b"], patience=2)
    logs = {0: {"loss": 1.0}, 1: {"loss": 1.0, "val_loss": 1.0}, 2: {"loss": 1.0}}
    assert schedule(3, LAYERS, logs) == "a"
    logs |= {3: {"val_loss": 1.0}, 5: {"val_loss": 1.0}}
    assert schedule(6, LAYERS, logs) == "b"


def _model():
    layers = [keras.layers.Dense(2, name=name) for name in LAYERS]
    model = keras.Sequential([keras.Input((2,)), *layers])
    model.compile("sgd", "mse", run_eagerly=True)
    return model


def _moved(schedule, epochs):
    """Return the layers that each epoch of one fit moves."""
    model = _model()
    x = np.random.default_rng(0).normal(size=(4, 2)).astype("float32")
    hashes = [freezing.layer_hashes(model)]
    note = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: hashes.append(freezing.layer_hashes(model))
    )
    callbacks = [FreezeLayers(schedule), note]
    model.fit(x, x + 1, epochs=epochs, verbose=0, callbacks=callbacks)
    return [
        "".join(name for name in LAYERS if before[name] != after[name])
        for before, after in itertools.pairwise(hashes)
    ]


def test_a_fit_follows_its_schedule():
    assert _moved(LayerByLayer(TOP), 3) == ["c", "bc", "abc"]
    assert _moved(LayerByLayer("freeze_from_bottom"), 3) == ["abc", "bc", "c"]
    plateau = NextPhaseOnPlateau(["a", "b"], "loss", min_delta=1e9)
    assert _moved(plateau, 4) == ["a", "a", "b", "b"]


def test_any_function_is_a_schedule():
    def alternating(epoch, layers, history):
        assert sorted(history) == list(range(epoch))
        return OWN_FLAGS if epoch == 0 else layers[epoch % 2]

    assert _moved(alternating, 3) == ["abc", "b", "a"]


def test_a_quantity_that_is_never_logged_is_told():
    with pytest.raises(KeyError, match=r"waits for 'val_loss'.*There are: loss"):
        _moved(NextPhaseOnPlateau(["a", "b"]), 3)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: LayerByLayer(TOP, 0), ValueError, "every_n_epochs=0"),
        (lambda: LayerByLayer(TOP, 1.5), TypeError, "every_n_epochs=1.5"),
        (lambda: LayerByLayer(TOP, True), TypeError, "every_n_epochs=True"),
        (lambda: LayerByLayer("from_top"), ValueError, "change='from_top'"),
        (lambda: NextPhaseOnPlateau("conv_1"), TypeError, "Received 'conv_1'"),
        (lambda: NextPhaseOnPlateau([]), ValueError, r"Received \[\]"),
        (lambda: NextPhaseOnPlateau(["a"], patience=0), ValueError, "patience=0"),
        (lambda: NextPhaseOnPlateau(["a"], min_delta=-1), ValueError, "min_delta=-1"),
        (lambda: NextPhaseOnPlateau(["a"], mode="auto"), ValueError, "mode='auto'"),
    ],
)
def test_bad_arguments_are_refused_at_once(make, error, message):
    with pytest.raises(error, match=message):
        make()
