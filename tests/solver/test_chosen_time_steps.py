"""Runs that choose their own time steps, where the flow makes that hard."""

from dataclasses import replace

import numpy as np
import pytest

from turbulence_data.config import FlowConfig
from turbulence_data.diagnostics import energy
from turbulence_data.solver._evolve import advance_to, evolve
from turbulence_data.solver._forcing import RingForcing, SteadyForcing
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


# Units


@pytest.mark.parametrize("time", [1e-9, 1e-12])
def test_a_run_of_a_tiny_time_is_that_of_another_unit_of_time(time):
    unit = FlowConfig(32, 100.0, 0.1, None)
    scaled = FlowConfig(32, 100.0 * time, 0.1 / time, None)
    # Steps are chosen relative to other bounds, so ends agree to their accuracy.
    expected = evolve(start_field(), unit, 3.0)
    found = time * evolve(start_field() / time, scaled, 3.0 * time)
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()


SI = (1e6 / (2.0 * np.pi), 4e4)  # m and s of what is 1 in FLOW
DAMPED = FlowConfig(32, 100.0, 0.1, None)


def jets(x, y):
    return np.sin(3.0 * y) + np.cos(2.0 * x)


def in_units(flow, length, time):
    """The same flow in other units, given in which what was 1 is `length`, `time`."""
    reynolds = flow.reynolds * time / length**2
    sides = tuple(length * side for side in flow.lengths)
    return replace(
        flow, reynolds=reynolds, linear_drag=flow.linear_drag / time, lengths=sides
    )


def jets_in(length, time):
    return SteadyForcing(lambda x, y: jets(x / length, y / length) / time**2)


def stirring_in(length, time):
    return RingForcing(3.0 / length, 1.0 / length, 1e-2 * length**2 / time**3)


FORCINGS = {"none": None, "jets": jets_in, "stirred": stirring_in}


@pytest.mark.parametrize("name", ["none", "jets"])
@pytest.mark.parametrize("size", [1.0, 0.0])
def test_a_flow_in_si_units_is_the_same_flow(name, size):
    """Similarity: the unit of time alone scales its vorticity, from rest too."""
    start, (_, time), make = size * start_field(), SI, FORCINGS[name]
    expected = evolve(start, DAMPED, 4.0, forcing=make and make(1.0, 1.0))
    flow, forcing = in_units(DAMPED, *SI), make and make(*SI)
    computed = time * evolve(start / time, flow, 4.0 * time, forcing=forcing)
    assert np.abs(computed - expected).max() <= 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize("name", FORCINGS)
@pytest.mark.parametrize("size", [1.0, 1e-3, 0.0])
def test_chosen_steps_have_the_unit_of_the_flow(name, size):
    """Where what was one second is 16, they are 16 times as long, near rest too."""
    steps = []
    for length, time in (SI, (4.0 * SI[0], 16.0 * SI[1])):
        flow, make = in_units(DAMPED, length, time), FORCINGS[name]
        run = Simulation(flow, forcing=make and make(length, time))
        steps.append(run.suggested_time_step(run.start(size * start_field() / time)))
    assert steps[1] == pytest.approx(16.0 * steps[0], rel=1e-12)
    assert steps[0] <= 0.011 / in_units(DAMPED, *SI).linear_drag


def test_a_fluid_without_any_time_of_its_own_stays_at_rest():
    flow = FlowConfig(32, np.inf, 0.0, None, lengths=(1e6, 1e6))
    assert not np.any(evolve(np.zeros((32, 32)), flow, 1e9))


@pytest.mark.parametrize(
    ("side", "drag", "size"),
    [
        (1.0, 0.0, 0.0),
        (2 * np.pi, 0.0, 1e-6),
        (100.0, 1e-4, 1e-6),
        (1e6, 0.1, 0.0),
        (1e6, 0.1, 1e-6),
        (1e6, 0.0, 0.1),
    ],
)
def test_where_lengths_or_times_are_near_one_steps_are_at_most_a_hundredth(
    side, drag, size
):
    flow = FlowConfig(32, np.inf, drag, None, lengths=(side, side))
    run = Simulation(flow)
    step = run.suggested_time_step(run.start(size * start_field()))
    assert abs(np.log2(step / 0.01)) <= 0.125  # rounded to powers of 2^(1/4)


@pytest.mark.parametrize("size", [1.0, 0.0])
def test_a_long_run_is_not_refused(size):
    """Two million of the longest steps, of which none is for speed."""

    class Stopped(Exception):
        """The run has begun."""

    def stop(time):
        raise Stopped

    simulation = Simulation(FlowConfig(16, 1e6, 0.0, None))
    x = Grid((16, 16)).x
    state = simulation.start(size * np.sin(x) * np.ones((1, 16)))
    with pytest.raises(Stopped):
        advance_to(simulation, state, 2e4, None, stop)


@pytest.mark.parametrize(
    ("change", "cause"),
    [({}, "speed of the flow"), ({"beta": 1e12}, "frequency of its waves")],
)
def test_the_error_names_what_asks_for_such_short_steps(change, cause):
    flow, size = replace(FLOW, **change), 1.0 if change else 1e12
    with pytest.raises(SimulationDivergedError, match=f"{cause} asks.*units"):
        evolve(size * start_field(), flow, 1.0)


def test_a_varying_source_that_starts_weak_is_followed_on_a_large_domain():
    """One wave moves nothing: vorticity = A (1 - cos t) cos(k x)."""
    length = 1e3
    flow = FlowConfig(16, np.inf, 0.0, None, lengths=(length, length))
    k = 2 * np.pi / length

    def swinging(x, y, time):
        return 1e-3 * np.sin(time) * np.cos(k * x) + 0.0 * y

    found = evolve(np.zeros((16, 16)), flow, 10.0, forcing=swinging)
    x = Grid((16, 16), flow.lengths).x
    expected = 1e-3 * (1.0 - np.cos(10.0)) * np.cos(k * x) * np.ones((1, 16))
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_a_varying_source_needs_a_step_where_a_run_would_take_weeks():
    flow = FlowConfig(16, np.inf, 1e-7, None, lengths=(1e6, 1e6))

    def slow(x, y, time):
        return 1e-12 * np.sin(1e-5 * time) * np.cos(2e-6 * np.pi * x) + 0.0 * y

    with pytest.raises(ValueError, match=r"varies in time.*Give a time_step"):
        evolve(np.zeros((16, 16)), flow, 1e6, forcing=slow)
    assert np.isfinite(evolve(np.zeros((16, 16)), flow, 1e6, 1e4, forcing=slow)).all()
