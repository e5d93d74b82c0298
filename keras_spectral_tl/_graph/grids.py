"""The grids on which the layers of a model work, compared with that of its input."""

import keras
import numpy as np

from keras_spectral_tl._graph.calls import Shape, trace_calls
from keras_spectral_tl._graph.layers import (
    TRANSPOSED,
    data_format_of_layers,
    layers_with_weights,
    spatial_sizes,
)

Spacing = tuple[float, ...]

_UPSAMPLING = (
    keras.layers.UpSampling1D,
    keras.layers.UpSampling2D,
    keras.layers.UpSampling3D,
)


def layer_spacings(model: keras.Model, domain: Shape) -> dict[int, Spacing]:
    """Return the spacing of the points that each layer works on, by id of the layer.

    It counts points of the model's input along each axis: 2 behind a stride or pooling
    of two, 1 again behind a transposed layer or an upsampling. Padding and cropping
    change no spacing. Of the two grids of a layer it is that on which the points of its
    kernel lie: the input's, or the output's of a transposed layer. Layers without
    fields, or with another number of axes than `domain`, are left out.

    Args:
        model: A built model.
        domain: Points along the spatial axes of its input.

    Raises:
        ValueError: If the model cannot be called on a sample of its input shape.

    Example:
        >>> pool, conv = keras.layers.MaxPooling2D(2), keras.layers.Conv2D(1, 3)
        >>> model = keras.Sequential([keras.Input((8, 8, 1)), pool, conv])
        >>> layer_spacings(model, (8, 8))[id(conv)]
        (2.0, 2.0)
    """
    default = data_format_of_layers(layers_with_weights(model).values())
    # Operations that are no layers make new tensors: these are told by their size.
    by_size: dict[Shape, Spacing] = {domain: (1.0,) * len(domain)}
    by_tensor: dict[int, Spacing] = {}
    found: dict[int, Spacing] = {}
    for call in trace_calls(model):
        fields = [
            [part for part in parts if len(part.shape) == len(domain) + 2]
            for parts in (call.inputs, call.outputs)
        ]
        if not all(fields):
            continue
        layer, (inputs, outputs) = call.operation, fields
        layout = getattr(layer, "data_format", None) or default
        sizes = [spatial_sizes(p[0].shape, layout) for p in (inputs, outputs)]
        before = by_tensor.get(id(inputs[0]), by_size.get(sizes[0]))
        if before is None:
            continue
        after = tuple(map(float, np.multiply(before, _growth(layer, *sizes))))
        found.setdefault(id(layer), after if isinstance(layer, TRANSPOSED) else before)
        by_size.setdefault(sizes[1], after)
        for output in outputs:  # a container returns the tensors of its contents
            by_tensor.setdefault(id(output), after)
    return found


def _growth(layer: keras.Layer, received: Shape, given: Shape) -> Spacing:
    """Return by which factors a layer makes the spacing of its fields larger."""
    rank = len(received)
    if isinstance(layer, _UPSAMPLING):
        return tuple(1.0 / np.broadcast_to(layer.size, rank))
    if hasattr(layer, "strides"):
        strides = np.broadcast_to(layer.strides, rank).astype(float)
        return tuple(1.0 / strides if isinstance(layer, TRANSPOSED) else strides)
    ratios = np.divide(received, given)
    if isinstance(layer, keras.layers.Resizing):
        return tuple(ratios)
    if hasattr(layer, "padding") or hasattr(layer, "cropping"):
        return (1.0,) * rank
    # Of an unknown layer, whole ratios are resampling, others edges that it cuts off.
    whole = (ratios % 1.0 == 0.0) | (1.0 / ratios % 1.0 == 0.0)
    return tuple(np.where(whole, ratios, 1.0))
