"""Precision and scheme as choices of the user: what they change, and what not."""

import math

import numpy as np
import pytest

from turbulence_data.config import FlowConfig
from turbulence_data.solver._evolve import evolve, trajectory
from turbulence_data.solver._forcing import RingForcing, SteadyForcing
from turbulence_data.solver._grid import Grid
from turbulence_data.solver._initial_conditions import RandomVorticity
from turbulence_data.solver._schemes import etdrk4, integrating_factor_rk4
from turbulence_data.solver._simulation import Numerics, Simulation

SINGLE = 1e-5  # 6e-8 a step, of a hundred steps
SCHEMES = [integrating_factor_rk4, etdrk4]
FLOWS = {
    "forced": {"forcing_wavenumber": 2},
    "decaying": {"forcing_wavenumber": None, "linear_drag": 0.0},
    "beta": {"forcing_wavenumber": 2, "beta": 5.0},
    "hyperviscous": {"forcing_wavenumber": 2, "hyperviscosity": 1e-6},
}


def start_field(shape=(32, 32)):
    draw = RandomVorticity(energy=0.5, peak_wavenumber=3.0)
    return draw(Grid(shape), np.random.default_rng(0))


def relative_error(field, reference):
    return np.linalg.norm(field - reference) / np.linalg.norm(reference)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", FLOWS)
@pytest.mark.parametrize("shape", [(32, 32), (24, 400)])  # packed and paired rows
def test_single_precision_follows_double_precision(name, scheme, shape):
    flow = FlowConfig(shape, 200.0, **FLOWS[name])
    start = start_field(shape)
    double, single = (
        evolve(start, flow, 0.2, 0.002, numerics=Numerics(scheme=scheme, dtype=dtype))
        for dtype in (np.float64, np.float32)
    )
    assert double.dtype == np.float64
    assert single.dtype == np.float32
    # Not so close that it could have been computed in double precision.
    assert 1e-8 < relative_error(single, double) < SINGLE


@pytest.mark.parametrize(
    "forcing",
    [
        RingForcing(4.0, 2.0, 0.1),
        SteadyForcing(lambda x, y: np.cos(3 * x)),
        lambda x, y, time: np.cos(3 * x - time),
    ],
    ids=["ring", "steady", "varying"],
)
def test_every_forcing_works_in_single_precision(forcing):
    flow = FlowConfig(32, 200.0, forcing_wavenumber=None)
    double, single = (
        evolve(
            start_field(),
            flow,
            0.2,
            0.01,
            forcing=forcing,
            numerics=Numerics(dtype=dtype),
        )
        for dtype in (np.float64, np.float32)
    )
    assert 1e-8 < relative_error(single, double) < SINGLE


def test_a_closure_in_single_precision_receives_single_precision():
    seen = set()

    def closure(vorticity, streamfunction):
        seen.update({vorticity.dtype, streamfunction.dtype})
        return -0.1 * vorticity

    flow = FlowConfig(32, 200.0, forcing_wavenumber=2)
    single = evolve(
        start_field(), flow, 0.1, 0.01, closure, numerics=Numerics(dtype=np.float32)
    )
    assert seen == {np.dtype(np.float32)}
    double = evolve(start_field(), flow, 0.1, 0.01, lambda w, psi: -0.1 * w)
    assert relative_error(single, double) < SINGLE


def test_the_state_and_all_factors_are_of_the_precision_chosen():
    simulation = Simulation(FlowConfig(32, 200.0), numerics=Numerics(dtype="float32"))
    state = simulation.start(start_field())
    end = simulation.advance(state, 0.1, 0.01)
    assert simulation.equation.linear_operator.dtype == np.float32
    assert state.vorticity_hat.dtype == end.vorticity_hat.dtype == np.complex64


def test_statistics_are_those_of_double_precision():
    """Means of a stationary flow, long after both have lost each other."""
    flow = FlowConfig(24, 100.0, linear_drag=0.3, forcing_wavenumber=None)
    means = []
    for dtype, seed in ((np.float64, 0), (np.float32, 1)):
        forcing = RingForcing(4.0, 2.0, 0.2, seed)
        simulation = Simulation(flow, forcing=forcing, numerics=Numerics(dtype=dtype))
        rest = simulation.start(np.zeros((24, 24)))
        energies = [
            simulation.modes.energy(state.vorticity_hat)
            for state in trajectory(simulation, rest, list(range(10, 90)), 0.025)
        ]
        means.append(np.reshape(energies, (8, 10)).mean(axis=1))
    error = math.hypot(*(np.std(m, ddof=1) / math.sqrt(8) for m in means))
    assert abs(np.mean(means[0]) - np.mean(means[1])) < 4.0 * error
    assert error < 0.1 * np.mean(means[0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_runs_repeat_bit_for_bit_in_either_precision(dtype):
    flow = FlowConfig(32, 200.0)
    ends = [
        evolve(start_field(), flow, 0.3, numerics=Numerics(dtype=dtype))
        for _ in range(2)
    ]
    assert np.array_equal(*ends)


def test_a_scheme_of_the_users_own_is_used():
    """Forward Euler: far off, but first order."""

    def euler(equation, time_step):
        slope = np.empty(equation.linear_operator.shape, complex)

        def step(vorticity_hat, time):
            equation.nonlinear_terms(vorticity_hat, time, slope)
            linear = equation.linear_operator * vorticity_hat
            vorticity_hat += time_step * (linear + slope)

        return step

    flow = FlowConfig(32, 200.0, forcing_wavenumber=2)
    exact = evolve(start_field(), flow, 0.2, 0.005)
    errors = [
        relative_error(
            evolve(start_field(), flow, 0.2, h, numerics=Numerics(scheme=euler)), exact
        )
        for h in (0.004, 0.002)
    ]
    assert 1.8 < errors[0] / errors[1] < 2.2


@pytest.mark.parametrize("bad", [np.float16, np.complex128, int, None, "exact"])
def test_another_precision_is_refused(bad):
    with pytest.raises(ValueError, match="float64 or float32; received") as caught:
        evolve(start_field(), FlowConfig(32, 200.0), 0.1, numerics=Numerics(dtype=bad))
    assert repr(bad) in str(caught.value)


def test_an_unknown_choice_is_refused_by_name():
    with pytest.raises(TypeError, match="precision"):
        evolve(start_field(), FlowConfig(32, 200.0), 0.1, precision=np.float32)
