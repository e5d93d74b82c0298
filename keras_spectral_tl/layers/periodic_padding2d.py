"""Padding that continues a doubly periodic field."""

import keras

from keras_spectral_tl.layers.periodic_padding import PeriodicPadding


@keras.saving.register_keras_serializable(package="keras_spectral_tl")
class PeriodicPadding2D(PeriodicPadding):
    """Pads both spatial axes of a batch of doubly periodic fields.

    output[i, j] = input[(i - top) mod n, (j - left) mod m], exactly: values are copied,
    never computed, so the layer commutes bit for bit with cyclic shifts of its input.
    The padding may exceed one period: the field is then repeated as often as needed.
    Sizes known only at run time are allowed.

    Args:
        padding: Points to add: an int (all four sides), a pair (each side of the first
            and of the second spatial axis), or `((top, bottom), (left, right))`.
        data_format: `"channels_last"`, `"channels_first"` or None (the Keras setting).
        **kwargs: Arguments of `keras.layers.Layer`.

    Input shape:
        (batch, n, m, channels), or (batch, channels, n, m) if channels come first.

    Output shape:
        The same with n + top + bottom and m + left + right points.

    Raises:
        ValueError: If a padding is negative or of another form.

    Example:
        >>> import numpy as np
        >>> field = np.arange(3.0).reshape(1, 3, 1, 1)
        >>> padded = PeriodicPadding2D(((2, 1), (0, 0)))(field)
        >>> [float(value) for value in np.ravel(padded)]
        [1.0, 2.0, 0.0, 1.0, 2.0, 0.0]
    """

    rank = 2
