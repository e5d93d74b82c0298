"""What the callbacks that record spectra share: when to record, and where to."""

import abc
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np
from numpy.typing import NDArray

from keras_spectral_tl.callbacks.event_files import EventFiles
from keras_spectral_tl.callbacks.npz_arrays import NpzArrays
from keras_spectral_tl.callbacks.time_budget import TimeBudget


class ArrayStore(Protocol):
    """Whatever keeps named arrays, such as `NpzArrays` and `ZarrArrays`."""

    def write(self, name: str, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Writes one record of arrays."""


@dataclass(frozen=True)
class Record:
    """What a callback has to say of one epoch.

    Attributes:
        value: What goes into ``history``.
        logs: Scalars for the logs of the epoch and for TensorBoard.
        scalars: Scalars for TensorBoard alone.
        images: (height, width, 3) images for TensorBoard.
        arrays: Arrays for the store.
    """

    value: Any
    logs: dict[str, float]
    scalars: dict[str, float] = field(default_factory=dict)
    images: dict[str, NDArray[np.uint8]] = field(default_factory=dict)
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)


class SpectralCallback(keras.callbacks.Callback, abc.ABC):
    """Records something of a model every few epochs, in bounded time.

    Args:
        every_n_epochs: Epochs between two records.
        directory: Where arrays go: a directory for npz files, or an `ArrayStore`.
        log_dir: Where TensorBoard event files go.
        most_share: Most of the time of the fit to spend, see `TimeBudget`; an epoch
            that would exceed it is not recorded.

    Attributes:
        history: ``{epoch: value}``, epochs from 0 as Keras counts them.
        skipped: Epochs that were due but would have cost too much.
    """

    file_prefix: str

    def __init__(
        self,
        every_n_epochs: int,
        directory: str | os.PathLike[str] | ArrayStore | None,
        log_dir: str | os.PathLike[str] | None,
        most_share: float | None,
    ) -> None:
        super().__init__()
        self.every_n_epochs = _checked_interval(every_n_epochs)
        self.directory = directory
        self.log_dir = None if log_dir is None else Path(log_dir)
        self.most_share = most_share
        self.history: dict[int, Any] = {}
        self.skipped: list[int] = []
        self._store: ArrayStore | None
        if isinstance(directory, str | os.PathLike):
            self._store = NpzArrays(directory)
        else:
            self._store = directory
        self._events: EventFiles | None = None
        self._logged: set[str] = set()
        self._budget = TimeBudget(most_share)

    @abc.abstractmethod
    def record(self) -> Record:
        """Looks at the model, which it leaves as it is."""

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Forget earlier fits, also those that ended by an exception, and set up."""
        self._close()
        self.history, self.skipped, self._logged = {}, [], set()
        if self.log_dir is not None:
            self._events = EventFiles(self.log_dir, self.file_prefix)
        self._budget = TimeBudget(self.most_share)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Record if the epoch completes an interval and the record is affordable."""
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
            self._keep(epoch, found)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Close the event file and say which epochs were recorded."""
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

    def _keep(self, epoch: int, found: Record) -> None:
        if self._store is not None:
            self._store.write(f"{self.file_prefix}_epoch_{epoch + 1:04d}", found.arrays)
        if self._events is not None:
            self._events.write(epoch, {**found.logs, **found.scalars}, found.images)

    def _close(self) -> None:
        if self._events is not None:
            self._events.close()
            self._events = None


def _checked_interval(every_n_epochs: int) -> int:
    if not isinstance(every_n_epochs, int | np.integer):
        raise TypeError(
            "every_n_epochs must be an integer. Received "
            f"every_n_epochs={every_n_epochs!r}."
        )
    if every_n_epochs < 1:
        raise ValueError(
            f"every_n_epochs must be at least 1. Received {every_n_epochs}; leave the "
            "callback out to record nothing."
        )
    return int(every_n_epochs)
