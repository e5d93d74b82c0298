"""Filtering and the exact subgrid forcing: identities of the filtered equation."""

import re
from dataclasses import replace

import numpy as np
import pytest

from turbulence_data.config import FlowConfig
from turbulence_data.filtering import (
    FILTERS,
    box_filter,
    filtered_dns,
    gaussian_filter,
    les_flow,
    sharp_filter,
)
from turbulence_data.flows import named_flow
from turbulence_data.solver._grid import (
    Grid,
    jacobian_hat,
    resize,
    streamfunction_of,
    to_physical,
    to_spectral,
)
from turbulence_data.solver._initial_conditions import RandomVorticity
from turbulence_data.solver._modes import padded_modes, truncated_modes
from turbulence_data.solver._vorticity import VorticityEquation
from turbulence_data.solver.fftw._engine import FftwEngine

ROUND_OFF = 1e-12  # relative to the largest value; filter and Jacobians
CASES = [  # DNS points, LES points, lengths
    ((64, 64), (32, 32), (2 * np.pi, 2 * np.pi)),
    ((72, 48), (24, 25), (2 * np.pi, np.pi)),
    ((63, 63), (21, 21), (3.0, 3.0)),
]


def start(shape, lengths=(2 * np.pi, 2 * np.pi), seed=0) -> np.ndarray:
    draw = RandomVorticity(0.5, 8.0 * 2 * np.pi / max(lengths))
    return draw(Grid(shape, lengths), np.random.default_rng(seed))


def largest_error(computed, expected) -> float:
    return float(np.abs(computed - expected).max() / np.abs(expected).max())


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize(("fine", "coarse", "lengths"), CASES)
def test_pi_is_its_definition_formed_on_the_fine_grid(name, fine, coarse, lengths):
    vorticity = start(fine, lengths)
    result = filtered_dns(vorticity, coarse, name, lengths=lengths)
    grid = Grid(fine, lengths)
    width = 2.0 * max(Grid(coarse, lengths).spacing)
    transfer = FILTERS[name](grid, width)
    hat = to_spectral(vorticity)
    kept = resize(transfer * hat, fine, coarse)
    filtered = resize(kept, coarse, fine)  # the same modes, on the fine grid
    pi = jacobian_hat(filtered, grid) - transfer * jacobian_hat(hat, grid)
    expected = to_physical(resize(pi, fine, coarse), coarse)
    assert largest_error(result.sgs_forcing, expected) < ROUND_OFF
    on_coarse = to_physical(resize(filtered, fine, coarse), coarse)
    assert largest_error(result.vorticity, on_coarse) < ROUND_OFF


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize(("fine", "coarse", "lengths"), CASES)
def test_streamfunction_belongs_to_the_vorticity_and_pi_has_no_mean(
    name, fine, coarse, lengths
):
    result = filtered_dns(start(fine, lengths), coarse, name, lengths=lengths)
    psi = streamfunction_of(result.vorticity, Grid(coarse, lengths))
    assert largest_error(result.streamfunction, psi) < ROUND_OFF
    for field in (result.vorticity, result.streamfunction, result.sgs_forcing):
        assert field.shape == coarse
        assert abs(field.mean()) < 1e-14 * np.abs(field).max()


def rhs(flow, modes, vorticity_hat) -> np.ndarray:
    """The whole right-hand side: linear and nonlinear terms."""
    equation = VorticityEquation(flow, modes)
    out = np.empty(modes.shape, complex)
    FftwEngine().right_hand_side(equation).nonlinear_terms(vorticity_hat, 0.0, out)
    return out + equation.linear_operator * vorticity_hat


def residual_of_the_les(flow, coarse, name) -> tuple[np.ndarray, float]:
    """Filtered fine right-hand side minus (coarse right-hand side + Pi)."""
    fine, lengths = flow.shape, flow.lengths
    vorticity = start(fine, lengths)
    result = filtered_dns(vorticity, coarse, name, lengths=lengths)
    fine_modes = truncated_modes(Grid(fine, lengths))
    tendency = fine_modes.to_physical(
        rhs(flow, fine_modes, fine_modes.from_physical(vorticity))
    )
    grid = Grid(coarse, lengths)
    transfer = FILTERS[name](Grid(fine, lengths), 2.0 * max(grid.spacing))
    filtered = to_physical(
        resize(transfer * to_spectral(tendency), fine, coarse), coarse
    )
    modes = padded_modes(grid)
    les = modes.to_physical(rhs(flow, modes, modes.from_physical(result.vorticity)))
    return filtered - (les + result.sgs_forcing), float(np.abs(filtered).max())


