"""Padding that continues a field periodically."""

from typing import Any

import keras
import numpy as np
from keras import ops

_INTEGERS = (int, np.integer)


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


@keras.saving.register_keras_serializable(package="keras_spectral_tl")
class PeriodicPadding2D(keras.layers.Layer):
    """Pads both spatial axes of a batch of doubly periodic fields.

    output[i, j] = input[(i - top) mod n, (j - left) mod m], exactly: values are copied,
    never computed, so the layer commutes bit for bit with cyclic shifts of its input.
    The padding may exceed one period. Axes of unknown size are allowed.

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

    def __init__(
        self, padding: Any = 1, data_format: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.padding = _standardise(padding)
        self.data_format = data_format or keras.config.image_data_format()
        if self.data_format not in ("channels_last", "channels_first"):
            raise ValueError(
                "Expected data_format 'channels_last', 'channels_first' or None. "
                f"Received data_format={data_format!r}."
            )
        self.input_spec = keras.layers.InputSpec(ndim=4)

    @property
    def _first_axis(self) -> int:
        return 1 if self.data_format == "channels_last" else 2

    def call(self, inputs: Any) -> Any:
        """Return `inputs` continued periodically."""
        for axis, (before, after) in enumerate(self.padding, self._first_axis):
            inputs = pad_periodically(inputs, before, after, axis)
        return inputs

    def compute_output_shape(
        self, input_shape: tuple[int | None, ...]
    ) -> tuple[int | None, ...]:
        """Return the shape of the padded fields; unknown sizes stay unknown."""
        shape = list(input_shape)
        for axis, added in enumerate(self.padding, self._first_axis):
            size = shape[axis]
            shape[axis] = None if size is None else size + sum(added)
        return tuple(shape)

    def get_config(self) -> dict[str, Any]:
        """Return what is needed to make this layer again."""
        config = {"padding": self.padding, "data_format": self.data_format}
        return {**super().get_config(), **config}


def _standardise(padding: Any) -> tuple[tuple[int, int], tuple[int, int]]:
    pair = (padding, padding) if isinstance(padding, _INTEGERS) else padding
    try:
        first, second = (
            (side, side) if isinstance(side, _INTEGERS) else tuple(side)
            for side in pair
        )
        (top, bottom), (left, right) = first, second
        sides = (top, bottom, left, right)
        if all(isinstance(n, _INTEGERS) and n >= 0 for n in sides):
            return (int(top), int(bottom)), (int(left), int(right))
    except (TypeError, ValueError):
        pass
    raise ValueError(
        "Expected padding as a non-negative int, a pair of them, or ((top, bottom), "
        f"(left, right)). Received padding={padding!r}."
    )
