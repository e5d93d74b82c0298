"""Arms that are pulled to their start: their trials, recipes and rows of a sweep."""

import contextlib
import json

import keras
import numpy as np
import pytest

from keras_spectral_tl._graph.layers import fetch, layers_with_weights
from keras_spectral_tl.freezing import BiasesOf, LowRankOf, NewWeights, OutputGain
from keras_spectral_tl.scoring import Arm, _rehearsal, forecast
from keras_spectral_tl.scoring._contest.candidate import Candidate
from keras_spectral_tl.scoring._contest.contest import Contest
from keras_spectral_tl.scoring._effort import Effort
from keras_spectral_tl.scoring._holdout import Split
from keras_spectral_tl.scoring._network_parts import NetworkPart, PartedNetwork
from keras_spectral_tl.scoring._rehearsal import Workbench
from keras_spectral_tl.transfer import oracle_sweep, retrain
from tests.keras_spectral_tl.common import SHAPE, answer, network, noise, plain, planted
from tests.keras_spectral_tl.test_trials import trials

COUNT = 4
X = noise(COUNT, *SHAPE)
ALL = np.arange(COUNT)
ONES = np.ones((8, 8, 1))
WHOLE = Split(ALL, ALL[:1], ONES, ONES)


def answers(model, gain=1.0):
    """True outputs that are some way from those of the model."""
    return gain * (answer(model, X) + 0.5 * noise(COUNT, 8, 8, 1, seed=4))


def part_of(parted, layers):
    (part,) = parted.parts({"some": layers})
    return part


def descend(gradient, start, order, rates, watch):
    """Plain gradient steps, which keep what Adam divides away: sizes."""
    values = start
    for rows, rate in zip(order, rates, strict=True):
        values = values - rate * gradient(values, rows)
    return values


def flat(model, variables):
    """Values of the same weights of a model as of some variables of another."""
    named = {v.path.split("/")[-2] + v.name: v for v in model.weights}
    found = [np.ravel(fetch(named[v.path.split("/")[-2] + v.name])) for v in variables]
    return np.concatenate(found).astype(float)


@pytest.mark.parametrize("layers", ["conv_2", ("conv_1", "conv_3"), None, BiasesOf()])
@pytest.mark.parametrize("gain", [1.0, 3.0])
def test_a_pulled_rehearsal_goes_the_way_of_the_pulled_retraining(
    monkeypatch, layers, gain
):
    """Three gradient steps; the rate is in units of the variance of the truth.

    What is multiplied by a gain first is compared with the truth over that gain.
    """
    monkeypatch.setattr(_rehearsal, "adam", descend)
    model = network()
    y = answers(model, gain)
    bench = Workbench(PartedNetwork(model, X, 2), ALL, y / gain)
    rate, strength = 0.02, 400.0
    part = part_of(PartedNetwork(model, X, 2), layers)
    order = np.tile(ALL, (3, 1))
    rates = np.full(3, rate * np.var(y / gain))
    start = part.function.start
    found = bench.retrained(part, WHOLE, order, rates, pull=strength) - start
    free = bench.retrained(part, WHOLE, order, rates) - start
    result = retrain(
        model,
        (X, y / gain),
        layers,
        optimizer=keras.optimizers.SGD(rate),
        epochs=3,
        batch_size=COUNT,
        pull=strength,
    )
    expected = flat(result.model, part.function.variables) - start
    size = np.max(np.abs(expected))
    np.testing.assert_allclose(found, expected, atol=2e-4 * size)
    assert np.max(np.abs(free - found)) > 0.05 * size


