"""What a simulation refuses, what it reports, and the symmetries of `evolve`."""

import math
import re

import numpy as np
import pytest

from turbulence_data.config import FlowConfig
from turbulence_data.solver import _schemes as time_stepping
from turbulence_data.solver import _vorticity as equations
from turbulence_data.solver._equation import State
from turbulence_data.solver._evolve import advance_to, evolve, trajectory
from turbulence_data.solver._grid import Grid
from turbulence_data.solver._initial_conditions import RandomVorticity
from turbulence_data.solver._modes import padded_modes, truncated_modes
from turbulence_data.solver._simulation import (
    Numerics,
    Simulation,
    SimulationDivergedError,
    UnstableTimeStepError,
)
from turbulence_data.solver.fftw import _advection as advection
from turbulence_data.solver.fftw import _pointwise as kernels
from turbulence_data.solver.fftw import _pointwise_numba as fused_kernels

AMPLIFIED = 1e-11  # round-off after a turnover time or two of turbulence
FLOW = FlowConfig(32, reynolds=100.0, forcing_wavenumber=2)


def start_field(shape=(32, 32), lengths=(2 * np.pi, 2 * np.pi), seed=0) -> np.ndarray:
    draw = RandomVorticity(energy=0.5, peak_wavenumber=3.0)
    return draw(Grid(shape, lengths), np.random.default_rng(seed))


def relative_error(field, reference) -> float:
    return float(np.linalg.norm(field - reference) / np.linalg.norm(reference))


# Symmetries


@pytest.mark.parametrize("shift", [(5, 0), (0, 7), (-3, 11)])
def test_a_shifted_start_gives_a_shifted_end(shift):
    flow = FlowConfig((48, 32), 100.0, forcing_wavenumber=None, beta=3.0)
    start = start_field((48, 32))
    moved = evolve(np.roll(start, shift, (0, 1)), flow, 0.5, 0.01)
    expected = np.roll(evolve(start, flow, 0.5, 0.01), shift, (0, 1))
    assert relative_error(moved, expected) < AMPLIFIED


@pytest.mark.parametrize("shape", [(32, 32), (48, 33)])
def test_exchanging_x_and_y_flips_the_sign_of_vorticity(shape):
    flow = FlowConfig(shape, 100.0, forcing_wavenumber=None)
    swapped = FlowConfig(shape[::-1], 100.0, forcing_wavenumber=None)
    end = evolve(start_field(shape), flow, 0.5, 0.01)
    other = evolve(-start_field(shape).T, swapped, 0.5, 0.01)
    assert relative_error(-other.T, end) < AMPLIFIED


@pytest.mark.parametrize(
    ("shape", "lengths", "copies", "forcing_wavenumber"),
    [
        ((24, 48), (np.pi, 2 * np.pi), (2, 1), 4),
        ((48, 16), (2 * np.pi, 2 * np.pi / 3), (1, 3), 3),
        ((24, 48), (np.pi, 2 * np.pi), (2, 1), None),
    ],
)
def test_a_rectangle_agrees_with_the_square_it_tiles(
    shape, lengths, copies, forcing_wavenumber
):
    physics = {"reynolds": 100.0, "forcing_wavenumber": forcing_wavenumber, "beta": 2.0}
    small = FlowConfig(shape, lengths=lengths, **physics)
    start = start_field(shape, lengths)
    end = evolve(start, small, 0.5, 0.01)
    square = evolve(np.tile(start, copies), FlowConfig(48, **physics), 0.5, 0.01)
    assert relative_error(square, np.tile(end, copies)) < AMPLIFIED


def test_doubling_lengths_and_time_scales_a_flow():
    # x -> 2 x, t -> t, velocity -> 2 u, nu -> 4 nu: vorticity is unchanged.
    start = start_field()
    small = FlowConfig(32, 100.0, forcing_wavenumber=None, beta=2.0)
    large = FlowConfig(
        32, 25.0, forcing_wavenumber=None, beta=1.0, lengths=(4 * np.pi, 4 * np.pi)
    )
    ends = [evolve(start, flow, 0.5, 0.01) for flow in (small, large)]
    assert relative_error(ends[1], ends[0]) < AMPLIFIED


