"""What metrics that are a ratio of two sums over all samples share."""

from typing import Any

import keras
from keras import ops

from keras_spectral_tl.metrics.compensated_sum import CompensatedSum


class RatioMetric(keras.Metric):
    """Accumulates a numerator and a denominator over batches, each exactly.

    The ratio is taken at the end, so neither the size nor the order of the batches
    matters beyond the rounding of each batch's own sums.

    Args:
        name: Name of the metric in logs and histories.
        dtype: Precision of the sums.
    """

    def __init__(self, name: str, dtype: Any = None) -> None:
        super().__init__(name=name, dtype=dtype)
        self.numerator = CompensatedSum(self, "numerator")
        self.denominator = CompensatedSum(self, "denominator")

    def samples(self, values: Any) -> Any:
        """Return `values` as (num_samples, values of a sample) in the own precision."""
        values = ops.cast(values, self.dtype)
        return ops.reshape(values, (ops.shape(values)[0], -1))

    def accumulate(self, above: Any, below: Any, sample_weight: Any) -> None:
        """Add one number a sample to each sum, weighted."""
        if sample_weight is not None:
            weight = ops.reshape(ops.cast(sample_weight, self.dtype), (-1,))
            above, below = above * weight, below * weight
        self.numerator.add(ops.sum(above))
        self.denominator.add(ops.sum(below))
