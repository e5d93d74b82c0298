"""Transfers and fluxes against a triad, their invariants, and the equation itself."""

import numpy as np
import pytest

from turbulence_data.config import FlowConfig
from turbulence_data.diagnostics import (
    energy_budget,
    energy_flux,
    enstrophy,
    enstrophy_budget,
    enstrophy_flux,
    enstrophy_transfer_spectrum,
    palinstrophy,
    transfer_spectrum,
)
from turbulence_data.solver._evolve import evolve
from turbulence_data.solver._grid import (
    Grid,
    jacobian_hat,
    resample,
    to_physical,
    to_spectral,
)

ROUND_OFF = 1e-12  # relative to the sum of magnitudes, over a few thousand modes
TWO_PI = 2 * np.pi
GRIDS = [
    Grid((32, 32)),
    Grid((33, 24), (TWO_PI, np.pi)),
    Grid((48, 32), (3.0, 7.5)),
]
TRIAD = ((1, 2), (4, 0), (-5, -2))  # sums to zero; |k| = 2.2, 4, 5.4
AMPLITUDES = (2.0, 3.0, 1.5)


def noise(grid: Grid, seed: int = 0) -> np.ndarray:
    """White noise of zero mean, Nyquist wavenumbers included."""
    field = np.random.default_rng(seed).standard_normal(grid.num_points)
    return field - field.mean()


