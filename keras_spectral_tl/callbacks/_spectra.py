"""Spectra of kernels and of activations while a model trains."""

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_spectral_tl._shells import full_plane
from keras_spectral_tl.callbacks._recording import Record, SpectralCallback
from keras_spectral_tl.freezing import Selector
from keras_spectral_tl.plotting._style import enlarged, to_rgb
from keras_spectral_tl.spectra._activations import (
    ModelActivationSpectra,
    activation_spectra,
)
from keras_spectral_tl.spectra._kernel_shapes import noise_share
from keras_spectral_tl.spectra._kernels import (
    LayerKernelSpectra,
    convolutions_on,
    grid_shape,
    kernel_spectra,
)

# Rows of an image, kernels or channels, at most.
_MOST_ROWS = 256
# Powers of ten below its largest value that an image of activations shows.
_DECADES = 6.0


class KernelSpectra(SpectralCallback):
    """Records the transfer functions of all convolution kernels during a fit.

    Every ``every_n_epochs`` epochs, at the end of the epoch, it evaluates
    `keras_spectral_tl.kernel_spectra` and

    - adds ``"<layer>/peak_wavenumber"``, the mean of k* over the kernels of the layer,
      to the logs (the history of the fit has NaN in epochs without a record);
    - keeps the mean radial profile of each layer in ``history``;
    - with a directory, writes ``kernel_spectra_epoch_0001.npz`` (epochs from 1) with
      ``<layer>/profiles``, ``/peak_wavenumbers``, ``/peak_fractions``, ``/classes`` and
      ``/mean_transfer``;
    - with a ``log_dir``, writes TensorBoard event files: the scalar of the logs, the
      share of each class, and two images a layer with two axes: the mean transfer
      function over the plane, k = 0 in the middle, and the profile of each kernel, a
      row a kernel, k to the right.

    The model is only read. Time is bounded: the first record is always made, later ones
    only while all of them take at most ``most_share`` of the rest of the fit.

    Args:
        num_points: Points of the grid the kernels are padded to: n or (nx, ny).
        every_n_epochs: Epochs between two records.
        directory: A directory for npz files, made if missing. By default no arrays are
            written.
        log_dir: A directory for TensorBoard event files (any backend; needs the extra
            ``[tensorboard]``). By default none are written.
        most_share: Most of the time of the fit to spend; None for no limit.

    Attributes:
        history: ``{epoch: {layer name: mean profile (num_shells,)}}``, epochs from 0 as
            Keras counts them. Starts empty with every fit.
        skipped: Epochs that were due but would have cost too much.

    Raises:
        TypeError: If ``num_points`` or ``every_n_epochs`` is not an integer.
        ValueError: If one of them is too small; at the start of the fit also whatever
            `kernel_spectra` refuses, such as a model without convolutions.

    Example:
        >>> import keras
        >>> model = keras.Sequential(
        ...     [keras.Input((8, 8, 1)), keras.layers.Conv2D(1, 3, name="conv")]
        ... )
        >>> model.compile("sgd", "mse")
        >>> x, y = np.ones((2, 8, 8, 1)), np.ones((2, 6, 6, 1))
        >>> spectra = KernelSpectra(num_points=8, most_share=None)
        >>> log = model.fit(x, y, epochs=2, verbose=0, callbacks=[spectra])
        >>> sorted(spectra.history), sorted(log.history)
        ([0, 1], ['conv/peak_wavenumber', 'loss'])
    """

    file_prefix = "kernel_spectra"

    def __init__(
        self,
        num_points: int | tuple[int, ...],
        every_n_epochs: int = 1,
        directory: str | os.PathLike[str] | None = None,
        log_dir: str | os.PathLike[str] | None = None,
        most_share: float | None = 0.01,
    ) -> None:
        super().__init__(every_n_epochs, directory, log_dir, most_share)
        self.num_points = grid_shape(num_points)

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        super().on_train_begin(logs)
        # A subclassed model may only be built by its first batch.
        if self.model.built:
            found, _ = convolutions_on(self.model, self.num_points)
            for kernel, _ in found.values():
                noise_share(kernel.size)  # computed once in a process, then known

    def record(self) -> Record:
        layers = kernel_spectra(self.model, self.num_points).layers
        images: dict[str, NDArray[np.uint8]] = {}
        if self.log_dir is not None:
            images = {
                tag: i for n, s in layers.items() for tag, i in _kernel_images(n, s)
            }
        return Record(
            value={name: spectra.mean_profile for name, spectra in layers.items()},
            logs={
                f"{name}/peak_wavenumber": float(spectra.peak_wavenumbers.mean())
                for name, spectra in layers.items()
            },
            scalars={
                f"{name}/share of {kind} kernels": share
                for name, spectra in layers.items()
                for kind, share in spectra.class_shares().items()
            },
            images=images,
            arrays=_kernel_arrays(layers) if self.directory is not None else {},
        )


def _kernel_images(
    name: str, spectra: LayerKernelSpectra
) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """The mean transfer function over the plane, and a row of colours a kernel."""
    if spectra.mean_transfer.ndim == 2:
        num_columns = spectra.grid[-1]
        plane = full_plane(spectra.mean_transfer, num_columns)
        # Axis 0 is x, to the right.
        yield f"{name}/mean_transfer", enlarged(to_rgb(plane.T[::-1], low=0.0))
    rows = spectra.profiles.reshape(-1, spectra.profiles.shape[-1])[:_MOST_ROWS]
    peaks = rows.max(axis=1, keepdims=True)
    shown = rows / np.where(peaks > 0, peaks, 1.0)
    order = np.argsort(shown.argmax(axis=1), kind="stable")
    yield f"{name}/profiles", enlarged(to_rgb(shown[order], low=0.0, high=1.0))


def _kernel_arrays(layers: dict[str, LayerKernelSpectra]) -> dict[str, NDArray[Any]]:
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
            images=dict(_activation_images(spectra)),
            arrays={
                f"{name}/{side}": getattr(layer, side)
                for side in ("pre_activation", "post_activation")
                for name, layer in spectra.items()
            },
        )


def _mean_wavenumber(spectrum: NDArray[np.float64]) -> float:
    """``sum k E(k) / sum E(k)`` over k > 0; 0 where there is no energy."""
    total = float(spectrum[1:].sum())
    moment = float(np.arange(1, len(spectrum)) @ spectrum[1:])
    return moment / total if total > 0 else 0.0


def _activation_images(
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
