"""The convolutional closure; exact and reinitialized copies of any Keras model."""

from collections.abc import Sequence

import keras

from keras_spectral_tl._checks import whole_number
from keras_spectral_tl._graph.copies import copy_model, fresh_model
from keras_spectral_tl.layers import PeriodicConv2D

__all__ = ["build_sgs_cnn", "copy_model", "fresh_model"]

_MOST_WEIGHTS = 2 * 10**9


def build_sgs_cnn(
    input_shape: Sequence[int | None],
    num_layers: int = 11,
    num_filters: int = 64,
    kernel_size: int = 5,
    periodic: bool = True,
    num_outputs: int = 1,
) -> keras.Model:
    """Build a convolutional network from resolved fields to the subgrid forcing.

    (streamfunction, vorticity) -> conv_1 -> ReLU -> ... -> conv_n -> sgs_forcing: all
    convolutions keep the grid, hidden ones have ReLU, the last is linear with one
    channel, or one for each layer of fluid. The only weights are [kernel_1, bias_1,
    kernel_2, bias_2, ...]; with the default sizes and two input channels they are
    927,041 parameters.

    Args:
        input_shape: (n, m, channels) of one sample; n and m may be None.
        num_layers: Number of convolutions.
        num_filters: Channels of the hidden layers.
        kernel_size: Taps along each axis.
        periodic: Whether the fields are doubly periodic (`layers.PeriodicConv2D`);
            otherwise they are continued by zeros (`Conv2D(padding="same")`).
        num_outputs: Channels of the output.

    Returns:
        An uncompiled model with layers conv_1 ... conv_n.

    Raises:
        TypeError: If a number is not an int.
        ValueError: If `input_shape` is not (n, m, channels), a number is not positive,
            or there would be more than 2e9 weights.

    References:
        Architecture after Guan, Chattopadhyay, Subel, Hassanzadeh, "Stable a
        posteriori LES of 2D turbulence using convolutional neural networks",
        https://doi.org/10.1016/j.jcp.2022.111090

    Example:
        >>> model = build_sgs_cnn((16, 16, 2), num_layers=2, num_filters=3)
        >>> [layer.name for layer in model.layers[1:]], model.output_shape
        (['conv_1', 'conv_2'], (None, 16, 16, 1))
    """
    shape = tuple(input_shape)
    known = [size for size in shape if size is not None]
    if len(shape) != 3 or shape[2] is None or min(known) < 1:
        raise ValueError(
            "Expected input_shape = (n, m, channels), positive, for example "
            f"(64, 64, 2). Received input_shape={input_shape!r}."
        )
    sizes = {
        "num_layers": num_layers,
        "num_filters": num_filters,
        "kernel_size": kernel_size,
    }
    for name, size in {**sizes, "num_outputs": num_outputs}.items():
        whole_number(name, size, at_least=1)
    layers, filters, taps = map(int, sizes.values())
    hidden = (layers - 2) * filters**2 + (shape[2] + 1) * filters
    if (hidden if layers > 1 else shape[2]) * taps**2 > _MOST_WEIGHTS:
        raise ValueError(
            f"Expected at most {_MOST_WEIGHTS:.0e} weights, which take 8 GB. Received "
            f"{sizes} for {shape[2]} channel(s), which make more; choose fewer."
        )
    convolution = PeriodicConv2D if periodic else keras.layers.Conv2D
    options = {} if periodic else {"padding": "same"}
    inputs = keras.Input(shape, name="fields")
    outputs = inputs
    for number in range(1, num_layers + 1):
        last = number == num_layers
        outputs = convolution(
            num_outputs if last else num_filters,
            kernel_size,
            activation=None if last else "relu",
            data_format="channels_last",
            name=f"conv_{number}",
            **options,
        )(outputs)
    return keras.Model(inputs, outputs, name="sgs_cnn")
