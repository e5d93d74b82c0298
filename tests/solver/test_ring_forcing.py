"""Stochastic forcing: what it injects, where, and from which stream."""

import math

import numpy as np
import pytest

from turbulence_data.config import FlowConfig
from turbulence_data.diagnostics import energy, energy_budget, enstrophy_budget
from turbulence_data.solver._evolve import evolve, trajectory
from turbulence_data.solver._forcing import RingForcing
from turbulence_data.solver._grid import Grid
from turbulence_data.solver._initial_conditions import RandomVorticity
from turbulence_data.solver._modes import padded_modes, truncated_modes
from turbulence_data.solver._schemes import etdrk4, integrating_factor_rk4
from turbulence_data.solver._simulation import Numerics, Simulation

STANDARD_ERRORS = 4.0  # a mean of a fixed seed is within these of its expectation
ROUND_OFF = 1e-12
INJECTION = 0.3
RING = RingForcing(wavenumber=4.0, width=2.0, energy_injection=INJECTION, seed=1)
INVISCID = FlowConfig(24, math.inf, linear_drag=0.0, forcing_wavenumber=None)


def kick(forcing, modes, step_number=0, time_step=1.0):
    hat = np.zeros(modes.shape, complex)
    forcing.on(modes).kick(hat, step_number, time_step)
    return hat


def kicks(forcing, modes, number):
    return np.stack([kick(forcing, modes, step) for step in range(number)])


def within_errors(samples, expected):
    samples = np.asarray(samples)
    error = samples.std(ddof=1) / math.sqrt(len(samples))
    return abs(samples.mean() - expected) < STANDARD_ERRORS * error


def weights(modes):
    return modes.hermitian_weights * modes.inverse_k_squared


# What it injects


@pytest.mark.slow
@pytest.mark.parametrize("time_step", [0.02, None])
def test_the_energy_of_an_inviscid_flow_grows_by_the_injection_in_the_mean(time_step):
    """Over 200 seeds; nothing else than the kicks changes the energy."""
    start = RandomVorticity(0.05, 3.0)(Grid((24, 24)), np.random.default_rng(0))
    gains = [
        energy(evolve(start, INVISCID, 0.2, time_step, forcing=ring)) - 0.05
        for ring in (RingForcing(4.0, 2.0, INJECTION, seed) for seed in range(200))
    ]
    assert within_errors(gains, 0.2 * INJECTION)
    # The mean is sharp enough to tell half of the injection from all of it.
    assert np.std(gains) / math.sqrt(200) < 0.1 * 0.2 * INJECTION


@pytest.mark.parametrize("make_modes", [truncated_modes, padded_modes])
@pytest.mark.parametrize("shape", [(24, 24), (32, 27)])
@pytest.mark.parametrize("lengths", [(2 * np.pi, 2 * np.pi), (3 * np.pi, 1.5 * np.pi)])
def test_expected_injections_add_up_exactly(make_modes, shape, lengths):
    modes = make_modes(Grid(shape, lengths))
    variance = RING.on(modes).noise.variance
    injected = 0.5 * np.sum(weights(modes) * variance)
    assert injected == pytest.approx(INJECTION, rel=ROUND_OFF)
    flow = FlowConfig(shape, math.inf, 0.0, None, lengths=lengths)
    rest = np.zeros(shape)
    assert energy_budget(rest, flow, forcing=RING).work == pytest.approx(INJECTION)
    ring = modes.k_squared[variance > 0.0]
    counts = np.broadcast_to(modes.hermitian_weights, modes.shape)[variance > 0.0]
    assert enstrophy_budget(rest, flow, forcing=RING).work == pytest.approx(
        INJECTION * np.average(ring, weights=counts)
    )


def test_kicks_have_the_variance_stated_and_grow_with_the_root_of_the_step():
    modes = truncated_modes(Grid((24, 24)))
    drawn = kicks(RING, modes, 2000)
    variance = RING.on(modes).noise.variance
    forced = variance > 0.0
    ratios = np.mean(np.abs(drawn) ** 2, axis=0)[forced] / variance[forced]
    # |Gaussian|^2 of a complex number has a standard deviation equal to its mean.
    assert np.all(np.abs(ratios - 1.0) < (STANDARD_ERRORS + 1) / math.sqrt(2000))
    np.testing.assert_allclose(
        kick(RING, modes, 3, 0.25), 0.5 * kick(RING, modes, 3, 1.0), rtol=1e-15
    )


