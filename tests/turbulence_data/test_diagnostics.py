"""Integrals, spectra and budgets against analytic fields and Parseval's identity."""

import math

import numpy as np
import pytest

from turbulence_data.config import FlowConfig
from turbulence_data.diagnostics import (
    energy,
    energy_budget,
    energy_spectrum,
    enstrophy,
    enstrophy_spectrum,
    palinstrophy,
    transfer_spectrum,
    variance_spectrum,
)
from turbulence_data.diagnostics._spectra import shell_sum
from turbulence_data.solver._grid import (
    Grid,
    jacobian_hat,
    resample,
    streamfunction_of,
    to_physical,
    to_spectral,
)

ROUND_OFF = 1e-12  # relative; sums over a few thousand modes
SHAPES = [(32, 32), (33, 33), (48, 32), (24, 35)]
LENGTHS = [(2 * np.pi, 2 * np.pi), (2 * np.pi, np.pi), (3.0, 7.5)]
GRIDS = [Grid(shape, lengths) for shape in SHAPES for lengths in LENGTHS]


def noise(grid: Grid, seed: int = 0) -> np.ndarray:
    """White noise of zero mean, Nyquist wavenumbers included."""
    field = np.random.default_rng(seed).standard_normal(grid.num_points)
    return field - field.mean()


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_integrals_of_a_two_mode_field_are_the_analytic_ones(grid):
    kx, ky = 2 * np.pi * 3 / grid.lengths[0], 2 * np.pi * 5 / grid.lengths[1]
    # <cos^2> = 1/2 each; the second mode is along y alone.
    vorticity = 2.0 * np.cos(kx * grid.x + ky * grid.y) + 3.0 * np.sin(ky * grid.y)
    first, second = kx**2 + ky**2, ky**2
    exact_energy = 0.25 * (4 / first + 9 / second)
    assert energy(vorticity, grid.lengths) == pytest.approx(exact_energy, rel=ROUND_OFF)
    assert enstrophy(vorticity) == pytest.approx(0.25 * (4 + 9), rel=ROUND_OFF)
    exact = 0.25 * (4 * first + 9 * second)
    assert palinstrophy(vorticity, grid.lengths) == pytest.approx(exact, rel=ROUND_OFF)


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_energy_is_half_the_mean_square_of_the_velocity(grid):
    vorticity = resample(noise(grid), grid.num_points)  # without Nyquist
    psi = to_spectral(streamfunction_of(vorticity, grid))
    u, v = (to_physical(1j * k * psi, grid.num_points) for k in (grid.ky, -grid.kx))
    expected = 0.5 * float(np.mean(u**2 + v**2))
    assert energy(vorticity, grid.lengths) == pytest.approx(expected, rel=ROUND_OFF)


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_every_spectrum_sums_to_its_integral(grid):
    vorticity, other = noise(grid), noise(grid, seed=1)
    lengths = grid.lengths
    psi = streamfunction_of(vorticity, grid)
    pairs = [
        (energy_spectrum(vorticity, lengths), energy(vorticity, lengths)),
        (enstrophy_spectrum(vorticity, lengths), enstrophy(vorticity)),
        (variance_spectrum(other + 0.5, lengths), float(np.mean((other + 0.5) ** 2))),
        (transfer_spectrum(vorticity, other, lengths), float(np.mean(psi * other))),
    ]
    for (wavenumbers, spectrum), integral in pairs:
        assert wavenumbers.shape == spectrum.shape
        scale = np.abs(spectrum).sum()
        assert abs(spectrum.sum() - integral) < ROUND_OFF * scale


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("mode", [(3, 4), (-5, 2), (7, 7), (0, 6), (9, 0)])
def test_a_single_mode_lies_in_the_shell_nearest_to_its_modulus(shape, mode):
    grid = Grid(shape)
    vorticity = np.cos(mode[0] * grid.x + mode[1] * grid.y)
    wavenumbers, spectrum = energy_spectrum(vorticity)
    modulus = math.hypot(*mode)
    assert abs(wavenumbers[spectrum.argmax()] - modulus) < 0.5
    assert spectrum.max() == pytest.approx(0.25 / modulus**2, rel=ROUND_OFF)
    assert np.sum(spectrum > 1e-20) == 1


@pytest.mark.parametrize(("mode", "shell"), [((2, 1), 2), ((3, 2), 4), ((1, 1), 1)])
def test_shells_are_closed_below_and_open_above(mode, shell):
    grid = Grid((32, 32))  # sqrt(5) = 2.24, sqrt(13) = 3.61, sqrt(2) = 1.41
    _, spectrum = variance_spectrum(np.cos(mode[0] * grid.x + mode[1] * grid.y))
    assert int(spectrum.argmax()) == shell


