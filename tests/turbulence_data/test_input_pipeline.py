"""What reaches a network: channels, scales, subsets and batches."""

import copy
import pickle
import weakref
from collections import UserDict
from collections.abc import Sequence

import numpy as np
import pytest
import tensorflow as tf

from turbulence_data.input_pipeline import Normalization, batches, few_shot, to_arrays
from turbulence_data.interchange import check_conventions

# One rounding of float32 each way.
FLOAT32_ROUND_OFF = 1e-6

GIVEN = Normalization((0.5, 2.0), (-1.0, 4.0), (3.0, 0.5))


def example(number, trajectory=0, time=0.0, shape=(8, 12)):
    rng = np.random.default_rng(number)
    names = ("vorticity", "streamfunction", "sgs_forcing")
    fields = {name: rng.standard_normal(shape).astype(np.float32) for name in names}
    return {**fields, "trajectory": np.int64(trajectory), "time": np.float64(time)}


EXAMPLES = [
    example(10 * trajectory + step, trajectory, 0.5 * step)
    for trajectory in range(5)
    for step in range(16)
]


def test_channels_are_streamfunction_then_vorticity():
    x, y = to_arrays(EXAMPLES[:3])
    assert x.shape == (3, 8, 12, 2)
    assert y.shape == (3, 8, 12, 1)
    assert x.dtype == y.dtype == np.float32
    np.testing.assert_array_equal(x[1, ..., 0], EXAMPLES[1]["streamfunction"])
    np.testing.assert_array_equal(x[1, ..., 1], EXAMPLES[1]["vorticity"])
    np.testing.assert_array_equal(y[1, ..., 0], EXAMPLES[1]["sgs_forcing"])


def test_own_statistics_give_mean_zero_and_deviation_one():
    raw = to_arrays(EXAMPLES)
    x, y = to_arrays(EXAMPLES, Normalization.from_arrays(*raw))
    for channel in (x[..., 0], x[..., 1], y):
        assert channel.dtype == np.float32
        assert channel.mean(dtype=float) == pytest.approx(0, abs=FLOAT32_ROUND_OFF)
        assert channel.std(dtype=float) == pytest.approx(1, abs=FLOAT32_ROUND_OFF)


def test_given_statistics_are_used_channel_by_channel():
    x, y = to_arrays(EXAMPLES[:1], GIVEN)
    raw = EXAMPLES[0]
    np.testing.assert_allclose(
        x[0, ..., 0], (raw["streamfunction"] - 0.5) / 2.0, atol=FLOAT32_ROUND_OFF
    )
    np.testing.assert_allclose(
        x[0, ..., 1], (raw["vorticity"] + 1.0) / 4.0, atol=FLOAT32_ROUND_OFF
    )
    np.testing.assert_allclose(
        y[0, ..., 0], (raw["sgs_forcing"] - 3.0) / 0.5, atol=1e1 * FLOAT32_ROUND_OFF
    )


def test_denormalize_undoes_normalize():
    raw = to_arrays(EXAMPLES[:4])
    back = GIVEN.denormalize(*GIVEN.normalize(*raw))
    for before, after in zip(raw, back, strict=True):
        np.testing.assert_allclose(after, before, atol=FLOAT32_ROUND_OFF)


def test_normalization_comes_from_the_metadata_of_the_train_split():
    fields = {
        "vorticity": {"mean": -1.0, "std": 4.0, "rms": 5.0},
        "streamfunction": {"mean": 0.5, "std": 2.0, "rms": 3.0},
        "sgs_forcing": {"mean": 3.0, "std": 0.5, "rms": 4.0},
    }
    assert Normalization.from_metadata({"fields": fields}) == GIVEN


def test_foreign_metadata_are_refused():
    with pytest.raises(KeyError, match=r"received the keys \['labels'\]"):
        Normalization.from_metadata({"labels": 3})


@pytest.mark.parametrize(
    "pair",
    [(0, 0.0), (0, -1.0), (0, np.nan), (np.inf, 1), (0, 1e-50), (0, 1e39), (1e39, 1)],
)
def test_statistics_that_cannot_scale_are_refused(pair):
    with pytest.raises(ValueError, match=r"of vorticity.*(0.0|-1.0|nan|inf|1e)"):
        Normalization((0, 1), pair, (0, 1))


def test_no_examples_and_batches_are_refused():
    with pytest.raises(ValueError, match="no examples"):
        to_arrays([])
    with pytest.raises(ValueError, match=r"'streamfunction' of shape \(2, 8, 12\)"):
        to_arrays([example(0, shape=(2, 8, 12))])


