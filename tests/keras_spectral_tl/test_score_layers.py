"""Scores of all layers: what is told of them, and what is refused."""

import json
import re

import keras
import matplotlib.pyplot as plt
import numpy as np
import pytest

from keras_spectral_tl.metrics._plausibility import INTRODUCTION
from keras_spectral_tl.models import build_sgs_cnn
from keras_spectral_tl.scoring import (
    Cost,
    HeldOutRetraining,
    ScorerResult,
    score_layers,
)
from keras_spectral_tl.scoring._evidence import unexplained
from keras_spectral_tl.transfer import RefitOnTarget
from tests.keras_spectral_tl.planted_layers import (
    LAYERS,
    SHAPE,
    answer,
    fields,
    network,
    planted,
)

QUICK = HeldOutRetraining(steps=40, learning_rate=1e-2)


class Deepest:
    """A scorer of one's own."""

    name = "deepest"

    def __call__(self, model, base, target, rng):
        return ScorerResult({n: float(i) for i, n in enumerate(LAYERS)}, Cost(0))


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
    scorers = [QUICK]
    first, second = (
        score_layers(model, base, target, scorers, seed=3) for _ in range(2)
    )
    assert first.scores == second.scores
    assert first.intervals == second.intervals
    after = model.get_weights()
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))


def test_evidence_holds_spectra_that_add_up_to_the_errors():
    model, base, target = planted("conv_1")
    scores = score_layers(model, base, target, [QUICK])
    evidence = scores.explain("conv_1")["held_out_retraining"]
    for when in ("before", "after"):
        sums = evidence[f"moments_{when}"]
        mean_square = unexplained(sums.sum(axis=0)) / (len(sums) * target[1][0].size)
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
    scores = score_layers(model, (x, base_y), (x, x), [QUICK])
    evidence = scores.explain("conv_1")["held_out_retraining"]
    assert evidence["band"] == (5, 5)
    assert evidence["follows_systems"] > 0.99
    assert "5-5" in evidence["why"]
    # What is known of the kernels: they pass 2 and not 5, averaged over directions.
    profile = scores.kernels["conv_1"]
    assert profile[2] > profile[5]
    assert evidence["kernels_pass"] == pytest.approx(profile[5])


@pytest.mark.once
def test_chances_are_shares_of_resamplings():
    model, base, target = planted("conv_2")
    scores = score_layers(model, base, target, [QUICK])
    assert sum(scores.chances.values()) == pytest.approx(1.0)
    assert scores.chances["conv_2"] == max(scores.chances.values())


@pytest.mark.once
def test_results_are_written(tmp_path):
    model, base, target = planted("conv_2", num_samples=4)
    scorers = [HeldOutRetraining(steps=2), Deepest()]
    scores = score_layers(model, base, target, scorers)
    document = json.loads(scores.to_json(tmp_path / "scores.json").read_text())
    assert document["ranking"] == list(scores.ranking)
    assert document["systems"]["target"] == scores.systems["target"].tolist()
    assert document["shifts"]["conv_2"]["gain"] == scores.shifts["conv_2"]["gain"]
    assert document["kernels"]["conv_1"] == scores.kernels["conv_1"].tolist()
    assert [path.name for path in tmp_path.iterdir()] == ["scores.json"]
    _, axes = plt.subplots()
    assert scores.plot(axes) is axes
    assert len(scores.plot().get_yticklabels()) == len(LAYERS)
    frame = scores.to_frame()
    assert list(frame.index) == list(scores.ranking)
    assert set(scores.scores) <= set(frame.columns)


def test_a_scorer_of_ones_own():
    model, base, target = planted("conv_1", num_samples=2)
    scores = score_layers(model, base, target, [Deepest()])
    assert scores.ranking == LAYERS[::-1]
    assert scores.recommended == ("conv_3",)
    fewer = score_layers(model, base, target, [Deepest()], layers=["conv_1", "conv_2"])
    assert fewer.ranking == ("conv_2", "conv_1")


