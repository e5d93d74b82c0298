"""Atomic writing of files, SHA-256, and conversion to JSON values."""

import contextlib
import dataclasses
import hashlib
import json
import math
import os
import pathlib
import re
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

# What to do about a damaged file of a study.
_ANEW = "Write it anew with the command that made it, or delete it."


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[pathlib.Path]:
    """Yield a temporary path that replaces `path` when the block ends.

    The folder is created if needed. After an exception the temporary file is removed
    and `path` is unchanged. The temporary name keeps the suffix, for some writers.
    """
    target = pathlib.Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".partial-{target.name}")
    try:
        yield temporary
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: str | os.PathLike[str], content: bytes) -> pathlib.Path:
    """Write a file atomically (completely or not at all), and return its path."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)
    return pathlib.Path(path)


def write_json(path: str | os.PathLike[str], document: Any) -> pathlib.Path:
    """Write a document of plain values as JSON and return its path.

    JSON has no nan or infinity; both become null.
    """
    text = json.dumps(finite(document), indent=2, allow_nan=False)
    return write_bytes(path, (text + "\n").encode())


def read_json(path: pathlib.Path, kind: type = dict, keys: Iterable[str] = ()) -> Any:
    """Read a JSON file that this package has written.

    Raises ValueError if it is not JSON, not an object (`kind=list`: not an array), or
    lacks a key.
    """
    try:
        document = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not a JSON file ({error}). {_ANEW}") from error
    if not isinstance(document, kind):
        raise ValueError(
            f"{path} must hold a JSON {'array' if kind is list else 'object'}; "
            f"received {type(document).__name__}. {_ANEW}"
        )
    check_keys(path, document, keys)
    return document


def check_keys(path: pathlib.Path, record: Any, keys: Iterable[str]) -> None:
    """Raise ValueError if a part of a JSON file is no object with these keys."""
    held = list(record) if isinstance(record, dict) else []
    missing = [key for key in keys if key not in held]
    if missing:
        raise ValueError(
            f"{path} lacks {', '.join(missing)}; received "
            f"{', '.join(held) or type(record).__name__:.100}. {_ANEW}"
        )


@contextlib.contextmanager
def known_form(path: str | os.PathLike[str]) -> Iterator[None]:
    """Raise ValueError that names a JSON file if what it holds cannot be used."""
    try:
        yield
    except Exception as error:  # what a value of another kind raises, anywhere
        raise ValueError(
            f"{os.fspath(path)} is damaged, or of another version "
            f"({type(error).__name__}: {error}). {_ANEW}"
        ) from error


def sha256(content: bytes | os.PathLike[str]) -> str:
    """Return the SHA-256 of bytes, or of a file, as hexadecimal digits."""
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    with pathlib.Path(content).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_arrays(arrays: Iterable[Any]) -> str:
    """Return one SHA-256 of the types, shapes and values of arrays, in order."""
    digest = hashlib.sha256()
    for values in map(np.asarray, arrays):
        digest.update(f"{values.dtype}{values.shape}".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()


def plain(value: Any) -> Any:
    """Return a value as plain JSON values.

    Arrays are described by their shape, dataclasses by their class and fields,
    functions and other objects by their name or that of their class.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {
            field.name: plain(getattr(value, field.name))
            for field in dataclasses.fields(value)
        }
        return {"class": type(value).__name__, **fields}
    if isinstance(value, dict):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, re.Pattern):
        return value.pattern
    if hasattr(value, "shape"):
        return f"array of shape {tuple(value.shape)}"
    return getattr(value, "__name__", None) or type(value).__name__


def finite(value: Any) -> Any:
    """Return plain values with null in place of nan and infinity, for JSON.

    Numbers of NumPy become those of Python.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, dict):
        return {key: finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
