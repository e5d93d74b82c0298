"""Networks, samples and questions that several test files share."""

from typing import Any

import keras
import numpy as np

from keras_spectral_tl._graph.layers import ModelLayers
from keras_spectral_tl.freezing._flags import trainable_choice


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    """Standard normal numbers in single precision."""
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def rendered(axes: Any) -> np.ndarray:
    """Pixels of a figure; raises if a warning or an error occurs on the way."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    first = axes[0] if isinstance(axes, list) else axes
    canvas = FigureCanvasAgg(first.figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())


def values(tensor: Any) -> np.ndarray:
    return keras.ops.convert_to_numpy(tensor)


def dense(name: str, units: int = 4, activation: str | None = "tanh") -> keras.Layer:
    return keras.layers.Dense(units, activation=activation, name=name)


def plain() -> keras.Model:
    """Three dense layers: a, b and, linear, c."""
    layers = [dense("a"), dense("b"), dense("c", 1, None)]
    return keras.Sequential([keras.Input((4,)), *layers])


def nested() -> keras.Model:
    """The same, a and b in a model of their own."""
    inner = keras.Sequential([keras.Input((4,)), dense("a"), dense("b")], name="in")
    inputs = keras.Input((4,))
    return keras.Model(inputs, dense("c", 1, None)(inner(inputs)))


def shared() -> keras.Model:
    """A layer that is used twice, then c."""
    twice, inputs = dense("shared"), keras.Input((4,))
    return keras.Model(inputs, dense("c", 1, None)(twice(twice(inputs))))


def adam(**options: Any) -> keras.optimizers.Optimizer:
    return keras.optimizers.Adam(0.01, name="adam", **options)


def trainable_names(model: keras.Model) -> tuple[str, ...]:
    """Names of the layers that a fit would change now."""
    return tuple(trainable_choice(ModelLayers.of(model)))
