"""The forcing of an LES is the filtered forcing of its DNS."""

import math

import numpy as np
import pytest

from turbulence_data.closures import NoClosure
from turbulence_data.config import FlowConfig
from turbulence_data.filtering import (
    FILTERS,
    FilteredForcing,
    filtered_dns,
    gaussian_filter,
    les_flow,
    les_forcing,
)
from turbulence_data.solver._evolve import evolve
from turbulence_data.solver._forcing import RingForcing, SteadyForcing
from turbulence_data.solver._grid import Grid
from turbulence_data.solver._initial_conditions import RandomVorticity
from turbulence_data.solver._modes import padded_modes, truncated_modes
from turbulence_data.solver._vorticity import VorticityEquation
from turbulence_data.solver.fftw._engine import FftwEngine

ROUND_OFF = 1e-12  # relative to the largest value
FLOW = FlowConfig((48, 64), 200.0, forcing_wavenumber=None)
LES = (16, 20)
DNS_MODES = truncated_modes(Grid(FLOW.shape))
LES_MODES = padded_modes(Grid(LES))
RING = RingForcing(5.0, 4.0, 0.3, seed=3)  # reaches beyond the LES along x alone


# A shift along x, whose response is complex, and one that smooths along x alone.
OTHERS = {
    "shift": lambda grid, width: np.exp(1j * grid.kx * width) + 0.0 * grid.ky,
    "along x": lambda grid, width: np.exp(-((grid.kx * width) ** 2)) + 0.0 * grid.ky,
}
ALL_FILTERS = [*FILTERS, *(pytest.param(f, id=name) for name, f in OTHERS.items())]


def source(x, y, time):
    """Large scales, and small ones that an LES grid would fold onto them."""
    slow = np.cos(3 * x + 2 * y - time)
    return slow + 5.0 * np.cos(14 * x) * np.sin(19 * y) * math.cos(time)


def filtered(field, filter_name):
    return filtered_dns(field, LES, filter_name).vorticity


def tendency(flow, modes, forcing, hat, time):
    out = np.empty(modes.shape, complex)
    equation = VorticityEquation(flow, modes, forcing=forcing)
    FftwEngine().right_hand_side(equation).nonlinear_terms(hat, time, out)
    return out


@pytest.mark.parametrize("filter_name", ALL_FILTERS)
@pytest.mark.parametrize("steady", [False, True])
def test_a_source_is_filtered_like_a_field(filter_name, steady):
    time = 0.0 if steady else 0.7
    forcing = SteadyForcing(lambda x, y: source(x, y, 0.0)) if steady else source
    driven = les_forcing(forcing, FLOW, LES, filter_name).on(LES_MODES)
    hat = np.zeros(LES_MODES.shape, complex)
    driven.add_source(hat, time)
    grid = Grid(FLOW.shape)
    expected = filtered(source(grid.x, grid.y, time), filter_name)
    assert np.abs(LES_MODES.to_physical(hat) - expected).max() < ROUND_OFF


@pytest.mark.parametrize("filter_name", ALL_FILTERS)
def test_a_kick_is_the_filtered_kick_of_the_dns(filter_name):
    kick, filtered_kick = (np.zeros(m.shape, complex) for m in (DNS_MODES, LES_MODES))
    RING.on(DNS_MODES).kick(kick, 17, 0.01)
    les_forcing(RING, FLOW, LES, filter_name).on(LES_MODES).kick(
        filtered_kick, 17, 0.01
    )
    expected = filtered(DNS_MODES.to_physical(kick), filter_name)
    assert np.abs(LES_MODES.to_physical(filtered_kick) - expected).max() < ROUND_OFF


def test_the_injection_that_is_left_is_that_of_the_filtered_noise():
    noise = les_forcing(RING, FLOW, LES).on(LES_MODES).noise
    weights = LES_MODES.hermitian_weights * LES_MODES.inverse_k_squared
    left = 0.5 * np.sum(weights * noise.variance)
    dns = RING.on(DNS_MODES).noise
    width = 2.0 * max(Grid(LES).spacing)
    response = gaussian_filter(DNS_MODES.grid, width)[:, : DNS_MODES.shape[1]]
    number = np.abs(np.fft.fftfreq(48, 1 / 48))[:, None]
    kept = (number < 8) & (DNS_MODES.ky < 10)
    density = DNS_MODES.hermitian_weights * DNS_MODES.inverse_k_squared * dns.variance
    assert left == pytest.approx(0.5 * np.sum(density * response**2 * kept))
    assert left < 0.8 * RING.energy_injection


def test_a_shift_moves_noise_and_keeps_its_power():
    moved = les_forcing(RING, FLOW, LES, OTHERS["shift"]).on(LES_MODES).noise
    still = les_forcing(RING, FLOW, LES, filter_width=1e-9).on(LES_MODES).noise
    np.testing.assert_allclose(moved.variance, still.variance, rtol=1e-12)
    assert not np.allclose(moved.kicks(0, 0.01), still.kicks(0, 0.01))


