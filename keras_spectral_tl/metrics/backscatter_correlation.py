"""The correlation where the subgrid scales give energy back."""

from typing import Any

import keras

from keras_spectral_tl.metrics.conditioned_correlation import ConditionedCorrelation


@keras.saving.register_keras_serializable(package="keras_spectral_tl")
class BackscatterCorrelation(ConditionedCorrelation):
    """Keras metric: correlation with the truth at the points of backscatter.

    The streaming form of `conditioned_correlation` with ``field * sgs_forcing > 0``,
    the transfer by the TRUE forcing; with the streamfunction as field this is
    backscatter of energy, with the vorticity that of enstrophy. A metric sees no model
    inputs, so the field travels as one more, last channel of ``y_true``:
    (batch, nx, ny, 2) beside a prediction (batch, nx, ny, 1). It counts by its sign
    alone, so any positive scaling will do, but not a shift of its zero. Samples without
    such points are left out; before any the result is NaN.

    Args:
        data_format: "channels_last", "channels_first" or None (the Keras setting).
        name: Name of the metric in logs and histories.
        dtype: Precision of the sums.

    Raises:
        ValueError: If `y_true` has not one channel more than the prediction.

    Example:
        A loss takes the channel of the truth alone:

        >>> import numpy as np
        >>> layers = keras.Input((8, 8, 2)), keras.layers.Conv2D(1, 1)
        >>> model = keras.Sequential(layers)
        >>> def loss(y_true, y_pred):
        ...     return keras.losses.mean_squared_error(y_true[..., :1], y_pred)
        >>> model.compile("adam", loss, metrics=[BackscatterCorrelation()])
        >>> x = np.random.default_rng(0).normal(size=(4, 8, 8, 2))
        >>> sgs_forcing, streamfunction = x[..., 1:] - x[..., :1], x[..., :1]
        >>> y = np.concatenate([sgs_forcing, streamfunction], axis=-1)
        >>> sorted(model.evaluate(x, y, verbose=0, return_dict=True))
        ['backscatter_correlation', 'loss']
    """

    def __init__(
        self,
        data_format: str | None = None,
        name: str = "backscatter_correlation",
        dtype: Any = None,
    ) -> None:
        super().__init__(data_format, name, dtype)

    def condition(self, transfer: Any) -> Any:
        """Return where the transfer to the resolved scales is positive."""
        return transfer > 0
