"""A sweep on cached activations equals whole retrainings, resumes, runs anywhere."""

import concurrent.futures
import dataclasses
import json
import multiprocessing
import os
import signal
import subprocess
import sys
from functools import partial

import keras
import numpy as np
import pytest

from keras_spectral_tl import freezing, metrics, transfer
from keras_spectral_tl._graph.cut import PrefixCache
from keras_spectral_tl._graph.layers import fetch
from keras_spectral_tl.losses import SpectralLoss
from keras_spectral_tl.transfer._arms import Candidate
from keras_spectral_tl.transfer._samples import Samples
from keras_spectral_tl.transfer._sweep_rows import RowTrainer
from keras_spectral_tl.transfer._sweep_store import (
    SweepDirectory,
    SweepRow,
    fingerprint,
)

# Float32 training of a few steps on tiny networks: whole and cached runs differ where a
# compiler fuses operations otherwise. Far below what one step moves (1e-2).
SINGLE = 1e-5
COMPILED = {"epochs": 2, "batch_size": 4}
QUICK = {**COMPILED, "run_eagerly": True}  # most of the time would go into compiling

RNG = np.random.default_rng(5)
X = RNG.normal(size=(8, 4)).astype("float32")
Y = (X[:, :3] * X[:, 1:] + 0.1).astype("float32")
TEST = (X[::-1] + 0.1, Y[::-1])
FIELDS = RNG.normal(size=(6, 8, 8, 2)).astype("float32")
FORCING = (np.roll(FIELDS[..., :1], 1, axis=1) - FIELDS[..., 1:]).astype("float32")


def _dense(name, units=4):
    activation = "tanh" if units == 4 else None
    return keras.layers.Dense(units, activation=activation, name=name)


def _chain():
    keras.utils.set_random_seed(1)
    layers = [_dense("a"), _dense("b"), _dense("c", 3)]
    return keras.Sequential([keras.Input((4,)), *layers])


def _with_dropout():
    keras.utils.set_random_seed(1)
    inner = keras.Sequential([keras.Input((4,)), _dense("a"), _dense("b")], name="in")
    inputs = keras.Input((4,))
    # Without a seed of its own, Keras' dropout on torch ignores the model's.
    hidden = keras.layers.Dropout(0.3, seed=2)(inner(inputs))
    return keras.Model(inputs, _dense("d", 3)(_dense("c")(hidden) + inputs))


def _unet():
    def conv(name, filters=3, activation="relu"):
        return keras.layers.Conv2D(
            filters, 3, padding="same", activation=activation, name=name
        )

    keras.utils.set_random_seed(1)
    inputs = keras.Input((8, 8, 2))
    skip = keras.layers.BatchNormalization(name="norm")(conv("down")(inputs))
    low = conv("bottom")(keras.layers.AveragePooling2D(2)(skip))
    joined = keras.layers.Concatenate()([keras.layers.UpSampling2D()(low), skip])
    return keras.Model(inputs, conv("out", 1, None)(joined))


class Subclassed(keras.Model):
    def __init__(self, **options):
        super().__init__(**options)
        self.first, self.last = _dense("first"), _dense("last", 3)

    def call(self, inputs):
        return self.last(self.first(inputs))


def _data_for(model):
    return (FIELDS, FORCING) if len(model.inputs[0].shape) == 4 else (X, Y)


def _figures(sweep):
    return {row["layer"]: (row["cc"], row["relative_rmse"]) for row in sweep.rows}


def _assert_equal_rows(one, two, tolerance=0.0):
    assert [row["layer"] for row in one.rows] == [row["layer"] for row in two.rows]
    for label, figures in _figures(one).items():
        np.testing.assert_allclose(
            figures, _figures(two)[label], rtol=0, atol=tolerance
        )
        for name, arrays in one.weights[label].items():
            for first, second in zip(arrays, two.weights[label][name], strict=True):
                np.testing.assert_allclose(first, second, rtol=0, atol=tolerance)


