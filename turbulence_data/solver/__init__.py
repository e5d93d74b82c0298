"""The solver: grids, forcings, equations, time stepping schemes, simulations.

Names are imported at first use, so that a part needs only what it uses.
"""

from importlib import import_module
from typing import Any

_HOME = {
    "Advection": "fftw._advection",
    "Closure": "_equation",
    "Drive": "_forcing",
    "Engine": "_engine",
    "Equation": "_equation",
    "FftwEngine": "fftw._engine",
    "FieldHat": "_grid",
    "Grid": "_grid",
    "Modes": "_modes",
    "Numerics": "_simulation",
    "RandomVorticity": "_initial_conditions",
    "RightHandSide": "_equation",
    "RingForcing": "_forcing",
    "Simulation": "_simulation",
    "SimulationDivergedError": "_simulation",
    "State": "_engine",
    "SteadyForcing": "_forcing",
    "UnstableTimeStepError": "_simulation",
    "VorticityEquation": "_vorticity",
    "advance_to": "_evolve",
    "damping_rate": "_vorticity",
    "etdrk4": "_schemes",
    "evolve": "_evolve",
    "integrating_factor_rk4": "_schemes",
    "jacobian_hat": "_fields",
    "padded_modes": "_modes",
    "resample": "_grid",
    "resize": "_grid",
    "streamfunction_hat": "_fields",
    "streamfunction_of": "_fields",
    "to_physical": "_grid",
    "to_spectral": "_grid",
    "trajectory": "_evolve",
    "truncated_modes": "_modes",
    "velocity_hat": "_fields",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
