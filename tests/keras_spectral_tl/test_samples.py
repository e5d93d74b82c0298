"""Samples are checked once, normalized once, and tell raw from normalized."""

import itertools
import types

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_spectral_tl as kst
from keras_spectral_tl import metrics, transfer
from keras_spectral_tl.transfer import (
    ChannelStatistics,
    RefitOnTarget,
    Samples,
    _samples,
)

SINGLE = 1e-5  # float32 predictions
QUICK = {"epochs": 2, "batch_size": 4, "run_eagerly": True}
RNG = np.random.default_rng(8)
X = RNG.normal(size=(8, 4)).astype("float32")
Y = (X[:, :3] * X[:, 1:] + 0.1).astype("float32")
SCALE, SHIFT = 1000.0, 5.0
TARGET = (SCALE * X + SHIFT, SCALE * Y + SHIFT)
TEST = (SCALE * X[::-1] + SCALE + SHIFT, SCALE * Y[::-1] + SHIFT)
BASE = ChannelStatistics((5.0,) * 4, (1000.0,) * 4, (5.0,) * 3, (1000.0,) * 3, "base")


class Own:
    """Statistics of the caller's own, without an equality."""

    normalize = staticmethod(lambda x, y: ((x - SHIFT) / SCALE, (y - SHIFT) / SCALE))
    denormalize = staticmethod(lambda x, y: (SCALE * x + SHIFT, SCALE * y + SHIFT))


def _model():
    keras.utils.set_random_seed(1)
    dense = (
        keras.layers.Dense(4, "leaky_relu", name="a"),
        keras.layers.Dense(3, name="b"),
    )
    return keras.Sequential([keras.Input((4,)), *dense])


OWN = Own()
WAYS = {
    "own": (RefitOnTarget(), ChannelStatistics.of(TARGET)),
    "base": (BASE, BASE),
    "own statistics": (OWN, OWN),
    "none": (None, None),
}


@pytest.mark.once
@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("given", ["raw", "normalized"])
def test_test_samples_are_normalized_once_in_retrain_sweep_and_baselines(way, given):
    """On data of mean 5 and deviation 1000, where twice is far off.

    Several outputs are compared in normalized units, whether the samples are given raw
    or normalized.
    """
    model, (option, statistics) = _model(), WAYS[way]
    data = Samples.of(TARGET).normalized(statistics)
    test = Samples.of(TEST).normalized(statistics)
    expected = transfer.retrain(model, (data.x, data.y), "a", **QUICK)
    outputs = expected.model.predict(test.x, verbose=0)
    truth = test.y
    if given == "raw":
        options = {**QUICK, "normalization": option}
        pair = Samples.of(TARGET), Samples.of(TEST)
    else:
        options, pair = QUICK, (data, test)
    figures = {
        "cc": metrics.pattern_correlation(truth, outputs),
        "relative_rmse": metrics.relative_rmse(truth, outputs),
    }
    result = transfer.retrain(model, pair[0], "a", **options)
    assert result.hashes_after == expected.hashes_after
    sweep = transfer.oracle_sweep(model, *pair, layers="a", **options).rows[0]
    whole = transfer.oracle_sweep(model, *pair, layers="a", cache=None, **options)
    table = transfer.baselines(model, *pair, include=["unchanged", "all"], **options)
    for name, value in figures.items():
        for row in (result.row(pair[1]), sweep, whole.rows[0]):
            assert row[name] == pytest.approx(value, rel=SINGLE), name
    before = model.predict(test.x, verbose=0)
    cc = metrics.pattern_correlation(truth, before)
    assert table.cc["unchanged"] == pytest.approx(cc, rel=SINGLE)
    alone = transfer.retrain_all(model, pair[0], **options).row(pair[1])
    assert table.cc["all"] == alone["cc"]


def test_samples_cannot_be_normalized_twice():
    samples = Samples.of(TARGET).normalized(BASE)
    assert samples.statistics is BASE
    assert samples.normalized(BASE) is samples
    with pytest.raises(ValueError, match="normalized already"):
        samples.normalized(ChannelStatistics.of(TARGET))
    with pytest.raises(ValueError, match="normalized already"):
        ChannelStatistics.of(samples)
    with pytest.raises(ValueError, match="normalized already"):
        transfer.retrain(_model(), samples, "a", normalization=RefitOnTarget())
    with pytest.raises(ValueError, match="normalized already"):
        transfer.oracle_sweep(_model(), TARGET, samples, **QUICK)
    assert Samples.of(samples) is samples


