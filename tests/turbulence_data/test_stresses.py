"""Subgrid stresses: their divergence and curl are the subgrid forcing, exactly."""

import numpy as np
import pytest

from turbulence_data.filtering import (
    box_filter,
    filtered_dns,
    gaussian_filter,
    sharp_filter,
    subgrid_stresses,
)
from turbulence_data.solver._grid import (
    Grid,
    resample,
    streamfunction_of,
    to_physical,
    to_spectral,
)
from turbulence_data.solver._initial_conditions import RandomVorticity

# Sums over some thousand modes, two derivatives: relative to the largest value.
ROUND_OFF = 1e-11
CASES = [
    ((64, 64), (16, 16), (2 * np.pi, 2 * np.pi)),
    ((48, 80), (21, 32), (2 * np.pi, 4 * np.pi)),
]


def field(shape, lengths):
    """Broad-band: every product is folded if it is formed on too few points."""
    grid = Grid(shape, lengths)
    return RandomVorticity(0.5, 9.0)(grid, np.random.default_rng(5))


def derivative(values, grid, axis):
    wavenumbers = (grid.kx, grid.ky)[axis]
    return to_physical(1j * wavenumbers * to_spectral(values), grid.num_points)


def divergence(vector, grid):
    return derivative(vector[..., 0], grid, 0) + derivative(vector[..., 1], grid, 1)


def error(computed, expected):
    return float(np.abs(computed - expected).max() / np.abs(expected).max())


@pytest.fixture(params=CASES, ids=["square", "rectangle_odd"])
def case(request):
    shape, coarse, lengths = request.param
    return field(shape, lengths), coarse, lengths


@pytest.mark.parametrize("filter", [gaussian_filter, box_filter, sharp_filter])
def test_the_forcing_is_minus_the_divergence_of_sigma(case, filter):
    vorticity, coarse, lengths = case
    grid = Grid(coarse, lengths)
    stresses = subgrid_stresses(vorticity, coarse, filter, lengths=lengths)
    forcing = filtered_dns(vorticity, coarse, filter, lengths=lengths).sgs_forcing
    assert error(-divergence(stresses.sigma, grid), forcing) < ROUND_OFF


@pytest.mark.parametrize("filter", [gaussian_filter, box_filter, sharp_filter])
def test_the_forcing_is_minus_the_curl_of_the_divergence_of_tau(case, filter):
    vorticity, coarse, lengths = case
    grid = Grid(coarse, lengths)
    tau = subgrid_stresses(vorticity, coarse, filter, lengths=lengths).tau
    force_x = divergence(tau[..., [0, 1]], grid)
    force_y = divergence(tau[..., [1, 2]], grid)
    curl = derivative(force_y, grid, 0) - derivative(force_x, grid, 1)
    forcing = filtered_dns(vorticity, coarse, filter, lengths=lengths).sgs_forcing
    assert error(-curl, forcing) < ROUND_OFF


def test_the_velocity_is_that_of_the_filtered_streamfunction(case):
    vorticity, coarse, lengths = case
    grid = Grid(coarse, lengths)
    velocity = subgrid_stresses(vorticity, coarse, lengths=lengths).velocity
    filtered = filtered_dns(vorticity, coarse, lengths=lengths)
    psi = filtered.streamfunction
    assert error(velocity[..., 0], derivative(psi, grid, 1)) < ROUND_OFF
    assert error(velocity[..., 1], -derivative(psi, grid, 0)) < ROUND_OFF
    assert np.abs(divergence(velocity, grid)).max() < ROUND_OFF
    curl = derivative(velocity[..., 1], grid, 0) - derivative(velocity[..., 0], grid, 1)
    assert error(curl, filtered.vorticity) < ROUND_OFF


def test_stresses_of_few_modes_are_products_on_a_grid_that_holds_them():
    grid = Grid((64, 64))
    vorticity = np.cos(3 * grid.x + grid.y) + 2.0 * np.sin(2 * grid.y - grid.x)
    psi = streamfunction_of(vorticity, grid)
    u, v = derivative(psi, grid, 1), -derivative(psi, grid, 0)

    def filtered(values, width=0.7):
        transfer = gaussian_filter(grid, width)
        return to_physical(transfer * to_spectral(values), grid.num_points)

    stresses = subgrid_stresses(vorticity, 32, filter_width=0.7)
    by_hand = {
        "xx": filtered(u * u) - filtered(u) ** 2,
        "xy": filtered(u * v) - filtered(u) * filtered(v),
        "yy": filtered(v * v) - filtered(v) ** 2,
        "x": filtered(u * vorticity) - filtered(u) * filtered(vorticity),
        "y": filtered(v * vorticity) - filtered(v) * filtered(vorticity),
    }
    computed = np.concatenate([stresses.tau, stresses.sigma], axis=-1)
    for index, expected in enumerate(by_hand.values()):
        assert error(computed[..., index], resample(expected, (32, 32))) < ROUND_OFF


def test_the_mean_subgrid_energy_of_a_positive_filter_is_positive():
    stresses = subgrid_stresses(field((64, 64), (2 * np.pi, 2 * np.pi)), 16)
    assert stresses.tau[..., 0].mean() > 0.0
    assert stresses.tau[..., 2].mean() > 0.0


def test_bad_input_is_refused_with_its_value():
    vorticity = field((32, 32), (2 * np.pi, 2 * np.pi))
    with pytest.raises(ValueError, match=r"coarser .*\(32, 32\)"):
        subgrid_stresses(vorticity, 32)
    with pytest.raises(ValueError, match=r"filter_width .*-1"):
        subgrid_stresses(vorticity, 16, filter_width=-1.0)
    with pytest.raises(ValueError, match="values for the modes"):
        subgrid_stresses(vorticity, 16, filter=lambda grid, width: np.ones(3))
    with pytest.raises(ValueError, match="mean"):
        subgrid_stresses(vorticity + 1.0, 16)
