"""Radial spectrum of a field as a differentiable layer."""

from typing import Any

import keras
from keras import ops

from keras_spectral_tl._checks import one_of
from keras_spectral_tl._shells import shells_of_all_modes

Shape = tuple[int | None, ...]


@keras.saving.register_keras_serializable(package="keras_spectral_tl")
class RadialSpectrum2D(keras.layers.Layer):
    """Mean square of each channel of a doubly periodic field, split by wavenumber.

    ``spectrum[k] = sum over k - 1/2 <= |(kx, ky)| < k + 1/2 of |field_hat|^2`` with
    ``field_hat = FFT(field) / (nx * ny)`` on the domain [0, 2 pi)^2: a SUM over each
    shell, corners of the spectral plane included, so the spectrum of a channel sums to
    its mean square. It is `keras_spectral_tl.spectra.radial_spectrum` to round-off of
    float32, and a polynomial of the input: its gradient is finite everywhere, 0 at 0.
    Take care in a loss: shells without energy have spectrum 0, whose root and logarithm
    have no gradient there.

    It always computes in float32, also under a mixed precision policy: squares of
    small amplitudes underflow in half precision.

    Args:
        data_format: "channels_last" or "channels_first"; by default that of the Keras
            configuration.
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

    def build(self, input_shape: Shape) -> None:
        self._spatial_shape(input_shape)
        self.built = True

    def call(self, inputs: Any) -> Any:
        self._spatial_shape(inputs.shape)
        fields = inputs
        if self.data_format == "channels_last":
            fields = ops.transpose(fields, (0, 3, 1, 2))
        spectra = tensor_spectra(fields)
        if self.data_format == "channels_last":
            spectra = ops.transpose(spectra, (0, 2, 1))
        return ops.cast(spectra, self.compute_dtype)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        nx, ny = self._spatial_shape(input_shape)
        num_shells = int(shells_of_all_modes(nx, ny).max()) + 1
        if self.data_format == "channels_last":
            return input_shape[0], num_shells, input_shape[3]
        return input_shape[0], input_shape[1], num_shells

    def get_config(self) -> dict[str, Any]:
        config: dict[str, Any] = super().get_config()
        config["data_format"] = self.data_format
        return config

    def _spatial_shape(self, shape: Shape) -> tuple[int, int]:
        """(nx, ny) of an input shape."""
        axes = (1, 2) if self.data_format == "channels_last" else (2, 3)
        if len(shape) != 4 or shape[axes[0]] is None or shape[axes[1]] is None:
            raise ValueError(
                "RadialSpectrum2D needs an input of rank 4 with known spatial sizes on "
                f"axes {axes} (data_format={self.data_format!r}). Received shape "
                f"{tuple(shape)}; give keras.Input the numbers of points."
            )
        return int(shape[axes[0]] or 0), int(shape[axes[1]] or 0)


def tensor_spectra(fields: Any) -> Any:
    """Return spectra (batch, channels, shells) of (batch, channels, nx, ny) tensors."""
    channels, nx, ny = fields.shape[1:]
    # Dividing first keeps the squares of large fields within float32.
    fields = ops.cast(fields, "float32") / float(nx * ny)
    real, imag = ops.fft2((fields, ops.zeros_like(fields)))
    power = ops.square(real) + ops.square(imag)
    by_mode = ops.transpose(ops.reshape(power, (-1, nx * ny)))
    shells = shells_of_all_modes(nx, ny)
    num_shells = int(shells.max()) + 1
    # A segment sum, not a product with a matrix: accelerators round those to TF32.
    spectra = ops.segment_sum(by_mode, shells, num_segments=num_shells)
    return ops.reshape(ops.transpose(spectra), (-1, channels, num_shells))


def data_format_of(given: str | None) -> str:
    """Return a layout that Keras knows, by default that of its configuration."""
    known = ("channels_last", "channels_first")
    found: str = one_of("data_format", given or keras.config.image_data_format(), known)
    return found
