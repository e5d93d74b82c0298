"""Kernel spectra while a model trains."""

import os
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_spectral_tl.callbacks.recording import check_interval, is_due, save_arrays
from keras_spectral_tl.spectra.kernels import (
    LayerKernelSpectra,
    grid_shape,
    kernel_spectra,
)


class KernelSpectra(keras.callbacks.Callback):
    """Records the transfer functions of all convolution kernels during a fit.

    Every ``every_n_epochs`` epochs, at the end of the epoch, it evaluates
    `keras_spectral_tl.kernel_spectra` and

    - adds ``"<layer>/peak_wavenumber"``, the mean of k* over the kernels of the layer,
      to the logs, where History and other callbacks listed after it see it;
    - keeps the mean radial profile of each layer in ``history``;
    - writes ``kernel_spectra_epoch_0001.npz`` (epochs count from 1) when a directory is
      given, with ``<layer>/profiles``, ``/peak_wavenumbers``, ``/peak_fractions``,
      ``/classes`` and ``/mean_transfer``. The file appears complete or not at all.

    The model is only read.

    Args:
        num_points: Points of the grid the kernels are padded to: n or (nx, ny).
        every_n_epochs: Epochs between two records.
        directory: Where to write; made if missing. By default nothing is written.

    Attributes:
        history: ``{epoch: {layer name: mean profile (num_shells,)}}``, epochs from 0 as
            Keras counts them. Starts empty with every fit.

    Raises:
        TypeError: If ``num_points`` or ``every_n_epochs`` is not an integer.
        ValueError: If one of them is too small; at the start of the fit also whatever
            `kernel_spectra` refuses, such as a model without convolutions.

    Example:
        >>> model = keras.Sequential(
        ...     [keras.Input((8, 8, 1)), keras.layers.Conv2D(1, 3, name="conv")]
        ... )
        >>> model.compile("sgd", "mse")
        >>> x, y = np.ones((2, 8, 8, 1)), np.ones((2, 6, 6, 1))
        >>> spectra = KernelSpectra(num_points=8)
        >>> log = model.fit(x, y, epochs=2, verbose=0, callbacks=[spectra])
        >>> sorted(spectra.history), sorted(log.history)
        ([0, 1], ['conv/peak_wavenumber', 'loss'])
    """

    def __init__(
        self,
        num_points: int | tuple[int, int],
        every_n_epochs: int = 1,
        directory: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__()
        self.num_points = grid_shape(num_points)
        self.every_n_epochs = check_interval(every_n_epochs)
        self.directory = None if directory is None else Path(directory)
        self.history: dict[int, dict[str, NDArray[np.float64]]] = {}

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Forget earlier fits and refuse models that cannot be analysed, early."""
        self.history = {}
        # A subclassed model may only be built by its first batch.
        if self.model.built:
            kernel_spectra(self.model, self.num_points)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Record the kernels if this epoch is one to record."""
        if not is_due(epoch, self.every_n_epochs):
            return
        layers = kernel_spectra(self.model, self.num_points).layers
        self.history[epoch] = {name: s.mean_profile for name, s in layers.items()}
        if logs is not None:
            for name, spectra in layers.items():
                logs[f"{name}/peak_wavenumber"] = float(spectra.peak_wavenumbers.mean())
        if self.directory is not None:
            file = self.directory / f"kernel_spectra_epoch_{epoch + 1:04d}.npz"
            save_arrays(file, _arrays(layers))


def _arrays(layers: dict[str, LayerKernelSpectra]) -> dict[str, NDArray[Any]]:
    """The arrays of all layers under flat names."""
    fields = (
        "profiles",
        "peak_wavenumbers",
        "peak_fractions",
        "classes",
        "mean_transfer",
    )
    return {
        f"{name}/{field}": getattr(spectra, field)
        for name, spectra in layers.items()
        for field in fields
    }
