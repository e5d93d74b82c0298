"""The grid's wavenumbers and shells; transforms and changes of resolution."""

import numpy as np
import pytest

from turbulence_data.solver._grid import (
    Grid,
    resample,
    resize,
    to_physical,
    to_spectral,
)
from turbulence_data.solver._modes import aliased_modes, padded_modes, truncated_modes

ROUND_OFF = 1e-13  # a few units in the last place of O(1) fields after two FFTs
SHAPES = [(32, 32), (33, 33), (48, 32), (24, 35), (35, 24)]
LENGTHS = [(2 * np.pi, 2 * np.pi), (3.0, 7.5)]


def band_limited(grid: Grid) -> np.ndarray:
    """An analytic field of modes up to 5, held by any grid of 11 points or more."""
    x, y = grid.x, grid.y
    return (
        np.cos(5 * x - 2 * y)
        + 0.3 * np.sin(5 * y)
        + np.sin(3 * x) * np.cos(4 * y)
        + 0.2
    )


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("lengths", LENGTHS)
def test_wavenumbers_differentiate_along_the_right_axis(shape, lengths):
    grid = Grid(shape, lengths)
    kx, ky = 2 * np.pi * 3 / lengths[0], 2 * np.pi * 5 / lengths[1]
    hat = to_spectral(np.sin(kx * grid.x + ky * grid.y))
    phase = kx * grid.x + ky * grid.y
    along_x = to_physical(1j * grid.kx * hat, shape)
    along_y = to_physical(1j * grid.ky * hat, shape)
    assert np.abs(along_x - kx * np.cos(phase)).max() < ROUND_OFF * kx
    assert np.abs(along_y - ky * np.cos(phase)).max() < ROUND_OFF * ky


@pytest.mark.parametrize("shape", SHAPES)
def test_transforms_invert_each_other_and_keep_parseval(shape):
    field = np.random.default_rng(0).standard_normal((3, *shape))
    hat = to_spectral(field)
    assert hat.shape == (3, shape[0], shape[1] // 2 + 1)
    assert np.abs(to_physical(hat, shape) - field).max() < ROUND_OFF
    weights = Grid(shape).hermitian_weights
    spectral = np.sum(weights * np.abs(hat) ** 2, axis=(1, 2))
    np.testing.assert_allclose(spectral, np.mean(field**2, axis=(1, 2)), rtol=1e-13)


@pytest.mark.parametrize("shape", SHAPES)
def test_hermitian_weights_count_every_mode_once(shape):
    weights = Grid(shape).hermitian_weights * np.ones((shape[0], 1))
    assert weights.sum() == shape[0] * shape[1]


@pytest.mark.parametrize("shape", SHAPES)
def test_transforms_leave_their_argument_unchanged(shape):
    field = np.random.default_rng(1).standard_normal(shape)
    kept = field.copy()
    hat = to_spectral(field)
    hat_kept = hat.copy()
    to_physical(hat, shape)
    resize(hat, shape, (16, 18))
    assert np.array_equal(field, kept)
    assert np.array_equal(hat, hat_kept)


@pytest.mark.parametrize("fine", [(32, 32), (33, 33), (48, 32), (25, 36)])
@pytest.mark.parametrize("coarse", [(16, 16), (11, 13), (17, 12)])
def test_resample_is_exact_both_ways_for_band_limited_fields(fine, coarse):
    on_fine, on_coarse = band_limited(Grid(fine)), band_limited(Grid(coarse))
    assert np.abs(resample(on_fine, coarse) - on_coarse).max() < ROUND_OFF
    assert np.abs(resample(on_coarse, fine) - on_fine).max() < ROUND_OFF


def test_resize_to_one_finer_and_one_coarser_direction():
    on_tall, on_wide = band_limited(Grid((40, 12))), band_limited(Grid((12, 40)))
    assert np.abs(resample(on_tall, (12, 40)) - on_wide).max() < ROUND_OFF


@pytest.mark.parametrize("shape", [(8, 8), (8, 9), (9, 8)])
def test_resize_drops_the_nyquist_wavenumber_and_keeps_all_below(shape):
    field = np.random.default_rng(2).standard_normal(shape)
    hat = to_spectral(field)
    same = resize(hat, shape, shape)
    number_x = np.abs(np.fft.fftfreq(shape[0], 1 / shape[0]))[:, None]
    number_y = np.arange(shape[1] // 2 + 1)[None, :]
    below = (number_x < shape[0] / 2) & (number_y < shape[1] / 2)
    assert np.array_equal(same, np.where(below, hat, 0.0))
    assert np.array_equal(resize(resize(hat, shape, (20, 20)), (20, 20), shape), same)


@pytest.mark.parametrize("modes_of", [truncated_modes, padded_modes, aliased_modes])
def test_every_mode_up_to_the_cutoff_is_resolved_along_x(modes_of):
    for n in range(4, 1100):
        modes = modes_of(Grid((n, 4)))
        rows = np.flatnonzero(modes.mask.any(axis=1))
        cutoff = (n - 1) // 3 if modes_of is truncated_modes else (n - 1) // 2
        assert rows.size == 2 * cutoff + 1, n
        assert set(np.minimum(rows, modes.shape[0] - rows)) == set(range(cutoff + 1))


@pytest.mark.parametrize("shape", SHAPES)
def test_every_mode_lies_in_its_shell(shape):
    grid = Grid(shape)
    modulus = np.hypot(grid.kx, grid.ky)
    assert np.all(grid.shells - 0.5 <= modulus)
    assert np.all(modulus < grid.shells + 0.5)


@pytest.mark.parametrize("length", [1.0, np.pi, 3.0, 11.0 / 7.0])
def test_half_integer_modulus_goes_to_the_upper_shell_for_any_length(length):
    # On sides (2 L, L) mode i along x has |k| / dk = i / 2, exact in binary: an odd i
    # sits on the lower, closed edge of shell (i + 1) / 2 whatever L is.
    grid = Grid((32, 16), (2.0 * length, length))
    odd = np.arange(1, 16, 2)
    assert grid.shells[odd, 0].tolist() == ((odd + 1) // 2).tolist()


def test_shell_width_is_the_coarser_wavenumber_spacing():
    assert Grid((16, 16), (np.pi, 2 * np.pi)).shell_width == pytest.approx(2.0)
    assert Grid((16, 16), (2 * np.pi, 4 * np.pi)).shell_width == pytest.approx(1.0)


def test_inverse_k_squared_inverts_all_but_the_mean():
    grid = Grid((16, 12), (2.0, 5.0))
    product = grid.k_squared * grid.inverse_k_squared
    assert product[0, 0] == 0.0
    product[0, 0] = 1.0
    np.testing.assert_allclose(product, 1.0, rtol=1e-15)


def test_points_start_at_zero_and_leave_out_the_period():
    grid = Grid((4, 5), (2.0, 10.0))
    assert grid.x.ravel().tolist() == [0.0, 0.5, 1.0, 1.5]
    assert grid.y.ravel().tolist() == [0.0, 2.0, 4.0, 6.0, 8.0]


@pytest.mark.parametrize("bad", [3, (8, 2), (8, 8, 8), 8.0, "88", True])
def test_unusable_numbers_of_points_are_refused(bad):
    with pytest.raises(ValueError, match="num_points"):
        Grid(bad)


@pytest.mark.parametrize("bad", [(1.0,), 6.28, (0.0, 1.0), (1.0, -2.0), (1.0, np.inf)])
def test_unusable_lengths_are_refused(bad):
    with pytest.raises(ValueError, match="lengths"):
        Grid((8, 8), bad)
