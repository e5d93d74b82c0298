"""Statistics that normalize samples: given, or those of the target."""

import dataclasses
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_spectral_tl._checks import real_array
from keras_spectral_tl._keras_internals import predicted, sublayers
from keras_spectral_tl.transfer._samples import NormalizedSamples, Samples


@dataclasses.dataclass(frozen=True)
class ChannelStatistics:
    """Mean and standard deviation of each channel of inputs and outputs.

        normalized = (values - mean) / std,    channel by channel, on the last axis.

    Statistics of the base data keep the normalization with which the base model was
    trained; those of the target data refit it. This choice affects every result.

    Attributes:
        x_mean: One number per input channel.
        x_std: One positive number per input channel.
        y_mean: One number per output channel.
        y_std: One positive number per output channel.
        source: Where the statistics come from, for the record.

    Raises:
        ValueError: If a mean is not finite or a standard deviation not positive, or if
            they are not one number for each channel.

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

    def __post_init__(self) -> None:
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
    def of(cls, data: Any, source: str = "given") -> "ChannelStatistics":
        """Compute the statistics of samples `(x, y)`, over all axes but the last.

        `Samples.weights` of points count, also in x if it is on the same grid.

        Raises:
            ValueError: If the inputs are several arrays, a channel is constant, or the
                samples are already normalized.
        """
        target = Samples.of(data)
        if isinstance(target, NormalizedSamples):
            raise ValueError(
                "Expected raw samples to measure statistics of. Received samples that "
                f"are normalized already, by {target.statistics!r:.200}."
            )
        if not isinstance(target.x, np.ndarray):
            raise ValueError(
                "ChannelStatistics need one input array. Received "
                f"{len(keras.tree.flatten(target.x))} arrays: normalize them before."
            )
        weights = of_x = target.weights
        if weights is not None:
            alike = weights.shape[:-1] == target.x.shape[1:-1]
            of_x = weights.max(axis=-1, keepdims=True) if alike else None
        moments = *_moments(target.x, of_x), *_moments(target.y, weights)
        return cls(*moments, source)

    def normalize(self, x: Any, y: Any) -> tuple[Any, Any]:
        """Return normalized inputs and outputs, in their own precision."""
        return _scaled(x, self.x_mean, self.x_std), _scaled(y, self.y_mean, self.y_std)

    def denormalize(self, x: Any, y: Any) -> tuple[Any, Any]:
        """Return inputs and outputs in their original units: inverse of `normalize`."""
        return _restored(x, self.x_mean, self.x_std), _restored(
            y, self.y_mean, self.y_std
        )


@dataclasses.dataclass(frozen=True)
class RefitOnTarget:
    """Normalizes the target data by their own statistics.

    All target samples count, including those held out for early stopping.

    Example:
        >>> x = np.arange(4.0)[:, None]
        >>> RefitOnTarget().of_target(Samples.of((x, 2 * x))).y_mean
        (3.0,)
    """

    def of_target(self, data: Samples) -> ChannelStatistics:
        """Return the statistics of raw samples."""
        return ChannelStatistics.of(data, source="target")


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
        found = {
            layer.name: layer
            for layer in sublayers(network)
            if isinstance(layer, keras.layers.Normalization)
        }
        if not found or not getattr(network, "inputs", None):
            raise ValueError(
                f"Model {network.name!r} ({type(network).__name__}) has {len(found)} "
                "Normalization layers of its own to refit; expected at least one, in a "
                "functional or sequential model. Use RefitOnTarget() or None."
            )
        for layer in found.values():
            before = keras.Model(network.inputs, layer.input)
            layer.adapt(predicted(before, data.x))
        return tuple(found)


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


def _scaled(values: Any, mean: tuple[float, ...], std: tuple[float, ...]) -> Any:
    kind = np.result_type(values, np.float32)
    return ((values - np.asarray(mean)) / np.asarray(std)).astype(kind)


def _restored(values: Any, mean: tuple[float, ...], std: tuple[float, ...]) -> Any:
    kind = np.result_type(values, np.float32)
    return (values * np.asarray(std) + np.asarray(mean)).astype(kind)
