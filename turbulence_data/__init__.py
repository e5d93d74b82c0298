"""Makes 2-D turbulence subgrid-forcing data and serves it as a TFDS dataset.

Importing the package registers the dataset with TFDS:

    import tensorflow_datasets as tfds
    import turbulence_data

    train = tfds.load("turbulence_data/mini_forced_re2e3_kf4", split="train")
"""

from turbulence_data.config import FlowConfig
from turbulence_data.diagnostics import energy_spectrum
from turbulence_data.ensemble_config import EnsembleConfig
from turbulence_data.execution import (
    InProcessExecutor,
    TrajectoryFailedError,
    process_pool,
)
from turbulence_data.filtered_forcing import FilteredForcing, les_forcing
from turbulence_data.filtering import FilteredFields, filtered_dns, les_flow
from turbulence_data.flows import NAMED_FLOWS, named_flow
from turbulence_data.input_pipeline import Normalization, batches, few_shot, to_arrays
from turbulence_data.jax_engine.engine import JaxEngine
from turbulence_data.sampling import Trajectory, sample_trajectory
from turbulence_data.solver._engine import State
from turbulence_data.solver._evolve import evolve
from turbulence_data.solver._forcing import RingForcing, SteadyForcing
from turbulence_data.solver._grid import Grid
from turbulence_data.solver._initial_conditions import RandomVorticity
from turbulence_data.solver._schemes import etdrk4, integrating_factor_rk4
from turbulence_data.solver._simulation import (
    Numerics,
    Simulation,
    SimulationDivergedError,
    UnstableTimeStepError,
)
from turbulence_data.solver.fftw._engine import FftwEngine
from turbulence_data.statistics import content_hash, package_version
from turbulence_data.stresses import SubgridStresses, subgrid_stresses
from turbulence_data.turbulence_data_dataset_builder import Builder, TurbulenceConfig
from turbulence_data.two_layer import TwoLayerConfig

__version__ = package_version()

__all__ = [
    "NAMED_FLOWS",
    "Builder",
    "EnsembleConfig",
    "FftwEngine",
    "FilteredFields",
    "FilteredForcing",
    "FlowConfig",
    "Grid",
    "InProcessExecutor",
    "JaxEngine",
    "Normalization",
    "Numerics",
    "RandomVorticity",
    "RingForcing",
    "Simulation",
    "SimulationDivergedError",
    "State",
    "SteadyForcing",
    "SubgridStresses",
    "Trajectory",
    "TrajectoryFailedError",
    "TurbulenceConfig",
    "TwoLayerConfig",
    "UnstableTimeStepError",
    "__version__",
    "batches",
    "content_hash",
    "energy_spectrum",
    "etdrk4",
    "evolve",
    "few_shot",
    "filtered_dns",
    "integrating_factor_rk4",
    "les_flow",
    "les_forcing",
    "named_flow",
    "process_pool",
    "sample_trajectory",
    "subgrid_stresses",
    "to_arrays",
]
