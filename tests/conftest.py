"""The order of the files, and what the collector of garbage need not look at."""

import gc
from collections import Counter

import pytest

# What a test marked slow takes, in units of another; the mark may say how much more.
SLOW = 20


def length(item: pytest.Item) -> int:
    """What a test takes, in units of the usual one."""
    mark = item.get_closest_marker("slow")
    return 1 if mark is None else (*mark.args, SLOW)[0]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the longest files first, so that at the end no process waits for one."""
    lengths: Counter[str] = Counter()
    for item in items:
        lengths[str(item.path)] += length(item)
    items.sort(key=lambda item: (-lengths[str(item.path)], str(item.path)))


def pytest_collection_finish() -> None:
    """What was imported stays to the end: no search for garbage goes through it."""
    gc.collect()
    gc.freeze()
