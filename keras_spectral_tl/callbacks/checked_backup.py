"""Backups of a fit that are whole, or are not there."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import keras

from keras_spectral_tl._files import write_json

_RECORD = "backup.json"
_WEIGHTS = "epoch-{:06d}.weights.h5"


class CheckedBackup(keras.callbacks.Callback):
    """Backs up a fit after every epoch; the same fit, started again, goes on from it.

    It does what `keras.callbacks.BackupAndRestore` does, and leaves the last backup as
    it is until the next one is complete: a kill or a full disk at any moment costs the
    epoch that was running. Weights, optimizer and epoch belong together by a SHA-256,
    which also notices damage. The fit that goes on has the weights, bit for bit, of one
    that was never stopped, given the same data in each epoch, if the model draws no
    random numbers. If it does (dropout), put this callback after `FreezeLayers`, which
    saves the states of the generators, on torch also that of torch itself; Keras does
    not. The states of other callbacks are not saved: `ReduceLROnPlateau` or
    `EarlyStopping` begin to count anew.

    Args:
        directory: Where to; made if missing. One fit, one directory.
        keep: Whether the backup stays when the fit has ended. A fit that is started
            again then has nothing left to do.

    Raises:
        ValueError: At the start of a fit, if the backup is damaged.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile("adam", "mse")
        >>> x, y = np.ones((4, 2)), np.zeros((4, 1))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     backup = CheckedBackup(folder, keep=True)
        ...     first = model.fit(x, y, epochs=2, verbose=0, callbacks=[backup])
        ...     again = model.fit(x, y, epochs=3, verbose=0, callbacks=[backup])
        >>> again.epoch
        [2]
    """

    def __init__(self, directory: str | os.PathLike[str], keep: bool = False) -> None:
        super().__init__()
        self.directory, self.keep = Path(directory), keep

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Load the backup, if there is one."""
        record = self.directory / _RECORD
        if not record.exists():
            return
        try:
            found = json.loads(record.read_bytes())
            weights = self.directory / found["file"]
            digest = hashlib.sha256(weights.read_bytes()).hexdigest()
            whole = digest == found["sha256"] and weights.name == _name(found["epoch"])
        except (KeyError, OSError, TypeError, ValueError):
            whole = False
        if not whole:
            raise ValueError(
                f"The backup in {os.fspath(self.directory)!r} is damaged: expected the "
                f"weights whose SHA-256 {_RECORD} names. Put back a whole copy, "
                "or remove the directory to begin anew."
            )
        optimizer = self.model.optimizer
        if optimizer is not None and not optimizer.built:
            optimizer.build(self.model.trainable_variables)
        self.model.load_weights(weights)
        self.model._initial_epoch = found["epoch"]

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write a backup, then remove the one before."""
        self.directory.mkdir(parents=True, exist_ok=True)
        weights = self.directory / _name(epoch + 1)
        partial = self.directory / "partial.weights.h5"
        try:
            self.model.save_weights(partial, overwrite=True)
            digest = hashlib.sha256(partial.read_bytes()).hexdigest()
            partial.replace(weights)
        finally:
            partial.unlink(missing_ok=True)
        record = {"epoch": epoch + 1, "file": weights.name, "sha256": digest}
        write_json(self.directory / _RECORD, record)
        for other in self.directory.glob(_WEIGHTS.replace("{:06d}", "*")):
            if other != weights:
                other.unlink()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Remove the backup, unless it is to be kept."""
        if self.keep or not self.directory.exists():
            return
        (self.directory / _RECORD).unlink(missing_ok=True)
        for weights in self.directory.glob(_WEIGHTS.replace("{:06d}", "*")):
            weights.unlink()
        if not any(self.directory.iterdir()):
            self.directory.rmdir()


def _name(epoch: Any) -> str:
    return _WEIGHTS.format(epoch)
