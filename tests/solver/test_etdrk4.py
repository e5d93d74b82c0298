"""The exponential scheme: its order, what it keeps exactly, where both agree."""

import numpy as np
import pytest

from turbulence_data.config import FlowConfig
from turbulence_data.solver._grid import Grid
from turbulence_data.solver._initial_conditions import RandomVorticity
from turbulence_data.solver._schemes import etdrk4, integrating_factor_rk4
from turbulence_data.solver._simulation import Numerics, Simulation

ORDER_TOLERANCE = 0.25
ROUND_OFF = 1e-12
STEPS = np.array([1 / 20, 1 / 30, 1 / 40, 1 / 60, 1 / 80])
FLOWS = {
    "viscous": {"reynolds": 100.0, "linear_drag": 0.0, "forcing_wavenumber": None},
    "forced": {"reynolds": 100.0, "linear_drag": 0.1, "forcing_wavenumber": 2},
    "beta": {"reynolds": 200.0, "forcing_wavenumber": 2, "beta": 5.0},
}


def start_field(num_points=32):
    draw = RandomVorticity(energy=0.5, peak_wavenumber=3.0)
    return draw(Grid((num_points, num_points)), np.random.default_rng(0))


def run(flow, start, duration, time_step, scheme):
    simulation = Simulation(flow, numerics=Numerics(scheme=scheme))
    end = simulation.advance(simulation.start(start), duration, time_step)
    return simulation.vorticity(end)


def relative_error(field, reference):
    return np.linalg.norm(field - reference) / np.linalg.norm(reference)


@pytest.mark.parametrize("name", FLOWS)
def test_it_converges_at_fourth_order_to_the_same_solution(name):
    flow, start = FlowConfig(32, **FLOWS[name]), start_field()
    reference = run(flow, start, 1.0, 1 / 640, integrating_factor_rk4)
    errors = [
        relative_error(run(flow, start, 1.0, h, etdrk4), reference) for h in STEPS
    ]
    order = np.polyfit(np.log(STEPS), np.log(errors), 1)[0]
    assert abs(order - 4.0) < ORDER_TOLERANCE


def test_a_stiff_balance_with_the_forcing_is_kept_exactly():
    """At Reynolds 0.01 the damping rate times the step is 160: no matter."""
    flow = FlowConfig(32, reynolds=0.01, linear_drag=0.0, forcing_wavenumber=4)
    grid = Grid((32, 32))
    steady = -4.0 * (np.cos(4 * grid.x) + np.cos(4 * grid.y)) / (16 / 0.01)
    assert relative_error(run(flow, steady, 1.0, 0.1, etdrk4), steady) < ROUND_OFF


@pytest.mark.parametrize("reynolds", [np.inf, 1e9, 10.0])
def test_weights_keep_their_digits_where_the_linear_terms_vanish(reynolds):
    """With L = 0 the scheme is classical RK4: both schemes are then the same."""
    flow = FlowConfig(32, reynolds, linear_drag=0.0, forcing_wavenumber=None)
    start = start_field()
    ends = [run(flow, start, 0.02, 0.01, s) for s in (etdrk4, integrating_factor_rk4)]
    tolerance = 1e-7 if reynolds == 10.0 else ROUND_OFF
    assert relative_error(*ends) < tolerance


def test_a_step_leaves_nothing_behind_in_the_equation():
    flow, start = FlowConfig(32, **FLOWS["forced"]), start_field()
    simulation = Simulation(flow, numerics=Numerics(scheme=etdrk4))
    state = simulation.start(start)
    first = simulation.advance(state, 0.1, 0.01)
    again = simulation.advance(state, 0.1, 0.01)
    np.testing.assert_array_equal(first.vorticity_hat, again.vorticity_hat)