def triad(grid: Grid) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Three cosines of wavevectors that sum to zero, their exact gains and shells.

    With psi_i = omega_i / k_i^2 two waves make, of the product of their sines,

        J = -a b (k x p) (1/k^2 - 1/p^2) sin(k.x) sin(p.x),

    whose half at k + p = -q is +1/2 a b (k x p) (1/k^2 - 1/p^2) cos(q.x). So wave q
    gains the enstrophy -<omega_q J> = -1/4 a b c (k x p) (1/k^2 - 1/p^2) and the
    energy of that over q^2; k x p = p x q = q x k.
    """
    scale = TWO_PI / np.asarray(grid.lengths)
    vectors = np.asarray(TRIAD) * scale
    vorticity = sum(
        a * np.cos(k[0] * grid.x + k[1] * grid.y)
        for a, k in zip(AMPLITUDES, vectors, strict=True)
    )
    squares = (vectors**2).sum(axis=1)
    cross = vectors[0, 0] * vectors[1, 1] - vectors[0, 1] * vectors[1, 0]
    gains = np.array(
        [
            -0.25 * np.prod(AMPLITUDES) * cross * (1 / squares[i] - 1 / squares[j])
            for i, j in ((1, 2), (2, 0), (0, 1))
        ]
    )
    shells = np.floor(np.sqrt(squares) / grid.shell_width + 0.5).astype(int)
    return vorticity, gains, shells


@pytest.mark.parametrize(
    "grid", [Grid((32, 32)), Grid((24, 35)), Grid((48, 32), (2.0, 5.0))], ids=str
)
def test_a_triad_exchanges_the_analytic_energy_and_enstrophy(grid):
    vorticity, gains, shells = triad(grid)
    vectors = np.asarray(TRIAD) * TWO_PI / np.asarray(grid.lengths)
    for transfer, exact in (
        (enstrophy_transfer_spectrum, gains),
        (transfer_spectrum, gains / (vectors**2).sum(axis=1)),
    ):
        _, computed = transfer(vorticity, lengths=grid.lengths)
        expected = np.zeros_like(computed)
        np.add.at(expected, shells, exact)
        atol = ROUND_OFF * np.abs(exact).sum()
        np.testing.assert_allclose(computed, expected, atol=atol)
        assert np.abs(exact).min() > 0


def test_the_middle_wave_feeds_both_others_energy_up_and_enstrophy_down_the_scales():
    """Fjortoft (1953): the fluxes of a triad whose middle wave loses."""
    vorticity, gains, _ = triad(Grid((32, 32)))
    vorticity = vorticity * -np.sign(gains[1])
    wavenumbers, energy_through = energy_flux(vorticity)
    _, enstrophy_through = enstrophy_flux(vorticity)
    assert wavenumbers[:7].tolist() == [0, 1, 2, 3, 4, 5, 6]
    scale = np.abs(energy_through).max()
    for flux in (energy_through, enstrophy_through):
        assert flux[3] < 0 < flux[4]  # below and above the wave at k = 4
        np.testing.assert_allclose(flux[[2, 4]], flux[[3, 4]])
        np.testing.assert_allclose(flux[[0, 1, 5, 6]], 0.0, atol=1e-12 * scale)
    assert -energy_through[3] > energy_through[4]
    assert enstrophy_through[4] > -enstrophy_through[3]


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_advection_conserves_energy_and_enstrophy_so_fluxes_end_at_zero(grid):
    vorticity = noise(grid)
    for transfer_of, flux_of in (
        (transfer_spectrum, energy_flux),
        (enstrophy_transfer_spectrum, enstrophy_flux),
    ):
        wavenumbers, transfer = transfer_of(vorticity, lengths=grid.lengths)
        scale = np.abs(transfer).sum()
        assert scale > 0
        assert abs(transfer.sum()) < ROUND_OFF * scale
        _, flux = flux_of(vorticity, grid.lengths)
        assert flux.shape == wavenumbers.shape
        assert flux[0] == -transfer[0]
        assert abs(flux[-1]) < ROUND_OFF * scale
        np.testing.assert_allclose(-np.diff(flux), transfer[1:], atol=1e-14 * scale)


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_transfers_change_sign_with_the_direction_of_time(grid):
    vorticity = noise(grid)  # reversing the vorticity reverses the flow
    for transfer in (transfer_spectrum, enstrophy_transfer_spectrum):
        _, forward = transfer(vorticity, lengths=grid.lengths)
        _, backward = transfer(-vorticity, lengths=grid.lengths)
        np.testing.assert_array_equal(backward, -forward)


def test_transfers_are_free_of_aliasing():
    """The same field on a finer grid has the same transfers, shell by shell."""
    coarse = Grid((24, 24))
    field = resample(noise(coarse), (24, 24))  # without Nyquist
    fine = resample(field, (96, 96))
    for transfer_of in (transfer_spectrum, enstrophy_transfer_spectrum):
        transfer, exact = transfer_of(field)[1], transfer_of(fine)[1]
        held = transfer.size
        np.testing.assert_allclose(transfer, exact[:held], atol=1e-14)
        assert np.abs(exact[held:]).max() < 1e-14  # J is wider, but meets no psi


def test_subgrid_transfers_sum_to_the_mean_products():
    grid = GRIDS[1]
    vorticity, sgs_forcing = noise(grid), noise(grid, seed=1)
    psi_hat = to_spectral(vorticity) * grid.inverse_k_squared
    psi = to_physical(psi_hat, grid.num_points)
    for transfer_of, field in (
        (transfer_spectrum, psi),
        (enstrophy_transfer_spectrum, vorticity),
    ):
        _, transfer = transfer_of(vorticity, sgs_forcing, grid.lengths)
        expected = float(np.mean(field * sgs_forcing))
        assert abs(transfer.sum() - expected) < ROUND_OFF * np.abs(transfer).sum()


def test_the_advection_as_a_forcing_has_the_transfers_of_the_advection():
    grid = GRIDS[2]
    vorticity = noise(grid)
    minus_j = to_physical(-jacobian_hat(to_spectral(vorticity), grid), grid.num_points)
    for transfer_of in (transfer_spectrum, enstrophy_transfer_spectrum):
        expected = transfer_of(vorticity, minus_j, grid.lengths)[1]
        actual = transfer_of(vorticity, lengths=grid.lengths)[1]
        atol = ROUND_OFF * np.abs(expected).sum()
        np.testing.assert_allclose(actual, expected, atol=atol)


@pytest.mark.parametrize("transfer", [transfer_spectrum, enstrophy_transfer_spectrum])
def test_a_forcing_of_another_shape_is_refused(transfer):
    with pytest.raises(ValueError, match=r"\(32, 32\).*\(1, 32\)"):
        transfer(noise(Grid((32, 32))), np.ones((1, 32)))


def test_the_flux_is_what_left_the_shells_so_far():
    vorticity = noise(GRIDS[0])
    for transfer_of, flux_of in (
        (transfer_spectrum, energy_flux),
        (enstrophy_transfer_spectrum, enstrophy_flux),
    ):
        transfer, flux = transfer_of(vorticity)[1], flux_of(vorticity)[1]
        expected = [-transfer[: last + 1].sum() for last in range(len(transfer))]
        np.testing.assert_allclose(flux, expected, atol=1e-14 * np.abs(transfer).sum())


# Budgets ---------------------------------------------------------------------

FLOWS = [
    FlowConfig(32, 50.0, 0.3, 4, 2.0, hyperviscosity=1e-5),
    FlowConfig((32, 48), 20.0, 0.1, 2, lengths=(TWO_PI, 2 * TWO_PI)),
]


@pytest.mark.parametrize("flow", FLOWS, ids=["square", "rectangle"])
def test_budgets_are_the_time_derivatives_of_a_simulation(flow):
    """Central difference over 2 dt against the sum of the terms, second order."""
    step = 5e-4
    grid = Grid(flow.shape, flow.lengths)
    start = resample(resample(noise(grid), (16, 16)), flow.shape)
    before, now, after = start, *(evolve(start, flow, n * step, step) for n in (1, 2))

    def energy_of(field):
        density = np.abs(to_spectral(field)) ** 2 * grid.inverse_k_squared
        return 0.5 * np.sum(grid.hermitian_weights * density)

    for budget, integral in (
        (energy_budget(now, flow), energy_of),
        (enstrophy_budget(now, flow), enstrophy),
    ):
        rate = (integral(after) - integral(before)) / (2 * step)
        assert budget.total == pytest.approx(rate, rel=1e-4)
        assert budget.total == pytest.approx(
            budget.work + budget.viscosity + budget.hyperviscosity + budget.drag
        )


def test_each_enstrophy_term_is_the_mean_product_with_its_term_of_the_equation():
    flow = FLOWS[0]
    grid = Grid(flow.shape, flow.lengths)
    vorticity = resample(noise(grid), flow.shape)
    sgs_forcing = noise(grid, seed=3)
    hat = to_spectral(vorticity)

    def work(term) -> float:
        return float(np.mean(vorticity * term))

    budget = enstrophy_budget(vorticity, flow, sgs_forcing)
    forcing = -4.0 * (np.cos(4 * grid.x) + np.cos(4 * grid.y))
    biharmonic = to_physical(grid.k_squared**2 * hat, flow.shape)
    assert budget.work == pytest.approx(work(forcing), rel=1e-10)
    expected = -2.0 * flow.viscosity * palinstrophy(vorticity)
    assert budget.viscosity == pytest.approx(expected, rel=1e-10)
    assert budget.hyperviscosity == pytest.approx(work(-1e-5 * biharmonic), rel=1e-10)
    assert budget.drag == pytest.approx(-0.6 * enstrophy(vorticity), rel=1e-10)
    assert budget.subgrid == pytest.approx(work(sgs_forcing), rel=1e-10)
    assert budget.dissipation == -(budget.viscosity + budget.hyperviscosity) > 0
    terms = (budget.work, -budget.dissipation, budget.drag, budget.subgrid)
    assert budget.total == pytest.approx(sum(terms))


def test_the_subgrid_term_of_a_budget_is_the_sum_of_its_transfer_spectrum():
    flow = FLOWS[1]
    grid = Grid(flow.shape, flow.lengths)
    vorticity, pi = noise(grid), noise(grid, seed=1)
    for budget, transfer in (
        (energy_budget, transfer_spectrum),
        (enstrophy_budget, enstrophy_transfer_spectrum),
    ):
        total = transfer(vorticity, pi, flow.lengths)[1].sum()
        assert budget(vorticity, flow, pi).subgrid == pytest.approx(total, rel=1e-10)
        assert budget(vorticity, flow).subgrid == 0.0


@pytest.mark.parametrize("budget", [energy_budget, enstrophy_budget])
def test_budgets_refuse_fields_of_another_shape(budget):
    field = np.ones((32, 32))
    with pytest.raises(ValueError, match=r"vorticity.*\(32, 32\).*\(16, 32\)"):
        budget(np.ones((16, 32)), FLOWS[0])
    with pytest.raises(ValueError, match=r"sgs_forcing.*\(32, 32\).*\(16,\)"):
        budget(field, FLOWS[0], np.ones(16))
