"""SHA-256 of weights: the proof of what did not move."""

import hashlib
from collections.abc import Iterable, Mapping

import keras

from keras_spectral_tl import introspection


def weight_hashes(model: keras.Model) -> dict[str, str]:
    """Return the SHA-256 of the weights of each weight-bearing layer.

    Moving statistics are included. Two equal hashes mean that the weights are equal bit
    for bit, with the same shapes and dtypes.

    Args:
        model: A built Keras model.

    Returns:
        Hexadecimal digests by layer name, as in `introspection.weight_layers`.

    Example:
        >>> import keras
        >>> dense = keras.layers.Dense(2, name="hidden")
        >>> model = keras.Sequential([keras.Input((3,)), dense])
        >>> before = weight_hashes(model)
        >>> _ = dense.bias.assign([0.0, 1.0])
        >>> weight_hashes(model) == before
        False
    """
    return layer_hashes(introspection.weight_layers(model))


def variable_hashes(model: keras.Model) -> dict[str, str]:
    """Return the SHA-256 of each single weight, statistics included.

    Args:
        model: A built Keras model.

    Returns:
        Hexadecimal digests by path, as in `introspection.named_weights`.

    Example:
        >>> import keras
        >>> dense = keras.layers.Dense(2, name="hidden")
        >>> model = keras.Sequential([keras.Input((3,)), dense])
        >>> before = variable_hashes(model)
        >>> _ = dense.bias.assign([0.0, 1.0])
        >>> [path for path, digest in variable_hashes(model).items()
        ...  if digest != before[path]]
        ['hidden/bias']
    """
    return weight_hashes_of(introspection.weight_layers(model))


def layer_hashes(layers: Mapping[str, keras.Layer]) -> dict[str, str]:
    """Return `weight_hashes` of layers that have names already."""
    return {
        name: hash_of(introspection.own_weights(layer))
        for name, layer in layers.items()
    }


def weight_hashes_of(layers: Mapping[str, keras.Layer]) -> dict[str, str]:
    """Return `variable_hashes` of layers that have names already."""
    weights = introspection.named_weights(layers)
    return {path: hash_of([weight]) for path, weight in weights.items()}


def hash_of(weights: Iterable[keras.Variable]) -> str:
    """Return one SHA-256 of the dtypes, shapes and values of some weights."""
    digest = hashlib.sha256()
    for weight in weights:
        values = introspection.fetch(weight)
        digest.update(f"{weight.dtype}{values.shape}".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()
