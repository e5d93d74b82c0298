"""Fields that several files share."""

import numpy as np
import pytest

from turbulence_data.config import FlowConfig
from turbulence_data.filtering import filtered_dns
from turbulence_data.solver._evolve import evolve
from turbulence_data.solver._grid import Grid
from turbulence_data.solver._initial_conditions import RandomVorticity


@pytest.fixture(scope="session")
def turbulence():
    """A filtered, developed flow on 64 points: vorticity, streamfunction, true Pi."""
    flow = FlowConfig(128, reynolds=1000.0, forcing_wavenumber=4)
    start = RandomVorticity(0.5, 6.0)(Grid(flow.shape), np.random.default_rng(0))
    fields = filtered_dns(evolve(start, flow, 2.0), 64)
    return fields.vorticity, fields.streamfunction, fields.sgs_forcing
