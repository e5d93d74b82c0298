"""The numba kernels against the NumPy ones, and the repeatability of whole runs."""

import numpy as np
import pytest

from turbulence_data.config import FlowConfig
from turbulence_data.solver import advection, fused_kernels, kernels, time_stepping
from turbulence_data.solver.grid import Grid
from turbulence_data.solver.initial_conditions import RandomVorticity
from turbulence_data.solver.simulation import Simulation, evolve

ROUND_OFF = 1e-12  # forty steps of a turbulent flow amplify the last bit a little
SHAPES = [(4, 3), (16, 9), (33, 17), (64, 22)]
SIZES = [1, 7, 64, 1001]


def real(rng, shape):
    return rng.standard_normal(shape)


def complex_(rng, shape):
    return rng.standard_normal(shape) + 1j * rng.standard_normal(shape)


def assert_same_bits(name, arguments):
    """Calls both versions on copies and compares every array, outputs and inputs."""
    results = []
    for module in (kernels, fused_kernels):
        copies = [a.copy() if isinstance(a, np.ndarray) else a for a in arguments]
        getattr(module, name)(*copies)
        results.append(copies)
    for number, pair in enumerate(zip(*results, strict=True)):
        np.testing.assert_array_equal(*pair, err_msg=f"argument {number} of {name}")


@pytest.mark.parametrize("shape", SHAPES)
def test_velocity_same_bits(shape):
    rng = np.random.default_rng(0)
    arguments = [complex_(rng, shape), real(rng, shape), real(rng, shape)]
    assert_same_bits(
        "velocity", [*arguments, complex_(rng, shape), complex_(rng, shape)]
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_velocity_products_same_bits(shape):
    rng = np.random.default_rng(1)
    assert_same_bits("velocity_products", [real(rng, shape), real(rng, shape)])


@pytest.mark.parametrize("shape", SHAPES)
def test_advection_same_bits(shape):
    rng = np.random.default_rng(2)
    hats = [complex_(rng, shape) for _ in range(2)]
    factors = [real(rng, shape) for _ in range(2)]
    assert_same_bits("advection", [*hats, *factors, complex_(rng, shape)])


@pytest.mark.parametrize("shape", SHAPES)
def test_packed_kernels_same_bits(shape):
    rng = np.random.default_rng(5)
    nx, columns = shape
    field, positive = complex_(rng, shape), complex_(rng, shape)
    negative = complex_(rng, (nx, columns - 1))
    factors = [real(rng, shape) for _ in range(2)]
    assert_same_bits("packed_velocity", [field, *factors, positive, negative])
    assert_same_bits("packed_advection", [positive, negative, *factors, field])
    assert_same_bits("square", [field])


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("draw", [real, complex_])
@pytest.mark.parametrize("stage", ["first", "second", "third", "last"])
def test_runge_kutta_stages_same_bits(stage, draw, size):
    rng = np.random.default_rng(3)
    e, w, k, state, total = (draw(rng, size) for _ in range(5))
    arguments = {
        "first": [e, w, k, 0.013, state, total],
        "second": [w, k, 0.013, state, total],
        "third": [e, w, k, 0.013, state, total],
        "last": [w, k, 0.013, total],
    }
    assert_same_bits(f"rk4_{stage}", arguments[stage])


@pytest.mark.parametrize("module", [kernels, fused_kernels])
def test_kernels_do_what_their_formulas_say(module):
    rng, shape = np.random.default_rng(4), (8, 5)
    hat, a, b = complex_(rng, shape), real(rng, shape), real(rng, shape)
    u, v = np.empty(shape, complex), np.empty(shape, complex)
    module.velocity(hat, a, b, u, v)
    np.testing.assert_allclose(u, 1j * a * hat, rtol=1e-15)
    np.testing.assert_allclose(v, -1j * b * hat, rtol=1e-15)
    first, second = a.copy(), b.copy()
    module.velocity_products(first, second)
    np.testing.assert_allclose(first, a * b, rtol=1e-15)
    np.testing.assert_allclose(second, b**2 - a**2, rtol=1e-13)
    out = np.empty(shape, complex)
    module.advection(u, v, a, b, out)
    np.testing.assert_allclose(out, a * u + b * v, rtol=1e-13)


def field(shape=(48, 32)) -> np.ndarray:
    return RandomVorticity(0.5, 4.0)(Grid(shape), np.random.default_rng(5))


def flow_of(shape=(48, 32), beta: float = 0.0) -> FlowConfig:
    return FlowConfig(shape, reynolds=200.0, forcing_wavenumber=4, beta=beta)


@pytest.mark.parametrize("beta", [0.0, 3.0], ids=["real_operator", "complex_operator"])
@pytest.mark.parametrize("time_step", [0.01, None])
def test_a_whole_run_with_either_kernels_has_the_same_bits(
    monkeypatch, beta, time_step
):
    ends = []
    for module in (kernels, fused_kernels):
        for user in (advection, time_stepping):
            monkeypatch.setattr(user, "pointwise_kernels", lambda chosen=module: chosen)
        ends.append(evolve(field(), flow_of(beta=beta), 0.4, time_step))
    np.testing.assert_array_equal(*ends)


def test_numba_is_used_where_it_is_installed():
    assert advection.pointwise_kernels() is fused_kernels


@pytest.mark.parametrize("beta", [0.0, 3.0])
@pytest.mark.parametrize("shape", [(48, 32), (24, 1024)])
def test_runs_repeat_bit_for_bit(shape, beta):
    flow = flow_of(shape, beta)
    first, second = (evolve(field(shape), flow, 0.02, 5e-4) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_one_simulation_used_twice_has_no_memory():
    simulation = Simulation(flow_of())
    start = simulation.start(field())
    first = simulation.advance(start, 0.2, 0.01)
    simulation.advance(simulation.start(2.0 * field()), 0.1, 0.005)
    second = simulation.advance(start, 0.2, 0.01)
    np.testing.assert_array_equal(first.vorticity_hat, second.vorticity_hat)


@pytest.mark.parametrize("shape", [(48, 32), (64, 64)])
def test_two_threads_agree_with_one_to_round_off(shape):
    ends = []
    for threads in (1, 2):
        simulation = Simulation(flow_of(shape), threads=threads)
        end = simulation.advance(simulation.start(field(shape)), 0.4, 0.01)
        ends.append(end.vorticity_hat)
    difference = np.linalg.norm(ends[0] - ends[1]) / np.linalg.norm(ends[0])
    assert difference < ROUND_OFF
