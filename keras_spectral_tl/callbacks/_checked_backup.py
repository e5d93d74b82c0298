"""Backups of a fit that are always complete, checked by SHA-256."""

import json
import os
import warnings
from collections.abc import Callable, Iterable, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_spectral_tl._files import replacing, sha256, write_json
from keras_spectral_tl._graph.layers import fetch
from keras_spectral_tl._keras_internals import callbacks_of_fit, set_initial_epoch

_RECORD = "backup.json"
# Not the names that a ModelCheckpoint in the same folder would have.
_WEIGHTS, _ALL_WEIGHTS = "backup-{:06d}.weights.h5", f"backup-{'[0-9]' * 6}.weights.h5"
# Entries of a SavedSchedule in a weights file.
_JSON = "json"
_STATE_OF = "random_state_"
_TORCH = "torch_random_state_"


class CheckedBackup(keras.callbacks.Callback):
    """Backs up a fit after every epoch, so that the same fit can be resumed.

    Like `keras.callbacks.BackupAndRestore`, but the last backup is kept until the next
    one is complete: an interruption or a full disk loses only the current epoch. A
    SHA-256 ties weights, optimizer and epoch together and detects damage. A resumed fit
    has bitwise the same weights as an uninterrupted one, given the same data in each
    epoch, if the model draws no random numbers. If it does (dropout), put this callback
    after `FreezeLayers`, which saves the states of the generators (on torch also that
    of torch itself); Keras does not. The states of other callbacks are not saved:
    `ReduceLROnPlateau` and `EarlyStopping` start counting again.

    Args:
        directory: Folder of the backup, created if missing; use one for each fit.
        keep: Whether to keep the backup when the fit has ended (it is kept, with a
            warning, if it has more epochs than the fit asks for). A fit that is started
            again then goes on after the last epoch, if it has more (also if this one
            was stopped early).

    Raises:
        ValueError: At the start of a fit, if the backup is damaged, if the model is
            not built yet, or if a `SwapEMAWeights` that swaps at each epoch comes
            before this callback.

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
        self._resumed = self._is_ahead = False

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        record, self._is_ahead = self.directory / _RECORD, False
        if not (self.model.built and self.model.weights):
            raise ValueError(
                "CheckedBackup could not restore this model, whose weights are made by "
                "its first batch. Begin it with a keras.Input, or call it on a batch "
                "before compile."
            )
        others = callbacks_of_fit(self)
        if swaps_averages(takewhile(lambda one: one is not self, others)):
            raise ValueError(
                "SwapEMAWeights(swap_on_epoch=True) comes before CheckedBackup, which "
                "would save averages as the weights that train. Put it after or, "
                "beside FreezeLayers, use swap_on_epoch=False."
            )
        if not record.exists():
            return
        try:
            found = json.loads(record.read_bytes())
            weights = self.directory / found["file"]
            digest = sha256(weights)
            named = weights.name == _WEIGHTS.format(found["epoch"])
            whole = named and digest == found["sha256"]
        except (KeyError, OSError, TypeError, ValueError):
            whole = False
        if not whole:
            raise ValueError(
                f"The backup in {os.fspath(self.directory)!r} is damaged: expected the "
                f"weights whose SHA-256 is in {_RECORD}. Restore a complete copy, "
                "or remove the directory to start again."
            )
        optimizer = self.model.optimizer
        if optimizer is not None and not optimizer.built:
            optimizer.build(self.model.trainable_variables)
        self.model.load_weights(weights)
        set_initial_epoch(self.model, found["epoch"])
        self._resumed = True
        epochs = (self.params or {}).get("epochs", found["epoch"])
        self._is_ahead = found["epoch"] > epochs
        if self._is_ahead:
            warnings.warn(
                f"The backup in {os.fspath(self.directory)!r} has {found['epoch']} "
                f"epochs, so this fit of {epochs} trains nothing. The backup is kept: "
                "ask for more epochs, or remove it to start again.",
                UserWarning,
                stacklevel=2,
            )

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._forget_the_start()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        weights = self.directory / _WEIGHTS.format(epoch + 1)
        with replacing(weights) as partial:
            self.model.save_weights(partial, overwrite=True)
            digest = sha256(partial)
        record = {"epoch": epoch + 1, "file": weights.name, "sha256": digest}
        write_json(self.directory / _RECORD, record)
        for other in self.directory.glob(_ALL_WEIGHTS):
            if other != weights:
                other.unlink()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self._forget_the_start()
        if self.keep or self._is_ahead or not self.directory.exists():
            return
        (self.directory / _RECORD).unlink(missing_ok=True)
        for weights in self.directory.glob(_ALL_WEIGHTS):
            weights.unlink()
        if not any(self.directory.iterdir()):
            self.directory.rmdir()

    def _forget_the_start(self) -> None:
        """Let the next fit begin at its own first epoch, not where this one did."""
        if self._resumed:
            self._resumed = False
            set_initial_epoch(self.model, 0)


def swaps_averages(callbacks: Iterable[Any]) -> bool:
    """Return whether one of the callbacks puts averages into the model each epoch."""
    kind = keras.callbacks.SwapEMAWeights
    return any(isinstance(one, kind) and one.swap_on_epoch for one in callbacks)


class SavedSchedule(keras.Layer):
    """Position of a fit in its schedule, stored in every weights file.

    Keras saves each object that a model or optimizer holds as an attribute. So the
    state is in the same file as the weights it belongs to, and no interruption can
    separate them. It is a layer only because layers can define how they are saved. It
    also saves the states of the random generators (of dropout), which Keras leaves out;
    on torch also those of torch itself, which Keras uses if a layer has no seed.
    """

    def __init__(
        self,
        random_states: Callable[[], Sequence[keras.Variable]],
        undo: Callable[[], None],
    ) -> None:
        super().__init__(name="freeze_layers")
        # Text and a callable, because Keras tracks dicts and variables set on a layer.
        self._text = "{}"
        self._loaded: str | None = None
        self._random_states = random_states
        self.undo = undo

    def note(self, **state: Any) -> None:
        """Set the plain (JSON) values that the next save writes."""
        self._text = json.dumps(state)

    def take_loaded(self) -> dict[str, Any] | None:
        """Return the state loaded since the last call, None if there is none."""
        text, self._loaded = self._loaded, None
        return None if text is None else json.loads(text)

    def save_own_variables(self, store: Any) -> None:
        store[_JSON] = np.frombuffer(self._text.encode(), dtype=np.uint8)
        for i, variable in enumerate(self._random_states()):
            store[f"{_STATE_OF}{i}"] = fetch(variable)
        for i, state in enumerate(_torch_states()):
            store[f"{_TORCH}{i}"] = state

    def load_own_variables(self, store: Any) -> None:
        if _JSON in store.keys():  # noqa: SIM118 (the store is not a mapping)
            self._loaded = np.asarray(store[_JSON], dtype=np.uint8).tobytes().decode()
            for i, variable in enumerate(self._random_states()):
                variable.assign(store[f"{_STATE_OF}{i}"])
            _set_torch_states(store)


def _torch_states() -> list[np.ndarray]:
    """Return the states of torch's own generators: of the CPU, then of each GPU."""
    if keras.backend.backend() != "torch":
        return []
    import torch

    states = [torch.get_rng_state()]
    if torch.cuda.is_available():
        states += torch.cuda.get_rng_state_all()
    return [state.cpu().numpy() for state in states]


def _set_torch_states(store: Any) -> None:
    states: list[np.ndarray] = []
    while f"{_TORCH}{len(states)}" in store.keys():  # noqa: SIM118
        states.append(np.asarray(store[f"{_TORCH}{len(states)}"], np.uint8))
    if keras.backend.backend() != "torch" or not states:
        return
    import torch

    torch.set_rng_state(torch.from_numpy(states[0]))
    if len(states) - 1 == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([torch.from_numpy(state) for state in states[1:]])
