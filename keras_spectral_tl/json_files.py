"""Results as files that are complete or absent."""

import json
import math
import os
import pathlib
from typing import Any


def write_json(path: str | os.PathLike[str], document: Any) -> pathlib.Path:
    """Write a document of plain values and return its path.

    JSON has no nan and no infinity: both become null. The file appears complete or not
    at all.

    Args:
        path: The file to write; its folder must exist.
        document: Mappings, sequences, strings and numbers.
    """
    text = json.dumps(_finite(document), indent=2, allow_nan=False)
    return write_bytes(path, (text + "\n").encode())


def write_bytes(path: str | os.PathLike[str], content: bytes) -> pathlib.Path:
    """Write a file and return its path; it appears complete or not at all.

    Args:
        path: The file to write; its folder must exist.
        content: What it is to hold.
    """
    target = pathlib.Path(path)
    temporary = target.with_name(target.name + ".part")
    try:
        temporary.write_bytes(content)
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return target


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
