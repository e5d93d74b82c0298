"""Trajectories come back the same from anywhere, or not at all."""

import os
import pathlib
import subprocess
import sys
import textwrap
import time
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from turbulence_data.config import FlowConfig
from turbulence_data.generation import _pool
from turbulence_data.generation._ensemble import EnsembleConfig
from turbulence_data.generation._pool import (
    InProcessExecutor,
    TrajectoryFailedError,
    process_pool,
    run_trajectories,
)
from turbulence_data.generation._trajectory import sample_trajectory

TINY = EnsembleConfig(
    flow=FlowConfig(32, reynolds=100.0),
    num_points_les=16,
    num_trajectories=(2, 1, 1),
    num_snapshots=2,
    spin_up=0.1,
    interval=0.05,
    time_step=0.01,
)
# Starting a process and importing the package takes a second or two on a busy machine.
PATIENCE_SECONDS = 60.0

# Spawned workers import it by name, so it cannot live in a test module.
WORK = """
import os, pathlib, signal, time
from turbulence_data.generation import sample_trajectory

def die(ensemble, trajectory_id):
    os.kill(os.getpid(), signal.SIGKILL)

def fail_or_wait(ensemble, trajectory_id):
    if trajectory_id == 0:
        raise ValueError("no such flow")
    time.sleep(3600.0)

def die_once(ensemble, trajectory_id):
    marker = pathlib.Path(os.environ["MARKER"])
    if trajectory_id == 1 and not marker.exists():
        marker.touch()
        die(ensemble, trajectory_id)
    return sample_trajectory(ensemble, trajectory_id)
"""
SCRIPT = """
import sys
from turbulence_data.generation import process_pool
print("top", flush=True)
pool = process_pool(1)
print(pool.submit(__import__("os").getpid).result(), flush=True)
"""


@pytest.fixture
def work(tmp_path, monkeypatch):
    (tmp_path / "deadly_work.py").write_text(WORK)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("MARKER", str(tmp_path / "marker"))
    monkeypatch.setattr(_pool, "available_cores", lambda: 2)
    return __import__("deadly_work")


def content(trajectories):
    return {
        t.trajectory_id: [
            t.vorticity.tobytes(),
            t.streamfunction.tobytes(),
            t.sgs_forcing.tobytes(),
            t.history.tobytes(),
        ]
        for t in trajectories
    }


@pytest.mark.slow
def test_every_executor_gives_the_same_bits(monkeypatch):
    monkeypatch.setattr(_pool, "available_cores", lambda: 2)
    ids = [0, 1, 100_000]
    expected = content(sample_trajectory(TINY, i) for i in ids)
    assert content(run_trajectories(TINY, ids)) == expected
    assert content(run_trajectories(TINY, ids, InProcessExecutor())) == expected
    with ThreadPoolExecutor(2) as pool:
        assert content(run_trajectories(TINY, ids, pool)) == expected


@pytest.mark.slow
def test_work_of_a_worker_that_dies_is_done_again(work):
    trajectories = content(run_trajectories(TINY, [0, 1, 2], work=work.die_once))
    assert trajectories == content(sample_trajectory(TINY, i) for i in [0, 1, 2])


def test_gives_up_when_workers_keep_dying(work, monkeypatch):
    monkeypatch.setattr(_pool, "_MAX_DEATHS_IN_A_ROW", 2)
    with pytest.raises(TrajectoryFailedError, match=r"died 2 times .*\[7, 8\]"):
        list(run_trajectories(TINY, [7, 8], work=work.die))


def test_a_broken_executor_of_the_user_is_named():
    class Broken(Executor):
        def submit(self, fn, /, *args, **kwargs):
            raise BrokenExecutor("gone")

    with pytest.raises(TrajectoryFailedError, match=r"Broken object.*gone"):
        list(run_trajectories(TINY, [0], Broken()))


def test_an_error_in_a_trajectory_names_it_and_stops_the_rest():
    done = []

    def work(ensemble, trajectory_id):
        done.append(trajectory_id)
        if trajectory_id == 1:
            raise FloatingPointError("not finite at time 3")
        return sample_trajectory(ensemble, trajectory_id)

    with pytest.raises(
        TrajectoryFailedError, match=r"trajectory 1 .*at time 3"
    ) as info:
        list(run_trajectories(TINY, [0, 1, 2], InProcessExecutor(), work))
    assert isinstance(info.value.__cause__, FloatingPointError)
    assert done == [0, 1]


@pytest.mark.slow
def test_an_error_in_a_worker_process_ends_the_workers(monkeypatch):
    monkeypatch.setattr(_pool, "available_cores", lambda: 2)
    unstable = replace(TINY, time_step=1.0, spin_up=2.0, interval=1.0)
    with pytest.raises(TrajectoryFailedError, match="UnstableTimeStepError"):
        list(run_trajectories(unstable, [0, 1]))
    _wait_for_no_children()


@pytest.mark.slow
def test_a_failure_ends_the_work_of_a_pool_which_then_goes_on(work, caplog):
    ids = [1, 0, *range(2, 20)]  # more than two processes have in their queue
    with process_pool(2) as pool:
        with pytest.raises(TrajectoryFailedError, match="no such flow"):
            list(run_trajectories(TINY, ids, pool, work.fail_or_wait))
        _wait_for_no_children()
        assert not caplog.records
        assert pool.submit(pow, 2, 5).result() == 32
    with pytest.raises(RuntimeError, match="shut down"):
        pool.submit(pow, 2, 5)


