"""Whether threads spin beside the pools of TensorFlow and numba.

Every combination runs in a fresh process of its own:

    python benchmarks/thread_pools.py NEIGHBOUR THREADS

takes right-hand sides in turn with work of the neighbour, and prints JSON: how much
slower a right-hand side is directly after the neighbour's work (and that work directly
after a right-hand side) than when both have come to rest, and the CPU time of the
process over that of the thread that computes. Threads that spin show in one of these.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from contextlib import ExitStack, contextmanager
from typing import Any

from benchmarked_solver import Case, OwnSolver
from solver_comparison import random_start, simulate

from turbulence_data.generation import process_pool

Work = Callable[[], object]

NUM_POINTS = 256
# Spinning ends after a few milliseconds: this is long enough to come to rest.
REST_SECONDS = 0.03
ROUNDS = 25
BURST_SECONDS = 0.5


def measure(
    combinations: Iterable[tuple[str, int, str]], rounds: int = ROUNDS
) -> list[dict[str, Any]]:
    """One row for each `(neighbour, threads, OMP_WAIT_POLICY or "")`."""
    rows = []
    for neighbour, threads, policy in combinations:
        with wait_policy(policy):
            environment = dict(os.environ)
        # The neighbour's pool has a thread a core, as it would have by default.
        environment.pop("OMP_NUM_THREADS", None)
        done = subprocess.run(
            [sys.executable, __file__, neighbour, str(threads), str(rounds)],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        row = {"neighbour": neighbour, "threads": threads, "wait_policy": policy}
        if done.returncode:
            row["left_out"] = (done.stderr.strip() or "no reason given").split("\n")[-1]
        else:
            row |= json.loads(done.stdout.strip().split("\n")[-1])
        rows.append(row)
    return rows


def processes_and_threads(rounds: int = 3) -> list[dict[str, Any]]:
    """Two simulations by a pool of one or two processes, of one or two threads each.

    Returns:
        One row for each way, with how many times as fast it is as one process of one
        thread, the median over rounds that take all ways in turn.
    """
    with ExitStack() as stack:
        pools = {n: stack.enter_context(process_pool(n)) for n in (1, 2)}
        ways = [(processes, threads) for processes in pools for threads in (1, 2)]
        seconds: dict[tuple[int, int], list[float]] = {way: [] for way in ways}
        for number in range(rounds + 1):
            for processes, threads in ways:
                taken = _two_simulations(pools[processes], threads)
                if number:  # the first round warms up
                    seconds[processes, threads].append(taken)
    return [
        {
            "processes": way[0],
            "threads": way[1],
            "speed_up": statistics.median(
                one / other
                for one, other in zip(seconds[1, 1], seconds[way], strict=True)
            ),
        }
        for way in ways
    ]


def _two_simulations(pool: Executor, threads: int) -> float:
    before = time.perf_counter()
    jobs = [pool.submit(simulate, NUM_POINTS, threads, 50) for _ in range(2)]
    for job in jobs:
        job.result()
    return time.perf_counter() - before


@contextmanager
def wait_policy(policy: str) -> Iterator[None]:
    """Sets OMP_WAIT_POLICY for the processes started within; "" is the default."""
    kept = os.environ.pop("OMP_WAIT_POLICY", None)
    if policy:
        os.environ["OMP_WAIT_POLICY"] = policy
    try:
        yield
    finally:
        os.environ.pop("OMP_WAIT_POLICY", None)
        if kept is not None:
            os.environ["OMP_WAIT_POLICY"] = kept


def neighbour_work(name: str) -> Work | None:
    """Work of a library with its own pool of threads, warmed up; None for "none"."""
    if name == "tensorflow":
        return _tensorflow_work()
    return _numba_work() if name == "numba" else None


def _tensorflow_work() -> Work:
    import tensorflow as tf

    matrix = tf.random.normal((512, 512), seed=0)

    def work() -> object:
        return tf.linalg.matmul(matrix, matrix).numpy()

    work()
    return work


def _numba_work() -> Work:
    import numba
    import numpy as np

    @numba.njit(parallel=True)
    def total(values: Any) -> float:
        result = 0.0
        for i in numba.prange(values.size):
            result += np.sqrt(values[i])
        return result

    values = np.ones(1_000_000)
    total(values)
    return lambda: total(values)


def child(neighbour: str, threads: int, rounds: int) -> dict[str, Any]:
    """What one process of its own measures."""
    solver = OwnSolver(Case(NUM_POINTS, threads=threads))
    solver.start(random_start(NUM_POINTS))
    work = neighbour_work(neighbour)
    row: dict[str, Any] = {}
    if work is not None:
        row |= _in_turn(solver.right_hand_side, work, rounds)
    return row | _alone(solver.right_hand_side)


def _in_turn(right_hand_side: Work, work: Work, rounds: int) -> dict[str, float]:
    """Medians of single calls: directly after the other's call, and after a rest."""
    seconds: dict[str, list[float]] = {}

    def timed(name: str, run: Work) -> None:
        before = time.perf_counter()
        run()
        seconds.setdefault(name, []).append(time.perf_counter() - before)

    for _ in range(rounds):
        for run, other, name in (
            (right_hand_side, work, "right_hand_side"),
            (work, right_hand_side, "neighbour"),
        ):
            # Both orders end with `run` in the same state of the caches.
            other()
            time.sleep(REST_SECONDS)
            timed(f"{name}_rested", run)
            other()
            timed(f"{name}_mixed", run)
    return {
        f"{name}_slowdown": statistics.median(
            a / b
            for a, b in zip(
                seconds[f"{name}_mixed"], seconds[f"{name}_rested"], strict=True
            )
        )
        for name in ("right_hand_side", "neighbour")
    }


def _alone(right_hand_side: Work) -> dict[str, float]:
    """Seconds of one call, and CPU time of all threads over that of this one.

    The second is 1 where nothing else runs in this process; unlike CPU over wall time
    it does not depend on what else the machine does.
    """
    right_hand_side()  # compiles
    num_calls, begin = 0, time.perf_counter()
    of_process, of_thread = time.process_time(), time.thread_time()
    while time.perf_counter() - begin < BURST_SECONDS:
        right_hand_side()
        num_calls += 1
    return {
        "right_hand_side": (time.perf_counter() - begin) / num_calls,
        "cpu_over_main_thread": (time.process_time() - of_process)
        / (time.thread_time() - of_thread),
    }


if __name__ == "__main__":
    print(json.dumps(child(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
