"""Every term of the vorticity equation, against its definition in physical space."""

import re

import numpy as np
import pytest

from turbulence_data.config import FlowConfig
from turbulence_data.solver._equation import RightHandSide
from turbulence_data.solver._grid import Grid, jacobian_hat, resize, to_spectral
from turbulence_data.solver._modes import padded_modes, truncated_modes
from turbulence_data.solver._vorticity import VorticityEquation
from turbulence_data.solver.fftw._engine import FftwEngine, FftwOperations

ROUND_OFF = 1e-13  # relative to the largest coefficient; a handful of FFTs
SHAPES = [(32, 32), (33, 33), (48, 32), (24, 35), (40, 1024)]  # the last: many blocks
MODES = [truncated_modes, padded_modes]


def flow_of(shape, **changes) -> FlowConfig:
    values = {"reynolds": 100.0, "linear_drag": 0.1, "forcing_wavenumber": None}
    return FlowConfig(shape, **(values | changes))


def random_hat(modes, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal(modes.grid.num_points)
    return modes.from_physical(noise)


def nonlinear_terms(flow, modes, hat, closure=None) -> np.ndarray:
    out = np.full(modes.shape, np.nan, complex)
    equation = VorticityEquation(flow, modes, closure)
    FftwEngine().right_hand_side(equation).nonlinear_terms(hat, 0.0, out)
    return out


@pytest.mark.parametrize("make_modes", MODES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("lengths", [(2 * np.pi, 2 * np.pi), (3.0, 7.5)])
def test_advection_is_minus_the_jacobian_on_resolved_modes(make_modes, shape, lengths):
    grid = Grid(shape, lengths)
    modes = make_modes(grid)
    hat = random_hat(modes)
    computed = nonlinear_terms(flow_of(shape, lengths=lengths), modes, hat)
    on_grid = jacobian_hat(to_spectral(modes.to_physical(hat)), grid)
    wide = resize(on_grid, shape, modes.quadrature.num_points)
    expected = -wide[:, : modes.shape[1]] * modes.mask
    assert np.abs(computed - expected).max() < ROUND_OFF * np.abs(expected).max()
    assert np.all(computed[~modes.mask] == 0.0)


@pytest.mark.parametrize("make_modes", MODES)
def test_the_argument_is_left_unchanged_and_calls_repeat_bit_for_bit(make_modes):
    modes = make_modes(Grid((48, 32)))
    hat = random_hat(modes)
    kept = hat.copy()
    flow = flow_of((48, 32), forcing_wavenumber=4)
    equation = VorticityEquation(flow, modes, lambda vorticity, psi: psi)
    operations = FftwOperations(modes)
    side = RightHandSide(equation, operations)
    first, second = np.empty_like(hat), np.empty_like(hat)
    side.nonlinear_terms(hat, 0.0, first)
    equation.advection_rate(operations, hat)
    side.nonlinear_terms(hat, 0.0, second)
    assert np.array_equal(hat, kept)
    assert np.array_equal(first, second)


@pytest.mark.parametrize("make_modes", MODES)
@pytest.mark.parametrize("shape", SHAPES[:4])
@pytest.mark.parametrize("lengths", [(2 * np.pi, 2 * np.pi), (4 * np.pi, np.pi)])
def test_forcing_is_minus_kf_times_the_two_cosines(make_modes, shape, lengths):
    grid = Grid(shape, lengths)
    modes = make_modes(grid)
    flow = flow_of(shape, forcing_wavenumber=2, lengths=lengths)
    at_rest = np.zeros(modes.shape, complex)
    source = modes.to_physical(nonlinear_terms(flow, modes, at_rest))
    expected = -2.0 * (np.cos(2 * grid.x) + np.cos(2 * grid.y))
    assert np.abs(source - expected).max() < ROUND_OFF


def test_linear_operator_holds_viscosity_hyperviscosity_drag_and_beta():
    flow = FlowConfig(
        (32, 24),
        reynolds=50.0,
        linear_drag=0.3,
        forcing_wavenumber=None,
        beta=7.0,
        hyperviscosity=1e-5,
        hyperviscosity_order=3,
    )
    modes = truncated_modes(Grid((32, 24)))
    operator = VorticityEquation(flow, modes).linear_operator
    for kx, ky in [(1, 0), (-3, 2), (0, 5), (10, 7)]:
        k2 = kx**2 + ky**2
        expected = -k2 / 50.0 - 1e-5 * k2**3 - 0.3 + 7.0j * kx / k2
        assert operator[kx, ky] == pytest.approx(expected, rel=1e-14)


def test_linear_operator_is_real_without_beta():
    modes = truncated_modes(Grid((16, 16)))
    assert np.isrealobj(VorticityEquation(flow_of(16), modes).linear_operator)


def test_beta_term_is_minus_beta_v_in_physical_space():
    grid = Grid((48, 32))
    modes = truncated_modes(grid)
    psi = np.cos(3 * grid.x + 2 * grid.y) + np.sin(grid.x - 4 * grid.y)
    v = 3 * np.sin(3 * grid.x + 2 * grid.y) - np.cos(grid.x - 4 * grid.y)  # -d psi/dx
    hat = modes.from_physical(psi) * modes.k_squared
    flow = flow_of((48, 32), reynolds=np.inf, linear_drag=0.0, beta=5.0)
    operator = VorticityEquation(flow, modes).linear_operator
    assert np.abs(modes.to_physical(operator * hat) + 5.0 * v).max() < ROUND_OFF * 20


@pytest.mark.parametrize("make_modes", MODES)
def test_a_closure_adds_exactly_the_spectrum_of_what_it_returns(make_modes):
    modes = make_modes(Grid((48, 32)))
    hat = random_hat(modes)
    flow = flow_of((48, 32))
    sgs_forcing = np.random.default_rng(5).standard_normal((48, 32))
    without = nonlinear_terms(flow, modes, hat)
    with_closure = nonlinear_terms(flow, modes, hat, lambda vorticity, psi: sgs_forcing)
    assert np.array_equal(with_closure, without + modes.from_physical(sgs_forcing))


def test_a_closure_that_returns_zeros_changes_no_bit():
    modes = padded_modes(Grid((33, 32)))
    hat = random_hat(modes)
    flow = flow_of((33, 32), forcing_wavenumber=4)
    with_zeros = nonlinear_terms(flow, modes, hat, lambda w, psi: np.zeros_like(w))
    assert np.array_equal(with_zeros, nonlinear_terms(flow, modes, hat))


def test_a_closure_receives_vorticity_and_its_streamfunction():
    grid = Grid((32, 24))
    modes = padded_modes(grid)
    vorticity = 25.0 * np.cos(3 * grid.x + 4 * grid.y)
    seen = []

    def closure(*fields):
        seen.extend(fields)
        return np.zeros((32, 24))

    nonlinear_terms(flow_of((32, 24)), modes, modes.from_physical(vorticity), closure)
    assert np.abs(seen[0] - vorticity).max() < ROUND_OFF * 25
    assert np.abs(seen[1] - vorticity / 25.0).max() < ROUND_OFF


@pytest.mark.parametrize("shape", [(16, 16), (32, 24, 1), ()])
def test_a_closure_of_another_shape_is_refused(shape):
    modes = padded_modes(Grid((32, 24)))
    message = f"expected shape (32, 24), received {shape}"
    with pytest.raises(ValueError, match=re.escape(message)):
        nonlinear_terms(
            flow_of((32, 24)), modes, random_hat(modes), lambda w, psi: np.ones(shape)
        )


@pytest.mark.parametrize("make_modes", MODES)
@pytest.mark.parametrize("shape", [(48, 32), (40, 1024)])
def test_advection_rate_is_the_fastest_velocity_times_the_cutoff(make_modes, shape):
    grid = Grid(shape)
    modes = make_modes(grid)
    # psi = sin(3 y) + 2 sin(x): u = 3 cos(3 y), v = -2 cos(x), both largest at 0.
    vorticity = 9 * np.sin(3 * grid.y) + 2 * np.sin(grid.x)
    rate = VorticityEquation(flow_of(shape), modes).advection_rate(
        FftwOperations(modes), modes.from_physical(vorticity)
    )
    kx, ky = modes.cutoff
    assert rate == pytest.approx(3 * kx + 2 * ky, rel=1e-12)


@pytest.mark.parametrize("n", range(4, 60))
def test_no_product_of_resolved_modes_is_folded_onto_a_resolved_one(n):
    for modes in (truncated_modes(Grid((n, n + 1))), padded_modes(Grid((n, n + 1)))):
        for points, cutoff in zip(
            modes.quadrature.num_points, modes.cutoff, strict=True
        ):
            assert points > 3 * cutoff


@pytest.mark.parametrize("make_modes", MODES)
def test_modes_keep_resolved_fields_and_their_energy(make_modes):
    grid = Grid((33, 24), (3.0, 7.5))
    modes = make_modes(grid)
    hat = random_hat(modes)
    again = modes.from_physical(modes.to_physical(hat))
    assert np.abs(again - hat).max() < ROUND_OFF
    u = modes.to_physical(1j * modes.ky * modes.inverse_k_squared * hat)
    v = modes.to_physical(-1j * modes.kx * modes.inverse_k_squared * hat)
    assert modes.energy(hat) == pytest.approx(0.5 * np.mean(u**2 + v**2), rel=1e-12)