@pytest.mark.parametrize(
    ("build", "layers"), [(_with_dropout, ["in/b", "d"]), (_unet, ["bottom", "out"])]
)
def test_cached_rows_are_those_of_whole_retrainings(build, layers):
    model = build()
    data, options = _data_for(model), {"layers": layers, "seed": 3, **COMPILED}
    before = freezing.layer_hashes(model)
    cached = transfer.oracle_sweep(model, data, data, **options)
    whole = transfer.oracle_sweep(model, data, data, cache=None, **options)
    _assert_equal_rows(cached, whole, SINGLE)
    assert freezing.layer_hashes(model) == before
    keys = {"layer", "cc", "relative_rmse", "num_parameters", "seconds"}
    assert all(set(row) == keys for row in cached.rows)


def test_equal_seeds_give_equal_bits_also_from_files(tmp_path):
    model, limits = _chain(), (2**30, 0)
    sweeps = [
        transfer.oracle_sweep(
            model, (X, Y), TEST, seed=4, **QUICK,
            cache=PrefixCache(memory_limit=limit, directory=tmp_path),
        )
        for limit in limits
    ]  # fmt: skip
    _assert_equal_rows(*sweeps)


def test_frozen_layers_stay_and_the_best_model_is_at_hand():
    model = _chain()
    before = freezing.layer_hashes(model)
    sweep = transfer.oracle_sweep(model, (X, Y), TEST, **QUICK)
    for label in before:
        trained = sweep.model(model, label)
        after = freezing.layer_hashes(trained)
        assert [name for name in before if before[name] != after[name]] == [label]
        result = transfer.retrain(model, (X, Y), label, **QUICK)
        for one, two in zip(trained.weights, result.model.weights, strict=True):
            np.testing.assert_allclose(fetch(one), fetch(two), atol=SINGLE)
    best = freezing.layer_hashes(sweep.model(model))
    assert best == freezing.layer_hashes(sweep.model(model, sweep.best))
    with pytest.raises(KeyError, match=r"weights for 'z'\. It has those of: a, b, c"):
        sweep.model(model, "z")


