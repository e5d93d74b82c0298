"""Padding that continues a triply periodic field."""

import keras

from keras_spectral_tl.layers.periodic_padding import PeriodicPadding


@keras.saving.register_keras_serializable(package="keras_spectral_tl")
class PeriodicPadding3D(PeriodicPadding):
    """Pads the three spatial axes of a batch of triply periodic fields.

    output[i, ...] = input[(i - before) mod n, ...] along each axis, exactly: values are
    copied, never computed, so the layer commutes bit for bit with cyclic shifts of its
    input. The padding may exceed one period: the field is then repeated as often as
    needed. Sizes known only at run time are allowed.

    Args:
        padding: Points to add: an int (all six sides), three ints (each side of one
            axis), or three pairs `(before, after)`.
        data_format: `"channels_last"`, `"channels_first"` or None (the Keras setting).
        **kwargs: Arguments of `keras.layers.Layer`.

    Input shape:
        (batch, n, m, l, channels), or (batch, channels, n, m, l) if channels come
        first.

    Output shape:
        The same with the added points along each spatial axis.

    Raises:
        ValueError: If a padding is negative or of another form.

    Example:
        >>> import numpy as np
        >>> field = np.arange(2.0).reshape(1, 1, 1, 2, 1)
        >>> padded = PeriodicPadding3D(((0, 0), (1, 0), (0, 1)))(field)
        >>> [float(value) for value in np.ravel(padded)]  # (1, 1, 2, 3, 1)
        [0.0, 1.0, 0.0, 0.0, 1.0, 0.0]
    """

    rank = 3
