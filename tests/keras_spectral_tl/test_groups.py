"""Groups of target samples: those that the data bring, and those that are given."""

import re

import keras
import numpy as np
import pytest

import keras_spectral_tl as kst
from keras_spectral_tl import scoring
from keras_spectral_tl.scoring import Cost, HeldOutRetraining, ScorerResult
from keras_spectral_tl.scoring._holdout import in_groups
from keras_spectral_tl.scoring._recommendation import recommend
from keras_spectral_tl.transfer import RefitOnTarget, Samples
from tests.keras_spectral_tl.common import dense, noise

pytestmark = pytest.mark.once

STEPS = {"steps": 20, "batch_size": 4, "progress": False}
COUNT = 12
TRAJECTORIES = np.repeat([7, 3, 9, 4], 3)
# Other divisions of the same samples.
OTHERS = [*"aabbccddeeff"]
ONE, EACH = [7] * COUNT, list(range(COUNT))


class Pair(tuple):
    """A pair that knows the groups of its samples, whoever made it."""


def pair_of(x, y, groups):
    pair = Pair((x, y))
    pair.groups = groups
    return pair


@pytest.fixture(scope="module")
def question():
    """Two dense layers, and samples that they do not answer."""
    keras.utils.set_random_seed(3)
    layers = [dense("first"), dense("last", 5, None)]
    model = keras.Sequential([keras.Input((3,)), *layers])
    return model, noise(COUNT, 3), noise(COUNT, 5, seed=1)


def forecast_of(question, own, **options):
    """A forecast on data with groups of their own."""
    model, x, y = question
    pair = pair_of(x, y, own)
    return kst.forecast(model, None, pair, ["first"], **STEPS, **options)


def scores_of(question, own, **options):
    """Scores on data with groups of their own."""
    model, x, y = question
    pair, few = pair_of(x, y, own), {"epochs": 2, "progress": False}
    return kst.score_layers(model, (x, y), pair, **few, **options)


@pytest.fixture(scope="module", params=[forecast_of, scores_of])
def ask(request, question):
    """Asks with groups of the data and given ones: what is found, and the record.

    Equal questions are asked once.
    """
    known = {}

    def asked(own, given=None):
        names = str((own, given))
        if names not in known:
            found = request.param(question, own, groups=given).to_dict()
            rows = {k: found[k] for k in ("arms", "scores", "intervals") if k in found}
            record = {k: v for k, v in found["provenance"].items() if "groups" in k}
            known[names] = str(rows), record  # as text, where nan equals nan
        return known[names]

    return asked


def test_groups_of_the_data_are_held_out_as_given_ones(ask):
    own, record = ask(TRAJECTORIES)
    given, other_record = ask(None, TRAJECTORIES)
    without, no_record = ask(None)
    assert own == given
    assert own != without
    assert record == {"groups": "of the target data", "num_groups": 4}
    assert other_record == {"groups": "given", "num_groups": 4}
    assert no_record == {"groups": "none", "num_groups": 0}


@pytest.mark.parametrize("groups", [ONE, EACH], ids=["one", "one a sample"])
def test_groups_of_the_data_that_say_nothing_change_nothing(ask, groups):
    """A single trajectory cannot be held out; samples of different ones are anyway."""
    assert ask(groups) == ask(None)


def test_equal_samples_are_held_out_together(question):
    """Repeated to weigh them, they would be fitted and tested."""
    model, x, y = question
    counts = [3, 1, 2, 2, 2, 2]
    twice = [np.repeat(part[:6], counts, axis=0) for part in (x, y)]
    labels = np.repeat(np.arange(6), counts)
    found = kst.forecast(model, None, twice, ["first"], **STEPS)
    given = kst.forecast(model, None, twice, ["first"], **STEPS, groups=labels)
    assert str(found.to_dict()["arms"]) == str(given.to_dict()["arms"])
    assert found.provenance["groups"] == "equal samples"
    assert found.provenance["num_groups"] == 6


def test_samples_that_are_all_equal_are_refused(question):
    model, x, y = question
    same = [np.repeat(part[:1], 4, axis=0) for part in (x, y)]
    with pytest.raises(ValueError, match="The 4 target samples are all equal"):
        kst.forecast(model, None, same, ["first"], **STEPS)


def test_one_equal_pair_among_many_changes_nothing():
    places = np.minimum(np.arange(40), 38)
    samples = Samples(np.eye(40)[places], places[:, None] * 1.0)
    assert in_groups(samples, None)[0].groups is None


def test_the_curve_of_a_forecast_counts_groups_as_its_row_does(question):
    model, x, y = question
    found = kst.forecast(model, None, pair_of(x, y, TRAJECTORIES), ["first"], **STEPS)
    row, curve = found["first"], found.sample_curve("first")
    half = 0.5 * (row.correlation_high - row.correlation_low)
    assert 1.64 * curve.spread == pytest.approx(half, rel=0.2)


def test_given_groups_go_before_those_of_the_data(ask):
    assert ask(OTHERS, TRAJECTORIES) == ask(None, TRAJECTORIES)
    # One label a sample asks for samples to be held out one by one.
    found, record = ask(TRAJECTORIES, EACH)
    assert found == ask(None)[0]
    assert record == {"groups": "given", "num_groups": COUNT}


@pytest.mark.parametrize(
    ("own", "given", "match"),
    [
        (TRAJECTORIES, ONE, "groups must be two or more"),
        (None, [1, 2], "groups must be one label for each of the 12 target samples"),
        ([1, 2], None, "attribute groups of the data must be one .* of the 12 samples"),
    ],
)
def test_groups_that_cannot_be_held_out_are_refused(ask, own, given, match):
    with pytest.raises(ValueError, match=match):
        ask(own, given)


