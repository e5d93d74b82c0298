"""Atomic files with checksums, an exclusive lock, and helpful disk errors."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import logging
import os
import secrets
import shutil
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

_logger = logging.getLogger(__name__)
_DIGEST_BYTES = hashlib.sha256().digest_size
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}
_FULL = {errno.ENOSPC, errno.EDQUOT}
_FORBIDDEN = {errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST}


class DamagedFileError(ValueError):
    """The content of a file is not what was written: truncated, changed or foreign."""


def json_hash(values: Any) -> str:
    """Return the SHA-256 of plain data, written as JSON with sorted keys."""
    text = json.dumps(values, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


@contextmanager
def new_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path for a file or directory, which is then renamed to `path`.

    Nothing exists under the final name until the block has ended without an error.
    """
    if path.exists():
        raise FileExistsError(
            f"{path} exists already; delete it first, or choose another name."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=path.parent) as directory:
        target = Path(directory) / path.name
        yield target
        os.replace(target, path)


def write_bytes(path: Path, content: bytes) -> None:
    """Write or replace a file atomically, by a flushed temporary file and a rename.

    If the process is killed at any moment, either the old or the new file is left. A
    file that is replaced keeps its permissions.
    """
    temporary = Path(path).with_name(f".partial-{secrets.token_hex(8)}")
    try:
        with temporary.open("xb") as file:  # readable by whom the umask says
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            shutil.copymode(path, temporary)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_arrays(path: Path, arrays: Mapping[str, ArrayLike], key: str) -> None:
    """Write a NumPy `.npz` archive followed by the SHA-256 of its bytes, atomically."""
    buffer = io.BytesIO()
    named: dict[str, Any] = {**arrays, "key": np.array(key)}
    np.savez(buffer, **named)
    content = buffer.getvalue()
    write_bytes(path, content + hashlib.sha256(content).digest())


def read_arrays(path: Path, key: str) -> dict[str, NDArray[np.generic]]:
    """Read arrays written by `write_arrays`, bit for bit."""
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


@contextmanager
def exclusive_lock(path: Path, purpose: str) -> Iterator[None]:
    """Hold the lock file `path`, after waiting for the process that holds it.

    The kernel releases the lock when its holder ends for any reason; the file is
    removed at the end. Between hosts it works if the file system supports it (NFS,
    Lustre with `-o flock`); on a file system without locks a warning is logged and
    nothing is locked.
    """
    import filelock

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(path, mode=0o664)
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout:
        holder = ""
        with suppress(FileNotFoundError):  # the holder may just have finished
            holder = path.read_text(errors="replace")
        _logger.warning(
            "%s is %s; waiting until it has finished (lock %s)",
            holder or "another process",
            purpose,
            path,
        )
        lock.acquire(poll_interval=0.1)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        _logger.warning(
            "%s cannot be locked (%s): run one process at a time here.", path, error
        )
    path.write_text(f"process {os.getpid()} on {socket.gethostname()}")
    try:
        yield
    finally:
        path.unlink(missing_ok=True)  # while still locked, so waiting processes notice
        lock.release()


@contextmanager
def explain_disk_errors(name: str, directory: Path, num_bytes: int) -> Iterator[None]:
    """Add to disk errors what was written, where, and how to solve the problem."""
    try:
        yield
    except Exception as error:
        number = error.errno if isinstance(error, OSError) else None
        if os.strerror(errno.ENOSPC) in str(error):  # TensorFlow's, array_record's own
            number = errno.ENOSPC
        if number in _FULL:
            near = (directory, *directory.parents)
            place = next((p for p in near if p.exists()), Path())
            free = shutil.disk_usage(place).free
            advice = (
                f"It needs about {num_bytes / 1e6:.0f} MB, of which the part not yet "
                f"written must be free; {free / 1e6:.0f} MB are. Free some, or "
                "choose another data_dir. Finished simulations are kept: the same call "
                "resumes with them."
            )
        elif number in _FORBIDDEN:
            advice = "Choose a data_dir that is a directory this process may write to."
        else:
            raise
        raise OSError(
            number, f"{name} could not be written to {directory} ({error}). {advice}"
        ) from error
