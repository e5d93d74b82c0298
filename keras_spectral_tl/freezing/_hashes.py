"""SHA-256 of weights: the proof of what did not move."""

import hashlib
from collections.abc import Iterable

import keras

from keras_spectral_tl._graph.layers import ModelLayers, fetch, own_weights


def layer_hashes(layers: keras.Model | ModelLayers) -> dict[str, str]:
    """Return the SHA-256 of the weights of each weight-bearing layer.

    Moving statistics are included. Two equal hashes mean that the weights are equal bit
    for bit, with the same shapes and dtypes.

    Args:
        layers: A built Keras model, or its layers by name.

    Returns:
        Hexadecimal digests by layer name, as in `layers_with_weights`.

    Example:
        >>> import keras
        >>> dense = keras.layers.Dense(2, name="hidden")
        >>> model = keras.Sequential([keras.Input((3,)), dense])
        >>> before = layer_hashes(model)
        >>> _ = dense.bias.assign([0.0, 1.0])
        >>> layer_hashes(model) == before
        False
    """
    return {
        name: hash_of(own_weights(layer))
        for name, layer in _named(layers).layers.items()
    }


def weight_hashes(layers: keras.Model | ModelLayers) -> dict[str, str]:
    """Return the SHA-256 of each single weight, statistics included.

    Args:
        layers: A built Keras model, or its layers by name.

    Returns:
        Hexadecimal digests by path, as in `named_weights`.

    Example:
        >>> import keras
        >>> dense = keras.layers.Dense(2, name="hidden")
        >>> model = keras.Sequential([keras.Input((3,)), dense])
        >>> before = weight_hashes(model)
        >>> _ = dense.bias.assign([0.0, 1.0])
        >>> [path for path, digest in weight_hashes(model).items()
        ...  if digest != before[path]]
        ['hidden/bias']
    """
    weights = _named(layers).weights
    return {path: hash_of([weight]) for path, weight in weights.items()}


def hash_of(weights: Iterable[keras.Variable]) -> str:
    """Return one SHA-256 of the dtypes, shapes and values of some weights."""
    digest = hashlib.sha256()
    for weight in weights:
        values = fetch(weight)
        digest.update(f"{weight.dtype}{values.shape}".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()


def _named(layers: keras.Model | ModelLayers) -> ModelLayers:
    return layers if isinstance(layers, ModelLayers) else ModelLayers.of(layers)
