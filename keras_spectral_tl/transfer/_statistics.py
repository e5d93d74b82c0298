"""Statistics that normalize samples: given, or those of the target."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_spectral_tl._checks import one_of, real_array
from keras_spectral_tl._graph.feeding import predicted
from keras_spectral_tl._graph.layers import (
    inputs_of,
    layers_with_weights,
    parents_first,
)
from keras_spectral_tl._keras_internals import sublayers
from keras_spectral_tl.freezing._parts import ScalarGain
from keras_spectral_tl.transfer._samples import Samples

LAST, FIRST = "channels_last", "channels_first"
_MOVES_AXES = (keras.layers.Permute, keras.layers.Reshape)


@dataclasses.dataclass(frozen=True)
class ChannelStatistics:
    """Mean and standard deviation of each channel of inputs and outputs.

        normalized = (values - mean) / std,    channel by channel.

    Statistics of the base data keep the normalization with which the base model was
    trained; those of the target data refit it. This choice affects every result.

    Attributes:
        x_mean: One number per input channel.
        x_std: One positive number per input channel.
        y_mean: One number per output channel.
        y_std: One positive number per output channel.
        source: Where the statistics come from, for the record.
        data_format: "channels_last", or "channels_first" if the channels are on the
            first axis after that of the samples, as in torch.

    Raises:
        ValueError: If a mean is not finite or a standard deviation not positive, if
            they are not one number for each channel, or for another data format.

    Example:
        >>> statistics = ChannelStatistics.of((np.arange(4.0)[:, None], np.ones((4, 1))
        ...                                    * [[0.0], [2.0], [0.0], [2.0]]))
        >>> statistics.x_mean, statistics.y_std
        ((1.5,), (1.0,))
    """

    x_mean: tuple[float, ...]
    x_std: tuple[float, ...]
    y_mean: tuple[float, ...]
    y_std: tuple[float, ...]
    source: str = dataclasses.field(default="given", compare=False)
    data_format: str = LAST

    def __post_init__(self) -> None:
        one_of("data_format", self.data_format, (LAST, FIRST))
        for name in ("x_mean", "x_std", "y_mean", "y_std"):
            array = np.atleast_1d(real_array(name, getattr(self, name)))
            values = tuple(float(value) for value in array.ravel())
            object.__setattr__(self, name, values)
            good = np.isfinite(values) & (name.endswith("mean") | np.greater(values, 0))
            if not np.all(good) or array.ndim != 1:
                raise ValueError(
                    f"Expected {name} as a finite number for each channel, and a "
                    "standard deviation positive. "
                    f"Received {name}={values}. A constant channel cannot be "
                    "normalized: leave it out or give its statistics yourself."
                )

    @classmethod
    def of(
        cls, data: Any, source: str = "given", data_format: str = LAST
    ) -> "ChannelStatistics":
        """Compute the statistics of samples `(x, y)`, over all axes but the channels'.

        `Samples.weights` of points count, also in x if it is on the same grid.

        Raises:
            ValueError: If the inputs are several arrays, a channel is constant, or the
                samples are already normalized.
        """
        target = Samples.of(data)
        if target.statistics is not None:
            raise ValueError(
                "Expected raw samples to measure statistics of. Received samples that "
                f"are normalized already, by {target.statistics!r:.200}."
            )
        if not isinstance(target.x, np.ndarray):
            raise ValueError(
                "ChannelStatistics need one input array. Received "
                f"{len(keras.tree.flatten(target.x))} arrays: normalize them before."
            )
        x, y = (with_channels_last(part, data_format) for part in target.arrays)
        weights = of_x = target.weights
        if weights is not None:
            weights = with_channels_last(weights[None], data_format)[0]
            alike = weights.shape[:-1] == x.shape[1:-1]
            of_x = weights.max(axis=-1, keepdims=True) if alike else None
        moments = *_moments(x, of_x), *_moments(y, weights)
        return cls(*moments, source, data_format)

    def normalize(self, x: Any, y: Any) -> tuple[Any, Any]:
        """Return normalized inputs and outputs, in their own precision."""
        return self._changed(x, y, lambda values, mean, std: (values - mean) / std)

    def denormalize(self, x: Any, y: Any) -> tuple[Any, Any]:
        """Return inputs and outputs in their original units: inverse of `normalize`."""
        return self._changed(x, y, lambda values, mean, std: values * std + mean)

    def check_fits(self, model: keras.Model) -> None:
        """Raise ValueError if a network has other channels or masks raw values."""
        self._check_masks(model)
        numbers = self.x_mean, self.x_std, self.y_mean, self.y_std
        if max(map(len, numbers)) == 1:
            return  # the same on any axis
        layout = data_format_of_samples(model, self.data_format)
        if layout != self.data_format:
            raise ValueError(
                f"Expected statistics of the channels of model {model.name!r}, whose "
                f"convolutions are {layout}. Received statistics that are "
                f"{self.data_format}: pass ChannelStatistics.of(data, "
                f"data_format={layout!r})."
            )

    def _check_masks(self, model: keras.Model) -> None:
        """Raise ValueError if the network masks a value that is moved."""
        for layer in _masking_of_inputs(model):
            value = float(layer.mask_value)
            moved = (value - np.array(self.x_mean)) / np.array(self.x_std)
            if not np.array_equal(moved, np.full_like(moved, value), equal_nan=True):
                raise ValueError(
                    f"Layer {layer.name!r} masks steps whose inputs are all {value:g}. "
                    "Expected samples that are normalized and have this value where "
                    "they are padded. Received statistics that move it, so that "
                    "padding would count as data: normalize the steps that count "
                    "yourself and pass normalization=None."
                )

    def _changed(self, x: Any, y: Any, change: Callable[..., Any]) -> tuple[Any, Any]:
        """Return `change(values, mean, std)` of x and of y, in their own precision."""

        def of(values: Any, *numbers: tuple[float, ...]) -> Any:
            first = channel_axis(self, np.ndim(values)) == 1
            shape = (-1, *[1] * (np.ndim(values) - 2) * first)
            changed = change(values, *(np.reshape(part, shape) for part in numbers))
            return changed.astype(np.result_type(values, np.float32))

        return of(x, self.x_mean, self.x_std), of(y, self.y_mean, self.y_std)


@dataclasses.dataclass(frozen=True)
class RefitOnTarget:
    """Normalizes the target data by their own statistics.

    All target samples count, including those held out for early stopping.

    Example:
        >>> x = np.arange(4.0)[:, None]
        >>> RefitOnTarget().of_target(Samples.of((x, 2 * x))).y_mean
        (3.0,)
    """

    def of_target(
        self, data: Samples, model: keras.Model | None = None
    ) -> ChannelStatistics:
        """Return the statistics of raw samples for a network; channels last for None.

        Raises:
            ValueError: As `ChannelStatistics.of`, or if the layers do not tell which
                axis has the channels.
        """
        layout = LAST if model is None else data_format_of_samples(model)
        return ChannelStatistics.of(data, "target", layout)


@dataclasses.dataclass(frozen=True)
class RefitNormalizationLayers:
    """Adapts the `keras.layers.Normalization` layers of the copy to the target inputs.

    For models that normalize their inputs themselves. Otherwise these layers keep the
    statistics of the base data. A layer further down is adapted to the activations that
    the layers before it compute from the target inputs.

    Raises:
        ValueError: On use, if the model has no such layer or is not functional.
    """

    def adapt(self, network: keras.Model, data: Samples) -> tuple[str, ...]:
        """Adapt the layers of `network` in place and return their names."""
        own = sublayers(network)
        if any(isinstance(layer, ScalarGain) for layer in own):  # behind the model
            models = [layer for layer in own if isinstance(layer, keras.Model)]
            if models:
                return self.adapt(models[0], data)
        found = {
            layer.name: layer
            for layer in own
            if isinstance(layer, keras.layers.Normalization)
        }
        if not found or not getattr(network, "inputs", None):
            raise ValueError(
                f"Model {network.name!r} ({type(network).__name__}) has {len(found)} "
                "Normalization layers of its own to refit; expected at least one, in a "
                "functional or sequential model. Use RefitOnTarget() or None."
            )
        for layer in found.values():
            before = keras.Model(inputs_of(network), layer.input)
            layer.adapt(predicted(before, data.x))
        return tuple(found)


def _masking_of_inputs(model: keras.Model) -> Iterator[Any]:
    """Yield the masking layers that read the inputs, in networks inside too."""
    inputs = getattr(model, "inputs", None)
    for layer in sublayers(model):
        # A subclassed network does not say what a layer of it reads.
        if inputs and not _reads(layer, inputs):
            continue
        if isinstance(layer, keras.layers.Masking):
            yield layer
        elif isinstance(layer, keras.Model):
            yield from _masking_of_inputs(layer)


def _reads(layer: keras.Layer, tensors: list[Any]) -> bool:
    try:
        read = keras.tree.flatten(layer.input)
    except (AttributeError, ValueError):  # never called, or at several places
        return False
    return any(one is tensor for one in read for tensor in tensors)


def channel_axis(statistics: Any, ndim: int) -> int:
    """Return the axis of the channels of samples with some statistics.

    It is the last, unless these have the data format channels_first and the samples,
    which have `ndim` axes with their own, are fields or series.
    """
    first = getattr(statistics, "data_format", LAST) == FIRST and ndim > 2
    return 1 if first else -1


def data_format_of_samples(model: keras.Model, unclear: str | None = None) -> str:
    """Return the data format of a network's samples: that of its convolutions.

    It cannot be told if some convolutions are channels_first, others last, or layers
    move axes: then `unclear` is returned or, without it, a ValueError raised.
    """
    layers = layers_with_weights(model).values()
    found = {getattr(layer, "data_format", None) for layer in layers} - {None}
    if FIRST not in found:
        return LAST
    moving = [part for part in parents_first(model) if isinstance(part, _MOVES_AXES)]
    if not moving and found == {FIRST}:
        return FIRST
    if unclear is not None:
        return unclear
    names = ", ".join(f"{type(part).__name__} {part.name!r}" for part in moving)
    raise ValueError(
        f"The layers of model {model.name!r} do not tell which axis of the samples has "
        "the channels: expected convolutions of one data format. Received "
        f"channels_first and {names or 'channels_last'}. Pass statistics that say it, "
        "ChannelStatistics.of(data, data_format='channels_first') or 'channels_last', "
        "or samples in the units of the network (--normalize none)."
    )


def with_channels_last(values: NDArray[Any], data_format: str) -> NDArray[Any]:
    """Return samples with the axis of the channels moved to the end."""
    one_of("data_format", data_format, (LAST, FIRST))
    first = data_format == FIRST and values.ndim > 2
    return np.moveaxis(values, 1, -1) if first else values


def _moments(
    values: NDArray[Any], weights: NDArray[np.float64] | None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    width = values.shape[-1] if values.ndim > 1 else 1  # (num_samples,) has no channel
    channels = np.asarray(values, np.float64).reshape(-1, width)
    mean, std = channels.mean(axis=0), channels.std(axis=0)
    if weights is not None:
        counted = np.broadcast_to(weights, values.shape).reshape(-1, width)
        known = counted.any(axis=0)
        counted = np.where(known, counted, 1.0)
        mean = np.average(channels, 0, counted)
        std = np.sqrt(np.average((channels - mean) ** 2, 0, counted))
        std = np.where(known, std, 1.0)  # a channel without weight stays as it is
    return tuple(mean.tolist()), tuple(std.tolist())
