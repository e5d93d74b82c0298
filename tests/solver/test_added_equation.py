"""An equation of one's own, with two layers, runs on the engine as the others do."""

from dataclasses import dataclass

import numpy as np
import pytest

from turbulence_data import FlowConfig, Numerics, RandomVorticity, etdrk4, evolve
from turbulence_data.solver import (
    Drive,
    Equation,
    Grid,
    Simulation,
    _simulation,
    truncated_modes,
)

EPSILON = 1e-12


@dataclass(frozen=True)
class TwoPlanes:
    """Two planes that do not know each other, with a viscosity each."""

    num_points: int
    viscosities: tuple[float, float]
    lengths = (2.0 * np.pi, 2.0 * np.pi)

    @property
    def shape(self):
        return self.num_points, self.num_points


class TwoPlanesEquation(Equation):
    layers = (2,)
    wave_rate = 0.0

    def __init__(self, flow, modes, closure=None, forcing=None):
        super().__init__(flow, modes, Drive(), closure, forcing)
        viscosities = np.reshape(flow.viscosities, (2, 1, 1))
        self.linear_operator = -viscosities * modes.k_squared

    def nonlinear_terms(self, operations, state_hat, out):
        for layer, result in zip(state_hat, out, strict=True):
            operations.advection(layer, result)

    def advection_rate(self, operations, state_hat):
        return max(operations.advection_rate(layer) for layer in state_hat)

    def streamfunction_hat(self, state_hat):
        return state_hat * self.modes.inverse_k_squared

    def energy(self, state_hat):
        return self.modes.energy(state_hat)

    def check_start(self, field):
        return np.stack([super(TwoPlanesEquation, self).check_start(f) for f in field])

    def integrals(self, state_hat, time):
        raise NotImplementedError


@pytest.fixture(autouse=True)
def _known(monkeypatch):
    monkeypatch.setitem(_simulation._EQUATIONS, TwoPlanes, TwoPlanesEquation)


def fields():
    draw, grid = RandomVorticity(0.5, 4.0), Grid((32, 32))
    return np.stack([draw(grid, np.random.default_rng(seed)) for seed in range(2)])


def single(viscosity):
    return FlowConfig(32, 1.0 / viscosity, 0.0, forcing_wavenumber=None)


@pytest.mark.parametrize("numerics", [Numerics(), Numerics(etdrk4)])
@pytest.mark.parametrize("closure", [None, lambda w, psi: -0.2 * w])
def test_each_plane_is_the_plane_by_itself(numerics, closure):
    start, viscosities = fields(), (0.02, 0.005)
    flow = TwoPlanes(32, viscosities)
    end = evolve(start, flow, 0.3, 0.01, closure, numerics=numerics)
    for plane, field, viscosity in zip(end, start, viscosities, strict=True):
        alone = evolve(field, single(viscosity), 0.3, 0.01, closure, numerics=numerics)
        assert np.abs(plane - alone).max() < EPSILON * np.abs(alone).max()


def test_several_states_run_side_by_side():
    flow = TwoPlanes(32, (0.02, 0.005))
    starts = np.stack([fields(), fields()[::-1]])
    together = evolve(starts, flow, 0.2, 0.01)
    for start, end in zip(starts, together, strict=True):
        assert np.array_equal(evolve(start, flow, 0.2, 0.01), end)


def test_chosen_steps_are_those_of_the_faster_plane():
    start, flow = (
        fields() * np.reshape([1.0, 3.0], (2, 1, 1)),
        TwoPlanes(32, (1e-3,) * 2),
    )
    simulation, alone = Simulation(flow), Simulation(single(1e-3))
    chosen = simulation.suggested_time_step(simulation.start(start))
    assert chosen == alone.suggested_time_step(alone.start(start[1]))


@pytest.mark.parametrize("is_sparse", [True, False])
def test_the_damping_of_a_source_is_the_mean_over_its_modes_in_all_layers(is_sparse):
    modes = truncated_modes(Grid((32, 32)))
    equation = TwoPlanesEquation(TwoPlanes(32, (0.02, 0.005)), modes)
    # In the first plane k = 1 with an amplitude of 3, in the second k = 2 with 1.
    source_hat = np.zeros(equation.shape, complex)
    source_hat[0, 0, 1], source_hat[1, 0, 2] = 3.0, 1.0
    steady = Drive(steady=source_hat)
    equation.drive = steady if is_sparse else Drive(varying=lambda time: source_hat)
    expected = (9.0 * 0.02 * 1.0 + 1.0 * 0.005 * 4.0) / 10.0
    assert equation.source_damping(0.0) == pytest.approx(expected, rel=EPSILON)


def test_a_flow_without_an_equation_is_refused():
    with pytest.raises(TypeError, match=r"flow must be a FlowConfig.* received 3"):
        Simulation(3)
