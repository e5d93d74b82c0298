"""Layers that have to be retrained together are found, and no more than these."""

import keras
import numpy as np
import pytest

import keras_spectral_tl as kst
from keras_spectral_tl.linearization import LayerFunction
from keras_spectral_tl.models import build_sgs_cnn
from keras_spectral_tl.scoring import (
    Cost,
    HeldOutRetraining,
    ScorerResult,
    score_layers,
)
from keras_spectral_tl.transfer import Samples
from tests.keras_spectral_tl.common import answer, drawn, teacher_of

SHAPE = (12, 10, 2)
# The rates sum to about as far as the weights were moved.
SCORER = HeldOutRetraining(steps=60, learning_rate=1e-2, num_tested=8)


def network(num_layers):
    return drawn(build_sgs_cnn(SHAPE, num_layers, num_filters=4, kernel_size=3))


def changed(*layers, num_layers=3, num_samples=8):
    """A network, and samples of a teacher that differs from it in some layers."""
    student, rng = network(num_layers), np.random.default_rng(1)
    teacher = teacher_of(student, rng, *layers)
    x = rng.standard_normal((num_samples, *SHAPE)).astype("float32")
    return student, (x, answer(teacher, x))


@pytest.mark.once
def test_two_layers_that_were_changed_are_recommended_together():
    model, data = changed("conv_1", "conv_4", num_layers=4)
    scores = score_layers(model, data, data, [SCORER], max_layers=2)
    assert set(scores.recommended) == {"conv_1", "conv_4"}
    assert scores.recommended[0] == scores.ranking[0]
    alone = scores.scores[SCORER.name]
    together = scores.together.values["conv_1+conv_4"]
    assert together > max(alone.values()) + 0.1
    assert f"Retraining {scores.recommended[1]} as well" in scores.reason
    assert f"removes {100 * together:.0f} %" in scores.reason
    assert scores.to_dict()["together"]["values"] == scores.together.values


@pytest.mark.once
def test_a_layer_that_is_enough_is_recommended_alone():
    """Behind a last layer that is linear, noise is all that is left."""
    model, (x, y) = changed("conv_3")
    noise = np.random.default_rng(3).standard_normal(y.shape)
    data = x, (y + 0.5 * y.std() * noise).astype("float32")
    scores = score_layers(model, data, data, [SCORER], max_layers=3)
    assert scores.recommended == ("conv_3",)
    assert set(scores.together.values) == {"conv_1+conv_3", "conv_2+conv_3"}
    assert "No further layer" in scores.reason


@pytest.mark.once
@pytest.mark.parametrize(("factor", "said"), [(4.0, True), (1.0, False), (-1.0, False)])
def test_a_gain_that_a_layer_has_to_learn_too_is_named(factor, said):
    model, (x, y) = changed("conv_3")
    data = x, factor * y
    scores = score_layers(model, data, data, [HeldOutRetraining(steps=5)])
    assert ("forecast may start from it" in scores.reason) == said


@pytest.mark.once
def test_noise_leads_to_no_second_layer():
    """A gain is all that the target needs, so there is not even a first."""
    model, (x, _) = changed("conv_1")
    noise = np.random.default_rng(2).standard_normal((*x.shape[:-1], 1))
    y = np.array(keras.ops.convert_to_numpy(model(x)))
    data = x, (2.0 * y + y.std() * noise).astype("float32")
    scores = score_layers(model, data, data, [SCORER], max_layers=2)
    assert scores.recommended == ()
    assert not scores.together.values
    assert "best gain of" in scores.reason


def test_the_gradient_in_several_layers_is_that_of_each():
    model, (x, y) = changed("conv_2", num_samples=3)
    ones = np.ones_like(y)
    both = LayerFunction(model, ("conv_1", "conv_3"))
    parts = [LayerFunction(model, name) for name in ("conv_1", "conv_3")]
    found = both.gradient(both.start, x, y, ones)
    expected = np.concatenate([part.gradient(part.start, x, y, ones) for part in parts])
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.once
def test_more_steps_are_tried_before_more_layers():
    """In few steps any second layer helps; one that was changed needs only more."""
    model, data = changed("conv_2", num_layers=4)
    scores = score_layers(model, data, data, [SCORER], max_layers=2)
    alone = scores.scores[SCORER.name]["conv_2"]
    assert scores.recommended == ("conv_2",)
    assert max(scores.together.values.values()) > alone


def test_single_layers_and_several_are_compared_on_equal_samples():
    model, data = changed("conv_3")
    target = Samples.of(data)
    few = HeldOutRetraining(steps=2)
    alone = few(model, target, target, np.random.default_rng(5))
    choices = [("conv_3",), ("conv_2", "conv_3")]
    both = few.rehearse(model, target, choices, np.random.default_rng(5))
    longer = few.rehearse(model, target, choices, np.random.default_rng(5), effort=2)
    assert both.values["conv_3"] == pytest.approx(alone.values["conv_3"], abs=1e-6)
    assert longer.values["conv_3"] != both.values["conv_3"]
    for scored in (both, longer):
        for label in ("conv_3", "conv_2+conv_3"):
            np.testing.assert_array_equal(
                scored.evidence[label]["moments_before"],
                alone.evidence["conv_3"]["moments_before"],
            )


