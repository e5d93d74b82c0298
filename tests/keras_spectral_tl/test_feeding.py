"""What Keras is fed gives bitwise what arrays give, and no pass waits for a thread."""

import gc
import logging
import weakref

import keras
import numpy as np
import pytest

from keras_spectral_tl._graph.feeding import (
    fed_for_validation,
    fed_to_fit,
    predicted,
)


def _model():
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])


def test_predictions_of_many_models_are_those_of_keras_without_a_warning():
    """TensorFlow takes the sixth model for a sixth tracing of one; silently here."""
    records = []
    handler = logging.Handler()
    handler.emit = records.append
    logger = logging.getLogger("tensorflow")
    logger.addHandler(handler)
    x = np.ones((3, 4), "float32")
    try:
        found = [(model := _model(), predicted(model, x, 2)) for _ in range(7)]
    finally:
        logger.removeHandler(handler)
    assert not [r for r in records if "retracing" in r.getMessage()]
    model, outputs = found[-1]
    np.testing.assert_array_equal(outputs, model.predict(x, batch_size=2, verbose=0))


class Half(keras.Model):
    """Half of an array, of the first of several, or of one by name; any type."""

    def call(self, x):
        x = x["a"] if isinstance(x, dict) else x[0] if isinstance(x, tuple) else x
        return 0.5 * keras.ops.cast(x, "float32")


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int32", "uint8"])
def test_predictions_are_those_of_keras_for_all_kinds_of_inputs(dtype):
    a = np.arange(1, 21).reshape(5, 4).astype(dtype)
    for x in (a, (a, a), {"a": a}):
        outputs = predicted(Half(), x, batch_size=2)
        np.testing.assert_array_equal(outputs, 0.5 * a)
        expected = Half().predict(x, batch_size=2, verbose=0)
        assert outputs.dtype == expected.dtype
        np.testing.assert_array_equal(outputs, expected)


class _Pieces(keras.utils.PyDataset):
    """Batches of three samples; the last one is smaller."""

    def __init__(self, x, y):
        super().__init__()
        self.x, self.y = x, y

    def __len__(self):
        return -(-len(self.y) // 3)

    def __getitem__(self, index):
        rows = slice(3 * index, 3 * index + 3)
        return keras.tree.map_structure(lambda part: part[rows], (self.x, self.y))


@pytest.mark.parametrize("several", [False, True])
def test_what_a_fit_is_fed_gives_bitwise_the_same_training(several):
    rng = np.random.default_rng(0)
    a, b, y = rng.normal(size=(3, 8, 4)).astype("float32")
    x = {"a": a, "b": b} if several else a
    inputs = (
        {n: keras.Input((4,), name=n) for n in "ab"} if several else keras.Input((4,))
    )
    joined = keras.layers.Add()(list(inputs.values())) if several else inputs
    found = []
    for feed in (lambda batches: batches, fed_to_fit):
        keras.utils.set_random_seed(0)
        model = keras.Model(inputs, keras.layers.Dense(4)(joined))
        model.compile(keras.optimizers.Adam(0.1), "mse")
        fed = feed(_Pieces(x, y))
        history = model.fit(fed, epochs=3, shuffle=False, verbose=0).history
        found.append((history["loss"], *model.get_weights()))
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


def test_no_tuning_thread_is_started_that_a_fit_would_wait_for():
    batches = _Pieces(np.ones((7, 4)), np.ones((7, 1)))
    fed = fed_to_fit(batches)
    if keras.backend.backend() == "tensorflow":
        assert fed.options().autotune.enabled is False
        assert int(fed.cardinality()) == len(list(fed)) == 3
    else:
        assert fed is batches


@pytest.mark.parametrize("batch_size", [None, 3])
@pytest.mark.parametrize("weighted", [False, True])
def test_what_a_validation_is_fed_gives_bitwise_the_same_losses(batch_size, weighted):
    rng = np.random.default_rng(0)
    x, y, weights = rng.normal(size=(8, 4)), rng.normal(size=(8, 1)), rng.random(8)
    held_out = (x, y, weights) if weighted else (x, y)
    found = []
    for given in (held_out, fed_for_validation(held_out, batch_size)):
        keras.utils.set_random_seed(0)
        model = _model()
        model.compile(keras.optimizers.Adam(0.1), "mse", weighted_metrics=["mae"])
        options = {"validation_batch_size": batch_size, "verbose": 0, "epochs": 3}
        found.append(model.fit(x, y, validation_data=given, **options).history)
    assert found[0] == found[1]
    assert {"val_loss", "val_mae"} <= found[0].keys()


def test_a_validation_that_is_no_pair_of_arrays_is_left_to_keras():
    pieces = _Pieces(np.ones((7, 4)), np.ones((7, 1)))
    empty = np.ones((0, 4)), np.ones((0, 1))
    for samples in (None, pieces, empty):
        assert fed_for_validation(samples, 2) is samples


def test_arrays_are_released_after_use():
    """TensorFlow keeps the generator of a dataset as long as the process lives."""
    model, used = _model(), []
    model.compile("sgd", "mse")

    def some():
        x = np.ones((4, 4), "float32")
        used.append(weakref.ref(x))
        return x

    predicted(model, some(), 2)
    y = np.ones((4, 1), "float32")
    options = {"epochs": 2, "verbose": 0}
    model.fit(fed_to_fit(_Pieces(some(), y)), shuffle=False, **options)
    model.fit(some(), y, validation_data=fed_for_validation((some(), y), 2), **options)
    gc.collect()
    assert [ref() for ref in used if ref() is not None] == []
