"""The numba kernels against the NumPy ones, and the repeatability of whole runs."""

import numpy as np
import pytest

from turbulence_data.config import FlowConfig
from turbulence_data.solver import _schemes as time_stepping
from turbulence_data.solver._evolve import evolve
from turbulence_data.solver._grid import Grid
from turbulence_data.solver._initial_conditions import RandomVorticity
from turbulence_data.solver._simulation import Numerics, Simulation
from turbulence_data.solver.fftw import _advection as advection
from turbulence_data.solver.fftw import _pointwise as kernels
from turbulence_data.solver.fftw import _pointwise_numba as fused_kernels
from turbulence_data.solver.fftw._engine import FftwEngine

ROUND_OFF = 1e-12  # forty steps of a turbulent flow amplify the last bit a little
SHAPES = [(4, 3), (16, 9), (33, 17), (64, 22)]
SIZES = [1, 7, 64, 1001]


def real(rng, shape):
    return rng.standard_normal(shape)


def complex_(rng, shape):
    return rng.standard_normal(shape) + 1j * rng.standard_normal(shape)


def single(argument):
    """The argument in single precision; numbers stay Python numbers."""
    if not isinstance(argument, np.ndarray):
        return argument
    return argument.astype("complex64" if np.iscomplexobj(argument) else "float32")


def outcome(module, name, arguments):
    """All arrays after the call, outputs and inputs."""
    copies = [a.copy() if isinstance(a, np.ndarray) else a for a in arguments]
    getattr(module, name)(*copies)
    return copies


def assert_same_bits(name, arguments, differs=lambda module, argument: argument):
    """Calls both versions in both precisions; `differs` adapts to the module."""
    for given in (arguments, [single(argument) for argument in arguments]):
        results = [
            outcome(module, name, [differs(module, argument) for argument in given])
            for module in (kernels, fused_kernels)
        ]
        for number, (first, second) in enumerate(zip(*results, strict=True)):
            if isinstance(first, np.ndarray) and first.shape == second.shape:
                assert first.dtype == second.dtype
                message = f"argument {number} of {name}"
                np.testing.assert_array_equal(first, second, err_msg=message)


def assert_calls_same_bits(call, arguments):
    """As `assert_same_bits`, of a kernel whose arguments `call` puts into tuples."""
    for given in (arguments, [single(argument) for argument in arguments]):
        ends = []
        for module in (kernels, fused_kernels):
            copies = [argument.copy() for argument in given]
            call(module, *copies)
            ends.append(copies)
        for one, other in zip(*ends, strict=True):
            np.testing.assert_array_equal(one, other)


def with_factors(module, argument):
    """Tables, the only real arrays of three axes, in the module's own form."""
    if isinstance(argument, np.ndarray) and argument.dtype.kind == "f":
        return module.factors_of(argument)
    return argument


def tables(rng, shape, cutoff):
    """Random factors that are zero beyond the cutoff, as those of masked modes are."""
    factors = real(rng, (2, *shape))
    factors[:, cutoff + 1 : shape[0] - cutoff] = 0.0
    return factors


@pytest.mark.parametrize("first", [0, 3])
@pytest.mark.parametrize("shape", SHAPES)
def test_spectral_kernels_same_bits(shape, first):
    rng, cutoff = np.random.default_rng(0), (shape[0] - 1) // 3
    (nx, columns), padding = shape, 4
    factors = tables(rng, shape, cutoff)
    field = complex_(rng, (nx, first + columns + 2))
    pair = np.zeros((2, nx, columns + padding), complex)
    for more_rows in (0, 6):
        longer = complex_(rng, (nx + more_rows, first + columns + 2))
        given = [longer, first, factors, cutoff, pair]
        assert_same_bits("velocity", given, with_factors)
    pair = complex_(rng, pair.shape)
    assert_same_bits("advection", [pair, factors, cutoff, first, field], with_factors)


