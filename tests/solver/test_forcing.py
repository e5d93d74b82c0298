"""Forcing of the user's own that is deterministic: what it does, how exactly, when."""

import math
from dataclasses import replace

import numpy as np
import pytest

from turbulence_data.config import FlowConfig
from turbulence_data.diagnostics import energy, energy_budget, enstrophy_budget
from turbulence_data.solver._evolve import evolve
from turbulence_data.solver._forcing import SteadyForcing
from turbulence_data.solver._grid import Grid
from turbulence_data.solver._initial_conditions import RandomVorticity
from turbulence_data.solver._modes import padded_modes, truncated_modes
from turbulence_data.solver._schemes import etdrk4, integrating_factor_rk4
from turbulence_data.solver._simulation import Numerics, Simulation
from turbulence_data.solver._vorticity import VorticityEquation
from turbulence_data.solver.fftw._engine import FftwEngine

ROUND_OFF = 1e-13  # relative to the largest value; a handful of transforms
AMPLIFIED = 1e-11  # round-off after a turnover time or two of turbulence
ORDER_TOLERANCE = 0.25  # of a fitted order of convergence
STEPS = np.array([1 / 20, 1 / 30, 1 / 40, 1 / 60, 1 / 80])
NU = 0.02
FLOW = FlowConfig(32, 1.0 / NU, linear_drag=0.1, forcing_wavenumber=None)
GRID = Grid((32, 32))


def start_field(shape=(32, 32)):
    draw = RandomVorticity(energy=0.5, peak_wavenumber=3.0)
    return draw(Grid(shape), np.random.default_rng(0))


def relative_error(field, reference):
    return np.linalg.norm(field - reference) / np.linalg.norm(reference)


def kolmogorov(x, y):
    return -2.0 * (np.cos(2 * x) + np.cos(2 * y))


def exact(x, y, time):
    return math.cos(3 * time) * np.cos(2 * x) + math.sin(2 * time) * np.cos(3 * y)


def manufactured(x, y, time):
    """What must drive the flow for `exact` to be its solution: w_t + J - L w."""
    a, b = math.cos(3 * time), math.sin(2 * time)
    rate = -3 * math.sin(3 * time) * np.cos(2 * x)
    rate = rate + 2 * math.cos(2 * time) * np.cos(3 * y)
    # psi = a cos(2x) / 4 + b cos(3y) / 9, u = psi_y, v = -psi_x
    jacobian = -5.0 / 6.0 * a * b * np.sin(2 * x) * np.sin(3 * y)
    damped = (4 * NU + 0.1) * a * np.cos(2 * x) + (9 * NU + 0.1) * b * np.cos(3 * y)
    return rate + jacobian + damped


# What it does


@pytest.mark.parametrize("scheme", [integrating_factor_rk4, etdrk4])
def test_a_manufactured_solution_is_reached_at_fourth_order(scheme):
    start, end = exact(GRID.x, GRID.y, 0.0), exact(GRID.x, GRID.y, 1.0)
    errors = [
        relative_error(
            evolve(
                start,
                FLOW,
                1.0,
                h,
                forcing=manufactured,
                numerics=Numerics(scheme=scheme),
            ),
            end,
        )
        for h in STEPS
    ]
    order = np.polyfit(np.log(STEPS), np.log(errors), 1)[0]
    assert abs(order - 4.0) < ORDER_TOLERANCE


@pytest.mark.parametrize("time_step", [0.01, None])
def test_a_forcing_written_out_is_the_one_that_the_flow_has_by_itself(time_step):
    own = FlowConfig(32, 1.0 / NU, linear_drag=0.1, forcing_wavenumber=2)
    expected = evolve(start_field(), own, 1.0, time_step)
    steady = evolve(
        start_field(), FLOW, 1.0, time_step, forcing=SteadyForcing(kolmogorov)
    )
    varying = evolve(
        start_field(), FLOW, 1.0, time_step, forcing=lambda x, y, t: kolmogorov(x, y)
    )
    assert relative_error(steady, expected) < AMPLIFIED
    assert relative_error(varying, expected) < AMPLIFIED


