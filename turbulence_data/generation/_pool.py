"""Execution of trajectories on any `concurrent.futures.Executor`; process pools."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from typing import Any

from turbulence_data._checks import check_whole
from turbulence_data.generation._ensemble import EnsembleConfig
from turbulence_data.generation._trajectory import Trajectory, sample_trajectory

_logger = logging.getLogger(__name__)

Work = Callable[[EnsembleConfig, int], Trajectory]
"""`(ensemble, trajectory_id) -> trajectory`."""

# Give up after this many worker deaths without a finished trajectory in between.
_MAX_DEATHS_IN_A_ROW = 3
# Trajectories in flight on an executor whose number of workers is unknown.
_MAX_IN_FLIGHT = 256
# Two thread pools on one core would block each other by busy waiting.
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)


class TrajectoryFailedError(RuntimeError):
    """Failure of a trajectory; the message names the trajectory and the cause."""


class InProcessExecutor(Executor):
    """Executor that runs every call immediately in this process, on one core.

    Example:
        >>> InProcessExecutor().submit(pow, 2, 5).result()
        32
    """

    def submit(
        self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> Future[Any]:
        """Run `fn` and return a completed future."""
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def available_cores() -> int:
    """Return how many cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def process_pool(num_processes: int | None = None) -> Executor:
    """Return a pool of single-threaded processes (loky), by default one per core.

    Workers do not import the caller's main module, so that scripts without an
    `if __name__ == "__main__"` guard, notebooks and `python -c` all work. They end with
    their parent process, even if that is killed. An error, or Ctrl-C, within `with`
    ends them at once, whatever they are doing.

    Raises:
        ValueError: for a number of processes below 1.

    Example:
        >>> with process_pool(1) as pool:
        ...     pool.submit(pow, 2, 5).result()
        32
    """
    if num_processes is None:
        num_processes = available_cores()
    check_whole("num_processes", num_processes, at_least=1)
    return _ProcessPool(num_processes)


class _ProcessPool(Executor):
    """Processes of loky that can be ended while they work, and started again."""

    def __init__(self, num_processes: int) -> None:
        self._num_processes, self._is_shut_down = num_processes, False
        self._unfinished: set[Future[Any]] = set()
        self._lock = threading.Lock()
        self._workers: Any = self._started()

    def _started(self) -> Any:
        from loky import ProcessPoolExecutor

        return ProcessPoolExecutor(
            self._num_processes,
            initializer=_prepare_worker,
            initargs=(os.getpid(),),
            # Libraries read these when they are loaded, before an initializer runs.
            env=dict.fromkeys(_THREAD_VARIABLES, "1"),
        )

    def submit(
        self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> Future[Any]:
        """Run `fn` in a process."""
        with self._lock:
            if self._workers is None and not self._is_shut_down:
                self._workers = self._started()
            if self._workers is None:
                raise RuntimeError("this pool has been shut down; make a new one.")
            future: Future[Any] = self._workers.submit(fn, *args, **kwargs)
            self._unfinished.add(future)
        future.add_done_callback(self._unfinished.discard)
        return future

    def abandon(self, futures: set[Future[Any]]) -> None:
        """End processes that do nothing but these calls; the next call starts some."""
        with self._lock:
            workers = None
            if self._unfinished <= futures:
                workers, self._workers = self._workers, None
        _end(workers, wait=True, kill_workers=True)

    def shutdown(
        self,
        wait: bool = True,
        *,
        cancel_futures: bool = False,
        kill_workers: bool = False,
    ) -> None:
        """End the processes, if asked to in the middle of their work."""
        if cancel_futures and not kill_workers:
            for future in [*self._unfinished]:
                future.cancel()
        with self._lock:
            self._is_shut_down = True
            workers, self._workers = self._workers, None
        _end(workers, wait, kill_workers)

    def __exit__(self, kind: Any, *_: object) -> None:
        self.shutdown(kill_workers=kind is not None)


def _end(workers: Any, wait: bool, kill_workers: bool) -> None:
    """End processes, without a lock: what is done with results may submit more."""
    if workers is not None:
        workers.shutdown(wait=wait, kill_workers=kill_workers)


def check_executor(executor: Any) -> None:
    """Raise TypeError unless `executor` can run trajectories, or is None."""
    if executor is not None and not callable(getattr(executor, "submit", None)):
        raise TypeError(
            "executor must be a concurrent.futures.Executor, such as process_pool(4) "
            f"of turbulence_data.generation, or None; received {executor!r}."
        )


def run_trajectories(
    ensemble: EnsembleConfig,
    trajectory_ids: Sequence[int],
    executor: Executor | None = None,
    work: Work = sample_trajectory,
) -> Generator[Trajectory, None, None]:
    """Yield the trajectories, each as soon as it is finished, in any order.

    A limited number is in flight at a time. The content of a trajectory depends only on
    its number; sort by `trajectory_id` if the order matters.

    Args:
        ensemble: ensemble to simulate.
        trajectory_ids: numbers of the trajectories.
        executor: where to run them; it is not shut down. A `process_pool` ends the
            processes of trajectories that are abandoned, if it does nothing else. None
            starts one process per core, replaces processes that die, and ends them;
            with only one core or one trajectory it runs in this process.
        work: makes one trajectory.

    Raises:
        TrajectoryFailedError: as soon as a trajectory raises an error, or when workers
            keep dying; trajectories in flight are abandoned.
    """
    check_executor(executor)
    if executor is None:
        num_processes = min(available_cores(), len(trajectory_ids))
        if num_processes > 1 and not multiprocessing.current_process().daemon:
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
            f"a worker of {executor!r} died, and that executor is broken: {error} "
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
        left = {future for future in running if not future.done()}
        if left and isinstance(executor, _ProcessPool):
            # A trajectory may run for an hour, and its result is not needed. Not after
            # they are cancelled: loky cannot end workers with such calls in its queue.
            executor.abandon(left)
        for future in left:
            future.cancel()


def _result(future: Future[Trajectory], trajectory_id: int) -> Trajectory:
    try:
        return future.result()
    except BrokenExecutor:
        raise  # the worker failed, not the trajectory
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
        pool: Any = process_pool(num_processes)
        try:
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
                    f"worker processes died {deaths} times in a row with unfinished "
                    f"trajectories {list(missing)[: 2 * num_processes]}. Most often "
                    f"memory ran out: use fewer than {num_processes} processes "
                    "(executor=process_pool(1))."
                ) from error
            _logger.warning("a worker process died; its trajectories start again")
        finally:
            pool.shutdown(kill_workers=bool(missing))


def _prepare_worker(parent: int) -> None:
    # Ctrl-C reaches the whole process group; the parent ends its workers itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_after, args=(parent,), daemon=True).start()


def _exit_after(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