@pytest.mark.once
@pytest.mark.parametrize(
    "scorers",
    ["abc", 3, Deepest(), [Deepest], [Deepest(), "a"], [len]],
)
def test_what_is_no_scorer_is_refused_before_any_work(scorers):
    model, base, target = planted("conv_1", num_samples=2)
    with pytest.raises(TypeError, match="sequence of objects with a name"):
        score_layers(model, base, target, scorers)


@pytest.mark.once
@pytest.mark.parametrize("returned", [None, {"conv_1": 1.0}, ScorerResult({}, Cost(0))])
def test_what_a_scorer_returns_is_checked(returned):
    class Mistaken:
        name = "mistaken"

        def __call__(self, *arguments):
            return returned

    model, base, target = planted("conv_1", num_samples=2)
    with pytest.raises(TypeError, match="'mistaken' must return a ScorerResult"):
        score_layers(model, base, target, [Mistaken()])


@pytest.mark.once
@pytest.mark.parametrize("seed", [-1, 0.5, None, "0", True])
def test_a_seed_is_a_whole_number(seed):
    model, base, target = planted("conv_1", num_samples=2)
    with pytest.raises((TypeError, ValueError), match="seed as a whole number"):
        score_layers(model, base, target, seed=seed)


@pytest.mark.once
def test_bad_input_is_refused():
    model, base, (x, y) = planted("conv_1", num_samples=2)
    with pytest.raises(ValueError, match="at least one"):
        score_layers(model, base, (x, y), [])
    with pytest.raises(ValueError, match="different names"):
        score_layers(model, base, (x, y), [Deepest(), Deepest()])
    with pytest.raises(ValueError, match=r"empty|no samples"):
        score_layers(model, base, (x[:0], y[:0]))
    bad = x.copy()
    bad[0, 0, 0, 0] = np.nan
    with pytest.raises(ValueError, match=r"finite|NaN"):
        score_layers(model, base, (bad, y))
    with pytest.raises(ValueError, match=r"num_fit.*0"):
        HeldOutRetraining(num_fit=0)
    with pytest.raises(KeyError, match="conv_9"):
        score_layers(model, base, (x, y), [Deepest()]).explain("conv_9")


@pytest.mark.once
@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"batch_size": 0}, ValueError),
        ({"epochs": 0}, ValueError),
        ({"epoch": 3}, TypeError),
        ({"normalization": RefitOnTarget()}, TypeError),
        ({"scorers": []}, ValueError),
        ({"max_layers": 0}, ValueError),
    ],
)
def test_wrong_options_are_refused_before_anything_is_said_of_the_data(
    options, error, recwarn
):
    model, base, (x, y) = planted("conv_1", num_samples=2)
    with pytest.raises(error):
        score_layers(model, base, (1000.0 * x, y), **options)
    messages = [str(warning.message) for warning in recwarn.list]
    assert not [text for text in messages if text.startswith(INTRODUCTION)]


@pytest.mark.once
@pytest.mark.parametrize("scale", [1.0, 0.0])
def test_a_model_that_is_right_already_is_left_alone(scale):
    model, x = network(), fields(6)
    if not scale:
        model.get_layer("conv_3").set_weights([np.zeros((3, 3, 4, 1)), np.zeros(1)])
    target = x, answer(model, x)
    scorers = [HeldOutRetraining(steps=2)]
    scores = score_layers(model, target, target, scorers)
    assert scores.abstained
    for scorer in scorers:
        assert set(scores.scores[scorer.name].values()) == {0.0}


def test_models_without_2d_layers_are_scored_by_default():
    dense = [keras.layers.Dense(4, activation="tanh", name="a"), keras.layers.Dense(1)]
    model = keras.Sequential([keras.Input((3,)), *dense])
    x = np.random.default_rng(0).standard_normal((12, 3)).astype("float32")
    scores = score_layers(model, (x, x[:, :1]), (x, x[:, 1:2]))
    assert scores.shifts == {}
    assert len(scores.ranking) == 2


