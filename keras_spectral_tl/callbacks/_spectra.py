"""Callbacks that record spectra of kernels and activations during training."""

import abc
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_spectral_tl._checks import one_of, require, whole_number
from keras_spectral_tl._files import replacing
from keras_spectral_tl._shells import full_plane
from keras_spectral_tl.freezing import Selector
from keras_spectral_tl.plotting._style import enlarged, to_rgb
from keras_spectral_tl.spectra._activations import (
    ModelActivationSpectra,
    activation_spectra,
)
from keras_spectral_tl.spectra._convolutions import grid_shape
from keras_spectral_tl.spectra._kernel_shapes import noise_share
from keras_spectral_tl.spectra._kernels import (
    LayerKernelSpectra,
    convolutions_on,
    kernel_spectra,
)


@dataclass(frozen=True)
class Record:
    """The record of one epoch: an entry of ``history``, and what is written.

    TensorBoard gets the scalars of the logs too; its images are (height, width, 3).
    """

    value: Any
    logs: dict[str, float]
    scalars: dict[str, float]
    images: dict[str, NDArray[np.uint8]]
    arrays: dict[str, NDArray[Any]]


class SpectralCallback(keras.callbacks.Callback, abc.ABC):
    """Base of callbacks that record a model every few epochs, in bounded time."""

    file_prefix: str

    def __init__(
        self,
        every_n_epochs: int,
        directory: str | os.PathLike[str] | None,
        log_dir: str | os.PathLike[str] | None,
        most_share: float | None,
    ) -> None:
        super().__init__()
        self.every_n_epochs = whole_number("every_n_epochs", every_n_epochs, at_least=1)
        self.directory = None if directory is None else Path(directory)
        self.log_dir = None if log_dir is None else Path(log_dir)
        self.most_share = most_share
        self.history: dict[int, Any] = {}
        self.skipped: list[int] = []
        self._events: Any = None
        self._logged: set[str] = set()
        self._budget = TimeBudget(most_share)

    @abc.abstractmethod
    def record(self) -> Record:
        """Return the record of the current model, without changing the model."""

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._close()  # close files of an earlier fit, also after an exception
        self.history, self.skipped, self._logged = {}, [], set()
        if self.log_dir is not None:
            install = "keras-spectral-tl[tensorboard]"
            for name in ("PIL.Image", "matplotlib"):
                require(name, "TensorBoard event files", install)
            module = require("tensorboardX", "TensorBoard event files", install)
            # The suffix distinguishes writers that start within the same second.
            self._events = module.SummaryWriter(
                str(self.log_dir), filename_suffix=f".{self.file_prefix}"
            )
        self._budget = TimeBudget(self.most_share)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if (epoch + 1) % self.every_n_epochs:
            return
        if not self._budget.is_affordable():
            self.skipped.append(epoch)
            return
        with self._budget.work():
            found = self.record()
            self.history[epoch] = found.value
            self._logged.update(found.logs)
            self._fill_history()
            if logs is not None:
                logs.update(found.logs)
            if self.directory is not None:
                name = f"{self.file_prefix}_epoch_{epoch + 1:04d}.npz"
                write_arrays(self.directory / name, found.arrays)
            if self._events is not None:
                self._write_events(epoch, found)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self._close()
        self._fill_history()
        if (self.params or {}).get("verbose"):
            print(self._summary())

    def _fill_history(self) -> None:
        """Fill Keras' history with NaN for epochs without a record."""
        history = getattr(self.model, "history", None)
        if isinstance(history, keras.callbacks.History):
            for name in sorted(self._logged):
                column = history.history.setdefault(name, [])
                column.extend([math.nan] * (len(history.epoch) - len(column)))

    def _summary(self) -> str:
        recorded = ", ".join(str(epoch + 1) for epoch in self.history) or "none"
        line = f"{type(self).__name__} recorded epochs {recorded}."
        if self.skipped:
            line += (
                f" {len(self.skipped)} more were due, but would have taken more than "
                f"most_share={self.most_share} of the time of the fit; most_share=None "
                "records them."
            )
        return line

    def _write_events(self, epoch: int, found: Record) -> None:
        for tag, value in {**found.logs, **found.scalars}.items():
            self._events.add_scalar(tag, value, epoch)
        for tag, image in found.images.items():
            self._events.add_image(tag, image, epoch, dataformats="HWC")
        self._events.flush()  # so that an interrupted fit leaves all earlier records

    def _close(self) -> None:
        if self._events is not None:
            self._events.close()
            self._events = None


