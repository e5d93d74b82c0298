"""One trainable number that multiplies the output of a model."""

from typing import Any

import keras

from keras_spectral_tl import introspection
from keras_spectral_tl.freezing.parts import Part

_WEIGHT = "output_gain"


class OutputGain(Part):
    """The gain of a model's output alone: outputs = gain * model(inputs).

    `transfer.retrain` puts the gain, 1 at first, behind its copy of the model;
    elsewhere call `prepare` first. The closed form for the mean squared error is
    `transfer.fit_output_gain`.

    Args:
        layers: Not needed: there is one output.

    Example:
        >>> from keras_spectral_tl.freezing import select_layers
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
        >>> scaled = OutputGain().prepare(model)
        >>> select_layers(scaled, OutputGain()).num_trainable
        1
    """

    def accepts(self, layer: keras.Layer, weight: str) -> bool:
        """Whether it is the gain."""
        return weight == _WEIGHT

    def mend(self) -> str:
        """What to do where a model has no such part."""
        return (
            "The model has no output gain. transfer.retrain puts one behind its copy; "
            "elsewhere use OutputGain().prepare(model)."
        )

    def prepare(self, model: keras.Model) -> keras.Model:
        """Return a model that multiplies the output of `model`, whose layers it shares.

        Raises:
            ValueError: If the input shape of `model` is not known.
        """
        inputs = keras.tree.map_structure(
            lambda tensor: keras.Input(tensor.shape[1:], dtype=tensor.dtype),
            introspection.symbolic_inputs(model, unknown=None),
        )
        outputs = ScalarGain(name=_WEIGHT)(model(inputs))
        return keras.Model(inputs, outputs, name=f"{model.name}_with_gain")


@keras.saving.register_keras_serializable(package="keras_spectral_tl")
class ScalarGain(keras.layers.Layer):
    """Multiplies its input by one trainable number, 1 at first."""

    def build(self, input_shape: Any) -> None:
        """Create the gain."""
        self.gain = self.add_weight(shape=(), name=_WEIGHT, initializer="ones")

    def call(self, inputs: Any) -> Any:
        """Return gain * inputs."""
        return inputs * keras.ops.cast(self.gain, inputs.dtype)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the shape of the input."""
        return input_shape