def test_statistics_are_equal_by_value_whatever_their_source():
    twin = ChannelStatistics(BASE.x_mean, BASE.x_std, BASE.y_mean, BASE.y_std, "file")
    samples = Samples.of(TARGET).normalized(BASE)
    assert samples.normalized(twin) is samples


def test_subsets_stay_what_they_are():
    samples = Samples.of(TARGET).normalized(BASE)
    part = samples.subset(slice(0, 3))
    assert part.statistics is BASE and len(part) == 3


@pytest.mark.once
@pytest.mark.parametrize("given", [TARGET, Samples.of(TARGET), (*TARGET, np.ones(8))])
@pytest.mark.parametrize("option", [BASE, RefitOnTarget(), OWN])
def test_validation_data_are_normalized_like_the_data(option, given):
    result = transfer.retrain(
        _model(), TARGET, "b", normalization=option, validation_data=given,
        optimizer=keras.optimizers.SGD(1e-9), **QUICK,
    )  # fmt: skip
    # The weights hardly move, so the loss is that of the very same samples.
    loss, held_out = (result.history[name][-1] for name in ("loss", "val_loss"))
    assert held_out == pytest.approx(loss, rel=1e-4)


def test_validation_data_of_a_sweep_are_normalized():
    options = {"normalization": BASE, "validation_data": TARGET, "layers": "b"}
    stop = keras.callbacks.EarlyStopping("val_loss", restore_best_weights=True)
    rows = [
        transfer.oracle_sweep(
            _model(), TARGET, TEST, callbacks=stop, cache=cache, **options, **QUICK
        ).rows[0]
        for cache in (transfer.PrefixCache(), None)
    ]
    assert rows[0]["cc"] == pytest.approx(rows[1]["cc"], rel=SINGLE)


# Forms of data


def _siamese():
    keras.utils.set_random_seed(1)
    inputs = {name: keras.Input((4,), name=name) for name in ("u", "v")}
    shared = keras.layers.Dense(4, "tanh", name="a")
    joined = keras.layers.Concatenate()([shared(part) for part in inputs.values()])
    return inputs, keras.layers.Dense(3, name="b")(joined)


@pytest.mark.parametrize("form", [list, tuple, dict])
def test_several_inputs_as_list_tuple_and_dict(form):
    inputs, outputs = _siamese()
    symbolic = inputs if form is dict else list(inputs.values())
    model = keras.Model(symbolic, outputs)
    x = {"u": X, "v": 2 * X} if form is dict else form([X, 2 * X])
    options = {"epochs": 2, "batch_size": 4}
    result = transfer.retrain(model, (x, Y), "b", **options)
    assert result.changed == ("b",)
    row = transfer.oracle_sweep(model, (x, Y), (x, Y), layers="b", **options).rows[0]
    assert row["cc"] == pytest.approx(result.row((x, Y))["cc"], abs=SINGLE)
    named = transfer.retrain(model, ((X, 2 * X) if form is not dict else x, Y), "b",
                             **options)  # fmt: skip
    assert named.hashes_after == result.hashes_after


def test_targets_of_rank_one():
    keras.utils.set_random_seed(1)
    layers = keras.layers.Dense(4, "tanh", name="a"), keras.layers.Dense(1, name="b")
    flat = keras.layers.Reshape(())
    model = keras.Sequential([keras.Input((4,)), *layers, flat])
    y = Y[:, 0]
    result = transfer.retrain(model, (X, y), "b", **QUICK)
    outputs = result.model.predict(X, verbose=0)
    row = result.row((X, y))
    assert row["cc"] == pytest.approx(np.corrcoef(y, outputs)[0, 1], abs=SINGLE)
    sweep = transfer.oracle_sweep(model, (X, y), (X, y), **QUICK)
    assert sweep.cc["b"] == pytest.approx(row["cc"], abs=SINGLE)
    scaled = transfer.retrain(model, (X, 1e3 * y), "b", normalization=RefitOnTarget(),
                              **QUICK)  # fmt: skip
    assert len(scaled.normalization.y_mean) == 1