@pytest.mark.slow
def test_a_failure_leaves_the_other_work_of_a_pool_alone(work):
    with process_pool(3) as pool:
        other = pool.submit(time.sleep, 6.0)
        with pytest.raises(TrajectoryFailedError, match="no such flow"):
            list(run_trajectories(TINY, [1, 0], pool, work.fail_or_wait))
        assert other.result() is None
        pool.shutdown(kill_workers=True)


def test_work_that_a_result_asks_for_as_the_pool_ends_is_refused():
    """The callback runs in a thread that the end of the pool waits for."""
    refused = []

    def again(_):
        try:
            pool.submit(pow, 2, 5)
        except RuntimeError as error:
            refused.append(error)

    with process_pool(1) as pool:
        pool.submit(time.sleep, 0.5).add_done_callback(again)
    assert len(refused) == 1


def test_control_c_ends_a_pool_in_the_middle_of_its_work():
    with pytest.raises(KeyboardInterrupt), process_pool(1) as pool:
        waiting = pool.submit(time.sleep, 3600.0)
        while not waiting.running():
            time.sleep(0.01)
        raise KeyboardInterrupt
    _wait_for_no_children()


def _wait_for_no_children():
    deadline = time.monotonic() + PATIENCE_SECONDS
    while _children():
        assert time.monotonic() < deadline, "workers went on"
        time.sleep(0.05)


def _children():
    """The worker processes of this process, by their command lines."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rsplit(")", 1)[1].split()
            command = path.with_name("cmdline").read_text()
        except OSError:
            continue  # it has ended
        if (
            fields[0] != "Z"
            and int(fields[1]) == os.getpid()
            and "popen_loky" in command
        ):
            found.append(path)
    return found


def test_a_limited_number_is_in_flight():
    class Counting(Executor):
        largest, open_calls = 0, 0

        def submit(self, fn, /, *args, **kwargs):
            self.open_calls += 1
            self.largest = max(self.largest, self.open_calls)
            future = Future()
            future.set_result(fn(*args, **kwargs))
            return future

    executor = Counting()

    def work(ensemble, trajectory_id):
        return np.float64(trajectory_id)

    for _ in _pool._as_completed(executor, TINY, range(50), work, 4):
        executor.open_calls -= 1
    assert executor.largest == 4


def test_in_process_work_is_done_only_as_it_is_asked_for():
    done = []

    def work(ensemble, trajectory_id):
        done.append(trajectory_id)
        return sample_trajectory(ensemble, trajectory_id)

    results = run_trajectories(TINY, [0, 1, 2], InProcessExecutor(), work)
    next(results)
    assert done == [0]


def test_in_process_executor_keeps_the_exception():
    future = InProcessExecutor().submit(int, "x")
    with pytest.raises(ValueError, match="'x'"):
        future.result()


def test_workers_have_one_thread_a_library_and_the_caller_keeps_its_own(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    with process_pool(1) as pool:
        assert pool.submit(os.getenv, "OMP_NUM_THREADS").result() == "1"
    assert os.environ["OMP_NUM_THREADS"] == "5"
    assert "MKL_NUM_THREADS" not in os.environ


@pytest.mark.parametrize("number", [0, -1, 1.5])
def test_refuses_an_impossible_number_of_processes(number):
    with pytest.raises(ValueError, match=f"num_processes .* received {number}"):
        process_pool(number)


@pytest.mark.slow
def test_a_script_without_main_guard_is_not_run_again_by_its_workers(tmp_path):
    script = tmp_path / "unguarded.py"
    script.write_text(SCRIPT + "pool.shutdown()\n")
    result = subprocess.run(
        [sys.executable, script],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        env=_environment(),
        check=True,
    )
    assert result.stdout.split().count("top") == 1


def test_workers_end_when_their_parent_is_killed(tmp_path):
    script = textwrap.dedent(SCRIPT) + "sys.stdin.read()\n"
    with subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=_environment(),
    ) as parent:
        parent.stdout.readline()
        worker = int(parent.stdout.readline())
        parent.kill()
    deadline = time.monotonic() + PATIENCE_SECONDS
    while _is_running(worker):
        assert time.monotonic() < deadline, f"worker {worker} outlived its parent"
        time.sleep(0.05)


def _environment():
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def _is_running(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().split()[2] != "Z"
    except FileNotFoundError:
        return False


MAIN_SCRIPT = """
import sys
import numpy as np
from turbulence_data import EnsembleConfig, FlowConfig, SteadyForcing
from turbulence_data.generation import InProcessExecutor, _pool

def jets(x, y):
    return np.sin(3.0 * y) + 0.0 * x

ensemble = EnsembleConfig(
    flow=FlowConfig(32, reynolds=100.0, forcing_wavenumber=None), num_points_les=16,
    num_trajectories=(2, 1, 1), num_snapshots=2, spin_up=0.1, interval=0.05,
    time_step=0.01, forcing=SteadyForcing(jets),
)
_pool.available_cores = lambda: 2
for executor in (None, InProcessExecutor()):
    made = _pool.run_trajectories(ensemble, [0, 1], executor)
    made = sorted(made, key=lambda t: t.trajectory_id)
    print(hash(b"".join(t.vorticity.tobytes() for t in made)))
"""


@pytest.mark.slow
def test_a_config_of_the_main_script_runs_in_processes_too(tmp_path):
    script = tmp_path / "main_script.py"
    script.write_text(MAIN_SCRIPT)
    done = subprocess.run(
        [sys.executable, script],
        capture_output=True,
        text=True,
        timeout=10 * PATIENCE_SECONDS,
        env=_environment(),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    processes, alone = done.stdout.split()
    assert processes == alone
