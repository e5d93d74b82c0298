"""Errors of a disk, said so that one knows what to do."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_FULL = {errno.ENOSPC, errno.EDQUOT}
_FORBIDDEN = {errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST}


@contextmanager
def explained(name: str, directory: Path, num_bytes: int) -> Iterator[None]:
    """Adds to an error of a disk what was being made, where, and what to change.

    Args:
        name: of what is being made.
        directory: where.
        num_bytes: how much space that takes.

    Raises:
        OSError: of the kind and the number that came up within.
    """
    try:
        yield
    except Exception as error:
        number = _number_of(error)
        if number in _FULL:
            free = _free_megabytes(directory)
            advice = (
                f"It takes some {num_bytes / 1e6:.0f} MB, of which the part not yet "
                f"written must be free; {free} are. Free some, or choose another "
                "data_dir. Simulations that were finished are kept: the same call goes "
                "on with them."
            )
        elif number in _FORBIDDEN:
            advice = "Choose a data_dir that is a directory this process may write to."
        else:
            raise
        raise OSError(
            number, f"{name} could not be written to {directory} ({error}). {advice}"
        ) from error


def _number_of(error: Exception) -> int | None:
    if isinstance(error, OSError):
        return error.errno
    # TensorFlow and array_record have errors of their own.
    return errno.ENOSPC if os.strerror(errno.ENOSPC) in str(error) else None


def _free_megabytes(directory: Path) -> str:
    for place in (directory, *directory.parents):
        if place.exists():
            return f"{shutil.disk_usage(place).free / 1e6:.0f} MB"
    return "no one knows how many"
