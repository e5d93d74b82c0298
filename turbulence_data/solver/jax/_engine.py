"""The engine that computes with JAX: on a GPU, a TPU or CPU cores."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any, ClassVar

import numpy as np

from turbulence_data._checks import check_positive, check_whole
from turbulence_data.config import FlowConfig
from turbulence_data.solver._equation import Closure, Equation, Integrator
from turbulence_data.solver._forcing import ForcingLike
from turbulence_data.solver._schemes import Scheme
from turbulence_data.solver._simulation import DEFAULT_NUMERICS, Numerics, equation_of
from turbulence_data.solver._vorticity import VorticityEquation


@dataclass(frozen=True)
class JaxEngine:
    """The same flows, schemes, forcings and states on JAX; needs the extra `[jax]`.

    Coefficients stay on the device, where filtering and sgs_forcing are also computed;
    only LES fields leave it. Float64 is computed in float64 regardless of the JAX
    settings, which are not changed. Results agree with `FftwEngine` to round-off, and
    are reproducible bit for bit on one device and version of JAX.

    A closure of array operations, `(vorticity, streamfunction) -> sgs_forcing`, is
    compiled into the step; one that JAX cannot trace is called back on the host. The
    parameters of a closure, or of a forcing, are read when a run (`evolve`, a
    trajectory, a `Simulation` with its first step) begins, which compiles the step:
    about a second. Random numbers that compiled code draws with NumPy are then
    constants: use a `RingForcing`. Joined runs share this code as long as one of them
    is kept.

    Fields along leading axes are advanced together. So are the trajectories of a
    dataset, by threads whose steps are joined:

        EnsembleConfig(..., dtype=np.float32, engine=JaxEngine(batch_size=8))
        tfds.builder("turbulence_data", config=..., executor=ThreadPoolExecutor(8))

    Attributes:
        batch_size: number of threads whose runs are joined; 1 for no joining.
        transforms: how advection is transformed, `(points, tables, vorticity_hat) ->
            -J_hat`; None for `packed_transforms`.

    Raises:
        ValueError: for a batch of fewer than one.

    Example:
        >>> from turbulence_data import FlowConfig, Numerics, evolve
        >>> flow = FlowConfig(32, reynolds=10, linear_drag=0, forcing_wavenumber=None)
        >>> x = np.arange(32) * 2 * np.pi / 32
        >>> start = np.cos(x)[:, None] + np.cos(x)[None, :]
        >>> end = evolve(start, flow, 1.0, numerics=Numerics(engine=JaxEngine()))
        >>> bool(np.allclose(end, start * np.exp(-0.1)))
        True
    """

    batch_size: int = 1
    transforms: Callable[..., Any] | None = None

    flows: ClassVar[tuple[type, ...]] = (FlowConfig,)  # that it solves

    def __post_init__(self) -> None:
        check_whole("batch_size", self.batch_size, at_least=1)

    def integrator(self, equation: Equation, scheme: Scheme) -> Integrator:
        """Return the vorticity equation, ready to be advanced on JAX.

        Raises:
            ImportError: if JAX is not installed.
            ValueError: for a scheme or an equation that does not exist in JAX.
        """
        import_jax()
        from turbulence_data.solver.jax._integrator import JaxIntegrator

        gathering = _gathering(self.batch_size) if self.batch_size > 1 else None
        return JaxIntegrator(_checked(equation), scheme, self.transforms, gathering)

    def propagator(
        self,
        flow: FlowConfig,
        time_step: float,
        num_steps: int,
        closure: Closure | None = None,
        forcing: ForcingLike | None = None,
        numerics: Numerics = DEFAULT_NUMERICS,
    ) -> Callable[[Any], Any]:
        """Return a pure JAX function `vorticity -> vorticity` over some steps.

        It can be differentiated, mapped and compiled: reverse mode keeps one state per
        step and recomputes the step. Unlike `evolve`, it does not check its arguments.

        Args:
            flow: resolution and physical parameters.
            time_step: length of a step.
            num_steps: number of steps.
            closure: as in `evolve`.
            forcing: as in `evolve`; random kicks are the same for every field.
            numerics: scheme and precision; the engine is this one.

        Raises:
            ImportError: if JAX is not installed.
            ValueError: for a step or number out of range; on a call, if JAX would
                compute in float32 instead of float64.

        Example:
            >>> import jax
            >>> flow = FlowConfig(16, reynolds=100)
            >>> numerics = Numerics(dtype=np.float32)
            >>> advance = JaxEngine().propagator(flow, 0.01, 5, numerics=numerics)
            >>> enstrophy = lambda vorticity: 0.5 * (advance(vorticity) ** 2).mean()
            >>> jax.grad(enstrophy)(np.zeros((16, 16), np.float32)).shape
            (16, 16)
        """
        check_positive("time_step", time_step)
        check_whole("num_steps", num_steps, at_least=0)
        import_jax()
        from turbulence_data.solver.jax._integrator import propagator

        equation = _checked(equation_of(flow, closure, forcing, numerics.dtype))
        return propagator(
            equation, numerics.scheme, self.transforms, float(time_step), int(num_steps)
        )


def _checked(equation: Equation) -> VorticityEquation:
    if not isinstance(equation, VorticityEquation):
        raise ValueError(
            "JaxEngine solves the vorticity equation alone; received "
            f"{type(equation).__name__}. Run it on FftwEngine()."
        )
    return equation


_PATIENCE = 2.0


class Gathering:
    """Joins calls of several threads that request the same work on their own items.

    A group of calls runs when it is full, or when all active members are waiting in
    some group. A member that has not called for `patience` seconds counts as inactive
    until it calls again.
    """

    def __init__(self, size: int, patience: float = _PATIENCE) -> None:
        self.size, self._patience = size, patience
        self._changed = threading.Condition()
        self._groups: dict[Hashable, _Group] = {}
        self._at_work: set[int] = set()
        self._running: set[int] = set()

    def join(self, member: int) -> None:
        """Add an active member."""
        with self._changed:
            self._at_work.add(member)

    def leave(self, member: int) -> None:
        """Remove a member, so that others no longer wait for it."""
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

        Calls with equal keys may be joined; `work` is that of the first caller.
        """
        with self._changed:
            self._at_work.add(member)
            group = self._groups.setdefault(key, _Group())
            place = len(group.items)
            group.members.append(member)
            group.items.append(item)
            if len(group.items) == self.size:
                del self._groups[key]  # the next call opens a new group
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


