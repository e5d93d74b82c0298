"""Errors of a model, and the gradient of each sample alone."""

from __future__ import annotations

from collections.abc import Iterator

import keras
import numpy as np
from numpy.typing import NDArray

from keras_spectral_tl.linearisation import LayerLinearisation
from keras_spectral_tl.transfer._samples import Samples

Array = NDArray[np.float64]


def prediction_errors(
    model: keras.Model, target: Samples, batch_size: int = 8
) -> Array:
    """Returns `y - f(x)` in double precision, of the shape of `y`."""
    predicted = model.predict(target.x, batch_size=batch_size, verbose=0)
    return np.asarray(target.y - np.asarray(predicted, np.float64))


def sample_gradients(
    jacobian: LayerLinearisation, target: Samples, cotangents: Array
) -> Iterator[Array]:
    """Yields `J_n^T cotangent_n` of one sample n after another, flat.

    Their sum is `jacobian.apply_transpose(cotangents, target.x)`. No backend computes
    them at once for every model, so each is one forward and one backward pass.

    Args:
        jacobian: of the model, in one layer.
        target: samples.
        cotangents: of the shape of `target.y`.
    """
    for number in range(len(target)):
        rows = slice(number, number + 1)
        yield jacobian.apply_transpose(cotangents[rows], target.take(rows)[0])
