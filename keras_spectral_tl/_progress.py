"""Progress of long calls: a callable of the user, or a bar in terminals."""

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tqdm import tqdm

Progress = Callable[[Mapping[str, Any]], None]
"""Called with a mapping after each piece of work."""


def check_progress(progress: Any) -> None:
    """Refuse a `progress` that cannot be called, before any work is done.

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


@contextlib.contextmanager
def watched(progress: Any, title: str, unit: str, name: str) -> Iterator[Progress]:
    """Yield what is called with a row of `name`, done and total after each piece.

    Args:
        progress: A callable of the user; None for a bar in terminals; False: no bar.
        title: Name of the work.
        unit: What its pieces are.
        name: Entry of a row that names a piece.
    """
    if callable(progress):
        yield progress
        return
    shown = progress is not False and sys.stderr.isatty()
    # Nothing is shown of what takes less than two seconds.
    with tqdm(desc=title, unit=f" {unit}", delay=2, disable=not shown) as bar:

        def move(row: Mapping[str, Any]) -> None:
            if row["done"] == 1:  # again, where there are several rounds
                bar.reset()
            bar.total = row["total"]
            bar.set_postfix_str(row[name], refresh=False)
            bar.update()

        yield move