# Shared by all engines of one size in a process.
_gathering = cache(Gathering)


def import_jax() -> ModuleType:
    """Return `jax`."""
    try:
        import jax
    except ImportError as error:
        raise ImportError(
            "JaxEngine needs JAX, which is not installed: "
            'pip install "keras-spectral-tl[jax]", or jax[cuda12] for an NVIDIA GPU.'
        ) from error
    return jax


@contextmanager
def precision(dtype: np.dtype[Any]) -> Iterator[None]:
    """Context in which JAX computes in a dtype, in this thread.

    By default JAX converts float64 to float32.
    """
    jax = import_jax()
    # Before JAX 0.8 it was in jax.experimental.
    home = jax if hasattr(jax, "enable_x64") else import_module("jax.experimental")
    with home.enable_x64(bool(dtype == np.float64)):
        yield


def check_precision(dtype: np.dtype[Any]) -> None:
    """Raise ValueError if JAX would silently compute in float32 instead of float64."""
    jax = import_jax()
    if dtype == np.float64 and not jax.config.jax_enable_x64:
        raise ValueError(
            "JAX computes in float32 here, but float64 was asked for. Call within "
            '"with jax.enable_x64(True):", set the environment variable '
            "JAX_ENABLE_X64=1, or choose dtype=np.float32."
        )
