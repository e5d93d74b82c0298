"""Networks, samples and questions that several test files share."""

import io
from typing import Any

import keras
import numpy as np

from keras_spectral_tl import models
from keras_spectral_tl.__main__ import main
from keras_spectral_tl._graph.layers import ModelLayers
from keras_spectral_tl.freezing._changes import set_trainable, trainable_choice
from keras_spectral_tl.transfer import RetrainOptions, _baselines


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


SHAPE = (8, 8, 2)


def drawn(model, seed=0, biases=2.0**0.5):
    """The model with the same weights on every backend."""
    rng = np.random.default_rng(seed)
    model.set_weights(
        [
            rng.normal(0, np.sqrt(2.0 / np.prod(w.shape[:-1])), w.shape)
            if w.ndim > 1
            else biases * rng.standard_normal(w.shape)
            for w in model.get_weights()
        ]
    )
    return model


def network(biases=0.1):
    """Three convolutions."""
    model = models.build_sgs_cnn(SHAPE, num_layers=3, num_filters=4)
    return drawn(model, biases=biases)


def answer(model, x):
    return np.array(keras.ops.convert_to_numpy(model(x)))


def teacher_of(model, rng, *layers):
    """A network that differs from a model in these layers only."""
    teacher = models.copy_model(model)
    for layer in map(teacher.get_layer, layers):
        layer.set_weights(
            [w + 0.3 * rng.standard_normal(w.shape) for w in layer.get_weights()]
        )
    return teacher


def planted(layer="conv_2", count=6):
    """A network, base samples that it answers, target samples of a changed layer."""
    model, rng = network(), np.random.default_rng(1)
    teacher = teacher_of(model, rng, layer)
    x = rng.standard_normal((count, *SHAPE)).astype("float32")
    return model, (x[:4], answer(model, x[:4])), (x, answer(teacher, x))


class Scaled(keras.layers.Layer):
    """A layer with a weight of its own beside a sublayer."""

    def __init__(self, **options):
        super().__init__(**options)
        self.inner = keras.layers.Dense(2, name="inner")

    def build(self, input_shape):
        self.scale = self.add_weight(shape=(), name="scale", initializer="ones")
        self.inner.build(input_shape)

    def call(self, inputs):
        return self.scale * self.inner(inputs)


def by_hand(model, make_optimizer, phases, **options):
    """Compile for each phase, copy what is known of the state by path, train."""
    state = {}
    for names, batches in phases:
        set_trainable(model, names)
        model.compile(make_optimizer(), "mse", **options)
        model.optimizer.build(model.trainable_variables)
        for variable in model.optimizer.variables:
            if variable.path in state:
                variable.assign(state[variable.path])
        for x, y in batches:
            model.train_on_batch(x, y)
        state |= {v.path: np.array(np.asarray(v)) for v in model.optimizer.variables}
    return model


class Terminal(io.StringIO):
    def isatty(self):
        return True


def run(*arguments):
    """The exit code of a command with arguments of any type."""
    return main([str(part) for part in arguments])


def one_line(capsys, *arguments):
    assert run(*arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err
    line = captured.err.splitlines()[-1]
    assert line.startswith("error: ")
    return line


def probe_then_all(model, data, **options):
    """The last layer, then all, as a baseline does it."""
    samples, prepared = RetrainOptions.of(options).prepare(data, model)
    return _baselines.probe_then_all(model, samples, prepared)