@pytest.mark.parametrize("holder", ["given", "own"])
@pytest.mark.parametrize(
    ("first", "received"),
    [
        ([0, 1, np.nan, np.nan], "nan for 2 of them, first at row 2"),
        ([None, 1], "None for 1 of them, first at row 0"),
        (["a", 1, None, 2], "None for 1 of them, first at row 2"),
        (["a", "b", np.nan], "nan for 1 of them, first at row 2"),
        (np.array(["nat", "2020-01-01"], "datetime64[ns]"), "NaT"),
    ],
    ids=["nan", "None", "None among texts", "nan among texts", "no time"],
)
def test_missing_labels_are_refused(question, holder, first, received):
    """Among labels that would do, as many as there are samples."""
    labels = [*first, *[first[1]] * (COUNT - len(first))]
    own, given = (labels, None) if holder == "own" else (None, labels)
    for ask in (forecast_of, scores_of):
        with pytest.raises(ValueError, match=f"one label for each.*{received}"):
            ask(question, own, groups=given)


@pytest.mark.parametrize("ask", [forecast_of, scores_of])
def test_labels_that_cannot_be_compared_are_refused(question, ask):
    labels = np.array(["a", 1] * (COUNT // 2), object)
    with pytest.raises(TypeError, match=r"labels of one kind.*int and str.*str\("):
        ask(question, None, groups=labels)
    alike = np.array(["a", "1"] * (COUNT // 2), object)
    assert ask(question, None, groups=alike).provenance["num_groups"] == 2


def test_a_normalization_of_the_forecast_keeps_the_groups(question):
    refit = {"normalization": RefitOnTarget()}
    own = forecast_of(question, TRAJECTORIES, **refit)
    given = forecast_of(question, None, groups=TRAJECTORIES, **refit)
    assert str(own.rows) == str(given.rows)


def test_samples_keep_their_groups(question):
    _, x, y = question
    samples = Samples.of(pair_of(x, y, TRAJECTORIES.tolist()))
    np.testing.assert_array_equal(samples.groups, TRAJECTORIES)
    rows = [0, 5, 11]
    np.testing.assert_array_equal(samples.subset(rows).groups, TRAJECTORIES[rows])
    statistics = kst.transfer.ChannelStatistics.of(samples)
    np.testing.assert_array_equal(samples.normalized(statistics).groups, TRAJECTORIES)
    assert samples.fingerprint() == Samples.of((x, y)).fingerprint()


def test_a_source_of_batches_has_no_groups(question):
    """It may give its samples in another order."""
    _, x, y = question

    class Shuffled(keras.utils.PyDataset):
        groups = TRAJECTORIES

        def __len__(self):
            return 1

        def __getitem__(self, index):
            return x[::-1], y[::-1]

    assert Samples.of(Shuffled()).groups is None


def test_no_group_is_fitted_and_tested_by_either(question, monkeypatch):
    """Whatever is trained, the divisions are by group, and each is tested."""
    divisions = []
    for module in (scoring._forecast, scoring._rehearsal):
        original = module.folds_of

        def folds_of(*arguments, original=original):
            divisions.append(original(*arguments))
            return divisions[-1]

        monkeypatch.setattr(module, "folds_of", folds_of)
    forecast_of(question, TRAJECTORIES)
    scores_of(question, TRAJECTORIES)
    assert len(divisions) == 2
    for splits in divisions:
        for split in splits:
            assert not {*TRAJECTORIES[split.fit]} & {*TRAJECTORIES[split.held]}
        tested = np.concatenate([split.held for split in splits])
        assert set(TRAJECTORIES[tested]) == set(TRAJECTORIES)


def test_the_evidence_of_scores_counts_groups(question):
    for groups, count in ((TRAJECTORIES, 4), (None, COUNT)):
        scores = scores_of(question, groups)
        evidence = scores.explain("last")["held_out_retraining"]
        assert len(evidence["moments_before"]) == len(evidence["moments_after"])
        assert len(evidence["moments_before"]) == count


@pytest.mark.parametrize(("by_group", "unit"), [(True, " groups"), (False, "")])
def test_a_reason_for_no_layer_counts_what_was_tested(by_group, unit):
    """Four, of which 1 to 99 % of the error is removed: no more than chance."""
    sums = np.ones((4, 1, 6)) * np.array([1.0, 0.0, 0.0, 1.0, 0.0, 1.0])
    after = sums.copy()
    after[..., 3] = np.array([0.01, 0.5, 0.9, 0.99])[:, None]
    evidence = {"moments_before": sums, "moments_after": after}
    evidence |= {"by_group": True} if by_group else {}
    found = ScorerResult({"first": 0.4}, Cost(0), {"first": evidence})
    reason = recommend(found, COUNT, np.random.default_rng(0)).reason
    assert reason.startswith("first seems best")
    assert f"with 4{unit} of them tested" in reason
    advice = r"About \d+ groups would" if by_group else "Testing 6 of them would"
    assert re.search(advice, reason)
    few = recommend(found, 4, np.random.default_rng(0)).reason
    assert by_group or "About 6 would, all tested" in few


def test_divisions_of_a_scorer_go_before_groups(question):
    halves = [(np.arange(6), np.arange(6, 12)), (np.arange(6, 12), np.arange(6))]
    scorer = HeldOutRetraining(steps=3, splits=halves)
    found = [scores_of(question, own, scorers=[scorer]) for own in (OTHERS, None)]
    assert found[0].scores == found[1].scores
    assert found[0].intervals == found[1].intervals