@pytest.mark.parametrize("steady", [False, True])
def test_the_time_of_an_les_is_counted_from_its_start(steady):
    forcing = SteadyForcing(lambda x, y: source(x, y, 0.0)) if steady else source
    hats = []
    for start_time, time in ((0.0, 0.7), (0.5, 0.2)):
        hat = np.zeros(LES_MODES.shape, complex)
        filtered_forcing = les_forcing(forcing, FLOW, LES, start_time=start_time)
        filtered_forcing.for_trajectory(0, 1).on(LES_MODES).add_source(hat, time)
        hats.append(hat)
    np.testing.assert_allclose(*hats, atol=ROUND_OFF)


def test_les_tendency_and_sgs_forcing_make_the_filtered_dns_tendency():
    """The identity that defines the subgrid forcing, with a forcing in it."""
    grid = Grid(FLOW.shape)
    vorticity = RandomVorticity(0.5, 4.0)(grid, np.random.default_rng(0))
    modes = padded_modes(grid)
    dns = tendency(FLOW, modes, source, modes.from_physical(vorticity), 0.3)
    fields = filtered_dns(vorticity, LES)
    les = tendency(
        les_flow(FLOW, LES),
        LES_MODES,
        les_forcing(source, FLOW, LES),
        LES_MODES.from_physical(fields.vorticity),
        0.3,
    )
    closed = LES_MODES.to_physical(les) + fields.sgs_forcing
    # Here, on padded modes, the DNS feels all of the source; so does its filter.
    expected = filtered(modes.to_physical(dns), "gaussian")
    assert np.abs(closed - expected).max() < 1e-11 * np.abs(expected).max()


def test_the_cosines_of_a_flow_are_filtered_alike_on_both_ways():
    own = FlowConfig(64, 200.0, forcing_wavenumber=4)
    start = filtered_dns(
        RandomVorticity(0.5, 4.0)(Grid((64, 64)), np.random.default_rng(0)), 32
    ).vorticity
    zeros = np.zeros_like(start)
    expected = evolve(start, les_flow(own, 32), 0.2, 0.01, lambda w, psi: zeros)
    cosines = SteadyForcing(lambda x, y: -4.0 * (np.cos(4 * x) + np.cos(4 * y)))
    flow = FlowConfig(64, 200.0, forcing_wavenumber=None)
    end = evolve(
        start,
        les_flow(flow, 32),
        0.2,
        0.01,
        lambda w, psi: zeros,
        les_forcing(cosines, flow, 32),
    )
    assert np.abs(end - expected).max() < 1e-11 * np.abs(expected).max()


def test_a_forcing_that_only_an_les_holds_has_its_own_way_as_the_error_says():
    flow, points = FlowConfig(64, 100.0, 0.1, forcing_wavenumber=12), 32
    with pytest.raises(ValueError, match=r"up to 10 after.*les_forcing\(Steady"):
        les_flow(flow, points)
    unforced = FlowConfig(64, 100.0, 0.1, forcing_wavenumber=None)
    cosines = SteadyForcing(lambda x, y: -12.0 * (np.cos(12.0 * x) + np.cos(12.0 * y)))
    forcing = les_forcing(cosines, unforced, points)
    grid = Grid((points, points))
    end = evolve(
        np.cos(grid.x) + 0.0 * grid.y,
        les_flow(unforced, points),
        0.01,
        0.01,
        NoClosure(),
        forcing=forcing,
    )
    width = 2.0 * grid.spacing[0]
    expected = -6.0 * 0.01 * np.exp(-((12.0 * width) ** 2) / 24.0) * points**2
    assert np.fft.rfft2(end)[12, 0].real == pytest.approx(expected, rel=0.02)


def test_every_trajectory_has_its_own_filtered_stream():
    forcing = les_forcing(RING, FLOW, LES)
    one = forcing.for_trajectory(0, 1)
    assert one.forcing == RING.for_trajectory(0, 1)
    assert one == FilteredForcing(one.forcing, FLOW.shape, "gaussian", 4 * np.pi / 16)


def test_a_steady_source_is_filtered_once():
    calls = []

    def counted(grid, width):
        calls.append(width)
        return gaussian_filter(grid, width)

    cosine = SteadyForcing(lambda x, y: np.cos(2 * x))
    forcing = les_forcing(cosine, FLOW, LES, counted, 0.5)
    flow = les_flow(FLOW, LES)
    evolve(np.zeros(LES), flow, 0.1, 0.01, lambda w, psi: 0 * w, forcing)
    assert calls == [0.5]


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match=r"filter_width must be .*received -1\.0"):
        les_forcing(RING, FLOW, LES, filter_width=-1.0)
    with pytest.raises(ValueError, match="unknown filter 'round'"):
        les_forcing(RING, FLOW, LES, "round").on(LES_MODES)
    with pytest.raises(ValueError, match="start_time must be a finite number"):
        les_forcing(RING, FLOW, LES, start_time=math.nan)
    with pytest.raises(TypeError, match="received 'wind'"):
        les_forcing("wind", FLOW, LES)