def test_of_equal_correlations_the_least_error_is_best():
    rows = [
        {"layer": "a", "cc": 0.0, "relative_rmse": 2.0},
        {"layer": "b", "cc": 0.0, "relative_rmse": 1.0},
    ]
    assert transfer.SweepResult(tuple(rows)).best == "b"


@pytest.mark.parametrize("ignored", [-1, 255])
def test_labels_that_a_loss_ignores_count_in_no_figure(ignored):
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [keras.Input((5, 4)), keras.layers.Dense(3, "softmax", name="a")]
    )
    x = np.random.default_rng(0).normal(size=(6, 5, 4)).astype("float32")
    labels = np.argmax(x[..., :3], axis=-1)
    labels[4:] = ignored  # whole samples
    loss = keras.losses.SparseCategoricalCrossentropy(ignore_class=ignored)
    result = transfer.retrain(model, (x, labels), "a", epochs=1, loss=loss)
    assert result.row((x, labels))["cc"] == result.row((x[:4], labels[:4]))["cc"]
    other, some = x.copy(), labels.copy()
    some[:2, 1:3] = ignored  # points of samples
    other[:2, 1:3] += 1.0  # which alone changes outputs there
    rows = [result.row((part, some)) for part in (x, other)]
    for name in ("cc", "relative_rmse"):
        assert rows[0][name] == pytest.approx(rows[1][name], rel=SINGLE)


@pytest.mark.parametrize("shape", [(8,), (8, 1)])
def test_integer_labels_go_with_a_sparse_loss(shape):
    keras.utils.set_random_seed(1)
    layers = keras.layers.Dense(4, "tanh", name="a"), keras.layers.Dense(3, "softmax")
    model = keras.Sequential([keras.Input((4,)), *layers])
    labels = np.argmax(Y, axis=1)
    options = {"epochs": 2, "batch_size": 4, "seed": 1}
    result = transfer.retrain(
        model, (X, labels.reshape(shape)), "a",
        loss="sparse_categorical_crossentropy", **options,
    )  # fmt: skip
    one_hot = np.eye(3, dtype="float32")[labels]
    other = transfer.retrain(
        model, (X, one_hot), "a", loss="categorical_crossentropy", **options
    )
    rows = result.row((X, labels.reshape(shape))), other.row((X, one_hot))
    assert rows[0]["cc"] == pytest.approx(rows[1]["cc"], abs=SINGLE)
    for wrong in (-1, 3):
        beyond = np.where(labels == labels[2], wrong, labels).reshape(shape)
        with pytest.raises(ValueError, match=f"from 0 to 2.* Received {wrong} in samp"):
            transfer.retrain(
                model, (X, beyond), "a",
                loss="sparse_categorical_crossentropy", **options,
            )  # fmt: skip
    for given in (labels, labels.astype("float32")):
        with pytest.raises(ValueError, match=r"to_categorical\(y, 3\).*sparse loss"):
            transfer.retrain(model, (X, given.reshape(shape)), "a")
    # Scores compare outputs with y itself, so that a loss does not help.
    with pytest.raises(ValueError, match=r"to_categorical\(y, 3\)\.$"):
        kst.score_layers(model, (X, labels.reshape(shape)), (X, one_hot))


def test_a_dataset_without_end_and_without_a_length_is_refused(monkeypatch):
    def endless():
        while True:
            yield X, Y

    signature = tuple(tf.TensorSpec(part.shape, part.dtype) for part in (X, Y))
    dataset = tf.data.Dataset.from_generator(endless, output_signature=signature)
    assert int(dataset.cardinality()) == -2
    monkeypatch.setattr(_samples, "_MOST_BATCHES", 100)
    with pytest.raises(ValueError, match=r"no end after 101 batches .*take\(10\)"):
        transfer.retrain(_model(), dataset, "a")
    assert len(Samples.of(dataset.take(3))) == 24
    monkeypatch.setattr(_samples, "_MOST_BYTES", 10 * (X.nbytes + Y.nbytes))
    with pytest.raises(ValueError, match="no end after 11 batches"):
        Samples.of(dataset)