def sums(correlations):
    """Moments of samples with these correlations, all of size 1 and without a mean."""
    ones, none = np.ones_like(correlations), np.zeros_like(correlations)
    columns = [ones, none, none, ones, correlations, ones]
    return np.stack(columns, axis=1)[:, None]


class Together:
    """Layers add up: what those chosen leave of the error is known beforehand."""

    name = "together"

    def __init__(self, removed, reverse=False):
        self.removed, self.reverse, self.asked = removed, reverse, []

    def __call__(self, model, base, target, rng):
        return self.rehearse(model, target, [(name,) for name in self.removed], rng)

    def rehearse(self, model, target, choices, rng, effort=1):
        self.asked.append((tuple(choices), effort))
        ordered = list(choices)[::-1] if self.reverse else choices
        values = {"+".join(c): sum(map(self.removed.get, c)) for c in ordered}
        evidence = {}
        for label, value in values.items():
            noise = np.random.default_rng(len(label)).normal(0.0, 1e-3, 8)
            evidence[label] = {
                "moments_before": sums(np.zeros(8)),
                "moments_after": sums(np.sqrt(abs(value + noise))),
            }
        return ScorerResult(values, Cost(1), evidence)


def dense(*names):
    layers = [keras.layers.Dense(2, name=name) for name in names]
    return keras.Sequential([keras.Input((2,)), *layers])


DATA = np.ones((8, 2), "float32"), np.ones((8, 2), "float32")


@pytest.mark.once
@pytest.mark.parametrize("reverse", [False, True])
def test_layers_are_added_while_they_help_whatever_their_names(reverse):
    """Names may hold the sign that joins them; the order of the answers is free."""
    scorer = Together({"a": 0.3, "b+c": 0.2, "d": 0.0, "e": 0.1}, reverse)
    model = dense(*scorer.removed)
    scores = score_layers(model, DATA, DATA, [scorer], max_layers=9)
    assert scores.recommended == ("a", "b+c", "e")
    assert "60 %" in scores.reason
    assert "No further layer" in scores.reason
    asked = [set(choices) for choices, effort in scorer.asked if effort == 1]
    assert asked[1] == {("a", "b+c"), ("a", "d"), ("a", "e")}
    assert [e for _, e in scorer.asked] == [1, 2, 1, 2, 1, 2, 1]


@pytest.mark.once
def test_there_are_no_more_layers_than_there_are():
    scorer = Together({"a": 0.3, "b": 0.2})
    scores = score_layers(dense("a", "b"), DATA, DATA, [scorer], max_layers=9)
    assert scores.recommended == ("a", "b")
    one = score_layers(dense("a"), DATA, DATA, [Together({"a": 0.3})], max_layers=2)
    assert one.recommended == ("a",)


@pytest.mark.once
def test_answers_to_other_questions_are_refused():
    class Short(Together):
        def rehearse(self, model, target, choices, rng, effort=1):
            asked = choices[:1] if len(choices[0]) > 1 else choices
            return super().rehearse(model, target, asked, rng, effort)

    scorer = Short({"a": 0.3, "b": 0.2, "c": 0.1})
    with pytest.raises(TypeError, match="rehearse must return"):
        score_layers(dense(*"abc"), DATA, DATA, [scorer], max_layers=2)


def test_a_layer_that_no_output_depends_on_goes_with_others():
    """A head of a nested model that is not used here."""
    inputs = keras.Input((4,))
    hidden = keras.layers.Dense(3, name="hidden")(inputs)
    aside = keras.layers.Dense(1, name="aside")(hidden)
    encoder = keras.Model(inputs, [hidden, aside], name="encoder")
    outer = keras.Input((4,))
    outputs = keras.layers.Dense(2, name="out")(encoder(outer)[0])
    model = keras.Model(outer, outputs)
    rng = np.random.default_rng(0)
    data = Samples.of(
        (rng.normal(size=(8, 4)).astype("float32"), np.ones((8, 2), "float32"))
    )
    names = [name for name in kst.layers_with_weights(model) if "aside" in name]
    scored = HeldOutRetraining(steps=2).rehearse(
        model, data, [(*names, "out"), ("out",)], np.random.default_rng(0)
    )
    together, alone = scored.values.values()
    assert together == pytest.approx(alone, abs=1e-5)


class Alone:
    name = "alone"

    def __call__(self, model, base, target, rng):
        return ScorerResult({"conv_1": 1.0}, Cost(0))


@pytest.mark.once
def test_a_scorer_of_single_layers_cannot_recommend_several():
    model, data = changed("conv_1", num_samples=2)
    with pytest.raises(TypeError, match="rehearse"):
        score_layers(model, data, data, [Alone()], max_layers=2)
    with pytest.raises(ValueError, match="max_layers"):
        score_layers(model, data, data, [SCORER], max_layers=0)
