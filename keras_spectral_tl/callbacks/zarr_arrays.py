"""Arrays of a callback as groups of one Zarr store."""

import importlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


class ZarrArrays:
    """Writes each record as a group of a Zarr store, which xarray and dask can read.

    A group has the attribute ``complete`` once all its arrays are there. Text, which
    Zarr has no settled type for, is stored as numbers of the categories in the
    attribute ``categories``.

    Args:
        path: The store, a directory; made if missing. Groups of a name are replaced.

    Raises:
        ImportError: If zarr is not installed.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     ZarrArrays(folder).write("epoch_0001", {"conv/k": np.arange(3)})
        ...     print(_zarr().open_group(folder)["epoch_0001/conv/k"][:])
        [0 1 2]
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        _zarr()

    def write(self, name: str, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Writes one record.

        Args:
            name: Name of the record.
            arrays: Its arrays by name; a "/" in a name makes a group.
        """
        store = _zarr().open_group(str(self.path), mode="a")
        group = store.create_group(name, overwrite=True)
        for key, values in arrays.items():
            if values.dtype.kind == "U":
                categories, numbers = np.unique(values, return_inverse=True)
                numbers = numbers.reshape(values.shape).astype(np.int32)
                array = group.create_array(key, data=numbers)
                array.attrs["categories"] = categories.tolist()
            else:
                group.create_array(key, data=np.ascontiguousarray(values))
        group.attrs["complete"] = True


def _zarr() -> Any:
    try:
        return importlib.import_module("zarr")
    except ImportError as error:
        raise ImportError(
            "Zarr stores need zarr, which is not installed. Install it with "
            "`pip install keras-spectral-tl[interchange]`, or pass a directory for npz "
            "files."
        ) from error
