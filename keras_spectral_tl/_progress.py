"""Progress of long calls: a user's callable, or a bar in terminals."""

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tqdm import tqdm

Progress = Callable[[Mapping[str, Any]], None]
"""Called with a mapping after each piece of work."""


def check_progress(progress: Any) -> None:
    """Raise TypeError for an invalid `progress`, before any work is done."""
    if progress is not None and progress is not False and not callable(progress):
        raise TypeError(
            "Expected progress as a callable that takes the mapping of a row, None for "
            f"a bar in terminals, or False. Received {progress!r:.100}."
        )


def watched(
    progress: Any, title: str, unit: str, name: str, total: int | None = None
) -> contextlib.AbstractContextManager[Progress]:
    """Return a context with a function to call with a row after each piece of work.

    `name` is the key of a row that names the piece. If the total is not known
    beforehand, rows have it as "total" and the finished pieces as "done".

    Raises:
        TypeError: If `progress` is invalid, at once.
    """
    check_progress(progress)
    if callable(progress):
        return contextlib.nullcontext(progress)
    return _bar(progress is None and sys.stderr.isatty(), title, unit, name, total)


@contextlib.contextmanager
def _bar(
    shown: bool, title: str, unit: str, name: str, total: int | None
) -> Iterator[Progress]:
    # The bar appears after two seconds; a nested bar disappears when done.
    with tqdm(
        desc=title, unit=f" {unit}", delay=2, leave=None, disable=not shown
    ) as bar:

        def move(row: Mapping[str, Any]) -> None:
            if row.get("done") == 1 and bar.n:  # the next of several rounds has begun
                bar.reset()
            bar.total = row["total"] if total is None else total
            bar.set_postfix_str(row[name], refresh=False)
            bar.update()

        yield move
