"""A backup is whole or not there, and a fit goes on from it to the same bits."""

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
    assert left == ["backup.json", "epoch-000003.weights.h5"]
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


@pytest.mark.parametrize("name", ["backup.json", "epoch-000002.weights.h5"])
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
