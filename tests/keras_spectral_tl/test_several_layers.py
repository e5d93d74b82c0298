"""Layers that have to be retrained together are found, and no more than these."""

import keras
import numpy as np
import pytest

from keras_spectral_tl import models
from keras_spectral_tl.layer_gradient import LayerGradient
from keras_spectral_tl.models import build_sgs_cnn
from keras_spectral_tl.scoring import GradientNorm, HeldOutRetraining, score_layers
from keras_spectral_tl.transfer import TargetData

SHAPE = (12, 10, 2)
# The rates sum to about as far as the weights were moved.
SCORER = HeldOutRetraining(steps=60, learning_rate=1e-2, num_tested=8)


def network(num_layers):
    """The same weights on every backend."""
    model = build_sgs_cnn(SHAPE, num_layers, num_filters=4, kernel_size=3)
    rng = np.random.default_rng(0)
    model.set_weights(
        [
            rng.normal(0, np.sqrt(2.0 / np.prod((*w.shape[:-1], 1))), w.shape)
            for w in model.get_weights()
        ]
    )
    return model


def changed(*layers, num_layers=3, num_samples=8):
    """A network, and samples of a teacher that differs from it in some layers."""
    student, rng = network(num_layers), np.random.default_rng(1)
    teacher = models.copy_model(student)
    for name in layers:
        layer = teacher.get_layer(name)
        layer.set_weights(
            [w + 0.3 * rng.standard_normal(w.shape) for w in layer.get_weights()]
        )
    x = rng.standard_normal((num_samples, *SHAPE)).astype("float32")
    return student, (x, np.array(keras.ops.convert_to_numpy(teacher(x))))


def test_two_layers_that_were_changed_are_recommended_together():
    model, data = changed("conv_1", "conv_4", num_layers=4)
    scores = score_layers(model, data, data, [SCORER], max_layers=2)
    assert set(scores.recommended) == {"conv_1", "conv_4"}
    assert scores.recommended[0] == scores.ranking[0]
    alone = scores.scores[SCORER.name]
    together = scores.together.values["conv_1+conv_4"]
    assert together > max(alone.values()) + 0.1
    assert f"{together:.1%} rather than" in scores.reason
    assert scores.to_dict()["together"]["values"] == scores.together.values


def test_a_layer_that_is_enough_is_recommended_alone():
    """Behind a last layer that is linear, noise is all that is left."""
    model, (x, y) = changed("conv_3")
    noise = np.random.default_rng(3).standard_normal(y.shape)
    data = x, (y + 0.5 * y.std() * noise).astype("float32")
    scores = score_layers(model, data, data, [SCORER], max_layers=3)
    assert scores.recommended == ("conv_3",)
    assert set(scores.together.values) == {"conv_1+conv_3", "conv_2+conv_3"}
    assert "No further layer" in scores.reason


def test_noise_leads_to_no_second_layer():
    """A gain is all that the target needs, so there is not even a first."""
    model, (x, _) = changed("conv_1")
    noise = np.random.default_rng(2).standard_normal((*x.shape[:-1], 1))
    y = np.array(keras.ops.convert_to_numpy(model(x)))
    data = x, (2.0 * y + y.std() * noise).astype("float32")
    scores = score_layers(model, data, data, [SCORER], max_layers=2)
    assert scores.recommended == ()
    assert not scores.together.values


def test_the_gradient_in_several_layers_is_that_of_each():
    model, (x, y) = changed("conv_2", num_samples=3)
    ones = np.ones_like(y)
    both = LayerGradient(model, ("conv_1", "conv_3"))
    parts = [LayerGradient(model, name) for name in ("conv_1", "conv_3")]
    found = both(both.values, x, y, ones)
    expected = np.concatenate([part(part.values, x, y, ones) for part in parts])
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


def test_layers_are_named_in_the_order_of_the_model_and_compared_on_equal_samples():
    model, data = changed("conv_3")
    target = TargetData.of(data)
    choices = [("conv_3",), ("conv_2", "conv_3")]
    both = SCORER.rehearse(model, target, choices, np.random.default_rng(5))
    alone = SCORER(model, target, target, np.random.default_rng(5))
    assert both.values["conv_3"] == pytest.approx(alone.values["conv_3"], abs=1e-6)
    assert list(both.values) == ["conv_3", "conv_2+conv_3"]


def test_a_scorer_of_single_layers_cannot_recommend_several():
    model, data = changed("conv_1", num_samples=2)
    with pytest.raises(TypeError, match="rehearse"):
        score_layers(model, data, data, [GradientNorm()], max_layers=2)
    with pytest.raises(ValueError, match="max_layers"):
        score_layers(model, data, data, [SCORER], max_layers=0)
