"""A Keras model as the subgrid closure of an LES, on any backend."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_spectral_tl._checks import refuse_masked, whole_number
from keras_spectral_tl.linearization import compiled_forward

__all__ = ["KerasClosure", "compiled_forward"]

Array = NDArray[Any]
Pair = tuple[float, float]


class KerasClosure:
    """A network as a closure: `(vorticity, streamfunction) -> sgs_forcing`.

        sgs_forcing = mean_Pi + std_Pi * model((inputs - mean) / std)

    Inputs and outputs are physical fields; they are normalized in float32, by the same
    operations as the training data, so the model receives exactly the same numbers as
    in training. The forward pass is compiled at the first call, once for each shape, in
    inference mode; it always uses the current weights. Fields with leading axes (an
    ensemble) are one batch.

    A closure can be pickled, for solvers that run in other processes.

    Args:
        model: Built Keras model from (batch, nx, ny, channels) to (batch, nx, ny,
            layers), directly or as the only entry of a dict or list.
        statistics: Field name to `(mean, std)`, for every input field and
            "sgs_forcing"; or an object with these attributes. With several fluid
            layers, one pair for each.
        input_fields: The channels of the input, in order; with several layers, all
            layers of the first field, then those of the next.
        layers: Layers of fluid: fields have the shape (..., layers, nx, ny) if there
            are more than one.

    Attributes:
        forward: The compiled forward pass, (batch, nx, ny, channels) to (batch, nx, ny,
            1) in normalized units.

    Raises:
        TypeError: If the model is not a Keras layer or model, or `layers` not an int.
        ValueError: If statistics are missing, not finite or not positive, or if the
            model takes another number of channels or has several outputs; in use, if
            the model does not return one channel on the grid of its input.

    Example:
        >>> gain = keras.layers.Conv2D(1, 1, kernel_initializer="ones")
        >>> model = keras.Sequential([keras.Input((None, None, 2)), gain])
        >>> statistics = dict.fromkeys(("streamfunction", "vorticity"), (0.0, 2.0))
        >>> closure = KerasClosure(model, {**statistics, "sgs_forcing": (0.0, 3.0)})
        >>> closure(np.full((4, 4), 6.0), np.full((4, 4), 2.0))[0, 0]  # 3 (6/2 + 2/2)
        np.float64(12.0)
    """

    accepts_batches = True

    def __init__(
        self,
        model: keras.Model,
        statistics: Any,
        input_fields: Sequence[str] = ("streamfunction", "vorticity"),
        layers: int = 1,
    ) -> None:
        if not isinstance(model, keras.Layer):
            raise TypeError(
                "model must be a built Keras model, which maps (batch, nx, ny, "
                f"channels) to (batch, nx, ny, 1). Received {model!r:.100}."
            )
        self.model = model
        self.input_fields = tuple(input_fields)
        unknown = sorted(set(self.input_fields) - {"streamfunction", "vorticity"})
        if unknown or not self.input_fields:
            raise ValueError(
                "input_fields must be some of 'streamfunction' and 'vorticity', which "
                f"is what a solver gives. Received {input_fields!r}."
            )
        self.layers = layers = whole_number("layers", layers, at_least=1)
        pairs = {
            name: _means_and_stds(name, statistics, layers)
            for name in (*self.input_fields, "sgs_forcing")
        }
        self.statistics = {n: p[0] if layers == 1 else p for n, p in pairs.items()}
        channels = [pair for name in self.input_fields for pair in pairs[name]]
        self._mean, self._std = np.array(channels, np.float32).T
        self._output_mean, self._output_std = np.array(
            pairs["sgs_forcing"], np.float32
        ).T
        _check_channels(model, len(channels))
        self.forward = compiled_forward(model)

    def __call__(self, vorticity: Array, streamfunction: Array) -> Array:
        """Return sgs_forcing of fields (..., nx, ny), in their own precision."""
        outputs = self.forward(self.inputs(vorticity, streamfunction))
        batch, _, nx, ny = self._batch_shape(vorticity)
        expected = (batch, nx, ny, self.layers)
        if outputs.shape != expected:
            raise ValueError(
                f"Model {self.model.name!r} must return one channel for each of "
                f"{self.layers} layer(s) on the grid of its input, {expected}. "
                f"Received {outputs.shape}. build_sgs_cnn(..., num_outputs="
                f"{self.layers}) makes such a model."
            )
        forcing = np.moveaxis(outputs * self._output_std + self._output_mean, -1, 1)
        dtype = np.result_type(vorticity.dtype, np.float32)
        return np.asarray(forcing.reshape(vorticity.shape).astype(dtype))

    def inputs(self, vorticity: Array, streamfunction: Array) -> NDArray[np.float32]:
        """Return the normalized inputs of the model, (batch, nx, ny, channels)."""
        fields = {"vorticity": vorticity, "streamfunction": streamfunction}
        if np.shape(vorticity) != np.shape(streamfunction):
            raise ValueError(
                "Expected vorticity and streamfunction of one shape. Received "
                f"{np.shape(vorticity)} and {np.shape(streamfunction)}."
            )
        shape = self._batch_shape(vorticity)
        batch, layers, nx, ny = shape
        x = np.empty((batch, nx, ny, len(self._mean)), np.float32)
        for number, name in enumerate(self.input_fields):
            refuse_masked(fields[name])
            field = fields[name].reshape(shape)
            for layer in range(layers):
                channel = number * layers + layer
                plane = field[:, layer].astype(np.float32)
                plane -= self._mean[channel]
                plane /= self._std[channel]
                x[..., channel] = plane
        return x

    def _batch_shape(self, fields: Array) -> tuple[int, ...]:
        """Return (batch, layers, nx, ny)."""
        leading = fields.shape[:-2]
        if self.layers > 1:
            if not leading or leading[-1] != self.layers:
                raise ValueError(
                    f"Fields of {self.layers} layers have the shape (..., "
                    f"{self.layers}, nx, ny). Received {fields.shape}."
                )
            leading = leading[:-1]
        return (int(np.prod(leading)), self.layers, *fields.shape[-2:])

    def __repr__(self) -> str:
        return f"KerasClosure({self.model.name!r})"

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if key != "forward"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self.forward = compiled_forward(self.model)


def _means_and_stds(name: str, statistics: Any, layers: int) -> tuple[Pair, ...]:
    """Return (mean, std) of a field in each layer, checked."""
    values = (
        statistics.get(name)
        if isinstance(statistics, Mapping)
        else getattr(statistics, name, None)
    )
    numbers = np.ravel(np.asarray(np.nan if values is None else values, np.float64))
    if numbers.size != 2 * layers or not np.all(np.isfinite(numbers)):
        numbers = np.zeros(2 * layers)
    pairs = numbers.reshape(layers, 2)
    if not np.all(pairs[:, 1] > 0.0):
        other = np.size(values) // 2 if values is not None else layers
        advice = f" They are of {other} layer(s): give layers={other}."
        raise ValueError(
            f"statistics must hold (mean, std) of {name!r}, finite and with a positive "
            f"std, for {layers} layer(s). Received {values!r} in {statistics!r:.200}. "
            "Pass those of the data that the model was trained on."
            f"{advice if other not in (0, layers) else ''}"
        )
    return tuple((float(mean), float(std)) for mean, std in pairs)


def _check_channels(model: keras.Model, channels: int) -> None:
    shape = getattr(model, "input_shape", None)
    if isinstance(shape, tuple) and (len(shape) != 4 or shape[-1] != channels):
        raise ValueError(
            f"Model {model.name!r} takes inputs of shape {shape}; expected (batch, nx, "
            f"ny, {channels}). Give input_fields the channels it was trained on, and "
            "layers=2 for two layers of fluid."
        )
