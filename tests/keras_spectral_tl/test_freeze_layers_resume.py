"""A fit that was killed goes on as if it had not been.

As a script this file trains until it kills itself: `python <this file> <folder>`.
"""

import functools
import json
import os
import pathlib
import signal
import subprocess
import sys
import warnings

import keras
import numpy as np
import pytest

from keras_spectral_tl.callbacks import CheckedBackup, FreezeLayers, NextPhaseOnPlateau
from tests.keras_spectral_tl.common import adam, by_hand, trainable_names

RNG = np.random.default_rng(23)
X = RNG.normal(size=(12, 3)).astype("float32")
Y = RNG.normal(size=(12, 1)).astype("float32")
BATCHES = [(X[i : i + 4], Y[i : i + 4]) for i in (0, 4, 8)]
EPOCHS = 6
KILLED = (3, 1)  # epoch and batch, counted from 0
FAST = {"run_eagerly": keras.backend.backend() == "torch"}
# The same arithmetic in another graph: the compiler may fuse it in another order.
ROUND_OFF = 1e-6


def _model(optimizer, frozen=(), seed=1):
    layers = [
        keras.layers.Dense(3, activation="tanh", name="a"),
        keras.layers.BatchNormalization(name="norm"),
        keras.layers.Dropout(0.3, seed=seed),
        keras.layers.Dense(3, activation="tanh", name="b"),
        keras.layers.Dense(1, name="c"),
    ]
    model = keras.Sequential([keras.Input((3,)), *layers], name="model")
    rng = np.random.default_rng(3)
    for layer in ("a", "b", "c"):
        kernel = model.get_layer(layer).kernel
        kernel.assign(rng.normal(size=kernel.shape).astype("float32"))
    for name in frozen:
        model.get_layer(name).trainable = False
    model.compile(optimizer, "mse", **FAST)
    return model


def _schedule():
    """Two epochs of every layer: with this min_delta nothing ever improves."""
    return NextPhaseOnPlateau(["a", ["norm", "b"], "c"], "loss", min_delta=1e9)


class Stop(keras.callbacks.Callback):
    def __init__(self, action, at=KILLED):
        super().__init__()
        self.action, self.at = action, at

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.epoch, batch) == self.at:
            self.action()


def _kill():
    os.kill(os.getpid(), signal.SIGKILL)


def _crash():
    raise ZeroDivisionError


def _fit(model, *callbacks):
    return model.fit(
        X, Y, batch_size=4, epochs=EPOCHS, shuffle=False, verbose=0,
        callbacks=list(callbacks),
    )  # fmt: skip


def _backup(folder, save_freq="epoch"):
    return keras.callbacks.BackupAndRestore(folder, save_freq=save_freq)


def _equal(model, expected):
    pairs = zip(model.variables, expected.variables, strict=True)
    return [a.path for a, b in pairs if not np.array_equal(_value(a), _value(b))]


def _value(variable):
    return np.array(np.asarray(variable))


def train_until_killed(folder):
    """Accumulate over four batches: both backups are made within such a window."""
    model = _model(adam(gradient_accumulation_steps=4))
    epochs, batches = _backup(folder / "epochs"), _backup(folder / "batches", 2)
    _fit(model, FreezeLayers(_schedule()), epochs, batches, Stop(_kill))


def _by_hand(phases):
    optimizer = functools.partial(adam, gradient_accumulation_steps=4)
    return by_hand(_model(adam()), optimizer, phases, **FAST)


@pytest.mark.slow
def test_a_fit_killed_within_an_epoch_goes_on_as_if_it_had_not_been(tmp_path):
    environment = {**os.environ, "KERAS_BACKEND": keras.backend.backend()}
    root = str(pathlib.Path(__file__).parents[2])
    environment["PYTHONPATH"] = os.pathsep.join([root, *sys.path])
    run = subprocess.run(
        [sys.executable, __file__, str(tmp_path)], env=environment, capture_output=True
    )
    assert run.returncode == -signal.SIGKILL, run.stderr.decode()

    # A backup at the end of every epoch: equal bit for bit.
    undisturbed = _model(adam(gradient_accumulation_steps=4))
    _fit(undisturbed, FreezeLayers(_schedule()))
    resumed = _model(adam(gradient_accumulation_steps=4))
    history = _fit(resumed, FreezeLayers(_schedule()), _backup(tmp_path / "epochs"))
    assert history.epoch == [3, 4, 5]
    assert _equal(resumed, undisturbed) == []

    # A backup after every second batch, the last one after ten batches: Keras begins
    # epoch 3 again. "b" waits for the update after 8, "c" for that after 16 batches.
    first, second, third = BATCHES
    expected = _by_hand(
        [
            (("a",), [*BATCHES * 2, first, second]),
            (("norm", "b"), [third, first, *BATCHES, *BATCHES]),
            (("c",), BATCHES),
        ]
    )
    resumed = _model(adam(gradient_accumulation_steps=4))
    history = _fit(resumed, FreezeLayers(_schedule()), _backup(tmp_path / "batches", 2))
    assert history.epoch == [3, 4, 5]
    for weight, other in zip(resumed.weights, expected.weights, strict=True):
        np.testing.assert_allclose(
            _value(weight), _value(other), rtol=ROUND_OFF, atol=ROUND_OFF
        )