def test_a_frozen_layer_that_moves_is_caught():
    class Meddler(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            bias = self.model.get_layer("c").bias
            bias.assign(np.ones(bias.shape))

    with pytest.raises(RuntimeError, match=r"Frozen layer\(s\) c changed") as caught:
        transfer.oracle_sweep(
            _chain(), (X, Y), TEST, layers="b", callbacks=Meddler(), **QUICK
        )
    assert "'b' was retrained alone" in caught.value.__notes__[0]


def test_pairs_are_trained_together():
    model = _chain()
    sweep = transfer.oracle_sweep(
        model, (X, Y), TEST, layers=["c", ("c", "b"), "b", ("b", "c")], **QUICK
    )
    assert list(sweep.cc) == ["b", "c", "b+c"]
    assert set(sweep.weights["b+c"]) == {"b", "c"}
    rows = {row["layer"]: row for row in sweep.rows}
    together = rows["b"]["num_parameters"] + rows["c"]["num_parameters"]
    assert rows["b+c"]["num_parameters"] == together
    alone = transfer.retrain(model, (X, Y), ["b", "c"], **QUICK).row(TEST)
    assert rows["b+c"]["cc"] == pytest.approx(alone["cc"], abs=SINGLE)


def test_held_out_samples_and_normalization_reach_the_suffix():
    model, options = _chain(), {"layers": ["b"], "seed": 2, **QUICK}
    for extra in (
        {"validation_data": TEST, "callbacks": keras.callbacks.EarlyStopping()},
        {"validation_split": 0.5},
        {"normalization": transfer.RefitOnTarget()},
    ):
        cached = transfer.oracle_sweep(model, (X, Y), TEST, **options, **extra)
        whole = transfer.oracle_sweep(
            model, (X, Y), TEST, cache=None, **options, **extra
        )
        _assert_equal_rows(cached, whole, SINGLE)


def test_models_without_a_graph_are_swept_as_a_whole():
    model = Subclassed()
    model(X)
    sweep = transfer.oracle_sweep(model, (X, Y), TEST, **QUICK)
    assert list(sweep.cc) == ["first", "last"]
    row = transfer.retrain(model, (X, Y), "last", **QUICK).row(TEST)
    assert sweep.cc["last"] == row["cc"]


@pytest.mark.once
def test_samples_from_a_file(tmp_path):
    np.savez(tmp_path / "target.npz", x=X, y=Y)
    np.savez(tmp_path / "bad.npz", x=X, z=Y)
    model, options = _chain(), {"layers": "c", **QUICK}
    sweep = transfer.oracle_sweep(model, tmp_path / "target.npz", TEST, **options)
    _assert_equal_rows(sweep, transfer.oracle_sweep(model, (X, Y), TEST, **options))
    with pytest.raises(KeyError, match=r"lacks the array\(s\) y; it holds x, z"):
        transfer.oracle_sweep(model, str(tmp_path / "bad.npz"), TEST, **options)


@pytest.mark.once
@pytest.mark.slow
def test_a_process_pool_gives_the_same_rows():
    model, seen = _chain(), []
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, context) as pool:
        there = transfer.oracle_sweep(
            model, (X, Y), TEST, layers=["b", ("b", "c")], seed=6,
            executor=pool, progress=seen.append, **QUICK,
        )  # fmt: skip
        with pytest.raises(FloatingPointError) as caught:
            transfer.oracle_sweep(
                model, (X, Y), TEST, layers="c", executor=pool,
                optimizer=keras.optimizers.SGD(1e30), run_eagerly=True,
            )  # fmt: skip
    here = transfer.oracle_sweep(
        model, (X, Y), TEST, layers=["b", ("b", "c")], seed=6, **QUICK
    )
    _assert_equal_rows(there, here, SINGLE)
    assert sorted(row["layer"] for row in seen) == ["b", "b+c"]
    assert any("'c' was retrained alone" in note for note in caught.value.__notes__)


@pytest.mark.once
@pytest.mark.parametrize("name", ["progress", "executor"])
def test_what_cannot_be_called_is_refused_before_any_work(name):
    for call in (transfer.oracle_sweep, transfer.baselines):
        if call is transfer.baselines and name == "executor":
            continue
        with pytest.raises(TypeError, match=f"Expected {name} as a"):
            call(_chain(), (X, Y), TEST, **{name: "other"})


def test_a_worker_on_another_backend_is_refused(monkeypatch):
    class Here(concurrent.futures.Executor):
        def submit(self, function, /, *arguments):
            future = concurrent.futures.Future()
            monkeypatch.setattr(keras.backend, "backend", lambda: "other")
            try:
                future.set_result(function(*arguments))
            except Exception as error:
                future.set_exception(error)
            return future

    with pytest.raises(RuntimeError, match=r"this worker on 'other'\. Start"):
        transfer.oracle_sweep(_chain(), (X, Y), TEST, layers="c", executor=Here())


def _power(exponent, y_true, y_pred):
    return abs(y_true - y_pred) ** exponent


def _closure(exponent):
    return lambda y_true, y_pred: _power(exponent, y_true, y_pred)


