"""Work in pieces: a limit on time, kept between units of work, and a record of it."""

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any


class OutOfTime(Exception):
    """The time of this piece is over; what is finished is on disk."""


class Deadline:
    """When to stop, checked between units of work.

    Args:
        minutes: from now on; None for never.
    """

    def __init__(self, minutes: float | None = None) -> None:
        self.at = float("inf") if minutes is None else time.time() + 60.0 * minutes

    def check(self) -> None:
        """Raises `OutOfTime` when the time is over."""
        if time.time() >= self.at:
            raise OutOfTime


class DeadlineExecutor(Executor):
    """Another executor, whose calls that begin too late raise `OutOfTime`."""

    def __init__(self, executor: Executor, deadline: Deadline) -> None:
        self._executor, self._deadline = executor, deadline

    def submit(
        self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> Future[Any]:
        return self._executor.submit(
            _if_in_time, self._deadline.at, fn, *args, **kwargs
        )


def _if_in_time(end: float, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    if time.time() >= end:
        raise OutOfTime
    return fn(*args, **kwargs)


class Times:
    """Wall seconds of every unit of work, by stage, kept in a JSON file.

    What was stopped counts too: a stage done in three pieces has three entries. Several
    processes may add entries at once.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def of(self, stage: str, unit: str) -> Iterator[None]:
        """Times a unit of work and prints what it took."""
        start, status = time.perf_counter(), "stopped"
        try:
            yield
            status = "done"
        finally:
            seconds = round(time.perf_counter() - start, 2)
            entry = {
                "stage": stage,
                "unit": unit,
                "seconds": seconds,
                "status": status,
                "at": round(time.time()),
            }
            self._add(entry)
            print(f"   {stage} {unit}: {seconds:.1f} s ({status})", flush=True)

    def _add(self, entry: dict[str, Any]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.with_name(f".{self.path.name}.lock").open("w") as lock:
            with suppress(OSError):  # of file systems without locks
                fcntl.flock(lock, fcntl.LOCK_EX)  # until it is closed
            write_json(self.path, [*self.entries(), entry])

    def entries(self) -> list[dict[str, Any]]:
        """Returns all entries, in order."""
        if not self.path.exists():
            return []
        return read_json(self.path, "Delete it: the times so far are lost.")

    def by_stage(self) -> dict[str, float]:
        """Returns the seconds of each stage."""
        totals: dict[str, float] = {}
        for entry in self.entries():
            stage = entry["stage"]
            totals[stage] = round(totals.get(stage, 0.0) + entry["seconds"], 1)
        return totals


def write_json(path: Path, content: Any) -> None:
    """Writes a JSON file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    partial.write_text(json.dumps(content, indent=1, default=float) + "\n")
    partial.replace(path)


def read_json(path: Path, advice: str = "Delete it: what it held is made anew.") -> Any:
    """Reads a JSON file; ValueError names it if it is damaged."""
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}). {advice}") from error
