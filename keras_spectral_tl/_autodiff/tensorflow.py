"""Derivatives on TensorFlow, by gradient tapes in functions that are traced once."""

import threading
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

Compute = Callable[..., Any]


def inference(forward: Compute, variables: Callable[[], Sequence[Any]]) -> Compute:
    """Return `forward(x)` compiled, with the current values of the variables."""
    # By the variables: those added later, as by a low-rank update, need another trace.
    compiled: dict[tuple[int, ...], Any] = {}

    def call(x: Any) -> NDArray[Any]:
        key = tuple(map(id, variables()))
        if key not in compiled:
            compiled.clear()
            compiled[key] = tf.function(forward, reduce_retracing=True)
        return np.asarray(compiled[key](tf.convert_to_tensor(x)))

    return call


def pushforward(function: Compute, values: Sequence[NDArray[Any]]) -> Compute:
    primals = [tf.constant(value) for value in values]

    def jvp(tangents: Sequence[Any], x: Any) -> Any:
        # Transpose of the transpose, since TensorFlow's forward mode silently treats
        # operations that lack it as constants, and fewer operations lack reverse mode.
        with _tape() as outer:
            with _tape() as inner:
                inner.watch(primals)
                outputs = function(primals, x)
            probe = tf.zeros_like(outputs)
            outer.watch(probe)
            pulled = gradients(inner, outputs, primals, probe)
        return outer.gradient(pulled, probe, tangents, unconnected_gradients="zero")

    return _traced(jvp, 1)


def derivatives(function: Compute, loss: Compute) -> tuple[Any, Any, Any]:
    def value(values: Any, x: Any, *rest: Any) -> Any:
        return [loss(function(values, x), *rest)]

    def gradient(values: Any, x: Any, *rest: Any) -> Any:
        with _tape() as tape:
            tape.watch(values)
            reached = loss(function(values, x), *rest)
        return gradients(tape, reached, values)

    def product(values: Any, tangents: Any, x: Any, *rest: Any) -> Any:
        with _tape() as tape:
            tape.watch(values)
            slopes = gradient(values, x, *rest)
        return gradients(tape, slopes, values, tangents)

    return _traced(value, 1), _traced(gradient, 1), _traced(product, 2)


def gradients(tape: Any, target: Any, sources: Any, cotangent: Any = None) -> list[Any]:
    """Return gradients as dense tensors, also for an embedding."""
    found = tape.gradient(target, sources, cotangent, unconnected_gradients="zero")
    return [tf.convert_to_tensor(part) for part in found]


def _tape() -> tf.GradientTape:
    return tf.GradientTape(watch_accessed_variables=False)


def _traced(compute: Compute, num_fixed: int) -> Compute:
    """Compile for any number of samples, once for each shape of a sample.

    The first `num_fixed` arguments have fixed shapes.
    """
    compiled: dict[Any, Any] = {}
    lock = threading.Lock()

    def specification(argument: Any, free: bool) -> Any:
        def of_array(part: NDArray[Any]) -> Any:
            shape = (None, *part.shape[1:]) if free else part.shape
            return tf.TensorSpec(shape, part.dtype)

        return keras.tree.map_structure(of_array, argument)

    def call(*arguments: Any) -> Any:
        signature = [
            specification(argument, place >= num_fixed)
            for place, argument in enumerate(arguments)
        ]
        key = tuple(keras.tree.flatten(signature))
        with lock:  # threads share what the first of them compiles
            if key not in compiled:
                compiled[key] = tf.function(compute, input_signature=signature)
        return compiled[key](*arguments)

    return call