# Times and steps


def test_zero_duration_returns_the_resolved_part_of_the_start():
    noise = np.random.default_rng(0).standard_normal((32, 32))
    noise -= noise.mean()
    modes = truncated_modes(Grid((32, 32)))
    for time_step in (0.01, None):
        end = evolve(noise, FLOW, 0.0, time_step)
        assert np.array_equal(end, modes.to_physical(modes.from_physical(noise)))
    assert relative_error(evolve(start_field(), FLOW, 0), start_field()) < 1e-13


def test_the_start_field_is_left_unchanged_and_lists_are_welcome():
    start = start_field()
    kept = start.copy()
    end = evolve(start, FLOW, 0.05, 0.01)
    assert np.array_equal(start, kept)
    assert np.array_equal(evolve(start.tolist(), FLOW, 0.05, 0.01), end)
    assert end.dtype == np.float64
    assert end.shape == (32, 32)


def test_a_duration_that_is_no_multiple_of_the_step_is_reached_with_equal_steps():
    third = evolve(start_field(), FLOW, 0.1, 0.04)
    assert np.array_equal(third, evolve(start_field(), FLOW, 0.1, 0.1 / 3))


@pytest.mark.parametrize("time_step", [0.02, None])
def test_trajectory_reaches_every_time_and_agrees_with_evolve(time_step):
    simulation = Simulation(FLOW)
    times = [0.0, 0.1, 0.3, 0.7]
    states = list(
        trajectory(simulation, simulation.start(start_field()), times, time_step)
    )
    assert [state.time for state in states] == pytest.approx(times, rel=1e-15)
    whole = evolve(start_field(), FLOW, 0.7, 0.001)
    assert relative_error(simulation.vorticity(states[-1]), whole) < 1e-5


@pytest.mark.parametrize("time_step", [0.01, None])
def test_falling_times_are_refused(time_step):
    simulation = Simulation(FLOW)
    start = simulation.start(start_field())
    with pytest.raises(ValueError, match=r"0\.1"):
        list(trajectory(simulation, start, [0.2, 0.1], time_step))


def test_advancing_backwards_is_refused():
    simulation = Simulation(FLOW)
    with pytest.raises(ValueError, match=r"-0\.5"):
        simulation.advance(simulation.start(start_field(), 1.0), -0.5, 0.01)


def test_chosen_steps_repeat_exactly_and_are_a_given_part_of_the_limit():
    simulation = Simulation(FLOW)
    state = simulation.start(10.0 * start_field())
    chosen = simulation.suggested_time_step(state)
    part = 32.0**0.25 / 8.0  # of the fourth root of the tolerance over 1e-5 / 32
    expected = part * simulation.largest_time_step(state)
    assert 2**-0.125 <= chosen / expected <= 2**0.125
    first, second = (evolve(10.0 * start_field(), FLOW, 0.3) for _ in range(2))
    assert np.array_equal(first, second)


def test_chosen_steps_are_powers_of_the_fourth_root_of_two():
    """So they repeat, and with them the factors of a scheme."""
    simulation = Simulation(FLOW)
    for speed in (1.0, 2.0, 3.0, 10.0):
        state = simulation.start(speed * start_field())
        exponent = 4.0 * np.log2(simulation.suggested_time_step(state))
        assert exponent == pytest.approx(round(exponent), abs=1e-12)


@pytest.mark.parametrize("time_step", [0.01, None])
def test_the_factors_of_a_step_that_repeats_are_computed_once(time_step):
    made = []

    def scheme(equation, step):
        made.append(step)
        return time_stepping.integrating_factor_rk4(equation, step)

    simulation = Simulation(FLOW, numerics=Numerics(scheme=scheme))
    state = advance_to(simulation, simulation.start(start_field()), 5.0, time_step)
    assert len(made) == len(set(made))
    assert np.array_equal(
        simulation.vorticity(state), evolve(start_field(), FLOW, 5.0, time_step)
    )


