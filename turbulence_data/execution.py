"""Runs the trajectories of an ensemble through any `concurrent.futures.Executor`."""

from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    wait,
)
from contextlib import contextmanager
from multiprocessing.context import SpawnContext, SpawnProcess
from multiprocessing.process import BaseProcess
from types import ModuleType
from typing import Any

from turbulence_data._checks import check_whole
from turbulence_data.ensemble_config import EnsembleConfig
from turbulence_data.sampling import Trajectory, sample_trajectory

_logger = logging.getLogger(__name__)

Work = Callable[[EnsembleConfig, int], Trajectory]
"""`(ensemble, trajectory_id) -> trajectory`; must be importable by the workers."""

# Deaths of workers without one finished trajectory between them, then we give up.
_MAX_DEATHS_IN_A_ROW = 3
# Trajectories handed to an executor whose number of workers we cannot know.
_MAX_IN_FLIGHT = 256
# Two pools of threads on one core wait for each other, spinning.
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)


class TrajectoryFailedError(RuntimeError):
    """A trajectory could not be made; the message names it and says why."""


class InProcessExecutor(Executor):
    """Runs every call at once, in this process: one core, nothing to start.

    Example:
        >>> InProcessExecutor().submit(pow, 2, 5).result()
        32
    """

    def submit(
        self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> Future[Any]:
        """Runs `fn` and returns a future that is done."""
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def available_cores() -> int:
    """Returns how many cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def process_pool(num_processes: int | None = None) -> ProcessPoolExecutor:
    """Returns a pool of fresh single-threaded processes, one a core by default.

    Workers are spawned, never forked (forking a process with TensorFlow's threads
    deadlocks); they do not import the caller's main module, so that scripts without an
    `if __name__ == "__main__"` guard, notebooks and `python -c` all work; and they end
    when their parent does, even if that is killed.

    Raises:
        ValueError: for a number of processes below 1.
    """
    if num_processes is None:
        num_processes = available_cores()
    check_whole("num_processes", num_processes, at_least=1)
    return ProcessPoolExecutor(
        num_processes, mp_context=_WorkerContext(), initializer=_prepare_worker
    )


def run_trajectories(
    ensemble: EnsembleConfig,
    trajectory_ids: Sequence[int],
    executor: Executor | None = None,
    work: Work = sample_trajectory,
) -> Iterator[Trajectory]:
    """Yields the trajectories, each as soon as it is finished, in any order.

    A limited number is in flight at a time. The content of a trajectory depends on its
    number alone, so whoever wants an order sorts by `trajectory_id`.

    Args:
        ensemble: what to simulate.
        trajectory_ids: which trajectories.
        executor: where to run them; it is not shut down. None starts a process a core,
            replaces them when they die, and ends them; or works in this process where
            only one core, or only one trajectory, is there.
        work: makes one trajectory.

    Raises:
        TrajectoryFailedError: when a trajectory raises, at once, or when workers keep
            dying; trajectories in flight are given up.
    """
    if executor is None:
        num_processes = min(available_cores(), len(trajectory_ids))
        if num_processes > 1 and _can_use_processes((work, ensemble)):
            yield from _in_own_pool(ensemble, trajectory_ids, work, num_processes)
            return
        executor = InProcessExecutor()
    max_in_flight = 1 if isinstance(executor, InProcessExecutor) else _MAX_IN_FLIGHT
    try:
        yield from _as_completed(
            executor, ensemble, trajectory_ids, work, max_in_flight
        )
    except BrokenExecutor as error:
        raise TrajectoryFailedError(
            f"a worker of {executor!r} died, and that executor cannot go on: {error} "
            "Run again with a new one."
        ) from error


def _as_completed(
    executor: Executor,
    ensemble: EnsembleConfig,
    trajectory_ids: Sequence[int],
    work: Work,
    max_in_flight: int,
) -> Iterator[Trajectory]:
    waiting = deque(trajectory_ids)
    running: dict[Future[Trajectory], int] = {}
    try:
        while waiting or running:
            while waiting and len(running) < max_in_flight:
                future = executor.submit(work, ensemble, waiting[0])
                running[future] = waiting.popleft()
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                yield _result(future, running.pop(future))
    finally:
        for future in running:
            future.cancel()


def _result(future: Future[Trajectory], trajectory_id: int) -> Trajectory:
    try:
        return future.result()
    except BrokenExecutor:
        raise  # the worker's fault, not the trajectory's
    except Exception as error:
        raise TrajectoryFailedError(
            f"trajectory {trajectory_id} failed with {type(error).__name__}: {error}"
        ) from error


def _in_own_pool(
    ensemble: EnsembleConfig,
    trajectory_ids: Sequence[int],
    work: Work,
    num_processes: int,
) -> Iterator[Trajectory]:
    missing = dict.fromkeys(trajectory_ids)
    deaths = 0
    while missing:
        try:
            with _own_pool(num_processes) as pool:
                for trajectory in _as_completed(
                    pool, ensemble, list(missing), work, 2 * num_processes
                ):
                    del missing[trajectory.trajectory_id]
                    deaths = 0
                    yield trajectory
        except BrokenExecutor as error:
            deaths += 1
            if deaths == _MAX_DEATHS_IN_A_ROW:
                raise TrajectoryFailedError(
                    f"worker processes died {deaths} times in a row with trajectories "
                    f"{list(missing)[: 2 * num_processes]} in hand. Most often memory "
                    f"ran out: use fewer than {num_processes} processes "
                    "(executor=process_pool(1))."
                ) from error
            _logger.warning("a worker process died; its trajectories start again")


@contextmanager
def _own_pool(num_processes: int) -> Iterator[Executor]:
    pool = process_pool(num_processes)
    try:
        yield pool
    except BaseException:
        # A trajectory may run for an hour; nobody wants its result any more.
        for child in multiprocessing.active_children():
            if isinstance(child, _WorkerProcess):
                child.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _can_use_processes(task: object) -> bool:
    if multiprocessing.current_process().daemon:
        return False  # such a process may not have children
    if b"__main__" not in pickle.dumps(task):
        return True
    _logger.warning(
        "working on one core: the config uses a class or function of the main script "
        "or notebook, which other processes cannot import. Move it to a module."
    )
    return False


class _WorkerProcess(SpawnProcess):
    def start(self) -> None:
        with _without_main_module(), _one_thread_a_library():
            super().start()


class _WorkerContext(SpawnContext):
    Process = _WorkerProcess


@contextmanager
def _without_main_module() -> Iterator[None]:
    # A spawned process runs the main module again, to find what was pickled by
    # reference to it. Nothing here is, and an unguarded script would start over.
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


@contextmanager
def _one_thread_a_library() -> Iterator[None]:
    # Libraries read these when they are loaded, before any initialiser could run.
    before = {name: os.environ.get(name) for name in _THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _prepare_worker() -> None:
    # Ctrl-C reaches the whole process group; the parent ends its workers itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_exit_after, args=(parent,), daemon=True).start()


def _exit_after(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)
