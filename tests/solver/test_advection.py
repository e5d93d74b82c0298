"""The two implementations of the nonlinear term against each other and the Jacobian."""

import numpy as np
import pytest

from turbulence_data.solver.advection import (
    PackedAdvection,
    PairAdvection,
    advection_of,
)
from turbulence_data.solver.grid import Grid
from turbulence_data.solver.modes import padded_modes, truncated_modes
from turbulence_data.solver.operators import jacobian_hat
from turbulence_data.solver.transforms import to_spectral

# Sums over a few thousand terms in double precision, relative to the largest value.
ROUND_OFF = 1e-13
SHAPES = [(16, 16), (24, 18), (15, 21), (32, 9), (48, 64)]
LENGTHS = (2 * np.pi, 3.0)


def modes_and_field(shape, make_modes, seed=0):
    grid = Grid(shape, LENGTHS)
    modes = make_modes(grid)
    field = np.random.default_rng(seed).standard_normal(shape)
    return modes, modes.from_physical(field)


@pytest.mark.parametrize("make_modes", [truncated_modes, padded_modes])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("implementation", [PackedAdvection, PairAdvection])
def test_it_is_minus_the_jacobian(implementation, shape, make_modes):
    modes, hat = modes_and_field(shape, make_modes)
    given, out = hat.copy(), np.empty_like(hat)
    advection = implementation(modes)
    for _ in range(2):  # the second call starts from used buffers
        advection(hat, out)
    np.testing.assert_array_equal(hat, given)
    grid = modes.grid
    exact = modes.from_physical(
        np.fft.irfft2(
            jacobian_hat(to_spectral(modes.to_physical(hat)), grid),
            s=grid.num_points,
            norm="forward",
        )
    )
    assert np.abs(out + exact).max() < ROUND_OFF * np.abs(exact).max()


@pytest.mark.parametrize("shape", SHAPES)
def test_both_measure_the_same_speed(shape):
    modes, hat = modes_and_field(shape, truncated_modes)
    rates = [kind(modes).rate(hat) for kind in (PackedAdvection, PairAdvection)]
    assert rates[0] == pytest.approx(rates[1], rel=ROUND_OFF)
    assert rates[0] > 0


@pytest.mark.parametrize("implementation", [PackedAdvection, PairAdvection])
def test_a_nan_is_not_lost_in_the_speed(implementation):
    modes, hat = modes_and_field((256, 256), truncated_modes)  # several blocks of rows
    hat[3, 3] = np.nan
    assert np.isnan(implementation(modes).rate(hat))


def test_small_grids_are_packed_and_large_ones_are_not():
    small, large = (truncated_modes(Grid((8, n))) for n in (256, 512))
    assert isinstance(advection_of(small, "FFTW_ESTIMATE", 1), PackedAdvection)
    assert isinstance(advection_of(large, "FFTW_ESTIMATE", 1), PairAdvection)