@pytest.mark.parametrize("make_modes", [truncated_modes, padded_modes])
@pytest.mark.parametrize("shape", [(32, 48), (33, 35)])
def test_the_tendency_at_rest_is_the_source_at_that_time(make_modes, shape):
    grid = Grid(shape, (2 * np.pi, np.pi))
    modes = make_modes(grid)
    flow = FlowConfig(shape, 100.0, 0.1, None, lengths=grid.lengths)

    def source(x, y, time):
        return time * np.sin(x) * np.cos(4 * y)

    out = np.empty(modes.shape, complex)
    equation = VorticityEquation(flow, modes, forcing=source)
    side = FftwEngine().right_hand_side(equation)
    side.nonlinear_terms(np.zeros_like(out), 0.7, out)
    expected = source(grid.x, grid.y, 0.7)
    assert np.abs(modes.to_physical(out) - expected).max() < ROUND_OFF


def test_time_goes_on_where_a_state_is():
    simulation = Simulation(FLOW, forcing=manufactured)
    late = simulation.start(exact(GRID.x, GRID.y, 5.0), time=5.0)
    end = simulation.vorticity(simulation.advance(late, 0.5, 0.005))
    assert relative_error(end, exact(GRID.x, GRID.y, 5.5)) < 1e-7


@pytest.mark.parametrize("budget", [energy_budget, enstrophy_budget])
def test_the_work_is_that_of_the_source_at_the_time_of_the_field(budget):
    vorticity = start_field()
    at_rest = FlowConfig(32, math.inf, 0.0, None)
    work = budget(vorticity, at_rest, forcing=manufactured, time=0.3).work
    factor = vorticity if budget is enstrophy_budget else streamfunction(vorticity)
    expected = np.mean(factor * manufactured(GRID.x, GRID.y, 0.3))
    assert work == pytest.approx(expected, rel=1e-12)
    assert work != pytest.approx(budget(vorticity, at_rest, forcing=manufactured).work)


def streamfunction(vorticity):
    modes = padded_modes(GRID)
    return modes.to_physical(modes.from_physical(vorticity) * modes.inverse_k_squared)


def test_the_budget_is_the_rate_at_which_the_energy_changes():
    h = 1e-3
    simulation = Simulation(FLOW, forcing=manufactured)
    states = [simulation.start(start_field(), time=0.4)]
    for _ in range(2):
        states.append(simulation.advance(states[-1], h, h))
    before, now, after = (simulation.vorticity(state) for state in states)
    rate = (energy(after) - energy(before)) / (2 * h)
    total = energy_budget(now, FLOW, forcing=manufactured, time=0.4 + h).total
    assert rate == pytest.approx(total, rel=1e-5)  # h^2 / 6 of the third derivative


# How often it is evaluated


def test_a_steady_source_is_not_evaluated_again_a_varying_one_once_for_each_time():
    counts = {"steady": 0, "varying": 0}

    def counted(x, y, time=None):
        counts["steady" if time is None else "varying"] += 1
        return kolmogorov(x, y)

    for forcing in (SteadyForcing(counted), counted):
        simulation = Simulation(FLOW, forcing=forcing)
        simulation.advance(simulation.start(start_field()), 0.1, 0.01)
    # At construction, there also on a finer grid, and at the beginning, middle and end
    # of each of ten steps.
    assert counts["steady"] == 2
    assert counts["varying"] <= 2 + 3 * 10


def test_part_of_a_grid_is_enough_where_the_source_varies_along_one_side():
    along_y = evolve(
        start_field(),
        FLOW,
        0.1,
        0.01,
        forcing=SteadyForcing(lambda x, y: np.cos(3 * y)),
    )
    whole = evolve(
        start_field(),
        FLOW,
        0.1,
        0.01,
        forcing=SteadyForcing(lambda x, y: np.cos(3 * y) + 0 * x),
    )
    assert np.array_equal(along_y, whole)


def test_chosen_steps_resolve_a_forcing_balanced_by_strong_viscosity():
    """As for the forcing of the flow's own: the damping at its wavenumber counts."""
    flow = FlowConfig(32, 0.1, 0.0, None)
    balanced = 4.0 / 160.0 * np.cos(4 * GRID.x) * np.ones((1, 32))
    forcing = SteadyForcing(lambda x, y: 4.0 * np.cos(4 * x))
    for tolerance, largest in ((3e-7, 1e-6), (1e-5, 3e-5)):
        numerics = Numerics(tolerance=tolerance)
        end = evolve(balanced, flow, 0.5, forcing=forcing, numerics=numerics)
        assert relative_error(end, balanced) < largest