def _main(directory):
    """A sweep that dies by SIGKILL in the training of its second row."""

    class Killer(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch and list(directory.glob("row=*.json")):
                os.kill(os.getpid(), signal.SIGKILL)

    transfer.oracle_sweep(
        _chain(),
        (X, Y),
        TEST,
        directory=directory,
        callbacks=Killer(),
        recipe="with a killer",
        **QUICK,
    )


@pytest.mark.once
@pytest.mark.slow
def test_a_killed_sweep_goes_on_where_it_stopped(tmp_path):
    script = (
        "import importlib.util, pathlib, sys\n"
        "spec = importlib.util.spec_from_file_location('sweeping', sys.argv[1])\n"
        "module = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(module); module._main(pathlib.Path(sys.argv[2]))\n"
    )
    command = [sys.executable, "-c", script, __file__, str(tmp_path)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    (finished,) = tmp_path.glob("row=*.json")
    seconds = json.loads(finished.read_text())["values"]["seconds"]
    seen, trained = [], []

    class Counter(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            trained.append(1)

    resumed = transfer.oracle_sweep(
        _chain(), (X, Y), TEST, directory=tmp_path, progress=seen.append,
        callbacks=Counter(), recipe="with a killer", **QUICK,
    )  # fmt: skip
    assert len(trained) == 2 and [row["layer"] for row in seen] == ["a", "b", "c"]
    assert resumed.rows[0]["seconds"] == seconds
    _assert_equal_rows(resumed, transfer.oracle_sweep(_chain(), (X, Y), TEST, **QUICK))


@pytest.mark.once
def test_a_finished_sweep_is_read_and_another_one_refused(tmp_path):
    options = {"layers": "c", "directory": tmp_path, **QUICK}
    first = transfer.oracle_sweep(_chain(), (X, Y), TEST, rate_factors=[1], **options)
    again = transfer.oracle_sweep(_chain(), (X, Y), TEST, rates={}, **options)
    assert again.rows == first.rows
    _assert_equal_rows(again, first)
    other = _chain()
    other.weights[-1].assign([0.0, 0.5, 0.0])
    for change, what in (
        ({"model": other}, "differs: model"),
        ({"target_data": (X + 1, Y)}, "differs: target_data"),
        ({"test_data": (X, Y)}, "differs: test_data"),
        ({"epochs": 3}, "differs: epochs: 2 there, 3 now"),
        ({"optimizer": keras.optimizers.SGD(0.1)}, "differs: optimizer: None there"),
        ({"seed": 1}, "differs: seed: None there, 1 now"),
        ({"rates": {"c": 0.1}}, "differs: rates: None there"),
    ):
        arguments = {
            "model": _chain(), "target_data": (X, Y), "test_data": TEST,
            **options, **change,
        }  # fmt: skip
        with pytest.raises(ValueError, match=f"rows of another sweep. What {what}"):
            transfer.oracle_sweep(**arguments)


@pytest.mark.once
def test_rows_come_back_from_disk_as_they_were(tmp_path):
    store = SweepDirectory(tmp_path / "new", {"model": "x"})
    candidate = Candidate(("in/a", "b"), (0, 1))
    assert store.load(candidate) is None
    weights = [[np.ones((2, 3), "float32"), np.zeros(3)], [np.arange(12.0)] * 11]
    values = {"layer": "in/a+b", "cc": float("nan"), "num_parameters": 3}
    store.save(candidate, SweepRow(values, weights))
    (folder,) = tmp_path.iterdir()
    assert {path.suffix for path in folder.iterdir()} == {".json", ".npz"}
    found = SweepDirectory(folder, {"model": "x"}).load(candidate)
    assert np.isnan(found.values["cc"]) and found.values["layer"] == "in/a+b"
    assert [len(arrays) for arrays in found.weights] == [2, 11]
    for one, two in zip(found.weights, weights, strict=True):
        for first, second in zip(one, two, strict=True):
            np.testing.assert_array_equal(first, second)
            assert first.dtype == second.dtype


@pytest.mark.once
def test_a_row_is_kept_as_its_weights_and_no_other_array(tmp_path, monkeypatch):
    """NumPy 2.0 takes every keyword of savez for an array."""
    kept = {}
    monkeypatch.setattr(np, "savez", lambda file, **arrays: kept.update(arrays))
    row = SweepRow({"layer": "a"}, [[np.ones(2), np.zeros(3)]])
    SweepDirectory(tmp_path, {"model": "x"}).save(Candidate(("a",), (0,)), row)
    assert list(kept) == ["0_0", "0_1"]


def test_a_finished_sweep_of_short_floats_gives_its_models(tmp_path):
    dense = keras.layers.Dense(3, dtype="bfloat16", name="a")
    model = keras.Sequential([keras.Input((4,)), dense])
    options = {**QUICK, "optimizer": keras.optimizers.SGD(0.5), "directory": tmp_path}
    first, again = (
        transfer.oracle_sweep(model, (X, Y), TEST, **options).model(model)
        for _ in range(2)
    )
    for one, other in zip(first.weights, again.weights, strict=True):
        np.testing.assert_array_equal(
            fetch(one).astype("float32"), fetch(other).astype("float32")
        )


def test_rows_do_not_depend_on_those_before():
    model = _chain()
    training = transfer.RetrainOptions.of(dict(QUICK))
    data = transfer.Samples.of((X, Y))
    trainer = RowTrainer(model, data, data, training, PrefixCache())
    last = Candidate.of(model, "c")
    first = trainer.row(last)
    trainer.row(Candidate.of(model, "a"))
    again = trainer.row(last)
    assert first.values["cc"] == again.values["cc"]
    for one, two in zip(first.weights[0], again.weights[0], strict=True):
        np.testing.assert_array_equal(one, two)


def _falling(steps):
    rate = keras.optimizers.schedules.CosineDecay(1e-3, steps)
    return keras.optimizers.Adam(rate)


@dataclasses.dataclass(frozen=True)
class Shifted:
    """A normalization of the caller's own, described by its field."""

    shift: float

    def normalize(self, x, y):
        return x - self.shift, y

    def denormalize(self, x, y):
        return x + self.shift, y


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"epochs": np.int64(1)}, {"epochs": np.int64(30)}),
        (
            {"loss": keras.losses.Huber(1.0)},
            {"loss": keras.losses.Huber(1e-3)},
        ),
        ({"optimizer": _falling(10)}, {"optimizer": _falling(20)}),
        ({"normalization": Shifted(1.0)}, {"normalization": Shifted(2.0)}),
        ({"validation_data": (X, Y)}, {"validation_data": (X, Y + 1)}),
        (
            {"learning_rates": transfer.LearningRates({"a": 0.1})},
            {"learning_rates": transfer.LearningRates({"b": 0.1})},
        ),
        ({"loss": "mse"}, {"loss": keras.losses.mean_absolute_error}),
    ],
)
def test_options_that_differ_make_another_sweep(one, other):
    data = Samples.of((X, Y))
    prints = [fingerprint(_chain(), data, data, o) for o in (one, other, one)]
    assert prints[0] == prints[2] != prints[1]


