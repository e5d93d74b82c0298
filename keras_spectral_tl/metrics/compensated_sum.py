"""Sums over any number of batches that lose nothing to single precision."""

from typing import Any

import keras
from keras import ops


class CompensatedSum:
    """A running sum whose rounding errors are kept and added at the end.

    Two variables of a metric hold the sum and what its roundings lost (Neumaier's
    variant of Kahan's sum, https://doi.org/10.1002/zamm.19740540106). Its error is a
    rounding or two of the result, however many terms there are, where a plain float32
    sum stops growing once a term is 6e-8 of it. What remains is the error of each
    term. Works inside compiled steps of every backend, none of which reorders sums.

    Args:
        metric: The metric that is to own the variables.
        name: Prefix of their names.
        shape: Shape of the terms.

    Example:
        >>> total = CompensatedSum(keras.metrics.Metric(), "sum")
        >>> for term in (2.0**24, 1.0, 1.0, 1.0):
        ...     total.add(term)
        >>> int(total.value()) - 2**24
        4
    """

    def __init__(
        self, metric: keras.Metric, name: str, shape: tuple[int, ...] = ()
    ) -> None:
        self.total = metric.add_weight(name=name, shape=shape, initializer="zeros")
        self.lost = metric.add_weight(
            name=f"{name}_lost", shape=shape, initializer="zeros"
        )

    def add(self, term: Any) -> None:
        """Add a term of the shape and precision of the sum."""
        term = ops.cast(term, self.total.dtype)
        total = ops.convert_to_tensor(self.total)
        grown = total + term
        added = grown - total
        error = (total - (grown - added)) + (term - added)
        self.lost.assign(self.lost + error)
        self.total.assign(grown)

    def value(self) -> Any:
        """Return the sum."""
        return self.total + self.lost
