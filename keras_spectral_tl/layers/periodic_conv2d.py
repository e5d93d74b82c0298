"""Convolution on a doubly periodic domain."""

from typing import Any

import keras
from keras import ops

from keras_spectral_tl.layers.periodic_padding import pad_periodically


@keras.saving.register_keras_serializable(package="keras_spectral_tl")
class PeriodicConv2D(keras.layers.Conv2D):
    """`Conv2D` for doubly periodic fields: periodic padding, then a valid convolution.

    output[i, j] = bias + sum over taps (a, b) and channels of
    kernel[a, b] * input[(s i + d a - before) mod n, (s j + d b - before) mod m],

    with strides s, dilation d and before = floor(d (kernel_size - 1) / 2). This is a
    circular cross-correlation, so with F the DFT over space, strides 1 and an odd
    kernel centred at the origin, F[output] = conj(F[kernel]) F[input] + bias term.

    - An even kernel has no middle: it reaches one dilation step further ahead (towards
      larger i) than behind, like `Conv2D(padding="same")`.
    - Strides keep every s-th point of the convolution without strides, beginning with
      the first: ceil(n / s) points. The result is itself periodic, and shifting the
      input by s shifts it by one, only where s divides n.
    - A kernel wider than the domain wraps around as often as it needs to.

    Args:
        filters: Number of output channels.
        kernel_size: An int or a pair of ints.
        strides: An int or a pair of ints.
        **kwargs: The other arguments of `keras.layers.Conv2D` (`dilation_rate`,
            `groups`, `activation`, `data_format`, ...) except `padding`.

    Input shape:
        (batch, n, m, channels), or (batch, channels, n, m) if channels come first.

    Output shape:
        (batch, ceil(n / s), ceil(m / s), filters), or with filters on axis 1.

    Raises:
        TypeError: If `padding` is given: it is always periodic here.
        ValueError: If a size is not one that `keras.layers.Conv2D` takes.

    Example:
        >>> import numpy as np
        >>> layer = PeriodicConv2D(1, 3, kernel_initializer="ones")
        >>> field = np.zeros((1, 4, 4, 1), "float32")
        >>> field[0, 0, 0, 0] = 1.0
        >>> outputs = keras.ops.convert_to_numpy(layer(field))
        >>> outputs[0, :, :, 0].astype(int).tolist()
        [[1, 1, 0, 1], [1, 1, 0, 1], [0, 0, 0, 0], [1, 1, 0, 1]]
    """

    def __init__(
        self, filters: int, kernel_size: Any, strides: Any = (1, 1), **kwargs: Any
    ) -> None:
        if "padding" in kwargs:
            raise TypeError(
                "PeriodicConv2D takes no `padding`: it always pads periodically. Use "
                "keras.layers.Conv2D for other paddings. Received "
                f"padding={kwargs['padding']!r}."
            )
        try:
            super().__init__(filters, kernel_size, strides, padding="valid", **kwargs)
        except OverflowError as error:
            raise ValueError(
                f"PeriodicConv2D needs finite sizes. Received filters={filters!r}, "
                f"kernel_size={kernel_size!r}, strides={strides!r}."
            ) from error

    @property
    def _spatial_axes(self) -> tuple[int, int]:
        return (1, 2) if self.data_format == "channels_last" else (2, 3)

    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        """Return the periodic convolution of `inputs`, without bias or activation."""
        sizes = zip(self.kernel_size, self.dilation_rate, strict=True)
        for axis, (taps, dilation) in zip(self._spatial_axes, sizes, strict=True):
            reach = dilation * (taps - 1)
            inputs = pad_periodically(inputs, reach // 2, reach - reach // 2, axis)
        return ops.conv(
            inputs,
            kernel,
            strides=list(self.strides),
            padding="valid",
            dilation_rate=self.dilation_rate,
            data_format=self.data_format,
        )

    def compute_output_shape(
        self, input_shape: tuple[int | None, ...]
    ) -> tuple[int | None, ...]:
        """Return the output shape: ceil(n / s) points along each spatial axis."""
        shape = list(input_shape)
        for axis, stride in zip(self._spatial_axes, self.strides, strict=True):
            size = shape[axis]
            shape[axis] = None if size is None else -(-size // stride)
        shape[-1 if self.data_format == "channels_last" else 1] = self.filters
        return tuple(shape)

    def get_config(self) -> dict[str, Any]:
        """Return what is needed to make this layer again."""
        config: dict[str, Any] = super().get_config()
        del config["padding"]
        return config