@pytest.mark.slow
@pytest.mark.parametrize("scheme", [integrating_factor_rk4, etdrk4])
def test_injection_and_dissipation_balance_in_a_stationary_flow(scheme):
    flow = FlowConfig(24, 100.0, linear_drag=0.5, forcing_wavenumber=None)
    simulation = Simulation(flow, forcing=RING, numerics=Numerics(scheme=scheme))
    times = 6.0 + 0.2 * np.arange(600)
    rest = simulation.start(np.zeros((24, 24)))
    budgets = [
        energy_budget(simulation.vorticity(state), flow, forcing=RING)
        for state in trajectory(simulation, rest, times.tolist(), 0.02)
    ]
    losses = np.array([budget.dissipation - budget.drag for budget in budgets])
    # Means over ten decay times of the energy (0.9) and more are independent.
    assert within_errors(losses.reshape(12, 50).mean(axis=1), INJECTION)
    assert np.std(losses.reshape(12, 50).mean(axis=1)) < 0.3 * INJECTION


@pytest.mark.slow
def test_a_damped_mode_has_the_variance_of_its_ornstein_uhlenbeck_process():
    """Right after a kick: h sigma^2 / (1 - exp(-2 a h)), a the rate of the drag."""
    rate, step, number = 5.0, 0.1, 4000
    flow = FlowConfig(12, math.inf, linear_drag=rate, forcing_wavenumber=None)
    weak = RingForcing(1.0, 0.0, 1e-8 * INJECTION, seed=5)  # so that J is tiny
    simulation = Simulation(flow, forcing=weak)
    rest = simulation.start(np.zeros((12, 12)))
    times = (step * np.arange(10, number + 10)).tolist()
    energies = [
        1e8 * simulation.modes.energy(state.vorticity_hat)
        for state in trajectory(simulation, rest, times, step)
    ]
    expected = INJECTION * step / (1.0 - math.exp(-2.0 * rate * step))
    assert within_errors(np.reshape(energies, (100, 40)).mean(axis=1), expected)


# Where


def test_nothing_is_injected_outside_the_ring():
    modes = padded_modes(Grid((32, 48)))
    drawn = kicks(RING, modes, 20)
    inside = np.abs(np.sqrt(modes.k_squared) - 4.0) <= 1.0
    assert np.all(drawn[:, ~(inside & modes.mask)] == 0.0)
    assert np.all(drawn[:, inside & modes.mask] != 0.0)


def test_every_direction_receives_the_same():
    """cos(n angle) moments of the injected energy vanish; x and y are alike."""
    modes = truncated_modes(Grid((32, 32)))
    ring = RingForcing(8.0, 2.0, 1.0, seed=2)
    density = 0.5 * weights(modes) * np.abs(kicks(ring, modes, 600)) ** 2
    angle = np.arctan2(modes.ky, modes.kx)
    for moment in (np.cos(2 * angle), np.sin(2 * angle), np.cos(4 * angle)):
        known = 0.5 * np.sum(weights(modes) * ring.on(modes).noise.variance * moment)
        assert within_errors((density * moment).sum(axis=(1, 2)), known)
        assert abs(known) < 0.05  # what the lattice of the ring's modes leaves over


def test_kicks_are_real_fields_with_all_their_modes():
    """The two modes of a pair at ky = 0 are stored both, and are conjugate."""
    modes = truncated_modes(Grid((24, 24)))
    hat = kick(RING, modes)
    rows = np.arange(1, 12)
    np.testing.assert_array_equal(hat[-rows, 0], hat[rows, 0].conj())
    again = modes.from_physical(modes.to_physical(hat))
    np.testing.assert_allclose(again, hat, atol=ROUND_OFF)


# From which stream


@pytest.mark.parametrize("make_modes", [truncated_modes, padded_modes])
def test_the_noise_does_not_know_the_grid(make_modes):
    coarse, fine = (truncated_modes(Grid((24, 24))), make_modes(Grid((48, 60))))
    for step in (0, 1, 12345):
        few, many = kick(RING, coarse, step), kick(RING, fine, step)
        rows = np.arange(-5, 6)
        np.testing.assert_array_equal(few[rows, :6], many[rows, :6])


def correlation(first, second):
    product = np.sum(first * second.conj()).real
    return product / (np.linalg.norm(first) * np.linalg.norm(second))


@pytest.mark.parametrize(
    "other",
    [
        RingForcing(4.0, 2.0, INJECTION, seed=2),
        RING.for_trajectory(0, 0),
        RING.for_trajectory(0, 1),
        RING.for_trajectory(1, 0),
    ],
    ids=["seed", "trajectory 0", "trajectory 1", "ensemble 1"],
)
def test_streams_are_independent(other):
    modes = truncated_modes(Grid((24, 24)))
    drawn, others = kicks(RING, modes, 300), kicks(other, modes, 300)
    bound = STANDARD_ERRORS / math.sqrt(300 * np.count_nonzero(drawn[0]))
    assert abs(correlation(drawn, others)) < bound
    assert abs(correlation(drawn[1:], drawn[:-1])) < bound  # white in time


def test_trajectories_have_streams_of_their_own_that_repeat():
    streams = [RING.for_trajectory(s, i).seed for s in range(3) for i in range(50)]
    assert len(set(streams)) == 150
    assert RING.for_trajectory(2, 49).seed == streams[-1]


