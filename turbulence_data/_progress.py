"""Progress of long runs: a callable of the user, or a bar in terminals."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tqdm import tqdm

Progress = Callable[[Mapping[str, Any]], None]
"""Called with a mapping after each piece of work: "done" of "total", and what it is."""

_FORMAT = "{l_bar}{bar}| {n:.4g}/{total:.4g}{unit} [{elapsed}<{remaining}{postfix}]"


def check_progress(progress: Any) -> None:
    """Raise TypeError for what is neither callable nor None or False."""
    if progress is not None and progress is not False and not callable(progress):
        raise TypeError(
            "progress must be a callable that takes a mapping with the entries 'done' "
            "and 'total', None for a bar in terminals, or False; received "
            f"{progress!r:.100}."
        )


@contextlib.contextmanager
def watched(
    progress: Progress | bool | None, title: str, unit: str, name: str | None = None
) -> Iterator[Progress]:
    """Yield the callable to be called after each piece of work.

    `unit` is that of "done" and "total", `name` the entry to be shown beside the bar.
    """
    if callable(progress):
        yield progress
        return
    shown = progress is not False and sys.stderr.isatty()
    # Nothing is shown of what takes less than two seconds.
    with tqdm(
        desc=title,
        unit=f" {unit}",
        bar_format=_FORMAT,
        total=1.0,
        delay=2,
        leave=None,
        disable=not shown,
    ) as bar:

        def move(row: Mapping[str, Any]) -> None:
            bar.total = row["total"]
            if name is not None:
                bar.set_postfix_str(row[name], refresh=False)
            bar.update(row["done"] - bar.n)

        yield move
