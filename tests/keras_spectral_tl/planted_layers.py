"""A network and target samples of a teacher of which one layer is another."""

import numpy as np

from keras_spectral_tl.models import build_sgs_cnn
from tests.keras_spectral_tl.common import answer, drawn

SHAPE = (16, 16, 2)
LAYERS = ("conv_1", "conv_2", "conv_3")


def network(seed=0):
    model = build_sgs_cnn(SHAPE, num_layers=3, num_filters=4, kernel_size=3)
    return drawn(model, seed)


def fields(num_samples, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((num_samples, *SHAPE)).astype("float32")


def planted(layer, num_samples=12, size=0.3):
    """Target data of a teacher that differs from the network in one layer only."""
    student, teacher = network(), network()
    rng = np.random.default_rng(7)
    changed = teacher.get_layer(layer)
    changed.set_weights(
        [
            w + size * w.std() * rng.standard_normal(w.shape)
            for w in changed.get_weights()
        ]
    )
    x = fields(num_samples, seed=8)
    base_x = fields(4, seed=9)
    base = base_x, answer(student, base_x)
    return student, base, (x, answer(teacher, x))
