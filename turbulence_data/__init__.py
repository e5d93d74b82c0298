"""2-D turbulence simulated on demand, with its subgrid forcing, as a TFDS dataset.

Importing the package registers the dataset with TFDS:

    import tensorflow_datasets as tfds
    import turbulence_data

    train = tfds.load("turbulence_data/mini_forced_re2e3_kf4", split="train")
"""

import importlib
from typing import Any

from turbulence_data import turbulence_data_dataset_builder  # noqa: F401
from turbulence_data._lazy import lazy

_HOME = {
    "NAMED_FLOWS": "flows",
    "Builder": "turbulence_data_dataset_builder",
    "EnsembleConfig": "generation._ensemble",
    "FftwEngine": "solver.fftw._engine",
    "FlowConfig": "config",
    "Grid": "solver._grid",
    "JaxEngine": "solver.jax._engine",
    "Normalization": "input_pipeline",
    "Numerics": "solver._simulation",
    "RandomPotentialVorticity": "solver._initial_conditions",
    "RandomVorticity": "solver._initial_conditions",
    "RingForcing": "solver._forcing",
    "Simulation": "solver._simulation",
    "SimulationDivergedError": "solver._simulation",
    "State": "solver._equation",
    "SteadyForcing": "solver._forcing",
    "TrajectoryFailedError": "generation._pool",
    "TurbulenceConfig": "flows",
    "TwoLayerConfig": "config",
    "TwoLayerNormalization": "input_pipeline",
    "UnstableTimeStepError": "solver._simulation",
    "__version__": "generation._statistics",
    "batches": "input_pipeline",
    "energy_spectrum": "diagnostics",
    "etdrk4": "solver._schemes",
    "evolve": "solver._evolve",
    "few_shot": "input_pipeline",
    "filtered_dns": "filtering",
    "filtered_layers": "coarsening",
    "integrating_factor_rk4": "solver._schemes",
    "les_flow": "filtering",
    "les_forcing": "filtering",
    "named_flow": "flows",
    "subgrid_stresses": "filtering",
    "to_arrays": "input_pipeline",
}
_MODULES = (
    *("a_posteriori", "closures", "diagnostics", "generation", "interchange"),
    *("solver", "symmetries"),
)
__all__ = sorted(_HOME)
_named, __dir__ = lazy(__name__, _HOME)


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    return _named(name)