def test_a_fluid_at_rest_has_no_limit_and_is_set_in_motion_by_the_forcing():
    simulation = Simulation(FLOW)
    rest = simulation.start(np.zeros((32, 32)))
    assert simulation.largest_time_step(rest) == math.inf
    x, rate = Grid((32, 32)).x, 4 / 100.0 + 0.1
    y = x.T
    expected = -2.0 * (np.cos(2 * x) + np.cos(2 * y)) * (1 - math.exp(-rate)) / rate
    assert relative_error(evolve(np.zeros((32, 32)), FLOW, 1.0), expected) < 1e-11


@pytest.mark.parametrize(
    ("beta", "amplitude"), [(300.0, 0.1), (100.0, 1.0)], ids=["weak", "strong"]
)
@pytest.mark.parametrize(("tolerance", "largest"), [(3e-7, 1e-6), (1e-5, 3e-5)])
def test_chosen_steps_resolve_fast_rossby_waves(beta, amplitude, tolerance, largest):
    flow = FlowConfig(32, 1000.0, 0.0, None, beta)
    start, duration = amplitude * start_field(), 2.0 / amplitude**0.5
    reference = evolve(start, flow, duration, 5e-4)
    numerics = Numerics(tolerance=tolerance)
    end = evolve(start, flow, duration, numerics=numerics)
    assert relative_error(end, reference) < largest


@pytest.mark.parametrize("num_points", [32, 96])
def test_the_error_of_chosen_steps_is_of_the_order_of_the_tolerance(num_points):
    """Over five turnovers; a sixteenth of the tolerance halves the steps."""
    flow = FlowConfig(num_points, 1000.0, 0.0, None)
    draw = RandomVorticity(energy=200.0, peak_wavenumber=4.0)
    start = draw(Grid(flow.shape), np.random.default_rng(0))
    duration = 5.0 / float(np.std(start))
    reference = evolve(start, flow, duration, numerics=Numerics(tolerance=1e-9))
    coarse, fine = (
        relative_error(evolve(start, flow, duration, numerics=numerics), reference)
        for numerics in (Numerics(), Numerics(tolerance=1e-5 / 16.0))
    )
    assert 1e-7 < coarse < 1e-4
    assert 4.0 < coarse / fine < 64.0


@pytest.mark.parametrize("tolerance", [0.0, -1e-5, math.inf, "fine"])
def test_a_tolerance_is_positive(tolerance):
    with pytest.raises(ValueError, match="tolerance must be positive"):
        Numerics(tolerance=tolerance)


def test_chosen_steps_shrink_as_the_flow_speeds_up():
    # Fed by the closure, the flow ends faster than the first step chosen allows.
    end = evolve(start_field(), FLOW, 2.0, None, lambda w, psi: 1.6 * w)
    simulation = Simulation(FLOW, lambda w, psi: 1.6 * w)
    first = simulation.suggested_time_step(simulation.start(start_field()))
    assert simulation.largest_time_step(simulation.start(end)) < first


def test_chosen_steps_set_a_fluid_at_rest_in_motion_without_breaking_the_limit():
    # Chosen at rest, a step must still be stable when the forcing has made the flow
    # fast, before the next choice. Small cells stand for a large grid.
    side = np.pi / 2
    flow = FlowConfig(128, 1000.0, forcing_wavenumber=4, lengths=(side, side))
    assert np.isfinite(evolve(np.zeros((128, 128)), flow, 1.0)).all()


def test_chosen_steps_resolve_a_forcing_balanced_by_strong_viscosity():
    flow = FlowConfig(32, 0.1, 0.0, 4)
    x = Grid((32, 32)).x
    balanced = -4.0 / 160.0 * (np.cos(4 * x) + np.cos(4 * x.T))
    numerics = Numerics(tolerance=3e-7)
    end = evolve(balanced, flow, 0.5, numerics=numerics)
    assert relative_error(end, balanced) < 1e-6
    assert relative_error(evolve(balanced, flow, 0.5), balanced) < 3e-5


# Stability


def test_the_limit_is_the_imaginary_axis_of_rk4_over_the_advection_rate():
    simulation = Simulation(FLOW)
    grid = simulation.grid
    state = simulation.start(9 * np.sin(3 * grid.y) + 2 * np.sin(grid.x))
    # u = 3 cos(3 y), v = -2 cos(x), and 10 is the largest resolved wavenumber of 32.
    expected = 2 * math.sqrt(2) / (3 * 10 + 2 * 10)
    assert simulation.largest_time_step(state) == pytest.approx(expected, rel=1e-12)