class Own(keras.losses.Loss):
    def call(self, y_true, y_pred):
        return abs(y_true - y_pred) ** 3


class Opaque:
    """A normalization without anything to compare."""

    normalize = denormalize = staticmethod(lambda x, y: (x, y))


@pytest.mark.parametrize(
    "option",
    [
        {"loss": _power},
        {"loss": partial(_power, 2)},
        {"loss": lambda y, p: (y - p) ** 2},
        {"loss": Own()},
        {"callbacks": [keras.callbacks.TerminateOnNaN()]},
        {"normalization": Opaque()},
        {"loss": SpectralLoss(mismatch=_power)},
    ],
)
def test_options_that_cannot_be_compared_must_be_named(option):
    data = Samples.of((X, Y))
    with pytest.raises(ValueError, match=r"cannot be described by value\. Pass recipe"):
        fingerprint(_chain(), data, data, option)
    prints = [fingerprint(_chain(), data, data, option, name) for name in "aab"]
    assert prints[0] == prints[1] != prints[2]


def test_long_names_of_combinations_are_kept(tmp_path):
    names = tuple(f"{'layer_with_a_long_name_é':28}{n}" for n in range(12))
    other = Candidate((*names[:-1], "other"), tuple(range(12)))
    store, candidate = SweepDirectory(tmp_path, {}), Candidate(names, tuple(range(12)))
    values = {"layer": candidate.label, "cc": 0.5}
    store.save(candidate, SweepRow(values, [[np.ones(2)]] * 12))
    assert store.load(candidate).values == values
    assert store.load(other) is None
    assert max(len(path.name) for path in tmp_path.iterdir()) < 140


