"""Which axes of a network's outputs are space."""

from __future__ import annotations

import keras

from keras_spectral_tl.introspection import layers_with_weights
from keras_spectral_tl.spectra.kernels.weights import convolution_kernel


def spatial_axes(model: keras.Model, ndim: int) -> tuple[int, ...]:
    """Returns the spatial axes of arrays of samples that a model answers with.

    As its convolutions of that many axes lay out channels. Arrays of rank 4 are fields
    with channels last where there are none; others are not taken for fields then.

    Args:
        model: a built network.
        ndim: rank of the arrays, samples and channels included.

    Example:
        >>> convolution = keras.layers.Conv1D(1, 3, data_format="channels_last")
        >>> spatial_axes(keras.Sequential([keras.Input((8, 2)), convolution]), 3)
        (1,)
        >>> dense = keras.Sequential([keras.Input((8,)), keras.layers.Dense(1)])
        >>> spatial_axes(dense, 2)
        ()
    """
    rank = ndim - 2
    kernels = [
        (layer, convolution_kernel(layer))
        for layer in layers_with_weights(model).values()
    ]
    formats = [
        layer.data_format
        for layer, kernel in kernels
        if kernel is not None and len(kernel.size) == rank
    ]
    if not 1 <= rank <= 3 or (rank != 2 and not formats):
        return ()
    first = 2 if "channels_first" in formats[:1] else 1
    return tuple(range(first, first + rank))
