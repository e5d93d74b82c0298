"""The scheme: its order, what it solves exactly, what it conserves."""

import math

import numpy as np
import pytest

from turbulence_data.config import FlowConfig
from turbulence_data.diagnostics import energy, energy_budget, enstrophy
from turbulence_data.solver._evolve import evolve
from turbulence_data.solver._grid import Grid
from turbulence_data.solver._initial_conditions import RandomVorticity
from turbulence_data.solver._schemes import integrating_factor_rk4

ORDER_TOLERANCE = 0.25
ROUND_OFF = 1e-13  # a few FFTs and, for many steps, a slow random walk of bits
STEPS = np.array([1 / 20, 1 / 30, 1 / 40, 1 / 60, 1 / 80])
REFERENCE_STEP = 1 / 640  # its own error is (80 / 640)^4 = 2e-4 of the smallest seen


def relative_error(field, reference) -> float:
    return float(np.linalg.norm(field - reference) / np.linalg.norm(reference))


def start_field(shape=(32, 32), seed: int = 0) -> np.ndarray:
    draw = RandomVorticity(energy=0.5, peak_wavenumber=3.0)
    return draw(Grid(shape), np.random.default_rng(seed))


def slope(steps, errors) -> float:
    return float(np.polyfit(np.log(steps), np.log(errors), 1)[0])


def flow_of(shape=(32, 32), **changes) -> FlowConfig:
    values = {"reynolds": math.inf, "linear_drag": 0.0, "forcing_wavenumber": None}
    return FlowConfig(shape, **(values | changes))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"reynolds": 100.0},
        {"reynolds": 100.0, "linear_drag": 0.1, "forcing_wavenumber": 2},
        {"reynolds": 200.0, "beta": 5.0},
        {"reynolds": 200.0, "beta": 5.0, "linear_drag": 0.1, "forcing_wavenumber": 2},
        {"hyperviscosity": 1e-6, "hyperviscosity_order": 2},
    ],
    ids=["inviscid", "viscous", "forced", "beta", "forced_beta", "hyperviscous"],
)
def test_the_scheme_converges_at_fourth_order(changes):
    flow, start = flow_of(**changes), start_field()
    reference = evolve(start, flow, 1.0, REFERENCE_STEP)
    errors = [relative_error(evolve(start, flow, 1.0, h), reference) for h in STEPS]
    assert abs(slope(STEPS, errors) - 4.0) < ORDER_TOLERANCE


@pytest.mark.parametrize("invariant", [energy, enstrophy])
@pytest.mark.parametrize("seed", [0, 2])
def test_inviscid_drift_of_the_invariants_falls_at_fourth_order_or_faster(
    invariant, seed
):
    start = start_field(seed=seed)
    steps = np.array([1 / 16, 1 / 20, 1 / 25, 1 / 30])
    drift = [
        abs(invariant(evolve(start, flow_of(), 1.0, h)) / invariant(start) - 1.0)
        for h in steps
    ]
    assert drift[-1] > 1e-12, "round-off would hide the order"
    assert slope(steps, drift) > 4.0 - ORDER_TOLERANCE
    assert drift[-1] < 1e-5


def test_beta_conserves_energy_and_enstrophy_too():
    start = start_field()
    end = evolve(start, flow_of(beta=5.0), 1.0, 1 / 80)
    assert energy(end) == pytest.approx(energy(start), rel=1e-8)
    assert enstrophy(end) == pytest.approx(enstrophy(start), rel=1e-7)


@pytest.mark.parametrize("time_step", [0.01, 0.5, 7.0])
@pytest.mark.parametrize("shape", [(32, 32), (48, 33)])
def test_modes_of_one_modulus_decay_exactly_for_any_time_step(time_step, shape):
    grid = Grid(shape)
    # |k| = 5 throughout, so J = 0; weak, so that the largest step is within CFL.
    start = 1e-3 * (np.cos(5 * grid.x) + np.sin(3 * grid.x + 4 * grid.y))
    flow = flow_of(shape, reynolds=100.0, linear_drag=0.02, hyperviscosity=1e-4)
    end = evolve(start, flow, 7.0, time_step)
    rate = 25 / 100.0 + 0.02 + 1e-4 * 25**2
    assert relative_error(end, start * np.exp(-7.0 * rate)) < 10 * ROUND_OFF


