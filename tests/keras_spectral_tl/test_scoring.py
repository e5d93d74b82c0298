"""Scores: planted layers are found, linear algebra is right, thin evidence abstains."""

import json

import keras
import numpy as np
import pytest

from keras_spectral_tl.layer_function import LayerFunction
from keras_spectral_tl.linearisation import LayerLinearisation
from keras_spectral_tl.models import build_sgs_cnn
from keras_spectral_tl.saved_jacobian import SavedJacobian
from keras_spectral_tl.scoring import (
    Cost,
    GradientNorm,
    HeldOutLeastSquares,
    HeldOutRetraining,
    ScoredLayers,
    SpectralShiftScore,
    score_layers,
)
from keras_spectral_tl.scoring.held_out_evidence import moments, unexplained
from keras_spectral_tl.scoring.hold_out import Sizes, hold_outs
from keras_spectral_tl.scoring.least_squares import cgls_path

SHAPE = (16, 16, 2)
LAYERS = ("conv_1", "conv_2", "conv_3")


def network(seed=0):
    model = build_sgs_cnn(SHAPE, num_layers=3, num_filters=4, kernel_size=3)
    rng = np.random.default_rng(seed)
    model.set_weights(
        [
            rng.normal(0, np.sqrt(2.0 / np.prod((*w.shape[:-1], 1))), w.shape)
            for w in model.get_weights()
        ]
    )
    return model


def answer(model, x):
    return keras.ops.convert_to_numpy(model(x))