PHYSICS = {
    "advection": {"reynolds": np.inf, "linear_drag": 0.0},
    "viscosity": {"reynolds": 50.0, "linear_drag": 0.0},
    "drag": {"reynolds": np.inf, "linear_drag": 0.5},
    "beta": {"reynolds": np.inf, "linear_drag": 0.0, "beta": 7.0},
    "all": {
        "reynolds": 50.0,
        "linear_drag": 0.5,
        "beta": 7.0,
        "hyperviscosity": 1e-6,
    },
}


@pytest.mark.parametrize("term", PHYSICS)
@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize(
    ("fine", "coarse"), [((64, 64), (32, 32)), ((72, 48), (24, 25))]
)
def test_coarse_right_hand_side_plus_pi_is_the_filtered_fine_one(
    term, name, fine, coarse
):
    flow = FlowConfig(fine, forcing_wavenumber=None, **PHYSICS[term])
    residual, scale = residual_of_the_les(flow, coarse, name)
    assert np.abs(residual).max() < ROUND_OFF * scale


def test_a_forcing_below_a_sharp_cutoff_closes_the_balance_too():
    flow = FlowConfig(64, 50.0, 0.5, 4, 7.0)  # on 32 points the filter keeps k < 8
    residual, scale = residual_of_the_les(flow, (32, 32), "sharp")
    assert np.abs(residual).max() < ROUND_OFF * scale


@pytest.mark.parametrize("name", ["gaussian", "box"])
def test_what_pi_leaves_over_is_the_forcing_that_the_filter_removes(name):
    # An LES is forced with f itself, filtered DNS with the filtered f: Pi holds the
    # advection alone, so the balance misses exactly (1 - G(k_f)) f.
    grid = Grid((32, 32))
    width = 2.0 * grid.spacing[0]
    gain = FILTERS[name](Grid((64, 64)), width)[4, 0]
    assert gain < 0.95
    source = -4.0 * (np.cos(4 * grid.x) + np.cos(4 * grid.y))
    residual, _ = residual_of_the_les(FlowConfig(64, 50.0, 0.5, 4), (32, 32), name)
    assert largest_error(residual, (gain - 1.0) * source) < 1e-10


@pytest.mark.parametrize("mode", [(3, 0), (0, 5), (2, -6)])
@pytest.mark.parametrize("name", FILTERS)
def test_pi_of_a_single_mode_vanishes(mode, name):
    grid = Grid((64, 48))
    vorticity = 10 * np.cos(mode[0] * grid.x + mode[1] * grid.y)
    result = filtered_dns(vorticity, (32, 24), name)
    assert np.abs(result.sgs_forcing).max() < 1e-12


def test_pi_vanishes_where_the_filter_removes_nothing():
    grid = Grid((64, 64))
    # Modes up to 3: their Jacobian reaches 6 and lies wholly below the cut at 16.
    vorticity = np.cos(3 * grid.x) + np.sin(2 * grid.y + grid.x) + np.cos(2 * grid.y)

    def everything(fine, width):
        return np.ones_like(fine.k_squared)

    assert np.abs(filtered_dns(vorticity, 32, everything).sgs_forcing).max() < 1e-13
    removed = filtered_dns(vorticity, 32).sgs_forcing
    assert np.abs(removed).max() > 0.01


def test_cutting_off_part_of_the_jacobian_leaves_no_pi():
    # All of vorticity survives the cut, J does not; but both terms of Pi lose the same.
    grid = Grid((64, 64))
    vorticity = np.cos(7 * grid.x) + np.sin(6 * grid.y + 7 * grid.x)
    result = filtered_dns(vorticity, 16, lambda g, w: np.ones_like(g.k_squared))
    assert np.abs(result.sgs_forcing).max() < 1e-12


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("shift", [(1, 0), (0, 3), (-5, 7)])
def test_filtering_commutes_with_shifts_by_les_cells(name, shift):
    vorticity = start((72, 48))
    moved = filtered_dns(
        np.roll(vorticity, (3 * shift[0], 2 * shift[1]), (0, 1)), 24, name
    )
    still = filtered_dns(vorticity, 24, name)
    for field in ("vorticity", "streamfunction", "sgs_forcing"):
        expected = np.roll(getattr(still, field), shift, (0, 1))
        assert largest_error(getattr(moved, field), expected) < ROUND_OFF


@pytest.mark.parametrize("name", FILTERS)
def test_exchanging_x_and_y_flips_the_sign_of_every_field(name):
    vorticity = start((72, 48))
    direct = filtered_dns(vorticity, (24, 25), name)
    other = filtered_dns(-vorticity.T, (25, 24), name)
    for field in ("vorticity", "streamfunction", "sgs_forcing"):
        expected = getattr(direct, field)
        assert largest_error(-getattr(other, field).T, expected) < ROUND_OFF


