"""Activation spectra while a model trains."""

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_spectral_tl.callbacks._recording import Record, SpectralCallback
from keras_spectral_tl.freezing import Selector
from keras_spectral_tl.plotting._style import enlarged, to_rgb
from keras_spectral_tl.spectra._activations import (
    ModelActivationSpectra,
    activation_spectra,
)

# Powers of ten below its largest value that an image shows.
_DECADES = 6.0
# Channels in an image, at most.
_MOST_ROWS = 256


class ActivationSpectra(SpectralCallback):
    """Records the spectra of pre- and post-activations on fixed inputs during a fit.

    Every ``every_n_epochs`` epochs, at the end of the epoch, it evaluates
    `keras_spectral_tl.activation_spectra` and

    - adds ``"<layer>/pre_activation_energy"``, the mean square of the pre-activation,
      to the logs (the history of the fit has NaN in epochs without a record);
    - keeps the spectra in ``history``;
    - with a directory, writes ``activation_spectra_epoch_0001.npz`` (epochs from 1)
      with ``<layer>/pre_activation`` and ``<layer>/post_activation``;
    - with a ``log_dir``, writes TensorBoard event files: the scalar of the logs, the
      mean wavenumber of the pre-activation, and an image a layer: the spectrum of each
      channel before the activation, a row a channel, k to the right, over six decades.

    The model runs in inference mode and is left unchanged, also after an exception. The
    cost is one eager forward pass of ``x`` and as many FFTs as there are activation
    maps. Time is bounded: the first record is always made, later ones only while all of
    them take at most ``most_share`` of the rest of the fit.

    Args:
        x: Inputs (samples, ...); few samples are enough, as spectra average fast.
        every_n_epochs: Epochs between two records.
        layers: A selector of layers; by default all with a 2-D spatial output.
        directory: A directory for npz files, made if missing. By default no arrays are
            written.
        log_dir: A directory for TensorBoard event files (any backend; needs the extra
            ``[tensorboard]``). By default none are written.
        most_share: Most of the time of the fit to spend; None for no limit.

    Attributes:
        history: ``{epoch: ModelActivationSpectra}``, epochs from 0 as Keras counts
            them. Starts empty with every fit.
        skipped: Epochs that were due but would have cost too much.

    Raises:
        TypeError: If ``every_n_epochs`` is not an integer, or ``x`` not an array.
        ValueError: If ``every_n_epochs`` is below 1; during the fit whatever
            `activation_spectra` refuses.

    Example:
        >>> import keras
        >>> model = keras.Sequential(
        ...     [keras.Input((8, 8, 1)), keras.layers.Conv2D(1, 1, name="conv")]
        ... )
        >>> model.compile("sgd", "mse")
        >>> x = np.ones((2, 8, 8, 1))
        >>> spectra = ActivationSpectra(x, every_n_epochs=2)
        >>> log = model.fit(x, x, epochs=2, verbose=0, callbacks=[spectra])
        >>> spectra.history[1].pre_activation["conv"].shape
        (7,)
    """

    file_prefix = "activation_spectra"

    def __init__(
        self,
        x: Any,
        every_n_epochs: int = 1,
        layers: Selector | None = None,
        directory: str | os.PathLike[str] | None = None,
        log_dir: str | os.PathLike[str] | None = None,
        most_share: float | None = 0.01,
    ) -> None:
        super().__init__(every_n_epochs, directory, log_dir, most_share)
        if not hasattr(x, "shape"):
            raise TypeError(
                "x must be an array (samples, ...), as it is read once every record. "
                f"Received {type(x).__name__}."
            )
        self.x = x
        self.layers = layers

    def record(self) -> Record:
        has_images = self.log_dir is not None
        spectra = activation_spectra(
            self.model, self.x, self.layers, per_channel=has_images
        )
        return Record(
            value=spectra,
            logs={
                f"{name}/pre_activation_energy": float(spectrum.sum())
                for name, spectrum in spectra.pre_activation.items()
            },
            scalars={
                f"{name}/mean_wavenumber": _mean_wavenumber(spectrum)
                for name, spectrum in spectra.pre_activation.items()
            },
            images=dict(_images(spectra)),
            arrays=_arrays(spectra) if self.directory is not None else {},
        )


def _mean_wavenumber(spectrum: NDArray[np.float64]) -> float:
    """``sum k E(k) / sum E(k)`` over k > 0; 0 where there is no energy."""
    total = float(spectrum[1:].sum())
    moment = float(np.arange(1, len(spectrum)) @ spectrum[1:])
    return moment / total if total > 0 else 0.0


def _images(
    spectra: ModelActivationSpectra,
) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """A row of colours a channel."""
    for name, layer in spectra.items():
        if layer.pre_channels is None:
            continue
        rows = layer.pre_channels[:_MOST_ROWS, 1:]
        if rows.size == 0 or not rows.max() > 0:
            continue
        top = float(np.log10(rows.max()))
        shown = np.log10(np.maximum(rows, 10.0 ** (top - _DECADES)))
        image = to_rgb(shown, low=top - _DECADES, high=top)
        yield f"{name}/pre_activation_spectra", enlarged(image)


def _arrays(spectra: ModelActivationSpectra) -> dict[str, NDArray[np.float64]]:
    """The spectra of all layers under flat names."""
    sides = {"pre": spectra.pre_activation, "post": spectra.post_activation}
    return {
        f"{name}/{side}_activation": spectrum
        for side, by_layer in sides.items()
        for name, spectrum in by_layer.items()
    }
