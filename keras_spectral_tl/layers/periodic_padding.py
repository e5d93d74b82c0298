"""Periodic continuation along any number of axes: what the padding layers share."""

from typing import Any

import keras
import numpy as np
from keras import ops

_INTEGERS = (int, np.integer)
_FORMS = {
    1: "a non-negative int or (before, after)",
    2: "a non-negative int, a pair of them, or ((top, bottom), (left, right))",
    3: "a non-negative int, three of them, or three pairs (before, after)",
}

Sides = tuple[tuple[int, int], ...]


def pad_periodically(inputs: Any, before: int, after: int, axis: int) -> Any:
    """Continue `inputs` periodically along one axis: output[i] = input[i - before].

    Indices count modulo n. Built from slices and one concatenation, which every
    backend does exactly.

    Args:
        inputs: A tensor whose size along `axis` is n.
        before: Number of points added in front; may exceed n.
        after: Number of points added behind; may exceed n.
        axis: The axis, not negative.

    Returns:
        A tensor of size before + n + after along `axis`.

    Raises:
        ValueError: If there is nothing to repeat (n = 0).

    Example:
        >>> [int(i) for i in pad_periodically(np.arange(3), 4, 1, axis=0)]
        [2, 0, 1, 2, 0, 1, 2, 0]
    """
    size = inputs.shape[axis]
    if size is None:
        return _gather_periodically(inputs, before, after, axis)
    if size == 0:
        raise ValueError(
            "Cannot continue an empty axis periodically. Expected at least one point "
            f"along axis {axis}. Received an input of shape {tuple(inputs.shape)}."
        )

    def part(start: int, stop: int) -> Any:
        return inputs[(slice(None),) * axis + (slice(start, stop),)]

    periods_before, rest_before = divmod(before, size)
    periods_after, rest_after = divmod(after, size)
    pieces = [inputs] * (periods_before + 1 + periods_after)
    if rest_before:
        pieces.insert(0, part(size - rest_before, size))
    if rest_after:
        pieces.append(part(0, rest_after))
    return ops.concatenate(pieces, axis=axis) if len(pieces) > 1 else inputs


def _gather_periodically(inputs: Any, before: int, after: int, axis: int) -> Any:
    # A size known only at run time does not tell how many whole periods are needed.
    size = ops.shape(inputs)[axis]
    places = ops.mod(ops.arange(-before, size + after, dtype="int32"), size)
    return ops.take(inputs, places, axis=axis)


class PeriodicPadding(keras.layers.Layer):
    """Base of the padding layers; `rank` is the number of spatial axes.

    Args:
        padding: Points to add; which forms are allowed depends on the rank.
        data_format: `"channels_last"`, `"channels_first"` or None (the Keras setting).
        **kwargs: Arguments of `keras.layers.Layer`.

    Raises:
        ValueError: If a padding is negative or of another form, or the data format is
            unknown.
    """

    rank: int

    def __init__(
        self, padding: Any = 1, data_format: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self._sides = _standardise(padding, self.rank)
        self.padding = self._sides[0] if self.rank == 1 else self._sides
        self.data_format = data_format or keras.config.image_data_format()
        if self.data_format not in ("channels_last", "channels_first"):
            raise ValueError(
                "Expected data_format 'channels_last', 'channels_first' or None. "
                f"Received data_format={data_format!r}."
            )
        self.input_spec = keras.layers.InputSpec(ndim=self.rank + 2)

    @property
    def _first_axis(self) -> int:
        return 1 if self.data_format == "channels_last" else 2

    def call(self, inputs: Any) -> Any:
        """Return `inputs` continued periodically."""
        for axis, (before, after) in enumerate(self._sides, self._first_axis):
            inputs = pad_periodically(inputs, before, after, axis)
        return inputs

    def compute_output_shape(
        self, input_shape: tuple[int | None, ...]
    ) -> tuple[int | None, ...]:
        """Return the shape of the padded fields; unknown sizes stay unknown."""
        shape = list(input_shape)
        for axis, added in enumerate(self._sides, self._first_axis):
            size = shape[axis]
            shape[axis] = None if size is None else size + sum(added)
        return tuple(shape)

    def get_config(self) -> dict[str, Any]:
        """Return what is needed to make this layer again."""
        config = {"padding": self.padding, "data_format": self.data_format}
        return {**super().get_config(), **config}


def _standardise(padding: Any, rank: int) -> Sides:
    """One pair (before, after) an axis."""
    per_axis = padding
    if isinstance(padding, _INTEGERS):
        per_axis = (padding,) * rank
    elif rank == 1:
        per_axis = (padding,)
    try:
        sides = tuple(
            (side, side) if isinstance(side, _INTEGERS) else tuple(side)
            for side in per_axis
        )
        is_pairs = len(sides) == rank and all(len(side) == 2 for side in sides)
        if is_pairs and all(
            isinstance(n, _INTEGERS) and n >= 0 for side in sides for n in side
        ):
            return tuple((int(before), int(after)) for before, after in sides)
    except TypeError:
        pass
    raise ValueError(
        f"Expected padding as {_FORMS[rank]}. Received padding={padding!r}."
    )