def test_an_executor_needs_a_loss_that_can_be_sent():
    executor = concurrent.futures.ThreadPoolExecutor(1)
    with executor, pytest.raises(TypeError, match=r"loss=<function .*cannot be sent"):
        transfer.oracle_sweep(
            _chain(), (X, Y), TEST, executor=executor, loss=_closure(2), **QUICK
        )


def _tokens(units):
    keras.utils.set_random_seed(1)
    table = keras.layers.Embedding(20, 6, mask_zero=True, name="table")
    inputs = keras.Input((8,), dtype="int32")
    hidden = keras.layers.Dense(6, "relu", name="d")(table(inputs))
    return keras.Model(inputs, keras.layers.Dense(units, name="out")(hidden))


@pytest.mark.slow
def test_rows_of_masked_sequences_leave_the_padding_out_of_the_loss():
    model = _tokens(2)
    x = RNG.integers(1, 20, size=(16, 8))
    y = RNG.normal(size=(16, 8, 2)).astype("float32")
    x[:, 4:], y[:, 4:] = 0, 5.0  # whatever stands in the padding
    options = {"epochs": 8, "batch_size": 8}
    sweep = transfer.oracle_sweep(model, (x, y), (x, y), layers=["d", "out"], **options)
    for row in sweep.rows:
        alone = transfer.retrain(model, (x, y), row["layer"], **options).row((x, y))
        assert row["relative_rmse"] == pytest.approx(alone["relative_rmse"], rel=SINGLE)
    other = transfer.oracle_sweep(
        model, (x, np.where(x[..., None] == 0, 0.0, y)), (x, y), layers="out", **options
    )
    for one, two in zip(
        other.weights["out"]["out"], sweep.weights["out"]["out"], strict=True
    ):
        np.testing.assert_array_equal(one, two)


@pytest.mark.once
def test_a_numpy_number_is_the_number():
    data = Samples.of((X, Y))
    prints = [
        fingerprint(_chain(), data, data, {"epochs": epochs})
        for epochs in (2, np.int64(2), np.int32(2))
    ]
    assert prints[0] == prints[1] == prints[2]


@pytest.mark.once
def test_rates_are_chosen_within_a_loss_scale_optimizer():
    wrapped = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1))
    sweeps = [
        transfer.oracle_sweep(
            _chain(), (X, Y), TEST, rate_factors=[1, 3], optimizer=optimizer, epochs=2
        )
        for optimizer in (keras.optimizers.SGD(0.1), wrapped)
    ]
    rates = [[row["learning_rate"] for row in sweep.rows] for sweep in sweeps]
    assert rates[0] == rates[1]


def test_a_test_truth_of_zeros_is_refused_before_anything_is_trained():
    with pytest.raises(ValueError, match="y of test_data is zero at all points"):
        transfer.oracle_sweep(_chain(), (X, Y), (X, 0.0 * Y))


@pytest.mark.parametrize("rate", [0.1, keras.optimizers.schedules.CosineDecay(0.1, 4)])
def test_a_layer_of_dead_units_has_a_row_of_the_network_as_it_was(rate):
    layers = [_dense("a"), keras.layers.Dense(4, "relu", name="dead"), _dense("c", 3)]
    model = keras.Sequential([keras.Input((4,)), *layers])
    layers[1].set_weights([np.ones((4, 4)), np.full(4, -100.0)])
    how = {"optimizer": keras.optimizers.SGD(rate), "epochs": 2}
    sweep = transfer.oracle_sweep(model, (X, Y), TEST, **how)
    before = model.predict(TEST[0], verbose=0)
    expected = metrics.relative_rmse(TEST[1], before)
    rows = {row["layer"]: row["relative_rmse"] for row in sweep.rows}
    assert rows["dead"] == pytest.approx(expected, rel=1e-6)
    assert rows["c"] < expected
    with pytest.raises(RuntimeError, match="No weight of dead has moved in 2 step"):
        transfer.retrain(model, (X, Y), "dead", **how)
