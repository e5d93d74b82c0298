"""What the recording callbacks share: when to record and how to write."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def check_interval(every_n_epochs: int) -> int:
    """Returns a number of epochs if it is a positive integer.

    Args:
        every_n_epochs: Epochs between two records.

    Returns:
        The same number.

    Raises:
        TypeError: If it is not an integer.
        ValueError: If it is below 1.

    Example:
        >>> check_interval(5)
        5
    """
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


def is_due(epoch: int, every_n_epochs: int) -> bool:
    """Whether the epoch, counted from 0, completes an interval.

    Args:
        epoch: Index of the epoch that has just ended.
        every_n_epochs: Epochs between two records.

    Returns:
        True every ``every_n_epochs`` epochs.

    Example:
        >>> [epoch for epoch in range(6) if is_due(epoch, 2)]
        [1, 3, 5]
    """
    return (epoch + 1) % every_n_epochs == 0


def save_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Writes an npz file that is either complete or absent.

    Args:
        path: The file; its directory is made if missing, an older file replaced.
        arrays: The arrays by name.

    Raises:
        OSError: If the file cannot be written; no partial file is left.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_arrays(Path(folder) / "a.npz", {"conv/k": np.arange(3)})
        ...     with np.load(Path(folder) / "a.npz") as file:
        ...         print(file["conv/k"])
        [0 1 2]
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # In the same directory, as a rename is only atomic within one file system.
    handle, name = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
