"""Runs that choose their own time steps, where the flow makes that hard."""

import numpy as np
import pytest

from turbulence_data.config import FlowConfig
from turbulence_data.diagnostics import energy
from turbulence_data.solver._evolve import advance_to, evolve
from turbulence_data.solver._grid import Grid
from turbulence_data.solver._initial_conditions import RandomVorticity
from turbulence_data.solver._simulation import Simulation, SimulationDivergedError

FLOW = FlowConfig(32, reynolds=100.0, forcing_wavenumber=None)


def start_field():
    draw = RandomVorticity(energy=0.5, peak_wavenumber=4.0)
    return draw(Grid((32, 32)), np.random.default_rng(0))


@pytest.mark.slow
def test_chosen_steps_follow_a_flow_that_gains_speed_quickly():
    """A run with small given steps succeeds, so the run with chosen steps must too."""

    def feeding(vorticity, streamfunction):
        return 3.0 * vorticity

    flow = FlowConfig(32, reynolds=1000.0, forcing_wavenumber=None)
    given = evolve(start_field(), flow, 1.0, 5e-4, feeding)
    chosen = evolve(start_field(), flow, 1.0, None, feeding)
    # The flow is chaotic and large by then: compare how much energy it has gained.
    assert energy(given) > 50 * energy(start_field())
    assert np.log(energy(chosen) / energy(given)) == pytest.approx(0.0, abs=0.1)


@pytest.mark.parametrize("size", [1e12, 1e20])
def test_an_absurdly_fast_field_is_an_error_not_an_endless_run(size):
    with pytest.raises(SimulationDivergedError, match=r"units"):
        evolve(size * start_field(), FLOW, 1.0)


def test_a_given_end_is_reached_exactly():
    simulation = Simulation(FLOW)
    state = simulation.start(start_field(), time=1.2)
    for end in (1.2 + 2.7, 3.9, 4.8):
        assert advance_to(simulation, state, max(end, 1.2), 0.01).time == end
