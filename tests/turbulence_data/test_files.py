"""One process at a time, and the next one as soon as that one is gone."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from turbulence_data._files import exclusive_lock

# Says "held" when it has the lock, and gives it back when its input ends.
HOLDER = """
import logging, pathlib, sys
from turbulence_data._files import exclusive_lock
logging.basicConfig(stream=sys.stdout, format="%(message)s")
with exclusive_lock(pathlib.Path(sys.argv[1]), "making data"):
    print("held", flush=True)
    sys.stdin.read()
"""
PATIENCE_SECONDS = 60.0


@pytest.fixture
def path(tmp_path):
    return tmp_path / "data" / ".lock"


@pytest.fixture
def start(path):
    running = []

    def start():
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        running.append(process)
        return process

    yield start
    for process in running:
        with process:
            process.kill()


@pytest.mark.slow
@pytest.mark.parametrize("end", ["returns", "killed"])
def test_the_second_process_waits_and_says_for_whom(start, path, end):
    first = start()
    assert first.stdout.readline() == "held\n"
    second = start()
    message = second.stdout.readline()
    assert f"process {first.pid} on " in message
    assert "is making data; waiting until it has finished" in message
    if end == "returns":
        first.stdin.close()
    else:
        first.send_signal(signal.SIGKILL)
    assert second.stdout.readline() == "held\n"
    second.stdin.close()
    assert second.wait(PATIENCE_SECONDS) == 0
    assert list(path.parent.iterdir()) == []


def test_many_threads_hold_it_one_at_a_time(path):
    inside, largest = [], []

    def work():
        for _ in range(20):
            with exclusive_lock(path, "counting"):
                inside.append(1)
                largest.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
    assert len(largest) == 80
    assert max(largest) == 1
    assert not path.exists()


def test_a_holder_that_finishes_before_it_is_named_is_no_error(path, monkeypatch):
    held, finish = threading.Event(), threading.Event()

    def hold():
        with exclusive_lock(path, "counting"):
            held.set()
            finish.wait(PATIENCE_SECONDS)

    holder = threading.Thread(target=hold)
    holder.start()
    assert held.wait(PATIENCE_SECONDS)
    read_text = Path.read_text

    def read_too_late(self, *args, **options):
        finish.set()
        holder.join(PATIENCE_SECONDS)
        return read_text(self, *args, **options)

    monkeypatch.setattr(Path, "read_text", read_too_late)
    with exclusive_lock(path, "counting"):
        assert path.exists()
    assert not path.exists()


def test_an_error_inside_frees_it(path):
    with pytest.raises(KeyError), exclusive_lock(path, "failing"):
        raise KeyError
    with exclusive_lock(path, "going on"):
        assert path.exists()


def test_a_file_system_without_locks_gets_a_warning(path, monkeypatch, caplog):
    def refuse(descriptor, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with exclusive_lock(path, "working"):
        pass
    assert "No locks available" in caplog.text
    assert "one process at a time" in caplog.text