def test_wavenumbers_are_multiples_of_the_coarser_spacing():
    field = noise(Grid((32, 32)))
    wavenumbers, _ = energy_spectrum(field, (2 * np.pi, np.pi))
    np.testing.assert_allclose(np.diff(wavenumbers), 2.0)
    assert wavenumbers[0] == 0.0


@pytest.mark.parametrize("slope", [-3.0, -5.0 / 3.0])
def test_the_slope_of_a_synthetic_spectrum_is_recovered(slope):
    grid = Grid((128, 128))
    rng = np.random.default_rng(2)
    modulus = np.sqrt(grid.k_squared)
    modulus[0, 0] = 1.0
    # E(k) ~ k^slope: a shell holds ~ k modes of energy |vorticity_hat|^2 / k^2 each.
    hat = to_spectral(rng.standard_normal((128, 128))) * modulus ** ((slope + 1) / 2)
    hat[0, 0] = 0.0
    wavenumbers, spectrum = energy_spectrum(to_physical(hat, (128, 128)))
    held = slice(8, 56)
    fitted = np.polyfit(np.log(wavenumbers[held]), np.log(spectrum[held]), 1)[0]
    assert fitted == pytest.approx(slope, abs=0.05)


@pytest.mark.parametrize("grid", GRIDS[:4], ids=str)
def test_shell_sum_counts_every_mode_once(grid):
    wavenumbers, count = shell_sum(np.ones(grid.k_squared.shape), grid)
    assert count.sum() == np.prod(grid.num_points)
    assert wavenumbers[-1] == pytest.approx(grid.shells.max() * grid.shell_width)


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_advection_does_no_work(grid):
    vorticity = resample(noise(grid), grid.num_points)
    jacobian = to_physical(jacobian_hat(to_spectral(vorticity), grid), grid.num_points)
    _, transfer = transfer_spectrum(vorticity, jacobian, grid.lengths)
    assert abs(transfer.sum()) < 1e-12 * np.abs(transfer).sum()


@pytest.mark.parametrize(
    ("shape", "lengths"),
    [((48, 32), (2 * np.pi, 2 * np.pi)), ((33, 24), (2 * np.pi, np.pi))],
)
def test_budget_terms_are_the_work_of_each_term_of_the_equation(shape, lengths):
    flow = FlowConfig(shape, 50.0, 0.3, 4, 2.0, hyperviscosity=1e-5, lengths=lengths)
    grid = Grid(shape, lengths)
    vorticity = resample(noise(grid), shape)
    psi = streamfunction_of(vorticity, grid)
    hat = to_spectral(vorticity)

    def work(term) -> float:
        return float(np.mean(psi * term))

    budget = energy_budget(vorticity, flow)
    forcing = -4.0 * (np.cos(4 * grid.x) + np.cos(4 * grid.y))
    laplacian = to_physical(-grid.k_squared * hat, shape)
    biharmonic = to_physical(grid.k_squared**2 * hat, shape)
    assert budget.work == pytest.approx(work(forcing), rel=1e-10)
    assert budget.viscosity == pytest.approx(work(laplacian / 50.0), rel=1e-10)
    assert budget.hyperviscosity == pytest.approx(work(-1e-5 * biharmonic), rel=1e-10)
    assert budget.drag == pytest.approx(work(-0.3 * vorticity), rel=1e-10)
    parts = budget.work + budget.viscosity + budget.hyperviscosity + budget.drag
    assert budget.total == pytest.approx(parts)


def test_a_linear_drain_has_a_negative_transfer_of_twice_the_energy_spectrum():
    vorticity = noise(Grid((32, 24)))
    _, transfer = transfer_spectrum(vorticity, -0.7 * vorticity)
    _, spectrum = energy_spectrum(vorticity)
    np.testing.assert_allclose(transfer, -1.4 * spectrum, atol=1e-15)


@pytest.mark.parametrize("sgs_shape", [(16, 16), (32, 16)])
def test_fields_of_different_shapes_are_refused(sgs_shape):
    with pytest.raises(ValueError, match="32"):
        transfer_spectrum(noise(Grid((32, 32))), noise(Grid(sgs_shape)))


@pytest.mark.parametrize("shape", [(32,), (2, 32, 32)])
@pytest.mark.parametrize("diagnostic", [energy, palinstrophy, energy_spectrum])
def test_anything_but_a_plane_field_is_refused(diagnostic, shape):
    with pytest.raises(ValueError):
        diagnostic(np.zeros(shape))


def test_lengths_change_the_energy_but_not_the_enstrophy():
    vorticity = noise(Grid((32, 32)))
    doubled = (4 * np.pi, 4 * np.pi)
    assert energy(vorticity, doubled) == pytest.approx(4 * energy(vorticity))
    assert palinstrophy(vorticity, doubled) == pytest.approx(
        palinstrophy(vorticity) / 4
    )
    assert enstrophy_spectrum(vorticity, doubled)[1] == pytest.approx(
        enstrophy_spectrum(vorticity)[1]
    )