def test_a_step_beyond_the_limit_is_refused_with_both_numbers():
    simulation = Simulation(FLOW)
    largest = simulation.largest_time_step(simulation.start(start_field()))
    message = rf"time_step=0\.5 breaks the CFL limit at time 0:.*at most {largest:.6g}"
    with pytest.raises(UnstableTimeStepError, match=message):
        evolve(start_field(), FLOW, 1.0, 0.5)


def test_steps_on_either_side_of_the_limit():
    flow = FlowConfig(32, 100.0, forcing_wavenumber=None)
    largest = Simulation(flow).largest_time_step(Simulation(flow).start(start_field()))
    assert np.isfinite(evolve(start_field(), flow, 0.9 * largest, 0.9 * largest)).all()
    with pytest.raises(UnstableTimeStepError):
        evolve(start_field(), flow, 1.01 * largest, 1.01 * largest)


def test_a_flow_that_speeds_up_is_stopped_later():
    strong = FlowConfig(32, 1000.0, 0.0, forcing_wavenumber=2)
    weak = 0.1 * start_field()
    with pytest.raises(UnstableTimeStepError, match=r"time_step=0\.05 .*at time [1-9]"):
        evolve(weak, strong, 10.0, 0.05)
    assert np.isfinite(evolve(weak, strong, 1.0, 0.05)).all()


def test_the_end_is_checked_too():
    growing = lambda vorticity, psi: 20.0 * vorticity  # noqa: E731
    with pytest.raises(UnstableTimeStepError, match=r"at time 0\.2:"):
        evolve(start_field(), FLOW, 0.2, 0.04, growing)


# Divergence


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("time_step", [0.01, None])
def test_a_closure_that_is_not_finite_is_caught_with_time_step_and_energy(
    bad, time_step
):
    # Chosen legs are shortened before giving up, so there the time is tiny.
    time = r"0\.2\d*" if time_step else r"\S+"
    message = (
        rf"before time {time} \(step \d+, time step \S+\); "
        r"the last good energy was 0\.5 at time 0\. "
        r"At that time the closure returned 1024 of 1024 values"
    )
    with pytest.raises(SimulationDivergedError, match=message):
        evolve(start_field(), FLOW, 1.0, time_step, lambda w, psi: np.full_like(w, bad))


def test_the_last_good_energy_is_that_of_the_last_look_before():
    calls = []

    def breaks_late(vorticity, psi):
        calls.append(None)
        return np.full_like(vorticity, np.nan if len(calls) > 4 * 30 else 0.0)

    with pytest.raises(
        SimulationDivergedError, match=r"before time 0\.5 .*0\.25\."
    ) as e:
        evolve(start_field(), FLOW, 1.0, 0.01, breaks_late)
    reached = evolve(start_field(), FLOW, 0.25, 0.01, lambda w, psi: np.zeros_like(w))
    modes = padded_modes(Grid((32, 32)))
    energy = modes.energy(modes.from_physical(reached))
    assert f"the last good energy was {energy:.6g} at time 0.25" in str(e.value)


@pytest.mark.parametrize("module", [kernels, fused_kernels])
def test_a_closure_that_feeds_energy_ends_in_an_error_not_in_a_field(
    monkeypatch, module
):
    for user in (advection, time_stepping):
        monkeypatch.setattr(user, "pointwise_kernels", lambda: module)
    with pytest.raises(SimulationDivergedError, match=r"does not feed energy"):
        evolve(start_field(), FLOW, 1.0, 0.01, lambda w, psi: 1e5 * w)


# LES


def test_a_closure_of_zeros_is_the_run_without_subgrid_forcing_on_padded_modes():
    grid = Grid((32, 32))
    with_closure = evolve(
        start_field(), FLOW, 0.3, 0.01, lambda w, psi: np.zeros_like(w)
    )
    simulation = Simulation(FLOW)
    simulation.modes = padded_modes(grid)
    simulation.equation = equations.VorticityEquation(FLOW, simulation.modes)
    end = simulation.advance(simulation.start(start_field()), 0.3, 0.01)
    assert np.array_equal(simulation.vorticity(end), with_closure)


