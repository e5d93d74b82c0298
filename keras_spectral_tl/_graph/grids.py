"""The data formats of a model, and the grids on which its layers work."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_spectral_tl._graph.calls import OPEN_SIZE, LayerCall, Shape, trace_calls
from keras_spectral_tl._graph.layers import (
    TRANSPOSED,
    data_format_of_layers,
    layers_with_weights,
    parents_first,
    spatial_sizes,
)
from keras_spectral_tl._keras_internals import sublayers

Spacing = tuple[float, ...]

_UPSAMPLING = (
    keras.layers.UpSampling1D,
    keras.layers.UpSampling2D,
    keras.layers.UpSampling3D,
)


def data_formats(model: keras.Model) -> tuple[str, str]:
    """Return the data formats of a model's input and of its output.

    Both are that of its first layer with one, else the Keras setting. If the model has
    `Permute` layers, they follow from the convolutions nearest to input and output.

    Example:
        >>> permute = keras.layers.Permute((3, 1, 2))
        >>> conv = keras.layers.Conv2D(4, 3, data_format="channels_first")
        >>> data_formats(keras.Sequential([keras.Input((8, 6, 2)), permute, conv]))
        ('channels_last', 'channels_first')
    """
    default = data_format_of_layers(layers_with_weights(model).values())
    if not any(isinstance(one, keras.layers.Permute) for one in parents_first(model)):
        return default, default
    try:
        calls = trace_calls(model, unknown=OPEN_SIZE)
    except ValueError:  # it takes no sample of that size
        return default, default
    formats, whole = _formats(calls), calls[-1]
    first, last = whole.inputs[0], whole.outputs[0]
    return formats.get(id(first), default), formats.get(id(last), default)


def _formats(calls: Sequence[LayerCall]) -> dict[int, str]:
    """Return the data formats of tensors by id, as far as layers determine them.

    They are passed on from the convolutions, first to what comes before, then to what
    comes after. A tensor that an operation made which is no layer has the format of the
    nearest one of its shape. The last call is that of the model.
    """
    found: dict[int, str] = {}
    simple = [call for call in calls if not sublayers(call.operation)]
    for call in simple:
        layout = getattr(call.operation, "data_format", None)
        if layout is not None:
            found |= {id(part): layout for part in (*call.inputs, *call.outputs)}
    for backwards in (True, False):
        near: dict[Shape, str] = {}
        for call in reversed(simple) if backwards else simple:
            known: Sequence[Any] = call.outputs if backwards else call.inputs
            others: Sequence[Any] = call.inputs if backwards else call.outputs
            _tell_by_shape(found, known, near)
            layout = next((found[id(p)] for p in known if id(p) in found), None)
            if isinstance(call.operation, keras.layers.Permute) and layout is not None:
                layout = _permuted(layout, call.operation.dims, backwards)
            if layout is not None:
                for part in others:
                    found.setdefault(id(part), layout)
            near |= {
                tuple(part.shape): found[id(part)]
                for part in (*known, *others)
                if id(part) in found
            }
        whole = calls[-1]
        _tell_by_shape(found, whole.inputs if backwards else whole.outputs, near)
    return found


def _tell_by_shape(
    found: dict[int, str], parts: Sequence[Any], near: Mapping[Shape, str]
) -> None:
    """Give tensors of unknown format that of the nearest one of their shape."""
    for part in parts:
        if tuple(part.shape) in near:
            found.setdefault(id(part), near[tuple(part.shape)])


def _permuted(layout: str, dims: Shape, backwards: bool) -> str | None:
    """Return the data format before or behind a `Permute`, None if it is neither."""
    last = len(dims)
    channel = 1 if layout == "channels_first" else last
    other = dims[channel - 1] if backwards else dims.index(channel) + 1
    return {1: "channels_first", last: "channels_last"}.get(other)


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
    calls = trace_calls(model)
    formats = _formats(calls)
    # Operations that are no layers make new tensors: these are told by their size, or
    # come from what the layer before gave.
    last = domain, (1.0,) * len(domain)
    by_size: dict[Shape, Spacing] = dict([last])
    by_tensor: dict[int, Spacing] = {}
    found: dict[int, Spacing] = {}
    for call in calls:
        fields = [
            [part for part in parts if len(part.shape) == len(domain) + 2]
            for parts in (call.inputs, call.outputs)
        ]
        if not all(fields):
            continue
        layer, (inputs, outputs) = call.operation, fields
        sizes = [
            spatial_sizes(part[0].shape, formats.get(id(part[0]), default))
            for part in (inputs, outputs)
        ]
        before = by_tensor.get(id(inputs[0]), by_size.get(sizes[0]))
        if before is None:
            before = _times(last[1], _resampling(last[0], sizes[0]))
        if isinstance(layer, keras.layers.Permute):
            after = before  # the order of the axes of space is taken to stay
        else:
            after = _times(before, _growth(layer, *sizes))
        found.setdefault(id(layer), after if isinstance(layer, TRANSPOSED) else before)
        by_size.setdefault(sizes[1], after)
        last = sizes[1], after
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
    if isinstance(layer, keras.layers.Resizing):
        return tuple(np.divide(received, given))
    if hasattr(layer, "padding") or hasattr(layer, "cropping"):
        return (1.0,) * rank
    return _resampling(received, given)


def _resampling(received: Shape, given: Shape) -> Spacing:
    """Return the factors of an unknown operation: if not whole, it cuts off edges."""
    ratios = np.divide(received, given)
    whole = (ratios % 1.0 == 0.0) | (1.0 / ratios % 1.0 == 0.0)
    return tuple(np.where(whole, ratios, 1.0))


def _times(spacing: Spacing, factors: Spacing) -> Spacing:
    return tuple(map(float, np.multiply(spacing, factors)))
