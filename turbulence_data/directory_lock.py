"""One process at a time, by a lock that the kernel frees when its holder dies."""

from __future__ import annotations

import fcntl
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_logger = logging.getLogger(__name__)


@contextmanager
def exclusive_lock(path: Path, purpose: str) -> Iterator[None]:
    """Holds the lock `path`, after waiting for whoever holds it.

    The lock is `flock` on a file, so it cannot be left behind: it ends with the process
    that holds it, however that ends, and the next one takes over. The file itself is
    removed at the end. Between hosts it works where the file system passes locks on
    (NFS, Lustre with `-o flock`); where it knows no locks at all, a warning is logged
    and nothing is locked.

    Args:
        path: the file; its directory is made.
        purpose: what the holder does, for the message to those who wait.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = _acquire(path, purpose)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)  # while it is ours, see _is_current
        os.close(descriptor)


def _acquire(path: Path, purpose: str) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o664)
        try:
            _wait_for_lock(descriptor, path, purpose)
            if _is_current(path, descriptor):
                os.truncate(descriptor, 0)
                holder = f"process {os.getpid()} on {socket.gethostname()}"
                os.pwrite(descriptor, holder.encode(), 0)
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _wait_for_lock(descriptor: int, path: Path, purpose: str) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 200, 0).decode(errors="replace")
        _logger.warning(
            "%s is %s; waiting until it has finished (lock %s)",
            holder or "another process",
            purpose,
            path,
        )
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError as error:
        _logger.warning(
            "%s cannot be locked (%s): run one process at a time here.", path, error
        )


def _is_current(path: Path, descriptor: int) -> bool:
    """False when the holder before us removed the file we have just locked."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False