@pytest.mark.parametrize("make_filter", FILTERS.values())
def test_filters_keep_the_mean_and_are_even(make_filter):
    transfer = make_filter(Grid((48, 48)), 0.4)
    assert transfer[0, 0] == 1.0
    assert np.abs(transfer).max() == 1.0
    np.testing.assert_array_equal(transfer[1:24], transfer[:-24:-1])
    np.testing.assert_allclose(transfer[:24, :24], transfer[:24, :24].T, rtol=1e-14)


def test_the_gaussian_and_the_box_have_the_same_second_moment():
    # exp(-k^2 D^2 / 24) and sinc(k D / 2) agree up to (k D)^4 / 2880.
    grid, width = Grid((64, 64), (200.0, 200.0)), 1.0
    gap = gaussian_filter(grid, width)[:, 0] - box_filter(grid, width)[:, 0]
    k = grid.kx[:, 0] * width
    np.testing.assert_allclose(gap[1:8], k[1:8] ** 4 / 2880.0, rtol=0.02)


def test_the_box_filter_is_the_mean_over_a_square():
    grid, cells = Grid((60, 60)), 5
    vorticity = np.cos(2 * grid.x - 3 * grid.y)
    width = 0.7
    offsets = (np.arange(400) + 0.5) / 400 * width - width / 2
    dx, dy = np.meshgrid(offsets, offsets, indexing="ij")
    at = grid.x[cells, 0], grid.y[0, 2 * cells]
    mean = float(np.mean(np.cos(2 * (at[0] + dx) - 3 * (at[1] + dy))))
    hat = box_filter(grid, width) * to_spectral(vorticity)
    assert to_physical(hat, (60, 60))[cells, 2 * cells] == pytest.approx(mean, rel=1e-5)


def test_the_sharp_filter_is_a_projection_that_commutes_with_derivatives():
    grid = Grid((64, 48), (3.0, 7.5))
    transfer = sharp_filter(grid, 0.5)
    assert np.array_equal(transfer**2, transfer)
    assert 0.0 < transfer.mean() < 1.0
    hat = to_spectral(start((64, 48), (3.0, 7.5)))
    for derivative in (1j * grid.kx, 1j * grid.ky, -grid.k_squared):
        before = to_physical(transfer * (derivative * hat), (64, 48))
        after = to_spectral(to_physical(transfer * hat, (64, 48)))
        assert largest_error(to_physical(derivative * after, (64, 48)), before) < 1e-12


@pytest.mark.parametrize("num_points", [32, 48, 61, 100, 244])
def test_the_default_sharp_filter_cuts_at_half_the_les_nyquist_wavenumber(num_points):
    # Width of two LES cells: pi / width = n / 4, itself excluded, for every n.
    grid = Grid((2 * num_points, 2 * num_points))
    transfer = sharp_filter(grid, 2.0 * Grid((num_points, num_points)).spacing[0])
    kept = grid.kx[transfer[:, 0] > 0.0, 0]
    assert kept.max() == np.ceil(num_points / 4) - 1


def test_names_and_callables_agree_and_width_has_a_default():
    vorticity = start((64, 64))
    by_name = filtered_dns(vorticity, 32)
    width = 2.0 * 2 * np.pi / 32
    for other in (
        filtered_dns(vorticity, (32, 32), "gaussian", width),
        filtered_dns(vorticity, 32, gaussian_filter),
        filtered_dns(vorticity.tolist(), 32, lambda g, w: gaussian_filter(g, w)),
    ):
        assert np.array_equal(other.sgs_forcing, by_name.sgs_forcing)
    wider = filtered_dns(vorticity, 32, filter_width=2 * width)
    assert np.std(wider.vorticity) < np.std(by_name.vorticity)


def test_the_default_width_of_a_rectangular_les_is_that_of_its_coarser_direction():
    vorticity, seen = start((64, 64)), []

    def remember(grid, width):
        seen.append((grid, width))
        return gaussian_filter(grid, width)

    filtered_dns(vorticity, (32, 16), remember)
    assert seen == [(Grid((64, 64)), 2.0 * 2 * np.pi / 16)]


def test_the_argument_is_left_unchanged():
    vorticity = start((64, 64))
    kept = vorticity.copy()
    filtered_dns(vorticity, 32)
    assert np.array_equal(vorticity, kept)


def test_an_unknown_filter_lists_the_known_ones():
    message = r"unknown filter 'gauss'.*\['box', 'gaussian', 'sharp'\]"
    with pytest.raises(ValueError, match=message):
        filtered_dns(start((32, 32)), 16, "gauss")


@pytest.mark.parametrize("width", [6.3, 1e200])
def test_a_filter_wider_than_the_domain_is_refused(width):
    with pytest.raises(ValueError, match=r"filter_width must be at most 6\.28319"):
        filtered_dns(start((32, 32)), 16, filter_width=width)
    with pytest.raises(ValueError, match=r"filter_width must be at most 6\.28319"):
        replace(named_flow("tiny_forced_re2e2_kf4"), filter_width=width)