@pytest.mark.parametrize("first", [0, 3])
@pytest.mark.parametrize("shape", SHAPES)
def test_kernels_of_two_layers_same_bits(shape, first):
    rng, cutoff = np.random.default_rng(2), (shape[0] - 1) // 3
    (nx, columns), bounds = shape, (cutoff, first, first + shape[1])
    whole = (nx, first + columns + 2)
    q_hat, coupling = complex_(rng, (2, *whole)), complex_(rng, whole)
    matrix, stretching = real(rng, (2, *whole)), real(rng, whole)
    wavenumbers = real(rng, nx), real(rng, whole[1])
    pair, product = (
        complex_(rng, (2, nx, columns + 4)),
        complex_(rng, (nx, columns + 4)),
    )
    out = complex_(rng, whole)

    def velocity(module, q_hat, matrix, kx, ky, pair):
        module.layer_velocity(q_hat, matrix, (kx, ky), bounds, pair)

    def exchange(module, product, stretching, q_hat, coupling, out):
        module.add_exchange((product, stretching), (q_hat, coupling), bounds, out)

    assert_calls_same_bits(velocity, [q_hat, matrix, *wavenumbers, pair])
    assert_calls_same_bits(exchange, [product, stretching, q_hat[0], coupling, out])
    z1, z2 = complex_(rng, (2, *shape))
    half = -(-nx // 2)
    assert_same_bits("layer_products", [z1, z2, complex_(rng, (half, columns))])
    rows = complex_(rng, (half, 2 * columns))
    assert_same_bits("unpack_row_pairs", [rows, complex_(rng, shape)])


@pytest.mark.parametrize("module", [kernels, fused_kernels])
@pytest.mark.parametrize(("height", "ny"), [(4, 8), (5, 9), (1, 7)])
def test_products_of_two_layers_and_their_coefficients(module, height, ny):
    rng, cutoff = np.random.default_rng(6), 3
    u1, v1, u2, v2 = real(rng, (4, height, ny))
    z1, z2 = u1 + 1j * v1, u2 + 1j * v2
    cross = complex_(rng, (-(-height // 2), ny))
    module.layer_products(z1, z2, cross)
    np.testing.assert_allclose(z1, u1**2 - v1**2 + 1j * u1 * v1, rtol=1e-13)
    np.testing.assert_allclose(z2, u2**2 - v2**2 + 1j * u2 * v2, rtol=1e-13)
    found = np.empty((height, cutoff + 1), complex)
    module.unpack_row_pairs(np.fft.fft(cross), found)
    expected = 2.0 * np.fft.fft(v1 * u2 - u1 * v2)[:, : cutoff + 1]
    np.testing.assert_allclose(found, expected, atol=1e-13)


@pytest.mark.parametrize("shape", SHAPES)
def test_row_kernels_same_bits(shape):
    rng = np.random.default_rng(1)
    height, columns = shape
    pair = complex_(rng, (2, height, columns))
    rows = complex_(rng, (height, 3 * columns))
    assert_same_bits("pack_rows", [pair, rows])
    assert_same_bits("unpack_rows", [rows, pair])
    assert_same_bits("products", [rows])
    assert_same_bits("times_modulus", [rows])


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
    rng, shape, cutoff = np.random.default_rng(4), (8, 5), 2
    resolved = np.r_[0:3, 6:8]
    factors, (nx, columns), first = tables(rng, shape, cutoff), shape, 2
    whole = complex_(rng, (nx, 9))
    hat = whole[:, first : first + columns]
    given = module.factors_of(factors)
    c, d = factors[:, resolved]
    u, v = 1j * c * hat[resolved], -1j * d * hat[resolved]
    longer = np.insert(whole, [4] * 5, np.nan, axis=0)
    for layout in (whole, longer):
        pair = np.zeros((2, nx, columns + 3), complex)
        module.velocity(layout, first, given, cutoff, pair)
        np.testing.assert_allclose(
            pair[:, resolved, :columns], [u + 1j * v, u - 1j * v], rtol=1e-14
        )
        assert np.all(pair[:, 3:6] == 0.0)
        assert np.all(pair[:, :, columns:] == 0.0)
    p, q = complex_(rng, (2, nx, columns + 3))
    before, pair = whole.copy(), np.stack([p + 1j * q, p - 1j * q])
    module.advection(pair, given, cutoff, first, whole)
    expected = 2 * (factors[0] * p[:, :columns] + factors[1] * q[:, :columns])
    np.testing.assert_allclose(hat, expected, rtol=1e-13)
    outside = np.delete(np.arange(9), slice(first, first + columns))
    np.testing.assert_array_equal(whole[:, outside], before[:, outside])
    z = complex_(rng, shape)
    expected = z.real**2 - z.imag**2 + 1j * z.real * z.imag
    module.products(z)
    np.testing.assert_allclose(z, expected, rtol=1e-13)


@pytest.mark.parametrize("module", [kernels, fused_kernels])
@pytest.mark.parametrize("ny", [7, 8])
def test_rows_hold_two_real_fields_as_one_complex_field(module, ny):
    rng, cutoff = np.random.default_rng(5), 3
    a, b = rng.standard_normal((2, 6, ny))
    a_hat, b_hat = (np.fft.fft(f)[:, : cutoff + 1] for f in (a, b))
    expected = np.stack([a_hat + 1j * b_hat, a_hat - 1j * b_hat])
    rows, pair = np.zeros((6, ny), complex), np.empty_like(expected)
    z_hat = np.fft.fft(a + 1j * b)
    module.unpack_rows(z_hat, pair)
    np.testing.assert_allclose(pair, expected, atol=1e-13)
    module.pack_rows(pair, rows)
    beyond = slice(cutoff + 1, ny - cutoff)
    np.testing.assert_allclose(np.delete(rows, beyond, 1), np.delete(z_hat, beyond, 1))
    assert np.all(rows[:, beyond] == 0.0)


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
        simulation = Simulation(
            flow_of(shape), numerics=Numerics(engine=FftwEngine(threads=threads))
        )
        end = simulation.advance(simulation.start(field(shape)), 0.4, 0.01)
        ends.append(end.vorticity_hat)
    difference = np.linalg.norm(ends[0] - ends[1]) / np.linalg.norm(ends[0])
    assert difference < ROUND_OFF