def test_several_fields_in_one_feature_are_as_many_channels(dataset):
    velocity = np.stack([np.full((8, 12), 1.0), np.full((8, 12), 2.0)], axis=-1)
    some = [{**one, "velocity": velocity} for one in EXAMPLES[:2]]
    names = {"inputs": ["vorticity", "velocity"], "outputs": "sgs_forcing"}
    x, y = to_arrays(some, **names)
    assert (x.shape, y.shape) == ((2, 8, 12, 3), (2, 8, 12, 1))
    np.testing.assert_array_equal(x[1, ..., 0], EXAMPLES[1]["vorticity"])
    np.testing.assert_array_equal(x[1, ..., 1:], velocity)
    source = tf.data.Dataset.from_tensor_slices(
        {name: np.stack([one[name] for one in some]) for name in some[0]}
    )
    (batch,) = batches(source, 2, None, **names)
    np.testing.assert_array_equal(batch[0], x)
    np.testing.assert_array_equal(batch[1], y)


@pytest.mark.parametrize(
    "ask", [to_arrays, lambda *a, **k: batches(a[0], 1, None, **k)]
)
def test_numbers_are_no_channels(dataset, ask):
    with pytest.raises(ValueError, match=r"received 'time' of shape \(\)"):
        ask(dataset, inputs=["vorticity", "time"])


def test_fields_on_other_grids_are_no_channels():
    one = {**EXAMPLES[0], "fine": np.zeros((16, 24))}
    with pytest.raises(ValueError, match=r"one grid.*'fine': \(16, 24\)"):
        to_arrays([one], inputs=["vorticity", "fine"])


def test_trajectories_of_equal_numbers_of_two_ensembles_are_two_groups():
    two = [{**one, "seed": np.int64(s)} for s in (7, 9) for one in EXAMPLES[:32]]
    groups = to_arrays(two).groups
    assert len({*groups.tolist()}) == 4
    for start in range(0, 64, 16):
        assert len({*groups[start : start + 16].tolist()}) == 1
    np.testing.assert_array_equal(to_arrays(two[:32]).groups, [0] * 16 + [1] * 16)


def test_trajectories_of_two_flows_of_one_seed_are_apart_where_chosen_and_grouped():
    flows = [
        {**one, "seed": np.int64(0), "reynolds": np.float64(reynolds)}
        for reynolds in (50.0, np.inf)
        for one in EXAMPLES
    ]
    assert len({*to_arrays(flows).groups.tolist()}) == 10
    for number in (2, 6, 20, 80):
        chosen = [one["reynolds"] for one in few_shot(flows, number)]
        assert chosen.count(50.0) == number // 2
    # A flow alone, with or without its parameters, is chosen from as ever.
    alone = [key(one) for one in few_shot(flows[:80], 13)]
    assert alone == [key(one) for one in few_shot(EXAMPLES, 13)]


def test_filters_of_one_simulation_do_not_make_it_two():
    two = [{**one, "filter_width": w} for w in (0.3, 0.5) for one in EXAMPLES]
    assert len({*to_arrays(two).groups.tolist()}) == 5


def test_repeated_times_do_not_crowd_out_trajectories():
    same = [{**one, "time": np.float64(0.0)} for one in EXAMPLES]
    chosen = [int(one["trajectory"]) for one in few_shot(same, 15)]
    assert chosen == [*range(5)] * 3


def test_examples_that_repeat_a_time_are_chosen_from_in_turn():
    twice = [{**one, "copy": n} for n in (0, 1) for one in EXAMPLES]
    assert [one["copy"] for one in few_shot(twice, 20)].count(0) == 10
    assert len({*to_arrays(twice).groups.tolist()}) == 5  # none is both here and there


@pytest.mark.parametrize(
    "features",
    [
        {"inputs": ("vorticity", "streamfunction")},
        {"inputs": "vorticity", "outputs": "sgs_forcing"},
        {"outputs": ["vorticity"]},
    ],
)
def test_a_normalization_of_other_features_is_refused(features, dataset):
    for read in (
        lambda: to_arrays(EXAMPLES, GIVEN, **features),
        lambda: batches(dataset, 4, GIVEN, **features),
    ):
        with pytest.raises(ValueError, match=r"meant for the features .*=None"):
            read()


def test_a_normalization_of_the_same_quantities_by_other_names_is_taken():
    one = {**EXAMPLES[0], "psi": EXAMPLES[0]["streamfunction"]}
    one["potential_vorticity_upper"] = one["vorticity"]
    names = {"inputs": ("psi", "potential_vorticity_upper")}
    x, _ = to_arrays([one], GIVEN, **names)
    np.testing.assert_array_equal(x, to_arrays([one], GIVEN)[0])


