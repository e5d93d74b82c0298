"""What is written appears under its name only when it is complete."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path


def write_at_once(path: Path, write: Callable[[Path], None]) -> None:
    """Lets `write` make a file or directory beside `path`, then gives it its name.

    Raises:
        FileExistsError: when something is there already.
    """
    if path.exists():
        raise FileExistsError(
            f"{path} exists already; delete it first, or choose another name."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=path.parent) as directory:
        target = Path(directory) / path.name
        write(target)
        os.replace(target, path)
