"""Scales of single waves, structure functions and distributions, against exact ones."""

import math

import numpy as np
import pytest

from turbulence_data.config import FlowConfig
from turbulence_data.diagnostics import (
    eddy_turnover_time,
    energy,
    enstrophy_budget,
    enstrophy_dissipation_scale,
    integral_scale,
    kurtosis,
    large_eddy_turnover_time,
    probability_density,
    skewness,
    structure_functions,
    taylor_scale,
    turnover_time_spectrum,
    velocity,
)
from turbulence_data.diagnostics._distributions import scalar_structure_function
from turbulence_data.solver._grid import Grid, resample, to_spectral

ROUND_OFF = 1e-12  # relative; sums over a few thousand values
TWO_PI = 2 * np.pi
GRIDS = [Grid((32, 32)), Grid((33, 24), (TWO_PI, np.pi)), Grid((48, 32), (3.0, 7.5))]


def noise(grid: Grid, seed: int = 0) -> np.ndarray:
    field = np.random.default_rng(seed).standard_normal(grid.num_points)
    return field - field.mean()


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_the_scales_of_a_single_wave(grid):
    kx, ky = (TWO_PI * m / length for m, length in zip((3, 2), grid.lengths))  # noqa: B905
    k = math.hypot(kx, ky)
    vorticity = 4.0 * np.cos(kx * grid.x + ky * grid.y)  # <vorticity^2> = 8
    assert taylor_scale(vorticity, grid.lengths) == pytest.approx(1 / k)
    assert integral_scale(vorticity, grid.lengths) == pytest.approx(TWO_PI / k)
    assert eddy_turnover_time(vorticity) == pytest.approx(8**-0.5)
    # Speed sqrt(8) / k over the wavelength.
    turnover = large_eddy_turnover_time(vorticity, grid.lengths)
    assert turnover == pytest.approx(TWO_PI / math.sqrt(8))
    flow = FlowConfig(
        grid.num_points, 40.0, forcing_wavenumber=None, lengths=grid.lengths
    )
    expected = (0.025**3 / (0.025 * k**2 * 8)) ** (1 / 6)
    assert enstrophy_dissipation_scale(vorticity, flow) == pytest.approx(expected)


def test_the_integral_scale_weighs_wavelengths_by_energy():
    grid = Grid((32, 48))
    # Velocities of amplitude 1 and 2: energies 1/4 and 1.
    vorticity = 2 * np.cos(2 * grid.x) + 0 * grid.y + 2 * 5 * np.cos(5 * grid.y)
    expected = TWO_PI * (0.25 / 2 + 1.0 / 5) / 1.25
    assert integral_scale(vorticity) == pytest.approx(expected, rel=ROUND_OFF)


def test_larger_eddies_strain_smaller_ones():
    grid = Grid((32, 32))
    vorticity = 2 * np.cos(3 * grid.x) + 0 * grid.y + 4 * np.cos(7 * grid.y)
    wavenumbers, times = turnover_time_spectrum(vorticity)
    assert np.all(np.diff(wavenumbers) == 1.0)
    # Round-off below the first wave leaves a time of 1e15, not a small one.
    assert times[:3].min() > 1e10
    np.testing.assert_allclose(times[3:7], 2**-0.5)
    np.testing.assert_allclose(times[7:], 10**-0.5)
    assert times[-1] == pytest.approx(eddy_turnover_time(vorticity))


def test_the_dissipation_scale_leaves_hyperviscosity_and_drag_out():
    vorticity = noise(Grid((32, 32)))
    plain = FlowConfig(32, 100.0, 0.0)
    other = FlowConfig(32, 100.0, 0.7, hyperviscosity=1e-4)
    scale = enstrophy_dissipation_scale(vorticity, plain)
    assert enstrophy_dissipation_scale(vorticity, other) == scale
    loss = -enstrophy_budget(vorticity, plain).viscosity
    assert scale == pytest.approx((1e-6 / loss) ** (1 / 6))