# Bad input


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (lambda x, y, t: np.ones(32), r"on the grid, of shape \(32, 32\).*\(32,\)"),
        (lambda x, y, t: np.ones((16, 16)), r"at time 0 .*received \(16, 16\)"),
        (lambda x, y, t: 1.0, r"received \(\)"),
        (lambda x, y, t: 1j * np.cos(x), r"must be real; received dtype complex128"),
        (lambda x, y, t: np.cos(x) / 0.0, r"must be finite; 1024 of 1024"),
        (lambda x, y, t: 2 + np.cos(x), r"mean 2\. Subtract the mean"),
    ],
)
def test_a_source_that_no_periodic_flow_can_have_is_refused_at_once(source, message):
    with (
        np.errstate(divide="ignore"),
        pytest.raises(ValueError, match=f"source of vorticity.*{message}"),
    ):
        Simulation(FLOW, forcing=source)


def test_a_source_that_goes_wrong_later_is_refused_then():
    def growing_mean(x, y, time):
        return np.cos(x) + np.cos(y) + (time > 0.05)

    with pytest.raises(ValueError, match=r"mean 1\. Subtract the mean"):
        evolve(start_field(), FLOW, 1.0, 0.01, forcing=growing_mean)


@pytest.mark.parametrize("bad", [3, "ring", np.zeros((32, 32))])
def test_what_cannot_force_is_refused_with_what_can(bad):
    with pytest.raises(TypeError, match=r"\(x, y, time\) -> .*RingForcing; received"):
        evolve(start_field(), FLOW, 0.1, forcing=bad)
    with pytest.raises(TypeError, match=r"callable \(x, y\) ->"):
        SteadyForcing(bad)


def waves(number, amplitude=5.0):
    return SteadyForcing(lambda x, y: amplitude * np.cos(number * y) + 0.0 * x)


@pytest.mark.parametrize("number", [11, 12, 16, 21, 25, 31])
@pytest.mark.parametrize("is_steady", [True, False])
def test_a_source_beyond_the_resolved_wavenumbers_is_refused(number, is_steady):
    """32 points resolve 10; 25 waves on them look like 7, and 31 like one."""
    forcing = waves(number)
    if not is_steady:
        source = forcing.source
        forcing = lambda x, y, time: (1.0 + time) * source(x, y)  # noqa: E731
    message = rf"100 % of its mean square .*10\.0.*or \(32, {3 * number + 1}\) points"
    with pytest.raises(ValueError, match=message):
        Simulation(FLOW, forcing=forcing)


@pytest.mark.parametrize("number", [11, 12, 20])
def test_the_points_named_resolve_the_source_and_one_less_does_not(number):
    enough = (32, 3 * number + 1)
    driven = evolve(
        np.zeros(enough), replace(FLOW, num_points=enough), 0.01, forcing=waves(number)
    )
    grid = Grid(enough)
    linear = 0.01 * waves(number).source(grid.x, grid.y)  # damped by less than a tenth
    assert relative_error(driven, linear) < 0.1
    with pytest.raises(ValueError, match="not resolved"):
        Simulation(replace(FLOW, num_points=(32, 3 * number)), forcing=waves(number))


def test_a_source_is_refused_when_it_leaves_the_resolved_wavenumbers():
    def rising(x, y, time):
        return np.sin(time) * np.cos((4 if time < 0.5 else 14) * x)

    with pytest.raises(ValueError, match=r"at time 0\.5.* is not resolved"):
        evolve(start_field(), FLOW, 1.0, 0.01, forcing=rising)


def test_a_source_that_loses_a_hundredth_is_warned_of_and_a_tenth_refused():
    def of(share):
        """A wave that is resolved, and one beyond with a share of the mean square."""
        beyond = math.sqrt(share / (1.0 - share))
        return SteadyForcing(lambda x, y: np.cos(5 * y) + beyond * np.cos(13 * x))

    Simulation(FLOW, forcing=of(0.0099))
    for share in (0.0101, 0.0999):
        with pytest.warns(UserWarning, match=f"{100 * share:.3g} % of its mean square"):
            Simulation(FLOW, forcing=of(share))
    with pytest.raises(ValueError, match=r"10\.1 % of its mean square"):
        Simulation(FLOW, forcing=of(0.101))