def test_features_may_be_named_by_any_iterable():
    names = ["streamfunction", "vorticity"]
    x, y = to_arrays(EXAMPLES[:3], GIVEN, inputs=iter(names), outputs="sgs_forcing")
    for found, expected in zip((x, y), to_arrays(EXAMPLES[:3], GIVEN), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("labels", [["run0", "run1"], [0.5, 1.0], [2**63, 2**63 + 1]])
def test_labels_of_trajectories_are_kept_as_they_are(labels):
    for seed in ({}, {"seed": "a"}, {"seed": None}, {"seed": 2**63 + 5}):
        two = [{**EXAMPLES[0], **seed, "trajectory": label} for label in labels]
        assert to_arrays(two).groups.tolist() == labels


def test_batches_take_pipelines_that_do_not_tell_their_shapes():
    names = ("streamfunction", "vorticity", "sgs_forcing")
    fields = {name: EXAMPLES[0][name] for name in names}
    source = tf.data.Dataset.from_generator(
        lambda: [fields], output_types=dict.fromkeys(names, tf.float32)
    )
    ((x, y),) = batches(source, 1, None)
    for made, expected in zip((x, y), to_arrays([fields]), strict=True):
        np.testing.assert_array_equal(made, expected)


def test_examples_of_other_features_are_refused_by_name():
    expected = r"expected.*'sgs_forcing'.*without.*which have \['a'\].*tfds\.load"
    zeros = {"a": np.zeros((8, 12))}
    dataset = tf.data.Dataset.from_tensors(zeros)
    for ask in (to_arrays, lambda some: batches(dataset, 1, None), check_conventions):
        with pytest.raises(KeyError, match=expected):
            ask([zeros])
    with pytest.raises(KeyError, match=r"'trajectory', 'time'.*which have \['a'\]"):
        few_shot([zeros], 1)
    with pytest.raises(KeyError, match=r"without \['u'\], which have .*'vorticity'"):
        to_arrays(EXAMPLES, inputs=["u", "vorticity"])


@pytest.mark.parametrize("ask", [to_arrays, lambda some: batches(some, 1, None)])
def test_supervised_pairs_are_refused_in_words(ask):
    pairs = tf.data.Dataset.from_tensors((np.zeros((8, 12, 2)), np.zeros((8, 12, 1))))
    with pytest.raises(TypeError, match=r"received tuple.*without as_supervised"):
        ask(pairs)


def key(chosen):
    return (int(chosen["trajectory"]), float(chosen["time"]))


@pytest.mark.parametrize("order", ["as stored", "reversed", "shuffled"])
def test_subsets_are_nested_whatever_the_order_of_the_examples(order):
    examples = list(EXAMPLES)
    if order == "reversed":
        examples.reverse()
    if order == "shuffled":
        np.random.default_rng(0).shuffle(examples)
    everything = [key(one) for one in few_shot(EXAMPLES, 80)]
    assert sorted(everything) == [key(one) for one in EXAMPLES]
    for number in (1, 4, 16, 64):
        assert [key(one) for one in few_shot(examples, number)] == everything[:number]


@pytest.mark.parametrize("number", [5, 10, 20, 40])
def test_subsets_spread_over_trajectories_and_times(number):
    chosen = [key(one) for one in few_shot(EXAMPLES, number)]
    for trajectory in range(5):
        times = sorted(time for which, time in chosen if which == trajectory)
        assert len(times) == number // 5
        # 2^m times out of 16 of a period of 8 are equally far apart, around the end.
        gaps = np.diff([*times, times[0] + 8.0])
        np.testing.assert_array_equal(gaps, 8.0 / len(times))


def test_the_first_examples_differ_in_trajectory_and_time():
    chosen = few_shot(EXAMPLES, 4)
    assert len({int(one["trajectory"]) for one in chosen}) == 4
    assert [float(one["time"]) for one in chosen] == [0.0, 4.0, 2.0, 6.0]


@pytest.mark.parametrize("normalization", [None, GIVEN])
def test_the_pair_brings_the_trajectory_of_each_example(normalization):
    chosen = few_shot(EXAMPLES, 13)
    pair = to_arrays(chosen, normalization)
    assert isinstance(pair, tuple) and len(pair) == 2
    x, y = pair
    assert x.shape == (13, 8, 12, 2) and y.shape == (13, 8, 12, 1)
    assert list(pair.groups) == [key(one)[0] for one in chosen]
    assert len(set(pair.groups)) == 5


def test_without_trajectories_there_are_no_groups():
    named = [dict(one) for one in EXAMPLES[:3]]
    del named[1]["trajectory"]  # one that does not tell is enough
    assert to_arrays(named).groups is None


def test_a_copy_keeps_groups_and_a_new_pair_of_the_kind_does_not():
    """Those of fewer samples would be of other length."""
    pair = to_arrays(EXAMPLES[14:18])
    for same in (copy.copy(pair), pickle.loads(pickle.dumps(pair))):
        assert list(same.groups) == [0, 0, 1, 1]
    assert pair._replace(x=pair[0][:2], y=pair[1][:2]).groups is None
    assert type(pair)(*(part[::2] for part in pair)).groups is None


def test_keras_and_tensorflow_take_the_pair_as_one():
    keras, tf = map(pytest.importorskip, ("keras", "tensorflow"))
    pair = to_arrays(EXAMPLES[:4])
    halved = keras.tree.map_structure(lambda part: part[::2], pair)
    assert [part.shape[0] for part in halved] == [2, 2] and halved.groups is None
    ((x, y),) = tf.data.Dataset.from_tensor_slices(pair).batch(4)
    for found, expected in zip((x, y), pair, strict=True):
        np.testing.assert_array_equal(found, expected)


class Source(Sequence):
    """Examples read when asked for, as of a TFDS data source; counts those alive."""

    def __init__(self):
        self.alive = weakref.WeakValueDictionary()

    def __len__(self):
        return len(EXAMPLES)

    def __getitem__(self, index):
        read = UserDict(EXAMPLES[index])
        self.alive[id(read)] = read
        assert len(self.alive) <= 6
        return read


def test_of_a_source_on_disk_only_the_chosen_examples_are_kept():
    chosen = few_shot(Source(), 4)
    assert [key(one) for one in chosen] == [key(one) for one in few_shot(EXAMPLES, 4)]


def test_a_source_on_disk_tells_its_trajectories():
    np.testing.assert_array_equal(
        to_arrays(Source()).groups, [key(one)[0] for one in EXAMPLES]
    )


@pytest.mark.parametrize(("number", "shown"), [(0, "received 0"), (81, "81 .* 80")])
def test_an_impossible_subset_is_refused(number, shown):
    with pytest.raises(ValueError, match=f"num_examples.*{shown}"):
        few_shot(EXAMPLES, number)


@pytest.fixture(scope="module")
def dataset():
    tf = pytest.importorskip("tensorflow")
    stacked = {name: np.stack([e[name] for e in EXAMPLES]) for name in EXAMPLES[0]}
    return tf.data.Dataset.from_tensor_slices(stacked)


def test_batches_hold_what_to_arrays_holds(dataset):
    x, y = to_arrays(EXAMPLES, GIVEN)
    pieces = [(a.numpy(), b.numpy()) for a, b in batches(dataset, 32, GIVEN)]
    assert [len(a) for a, _ in pieces] == [32, 32, 16]
    np.testing.assert_allclose(
        np.concatenate([a for a, _ in pieces]), x, rtol=FLOAT32_ROUND_OFF, atol=1e-6
    )
    np.testing.assert_allclose(
        np.concatenate([b for _, b in pieces]), y, rtol=FLOAT32_ROUND_OFF, atol=1e-6
    )


def test_shuffled_batches_hold_every_example_in_a_repeatable_order(dataset):
    def epoch():
        shuffled = batches(dataset, 80, None, shuffle_seed=3)
        return next(iter(shuffled))[1].numpy()

    first, again = epoch(), epoch()
    _, y = to_arrays(EXAMPLES)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, y)
    by_first_value = [values[np.argsort(values[:, 0, 0, 0])] for values in (first, y)]
    np.testing.assert_array_equal(*by_first_value)


def test_arrays_can_be_made_from_a_tensorflow_dataset(dataset):
    found, from_list = to_arrays(dataset), to_arrays(EXAMPLES)
    for made, expected in zip(found, from_list, strict=True):
        np.testing.assert_array_equal(made, expected)
    np.testing.assert_array_equal(found.groups, from_list.groups)


def test_a_filtered_dataset_is_shuffled_as_a_whole(dataset):
    late = dataset.filter(lambda one: one["time"] > 2.0)
    (plain,), (mixed,) = (
        [y.numpy() for _, y in batches(late, 80, None, shuffle_seed=seed)]
        for seed in (None, 0)
    )
    assert not np.array_equal(plain, mixed)
    for found, expected in zip(
        *(np.sort(y, axis=0) for y in (plain, mixed)), strict=True
    ):
        np.testing.assert_array_equal(found, expected)
    assert np.mean(np.all(plain == mixed, axis=(1, 2, 3))) < 0.2


def test_an_endless_dataset_is_not_shuffled_as_a_whole(dataset):
    with pytest.raises(ValueError, match=r"batches\(\.\.\.\)\.repeat\(\)"):
        batches(dataset.repeat(), 4, None, shuffle_seed=0)
