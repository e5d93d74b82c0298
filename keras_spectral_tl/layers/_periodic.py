"""Padding, convolution and radial spectrum layers for fields on periodic domains."""

import contextlib
import operator
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_spectral_tl._checks import one_of
from keras_spectral_tl._shells import shell_indices

Shape = tuple[int | None, ...]

_INTEGERS = (int, np.integer)
_FORMS = {
    1: "a non-negative int or (before, after)",
    2: "a non-negative int, a pair of them, or ((top, bottom), (left, right))",
    3: "a non-negative int, three of them, or three pairs (before, after)",
}

Sides = tuple[tuple[int, int], ...]


def data_format_of(given: str | None) -> str:
    """Return a Keras data format, by default that of the Keras configuration."""
    known = ("channels_last", "channels_first")
    found: str = one_of("data_format", given or keras.config.image_data_format(), known)
    return found


def spatial_axes(data_format: str, rank: int = 2) -> range:
    """Return the spatial axes of a batch."""
    first = 1 if data_format == "channels_last" else 2
    return range(first, first + rank)


def pad_periodically(inputs: Any, before: int, after: int, axis: int) -> Any:
    """Continue `inputs` periodically along one axis: output[i] = input[i - before].

    Indices are modulo n. Slices and one concatenation are exact on every backend.
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
    # For a size known only at run time, the number of whole periods is unknown.
    size = ops.shape(inputs)[axis]
    places = ops.mod(ops.arange(-before, size + after, dtype="int32"), size)
    return ops.take(inputs, places, axis=axis)


class PeriodicPadding(keras.layers.Layer):
    """Base of the padding layers; `rank` is the number of spatial axes."""

    rank: int

    def __init__(
        self, padding: Any = 1, data_format: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self._sides = _standardize(padding, self.rank)
        self.padding = self._sides[0] if self.rank == 1 else self._sides
        self.data_format = data_format_of(data_format)
        self.input_spec = keras.layers.InputSpec(ndim=self.rank + 2)

    def call(self, inputs: Any) -> Any:
        axes = spatial_axes(self.data_format, self.rank)
        for axis, (before, after) in zip(axes, self._sides, strict=True):
            inputs = pad_periodically(inputs, before, after, axis)
        return inputs

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        shape = list(input_shape)
        axes = spatial_axes(self.data_format, self.rank)
        for axis, added in zip(axes, self._sides, strict=True):
            size = shape[axis]
            shape[axis] = None if size is None else size + sum(added)
        return tuple(shape)

    def get_config(self) -> dict[str, Any]:
        config = {"padding": self.padding, "data_format": self.data_format}
        return {**super().get_config(), **config}


def _standardize(padding: Any, rank: int) -> Sides:
    """Return one pair (before, after) for each axis."""
    per_axis = padding
    if isinstance(padding, _INTEGERS):
        per_axis = (padding,) * rank
    elif rank == 1:
        per_axis = (padding,)
    with contextlib.suppress(TypeError, ValueError):  # not integers, or not pairs
        sides = [(s, s) if isinstance(s, _INTEGERS) else s for s in per_axis]
        pairs = [
            (int(operator.index(before)), int(operator.index(after)))
            for before, after in sides
        ]
        if len(pairs) == rank and min(map(min, pairs)) >= 0:
            return tuple(pairs)
    raise ValueError(
        f"Expected padding as {_FORMS[rank]}. Received padding={padding!r}."
    )


@keras.saving.register_keras_serializable(package="keras_spectral_tl")
class PeriodicPadding1D(PeriodicPadding):
    """Pads the spatial axis of a batch of periodic series: see `PeriodicPadding2D`.

    Args:
        padding: Points to add: an int (both ends) or `(before, after)`.
        data_format: `"channels_last"`, `"channels_first"` or None (the Keras setting).
        **kwargs: Arguments of `keras.layers.Layer`.

    Input shape:
        (batch, n, channels), or (batch, channels, n) if channels come first.

    Output shape:
        The same with n + before + after points.

    Example:
        >>> series = np.arange(3.0).reshape(1, 3, 1)
        >>> [float(value) for value in np.ravel(PeriodicPadding1D((1, 2))(series))]
        [2.0, 0.0, 1.0, 2.0, 0.0, 1.0]
    """

    rank = 1


@keras.saving.register_keras_serializable(package="keras_spectral_tl")
class PeriodicPadding2D(PeriodicPadding):
    """Pads both spatial axes of a batch of doubly periodic fields.

    output[i, j] = input[(i - top) mod n, (j - left) mod m], exactly: values are copied,
    so the layer commutes bitwise with cyclic shifts of its input. The padding may
    exceed one period: the field is then repeated as often as needed. Sizes known only
    at run time are allowed.

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
        ValueError: If a padding is negative or does not have one of these forms.

    Example:
        >>> field = np.arange(3.0).reshape(1, 3, 1, 1)
        >>> padded = PeriodicPadding2D(((2, 1), (0, 0)))(field)
        >>> [float(value) for value in np.ravel(padded)]
        [1.0, 2.0, 0.0, 1.0, 2.0, 0.0]
    """

    rank = 2


@keras.saving.register_keras_serializable(package="keras_spectral_tl")
class PeriodicPadding3D(PeriodicPadding):
    """Pads the three spatial axes of a batch of fields: see `PeriodicPadding2D`.

    Args:
        padding: Points to add: an int (all six sides), three ints (each side of one
            axis), or three pairs `(before, after)`.
        data_format: `"channels_last"`, `"channels_first"` or None (the Keras setting).
        **kwargs: Arguments of `keras.layers.Layer`.

    Input shape:
        (batch, n, m, l, channels), or (batch, channels, n, m, l).

    Output shape:
        The same with the added points along each spatial axis.

    Example:
        >>> field = np.arange(2.0).reshape(1, 1, 1, 2, 1)
        >>> padded = PeriodicPadding3D(((0, 0), (1, 0), (0, 1)))(field)
        >>> [float(value) for value in np.ravel(padded)]  # (1, 1, 2, 3, 1)
        [0.0, 1.0, 0.0, 0.0, 1.0, 0.0]
    """

    rank = 3


@keras.saving.register_keras_serializable(package="keras_spectral_tl")
class PeriodicConv2D(keras.layers.Conv2D):
    """`Conv2D` for doubly periodic fields: periodic padding, then a valid convolution.

    output[i, j] = bias + sum over taps (a, b) and channels of
    kernel[a, b] * input[(s i + d a - before) mod n, (s j + d b - before) mod m],

    with strides s, dilation d and before = floor(d (kernel_size - 1) / 2). This is a
    circular cross-correlation, so with F the DFT over space, strides 1 and an odd
    kernel centred at the origin, F[output] = conj(F[kernel]) F[input] + bias term.

    - An even kernel has no middle: it reaches one dilation step further forward
      (towards larger i) than backward, like `Conv2D(padding="same")`.
    - Strides keep every s-th point of the unstrided convolution, starting with the
      first: ceil(n / s) points. Only if s divides n is the result periodic, and does
      shifting the input by s shift it by one.
    - A kernel wider than the domain wraps around as often as needed.

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
        ValueError: If a size is not valid for `keras.layers.Conv2D`.

    Example:
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

    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        axes = spatial_axes(self.data_format)
        sizes = zip(axes, self.kernel_size, self.dilation_rate, strict=True)
        for axis, taps, dilation in sizes:
            reach = dilation * (taps - 1)
            inputs = pad_periodically(inputs, reach // 2, reach - reach // 2, axis)
        return super().convolution_op(inputs, kernel)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        shape = list(input_shape)
        axes = spatial_axes(self.data_format)
        for axis, stride in zip(axes, self.strides, strict=True):
            size = shape[axis]
            shape[axis] = None if size is None else -(-size // stride)
        shape[-1 if self.data_format == "channels_last" else 1] = self.filters
        return tuple(shape)

    def get_config(self) -> dict[str, Any]:
        config: dict[str, Any] = super().get_config()
        del config["padding"]
        return config


@keras.saving.register_keras_serializable(package="keras_spectral_tl")
class RadialSpectrum2D(keras.layers.Layer):
    """Mean square of each channel of a doubly periodic field, split by wavenumber.

    ``spectrum[k] = sum over k - 1/2 <= |(kx, ky)| < k + 1/2 of |field_hat|^2`` with
    ``field_hat = FFT(field) / (nx * ny)`` on the domain [0, 2 pi)^2: a SUM over each
    shell, including the corners of the spectral plane, so the spectrum of a channel
    sums to its mean square. It equals `keras_spectral_tl.spectra.radial_spectrum` up to
    float32 round-off. As a polynomial of the input, its gradient is finite everywhere
    and 0 at 0. Take care in a loss: shells without energy have spectrum 0, where root
    and logarithm have no gradient.

    It always computes in float32, also under a mixed precision policy: squares of
    small amplitudes underflow in half precision.

    Args:
        data_format: "channels_last", "channels_first" or None (the Keras setting).
        **kwargs: Arguments of `keras.layers.Layer`.

    Input shape:
        (batch, nx, ny, channels), or (batch, channels, nx, ny); nx and ny fixed.

    Output shape:
        (batch, num_shells, channels), or (batch, channels, num_shells). The index of a
        shell is its wavenumber; units of field squared.

    Raises:
        ValueError: If ``data_format`` is unknown, or the input is not of rank 4 with
            known nx and ny.

    Example:
        >>> import numpy as np
        >>> x = 2 * np.pi * np.arange(8) / 8
        >>> field = np.sin(2 * x)[None, :, None, None] * np.ones((1, 8, 8, 1))
        >>> spectrum = RadialSpectrum2D()(field)
        >>> ops.convert_to_numpy(spectrum)[0, :, 0].round(6).tolist()
        [0.0, 0.0, 0.5, 0.0, 0.0, 0.0, 0.0]
    """

    def __init__(self, data_format: str | None = None, **kwargs: Any) -> None:
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        self.data_format = data_format_of(data_format)

    def call(self, inputs: Any) -> Any:
        self._spatial_shape(inputs.shape)
        spectra = tensor_spectra(inputs, self.data_format)
        if self.data_format == "channels_last":
            spectra = ops.transpose(spectra, (0, 2, 1))
        return ops.cast(spectra, self.compute_dtype)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        nx, ny = self._spatial_shape(input_shape)
        num_shells = int(shell_indices(nx, ny).max()) + 1
        if self.data_format == "channels_last":
            return input_shape[0], num_shells, input_shape[3]
        return input_shape[0], input_shape[1], num_shells

    def get_config(self) -> dict[str, Any]:
        config: dict[str, Any] = super().get_config()
        config["data_format"] = self.data_format
        return config

    def _spatial_shape(self, shape: Shape) -> tuple[int, int]:
        """Return (nx, ny) of an input shape."""
        axes = tuple(spatial_axes(self.data_format))
        nx, ny = (shape[axis] if len(shape) == 4 else None for axis in axes)
        if nx is None or ny is None:
            raise ValueError(
                "RadialSpectrum2D needs an input of rank 4 with known spatial sizes on "
                f"axes {axes} (data_format={self.data_format!r}). Received shape "
                f"{tuple(shape)}; give keras.Input the numbers of points."
            )
        return nx, ny


def check_alike(
    name: str, y_true: Any, y_pred: Any, data_format: str
) -> tuple[int, int]:
    """Check that truth and prediction have one known shape, and return (nx, ny)."""
    shape = tuple(y_pred.shape)
    if len(shape) != 4 or None in shape[1:] or tuple(y_true.shape[1:]) != shape[1:]:
        raise ValueError(
            f"{name} needs a truth and a prediction of one shape, rank 4 and "
            f"known sizes. Received {tuple(y_true.shape)} and {shape}."
        )
    nx, ny = (shape[axis] for axis in spatial_axes(data_format))
    return nx, ny


def tensor_spectra(fields: Any, data_format: str) -> Any:
    """Return spectra (batch, channels, shells) of a batch of fields."""
    if data_format == "channels_last":
        fields = ops.transpose(fields, (0, 3, 1, 2))
    channels, nx, ny = fields.shape[1:]
    # Dividing first keeps the squares of large fields within the float32 range.
    fields = ops.cast(fields, "float32") / float(nx * ny)
    real, imag = ops.fft2((fields, ops.zeros_like(fields)))
    power = ops.square(real) + ops.square(imag)
    by_mode = ops.transpose(ops.reshape(power, (-1, nx * ny)))
    shells = shell_indices(nx, ny, half_plane=False).ravel().astype("int32")
    num_shells = int(shells.max()) + 1
    # A segment sum, not a matrix product, which accelerators round to TF32.
    spectra = ops.segment_sum(by_mode, shells, num_segments=num_shells)
    return ops.reshape(ops.transpose(spectra), (-1, channels, num_shells))