def write_arrays(path: Path, arrays: dict[str, Any]) -> None:
    """Write an npz file atomically, and create its directory."""
    with replacing(path) as partial:
        np.savez(partial, **arrays)


class TimeBudget:
    """A limit on the fraction of time that repeated work may take.

    Work is affordable if the time spent on it so far and once more, as long as the last
    time, is at most ``most_share`` of all other time. The first time is always
    affordable. So ``spent <= max(first, most_share * rest)``, up to the difference in
    duration from one time to the next.
    """

    def __init__(
        self, most_share: float | None, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        if most_share is not None and not most_share > 0:
            raise ValueError(
                f"most_share must be above 0, or None for no limit. Received "
                f"{most_share}."
            )
        self.most_share = most_share
        self.spent = 0.0
        self._clock = clock
        self._start = clock()
        self._last: float | None = None

    def is_affordable(self) -> bool:
        """Return whether doing the work now stays within the budget."""
        if self.most_share is None or self._last is None:
            return True
        rest = self._clock() - self._start - self.spent
        return self.spent + self._last <= self.most_share * rest

    @contextmanager
    def work(self) -> Iterator[None]:
        """Context manager that counts the time of the work inside, also if it fails."""
        start = self._clock()
        try:
            yield
        finally:
            self._last = self._clock() - start
            self.spent += self._last


# Largest number of rows (kernels or channels) of an image.
_MOST_ROWS = 256
_KERNEL_ARRAYS = (
    "profiles",
    "peak_wavenumbers",
    "peak_fractions",
    "classes",
    "mean_transfer",
)
# Decades below the largest value that an image of activations shows.
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
      share of each class, and two images per layer with two axes: the mean transfer
      function over the plane, k = 0 in the middle, and the profile of each kernel, one
      row per kernel, k to the right.

    The model is not changed. Time is bounded: the first record is always made, later
    ones only while all of them take at most ``most_share`` of the rest of the fit.

    Args:
        num_points: Points of the grid of every layer, as in `kernel_spectra`; by
            default each layer's own grid, if that of the model's input is known (a
            model that its first batch builds is asked at the first record).
        every_n_epochs: Epochs between two records.
        directory: A directory for npz files, made if missing; None writes no arrays.
        log_dir: A directory for TensorBoard event files (any backend; needs the extra
            ``[tensorboard]``). By default none are written.
        most_share: Largest fraction of the fit's time to spend; None for no limit.

    Attributes:
        history: ``{epoch: {layer name: mean profile (num_shells,)}}``, epochs from 0 as
            Keras counts them. Starts empty with every fit.
        skipped: Epochs that were due but would have cost too much.

    Raises:
        TypeError: If ``num_points`` or ``every_n_epochs`` is no integer.
        ValueError: If one of them is too small; at the start of the fit also as
            `kernel_spectra`, such as for a model without convolutions.

    Example:
        >>> import keras
        >>> model = keras.Sequential(
        ...     [keras.Input((8, 8, 1)), keras.layers.Conv2D(1, 3, name="conv")]
        ... )
        >>> model.compile("sgd", "mse")
        >>> x, y = np.ones((2, 8, 8, 1)), np.ones((2, 6, 6, 1))
        >>> spectra = KernelSpectra(most_share=None)
        >>> log = model.fit(x, y, epochs=2, verbose=0, callbacks=[spectra])
        >>> sorted(spectra.history), sorted(log.history)
        ([0, 1], ['conv/peak_wavenumber', 'loss'])
    """

    file_prefix = "kernel_spectra"

    def __init__(
        self,
        num_points: int | tuple[int, ...] | None = None,
        every_n_epochs: int = 1,
        directory: str | os.PathLike[str] | None = None,
        log_dir: str | os.PathLike[str] | None = None,
        most_share: float | None = 0.01,
    ) -> None:
        super().__init__(every_n_epochs, directory, log_dir, most_share)
        self.num_points = None if num_points is None else grid_shape(num_points)

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        super().on_train_begin(logs)
        # A subclassed model may only be built by its first batch.
        if self.model.built:
            _, found, _ = convolutions_on(self.model, self.num_points)
            for kernel, _ in found.values():
                noise_share(kernel.size)  # computed once per process, then cached

    def record(self) -> Record:
        layers = kernel_spectra(self.model, self.num_points).layers
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
            images={} if self.log_dir is None else dict(_kernel_images(layers)),
            arrays={
                f"{name}/{field}": getattr(spectra, field)
                for name, spectra in layers.items()
                for field in _KERNEL_ARRAYS
            },
        )


def _kernel_images(
    layers: dict[str, LayerKernelSpectra],
) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Yield images of the mean transfer function and of the profiles of kernels."""
    for name, spectra in layers.items():
        if spectra.mean_transfer.ndim == 2:
            plane = full_plane(spectra.mean_transfer, spectra.grid[-1])
            # Axis 0 is x, to the right.
            yield f"{name}/mean_transfer", enlarged(to_rgb(plane.T[::-1], low=0.0))
        rows = spectra.profiles.reshape(-1, spectra.profiles.shape[-1])[:_MOST_ROWS]
        peaks = rows.max(axis=1, keepdims=True)
        shown = rows / np.where(peaks > 0, peaks, 1.0)
        order = np.argsort(shown.argmax(axis=1), kind="stable")
        yield f"{name}/profiles", enlarged(to_rgb(shown[order], low=0.0, high=1.0))


class ActivationSpectra(SpectralCallback):
    """Records the spectra of pre- and post-activations on fixed inputs during a fit.

    When it records, and how much of the time of the fit it may take, is the same as for
    `KernelSpectra`. It evaluates `keras_spectral_tl.activation_spectra` and

    - adds ``"<layer>/pre_activation_energy"``, the mean square of the pre-activation,
      to the logs;
    - keeps the spectra in ``history``;
    - with a directory, writes ``activation_spectra_epoch_0001.npz`` with
      ``<layer>/pre_activation`` and ``<layer>/post_activation``;
    - with a ``log_dir``, writes the scalar of the logs, the mean wavenumber of the
      pre-activation, and an image per layer: the spectrum of each channel before the
      activation, one row per channel, k to the right, over six decades.

    The model runs in inference mode and is not changed, also after an exception. The
    cost is one eager forward pass of ``x`` and one FFT per activation map.

    Args:
        x: Inputs as in `activation_spectra`, but no generator, as they are read once
            every record; few samples are enough, as averages converge fast.
        every_n_epochs: Epochs between two records.
        layers: A selector of layers; by default all with a spatial output.
        directory: A directory for npz files, made if missing; None writes no arrays.
        log_dir: A directory for TensorBoard event files (any backend; needs the extra
            ``[tensorboard]``). By default none are written.
        most_share: Most of the time of the fit to spend; None for no limit.
        rank: Number of spatial axes of the layers to read: 1, 2 or 3.

    Attributes:
        history: ``{epoch: ModelActivationSpectra}``, epochs from 0 as Keras counts
            them. Starts empty with every fit.
        skipped: Epochs that were due but would have cost too much.

    Raises:
        TypeError: If ``every_n_epochs`` is not an integer, or ``x`` can be read only
            once or not at all.
        ValueError: If ``every_n_epochs`` is below 1 or ``rank`` none of these; during
            the fit as `activation_spectra`.

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
        *,
        rank: int = 2,
    ) -> None:
        super().__init__(every_n_epochs, directory, log_dir, most_share)
        if isinstance(x, Iterator | str) or not isinstance(x, Iterable):
            raise TypeError(
                "x must be an array (samples, ...), a dict or list of several, or a "
                "dataset of batches, as it is read once every record. Received "
                f"{type(x).__name__}. A generator can be read only once: pass "
                "list(generator)."
            )
        self.x = x
        self.layers = layers
        self.rank = one_of("rank", rank, (1, 2, 3))

    def record(self) -> Record:
        has_images = self.log_dir is not None
        spectra = activation_spectra(
            self.model, self.x, self.layers, per_channel=has_images, rank=self.rank
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
    """Return ``sum k E(k) / sum E(k)`` over k > 0; 0 if there is no energy."""
    total = float(spectrum[1:].sum())
    moment = float(np.arange(1, len(spectrum)) @ spectrum[1:])
    return moment / total if total > 0 else 0.0


def _activation_images(
    spectra: ModelActivationSpectra,
) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Yield one image per layer: the spectrum of each channel as a row of colours."""
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
