"""Activation spectra while a model trains."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_spectral_tl.callbacks.recording import check_interval, is_due, save_arrays
from keras_spectral_tl.spectra.activations import (
    ActivationSpectraResult,
    activation_spectra,
)


class ActivationSpectra(keras.callbacks.Callback):
    """Records the spectra of pre- and post-activations on fixed inputs during a fit.

    Every ``every_n_epochs`` epochs, at the end of the epoch, it evaluates
    `keras_spectral_tl.activation_spectra` and

    - adds ``"<layer>/pre_activation_energy"``, the mean square of the pre-activation,
      to the logs, where History and other callbacks listed after it see it;
    - keeps the spectra in ``history``;
    - writes ``activation_spectra_epoch_0001.npz`` (epochs count from 1) when a
      directory is given, with ``<layer>/pre_activation`` and
      ``<layer>/post_activation``. The file appears complete or not at all.

    The model runs in inference mode: weights, flags, statistics and random states stay
    as they are, and activations are put back also after an exception. The cost is one
    eager forward pass of ``x`` and as many FFTs as there are activation maps.

    Args:
        x: Inputs (samples, ...); few samples are enough, as spectra average fast.
        every_n_epochs: Epochs between two records.
        layers: Names of the layers; by default all with a 2-D spatial output.
        directory: Where to write; made if missing. By default nothing is written.

    Attributes:
        history: ``{epoch: ActivationSpectraResult}``, epochs from 0 as Keras counts
            them. Starts empty with every fit.

    Raises:
        TypeError: If ``every_n_epochs`` is not an integer, or ``x`` not an array.
        ValueError: If ``every_n_epochs`` is below 1; during the fit whatever
            `activation_spectra` refuses.

    Example:
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

    def __init__(
        self,
        x: Any,
        every_n_epochs: int = 1,
        layers: Sequence[str] | None = None,
        directory: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__()
        if not hasattr(x, "shape"):
            raise TypeError(
                "x must be an array (samples, ...), as it is read once every record. "
                f"Received {type(x).__name__}."
            )
        self.x = x
        self.every_n_epochs = check_interval(every_n_epochs)
        self.layers = layers
        self.directory = None if directory is None else Path(directory)
        self.history: dict[int, ActivationSpectraResult] = {}

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Forget earlier fits."""
        self.history = {}

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Record the activations if this epoch is one to record."""
        if not is_due(epoch, self.every_n_epochs):
            return
        spectra = activation_spectra(self.model, self.x, self.layers)
        self.history[epoch] = spectra
        if logs is not None:
            for name, spectrum in spectra.pre_activation.items():
                logs[f"{name}/pre_activation_energy"] = float(spectrum.sum())
        if self.directory is not None:
            file = self.directory / f"activation_spectra_epoch_{epoch + 1:04d}.npz"
            save_arrays(file, _arrays(spectra))


def _arrays(spectra: ActivationSpectraResult) -> dict[str, NDArray[np.float64]]:
    """The spectra of all layers under flat names."""
    sides = {"pre": spectra.pre_activation, "post": spectra.post_activation}
    return {
        f"{name}/{side}_activation": spectrum
        for side, by_layer in sides.items()
        for name, spectrum in by_layer.items()
    }
