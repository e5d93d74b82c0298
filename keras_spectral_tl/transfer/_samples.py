"""Samples to retrain with, checked once."""

import dataclasses
import hashlib
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray


@dataclasses.dataclass(frozen=True, eq=False)
class Samples:
    """Samples checked once and held as NumPy arrays.

    Attributes:
        x: Inputs, (num_samples, ...), or a nest of such arrays.
        y: True outputs, (num_samples, ...).
        normalization: By which statistics they were normalized here, or None.
    """

    x: Any
    y: NDArray[Any]
    normalization: Any = None

    def __len__(self) -> int:
        return len(self.y)

    def take(self, rows: Any) -> tuple[Any, NDArray[Any]]:
        """Return inputs and outputs of the given rows."""
        return keras.tree.map_structure(lambda part: part[rows], self.x), self.y[rows]

    def normalized(self, normalization: Any) -> "Samples":
        """Return the samples after `normalization.normalize(x, y)`.

        Raises:
            TypeError: If the object cannot normalize and back.
        """
        for method in ("normalize", "denormalize"):
            if not callable(getattr(normalization, method, None)):
                raise TypeError(
                    "Expected a normalization with the methods normalize(x, y) and "
                    f"denormalize(x, y). Received {normalization!r}."
                )
        x, y = normalization.normalize(self.x, self.y)
        return dataclasses.replace(self, x=x, y=y, normalization=normalization)

    def fingerprint(self) -> str:
        """Return the SHA-256 of all samples, with their shapes and types."""
        digest = hashlib.sha256()
        for part in [*keras.tree.flatten(self.x), self.y]:
            digest.update(f"{part.dtype}{part.shape}".encode())
            digest.update(np.ascontiguousarray(part).tobytes())
        return digest.hexdigest()

    @classmethod
    def of(cls, data: Any) -> "Samples":
        """Read and check `(x, y)` arrays or a finite, batched `tf.data.Dataset`.

        Raises:
            TypeError: If `data` is neither.
            ValueError: If it is empty, endless, of unequal lengths or not finite.
        """
        if isinstance(data, cls):
            return data
        x, y = _as_arrays(data)
        target = cls(keras.tree.map_structure(np.asarray, x), np.asarray(y))
        parts = [*keras.tree.flatten(target.x), target.y]
        if any(part.ndim == 0 for part in parts) or not parts[:-1]:
            raise ValueError("Expected arrays (num_samples, ...). Received a scalar.")
        lengths = [len(part) for part in parts]
        if len(set(lengths)) > 1:
            raise ValueError(
                "Inputs and outputs must have one length. Received "
                f"{lengths[:-1]} samples in x and {lengths[-1]} in y."
            )
        if not lengths[0]:
            shapes = [part.shape for part in parts]
            raise ValueError(f"The data hold no samples. Received shapes {shapes}.")
        for name, part in [*(("x", part) for part in parts[:-1]), ("y", parts[-1])]:
            _check_finite(name, part)
        return target


def _as_arrays(data: Any) -> tuple[Any, Any]:
    if hasattr(data, "as_numpy_iterator"):
        if hasattr(data, "cardinality") and int(data.cardinality()) == -1:
            raise ValueError(
                "The dataset never ends. Limit it, for example dataset.take(10)."
            )
        batches = list(data.as_numpy_iterator())
        if not batches:
            raise ValueError("The data hold no samples. Received an empty dataset.")
        data = keras.tree.map_structure(lambda *parts: np.concatenate(parts), *batches)
    if isinstance(data, (tuple, list)) and len(data) == 2:
        return data[0], data[1]
    raise TypeError(
        "Expected data as a pair (x, y) of arrays or a batched tf.data.Dataset of such "
        f"pairs. Received {type(data).__name__}."
    )


def _check_finite(name: str, values: NDArray[Any]) -> None:
    if values.dtype.kind not in "fiub":
        raise ValueError(f"Expected real numbers in {name}. Received {values.dtype}.")
    bad = ~np.isfinite(values)
    if bad.any():
        raise ValueError(
            f"{name} has {int(bad.sum())} NaN or infinite values, the first in sample "
            f"{int(np.argwhere(bad)[0][0])}. Remove those samples first."
        )
