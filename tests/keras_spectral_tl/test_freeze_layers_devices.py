"""Phases and retraining on two devices: the right weights move, as on one device.

As a script this file trains on two host devices and prints what it saw:
`python <this file> data_parallel` (JAX) or `... mirrored` (TensorFlow).
"""

import contextlib
import json
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest

from keras_spectral_tl import freezing, transfer
from keras_spectral_tl.callbacks import FreezeLayers
from tests.keras_spectral_tl.common import trainable_names

RNG = np.random.default_rng(29)
X = RNG.normal(size=(16, 3)).astype("float32")
Y = RNG.normal(size=(16, 1)).astype("float32")
SCHEDULE = {0: "a", 1: "b", 2: ["a", "c"]}
# Two devices sum the gradients of half a batch each, in another order.
ROUND_OFF = 1e-5


class Recorder(keras.callbacks.Callback):
    def on_train_begin(self, logs=None):
        self.before, self.moved = freezing.layer_hashes(self.model), []

    def on_epoch_end(self, epoch, logs=None):
        after = freezing.layer_hashes(self.model)
        self.moved.append([name for name in after if after[name] != self.before[name]])
        self.before = after


def _data_parallel():
    keras.distribution.set_distribution(keras.distribution.DataParallel())
    return contextlib.nullcontext(), len(keras.distribution.list_devices())


def _mirrored():
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    logical = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(cpu, logical)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    return strategy.scope(), strategy.num_replicas_in_sync


def _model():
    model = keras.Sequential(
        [
            keras.Input((3,)),
            keras.layers.Dense(3, activation="tanh", name="a"),
            keras.layers.Dense(3, activation="tanh", name="b"),
            keras.layers.Dense(1, name="c"),
        ]
    )
    rng = np.random.default_rng(3)
    for layer in ("a", "b", "c"):
        kernel = model.get_layer(layer).kernel
        kernel.assign(rng.normal(size=kernel.shape).astype("float32"))
    return model


def train(scope):
    """Layer c is frozen at compile, so the optimizer is built again for all three."""
    with scope:
        model = _model()
        result = transfer.retrain(model, (X, Y), "b", epochs=2, batch_size=8)
        model.get_layer("c").trainable = False
        model.compile(keras.optimizers.Adam(0.01), "mse")
    recorder = Recorder()
    model.fit(
        X, Y, batch_size=8, epochs=3, shuffle=False, verbose=0,
        validation_data=(X, Y), callbacks=[FreezeLayers(SCHEDULE), recorder],
    )  # fmt: skip
    return {
        "moved": recorder.moved,
        "trainable": trainable_names(model),
        "retrained": result.changed,
        "weights": [
            np.asarray(weight).tolist()
            for weight in (*model.weights, *result.model.weights)
        ],
    }


@pytest.mark.slow
def test_two_devices_train_the_phases_of_one():
    """Each on its own backend; torch, where Keras has neither, against TensorFlow."""
    jax = keras.backend.backend() == "jax"
    kind, backend = ("data_parallel", "jax") if jax else ("mirrored", "tensorflow")
    root = str(pathlib.Path(__file__).parents[2])
    flags = os.environ.get("XLA_FLAGS", "")
    environment = {
        **os.environ,
        "KERAS_BACKEND": backend,
        "XLA_FLAGS": f"{flags} --xla_force_host_platform_device_count=2",
        "PYTHONPATH": os.pathsep.join([root, *sys.path]),
    }
    command = [sys.executable, __file__, kind]
    run = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    seen = json.loads(run.stdout.splitlines()[-1])
    assert seen["devices"] == 2
    assert seen["moved"] == [["a"], ["b"], ["a", "c"]]
    assert seen["trainable"] == ["a", "b"]
    assert seen["retrained"] == ["b"]
    expected = train(contextlib.nullcontext())
    for weight, other in zip(seen["weights"], expected["weights"], strict=True):
        np.testing.assert_allclose(weight, other, rtol=ROUND_OFF, atol=ROUND_OFF)


if __name__ == "__main__":
    scope, devices = _mirrored() if sys.argv[1] == "mirrored" else _data_parallel()
    print(json.dumps({**train(scope), "devices": devices}))