def test_an_les_keeps_every_wavenumber_below_nyquist_a_dns_two_thirds():
    x = Grid((32, 32)).x
    near_nyquist = 1e-3 * np.cos(15 * x) * np.ones((1, 32))
    flow = FlowConfig(32, math.inf, 0.0, None)
    zeros = np.zeros_like(near_nyquist)
    kept = evolve(near_nyquist, flow, 0.1, 0.01, lambda w, psi: zeros)
    assert relative_error(kept, near_nyquist) < 1e-12
    assert np.abs(evolve(near_nyquist, flow, 0.1, 0.01)).max() < 1e-17


def test_a_linear_closure_acts_as_drag():
    x = Grid((32, 32)).x
    start = np.cos(3 * x) * np.ones((1, 32))
    flow = FlowConfig(32, 100.0, 0.0, None)
    end = evolve(start, flow, 1.0, 0.01, lambda w, psi: -0.3 * w - 0.9 * psi)
    expected = start * math.exp(-9 / 100.0 - 0.3 - 0.9 / 9)
    assert relative_error(end, expected) < 1e-10


# Bad input


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_start_field_that_is_not_finite_is_refused_with_a_count(bad):
    field = start_field()
    field[3, 4] = field[5, 6] = bad
    with pytest.raises(ValueError, match="2 of 1024 values are NaN or infinite"):
        evolve(field, FLOW, 1.0)


@pytest.mark.parametrize("shape", [(32, 33), (16, 16), (32,), (0, 32, 32), ()])
def test_a_start_field_of_another_shape_is_refused(shape):
    with pytest.raises(ValueError, match=re.escape(f"received {shape}")):
        evolve(np.zeros(shape), FLOW, 1.0)


def test_a_transposed_field_of_a_rectangular_flow_is_refused():
    flow = FlowConfig((48, 32), 100.0)
    with pytest.raises(ValueError, match=r"\(48, 32\).*received \(32, 48\)"):
        evolve(start_field((32, 48)), flow, 1.0)


@pytest.mark.parametrize("dtype", ["complex128", "bool", "U3", "object"])
def test_a_start_field_that_is_not_real_is_refused(dtype):
    with pytest.raises(ValueError, match=rf"real; received dtype .*{dtype[:4]}|<U3"):
        evolve(np.zeros((32, 32)).astype(dtype), FLOW, 1.0)


def test_a_start_field_with_a_mean_is_refused_with_the_mean():
    with pytest.raises(ValueError, match=r"mean 0\.25\. Subtract"):
        evolve(start_field() + 0.25, FLOW, 1.0)


def test_single_precision_fields_pass_in_spite_of_their_mean():
    single = start_field().astype(np.float32)
    end = evolve(single, FLOW, 0.1, 0.01)
    assert relative_error(end, evolve(start_field(), FLOW, 0.1, 0.01)) < 1e-6


@pytest.mark.parametrize("bad", [-1.0, np.nan, np.inf, "1", None, True])
def test_an_unusable_duration_is_refused(bad):
    message = f"duration must be finite and at least 0; received {bad!r}"
    with pytest.raises(ValueError, match=re.escape(message)):
        evolve(start_field(), FLOW, bad)


@pytest.mark.parametrize("bad", [0.0, -0.01, np.nan, np.inf, "1", True])
def test_an_unusable_time_step_is_refused(bad):
    message = f"time_step must be positive and finite; received {bad!r}"
    with pytest.raises(ValueError, match=re.escape(message)):
        evolve(start_field(), FLOW, 1.0, bad)


def test_a_state_is_frozen():
    with pytest.raises(AttributeError):
        State(np.zeros((4, 3), complex)).time = 1.0


def test_a_printed_state_tells_the_shape_of_its_coefficients():
    state = State(np.zeros((4, 3), complex), time=0.5)
    assert repr(state) == (
        "State(vorticity_hat=complex128 (4, 3), time=0.5, step_number=0)"
    )
