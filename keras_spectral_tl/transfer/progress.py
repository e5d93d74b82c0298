"""Telling the caller of each row as soon as it is known."""

from collections.abc import Callable, Mapping
from typing import Any

Progress = Callable[[Mapping[str, Any]], None]


def check_progress(progress: Any) -> None:
    """Refuse what cannot be called with a row, before any work is done.

    Raises:
        TypeError: If it is neither callable nor None.
    """
    if progress is not None and not callable(progress):
        raise TypeError(
            "Expected progress as a callable that takes the mapping of a row, or None. "
            f"Received {progress!r:.100}."
        )


def report(progress: Progress | None, row: Mapping[str, Any]) -> None:
    """Call `progress`, if there is one, with a row."""
    if progress is not None:
        progress(row)
