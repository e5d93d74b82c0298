"""The exchange of active sets between two networks is exact."""

import sys
from importlib import import_module
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_spectral_tl as kst

ROOT = Path(__file__).parents[2]
SINGLE = 1e-5  # float32


@pytest.fixture(scope="module")
def example():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "examples"))
        yield import_module("active_sets")
        for path in (ROOT / "examples").glob("*.py"):
            sys.modules.pop(path.stem, None)


def networks():
    keras.utils.set_random_seed(6)
    models = [kst.build_sgs_cnn((8, 8, 2), 3, 3, kernel_size=3) for _ in range(2)]
    return (*models, np.random.default_rng(6).normal(size=(5, 8, 8, 2)).astype("f4"))


def test_a_network_with_its_own_active_sets_is_itself(example):
    model, _, x = networks()
    found = example.with_active_sets(model, model, x, batch_size=2)
    np.testing.assert_allclose(found, model.predict(x, verbose=0), atol=SINGLE)


def test_layers_that_are_not_named_keep_their_active_sets(example):
    """None named is the network itself; all named is the exchange of all."""
    model, other, x = networks()
    none = example.with_active_sets(model, other, x, [])
    np.testing.assert_allclose(none, model.predict(x, verbose=0), atol=SINGLE)
    every = example.with_active_sets(model, other, x, ["conv_1", "conv_2", "conv_3"])
    np.testing.assert_array_equal(every, example.with_active_sets(model, other, x))
    first = example.with_active_sets(model, other, x, ["conv_1"])
    assert np.abs(first - none).max() > 1e-3 < np.abs(first - every).max()


def test_active_sets_are_those_of_the_other_network(example):
    """A network whose ReLUs are all open is linear: its own negative stays open."""
    model, other, x = networks()
    for layer in kst.layers_with_weights(other).values():
        kernel, bias = layer.get_weights()
        layer.set_weights([0.0 * kernel, np.abs(bias) + 1.0])
    found = example.with_active_sets(model, other, x)
    linear = keras.models.clone_model(model)
    linear.set_weights(model.get_weights())
    for layer in kst.layers_with_weights(linear).values():
        layer.activation = keras.activations.linear
    np.testing.assert_allclose(found, linear.predict(x, verbose=0), atol=SINGLE)
    layer = other.layers[1]
    layer.set_weights([layer.get_weights()[0], -np.ones(3)])  # closed from there on
    closed = example.with_active_sets(model, other, np.zeros_like(x))
    bias = [layer.get_weights()[1] for layer in model.layers[1:]]
    assert not bias[0].any() and not np.any(closed)


def test_outputs_are_affine_in_the_kernels_of_a_layer_while_sets_are_held(example):
    model, other, x = networks()
    kernel, bias = model.layers[2].get_weights()
    outputs = []
    for factor in (0.0, 1.0, 3.0):
        model.layers[2].set_weights([factor * kernel, bias])
        outputs.append(example.with_active_sets(model, other, x))
    np.testing.assert_allclose(
        outputs[2] - outputs[0], 3.0 * (outputs[1] - outputs[0]), atol=SINGLE
    )


def test_figures_of_half_and_of_opposite_fields(example):
    x = np.random.default_rng(2).normal(size=(2, 64, 64, 1))
    half, opposite = example.figures(x, x / 2), example.figures(x, -x)
    assert half.pop("CC") == pytest.approx(1) == -opposite.pop("CC")
    *energies, coherence = half.values()
    np.testing.assert_allclose(energies, 0.25)
    assert coherence == pytest.approx(1) == -opposite["coherence, k = 21-31"]
