"""How much of the time of a fit a callback may take."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class TimeBudget:
    """Lets work be done as long as it takes a small share of the time that passes.

    Work is affordable if with it, taken to last as long as last time, the time spent
    stays within ``most_share`` of the rest. The first time its length is not known, and
    it is always affordable: after that, ``spent <= max(first, most_share * rest)`` up
    to what one piece of work takes longer than the one before.

    Args:
        most_share: The share, above 0; None for no limit.
        clock: Seconds that have passed.

    Raises:
        ValueError: If the share is not above 0.

    Example:
        >>> now = iter([0.0, 10.0, 11.0, 50.0, 201.0])
        >>> budget = TimeBudget(0.01, clock=lambda: next(now))  # at 0 s
        >>> with budget.work():  # 10 to 11 s
        ...     pass
        >>> budget.is_affordable(), budget.is_affordable()  # at 50 and at 201 s
        (False, True)
    """

    def __init__(
        self,
        most_share: float | None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        if most_share is not None and not most_share > 0:
            raise ValueError(
                f"most_share must be above 0, or None for no limit. Received "
                f"{most_share}."
            )
        self.most_share = most_share
        self.spent = 0.0
        self._clock = clock
        self._start = clock()
        self._last: float | None = None

    def is_affordable(self) -> bool:
        """Whether doing the work now keeps to the budget."""
        if self.most_share is None or self._last is None:
            return True
        rest = self._clock() - self._start - self.spent
        return self.spent + self._last <= self.most_share * rest

    @contextmanager
    def work(self) -> Iterator[None]:
        """Counts the time of the work done inside, also if it fails."""
        start = self._clock()
        try:
            yield
        finally:
            self._last = self._clock() - start
            self.spent += self._last