def test_a_fluid_at_rest_or_without_viscosity_has_no_scales():
    rest = np.zeros((16, 16))
    flow = FlowConfig(16, 10.0, forcing_wavenumber=None)
    for scale in (
        eddy_turnover_time,
        large_eddy_turnover_time,
        integral_scale,
        taylor_scale,
        lambda field: enstrophy_dissipation_scale(field, flow),
    ):
        with pytest.raises(ValueError, match=r"at rest.*mean square is 0\.0"):
            scale(rest)
    inviscid = FlowConfig(16, math.inf, forcing_wavenumber=None)
    with pytest.raises(ValueError, match=r"inviscid.*received inf"):
        enstrophy_dissipation_scale(noise(Grid((16, 16))), inviscid)


# Structure functions -----------------------------------------------------------


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_second_orders_are_the_spectrum_in_other_words(grid, axis):
    """`S_2(r) = 2 sum_k |w_hat|^2 (1 - cos(k r))`, exact for periodic fields."""
    vorticity = noise(grid)
    result = structure_functions(vorticity, axis, (2,), grid.lengths)
    u, v = velocity(vorticity, grid.lengths)
    k = (grid.kx + 0 * grid.ky) if axis == 0 else (grid.ky + 0 * grid.kx)
    along, across = (u, v) if axis == 0 else (v, u)
    for component, moments in (
        (along, result.longitudinal),
        (across, result.transverse),
    ):
        power = grid.hermitian_weights * np.abs(to_spectral(component)) ** 2
        exact = [2 * np.sum(power * (1 - np.cos(k * r))) for r in result.separations]
        np.testing.assert_allclose(moments[0], exact, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_velocities_hold_the_energy_and_the_sign_of_a_vortex(grid):
    resolved = resample(
        noise(grid), grid.num_points
    )  # a Nyquist wave has no derivative
    u, v = velocity(noise(grid), grid.lengths)
    energies = 0.5 * np.mean(u**2 + v**2)
    assert energies == pytest.approx(energy(resolved, grid.lengths), rel=ROUND_OFF)
    k = TWO_PI / grid.lengths[0]
    u, v = velocity(np.cos(k * grid.x) + 0 * grid.y, grid.lengths)
    np.testing.assert_allclose(u, 0.0, atol=1e-14)
    np.testing.assert_allclose(v, np.sin(k * grid.x) / k + 0 * grid.y, atol=1e-13)


def test_orders_are_signed_moments_of_the_increments():
    grid = Grid((24, 16))
    field = noise(grid) ** 2
    separations, moments = scalar_structure_function(field, 1, (1, 2, 3, 4))
    np.testing.assert_allclose(separations, np.arange(9) * TWO_PI / 16)
    difference = np.concatenate([field[:, 5:], field[:, :5]], axis=1) - field
    for row, order in enumerate((1, 2, 3, 4)):
        expected = np.mean(difference**order)
        assert moments[row, 5] == pytest.approx(expected, rel=1e-10, abs=1e-13)
    np.testing.assert_allclose(moments[0], 0.0, atol=1e-13)  # homogeneous
    np.testing.assert_array_equal(moments[:, 0], 0.0)
    assert np.abs(moments[2]).max() > 1e-3


def test_turning_the_flow_by_a_right_angle_swaps_the_axes():
    vorticity = noise(Grid((32, 32)))
    along_x = structure_functions(vorticity, 0, (2, 3))
    # (x, y) -> (y, -x) moves what lay along x to -y; increments turn round with it.
    along_y = structure_functions(np.rot90(vorticity), 1, (2, 3))
    for kind in ("longitudinal", "transverse"):
        a, b = getattr(along_x, kind), getattr(along_y, kind)
        np.testing.assert_allclose(np.abs(a), np.abs(b), rtol=1e-9, atol=1e-12)
    assert along_x.orders == (2, 3)


def test_unusable_axes_and_orders_are_refused():
    field = noise(Grid((16, 16)))
    with pytest.raises(ValueError, match=r"axis must be 0 .* received 2"):
        structure_functions(field, 2)
    for order in (0, 2.5, True):
        with pytest.raises(ValueError, match=f"orders.*received {order!r}"):
            structure_functions(field, 0, [order])


# Distributions -------------------------------------------------------------------

EDGES = np.linspace(-3.0, 5.0, 33)


@pytest.mark.parametrize(
    ("bins", "rule"),
    [(40, "40 equal bins"), ("fd", "numpy 'fd'"), (EDGES, "given edges")],
)
def test_a_density_integrates_to_one_and_says_how_it_was_binned(bins, rule):
    values = np.random.default_rng(0).standard_normal((10, 20, 20))
    pdf = probability_density(values, bins)
    assert np.sum(pdf.density * pdf.widths) == pytest.approx(1.0, rel=ROUND_OFF)
    assert pdf.rule == rule
    assert pdf.num_values + pdf.num_outside == values.size
    assert pdf.num_outside == np.count_nonzero((values < -3) & (bins is EDGES))
    assert pdf.edges.shape == (pdf.centres.size + 1,) == (pdf.density.size + 1,)


def test_uneven_bins_hold_a_density_not_a_count():
    pdf = probability_density(np.linspace(0, 1, 10_001), [0.0, 0.1, 0.5, 1.0])
    np.testing.assert_allclose(pdf.density, 1.0, rtol=2e-3)


def test_the_density_of_gaussian_values_is_gaussian():
    values = np.random.default_rng(1).standard_normal(200_000)
    pdf = probability_density(values, np.linspace(-3, 3, 25))
    exact = np.exp(-(pdf.centres**2) / 2) / math.sqrt(TWO_PI)
    np.testing.assert_allclose(pdf.density, exact, atol=0.01)  # bins and sampling
    assert skewness(values) == pytest.approx(0.0, abs=0.03)  # 5 standard errors
    assert kurtosis(values) == pytest.approx(3.0, abs=0.06)


def test_moments_are_the_analytic_ones():
    x = np.arange(64) * TWO_PI / 64
    assert kurtosis(7.0 + 3.0 * np.cos(x)) == pytest.approx(1.5)  # <c^4> / <c^2>^2
    assert skewness(np.cos(x) + 5.0) == pytest.approx(0.0, abs=1e-12)
    two_valued = [0.0, 0.0, 0.0, 1.0]  # Bernoulli, p = 1/4
    assert skewness(two_valued) == pytest.approx(0.5 / math.sqrt(3 / 16))
    assert skewness(np.negative(two_valued)) == pytest.approx(-skewness(two_valued))


def test_values_that_have_no_distribution_are_refused():
    with pytest.raises(ValueError, match="4 values, 1 of them not finite"):
        probability_density([1.0, np.nan, 2.0, 3.0], 5)
    with pytest.raises(ValueError, match="0 values"):
        kurtosis([])
    with pytest.raises(ValueError, match=r"all are 2\.0"):
        skewness([2.0, 2.0])
    with pytest.raises(ValueError, match=r"from 5\.0 to 7\.0.*from 0\.0 to 1\.0"):
        probability_density([0.0, 1.0], [5.0, 6.0, 7.0])
    with pytest.raises(ValueError, match=r"as edges, must hold at least 2"):
        probability_density([0.0, 1.0], [1.0])
    for edges in ([0.0, 0.0, 1.0], [1.0, 0.0], [0.0, np.nan, 1.0]):
        with pytest.raises(ValueError, match="edges of bins must rise"):
            probability_density([0.0, 1.0], edges)
    with pytest.raises(ValueError, match=r"as edges, must be real"):
        probability_density([0.0, 1.0], [0.0, 1j])
