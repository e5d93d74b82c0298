"""Padding that continues a periodic series."""

import keras

from keras_spectral_tl.layers.periodic_padding import PeriodicPadding


@keras.saving.register_keras_serializable(package="keras_spectral_tl")
class PeriodicPadding1D(PeriodicPadding):
    """Pads the spatial axis of a batch of periodic series.

    output[i] = input[(i - before) mod n], exactly: values are copied, never computed,
    so the layer commutes bit for bit with cyclic shifts of its input. The padding may
    exceed one period: the series is then repeated as often as needed. A size known only
    at run time is allowed.

    Args:
        padding: Points to add: an int (both ends) or `(before, after)`.
        data_format: `"channels_last"`, `"channels_first"` or None (the Keras setting).
        **kwargs: Arguments of `keras.layers.Layer`.

    Input shape:
        (batch, n, channels), or (batch, channels, n) if channels come first.

    Output shape:
        The same with n + before + after points.

    Raises:
        ValueError: If a padding is negative or of another form.

    Example:
        >>> import numpy as np
        >>> series = np.arange(3.0).reshape(1, 3, 1)
        >>> [float(value) for value in np.ravel(PeriodicPadding1D((1, 2))(series))]
        [2.0, 0.0, 1.0, 2.0, 0.0, 1.0]
    """

    rank = 1
