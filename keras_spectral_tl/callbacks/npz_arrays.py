"""Arrays of a callback as npz files."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


class NpzArrays:
    """Writes each record as one npz file, ``<name>.npz``, complete or absent.

    Args:
        directory: Where to; made if missing. Older files of a name are replaced.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     NpzArrays(folder).write("epoch_0001", {"conv/k": np.arange(3)})
        ...     with np.load(Path(folder) / "epoch_0001.npz") as file:
        ...         print(file["conv/k"])
        [0 1 2]
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self.directory = Path(directory)

    def write(self, name: str, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Writes one record.

        Args:
            name: Name of the record.
            arrays: Its arrays by name.

        Raises:
            OSError: If the file cannot be written; no partial file is left.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        # In the same directory, as a rename is only atomic within one file system.
        handle, temporary = tempfile.mkstemp(dir=self.directory, suffix=".tmp")
        try:
            with os.fdopen(handle, "wb") as file:
                np.savez(file, allow_pickle=False, **arrays)
            Path(temporary).replace(self.directory / f"{name}.npz")
        finally:
            Path(temporary).unlink(missing_ok=True)