@pytest.mark.parametrize("time_step", [0.01, 0.5, 7.0])
@pytest.mark.parametrize("mode", [(1, 0), (3, -4), (2, 5)])
def test_a_rossby_wave_moves_at_its_exact_phase_speed(time_step, mode):
    grid, beta, duration = Grid((32, 48)), 3.0, 7.0
    (k, l), k2 = mode, mode[0] ** 2 + mode[1] ** 2  # noqa: E741
    start = 1e-3 * np.cos(k * grid.x + l * grid.y)
    flow = flow_of((32, 48), reynolds=1000.0, beta=beta)
    end = evolve(start, flow, duration, time_step)
    # omega = -beta k / k^2: crests move towards negative x.
    phase = k * grid.x + l * grid.y + beta * k / k2 * duration
    expected = 1e-3 * np.cos(phase) * np.exp(-k2 / 1000.0 * duration)
    assert relative_error(end, expected) < 10 * ROUND_OFF


@pytest.mark.parametrize("shape", [(32, 32), (48, 33)])
def test_a_flow_in_balance_with_its_forcing_stays_put(shape):
    grid = Grid(shape)
    flow = flow_of(shape, reynolds=100.0, linear_drag=0.1, forcing_wavenumber=4)
    amplitude = -4.0 / (16 / 100.0 + 0.1)  # nu k_f^2 w + drag w = -f
    balanced = amplitude * (np.cos(4 * grid.x) + np.cos(4 * grid.y))
    end = evolve(balanced, flow, 0.5, 0.002)
    # This balance is an unstable Kolmogorov flow: round-off grows a little.
    assert relative_error(end, balanced) < 10 * ROUND_OFF


def test_the_error_of_a_forced_balance_is_that_of_simpsons_rule():
    # The forcing is integrated against exp(-L t) by Simpson's rule: (L h)^4 / 2880.
    grid, rate, time_step = Grid((32, 32)), 16.0 + 0.1, 2e-3
    flow = flow_of(reynolds=1.0, linear_drag=0.1, forcing_wavenumber=4)
    balanced = -4.0 / rate * (np.cos(4 * grid.x) + np.cos(4 * grid.y))
    error = relative_error(evolve(balanced, flow, 1.0, time_step), balanced)
    assert error == pytest.approx((rate * time_step) ** 4 / 2880.0, rel=0.01)


@pytest.mark.parametrize("beta", [0.0, 4.0])
@pytest.mark.parametrize("shape", [(32, 32), (48, 32)])
def test_energy_change_closes_against_its_budget(shape, beta):
    flow = flow_of(
        shape,
        reynolds=150.0,
        linear_drag=0.1,
        forcing_wavenumber=2,
        hyperviscosity=1e-6,
        beta=beta,
    )
    before = evolve(start_field(shape, seed=1), flow, 0.5, 0.01)
    gaps = []
    for half_width in (0.04, 0.02, 0.01):
        middle = evolve(before, flow, half_width, half_width / 8)
        after = evolve(middle, flow, half_width, half_width / 8)
        difference = (energy(after) - energy(before)) / (2 * half_width)
        gaps.append(difference - energy_budget(middle, flow).total)
    # A centred difference errs by O(h^2) alone: extrapolated to h = 0 nothing is left.
    assert gaps[0] / gaps[1] == pytest.approx(4.0, abs=0.2)
    assert gaps[1] / gaps[2] == pytest.approx(4.0, abs=0.1)
    assert abs((4 * gaps[2] - gaps[1]) / 3) < 0.05 * abs(gaps[2])


class _Toy:
    """`dw/dt = L w + w^2 cos(t)`, elementwise: time and state both enter N."""

    def __init__(self, linear_operator):
        self.linear_operator = linear_operator

    def nonlinear_terms(self, vorticity_hat, time, out):
        np.multiply(vorticity_hat**2, math.cos(time), out=out)


@pytest.mark.parametrize("rates", [[[-0.5, -2.0]], [[-0.5 + 1.0j, 3.0j]]])
def test_stages_see_the_right_times_on_a_time_dependent_equation(rates):
    def end(num_steps):
        step = integrating_factor_rk4(_Toy(np.array(rates)), 1.0 / num_steps)
        state = np.array([[0.3 + 0.1j, -0.2j]])
        for number in range(num_steps):
            step(state, number / num_steps)
        return state

    counts = np.array([10, 15, 20, 30, 40])
    errors = [relative_error(end(n), end(400)) for n in counts]
    assert abs(slope(1.0 / counts, errors) - 4.0) < ORDER_TOLERANCE


@pytest.mark.parametrize("rates", [[[-3.0, -200.0]], [[-3.0 + 40.0j, 100.0j]]])
def test_the_linear_part_is_exact(rates):
    equation = _Toy(np.array(rates))
    equation.nonlinear_terms = lambda vorticity_hat, time, out: out.fill(0.0)
    state = np.array([[1.0 - 2.0j, 0.5j]])
    expected = state * np.exp(np.array(rates) * 0.75)
    step = integrating_factor_rk4(equation, 0.25)
    for number in range(3):
        step(state, 0.25 * number)
    np.testing.assert_allclose(state, expected, rtol=1e-13)
