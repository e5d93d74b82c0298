"""The solver: grids, forcings, equations, time stepping schemes, simulations.

Names are imported at first use, so that each part needs only its own libraries.
"""

from turbulence_data._lazy import lazy

_HOME = {
    "Drive": "_forcing",
    "Equation": "_equation",
    "FftwEngine": "fftw._engine",
    "Grid": "_grid",
    "Numerics": "_simulation",
    "RandomVorticity": "_initial_conditions",
    "RingForcing": "_forcing",
    "Simulation": "_simulation",
    "SimulationDivergedError": "_simulation",
    "State": "_equation",
    "SteadyForcing": "_forcing",
    "UnstableTimeStepError": "_simulation",
    "VorticityEquation": "_vorticity",
    "advance_to": "_evolve",
    "etdrk4": "_schemes",
    "evolve": "_evolve",
    "integrating_factor_rk4": "_schemes",
    "padded_modes": "_modes",
    "resample": "_grid",
    "streamfunction_of": "_grid",
    "trajectory": "_evolve",
    "truncated_modes": "_modes",
}
__all__ = sorted(_HOME)
__getattr__, __dir__ = lazy(__name__, _HOME)
