"""Least squares in the weights of a layer: the algebra is right, layers are found."""

import keras
import numpy as np
import pytest
from scorers import GradientNorm, HeldOutLeastSquares, SpectralShiftScore
from scorers.least_squares import cgls_path
from scorers.saved_jacobian import SavedJacobian

from keras_spectral_tl.linearization import LayerFunction, LayerLinearization
from keras_spectral_tl.models import build_sgs_cnn
from keras_spectral_tl.scoring import score_layers
from tests.keras_spectral_tl.planted_layers import (
    LAYERS,
    SHAPE,
    answer,
    fields,
    network,
    planted,
)


@pytest.mark.parametrize("layer", LAYERS)
def test_a_planted_layer_is_found(layer):
    model, base, target = planted(layer)
    scores = score_layers(model, base, target, [HeldOutLeastSquares()])
    assert scores.ranking[0] == layer
    assert scores.recommended == (layer,)
    assert not scores.abstained


def test_a_change_of_the_last_layer_is_removed_entirely():
    """The last layer is linear: enough iterations and samples solve it exactly."""
    model, base, target = planted("conv_3")
    scorer = HeldOutLeastSquares(iterations=60)
    value = score_layers(model, base, target, [scorer]).scores[scorer.name]["conv_3"]
    assert value > 1.0 - 1e-6


def exact_step(jacobian, residual, mask):
    columns = [
        (mask * jacobian.apply(row)).ravel() for row in np.eye(jacobian.num_parameters)
    ]
    target = (mask * residual).ravel()
    return np.linalg.lstsq(np.stack(columns, 1), target, rcond=None)[0]


@pytest.mark.parametrize("half", [False, True])
def test_cgls_solves_the_least_squares_problem_where_the_mask_is_1(half):
    model, x = network(), fields(3)
    jacobian = SavedJacobian(LayerFunction(model, "conv_3"), x, batch_size=2)
    residual = np.random.default_rng(1).standard_normal((3, 16, 16, 1))
    mask = np.ones((16, 16, 1))
    if half:
        mask[8:] = 0.0
    exact = exact_step(jacobian, residual, mask)
    reached = cgls_path(jacobian, residual, mask, 200)[-1]
    # Single precision products on a system of condition number about 10.
    assert np.linalg.norm(reached - exact) < 1e-4 * np.linalg.norm(exact)


def test_the_residual_of_cgls_never_grows():
    model, x = network(), fields(3)
    jacobian = SavedJacobian(LayerFunction(model, "conv_2"), x)
    residual = np.random.default_rng(1).standard_normal((3, 16, 16, 1))
    path = cgls_path(jacobian, residual, np.ones((16, 16, 1)), 12)
    norms = [np.linalg.norm(residual - jacobian.apply(step)) for step in path]
    assert np.all(np.diff(norms) <= 1e-6 * norms[0])


@pytest.mark.parametrize("layer", LAYERS)
def test_kept_activations_give_the_products_of_the_linearization(layer):
    model, x = network(), fields(5)
    kept = SavedJacobian(LayerFunction(model, layer), x, batch_size=2)
    plain = LayerLinearization(model, layer, batch_size=2)
    rng = np.random.default_rng(2)
    direction = rng.standard_normal(kept.num_parameters)
    cotangent = rng.standard_normal(kept.outputs.shape)
    np.testing.assert_allclose(kept.outputs, answer(model, x), atol=1e-5)
    for ours, theirs in (
        (kept.apply(direction), plain.apply(direction, x)),
        (kept.apply_transpose(cotangent), plain.apply_transpose(cotangent, x)),
    ):
        assert np.max(np.abs(ours - theirs)) < 1e-5 * np.max(np.abs(theirs))


def test_the_changed_network_is_evaluated_itself():
    model, x = network(), fields(3)
    kept = SavedJacobian(LayerFunction(model, "conv_2"), x)
    direction = np.random.default_rng(2).standard_normal(kept.num_parameters)
    kernel, bias = model.get_layer("conv_2").get_weights()
    after = kept.outputs_after(direction, x)
    model.get_layer("conv_2").set_weights(
        [
            kernel + direction[: kernel.size].reshape(kernel.shape),
            bias + direction[kernel.size :],
        ]
    )
    np.testing.assert_allclose(after, answer(model, x), rtol=1e-4, atol=1e-4)


def test_an_output_gain_is_no_layers_merit():
    """A target that only needs a gain leaves nothing for any layer: abstain."""
    model, x = network(), fields(8)
    y = 1.7 * answer(model, x)
    noise = np.random.default_rng(3).standard_normal(y.shape) * 0.5 * y.std()
    scores = score_layers(model, (x, y), (x, y + noise), [HeldOutLeastSquares()])
    assert scores.abstained
    assert scores.recommended == ()
    assert "gain" in scores.reason


def test_the_gradient_norm_is_the_gradient_of_the_mean_squared_error():
    model, _, (x, y) = planted("conv_2", num_samples=4)
    scored = score_layers(model, (x, y), (x, y), [GradientNorm()])
    kernel, bias = model.get_layer("conv_3").get_weights()
    error = answer(model, x).astype(float) - y
    jacobian = LayerLinearization(model, "conv_3")
    expected = [
        np.mean(2 * error * jacobian.apply(row, x))
        for row in np.eye(jacobian.num_parameters)
    ]
    norm = np.sqrt(np.sum(kernel**2) + np.sum(bias**2))
    value = scored.scores["gradient_norm"]["conv_3"]
    assert value == pytest.approx(np.linalg.norm(expected) / norm, rel=1e-4)


def test_equal_systems_have_no_spectral_shift_and_a_gain_is_its_logarithm():
    model = build_sgs_cnn(SHAPE, num_layers=1)
    x = fields(3)
    y = answer(model, x)
    scorer = SpectralShiftScore()
    same = score_layers(model, (x, y), (x, y), [scorer])
    assert same.scores[scorer.name] == {"conv_1": 0.0}
    louder = score_layers(model, (x, y), (3 * x, y), [scorer])
    # A bias of zero: every shell grows by 9.
    assert louder.scores[scorer.name]["conv_1"] == pytest.approx(np.log(9), rel=1e-4)


def test_layers_that_do_the_same_have_the_same_score():
    """Two layers in a row without activation between them."""
    convolution = dict(padding="same", use_bias=False)
    model = keras.Sequential(
        [
            keras.Input((16, 16, 1)),
            keras.layers.Conv2D(1, 1, name="first", **convolution),
            keras.layers.Conv2D(1, 1, name="second", **convolution),
            keras.layers.ReLU(),
            keras.layers.Conv2D(1, 3, name="last", **convolution),
        ]
    )
    centre = np.zeros((3, 3, 1, 1))
    centre[1, 1] = 1.0
    model.set_weights([np.ones((1, 1, 1, 1)), np.ones((1, 1, 1, 1)), centre])
    rng = np.random.default_rng(4)
    x = rng.standard_normal((8, 16, 16, 1)).astype("float32")
    y = np.maximum(x, 0) - 0.5 * np.maximum(-x, 0) + 0.01 * rng.standard_normal(x.shape)
    for seed in range(3):  # which samples are held out
        scores = score_layers(model, (x, y), (x, y), [HeldOutLeastSquares()], seed)
        values = scores.scores["held_out_least_squares"]
        assert values["first"] == pytest.approx(values["second"], abs=1e-5)
        # Nor do they beat a gain on the output: whatever they do to a ReLU is a gain.
        assert values["first"] == pytest.approx(0.0, abs=1e-5)
        assert scores.ranking[0] == "last" or scores.abstained