def _scaled_multi():
    """Every kind of state: averages, two optimizers, a loss scale that grows."""
    inner = keras.optimizers.OptimizerMap(
        keras.optimizers.SGD(0.1, 0.9, use_ema=True, name="sgd"), {".*/a/.*": adam()}
    )
    multi = keras.optimizers.MultiOptimizer(inner, name="multi")
    return keras.optimizers.LossScaleOptimizer(
        multi, initial_scale=4.0, dynamic_growth_steps=2, name="scaled"
    )


@pytest.mark.parametrize(
    ("make", "frozen"), [(lambda: adam(use_ema=True), ()), (_scaled_multi, ("c",))]
)
def test_a_crash_goes_on_with_every_optimizer(tmp_path, make, frozen):
    schedule = {0: "a", 1: ["a", "b"], 4: ["norm", "c"]}
    undisturbed = _model(make(), frozen)
    _fit(undisturbed, FreezeLayers(schedule))
    with pytest.raises(ZeroDivisionError):
        _fit(
            _model(make(), frozen), FreezeLayers(schedule), _backup(tmp_path),
            Stop(_crash),
        )  # fmt: skip
    resumed = _model(make(), frozen)
    _fit(resumed, FreezeLayers(schedule), _backup(tmp_path))
    assert _equal(resumed, undisturbed) == []
    assert _equal(resumed.optimizer, undisturbed.optimizer) == []


@pytest.mark.parametrize("backup", [_backup, CheckedBackup])
def test_dropout_without_a_seed_draws_the_same_after_a_crash(tmp_path, backup):
    """On torch Keras draws it from torch itself, elsewhere from a state of its own."""
    keras.utils.set_random_seed(7)
    undisturbed = _model(adam(), seed=None)
    _fit(undisturbed, FreezeLayers(_schedule()))
    keras.utils.set_random_seed(7)
    crashing = _model(adam(), seed=None)
    with pytest.raises(ZeroDivisionError):
        _fit(crashing, FreezeLayers(_schedule()), backup(tmp_path), Stop(_crash))
    keras.utils.set_random_seed(8)  # another process would stand elsewhere
    resumed = _model(adam(), seed=None)
    _fit(resumed, FreezeLayers(_schedule()), backup(tmp_path))
    assert _equal(resumed, undisturbed) == []


def _crashed(folder, *callbacks):
    with pytest.raises(ZeroDivisionError):
        _fit(_model(adam()), *callbacks, _backup(folder), Stop(_crash))


@pytest.mark.parametrize("backup", [_backup, CheckedBackup])
@pytest.mark.parametrize("resumes", [False, True])
def test_backup_before_freeze_layers_is_refused(tmp_path, backup, resumes):
    if resumes:
        with pytest.raises(ZeroDivisionError):
            _fit(_model(adam()), FreezeLayers({0: "a"}), backup(tmp_path), Stop(_crash))
    first = backup(tmp_path)
    name, model = type(first).__name__, _model(adam())
    with pytest.raises(
        ValueError, match=rf"^{name} comes before.*\(\.\.\.\), {name}\("
    ):
        _fit(model, first, FreezeLayers({0: "a"}))
    assert trainable_names(model) == ("a", "norm", "b", "c")


@pytest.mark.slow
def test_a_backup_written_without_the_callback_is_refused(tmp_path):
    _crashed(tmp_path)
    with pytest.raises(ValueError, match=r"resumes at epoch 3.*holds no state"):
        _fit(_model(adam()), FreezeLayers({0: "a"}), _backup(tmp_path))


def test_two_crashes_of_one_model_in_one_process(tmp_path):
    """The model keeps the flags of the crash and the epoch it was resumed at."""
    undisturbed, model = _model(adam()), _model(adam())
    _fit(undisturbed, FreezeLayers(_schedule()))
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            _fit(model, FreezeLayers(_schedule()), _backup(tmp_path), Stop(_crash))
    _fit(model, FreezeLayers(_schedule()), _backup(tmp_path))
    assert _equal(model, undisturbed) == []
    assert trainable_names(model) == ("a", "norm", "b", "c")


def test_a_kill_between_the_two_files_of_keras_is_told(tmp_path):
    _crashed(tmp_path, FreezeLayers({0: "a"}))
    path = tmp_path / "training_metadata.json"
    path.write_text(json.dumps({"epoch": 2, "batch": 0}))
    with pytest.warns(UserWarning, match=r"epoch 3, but .* resumes at epoch 2"):
        _fit(_model(adam()), FreezeLayers({0: "a"}), _backup(tmp_path))


def test_a_backup_leaves_no_trace_in_the_optimizer(tmp_path):
    model = _model(adam())
    _fit(model, FreezeLayers({0: "a"}), _backup(tmp_path))
    path = tmp_path / "after.weights.h5"
    tmp_path.mkdir(exist_ok=True)
    model.save_weights(path)
    plain = _model(adam())
    plain.optimizer.build(plain.trainable_variables)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Keras warns if the layout differs
        plain.load_weights(path)
    assert _equal(plain.optimizer, model.optimizer) == []
    assert not [name for name in vars(model.optimizer) if "freeze" in name]


if __name__ == "__main__":
    train_until_killed(pathlib.Path(sys.argv[1]))
