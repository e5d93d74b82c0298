"""States that another simulation made, states of several fields, and threads."""

import copy
import pickle
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tests.solver.common import EDDY, noise
from turbulence_data import FlowConfig, Numerics, RandomVorticity, etdrk4
from turbulence_data.closures import NoClosure
from turbulence_data.solver._equation import State
from turbulence_data.solver._grid import Grid
from turbulence_data.solver._simulation import Simulation

FLOW = FlowConfig(16, 100.0, linear_drag=0.1, forcing_wavenumber=None, beta=2.0)
DNS = Simulation(FLOW)
LES = Simulation(FLOW, NoClosure())


def start_field(seed: int = 0, points: int = 16) -> np.ndarray:
    draw = RandomVorticity(energy=0.5, peak_wavenumber=3.0)
    return draw(Grid((points, points)), np.random.default_rng(seed))


@pytest.mark.parametrize("scheme", [Numerics().scheme, etdrk4])
def test_a_state_goes_on_in_the_precision_of_the_simulation(scheme):
    double = Simulation(FLOW, numerics=Numerics(scheme))
    single = Simulation(FLOW, numerics=Numerics(scheme, np.float32))
    whole = double.vorticity(double.advance(double.start(start_field()), 0.5, 0.01))
    for first, then in ((double, single), (single, double)):
        half = first.advance(first.start(start_field()), 0.1, 0.01)
        end = then.advance(half, 0.4, 0.01)
        assert end.vorticity_hat.dtype == then.modes.complex_dtype
        assert (
            then.advance(half, 0.0, 0.01).vorticity_hat.dtype == end.vorticity_hat.dtype
        )
        assert np.abs(then.vorticity(end) - whole).max() < 1e-4
        assert then.energy(half) == pytest.approx(first.energy(half), rel=1e-5)


@pytest.mark.parametrize("changed", [np.asfortranarray, lambda hat: hat.astype(">c16")])
def test_a_state_goes_on_whatever_its_place_in_memory(changed):
    start = DNS.start(start_field())
    other = State(changed(start.vorticity_hat))
    other.vorticity_hat.setflags(write=False)
    before = other.vorticity_hat.copy()
    expected = DNS.advance(start, 0.1, 0.01).vorticity_hat
    assert np.array_equal(DNS.advance(other, 0.1, 0.01).vorticity_hat, expected)
    assert DNS.largest_time_step(other) == DNS.largest_time_step(start)
    assert np.array_equal(other.vorticity_hat, before)


@pytest.mark.parametrize(
    "use",
    [
        lambda dns, state: dns.advance(state, 0.1, 0.01),
        lambda dns, state: dns.advance_members(state, 0.1, 0.01),
        lambda dns, state: dns.largest_time_step(state),
        lambda dns, state: dns.filtered(state, (8, 8), 0.5),
        *(
            lambda dns, state, name=name: getattr(dns, name)(state)
            for name in ("vorticity", "streamfunction", "energy", "integrals")
        ),
    ],
)
def test_the_state_of_an_les_is_no_state_of_a_dns(use):
    # Of 24 x 8 coefficients: as many as two fields of the DNS.
    with pytest.raises(ValueError, match=r"shape \(16, 6\).*received \(24, 8\)"):
        use(DNS, LES.start(start_field()))


def test_the_budget_is_that_of_one_field():
    pair = np.stack([start_field(0), start_field(1)])
    with pytest.raises(
        ValueError, match=r"one field.*\(16, 6\); received \(2, 16, 6\)"
    ):
        DNS.integrals(DNS.start(pair))
    layers = Simulation(EDDY)
    with pytest.raises(ValueError, match="one field"):
        layers.integrals(layers.start(np.stack([noise(), noise(seed=1)])))
    assert layers.integrals(layers.start(noise())).energy > 0.0


def test_members_lie_along_one_leading_axis():
    with pytest.raises(ValueError, match=r"one leading axis.*'members'"):
        LES.advance_members(LES.start(start_field()), 0.1, 0.01)
    end, failed = LES.advance_members(LES.start(start_field()[None]), 0.1, 0.01)
    alone = LES.advance(LES.start(start_field()), 0.1, 0.01)
    assert np.array_equal(end.vorticity_hat[0], alone.vorticity_hat)
    assert failed.shape == (1,)


def test_threads_that_share_a_simulation_get_what_each_gets_alone():
    flow = FlowConfig(64, 500.0, forcing_wavenumber=4)
    shared, alone = Simulation(flow), Simulation(flow)
    starts = [shared.start(start_field(seed, 64)) for seed in range(4)]

    def run(simulation, state):
        for _ in range(3):
            state = simulation.advance(state, 0.3, 0.005)
        return state.vorticity_hat, simulation.largest_time_step(state)

    expected = [run(alone, state) for state in starts]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda state: run(shared, state), starts))
    finally:
        sys.setswitchinterval(interval)
    for (hat, limit), (right, right_limit) in zip(found, expected, strict=True):
        assert np.array_equal(hat, right)
        assert limit == right_limit


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda s: pickle.loads(pickle.dumps(s))]
)
def test_a_simulation_that_has_run_can_be_copied(copied):
    start = DNS.start(start_field())
    end = DNS.advance(start, 0.1, 0.01)
    again = copied(DNS).advance(start, 0.1, 0.01)
    assert np.array_equal(again.vorticity_hat, end.vorticity_hat)


class AsksForRates(NoClosure):
    """A closure that looks at the simulation it is part of, from another thread."""

    def __call__(self, vorticity, streamfunction):
        with ThreadPoolExecutor(1) as pool:
            limit = pool.submit(self.simulation.largest_time_step, self.state).result()
        assert limit == self.limit
        return 0.0 * vorticity


class Advances(NoClosure):
    def __call__(self, vorticity, streamfunction):
        self.simulation.advance(self.state, 0.01, 0.01)
        return 0.0 * vorticity


def within(kind: type) -> tuple[Simulation, State]:
    """A simulation that its closure knows, and its start."""
    closure = kind()
    simulation = Simulation(FLOW, lambda *fields: closure(*fields))
    closure.simulation, closure.state = simulation, simulation.start(start_field(1))
    closure.limit = simulation.largest_time_step(closure.state)
    return simulation, simulation.start(start_field())


def test_a_closure_may_ask_its_simulation_for_the_rate_of_a_state():
    simulation, start = within(AsksForRates)
    end = simulation.advance(start, 0.1, 0.01)
    expected = LES.advance(LES.start(start_field()), 0.1, 0.01)
    np.testing.assert_array_equal(end.vorticity_hat, expected.vorticity_hat)


def test_a_closure_cannot_advance_its_simulation():
    simulation, start = within(Advances)
    with pytest.raises(RuntimeError, match="make another Simulation"):
        simulation.advance(start, 0.1, 0.01)
