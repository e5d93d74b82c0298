"""The correlation where the resolved scales lose energy to the subgrid scales."""

from typing import Any

import keras

from keras_spectral_tl.metrics.conditioned_correlation import ConditionedCorrelation


@keras.saving.register_keras_serializable(package="keras_spectral_tl")
class ForwardTransferCorrelation(ConditionedCorrelation):
    """Keras metric: correlation with the truth at the points of forward transfer.

    The counterpart of `BackscatterCorrelation`, which tells how the conditioning field
    is passed: ``field * sgs_forcing < 0``, where the resolved flow loses energy (field
    the streamfunction) or enstrophy (the vorticity).

    Args:
        data_format: "channels_last", "channels_first" or None (the Keras setting).
        name: Name of the metric in logs and histories.
        dtype: Precision of the sums.

    Raises:
        ValueError: If `y_true` has not one channel more than the prediction.

    Example:
        >>> import numpy as np
        >>> forcing = np.array([1.0, 2.0, -1.0, -2.0]).reshape(1, 4, 1, 1)
        >>> streamfunction = np.ones_like(forcing)
        >>> y_true = np.concatenate([forcing, streamfunction], axis=-1)
        >>> metric = ForwardTransferCorrelation()
        >>> metric.update_state(y_true, forcing**2)
        >>> round(float(metric.result()), 6)  # over the last two points
        -1.0
    """

    def __init__(
        self,
        data_format: str | None = None,
        name: str = "forward_transfer_correlation",
        dtype: Any = None,
    ) -> None:
        super().__init__(data_format, name, dtype)

    def condition(self, transfer: Any) -> Any:
        """Return where the transfer to the resolved scales is negative."""
        return transfer < 0
