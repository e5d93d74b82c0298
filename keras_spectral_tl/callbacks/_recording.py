"""Recording of spectra during a fit: when, where to, and at what cost."""

import abc
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_spectral_tl._checks import require, whole_number
from keras_spectral_tl._files import replacing


@dataclass(frozen=True)
class Record:
    """The record of one epoch.

    Attributes:
        value: The entry of ``history``.
        logs: Scalars for the logs of the epoch and for TensorBoard.
        scalars: Scalars for TensorBoard alone.
        images: (height, width, 3) images for TensorBoard.
        arrays: Arrays for the npz file.
    """

    value: Any
    logs: dict[str, float]
    scalars: dict[str, float] = field(default_factory=dict)
    images: dict[str, NDArray[np.uint8]] = field(default_factory=dict)
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)


class SpectralCallback(keras.callbacks.Callback, abc.ABC):
    """Base of callbacks that record a model every few epochs, in bounded time.

    Args:
        every_n_epochs: Epochs between two records.
        directory: Directory of npz files, or None.
        log_dir: Directory of TensorBoard event files, or None.
        most_share: Largest share of the time of the fit to spend, see `TimeBudget`; an
            epoch that would exceed it is not recorded.

    Attributes:
        history: ``{epoch: value}``, epochs from 0 as Keras counts them.
        skipped: Epochs that were due but would have cost too much.
    """

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
        """Return the record of the model as it is; leaves the model unchanged."""

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._close()  # of an earlier fit, also one that an exception ended
        self.history, self.skipped, self._logged = {}, [], set()
        if self.log_dir is not None:
            install = "keras-spectral-tl[tensorboard]"
            for name in ("PIL.Image", "matplotlib"):
                require(name, "TensorBoard event files", install)
            module = require("tensorboardX", "TensorBoard event files", install)
            # The suffix keeps writers that start within one second apart.
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
        """Give Keras' history NaN for epochs without a record, so columns are even."""
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
        self._events.flush()  # so that a fit that dies leaves all records before

    def _close(self) -> None:
        if self._events is not None:
            self._events.close()
            self._events = None


def write_arrays(path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    """Write an npz file that appears complete or not at all, with its directory."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        np.savez(partial, allow_pickle=False, **arrays)


class TimeBudget:
    """A limit on the share of time that repeated work may take.

    Work is affordable if with it, taken to last as long as last time, the time spent
    stays within ``most_share`` of the rest. The first time its length is not known, and
    it is always affordable: after that, ``spent <= max(first, most_share * rest)`` up
    to the difference between one piece of work and the one before.
    """

    def __init__(
        self,
        most_share: float | None,
        clock: Callable[[], float] = time.perf_counter,
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
        """Return whether doing the work now keeps to the budget."""
        if self.most_share is None or self._last is None:
            return True
        rest = self._clock() - self._start - self.spent
        return self.spent + self._last <= self.most_share * rest

    @contextmanager
    def work(self) -> Iterator[None]:
        """Count the time of the work done inside, also if it fails."""
        start = self._clock()
        try:
            yield
        finally:
            self._last = self._clock() - start
            self.spent += self._last
