"""The Jacobian and the velocity, against analytic fields and conservation laws."""

import numpy as np
import pytest

from turbulence_data.solver._grid import (
    Grid,
    jacobian_hat,
    padded_points,
    resize,
    streamfunction_hat,
    streamfunction_of,
    to_physical,
    to_spectral,
    velocity_hat,
)

ROUND_OFF = 1e-13  # relative to the largest term; a handful of FFTs
SHAPES = [(32, 32), (33, 33), (48, 32), (24, 35)]
LENGTHS = [(2 * np.pi, 2 * np.pi), (2 * np.pi, np.pi), (3.0, 7.5)]
GRIDS = [Grid(shape, lengths) for shape in SHAPES for lengths in LENGTHS]


def random_hat(grid: Grid, seed: int = 0) -> np.ndarray:
    """White coefficients of every mode below Nyquist: the hardest case for aliasing."""
    field = np.random.default_rng(seed).standard_normal(grid.num_points)
    hat = resize(to_spectral(field), grid.num_points, grid.num_points)
    hat[0, 0] = 0.0
    return hat


def inner(a: np.ndarray, b: np.ndarray, grid: Grid) -> float:
    return float(np.sum(grid.hermitian_weights * (np.conj(a) * b).real))


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_two_mode_jacobian_equals_the_analytic_one(grid):
    k, l = 2 * np.pi * 3 / grid.lengths[0], 2 * np.pi * 5 / grid.lengths[1]  # noqa: E741
    a, b = 0.7, -1.3  # psi = a cos(k x) + b cos(l y)
    vorticity = a * k**2 * np.cos(k * grid.x) + b * l**2 * np.cos(l * grid.y)
    exact = a * b * k * l * (k**2 - l**2) * np.sin(k * grid.x) * np.sin(l * grid.y)
    computed = to_physical(jacobian_hat(to_spectral(vorticity), grid), grid.num_points)
    scale = abs(a * b) * k * l * max(k, l) ** 2
    assert np.abs(computed - exact).max() < ROUND_OFF * scale


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_jacobian_equals_u_dot_grad_formed_on_a_much_finer_grid(grid):
    hat = random_hat(grid)
    fine = Grid((3 * grid.num_points[0], 3 * grid.num_points[1]), grid.lengths)
    wide = resize(hat, grid.num_points, fine.num_points)
    u, v = velocity_hat(streamfunction_hat(wide, fine), fine)
    terms = [u, 1j * fine.kx * wide, v, 1j * fine.ky * wide]
    u, dx, v, dy = (to_physical(term, fine.num_points) for term in terms)
    product = to_spectral(u * dx + v * dy)
    exact = resize(product, fine.num_points, grid.num_points)
    computed = jacobian_hat(hat, grid)
    assert np.abs(computed - exact).max() < ROUND_OFF * np.abs(exact).max() * 10


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_jacobian_conserves_energy_enstrophy_and_the_mean(grid):
    hat = random_hat(grid, seed=1)
    jacobian = jacobian_hat(hat, grid)
    psi = streamfunction_hat(hat, grid)
    for weight in (psi, hat):
        scale = np.sqrt(inner(weight, weight, grid) * inner(jacobian, jacobian, grid))
        assert abs(inner(weight, jacobian, grid)) < ROUND_OFF * scale
    assert jacobian[0, 0] == 0.0


def test_exchanging_x_and_y_changes_the_sign_of_the_jacobian():
    grid, swapped = Grid((48, 33), (3.0, 7.5)), Grid((33, 48), (7.5, 3.0))
    vorticity = to_physical(random_hat(grid), grid.num_points)
    direct = to_physical(jacobian_hat(to_spectral(vorticity), grid), grid.num_points)
    other_hat = jacobian_hat(to_spectral(vorticity.T), swapped)
    other = to_physical(other_hat, swapped.num_points)
    assert np.abs(direct + other.T).max() < ROUND_OFF * np.abs(direct).max()


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_velocity_has_no_divergence_and_curl_vorticity(grid):
    hat = random_hat(grid, seed=2)
    u, v = velocity_hat(streamfunction_hat(hat, grid), grid)
    divergence = 1j * grid.kx * u + 1j * grid.ky * v
    curl = 1j * grid.kx * v - 1j * grid.ky * u
    assert np.abs(divergence).max() < ROUND_OFF * np.abs(hat).max()
    assert np.abs(curl - hat).max() < ROUND_OFF * np.abs(hat).max()


def test_streamfunction_of_a_single_mode_and_its_sign():
    grid = Grid((32, 24))
    vorticity = 25.0 * np.cos(3 * grid.x + 4 * grid.y)  # lap(psi) = -vorticity
    exact = np.cos(3 * grid.x + 4 * grid.y)
    assert np.abs(streamfunction_of(vorticity, grid) - exact).max() < ROUND_OFF


def test_velocity_points_along_the_right_axis():
    grid = Grid((16, 16))
    hat = to_spectral(np.cos(2 * grid.y) * np.ones((16, 1)))  # psi = cos(2 y) / 4
    u, v = velocity_hat(streamfunction_hat(hat, grid), grid)
    expected = -0.5 * np.sin(2 * grid.y) * np.ones((16, 1))
    assert np.abs(to_physical(u, (16, 16)) - expected).max() < ROUND_OFF
    assert np.abs(v).max() < ROUND_OFF


@pytest.mark.parametrize("n", range(4, 80))
def test_padded_grid_has_more_than_three_times_the_cutoff(n):
    cutoff = (n - 1) // 2
    assert min(padded_points((n, n))) > 3 * cutoff


def test_jacobian_ignores_nyquist_wavenumbers():
    grid = Grid((16, 16))
    hat = random_hat(grid)
    with_nyquist = hat.copy()
    with_nyquist[8, :] = 1.0
    with_nyquist[:, 8] = 1.0
    assert np.array_equal(jacobian_hat(with_nyquist, grid), jacobian_hat(hat, grid))


def test_jacobian_of_a_stack_is_the_stack_of_jacobians():
    grid = Grid((24, 16))
    stack = np.stack([random_hat(grid, seed) for seed in range(3)])
    together = jacobian_hat(stack, grid)
    for one, hat in zip(together, stack, strict=True):
        alone = jacobian_hat(hat, grid)
        assert np.abs(one - alone).max() < ROUND_OFF * np.abs(alone).max()
