"""The engine that computes with JAX: on a GPU, a TPU or CPU cores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from turbulence_data._checks import check_positive, check_whole
from turbulence_data.config import FlowConfig
from turbulence_data.solver._engine import Integrator
from turbulence_data.solver._equation import Closure, Equation
from turbulence_data.solver._forcing import ForcingLike
from turbulence_data.solver._schemes import Scheme
from turbulence_data.solver._simulation import DEFAULT_NUMERICS, Numerics, equation_of
from turbulence_data.solver._vorticity import VorticityEquation
from turbulence_data.solver.jax._gathering import Gathering
from turbulence_data.solver.jax._precision import import_jax


@dataclass(frozen=True)
class JaxEngine:
    """The same flows, schemes, forcings and states on JAX; needs the extra `[jax]`.

    Coefficients stay on the device from step to step, and so do filtering and
    sgs_forcing: an LES field is what leaves it. Float64 is computed in float64 whatever
    JAX is set to, and nothing of JAX is set. It agrees with `FftwEngine` to round-off,
    and its bits are those of one device and version of JAX.

    A closure of array operations, `(vorticity, streamfunction) -> sgs_forcing`, is
    compiled into the step; one that JAX cannot trace is called back on the host.

    Fields along leading axes are advanced side by side. So are the trajectories of a
    dataset, by threads whose steps are joined:

        EnsembleConfig(..., dtype=np.float32, engine=JaxEngine(batch_size=8))
        tfds.builder("turbulence_data", config=..., executor=ThreadPoolExecutor(8))

    Attributes:
        batch_size: runs of as many threads are joined to one; 1 for each by itself.
        transforms: how advection is transformed, `(points, tables, vorticity_hat) ->
            -J_hat`; None for `packed_transforms`.

    Raises:
        ValueError: for a batch of fewer than one.

    Example:
        >>> import numpy as np
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

    def __post_init__(self) -> None:
        check_whole("batch_size", self.batch_size, at_least=1)

    def integrator(self, equation: Equation, scheme: Scheme) -> Integrator:
        """Return the vorticity equation, ready to be advanced on JAX.

        Raises:
            ImportError: where JAX is not installed.
            ValueError: for a scheme or an equation that there is not in JAX.
        """
        import_jax()
        from turbulence_data.solver.jax._advection import packed_transforms
        from turbulence_data.solver.jax._integrator import JaxIntegrator

        return JaxIntegrator(
            _checked(equation),
            scheme,
            self.transforms or packed_transforms,
            _gathering(self.batch_size) if self.batch_size > 1 else None,
            self.batch_size,
        )

    def propagator(
        self,
        flow: FlowConfig,
        time_step: float,
        num_steps: int,
        closure: Closure | None = None,
        forcing: ForcingLike | None = None,
        numerics: Numerics = DEFAULT_NUMERICS,
    ) -> Callable[[Any], Any]:
        """Return a pure JAX function `vorticity -> vorticity`, some steps later.

        To be differentiated, mapped and compiled: reverse mode keeps one state a step
        and computes the step again. It checks neither field nor time step; `evolve`
        does.

        Args:
            flow: resolution and physical parameters.
            time_step: length of a step.
            num_steps: how many.
            closure: as of `evolve`.
            forcing: as of `evolve`; the same kicks whatever the field.
            numerics: scheme and precision; the engine is this one.

        Raises:
            ImportError: where JAX is not installed.
            ValueError: for a step or number out of range; on a call, where JAX would
                compute in float32 for float64.

        Example:
            >>> import jax
            >>> import numpy as np
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
        from turbulence_data.solver.jax._advection import packed_transforms
        from turbulence_data.solver.jax._integrator import propagator

        return propagator(
            _checked(equation_of(flow, closure, forcing, numerics.dtype)),
            numerics.scheme,
            self.transforms or packed_transforms,
            float(time_step),
            int(num_steps),
        )


def _checked(equation: Equation) -> VorticityEquation:
    if not isinstance(equation, VorticityEquation):
        raise ValueError(
            "JaxEngine solves the vorticity equation alone; received "
            f"{type(equation).__name__}. Run it on FftwEngine()."
        )
    return equation


@cache
def _gathering(size: int) -> Gathering:
    """One for all engines of a size in this process, however they were pickled."""
    return Gathering(size)