def run(number_of_legs, forcing=RING, time_step=0.01):
    flow = FlowConfig(24, 200.0, forcing_wavenumber=None)
    start = RandomVorticity(0.5, 3.0)(Grid((24, 24)), np.random.default_rng(0))
    simulation = Simulation(flow, forcing=forcing)
    state = simulation.start(start)
    for _ in range(number_of_legs):
        # A new simulation each time: nothing but the state is carried on.
        simulation = Simulation(flow, forcing=forcing)
        state = simulation.advance(state, 0.4 / number_of_legs, time_step)
    return state


def test_a_run_goes_on_from_a_state_bit_for_bit():
    whole, parts = run(1), run(4)
    assert whole.step_number == parts.step_number == 40
    np.testing.assert_array_equal(whole.vorticity_hat, parts.vorticity_hat)


@pytest.mark.parametrize("time_step", [0.01, None])
def test_runs_repeat_and_other_seeds_differ(time_step):
    start = RandomVorticity(0.5, 3.0)(Grid((24, 24)), np.random.default_rng(0))
    flow = FlowConfig(24, 200.0, forcing_wavenumber=None)
    ends = [
        evolve(start, flow, 0.5, time_step, forcing=RingForcing(4.0, 2.0, 0.3, seed))
        for seed in (1, 1, 2)
    ]
    assert np.array_equal(ends[0], ends[1])
    assert np.linalg.norm(ends[0] - ends[2]) > 0.01 * np.linalg.norm(ends[0])


def test_both_schemes_meet_the_same_kicks():
    flow = FlowConfig(24, 200.0, forcing_wavenumber=None)
    ends = [
        evolve(
            np.zeros((24, 24)),
            flow,
            0.2,
            0.01,
            forcing=RING,
            numerics=Numerics(scheme=scheme),
        )
        for scheme in (integrating_factor_rk4, etdrk4)
    ]
    assert np.linalg.norm(ends[0] - ends[1]) < 1e-6 * np.linalg.norm(ends[0])


def test_chosen_steps_resolve_the_damping_of_the_ring():
    """Kicks are first order: right after one the energy is off by rate x step."""
    flow = FlowConfig(32, 5.0, linear_drag=0.0, forcing_wavenumber=None)
    simulation = Simulation(flow, forcing=RingForcing(8.0, 1.0, 1.0))
    chosen = simulation.suggested_time_step(simulation.start(np.zeros((32, 32))))
    assert 64.0 / 5.0 * chosen < 0.025


# Bad input


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("wavenumber", 0.0),
        ("wavenumber", math.nan),
        ("width", -1.0),
        ("energy_injection", -0.1),
        ("energy_injection", math.inf),
        ("seed", -1),
        ("seed", 0.5),
    ],
)
def test_an_unusable_value_is_refused(name, value):
    values = {"wavenumber": 4.0, "width": 2.0, "energy_injection": 0.1, "seed": 0}
    with pytest.raises(ValueError, match=rf"{name} must be .*received {value!r}"):
        RingForcing(**(values | {name: value}))


def test_whole_and_numpy_numbers_are_the_same_ring():
    ring = RingForcing(4, np.float32(2), 1, np.int64(3))
    assert repr(ring) == repr(RingForcing(4.0, 2.0, 1.0, 3))


def test_a_ring_that_is_not_resolved_is_refused_with_what_is():
    message = r"wavenumber=8\.0.*up to \(8, 8\).*\(24, 24\) points resolve \(7, 7\)"
    with pytest.raises(ValueError, match=message):
        Simulation(INVISCID, forcing=RingForcing(8.0, 1.0, 0.1))


def test_a_ring_between_the_wavenumbers_of_the_domain_is_refused():
    with pytest.raises(ValueError, match=r"no wavenumber.*\(1\.0, 1\.0\).*=0\.5"):
        Simulation(INVISCID, forcing=RingForcing(0.5, 0.2, 0.1))


@pytest.mark.parametrize("width", [1.0, 1e9])
def test_a_ring_far_out_is_refused_before_its_modes_are_listed(width):
    """Mode numbers given as wavenumbers: millions along each side, 1e13 in all."""
    modes = truncated_modes(Grid((32, 32), (1e6, 1e6)))
    with pytest.raises(ValueError, match="is not resolved: it holds modes"):
        RingForcing(8.0, width, 0.1).on(modes)


def test_a_thin_ring_may_hold_diagonal_modes_alone():
    # 162 = 9^2 + 9^2 is no other sum of two squares; modes are resolved up to 10.
    modes = truncated_modes(Grid((32, 32)))
    ring = RingForcing(math.hypot(9.0, 9.0), 0.0, 0.1)
    assert ring.on(modes).noise.numbers.shape == (2, 2)
