"""Batches of samples for `fit` and `predict` of Keras, without automatic tuning.

On TensorFlow, Keras feeds arrays through a dataset with automatic tuning. Its thread
sleeps for 10 ms, 20 ms, 40 ms and so on, and on busy cores a pass over the data ends
only when it wakes up, after up to twice its time. The datasets here have the same
batches and no tuning.
"""

import dataclasses
import logging
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_spectral_tl._graph.layers import batches as batches_of


def predicted(model: keras.Model, x: Any, batch_size: int = 32) -> NDArray[Any]:
    """Return the outputs of a model, computed in batches.

    Suppresses a wrong retracing warning that TensorFlow gives for every sixth model.
    """
    logger = logging.getLogger("tensorflow")
    logger.addFilter(_is_no_retracing)
    try:
        if _has_tuning() and len(keras.tree.flatten(x)[0]):
            fed = _in_batches((x,), batch_size)
            return np.asarray(model.predict(fed, verbose=0))
        return np.asarray(model.predict(x, batch_size=batch_size, verbose=0))
    finally:
        logger.removeFilter(_is_no_retracing)


def fed_to_fit(batches: keras.utils.PyDataset) -> Any:
    """Return what `fit` takes for these batches so that its passes end at once."""
    if not _has_tuning():
        return batches
    count = len(batches)
    return _untuned(_Held(lambda: map(batches.__getitem__, range(count))), count)


def fed_for_validation(samples: Any, batch_size: int | None) -> Any:
    """Return what `fit` takes for validation samples so that its passes end at once.

    Args:
        samples: Arrays `(x, y)` or `(x, y, weights)`; all else is returned as it is.
        batch_size: Samples in a batch; 32 if None, as in Keras.
    """
    is_arrays = isinstance(samples, tuple) and len(samples) in (2, 3)
    if not (_has_tuning() and is_arrays and len(samples[1])):
        return samples
    return _in_batches(samples, batch_size or 32)


def _has_tuning() -> bool:
    return bool(keras.backend.backend() == "tensorflow")


def _in_batches(arrays: tuple[Any, ...], batch_size: int) -> Any:
    """Return arrays as a dataset, with floats in the precision of Keras."""

    def as_keras(array: Any) -> NDArray[Any]:
        found: NDArray[Any] = np.asarray(array)
        is_float = np.issubdtype(found.dtype, np.floating)
        return found.astype(keras.config.floatx(), copy=False) if is_float else found

    nest = keras.tree.map_structure(as_keras, keras.tree.lists_to_tuples(arrays))
    count = -(-len(keras.tree.flatten(nest)[0]) // batch_size)
    held = _Held(lambda: (part for _, part in batches_of(nest, batch_size)))
    return _untuned(held, count)


@dataclasses.dataclass(frozen=True, eq=False)
class _Held:
    """Source of the batches of a dataset, which holds all their arrays."""

    batches: Callable[[], Iterator[Any]]


def _untuned(held: _Held, count: int) -> Any:
    """Return a TensorFlow dataset of `count` batches, without automatic tuning.

    TensorFlow keeps the generator of a dataset for the life of the process, so the
    generator must not hold the arrays. The dataset does: keep it as long as it is read.
    """
    import tensorflow as tf

    weak = weakref.ref(held)

    def batches() -> Iterator[Any]:
        found = weak()
        return iter(()) if found is None else found.batches()

    def shape(array: NDArray[Any]) -> Any:
        return tf.TensorSpec((None, *array.shape[1:]), array.dtype)

    signature = keras.tree.map_structure(shape, next(held.batches()))
    dataset = tf.data.Dataset.from_generator(batches, output_signature=signature)
    options = tf.data.Options()
    options.autotune.enabled = False
    known = dataset.apply(tf.data.experimental.assert_cardinality(count))
    fed = known.prefetch(2).with_options(options)
    fed.held = held
    return fed


def _is_no_retracing(record: logging.LogRecord) -> bool:
    return "triggered tf.function retracing" not in record.getMessage()