@pytest.mark.once
def test_a_numpy_seed_is_written_too(tmp_path):
    model, base, target = planted("conv_1", num_samples=2)
    scores = score_layers(model, base, target, [Deepest()], np.int64(3))
    document = json.loads(scores.to_json(tmp_path / "scores.json").read_text())
    assert document["provenance"]["seed"] == 3


def test_several_outputs_are_refused():
    inputs = keras.Input((4,))
    heads = [keras.layers.Dense(1)(inputs), keras.layers.Dense(1)(inputs)]
    model = keras.Model(inputs, heads)
    x = np.ones((3, 4), "float32")
    with pytest.raises(ValueError, match=r"2 output\(s\)"):
        score_layers(model, (x, x[:, :1]), (x, x[:, :1]))


def test_the_spectral_shift_is_part_of_the_explanation():
    """A bias of zero: three times the input has nine times the energy at each k."""
    model = build_sgs_cnn(SHAPE, num_layers=1)
    x = fields(3)
    y = answer(model, x)
    scores = score_layers(model, (x, y), (3 * x, y), [HeldOutRetraining(steps=1)])
    shift = scores.explain("conv_1")["held_out_retraining"]["spectral_shift"]
    assert shift["gain"] == pytest.approx(np.log(9), rel=1e-4)
    assert shift["shape_distance"] == pytest.approx(0.0, abs=1e-6)
    ratio = shift["target_spectrum"] / shift["base_spectrum"]
    np.testing.assert_allclose(ratio, 9.0, rtol=1e-4)


@pytest.mark.once
def test_a_printed_table_has_at_most_25_lines():
    layers = [keras.layers.Dense(3, name=f"dense_{n}") for n in range(40)]
    model = keras.Sequential([keras.Input((3,)), *layers])
    x = np.random.default_rng(0).standard_normal((6, 3)).astype("float32")
    values = {layer.name: float(n) for n, layer in enumerate(layers)}

    class Longest(Deepest):
        def __call__(self, *arguments):
            return ScorerResult(values, Cost(0))

    lines = repr(score_layers(model, (x, x), (x, x), [Longest()])).splitlines()
    assert len(lines) <= 25
    assert max(map(len, lines)) <= 88
    assert lines[1].startswith("dense_39")
    assert any("25 more" in line for line in lines)


@pytest.mark.once
def test_progress_is_told_layer_by_layer():
    model, base, target = planted("conv_1", num_samples=2)
    rows = []
    score_layers(model, base, target, epochs=1, progress=rows.append)
    assert [(row["layer"], row["done"], row["total"]) for row in rows] == [
        (name, number, 3) for number, name in enumerate(LAYERS, start=1)
    ]


def test_fewer_layers_have_the_scores_they_have_among_all():
    model, base, target = planted("conv_2", num_samples=4)
    scorer = [HeldOutRetraining(steps=3)]
    every = score_layers(model, base, target, scorer)
    one = score_layers(model, base, target, scorer, layers="conv_2")
    assert one.ranking == ("conv_2",)
    alone, among = (s.scores["held_out_retraining"]["conv_2"] for s in (one, every))
    assert alone == pytest.approx(among, abs=1e-6)
    with pytest.raises(KeyError, match="conv_7"):
        score_layers(model, base, target, layers="conv_7")


def test_the_recipe_is_that_of_the_retraining_to_follow():
    model, base, target = planted("conv_2", num_samples=16)
    fall = keras.optimizers.schedules.CosineDecay(1e-3, 400)
    recipe = {"optimizer": keras.optimizers.Adam(fall), "epochs": 100, "batch_size": 4}
    scores = score_layers(model, base, target, layers="conv_3", **recipe)
    assert scores.provenance["path"] == pytest.approx(0.2, abs=1e-3)
    with pytest.raises(TypeError, match="epoch"):
        score_layers(model, base, target, epoch=3)


