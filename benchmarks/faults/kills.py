"""Kills a job at random moments, lets it go on, and compares it with one left alone."""

import os
import random
import shutil
import signal
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from faults.killed_jobs import JOBS
from faults.trial import Trial


def in_child(call: Callable[[], Any], answer: Path, kill_after: float | None) -> bool:
    """Forks, writes what `call` returns to `answer`; False when it was killed first."""
    child = os.fork()
    if child == 0:
        try:
            answer.write_text(str(call()))
        except BaseException:
            answer.write_text("error: " + traceback.format_exc())
        os._exit(0)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status) == 0


def kill_at_random(job: Any, root: Path, count: int, seed: int = 7) -> Trial:
    """`count` kills, each of a job begun anew, at moments uniform in its duration."""
    rng, root = random.Random(seed), root / job.name.replace(" ", "-")
    shutil.rmtree(root, ignore_errors=True)
    start = time.perf_counter()
    expected = outcome(lambda: job.run(fresh(root / "alone")), root)
    if expected.startswith("error"):
        raise RuntimeError(expected)
    duration = time.perf_counter() - start
    good, again, killed, problems = 0, 0, 0, []
    while killed < count:
        folder = fresh(root / f"kill{killed}")
        moment = rng.uniform(0.02, 1.0) * duration
        if in_child(lambda place=folder: job.run(place), root / "answer", moment):
            shutil.rmtree(folder)
            continue  # it had finished
        killed += 1
        left = outcome(lambda place=folder: job.broken(place), root)
        found = outcome(lambda place=folder: job.run(place), root)
        twice = len((folder / "begun").read_text().split()) - job.units
        again += twice
        if (left, found) == ("None", expected) and twice <= job.most_again:
            good += 1
        else:
            problems.append(f"{moment:.2f} s: {left}; {found[-300:]}; {twice} again")
    for problem in problems:
        print(f"{job.name}: {problem}", flush=True)
    return Trial(
        job.name,
        f"kill -9 at a random moment of its {duration:.1f} s",
        count,
        good,
        "started again it ends with the bits of one left alone; nothing broken under "
        f"a final name; begun twice in all kills together: {again} of "
        f"{count * job.units} units (simulations, epochs, rows)",
    )


def fresh(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def outcome(call: Callable[[], Any], root: Path) -> str:
    in_child(call, root / "answer", None)
    return (root / "answer").read_text()


def trials(root: Path, count: int) -> list[Trial]:
    rows = []
    for job in JOBS:
        rows.append(kill_at_random(job, root, count))
        print(rows[-1], flush=True)
    return rows