@pytest.mark.parametrize("form", [list, dict])
def test_an_output_of_several_is_retrained_as_the_error_says(form):
    inputs = keras.Input((4,))
    hidden = keras.layers.Dense(4, "tanh", name="a")(inputs)
    heads = [keras.layers.Dense(3, name=name)(hidden) for name in ("u", "v")]
    model = keras.Model(
        inputs, heads if form is list else {"u": heads[0], "v": heads[1]}
    )
    for function in (
        lambda model: transfer.retrain(model, (X, Y), "a", **QUICK),
        lambda model: kst.score_layers(model, (X, Y), (X, Y), epochs=1),
    ):
        with pytest.raises(ValueError, match=r"2 output.* shares all layers") as error:
            function(model)
    given = str(error.value).partition("layers: ")[2].removesuffix(".")
    key = 0 if form is list else "u"
    assert given == f"keras.Model(model.input, model.output[{key!r}])"
    one = keras.Model(model.input, model.output[key])
    result = transfer.retrain(one, (X, Y), "u", **QUICK)
    assert result.changed == ("u",)


class Sequence(keras.utils.PyDataset):
    """Samples in batches of three, as many as are asked for, or without end."""

    def __init__(self, count):
        super().__init__()
        self.count = count

    num_batches = property(lambda self: self.count)

    def __getitem__(self, index):
        rows = slice(3 * index, 3 * index + 3)
        return X[rows], Y[rows]


def _torch_loader():
    data = pytest.importorskip("torch.utils.data")
    torch = pytest.importorskip("torch")
    pairs = data.TensorDataset(torch.from_numpy(X).requires_grad_(), torch.tensor(Y))
    return data.DataLoader(pairs, batch_size=3)


SOURCES = {
    "tf.data": lambda: tf.data.Dataset.from_tensor_slices((X, Y)).batch(3),
    "PyDataset": lambda: Sequence(3),
    "generator": lambda: ((X[i : i + 3], Y[i : i + 3]) for i in (0, 3, 6)),
    "DataLoader": _torch_loader,
}


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_sources_of_batches_are_read_once_into_arrays(source):
    samples = Samples.of(source())
    np.testing.assert_array_equal(samples.x, X)
    np.testing.assert_array_equal(samples.y, Y)


def test_batches_of_several_inputs_keep_their_structure():
    samples = Samples.of(({"u": X, "v": (Y, X)}, Y) for _ in range(2))
    assert samples.x["u"].shape == (16, 4) and samples.x["v"][0].shape == (16, 3)


def test_retrain_and_scores_take_a_generator_and_a_py_dataset():
    model = _model()
    expected = transfer.retrain(model, (X, Y), "a", **QUICK)
    for source in (Sequence(3), SOURCES["generator"]()):
        result = transfer.retrain(model, source, "a", **QUICK)
        assert result.hashes_after == expected.hashes_after
    scores = kst.score_layers(model, Sequence(3), SOURCES["generator"](), epochs=2)
    assert sorted(scores.ranking) == ["a", "b"]


def test_endless_generators_and_py_datasets_are_refused(monkeypatch):
    monkeypatch.setattr(_samples, "_MOST_BATCHES", 100)
    endless = ((X, Y) for _ in itertools.count())
    with pytest.raises(ValueError, match=r"no end after 101 batches .*islice"):
        transfer.retrain(_model(), endless, "a")
    monkeypatch.setattr(Sequence, "__getitem__", lambda self, index: (X, Y))
    with pytest.raises(ValueError, match="no end after 101 batches"):
        kst.score_layers(_model(), Sequence(None), (X, Y))
    assert len(Samples.of(itertools.islice(endless, 3))) == 24


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        ((X, Y, Y), TypeError, "tuple of 3 .*weights are not used"),
        ((np.ma.masked_array(X, X > 0), Y), ValueError, "masked NumPy array"),
        (tf.data.Dataset.from_tensor_slices((X[:, 0], Y)), ValueError, r"batch\(32\)"),
        (((x, 1.0) for x in X), ValueError, r"batch\(32\)"),
        (({"x": X, "y": Y} for _ in range(2)), TypeError, "generator.*Received dict"),
        (((X, Y, Y) for _ in range(2)), TypeError, "tuple of 3 .*weights are not used"),
        (iter(()), ValueError, "hold no samples"),
        ({"x": X, "y": Y}, TypeError, r"Received dict: take the pair.*data\['x'\]"),
        (types.MappingProxyType({"x": X, "y": Y}), TypeError, "take the pair"),
        (X, TypeError, "Received ndarray"),
        ((X, {"u": Y, "v": Y}), ValueError, r"a dict with 'u', 'v'.*pass \(x, y\[key"),
        ((X, [Y, Y]), ValueError, r"list of 2 arrays.*model\.output\[key\]"),
    ],
)
def test_data_of_other_forms_are_refused_in_words(data, error, message):
    with pytest.raises(error, match=message):
        Samples.of(data)


