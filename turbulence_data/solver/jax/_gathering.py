"""Calls of several threads that are made as one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from typing import Any

_PATIENCE = 2.0


class Gathering:
    """Join calls of several threads that ask for the same work on their own items.

    A group of calls goes off when it is full, or when every member that is at work
    waits in some group: nobody is left to wait for. A member that has not called for a
    while is not waited for until it calls again.

    Args:
        size: most calls in one group.
        patience: seconds without a call after which who has not called is left out.
    """

    def __init__(self, size: int, patience: float = _PATIENCE) -> None:
        self._size, self._patience = size, patience
        self._changed = threading.Condition()
        self._groups: dict[Hashable, _Group] = {}
        self._at_work: set[int] = set()
        self._running: set[int] = set()

    def join(self, member: int) -> None:
        """Count a member among those at work."""
        with self._changed:
            self._at_work.add(member)

    def leave(self, member: int) -> None:
        """Nobody waits for this member any more."""
        with self._changed:
            self._at_work.discard(member)
            self._changed.notify_all()

    def call(
        self,
        member: int,
        key: Hashable,
        item: Any,
        work: Callable[[Sequence[Any]], Sequence[Any]],
    ) -> Any:
        """Return the result for one item of `work` on all items of a group.

        Args:
            member: who calls.
            key: calls with equal keys may be joined.
            item: what the caller has.
            work: items of a group to their results; that of its first caller is used.
        """
        with self._changed:
            self._at_work.add(member)
            group = self._groups.setdefault(key, _Group())
            place = group.add(member, item)
            if len(group.items) == self._size:
                del self._groups[key]  # the next call opens another one
                group.is_closed = True
            self._changed.notify_all()
            if place == 0:
                self._wait_for_others(key, group)
        if place == 0:
            self._run(group, work)
        return group.results.result()[place]

    def _wait_for_others(self, key: Hashable, group: _Group) -> None:
        last_call = time.monotonic()
        while not group.is_closed:
            waiting = {m for g in self._groups.values() for m in g.members}
            missing = self._at_work - waiting
            left = last_call + self._patience - time.monotonic()
            if not missing:
                break
            if left <= 0.0 and not self._running:
                self._at_work -= missing
                break
            if self._changed.wait(max(left, 0.01)):
                last_call = time.monotonic()
        if not group.is_closed:
            del self._groups[key]
            group.is_closed = True
        self._running |= set(group.members)

    def _run(
        self, group: _Group, work: Callable[[Sequence[Any]], Sequence[Any]]
    ) -> None:
        try:
            group.results.set_result(work(group.items))
        except BaseException as error:
            group.results.set_exception(error)
        finally:
            with self._changed:
                self._running -= set(group.members)
                self._changed.notify_all()


class _Group:
    def __init__(self) -> None:
        self.members: list[int] = []
        self.items: list[Any] = []
        self.results: Future[Sequence[Any]] = Future()
        self.is_closed = False

    def add(self, member: int, item: Any) -> int:
        """Return the place of the item."""
        self.members.append(member)
        self.items.append(item)
        return len(self.items) - 1
