"""Trials on several cores: the results of one thread, in less time."""

import dataclasses
import threading

import keras
import numpy as np
import pytest

import keras_spectral_tl as kst
from keras_spectral_tl._autodiff import threads as _threads
from keras_spectral_tl._autodiff.threads import side_by_side
from keras_spectral_tl.linearization import LayerFunction
from keras_spectral_tl.scoring import Arm

COMPILED = keras.backend.backend() in ("tensorflow", "jax")
compiled = pytest.mark.skipif(not COMPILED, reason="torch runs the code of layers")


def with_cores(monkeypatch, count):
    monkeypatch.setattr(_threads, "_available_cores", lambda: count)


@compiled
def test_calls_meet_each_other(monkeypatch):
    """A barrier lets none of them pass before both have come."""
    with_cores(monkeypatch, 2)
    barrier = threading.Barrier(2, timeout=60)
    found = list(side_by_side(lambda n: (barrier.wait(), n)[1], [3, 4]))
    assert found == [3, 4]


@pytest.mark.parametrize("cores", [1, 2, 8])
def test_results_come_in_the_order_of_the_arguments(monkeypatch, cores):
    with_cores(monkeypatch, cores)
    assert list(side_by_side(pow, [2, 3, 5], [4, 3, 2])) == [16, 27, 25]
    assert list(side_by_side(pow, [], [])) == []


@pytest.mark.parametrize("cores", [1, 2])
def test_an_error_is_raised_in_its_place(monkeypatch, cores):
    with_cores(monkeypatch, cores)
    found = side_by_side(lambda n: 6 // n, [2, 3, 0, 1])
    assert [next(found), next(found)] == [3, 2]
    with pytest.raises(ZeroDivisionError):
        next(found)


def own_thread_only(monkeypatch):
    with_cores(monkeypatch, 2)
    found = set(side_by_side(lambda _: threading.get_ident(), range(4)))
    return found == {threading.get_ident()}


def test_one_thread_with_a_distribution_of_keras(monkeypatch):
    """The others would not know it."""
    monkeypatch.setattr(keras.distribution, "distribution", object)
    assert own_thread_only(monkeypatch)


def test_one_thread_where_the_code_of_layers_runs(monkeypatch):
    """Layers may keep values of a call as attributes."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        monkeypatch.setattr(tf.config, "functions_run_eagerly", lambda: True)
    elif keras.backend.backend() == "jax":
        import jax

        monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert own_thread_only(monkeypatch)


@pytest.fixture
def question():
    """A network, base and target samples, of which the forecast makes two folds."""
    model = kst.build_sgs_cnn((16, 16, 2), num_layers=3, num_filters=4)
    x = np.random.default_rng(0).normal(size=(12, 16, 16, 2)).astype("float32")
    return model, (x, x[..., :1]), (x, x[..., :1] * x[..., 1:])


def test_scores_and_forecasts_do_not_depend_on_the_number_of_cores(
    monkeypatch, question
):
    found = []
    for cores in (1, 4):
        with_cores(monkeypatch, cores)
        scores = kst.score_layers(*question, epochs=5, progress=False)
        arms = ["conv_1", "conv_3", Arm("all", None)]
        forecast = kst.forecast(*question, arms=arms, epochs=5, progress=False)
        rows = [dataclasses.astuple(row) for row in forecast.rows]
        found.append(repr((scores.scores, scores.results, rows, forecast.provenance)))
    assert found[0] == found[1]


@compiled
def test_threads_share_what_is_compiled(monkeypatch, question):
    with_cores(monkeypatch, 4)
    model, _, (x, y) = question
    function, traced = LayerFunction(model, "conv_2"), []
    called = type(model).call

    def counted(self, *arguments, **options):
        traced.append(threading.get_ident())
        return called(self, *arguments, **options)

    monkeypatch.setattr(type(model), "call", counted)
    ones = np.ones(y[:1].shape)

    def gradient(row):
        one = slice(row, row + 1)
        return function.gradient(function.start, x[one], y[one], ones)

    found = np.array(list(side_by_side(gradient, range(8))))
    assert len(traced) == 1
    alone = np.array([gradient(row) for row in range(8)])
    np.testing.assert_array_equal(found, alone)


def test_a_closed_iterator_starts_nothing_more(monkeypatch):
    with_cores(monkeypatch, 2)
    release, begun = threading.Event(), []

    def work(number):
        begun.append(number)
        return number if number == 0 else release.wait(60)

    found = side_by_side(work, range(20))
    assert next(found) == 0
    threading.Timer(1.0, release.set).start()  # while close waits for those begun
    found.close()
    assert len(begun) < 20


class Keeping(keras.layers.Layer):
    """A layer that keeps its input between two of its own steps."""

    def __init__(self, **options):
        super().__init__(**options)
        self.convolution = keras.layers.Conv2D(4, 3, padding="same")

    def call(self, x):
        self.kept = x
        return self.convolution(x) + self.kept


@pytest.mark.parametrize("count", [8, 9])
def test_code_of_layers_runs_in_one_thread_at_a_time(monkeypatch, count):
    inputs = keras.Input((16, 16, 4))
    hidden = Keeping(name="b1")(Keeping(name="b0")(inputs))
    outputs = keras.layers.Conv2D(1, 3, padding="same", name="last")(hidden)
    model = keras.Model(inputs, outputs)
    x = np.random.default_rng(0).normal(size=(count, 16, 16, 4)).astype("float32")
    data = x, x[..., :1] * x[..., 1:2]
    found = []
    for cores in (1, 2):
        with_cores(monkeypatch, cores)
        arms = list(kst.layers_with_weights(model))
        forecast = kst.forecast(model, data, data, arms=arms, epochs=5, progress=False)
        found.append([(row.label, row.correlation) for row in forecast.rows])
    assert found[0] == found[1]