def test_fields_that_come_one_by_one_are_to_be_put_into_batches():
    """Each is taken for a batch of its rows."""
    inputs = keras.Input((16, 1))
    model = keras.Model(inputs, keras.layers.Conv1D(1, 3, padding="same")(inputs))
    x = np.zeros((4, 16, 1), "float32")
    single = tf.data.Dataset.from_tensor_slices((x, x))
    with pytest.raises(ValueError, match=r"axis is missing.*dataset\.batch\(32\)"):
        transfer.retrain(model, single, None, epochs=1)
    with pytest.raises(ValueError, match=r"axis .* missing: pass np.asarray\(y\)\["):
        transfer.retrain(model, (x, x[..., 0]), None, epochs=1)


@pytest.mark.parametrize(
    ("outputs", "shape", "advice"),
    [
        (
            1,
            (8, 8, 2),
            "gives 1 channel(s), y has 2: choose 1 of them, for example y[..., :1]",
        ),
        (
            1,
            (8, 8, 2),
            "take a model with as many, for example build_sgs_cnn(..., num_outputs=2)",
        ),
        (2, (8, 8, 1), "gives 2 channel(s), y has 1: pass them all"),
        (1, (8, 8), "axis of the channel is missing: pass np.asarray(y)[..., None]"),
        (1, (8, 8, 1, 1), "has one axis too many: pass y[..., 0]"),
        (1, (4, 4, 1), "Pass y on the same grid"),
    ],
)
def test_outputs_of_another_shape_are_mended_by_their_case(outputs, shape, advice):
    model = kst.build_sgs_cnn((8, 8, 2), 2, 2, num_outputs=outputs)
    data = np.zeros((4, 8, 8, 2), "float32"), np.full((4, *shape), 0.5, "float32")
    with pytest.raises(ValueError, match="turns one sample into shape") as caught:
        transfer.retrain(model, data, None, epochs=1)
    assert advice in str(caught.value)
    assert ("[..., None]" in str(caught.value)) == (shape == (8, 8))


BAD = (np.where(np.arange(8)[:, None] == 3, np.nan, X), Y)


@pytest.mark.parametrize(
    "name", ["target_data", "test_data", "base_test", "replay", "validation_data"]
)
def test_an_error_names_the_samples_that_are_bad(name):
    given = {"target_data": (X, Y), "test_data": (X, Y), name: BAD}
    with pytest.raises(ValueError, match=f"x of {name} has .* first in sample 3"):
        transfer.oracle_sweep(_model(), **given, epochs=1)


@pytest.mark.parametrize("data", [(X, Y[:3]), (X[:0], Y[:0]), X, (X, Y.astype(str))])
def test_whatever_is_wrong_with_samples_they_are_named(data):
    with pytest.raises((TypeError, ValueError), match="test_data"):
        transfer.oracle_sweep(_model(), (X, Y), data, epochs=1)


@pytest.mark.parametrize("name", ["target_data", "base_data", "replay"])
def test_questions_name_the_samples_that_are_bad(name):
    given = {"base_data": (X, Y), "target_data": (X, Y), name: BAD}
    with pytest.raises(ValueError, match=f"x of {name} has "):
        kst.forecast(_model(), **given, arms=["a"], steps=20)
    if name != "replay":
        with pytest.raises(ValueError, match=f"x of {name} has "):
            kst.score_layers(_model(), **given)


def test_lists_of_numbers_are_one_array():
    samples = Samples.of(([[1.0, 2.0], [3.0, 4.0]], [[1.0], [2.0]]))
    assert samples.x.shape == (2, 2)


def test_printed_samples_tell_types_and_shapes():
    assert repr(Samples.of(TARGET)) == (
        "Samples(x=float32 (8, 4), y=float32 (8, 3), statistics=None, groups=None, "
        "weights=None)"
    )
    several = Samples.of(((X, X), Y)).normalized(None)
    assert repr(several).startswith("Samples(x=(float32 (8, 4), float32 (8, 4)), y=")
    assert len(repr(Samples.of(TARGET).normalized(BASE)).splitlines()) == 1
