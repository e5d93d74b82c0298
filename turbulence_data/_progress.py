"""Progress of long runs: a user's callable, or a bar in terminals."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tqdm import tqdm

Progress = Callable[[Mapping[str, Any]], None]
"""Called with a mapping of "done", "total" and a name after each piece of work."""

_FORMAT = "{l_bar}{bar}| {n:.4g}/{total:.4g}{unit} [{elapsed}<{remaining}{postfix}]"


def check_progress(progress: Any) -> None:
    """Raise TypeError if `progress` is neither callable nor None or False."""
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
    """Yield the callable to call after each piece of work.

    `unit` is the unit of "done" and "total", `name` the key of the text by the bar.
    """
    if callable(progress):
        yield progress
        return
    shown = progress is not False and sys.stderr.isatty()
    # The bar appears after two seconds.
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
