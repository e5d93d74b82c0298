"""Models, fields and questions that several test files share."""

import keras
import numpy as np

from keras_spectral_tl._graph.layers import ModelLayers
from keras_spectral_tl.freezing._flags import trainable_choice


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    """Standard normal numbers in double precision."""
    return np.random.default_rng(seed).normal(size=shape)


def trainable_names(model: keras.Model) -> tuple[str, ...]:
    """Names of the layers that a fit would change now."""
    return tuple(trainable_choice(ModelLayers.of(model)))