def fields(num_samples, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((num_samples, *SHAPE)).astype("float32")


def planted(layer, num_samples=12, size=0.3):
    """Target data of a teacher that differs from the network in one layer only."""
    student, teacher = network(), network()
    rng = np.random.default_rng(7)
    changed = teacher.get_layer(layer)
    changed.set_weights(
        [
            w + size * w.std() * rng.standard_normal(w.shape)
            for w in changed.get_weights()
        ]
    )
    x = fields(num_samples, seed=8)
    base_x = fields(4, seed=9)
    base = base_x, answer(student, base_x)
    return student, base, (x, answer(teacher, x))


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
def test_kept_activations_give_the_products_of_the_linearisation(layer):
    model, x = network(), fields(5)
    kept = SavedJacobian(LayerFunction(model, layer), x, batch_size=2)
    plain = LayerLinearisation(model, layer, batch_size=2)
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


@pytest.mark.parametrize("num_samples", [2, 5, 7, 8, 9, 16, 24, 100])
def test_samples_are_never_fitted_and_tested_at_once(num_samples):
    sizes = Sizes(fit=12, held=6, tested=14)
    parts = hold_outs(num_samples, (4, 4, 1), sizes, np.random.default_rng(0))
    tested = [i for part in parts for i in part.held]
    assert len(set(tested)) == len(tested)
    assert len(tested) >= min(14, 3 * num_samples // 4)
    for part in parts:
        assert not set(part.fit) & set(part.held)
        assert len(set(part.fit)) == len(part.fit)
        assert len(part.fit) >= min(12, num_samples // 2, num_samples - 1)
        assert len(part.fit) <= 12
        assert len(part.held) <= 6


def test_no_more_divisions_are_made_than_it_takes():
    rng = np.random.default_rng(0)
    counts = [
        len(hold_outs(num_samples, (4, 4, 1), Sizes(48, 32, 16), rng))
        for num_samples in (2, 7, 8, 16, 24, 32, 63, 64, 1000)
    ]
    assert counts == [2, 7, 4, 4, 3, 2, 1, 1, 1]


def test_a_single_sample_is_fitted_on_one_half_and_tested_on_the_other():
    parts = hold_outs(1, (4, 7, 2), Sizes(12, 32), np.random.default_rng(0))
    for part in parts:
        np.testing.assert_array_equal(part.fit_mask + part.held_mask, 1.0)
    np.testing.assert_array_equal(sum(part.held_mask for part in parts), 1.0)
    # Along the longer axis.
    assert parts[0].fit_mask[0, :, 0].tolist() == [1, 1, 1, 0, 0, 0, 0]
    assert hold_outs(1, (3,), Sizes(12, 32), np.random.default_rng(0)) == []


def test_the_error_that_a_gain_leaves_is_that_of_linear_regression():
    rng = np.random.default_rng(0)
    y, q = rng.standard_normal((2, 3, 5, 5, 1))
    gain = np.linalg.lstsq(q.reshape(-1, 1), y.ravel(), rcond=None)[0]
    expected = np.sum((y.ravel() - gain * q.ravel()) ** 2)
    assert unexplained(moments(y, q)[None])[0] == pytest.approx(expected, rel=1e-12)


def test_an_output_gain_is_no_layers_merit():
    """A target that only needs a gain leaves nothing for any layer: abstain."""
    model, x = network(), fields(8)
    y = 1.7 * answer(model, x)
    noise = np.random.default_rng(3).standard_normal(y.shape) * 0.5 * y.std()
    scores = score_layers(model, (x, y), (x, y + noise), [HeldOutLeastSquares()])
    assert scores.abstained
    assert scores.recommended == ()
    assert "gain" in scores.reason


def test_one_target_sample_abstains():
    model, base, (x, y) = planted("conv_2", num_samples=1)
    scores = score_layers(model, base, (x, y))
    assert scores.abstained
    assert "1 target sample" in scores.reason
    # The halves of the domain still give an order.
    assert scores.ranking[0] == "conv_2"
    assert set(scores.ranking) == set(LAYERS)


def test_scores_repeat_and_the_model_is_untouched():
    model, base, target = planted("conv_2", num_samples=2)
    before = model.get_weights()
    scorers = [HeldOutLeastSquares(), GradientNorm()]
    first, second = (
        score_layers(model, base, target, scorers, seed=3) for _ in range(2)
    )
    assert first.scores == second.scores
    assert first.intervals == second.intervals
    after = model.get_weights()
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))


def test_the_gradient_norm_is_the_gradient_of_the_mean_squared_error():
    model, _, (x, y) = planted("conv_2", num_samples=4)
    scored = score_layers(model, (x, y), (x, y), [GradientNorm()])
    kernel, bias = model.get_layer("conv_3").get_weights()
    error = answer(model, x).astype(float) - y
    jacobian = LayerLinearisation(model, "conv_3")
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


def test_evidence_holds_spectra_that_add_up_to_the_errors():
    model, base, target = planted("conv_1")
    scores = score_layers(model, base, target, [HeldOutLeastSquares()])
    evidence = scores.explain("conv_1")["held_out_least_squares"]
    for when in ("before", "after"):
        sums = evidence[f"moments_{when}"]
        mean_square = unexplained(sums[None])[0] / (len(sums) * target[1][0].size)
        total = evidence[f"residual_spectrum_{when}"].sum()
        assert total == pytest.approx(mean_square, rel=1e-9)


def wave(k, shape=(16, 16)):
    return np.cos(k * 2 * np.pi * np.arange(shape[0]) / shape[0])[:, None] * np.ones(
        shape
    )


def test_the_explanation_names_the_wavenumbers_that_are_mended():
    """One layer, a filter: the base passes wavenumber 2, the target 5 as well."""
    rng = np.random.default_rng(0)
    amplitudes = rng.standard_normal((8, 2))
    x = np.stack([a * wave(2) + b * wave(5) for a, b in amplitudes])[..., None]
    base_y = np.stack([a * wave(2) for a, _ in amplitudes])[..., None]
    model = build_sgs_cnn((16, 16, 1), num_layers=1, kernel_size=5)
    filters = np.stack([np.cos(2 * np.pi * k * np.arange(-2, 3) / 16) for k in (2, 5)])
    # Responses of the five symmetric taps to both waves, so that 2 passes, 5 does not.
    taps = np.linalg.lstsq(
        np.stack([filters[0], filters[1]]), np.array([1.0, 0.0]), rcond=None
    )[0]
    kernel = np.zeros((5, 5, 1, 1))
    kernel[:, 2, 0, 0] = (taps + taps[::-1]) / 2
    model.set_weights([kernel, np.zeros(1)])
    x = x.astype("float32")
    scores = score_layers(model, (x, base_y), (x, x), [HeldOutLeastSquares()])
    evidence = scores.explain("conv_1")["held_out_least_squares"]
    assert evidence["band"] == (5, 5)
    assert evidence["follows_systems"] > 0.99
    assert "5-5" in evidence["why"]
    # What is known of the kernels: they pass 2 and not 5, averaged over directions.
    profile = scores.kernels["conv_1"]
    assert profile[2] > profile[5]
    assert evidence["kernels_pass"] == pytest.approx(profile[5])


def test_chances_are_shares_of_resamplings():
    model, base, target = planted("conv_2")
    scores = score_layers(model, base, target, [HeldOutLeastSquares()])
    assert sum(scores.chances.values()) == pytest.approx(1.0)
    assert scores.chances["conv_2"] == max(scores.chances.values())


def test_results_are_written(tmp_path):
    model, base, target = planted("conv_2", num_samples=4)
    scorers = [HeldOutRetraining(steps=2), GradientNorm()]
    scores = score_layers(model, base, target, scorers)
    document = json.loads(scores.to_json(tmp_path / "scores.json").read_text())
    assert document["ranking"] == list(scores.ranking)
    assert document["systems"]["target"] == scores.systems["target"].tolist()
    assert document["kernels"]["conv_1"] == scores.kernels["conv_1"].tolist()
    assert [path.name for path in tmp_path.iterdir()] == ["scores.json"]
    assert scores.plot(tmp_path / "scores.png").stat().st_size > 0
    frame = scores.to_frame()
    assert list(frame.index) == list(scores.ranking)
    assert set(scores.scores) <= set(frame.columns)


def test_a_scorer_of_ones_own():
    class DeepestFirst:
        name = "deepest"

        def __call__(self, model, base, target, rng):
            return ScoredLayers({n: float(i) for i, n in enumerate(LAYERS)}, Cost(0))

    model, base, target = planted("conv_1", num_samples=2)
    scores = score_layers(model, base, target, [DeepestFirst()])
    assert scores.ranking == LAYERS[::-1]
    assert scores.recommended == ("conv_3",)


@pytest.mark.parametrize(
    "scorers",
    ["abc", 3, GradientNorm(), [GradientNorm], [GradientNorm(), "a"], [len]],
)
def test_what_is_no_scorer_is_refused_before_any_work(scorers):
    model, base, target = planted("conv_1", num_samples=2)
    with pytest.raises(TypeError, match="sequence of objects with a name"):
        score_layers(model, base, target, scorers)


@pytest.mark.parametrize("returned", [None, {"conv_1": 1.0}, ScoredLayers({}, Cost(0))])
def test_what_a_scorer_returns_is_checked(returned):
    class Mistaken:
        name = "mistaken"

        def __call__(self, *arguments):
            return returned

    model, base, target = planted("conv_1", num_samples=2)
    with pytest.raises(TypeError, match="'mistaken' must return ScoredLayers"):
        score_layers(model, base, target, [Mistaken()])


@pytest.mark.parametrize("seed", [-1, 0.5, None, "0", True])
def test_a_seed_is_a_whole_number(seed):
    model, base, target = planted("conv_1", num_samples=2)
    with pytest.raises(ValueError, match="seed must be a whole number"):
        score_layers(model, base, target, seed=seed)


def test_dense_models_can_be_scored():
    dense = [keras.layers.Dense(4, activation="tanh", name="a"), keras.layers.Dense(1)]
    model = keras.Sequential([keras.Input((3,)), *dense])
    x = np.random.default_rng(0).standard_normal((20, 3)).astype("float32")
    scores = score_layers(
        model, (x, x[:, :1]), (x, x[:, 1:2]), [HeldOutLeastSquares(), GradientNorm()]
    )
    assert len(scores.ranking) == 2


def test_bad_input_is_refused():
    model, base, (x, y) = planted("conv_1", num_samples=2)
    with pytest.raises(ValueError, match="at least one"):
        score_layers(model, base, (x, y), [])
    with pytest.raises(ValueError, match="different names"):
        score_layers(model, base, (x, y), [GradientNorm(), GradientNorm()])
    with pytest.raises(ValueError, match=r"empty|no samples"):
        score_layers(model, base, (x[:0], y[:0]))
    bad = x.copy()
    bad[0, 0, 0, 0] = np.nan
    with pytest.raises(ValueError, match=r"finite|NaN"):
        score_layers(model, base, (bad, y))
    with pytest.raises(ValueError, match=r"num_fit.*0"):
        HeldOutLeastSquares(num_fit=0)
    with pytest.raises(KeyError, match="conv_9"):
        score_layers(model, base, (x, y), [GradientNorm()]).explain("conv_9")


@pytest.mark.parametrize("scale", [1.0, 0.0])
def test_a_model_that_is_right_already_is_left_alone(scale):
    model, x = network(), fields(6)
    if not scale:
        model.get_layer("conv_3").set_weights([np.zeros((3, 3, 4, 1)), np.zeros(1)])
    target = x, answer(model, x)
    scorers = [HeldOutRetraining(steps=2), HeldOutLeastSquares()]
    scores = score_layers(model, target, target, scorers)
    assert scores.abstained
    for scorer in scorers:
        assert set(scores.scores[scorer.name].values()) == {0.0}


def test_models_without_2d_layers_are_scored_by_default():
    dense = [keras.layers.Dense(4, activation="tanh", name="a"), keras.layers.Dense(1)]
    model = keras.Sequential([keras.Input((3,)), *dense])
    x = np.random.default_rng(0).standard_normal((12, 3)).astype("float32")
    scores = score_layers(model, (x, x[:, :1]), (x, x[:, 1:2]))
    assert set(scores.scores["spectral_shift"].values()) == {0.0}
    assert len(scores.ranking) == 2


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


def test_a_numpy_seed_is_written_too(tmp_path):
    model, base, target = planted("conv_1", num_samples=2)
    scores = score_layers(model, base, target, [GradientNorm()], np.int64(3))
    document = json.loads(scores.to_json(tmp_path / "scores.json").read_text())
    assert document["provenance"]["seed"] == 3


def test_several_outputs_are_refused():
    inputs = keras.Input((4,))
    heads = [keras.layers.Dense(1)(inputs), keras.layers.Dense(1)(inputs)]
    model = keras.Model(inputs, heads)
    x = np.ones((3, 4), "float32")
    with pytest.raises(ValueError, match="2 outputs"):
        score_layers(model, (x, x[:, :1]), (x, x[:, :1]))
