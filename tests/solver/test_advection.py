"""The nonlinear term against the Jacobian of plain transforms."""

import numpy as np
import pytest

from turbulence_data.solver._grid import Grid, jacobian_hat, padded_points, to_spectral
from turbulence_data.solver._modes import padded_modes, truncated_modes
from turbulence_data.solver.fftw import _advection
from turbulence_data.solver.fftw import _advection as advection
from turbulence_data.solver.fftw import _pointwise as kernels
from turbulence_data.solver.fftw import _pointwise_numba as fused_kernels
from turbulence_data.solver.fftw._advection import Advection

# Sums over a few thousand terms in double precision, relative to the largest value.
ROUND_OFF = 1e-13
SHAPES = [(4, 4), (16, 16), (24, 18), (15, 21), (32, 9), (48, 64), (7, 300), (300, 7)]
LENGTHS = (2 * np.pi, 3.0)


def modes_and_field(shape, make_modes, seed=0):
    modes = make_modes(Grid(shape, LENGTHS))
    field = np.random.default_rng(seed).standard_normal(shape)
    return modes, modes.from_physical(field)


def tendency(modes, hat, **options):
    out = np.full_like(hat, np.nan)
    Advection(modes, **options)(hat, out)
    return out


@pytest.mark.parametrize("make_modes", [truncated_modes, padded_modes])
@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_minus_the_jacobian(shape, make_modes):
    modes, hat = modes_and_field(shape, make_modes)
    given, out = hat.copy(), np.full_like(hat, np.nan)
    minus_jacobian = Advection(modes)
    for _ in range(2):  # the second call starts from used buffers
        minus_jacobian(hat, out)
    np.testing.assert_array_equal(hat, given)
    grid = modes.grid
    exact = modes.from_physical(
        np.fft.irfft2(
            jacobian_hat(to_spectral(modes.to_physical(hat)), grid),
            s=grid.num_points,
            norm="forward",
        )
    )
    assert np.abs(out + exact).max() <= ROUND_OFF * np.abs(hat).max() * np.prod(shape)


@pytest.mark.parametrize("shape", [(64, 48), (300, 7), (33, 90)])
def test_energy_and_enstrophy_are_conserved(shape):
    modes, hat = modes_and_field(shape, truncated_modes)
    change = np.conj(hat) * tendency(modes, hat) * modes.hermitian_weights
    for weight in (np.ones(modes.shape), modes.inverse_k_squared):
        production = np.abs(change.real * weight).sum()
        assert abs(np.sum(change.real * weight)) < ROUND_OFF * production


def test_unresolved_rows_and_the_mean_do_not_change():
    modes, hat = modes_and_field((64, 48), truncated_modes)
    assert np.all(tendency(modes, hat)[~modes.mask] == 0.0)


@pytest.mark.parametrize("shape", [(4, 4), (33, 27), (300, 70)])
def test_the_rate_is_the_largest_over_all_points(shape):
    modes, hat = modes_and_field(shape, truncated_modes)
    u, v = (
        modes.to_physical(factor * modes.inverse_k_squared * hat)
        for factor in (1j * modes.ky, -1j * modes.kx)
    )
    kx, ky = modes.largest_wavenumbers
    expected = np.max(np.abs(u) * kx + np.abs(v) * ky)
    assert Advection(modes).rate(hat) == pytest.approx(expected, rel=1e-12)


def test_a_nan_is_not_lost_in_the_rate():
    modes, hat = modes_and_field((256, 256), truncated_modes)
    hat[3, 3] = np.nan
    assert np.isnan(Advection(modes).rate(hat))


def test_after_a_nan_the_next_field_is_treated_as_before():
    modes, hat = modes_and_field((130, 64), truncated_modes)
    used, out = Advection(modes), np.empty_like(hat)
    used(np.full_like(hat, np.nan), out)
    used(hat, out)
    np.testing.assert_array_equal(out, tendency(modes, hat))


@pytest.mark.parametrize("module", [kernels, fused_kernels])
def test_a_column_major_field_gives_the_same_bits(monkeypatch, module):
    monkeypatch.setattr(advection, "pointwise_kernels", lambda: module)
    modes, hat = modes_and_field((48, 64), truncated_modes)
    out = np.empty(hat.shape, hat.dtype, order="F")
    Advection(modes)(np.asfortranarray(hat), out)
    np.testing.assert_array_equal(out, tendency(modes, hat))


@pytest.mark.parametrize("shape", [(256, 256), (301, 264)])
def test_threads_do_not_change_a_bit(monkeypatch, shape):
    monkeypatch.setattr(_advection, "_FEWEST_POINTS_FOR_THREADS", 0)
    modes, hat = modes_and_field(shape, truncated_modes)
    one, two = (tendency(modes, hat, threads=threads) for threads in (1, 2))
    np.testing.assert_array_equal(one, two)


def test_padding_leaves_room_for_every_product():
    modes = padded_modes(Grid((16, 18)))
    assert modes.quadrature.num_points == padded_points((16, 18))
