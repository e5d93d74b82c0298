"""The order of the files."""

from collections import Counter

import pytest

# What a test marked slow takes, in units of another.
SLOW = 20


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the longest files first, so that at the end no process waits for one."""
    lengths: Counter[str] = Counter()
    for item in items:
        lengths[str(item.path)] += SLOW if item.get_closest_marker("slow") else 1
    items.sort(key=lambda item: (-lengths[str(item.path)], str(item.path)))
