"""`import keras_spectral_tl` is light, and enough to load what the package saved."""

import ast
import importlib
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_spectral_tl
from keras_spectral_tl import _registration, layers, losses, metrics
from keras_spectral_tl.freezing import OutputGain

pytestmark = pytest.mark.once

ROOT = Path(keras_spectral_tl.__file__).parent

LOADS = """
import sys
if {keras_first}: import keras
import keras_spectral_tl
assert {keras_first} or "keras" not in sys.modules, "the package imported Keras"
assert "numpy" not in sys.modules or {keras_first}
import keras
import numpy as np
loaded = keras.models.load_model({path!r})
x = np.load({data!r})
np.save({outcome!r}, keras.ops.convert_to_numpy(loaded(x)))
keras.models.load_model({path!r}).save({again!r})
"""


def saved_model(path):
    """A network with a layer, losses and a metric of the package."""
    keras.utils.set_random_seed(4)
    model = keras.Sequential(
        [
            keras.Input((6, 6, 1)),
            layers.PeriodicPadding2D(1),
            keras.layers.Conv2D(2, 3, name="conv"),
            layers.PeriodicConv2D(1, 3, name="periodic"),
        ]
    )
    model = OutputGain().prepare(model)
    model.compile(
        "sgd",
        losses.SpectralLoss(mismatch=losses.squared_relative_error),
        metrics=[metrics.PatternCorrelation()],
    )
    model.save(path)
    return model


@pytest.mark.slow
@pytest.mark.parametrize("keras_first", [False, True])
def test_importing_the_package_is_enough_to_load_its_models(tmp_path, keras_first):
    """In a new process, with Keras imported before the package or after it."""
    path, data, outcome, again = (
        str(tmp_path / name) for name in ("m.keras", "x.npy", "y.npy", "again.keras")
    )
    model = saved_model(path)
    x = np.random.default_rng(0).normal(size=(2, 6, 6, 1)).astype("float32")
    np.save(data, x)
    script = LOADS.format(
        keras_first=keras_first, path=path, data=data, outcome=outcome, again=again
    )
    environment = {
        **os.environ,
        "KERAS_BACKEND": keras.backend.backend(),
        "PYTHONPATH": os.pathsep.join([str(ROOT.parent), *sys.path]),
    }
    run = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    expected = keras.ops.convert_to_numpy(model(x))
    np.testing.assert_array_equal(np.load(outcome), expected)
    # What is saved again has the names of the classes, not of stand-ins.
    np.testing.assert_array_equal(
        keras.ops.convert_to_numpy(keras.models.load_model(again)(x)), expected
    )


def registered_in_the_source():
    """Names of all classes and functions under the decorator of Keras."""
    return {
        node.name
        for path in ROOT.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef | ast.FunctionDef)
        for decorator in node.decorator_list
        if "register_keras_serializable" in ast.unparse(decorator)
    }


def test_every_registered_name_is_in_the_table():
    table = {**_registration.HOMES, **_registration.FUNCTIONS}
    assert set(table) == registered_in_the_source()


@pytest.mark.parametrize("name", sorted(_registration.HOMES))
def test_a_stand_in_gives_way_to_the_class(name):
    importlib.import_module(f"keras_spectral_tl.{_registration.HOMES[name]}")
    found = keras.saving.get_registered_object(f"keras_spectral_tl>{name}")
    assert isinstance(found, type) and found.__name__ == name


@pytest.mark.parametrize("name", sorted(_registration.FUNCTIONS))
def test_a_function_is_found_and_keeps_its_name(name):
    x = np.array([1.0, 3.0], "float32")
    stand_in, real = _registration._function(name), getattr(losses, name)
    np.testing.assert_array_equal(
        keras.ops.convert_to_numpy(stand_in(x, 2 * x)),
        keras.ops.convert_to_numpy(real(x, 2 * x)),
    )


class FindsNothing:
    def find_spec(self, name, path, target=None):
        return None


def test_an_import_of_keras_that_fails_leaves_the_hook_in_place(monkeypatch):
    finder = _registration.AfterKeras()
    monkeypatch.delitem(sys.modules, "keras")
    nobody = FindsNothing()
    monkeypatch.setattr(sys, "meta_path", [finder, nobody])
    assert finder.find_spec("keras", None) is None
    assert sys.meta_path == [finder, nobody]
    assert finder.find_spec("numpy", None) is None