def test_a_source_that_cancels_at_the_start_is_judged_when_it_is_there():
    def crossing(x, y, time):
        """Round-off alone at time 0, at all wavenumbers."""
        source = np.cos(4 * x) + np.cos(4 * (x - math.pi / 4) + time) + 0.0 * y
        return source - source.mean()

    evolve(start_field(), FLOW, 0.1, 0.05, forcing=crossing)


@pytest.mark.parametrize("time_step", [0.05, 0.03])
def test_waves_that_cancel_at_an_instant_are_a_source_as_their_product_is(time_step):
    """There the mean, zero but for round-off, is as large as the field."""

    def two(x, y, time):
        phase = 2 * math.pi * time
        return np.cos(3 * x - phase) + np.cos(3 * x + phase) + 0.0 * y

    def product(x, y, time):
        return 2 * np.cos(3 * x) * math.cos(2 * math.pi * time) + 0.0 * y

    ends = [
        evolve(start_field(), FLOW, 0.5, time_step, forcing=source)
        for source in (two, product)
    ]
    np.testing.assert_allclose(*ends, atol=1e-12)


def test_a_source_is_asked_for_no_time_that_is_not_needed():
    """It may have a state that goes on with time."""
    asked = []

    def source(x, y, time):
        asked.append(time)
        return math.cos(time) * np.cos(3 * x) + 0.0 * y

    evolve(start_field(), FLOW, 0.1, 0.05, forcing=source)
    assert max(asked) <= 0.1


def test_a_mean_is_refused_however_strong_the_source_will_be():
    def growing(x, y, time):
        return math.exp(2 * time) * np.cos(3 * x) + 0.0 * y + 0.5

    with pytest.raises(ValueError, match="Subtract the mean"):
        evolve(start_field(), FLOW, 0.1, 0.05, forcing=growing)


def test_a_mean_of_a_varying_source_is_refused_with_its_time():
    def with_mean(x, y, time):
        return np.cos(3 * x) + 0.0 * y + (time > 0.02)

    with pytest.raises(ValueError, match=r"at time 0\.025 .*Subtract the mean"):
        evolve(start_field(), FLOW, 0.05, 0.05, forcing=with_mean)


@pytest.mark.parametrize("error", [KeyError, AssertionError, RuntimeError, TypeError])
def test_a_table_may_raise_anything_on_other_points(error):
    def table(x, y):
        if x.size != 32:
            raise error("only on 32 points")
        return kolmogorov(x, y)

    with_table, with_function = (
        evolve(start_field(), FLOW, 0.1, 0.05, forcing=SteadyForcing(source))
        for source in (table, kolmogorov)
    )
    assert np.array_equal(with_table, with_function)


def test_what_round_off_leaves_at_an_instant_without_forcing_is_no_reason_to_refuse():
    def pulsating(x, y, time):
        return math.cos(time) * np.cos(4 * x) + 1e-3 * np.cos(14 * y)

    evolve(start_field(), FLOW, 2.0, 0.05, forcing=pulsating)  # cos is 0 at pi / 2


def test_a_table_on_the_points_of_the_flow_is_a_source():
    table = kolmogorov(GRID.x, GRID.y)
    with_table, with_function = (
        evolve(start_field(), FLOW, 0.1, 0.01, forcing=SteadyForcing(source))
        for source in (lambda x, y: table, kolmogorov)
    )
    assert np.array_equal(with_table, with_function)


def test_two_forcings_at_once_are_refused():
    own = FlowConfig(32, 100.0, forcing_wavenumber=4)
    with pytest.raises(ValueError, match=r"forcing_wavenumber=4 and SteadyForcing"):
        evolve(start_field(), own, 0.1, forcing=SteadyForcing(kolmogorov))
    with pytest.raises(ValueError, match="forcing_wavenumber=None"):
        energy_budget(start_field(), own, forcing=SteadyForcing(kolmogorov))