@pytest.mark.once
def test_scores_do_not_depend_on_the_units_of_the_target():
    """SI units are often 1e-6: Adam's constants must not decide."""
    model, base, (x, y) = planted("conv_1", num_samples=8)
    scorer, found = HeldOutRetraining(steps=20, num_tested=1), []
    for unit in (1.0, 1e-6):
        scaled = build_sgs_cnn(SHAPE, num_layers=3, num_filters=4, kernel_size=3)
        scaled.set_weights(model.get_weights())
        last = scaled.get_layer("conv_3")
        last.set_weights([unit * w for w in last.get_weights()])
        scores = score_layers(scaled, base, (x, unit * y), [scorer])
        found.append(scores.scores[scorer.name])
    for name in ("conv_1", "conv_2"):  # the weights of the last carry the unit
        assert found[1][name] == pytest.approx(found[0][name], abs=1e-4)


@pytest.mark.once
@pytest.mark.parametrize("offset", [1.0, 20.0, 1e4])
def test_an_offset_of_the_target_is_no_layers_merit(offset):
    """A correlation does not see it, and the output bias mends it."""
    model, x = network(), fields(8)
    y = np.float32(0.7) * answer(model, x) + 0.3 * answer(network(1), x)
    still = HeldOutRetraining(steps=1, learning_rate=1e-20)
    errors = []
    for target in (y, y + offset):
        scores = score_layers(model, (x, y), (x, target), [still])
        assert scores.scores[still.name]["conv_3"] == pytest.approx(0.0, abs=1e-6)
        evidence = scores.results[still.name].evidence["conv_3"]
        errors.append(unexplained(evidence["moments_after"].sum(axis=0)))
    # The target itself is in single precision.
    assert errors[1] == pytest.approx(errors[0], rel=1e-6 * offset)


@pytest.mark.once
def test_a_share_too_small_to_be_worth_it_is_not_recommended():
    """Sure to be there, but half a percent: the samples hardly differ."""
    sums = np.ones((8, 1, 6)) * np.array([1.0, 0.0, 0.0, 1.0, 0.0, 1.0])
    after = sums.copy()
    after[..., 4] = np.sqrt(0.005 + 1e-6 * np.arange(8.0)[:, None])

    class Tiny(Deepest):
        def __call__(self, *arguments):
            evidence = {"moments_before": sums, "moments_after": after}
            return ScorerResult({"conv_1": 0.005}, Cost(0), {"conv_1": evidence})

    model, base, target = planted("conv_1", num_samples=8)
    scores = score_layers(model, base, target, [Tiny()])
    assert scores.abstained
    assert "No layer is worth retraining" in scores.reason


@pytest.mark.once
def test_no_reason_asks_for_more_than_there_is():
    """Two samples of noise: the bound is far above the whole error."""
    model, x = network(), fields(2)
    y = np.random.default_rng(1).standard_normal((2, 16, 16, 1)).astype("float32")
    scores = score_layers(model, (x, y), (x, y), [QUICK])
    assert scores.abstained
    shares = re.findall(r"(-?[\d.]+) ?%", scores.reason)
    assert shares
    assert all(abs(float(share)) <= 100.0 for share in shares)
    assert all(high <= 1.0 for _, high in scores.intervals.values())


def test_a_score_is_not_lost_for_want_of_a_cost():
    class Sum(keras.Model):
        def __init__(self, **options):
            super().__init__(**options)
            self.dense = keras.layers.Dense(2, name="dense")

        def call(self, inputs):
            return self.dense(inputs["a"] + inputs["b"])

        def build(self, shape):
            self.dense.build((None, 3))
            self.built = True

        def get_config(self):
            return {}

    rng = np.random.default_rng(0)
    x = {key: rng.normal(size=(8, 3)).astype("float32") for key in "ab"}
    y = rng.normal(size=(8, 2)).astype("float32")
    model = Sum()
    model({key: part[:1] for key, part in x.items()})
    scores = score_layers(model, (x, y), (x, y), [HeldOutRetraining(steps=2)])
    assert scores.ranking == ("dense",)
    assert not np.isnan(scores.scores["held_out_retraining"]["dense"])
