"""A Keras model as the subgrid closure of an LES, on any backend."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_spectral_tl._autodiff.function import compiled_forward

__all__ = ["KerasClosure", "compiled_forward"]

Array = NDArray[Any]
Pair = tuple[float, float]


class KerasClosure:
    """A network as a closure: `(vorticity, streamfunction) -> sgs_forcing`.

        sgs_forcing = mean_Pi + std_Pi * model((inputs - mean) / std)

    Inputs and outputs are physical fields; the normalization is done in float32, by the
    same operations as on the training data, so the model receives the very numbers that
    it would in training. The forward pass is compiled at the first call, once for each
    shape, in inference mode; it always uses the current weights. Fields with leading
    axes, an ensemble, are one batch.

    A closure can be pickled, for solvers that run in other processes.

    Args:
        model: Built Keras model from (batch, nx, ny, channels) to (batch, nx, ny, 1),
            bare or as the only entry of a dict or list.
        statistics: Field name to `(mean, std)`, for every input field and
            "sgs_forcing"; or an object with these attributes.
        input_fields: The channels of the input, in order.

    Attributes:
        forward: The compiled forward pass, (batch, nx, ny, channels) to (batch, nx, ny,
            1) in normalized units.

    Raises:
        TypeError: If the model is no Keras layer or model.
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
        self.statistics = {
            name: _mean_and_std(name, statistics)
            for name in (*self.input_fields, "sgs_forcing")
        }
        self._mean, self._std = (
            np.array([self.statistics[f][i] for f in self.input_fields], np.float32)
            for i in (0, 1)
        )
        mean, std = self.statistics["sgs_forcing"]
        self._output_mean, self._output_std = np.float32(mean), np.float32(std)
        _check_channels(model, len(self.input_fields))
        self.forward = compiled_forward(model)

    def __call__(self, vorticity: Array, streamfunction: Array) -> Array:
        """Return sgs_forcing of fields (..., nx, ny), in their own precision."""
        outputs = self.forward(self.inputs(vorticity, streamfunction))
        expected = (*_batch_shape(vorticity), 1)
        if outputs.shape != expected:
            raise ValueError(
                f"Model {self.model.name!r} must return one channel on the grid of its "
                f"input, {expected}. Received {outputs.shape}."
            )
        forcing = outputs * self._output_std + self._output_mean
        dtype = np.result_type(vorticity.dtype, np.float32)
        in_shape: Array = forcing.reshape(vorticity.shape).astype(dtype)
        return in_shape

    def inputs(self, vorticity: Array, streamfunction: Array) -> NDArray[np.float32]:
        """Return what the model receives, (batch, nx, ny, channels), normalized."""
        fields = {"vorticity": vorticity, "streamfunction": streamfunction}
        shape = _batch_shape(vorticity)
        x = np.empty((*shape, len(self.input_fields)), np.float32)
        for channel, name in enumerate(self.input_fields):
            plane = fields[name].reshape(shape).astype(np.float32)
            plane -= self._mean[channel]
            plane /= self._std[channel]
            x[..., channel] = plane
        return x

    def __repr__(self) -> str:
        return f"KerasClosure({self.model.name!r})"

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if key != "forward"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self.forward = compiled_forward(self.model)


def _batch_shape(fields: Array) -> tuple[int, ...]:
    return (int(np.prod(fields.shape[:-2])), *fields.shape[-2:])


def _mean_and_std(name: str, statistics: Any) -> Pair:
    values = (
        statistics.get(name)
        if isinstance(statistics, Mapping)
        else getattr(statistics, name, None)
    )
    numbers = np.ravel(np.asarray(np.nan if values is None else values, np.float64))
    if numbers.size != 2 or not np.all(np.isfinite(numbers)) or not numbers[1] > 0.0:
        raise ValueError(
            f"statistics must hold (mean, std) of {name!r}, finite and with a positive "
            f"std. Received {values!r} in {statistics!r}. Pass those of the data that "
            "the model was trained on."
        )
    return float(numbers[0]), float(numbers[1])


def _check_channels(model: keras.Model, channels: int) -> None:
    shape = getattr(model, "input_shape", None)
    if isinstance(shape, tuple) and (len(shape) != 4 or shape[-1] != channels):
        raise ValueError(
            f"Model {model.name!r} takes inputs of shape {shape}; expected (batch, nx, "
            f"ny, {channels}). Give input_fields the channels it was trained on."
        )