@pytest.mark.parametrize("layers", [("conv_1", "conv_3"), None, BiasesOf()])
def test_the_pull_of_a_rehearsal_is_the_gradient_of_its_formula(monkeypatch, layers):
    """s L0 / 2 sum_l |w_l - w_l0|^2 / |theta_l0|^2, by central differences.

    L0 is that of the target's own samples among those that are fitted: here 0 and 2 of
    0, 2 and 3; and in the unit of the loss, the variance of all of the target's.
    """
    model = network()
    y, target = answers(model), np.array([0, 1, 2])
    bench = Workbench(PartedNetwork(model, X, 2), ALL, y, target)
    part = part_of(PartedNetwork(model, X, 2), layers)
    split = Split(np.array([0, 2, 3]), np.array([1]), ONES, ONES)
    seen = {}

    def look(gradient, start, order, rates, watch):
        seen["at"] = start + 0.1 * np.sin(np.arange(len(start)))
        seen[len(seen)] = gradient(seen["at"], order[0])
        return start

    monkeypatch.setattr(_rehearsal, "adam", look)
    order = np.zeros((1, 1), int)
    for pull in (0.0, 7.0):
        bench.retrained(part, split, order, np.ones(1), pull=pull)
    found = seen[2] - seen[1] if 2 in seen else None
    own = [0, 2]
    loss = np.mean((answer(model, X[own]) - y[own]) ** 2) / np.var(y[target])

    def penalty(values):
        moved = part.function.split(values - part.function.start)
        total = 0.0
        for step, variable in zip(moved, part.function.variables, strict=True):
            name = variable.path.split("/")[-2]
            theta = layers_with_weights(model)[name].weights
            norm = sum(float(np.sum(fetch(w).astype(float) ** 2)) for w in theta)
            total += float(np.sum(step.astype(float) ** 2)) / norm
        return 7.0 * loss / 2.0 * total

    at, width = seen["at"], 1e-2
    for place in range(0, len(at), max(len(at) // 7, 1)):
        one = np.zeros_like(at)
        one[place] = width
        slope = (penalty(at + one) - penalty(at - one)) / (2.0 * width)
        assert found[place] == pytest.approx(slope, rel=1e-3, abs=1e-6)


def test_without_a_pull_not_a_bit_of_a_trial_changes(monkeypatch):
    """And nothing of the pull is computed."""
    monkeypatch.delattr(NetworkPart, "stiffness")
    _, bench = trials(1.0, known=True)
    arms = [Arm("plain"), Arm("none", None, 0.0)]
    one, other = (run(1e-3, 30).outputs for _, _, run in bench.of(arms))
    np.testing.assert_array_equal(one, other)
    assert not np.array_equal(one, bench.unchanged.outputs)


def test_a_strong_pull_leaves_the_network_as_it_was():
    """The further the stronger, and in the limit not at all, as the rate falls to 0."""
    _, bench = trials(1.0, known=True)
    before, distances = bench.unchanged, []
    for strength in (0.0, 1e2, 1e4, 1e8):
        for _, _, run in bench.of([Arm("pulled", None, strength)]):
            trial = run(3e-3, 160)
            moved = np.sqrt(np.mean((trial.outputs - before.outputs) ** 2))
            distances.append(moved / np.std(before.outputs))
    assert distances == sorted(distances, reverse=True)
    assert distances[0] > 0.05 and distances[-1] < 1e-4
    np.testing.assert_allclose(trial.correlations, before.correlations, atol=1e-4)
    np.testing.assert_allclose(
        trial.base_correlations, before.base_correlations, atol=1e-4
    )


def test_the_weights_of_a_part_that_is_added_are_pulled_too():
    """The update of low rank, whose one factor is 0 at first, stays what it was."""
    _, bench = trials(1.0, known=True)
    arms = [Arm("free", LowRankOf()), Arm("pulled", LowRankOf(), 1e8)]
    moved = {}
    for arm, part, run in bench.of(arms):
        assert len(part.norms) == len(part.function.variables)
        outputs = run(3e-3, 160).outputs
        moved[arm.label] = np.max(np.abs(outputs - bench.unchanged.outputs))
    assert moved["pulled"] < 1e-3 * moved["free"]


@pytest.mark.once
@pytest.mark.parametrize("pull", [-1.0, np.nan, np.inf, "1", None, True])
def test_a_bad_strength_is_refused_with_the_arm(pull):
    with pytest.raises((TypeError, ValueError), match="pull"):
        Arm("mine", "conv_1", pull)


@pytest.mark.once
@pytest.mark.parametrize(
    "layers", [(), OutputGain(), NewWeights(), ["a", NewWeights()]]
)
def test_what_has_no_start_to_be_pulled_to_is_refused(layers):
    with pytest.raises(ValueError, match="'mine' has nothing to pull"):
        Arm("mine", layers, 1.0)
    assert Arm("mine", layers, 0.0).pull == 0.0


@pytest.fixture(scope="module")
def question():
    """A network, base samples and target samples of a changed layer."""
    return planted()


@pytest.fixture(scope="module")
def found(question):
    """A forecast of all layers with a pull, of one without, and of a single layer."""
    arms = [Arm("pulled", None, 5.0), Arm("plain"), "conv_2"]
    return forecast(*question, arms, steps=20, batch_size=4, progress=False)


def test_the_recipe_of_a_pulled_arm_pulls(question, found):
    model, _, target = question
    assert {row.label: row.row()["pull"] for row in found.rows} == {
        **{"pulled": 5.0, "plain": 0.0, "conv_2": 0.0, "unchanged": 0.0}
    }
    assert dict(found.to_frame()["pull"])["pulled"] == 5.0
    assert "pull" not in found.recipe_for("plain")
    recipe = found.recipe_for("pulled")
    result = retrain(model, target, **recipe)
    assert result.provenance["pull"] == 5.0
    recipe.pop("pull")
    free = retrain(model, target, **recipe)
    again = retrain(model, target, pull=5.0, **recipe)
    assert result.hashes_after == again.hashes_after != free.hashes_after


@pytest.mark.once
def test_the_strength_of_a_pull_is_in_the_file(found, tmp_path):
    document = json.loads(found.to_json(tmp_path / "forecast.json").read_text())
    recipes = document["recipes"]
    assert recipes["pulled"]["pull"] == 5.0 and recipes["plain"]["pull"] == 0.0
    assert document["arms"]["pulled"]["pull"] == 5.0


def test_rows_of_pulled_arms_are_pulled_retrainings():
    """Also in a cut network and beside rows that are not; an arm's own goes first."""
    keras.utils.set_random_seed(1)
    model, x = plain(), noise(8, 4)
    data = (x, x[:, :1] * x[:, 1:2])
    quick = {"epochs": 3, "batch_size": 4, "seed": 3, "run_eagerly": True}
    low = LowRankOf(("a", "b"), 2)
    arms = [Arm("all", None, 5.0), Arm("low", low, 5.0), Arm("last", "c", 5.0), "c"]
    for given in (0.0, 50.0):
        sweep = oracle_sweep(model, data, data, arms=arms, pull=given, **quick)
        for row, arm, pull in zip(
            sweep.rows, arms, (5.0, 5.0, 5.0, given), strict=True
        ):
            layers = arm.layers if isinstance(arm, Arm) else arm
            result = retrain(model, data, layers, pull=pull, **quick)
            alone = result.row(data)["relative_rmse"]
            assert row["relative_rmse"] == pytest.approx(alone, rel=1e-5), row["layer"]


@pytest.mark.once
def test_rows_on_disk_of_another_strength_do_not_count(tmp_path):
    keras.utils.set_random_seed(1)
    model, x = plain(), noise(8, 4)
    data = (x, x[:, :1])

    def row(arm):
        return oracle_sweep(
            model, data, data, arms=[arm], epochs=1, directory=tmp_path
        ).rows[0]

    for layers in ("c", LowRankOf("c", 2)):
        label = "c" if layers == "c" else "mine"
        first = row(Arm(label, layers, 1.0))
        assert row(Arm(label, layers, 1.0)) == first  # its seconds too: it was read
        for pull in (2.0, 0.0):
            with pytest.warns(UserWarning, match="other weights"):
                assert row(Arm(label, layers, pull)) != first


def contest(arms):
    """Candidates after a contest of arms, and how often each was tried."""
    model, bench = trials(1.0, known=True)
    candidates = [Candidate(arm, bench, "") for arm in arms]
    told = []
    watch = contextlib.nullcontext(lambda row: told.append(row["arm"]))
    Contest(model, Effort(100, 4), watch).run(candidates, joined=True)
    return {c.arm.label: c for c in candidates}, told


def test_pulled_arms_and_those_of_low_rank_are_tried_briefly():
    """They come last, change no other trial, and go on only if they lead."""
    others = [Arm("conv_2", "conv_2"), Arm("all")]
    brief = [Arm("low rank", LowRankOf()), Arm("pulled", None, 1.0)]
    with_them, told = contest([*brief, *others])
    without, before = contest(others)
    assert told[: len(before)] == before
    for label, candidate in without.items():
        trial = with_them[label].trial
        np.testing.assert_array_equal(trial.outputs, candidate.trial.outputs)
    highest = max(c.best_short for c in without.values())
    for label in ("low rank", "pulled"):
        candidate = with_them[label]
        assert (candidate.long is not None) == (candidate.best_short > highest)
    pulled, twin = with_them["pulled"], with_them["all"]
    (first, *_) = pulled.short.values()
    assert first.rate == pytest.approx(twin.short[twin.power].rate)
    assert pulled.retraining_rate(Effort(100, 4)) == pytest.approx(
        twin.retraining_rate(Effort(100, 4))
    )


def test_a_brief_arm_that_leads_goes_on():
    """Against an arm that can do next to nothing."""
    arms = [Arm("low rank", LowRankOf()), Arm("bias", BiasesOf("conv_1"))]
    candidates, told = contest(arms)
    lead = candidates["low rank"].best_short > candidates["bias"].best_short
    assert lead and candidates["low rank"].long is not None
    assert told.count("low rank") >= 2
