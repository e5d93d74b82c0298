"""Pieces of work that do not depend on each other, side by side on a processor."""

import os
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import keras

Result = TypeVar("Result")


def side_by_side(
    work: Callable[..., Result], *arguments: Sequence[Any]
) -> Generator[Result, None, None]:
    """Yield what `map(work, *arguments)` does; where it helps, from several threads.

    A compiled step of a small network on one sample keeps little more than one core
    busy, and releases Python's lock. The results are those of one thread. Calls come
    one after another on accelerators; on torch, where threads would run the code of
    layers, which may keep values of a call as attributes; and with a distribution,
    which Keras keeps for each thread alone.

    An error of a call is raised in its place, after all threads have ended. Close the
    iterator to end them earlier.
    """
    count = min(len(arguments[0]), _available_cores())
    if count < 2 or not _compiled_for_processor():
        yield from map(work, *arguments)
        return
    policy = keras.config.dtype_policy()  # which Keras keeps for each thread
    pool = ThreadPoolExecutor(
        count, initializer=keras.config.set_dtype_policy, initargs=(policy,)
    )
    with pool:
        yield from pool.map(work, *arguments)


def _available_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _compiled_for_processor() -> bool:
    if keras.distribution.distribution() is not None:
        return False
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        kinds = {device.device_type for device in tf.config.list_logical_devices()}
        eager = tf.config.functions_run_eagerly()
        return kinds == {"CPU"} and not (eager or tf.distribute.has_strategy())
    if backend == "jax":
        import jax

        eager = getattr(jax.config, "jax_disable_jit", False)
        return jax.default_backend() == "cpu" and not eager
    return False
