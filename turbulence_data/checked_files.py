"""Arrays on disk that are there whole or not at all, and that notice damage."""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

_DIGEST_BYTES = hashlib.sha256().digest_size


class DamagedFileError(ValueError):
    """A file is not what was written: truncated, changed or foreign."""


def write_arrays(path: Path, arrays: Mapping[str, ArrayLike], key: str) -> None:
    """Writes a NumPy `.npz` archive followed by the SHA-256 of its bytes.

    The file is written beside its final name, flushed to disk and renamed: whoever is
    killed at any moment leaves the file that was there before, or the new one.

    Args:
        path: where; the directory must exist.
        arrays: what.
        key: says what the arrays belong to; `read_arrays` must be given the same.

    Raises:
        OSError: when the disk is full or the directory is not there.
    """
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **{**arrays, "key": np.array(key)})
    content = buffer.getvalue()
    _write_at_once(path, content + hashlib.sha256(content).digest())


def read_arrays(path: Path, key: str) -> dict[str, NDArray[np.generic]]:
    """Reads what `write_arrays` wrote, bit for bit.

    Raises:
        FileNotFoundError: when there is no such file.
        DamagedFileError: when its bytes are not those written, or of another key.
    """
    stored = path.read_bytes()
    content, digest = stored[:-_DIGEST_BYTES], stored[-_DIGEST_BYTES:]
    if hashlib.sha256(content).digest() != digest:
        raise DamagedFileError(
            f"the checksum of {path} does not match its {len(stored)} bytes; "
            "delete the file to have it made again."
        )
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    found = str(arrays.pop("key"))
    if found != key:
        raise DamagedFileError(
            f"{path} holds {found}, not {key}; delete the file to have it made again."
        )
    return arrays


def _write_at_once(path: Path, content: bytes) -> None:
    descriptor, temporary = tempfile.mkstemp(prefix=".partial-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