@pytest.mark.parametrize("num_points", [32, 64, (16, 32), (32, 16)])
def test_an_les_grid_that_is_not_coarser_is_refused(num_points):
    pair = num_points if isinstance(num_points, tuple) else (num_points,) * 2
    with pytest.raises(ValueError, match=re.escape(f"received {pair} and ")):
        filtered_dns(start((32, 32)), num_points)


@pytest.mark.parametrize("width", [0.0, -0.1, np.nan, np.inf, "0.1"])
def test_an_unusable_width_is_refused(width):
    message = re.escape(f"filter_width must be positive and finite; received {width!r}")
    with pytest.raises(ValueError, match=message):
        filtered_dns(start((32, 32)), 16, filter_width=width)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda w: w + 0.5, r"mean 0\.5"),
        (lambda w: w * 1j, "complex128"),
        (lambda w: np.where(w == w.max(), np.nan, w), "1 of 1024 values"),
        (lambda w: np.stack([w, w]), r"\(2, 32, 32\)"),
        (lambda w: w[0], r"\(32,\)"),
    ],
)
def test_an_unusable_field_is_refused(spoil, message):
    with pytest.raises(ValueError, match=message):
        filtered_dns(spoil(start((32, 32))), 16)


@pytest.mark.parametrize("transfer", [np.nan, np.inf])
def test_a_filter_that_is_not_finite_is_refused(transfer):
    with pytest.raises(ValueError, match="filter"):
        filtered_dns(start((32, 32)), 16, lambda g, w: g.k_squared * 0.0 + transfer)


@pytest.mark.parametrize("shape", [(17,), (32, 32), (16, 9)])
def test_a_filter_of_another_shape_is_refused(shape):
    with pytest.raises(ValueError, match=r"\(32, ?17\)"):
        filtered_dns(start((32, 32)), 16, lambda g, w: np.ones(shape))


def test_an_les_is_driven_by_the_filtered_forcing():
    flow = FlowConfig(256, 2000.0, forcing_wavenumber=16)
    coarse = les_flow(flow, 64)
    width = 2 * 2 * np.pi / 64
    assert coarse.forcing_amplitude == pytest.approx(np.exp(-(16**2) * width**2 / 24))
    assert coarse.shape == (64, 64)
    assert les_flow(flow, 64, "sharp", 1e-3).forcing_amplitude == 1.0
    unforced = FlowConfig(256, 2000.0, forcing_wavenumber=None)
    assert les_flow(unforced, 64).forcing_amplitude == 1.0


def test_an_les_that_cannot_hold_the_forcing_is_refused():
    flow = FlowConfig(256, 2000.0, forcing_wavenumber=16)
    with pytest.raises(ValueError, match=r"forcing_wavenumber=16 is not resolved"):
        les_flow(flow, 16)


RECTANGLE = FlowConfig(
    (40, 36), 100.0, forcing_wavenumber=2, lengths=(2 * np.pi, 4 * np.pi)
)


@pytest.mark.parametrize(
    "own",
    [
        lambda grid, width: np.exp(-(grid.kx**2)) + 0.0 * grid.ky,  # along x alone
        lambda grid, width: np.exp(-(grid.ky**2)) + 0.0 * grid.kx,
        lambda grid, width: np.exp(1j * (grid.kx + grid.ky)),  # a shift
        lambda grid, width: 1.0 + 0.1 * grid.kx + 0.0 * grid.ky,  # of no real field
    ],
)
def test_a_filter_that_leaves_no_amplitude_is_refused_and_les_forcing_named(own):
    with pytest.raises(ValueError, match=r"k_f = 2; received \[.*les_forcing\("):
        les_flow(RECTANGLE, (20, 18), own, 1.0)


def test_the_forcing_of_an_les_is_filtered_as_its_fields_are():
    """Also by a filter that looks at its grid, which is that of the DNS for both."""

    def by_the_grid(grid, width):
        return np.exp(-grid.k_squared * max(grid.spacing) ** 2)

    grid = Grid(RECTANGLE.shape, RECTANGLE.lengths)
    cosines = np.cos(2 * grid.x) + np.cos(2 * grid.y)
    for choice in ("gaussian", "box", "sharp", by_the_grid):
        arguments = (20, 18), choice, 1.0
        fields = filtered_dns(cosines, *arguments, RECTANGLE.lengths)
        amplitude = les_flow(RECTANGLE, *arguments).forcing_amplitude
        expected = amplitude * cosines[::2, ::2]
        assert np.abs(fields.vorticity - expected).max() < 1e-13
