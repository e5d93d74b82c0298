"""A backup is whole or not there, and a fit goes on from it to the same bits."""

import functools

import keras
import numpy as np
import pytest

from keras_spectral_tl.callbacks import CheckedBackup, FreezeLayers

RNG = np.random.default_rng(2)
X, Y = RNG.normal(size=(2, 8, 3)).astype("float32")
EAGER = {"run_eagerly": keras.backend.backend() == "torch"}


def _model():
    keras.utils.set_random_seed(4)
    layers = [
        keras.layers.Dense(3, activation="tanh", name="a"),
        keras.layers.Dropout(0.3, seed=1),
        keras.layers.Dense(3, name="b"),
    ]
    model = keras.Sequential([keras.Input((3,)), *layers])
    model.compile(keras.optimizers.Adam(0.01, name="adam"), "mse", **EAGER)
    return model


def _fit(model, *callbacks, epochs=4):
    return model.fit(
        X, Y, batch_size=4, epochs=epochs, shuffle=False, verbose=0,
        callbacks=[FreezeLayers({0: "a", 2: None}), *callbacks],
    )  # fmt: skip


class Crash(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if self.model.optimizer.iterations >= 7:
            raise ZeroDivisionError


def test_a_fit_goes_on_to_the_same_bits_and_leaves_nothing(tmp_path):
    undisturbed = _model()
    _fit(undisturbed)
    with pytest.raises(ZeroDivisionError):
        _fit(_model(), CheckedBackup(tmp_path / "new"), Crash())
    left = sorted(path.name for path in (tmp_path / "new").iterdir())
    assert left == ["backup-000003.weights.h5", "backup.json"]
    resumed = _model()
    assert _fit(resumed, CheckedBackup(tmp_path / "new")).epoch == [3]
    for weight, other in zip(resumed.variables, undisturbed.variables, strict=True):
        np.testing.assert_array_equal(np.asarray(weight), np.asarray(other))
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def kept(tmp_path):
    _fit(_model(), CheckedBackup(tmp_path, keep=True), epochs=2)
    return tmp_path


def test_a_write_that_fails_leaves_the_last_backup(kept, monkeypatch):
    before = {path.name: path.read_bytes() for path in kept.iterdir()}
    model = _model()

    def full(path, overwrite):
        path.write_bytes(b"half of")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(model, "save_weights", full)
    with pytest.raises(OSError, match="No space left"):
        _fit(model, CheckedBackup(kept), epochs=3)
    assert {path.name: path.read_bytes() for path in kept.iterdir()} == before


@pytest.mark.parametrize("name", ["backup.json", "backup-000002.weights.h5"])
def test_damage_is_noticed(kept, name):
    content = bytearray((kept / name).read_bytes())
    content[len(content) // 2] ^= 1
    (kept / name).write_bytes(content)
    with pytest.raises(ValueError, match=r"backup in .* is damaged.*start again"):
        _fit(_model(), CheckedBackup(kept))


@pytest.mark.parametrize("ends", [True, False])
def test_a_fit_after_a_resumed_one_begins_at_its_own_first_epoch(tmp_path, ends):
    model = _model()
    _fit(model, CheckedBackup(tmp_path, keep=True), epochs=2)
    crash = keras.callbacks.LambdaCallback(on_epoch_begin=lambda *_: 1 / 0)
    if ends:
        assert _fit(model, CheckedBackup(tmp_path)).epoch == [2, 3]
    else:
        with pytest.raises(ZeroDivisionError):
            _fit(model, CheckedBackup(tmp_path), crash)
    before = np.array(model.get_weights()[0])
    assert _fit(model, epochs=1).epoch == [0]
    assert np.any(model.get_weights()[0] != before)


def test_checkpoints_of_others_in_the_folder_stay(tmp_path):
    (tmp_path / "backup-final1.weights.h5").write_bytes(b"")
    name = "epoch-{epoch:02d}.weights.h5"
    own = keras.callbacks.ModelCheckpoint(tmp_path / name, save_weights_only=True)
    _fit(_model(), own, CheckedBackup(tmp_path), epochs=3)
    left = sorted(path.name for path in tmp_path.iterdir())
    theirs = [f"epoch-0{number}.weights.h5" for number in (1, 2, 3)]
    assert left == ["backup-final1.weights.h5", *theirs]


def test_after_a_refused_backup_a_fit_begins_at_its_own_first_epoch(tmp_path):
    """The backup was made without FreezeLayers."""
    model, folder = _model(), tmp_path / "one"
    fit = functools.partial(model.fit, X, Y, batch_size=4, verbose=0)
    fit(epochs=2, callbacks=[CheckedBackup(folder, keep=True)])
    with pytest.raises(ValueError, match="Delete the backup"):
        _fit(model, CheckedBackup(folder))
    assert fit(epochs=2).epoch == [0, 1]
    assert _fit(model, CheckedBackup(tmp_path / "other")).epoch == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="comes before FreezeLayers"):
        fit(epochs=4, callbacks=[CheckedBackup(folder), FreezeLayers({0: "a"})])
    assert fit(epochs=2).epoch == [0, 1]


def test_a_model_that_its_first_batch_builds_is_refused_at_the_first_fit(tmp_path):
    model = keras.Sequential([keras.layers.Dense(3)])
    model.compile("adam", "mse", **EAGER)
    fit = functools.partial(model.fit, X, Y, verbose=0)
    if keras.backend.backend() != "tensorflow":  # others build it before callbacks
        fit(epochs=1, callbacks=[CheckedBackup(tmp_path)])
        return
    with pytest.raises(ValueError, match=r"first batch.*keras\.Input"):
        fit(callbacks=[CheckedBackup(tmp_path)])


AVERAGES = keras.callbacks.SwapEMAWeights


def _averaged():
    model = _model()
    model.compile(keras.optimizers.SGD(0.05, use_ema=True), "mse", **EAGER)
    return model


@pytest.mark.parametrize(
    ("callbacks", "message"),
    [
        ([AVERAGES(True), "backup"], "comes before CheckedBackup"),
        (["freeze", AVERAGES(True)], "comes after FreezeLayers"),
    ],
)
def test_averages_in_the_model_are_refused(tmp_path, callbacks, message):
    own = {"backup": CheckedBackup(tmp_path), "freeze": FreezeLayers({0: "a"})}
    given = [own.get(one, one) if isinstance(one, str) else one for one in callbacks]
    with pytest.raises(ValueError, match=message):
        _averaged().fit(X, Y, verbose=0, callbacks=given)


class Kernels(keras.callbacks.Callback):
    """Keeps the weights after each batch, before averages are swapped in."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append([np.array(weight) for weight in self.model.get_weights()])


@pytest.mark.parametrize("on_epoch", [True, False])
def test_averages_that_are_swapped_at_other_times_change_nothing(on_epoch):
    """Up to the rounding with which Keras adds and subtracts to swap."""
    seen = []
    for swap in ([], [AVERAGES(on_epoch)]):
        kernels = Kernels()
        callbacks = [*swap, FreezeLayers({0: "a", 2: "b"}), kernels]
        _averaged().fit(X, Y, epochs=4, shuffle=False, verbose=0, callbacks=callbacks)
        seen.append(kernels.seen)
    for alone, beside in zip(*seen, strict=True):
        for one, other in zip(alone, beside, strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)


def test_a_fit_of_fewer_epochs_than_the_backup_keeps_it(kept):
    model = _model()
    with pytest.warns(UserWarning, match="has 2 epochs, so this fit of 1 trains noth"):
        assert _fit(model, CheckedBackup(kept), epochs=1).epoch == []
    assert _fit(_model(), CheckedBackup(kept), epochs=3).epoch == [2]
    assert not kept.exists()
