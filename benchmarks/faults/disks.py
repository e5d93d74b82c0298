"""Full and read-only disks, several processes at once, what is left lying about."""

import errno
import os
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from faults.killed_jobs import Generation, Retraining, Sweep
from faults.kills import fresh, outcome
from faults.trial import Trial

PROCESSES = 3


def mount(*options: str) -> None:
    subprocess.run(["mount", *options], check=True)


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system of its own in memory; needs the right to mount."""
    folder.mkdir(parents=True)
    mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder))
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def said(call: Callable[[], Any], number: int) -> str:
    """The result, or "told" for an OSError of the right number that names a place."""
    try:
        return str(call())
    except OSError as error:
        return "told" if error.errno == number else f"error: {error!r}"
    except Exception as error:
        # TensorFlow, h5py and Keras have errors of their own, with the system's words.
        told = os.strerror(number) in str(error)
        return "told" if told else f"error: {error!r}"


def full(job: Any, root: Path, count: int) -> Trial:
    """The disk is full at a random amount; then it is made larger and all goes on."""
    folder, rng, good, stopped = root / "full", random.Random(3), 0, 0
    expected = outcome(lambda: job.run(fresh(root / "alone")), root)
    largest = sum(p.stat().st_size for p in (root / "alone").rglob("*") if p.is_file())
    for _ in range(count):
        size = f"{max(8192, int(rng.uniform(0.02, 0.95) * largest))}"
        with small_disk(folder, size):
            first = outcome(lambda: said(lambda: job.run(folder), errno.ENOSPC), root)
            broken = outcome(lambda: job.broken(folder), root)
            mount("-o", "remount,size=1g", str(folder))
            second = outcome(lambda: job.run(folder), root)
        shutil.rmtree(folder)
        stopped += first == "told"
        fine = first in ("told", expected) and broken == "None" and second == expected
        good += fine
        if not fine:
            print(
                f"full, {job.name}: {size}; {first[-300:]}; {broken}; {second[-300:]}"
            )
    shutil.rmtree(root / "alone")
    return Trial(
        job.name,
        "the disk is full after a random amount, later it is not",
        count,
        good,
        f"an error with the system's words ({stopped} times; the others fitted), "
        "nothing broken under a final name; the same call then ends with the same bits",
    )


def read_only(job: Any, root: Path) -> Trial:
    """The job is told off, and what was there before can still be read."""
    folder = root / "readonly"
    with small_disk(folder, "1g"):
        expected = outcome(lambda: job.run(folder), root)
        mount("-o", "remount,ro", str(folder))
        broken = outcome(lambda: job.broken(folder), root)
    shutil.rmtree(folder)
    with small_disk(folder, "1g"):
        (folder / "begun").touch()
        mount("-o", "remount,ro", str(folder))
        answer = outcome(lambda: said(lambda: job.run(folder), errno.EROFS), root)
    shutil.rmtree(folder)
    if expected.startswith("error"):
        raise RuntimeError(expected)
    good = (broken == "None") + (answer == "told")
    if good < 2:
        print(f"read-only, {job.name}: {broken}; {answer[-300:]}")
    return Trial(
        job.name,
        "a read-only file system",
        2,
        good,
        "what was there is read; writing is an error with the system's words",
    )


def at_once(root: Path, count: int) -> Trial:
    """Processes ask for one dataset at the same moment; some are killed meanwhile."""
    job, good, most = Generation(), 0, 0
    expected = outcome(lambda: job.run(fresh(root / "alone")), root)
    rng = random.Random(9)
    for number in range(count):
        folder = fresh(root / f"once{number}")
        answers = [root / f"once{number}-{p}" for p in range(PROCESSES)]
        children = []
        for answer in answers:
            child = os.fork()
            if child == 0:
                answer.write_text(job.run(folder))
                os._exit(0)
            children.append(child)
        if number % 2:
            victim = rng.randrange(PROCESSES)
            _wait_and_kill(children[victim], rng.uniform(0.1, 3.0))
            answers[victim].unlink(missing_ok=True)
            answers.pop(victim)
        for child in children:
            os.waitpid(child, 0)
        begun = len((folder / "begun").read_text().split())
        most = max(most, begun)
        told = {path.read_text() for path in answers}
        left = {path.name for path in (folder / "turbulence_data/tiny").iterdir()}
        good += told == {expected} and left == {"1.0.0"} and begun <= job.units + 1
    return Trial(
        job.name,
        f"{PROCESSES} processes at once; every other time one of them is killed",
        count,
        good,
        f"all read the same content; at most {most} of {job.units} simulations begun",
    )


def _wait_and_kill(child: int, seconds: float) -> None:
    import signal
    import time

    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)


def stale(root: Path) -> Trial:
    """Folders and files as left by runs that were killed, and a foreign one."""
    job, folder = Generation(), fresh(root / "stale")
    expected = outcome(lambda: job.run(fresh(root / "alone-stale")), root)
    place = fresh(folder / "turbulence_data" / "tiny")
    for name in ("incomplete.ABCDEF_1.0.0", "incomplete.GHIJKL_1.0.0"):
        (fresh(place / name) / "dataset_info.json").write_text("{")
    (place / ".lock").write_text("process 1 on nowhere")
    found = outcome(lambda: job.run(folder), root)
    left = sorted(path.name for path in place.iterdir())
    return Trial(
        job.name,
        "two incomplete folders and a lock of processes that are dead",
        1,
        int(found == expected and left == ["1.0.0"]),
        "the same content as without; they are gone afterwards",
    )


def trials(root: Path, count: int) -> list[Trial]:
    root = root / "disks"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    rows = [at_once(root, count // 2), stale(root)]
    shutil.rmtree(root)
    root.mkdir()
    if os.geteuid() == 0:
        jobs = (Generation(), Sweep(), Retraining())
        rows += [full(job, root, count // 2) for job in jobs]
        rows += [read_only(job, root) for job in jobs]
    else:
        print("left out, as only root may mount: full and read-only disks")
    return rows
