"""Two-layer quasi-geostrophic flow against its equations and exact waves."""

import math
from dataclasses import replace

import numpy as np
import pytest

from tests.solver.common import DAY, DRAG, EDDY, noise
from turbulence_data import FlowConfig, TwoLayerConfig, evolve
from turbulence_data.solver import (
    FftwEngine,
    Numerics,
    Simulation,
    UnstableTimeStepError,
    etdrk4,
)
from turbulence_data.solver._simulation import equation_of
from turbulence_data.solver._two_layer import linear_matrix

# Flow -> largest growth rate, 1/s, and where, from a 2 x 2 eigenvalue problem in the
# streamfunctions (not in potential vorticity, as the solver has it).
NAMED = {
    "eddy": EDDY,
    "jet": TwoLayerConfig(64, 15e3, 1.0e-11, 7e-8, layer_ratio=0.1),
    "3-jet": TwoLayerConfig(64, 15e3, 5e-12, 3.5e-8, layer_ratio=0.05),
    "rd20": TwoLayerConfig(64, 20e3, 1.5e-11, DRAG),
}
ROUND_OFF = 1e-13  # relative, of sums over some thousand modes


def wavenumbers(flow):
    (nx, ny), (length_x, length_y) = flow.shape, flow.lengths
    kx = 2 * np.pi / length_x * np.fft.fftfreq(nx, 1 / nx)[:, None]
    return kx, 2 * np.pi / length_y * np.arange(ny // 2 + 1)[None]


def inverted(q_hat, flow):
    """Streamfunctions by a linear solve of their definition, mode by mode."""
    kx, ky = wavenumbers(flow)
    k_squared = kx**2 + ky**2
    first, second = flow.stretching
    one = np.ones_like(k_squared)
    matrix = np.array(
        [
            [k_squared + first, -first * one],
            [-second * one, k_squared + second],
        ]
    )
    matrix[..., 0, 0] = np.eye(2)
    hats = np.moveaxis(q_hat, 0, -1)[..., None]
    psi = np.linalg.solve(np.moveaxis(matrix, (0, 1), (-2, -1)), hats)[..., 0]
    psi[0, 0] = 0.0
    return np.moveaxis(psi, -1, 0)


def resized(hat, shape):
    """Coefficients on another grid, without Nyquist wavenumbers."""
    kept_x = (min(hat.shape[1], shape[0]) - 1) // 2
    kept_y = min(hat.shape[2] - 1, (shape[1] - 1) // 2)
    result = np.zeros((2, shape[0], shape[1] // 2 + 1), complex)
    result[:, : kept_x + 1, : kept_y + 1] = hat[:, : kept_x + 1, : kept_y + 1]
    result[:, -kept_x:, : kept_y + 1] = hat[:, -kept_x:, : kept_y + 1]
    return result


def tendency(q_hat, flow, points):
    """All terms but hyperviscosity by their definitions, products on a grid."""
    kx, ky = wavenumbers(flow)
    psi_hat = inverted(q_hat, flow)
    u, v, q = (
        np.fft.irfft2(resized(hat, points), s=points, norm="forward")
        for hat in (1j * ky * psi_hat, -1j * kx * psi_hat, q_hat)
    )
    flux_x, flux_y = (
        resized(np.fft.rfft2(flux, norm="forward"), flow.shape)
        for flux in (u * q, v * q)
    )
    result = -1j * kx * flux_x - 1j * ky * flux_y
    for layer in range(2):
        result[layer] -= 1j * kx * flow.mean_velocities[layer] * q_hat[layer]
        result[layer] += 1j * kx * flow.mean_gradients[layer] * psi_hat[layer]
    result[1] -= flow.bottom_drag * (kx**2 + ky**2) * psi_hat[1]
    return result


@pytest.mark.parametrize("aliased", [False, True])
@pytest.mark.parametrize(
    ("shape", "length"), [((64, 64), 1e6), ((48, 32), (1e6, 7e5)), ((33, 35), 1e6)]
)
def test_every_term_is_that_of_the_equation(shape, length, aliased):
    flow = TwoLayerConfig(
        shape,
        15e3,
        1.5e-11,
        DRAG,
        mean_velocities=(0.03, -0.01),
        length=length,
        aliased_products=aliased,
    )
    equation = equation_of(flow)
    modes = equation.modes
    q_hat = modes.from_physical(noise((2, *shape)))
    found = np.zeros_like(q_hat)
    FftwEngine().right_hand_side(equation).nonlinear_terms(q_hat, 0.0, found)
    found += equation.linear_operator * q_hat
    full = np.fft.rfft2(modes.to_physical(q_hat), norm="forward")
    points = shape if aliased else tuple(2 * n for n in shape)
    expected = tendency(full, flow, points)
    expected = modes.from_physical(np.fft.irfft2(expected, s=shape, norm="forward"))
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=ROUND_OFF * scale)


def test_streamfunctions_solve_their_definition():
    equation = equation_of(EDDY)
    q_hat = equation.modes.from_physical(noise())
    found = equation.modes.to_physical(equation.streamfunction_hat(q_hat))
    full = np.fft.rfft2(equation.modes.to_physical(q_hat), norm="forward")
    expected = np.fft.irfft2(inverted(full, EDDY), norm="forward")
    np.testing.assert_allclose(
        found, expected, rtol=0, atol=ROUND_OFF * np.abs(expected).max()
    )
    simulation = Simulation(EDDY)
    found = simulation.streamfunction(simulation.start(noise()))
    np.testing.assert_allclose(
        found, expected, rtol=0, atol=ROUND_OFF * np.abs(expected).max()
    )


def by_depth(field, flow):
    """Root mean square of both layers, weighted by their depths."""
    return math.sqrt(np.mean(field**2, axis=(1, 2)) @ flow.depth_fractions)


def manufactured(flow):
    """A state of five waves, its tendency, and the largest gradient of the state."""
    x, y = (2.0 * np.pi / 32 * axis for axis in np.ogrid[:32, :32])
    upper = np.cos(2 * x) * np.cos(3 * y) + 0.5 * np.sin(3 * x - y + 0.4)
    q = 1e-5 * np.stack([upper, 0.3 * np.cos(2 * x + y) + 0.2 * np.sin(3 * y + 0 * x)])
    q_hat = np.fft.rfft2(q, norm="forward")
    rate = np.fft.irfft2(tendency(q_hat, flow, (64, 64)), norm="forward")
    gradient = [
        np.fft.irfft2(1j * k * q_hat, norm="forward") for k in wavenumbers(flow)
    ]
    return q, rate, math.sqrt(np.sum(np.square(gradient), axis=0).max())


def test_a_forcing_against_its_tendency_holds_a_nonlinear_state():
    """To round-off, which grows no faster than the equation lets differences grow.

    Let d be the difference from the state. Advection of d by any flow keeps `|d|`, root
    mean square by depth; what its velocity does to the gradients of q and to the mean
    ones adds at most `max|grad| |d| / k_1`, k_1 the smallest wavenumber, since
    inversion divides by k^2 at least; drag adds at most `drag |d|`. ETDRK4 has steady
    states of the equation as its own, so each step adds round-off alone.
    """
    flow = TwoLayerConfig(32, 15e3, 1.5e-11, DRAG)
    q, rate, gradient = manufactured(flow)
    steps, time_step = 200, 900.0
    duration, numerics = steps * time_step, Numerics(scheme=etdrk4)
    arguments = (q, flow, duration, time_step)
    found = evolve(*arguments, lambda q, psi: -rate, numerics=numerics)
    free = evolve(*arguments, lambda q, psi: 0.0 * q, numerics=numerics)
    assert by_depth(free - q, flow) > 0.3 * by_depth(q, flow)
    growth = (gradient + max(map(abs, flow.mean_gradients))) / (2e-6 * np.pi) + DRAG
    source = steps * np.finfo(float).eps * by_depth(q, flow)
    source += ROUND_OFF * duration * by_depth(rate, flow)
    bound = source * math.exp(growth * duration)
    assert bound < 1e-6 * by_depth(q, flow)
    assert by_depth(found - q, flow) < bound


def test_integrating_factors_hold_it_to_fourth_order():
    """They solve the linear terms apart, so that their balance is one of the step."""
    flow = TwoLayerConfig(32, 15e3, 1.5e-11, DRAG)
    q, rate, _ = manufactured(flow)
    drifts = [
        by_depth(evolve(q, flow, 96_000.0, step, lambda q, psi: -rate) - q, flow)
        for step in (9600.0, 4800.0)
    ]
    assert math.log2(drifts[0] / drifts[1]) == pytest.approx(4.0, abs=0.4)


def growth_rates(flow):
    """Of all modes with kx > 0: `omega B phi = A phi` in the streamfunctions."""
    kx, ky = wavenumbers(flow)
    k_squared = (kx**2 + ky**2)[1:22, :22]
    kx = np.broadcast_to(kx[1:22], k_squared.shape)
    (first, second), (upper, lower) = flow.stretching, flow.mean_velocities
    zero = np.zeros_like(k_squared)
    # In the sign of lap(psi) = zeta, as in the literature.
    b = np.array(
        [[-k_squared - first, zero + first], [zero + second, -k_squared - second]]
    )
    a = kx * np.reshape([upper, lower], (2, 1, 1, 1)) * b
    for layer, gradient in enumerate(flow.mean_gradients):
        a[layer, layer] += kx * gradient
    a = a.astype(complex)
    a[1, 1] += 1j * flow.bottom_drag * k_squared
    a, b = (np.moveaxis(m, (0, 1), (-2, -1)) for m in (a, b))
    omega = np.linalg.eigvals(np.linalg.solve(b, a))
    return omega.imag.max(axis=-1)


def test_growth_without_drag_is_that_of_phillips():
    """Equal layers: Phillips' dispersion relation in closed form (Vallis 2017, 9.6)."""
    rd, beta, shear = 15e3, 1.5e-11, 0.1
    flow = TwoLayerConfig(
        64, rd, beta, 0.0, layer_ratio=1.0, mean_velocities=(shear, 0.0)
    )
    kx, ky = wavenumbers(flow)
    k_squared = (kx**2 + ky**2)[1:22, :22]
    deformation, rhines = rd**-2.0, beta / (0.5 * shear)
    # Stretching is 1 / (2 rd^2) here, so the deformation wavenumber squared is rd^-2.
    ratio = 4.0 * k_squared**2 / (rhines**2 * deformation**2)
    d = 1.0 + ratio * (k_squared**2 - deformation**2)
    rate = (
        kx[1:22]
        * beta
        / (k_squared + deformation)
        * deformation
        / (2.0 * k_squared)
        * np.sqrt(np.maximum(-d, 0.0))
    )
    matrix = linear_matrix(flow, equation_of(flow).modes)
    found = np.linalg.eigvals(np.moveaxis(matrix, (0, 1), (-2, -1)))
    found = found.real.max(axis=-1)[1:22]
    np.testing.assert_allclose(found, rate, rtol=0, atol=1e-6 * rate.max())
    assert np.unravel_index(found.argmax(), found.shape) == (6, 0)  # mode (7, 0)


@pytest.mark.parametrize("name", NAMED)
def test_growth_of_the_named_flows_mode_by_mode(name):
    flow = NAMED[name]
    matrix = linear_matrix(flow, equation_of(flow).modes)
    found = np.linalg.eigvals(np.moveaxis(matrix, (0, 1), (-2, -1)))
    found = found.real.max(axis=-1)[1:22]
    expected = growth_rates(flow)
    assert expected.max() > 1e-8
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9 * expected.max())
    kx, ky = wavenumbers(flow)
    found = flow.growth_rates(kx[1:22], ky[:, :22])
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9 * expected.max())


def test_growth_rates_are_those_of_any_wave_of_a_flow():
    flow = TwoLayerConfig(
        (48, 44), 18e3, 1.2e-11, 3e-7, layer_ratio=0.4, mean_velocities=(0.05, 0.01)
    )
    kx, ky = wavenumbers(flow)
    kx, ky = kx[1:22], ky[:, :22]
    k_squared, rates = kx**2 + ky**2, flow.growth_rates(kx, ky)
    tolerance = 1e-9 * rates.max()
    np.testing.assert_allclose(rates, growth_rates(flow), rtol=0, atol=tolerance)
    # Hyperviscosity damps both layers alike; a wave that goes back is the same wave.
    steep = replace(flow, hyperviscosity=2e10, hyperviscosity_order=3)
    damped = rates - 2e10 * k_squared**3
    np.testing.assert_allclose(
        steep.growth_rates(kx, ky), damped, rtol=0, atol=tolerance
    )
    np.testing.assert_allclose(
        flow.growth_rates(-kx, -ky), rates, rtol=0, atol=tolerance
    )
    assert flow.growth_rates(0.0, 0.0) == 0.0
    with pytest.raises(ValueError, match="finite wavenumbers"):
        flow.growth_rates(np.nan, 1e-5)


@pytest.mark.parametrize("name", NAMED)
def test_a_small_eigenmode_grows_as_its_eigenvalue_says(name):
    flow = NAMED[name]
    modes = equation_of(flow).modes
    matrix = np.moveaxis(linear_matrix(flow, modes), (0, 1), (-2, -1))
    place = (6, 0) if name != "eddy" else (7, 0)
    values, vectors = np.linalg.eig(matrix[place])
    number = values.real.argmax()
    hat = np.zeros((2, *modes.shape), complex)
    hat[:, *place] = 1e-13 * vectors[:, number]
    # Of kx > 0 and ky = 0 the conjugate is stored too.
    hat[:, -place[0], 0] = hat[:, place[0], 0].conj()
    duration = 10.0 * DAY
    end = evolve(modes.to_physical(hat), flow, duration, time_step=3600.0)
    found = modes.from_physical(end)[:, *place]
    expected = hat[:, *place] * np.exp(values[number] * duration)
    np.testing.assert_allclose(found, expected, rtol=1e-7)


def test_a_barotropic_rossby_wave_keeps_its_shape_and_speed():
    """One plane wave is an exact nonlinear solution: omega = kx (U - beta / k^2)."""
    flow = TwoLayerConfig(
        32, 30e3, 2e-11, 0.0, mean_velocities=(0.05, 0.05), layer_ratio=0.4
    )
    grid = equation_of(flow).modes.grid
    kx, ky = 3 * 2e-6 * np.pi, 2 * 2e-6 * np.pi
    omega = kx * (0.05 - 2e-11 / (kx**2 + ky**2))
    duration = 40.0 * DAY

    def wave(time):
        one = 1e-6 * np.cos(kx * grid.x + ky * grid.y - omega * time)
        return np.stack([one, one])

    end = evolve(wave(0.0), flow, duration, time_step=3600.0)
    np.testing.assert_allclose(end, wave(duration), rtol=0, atol=1e-6 * 1e-6)


def test_layers_that_move_as_one_are_a_single_layer_with_beta():
    flow = TwoLayerConfig(48, 20e3, 1.5e-11, 0.0, mean_velocities=(0.0, 0.0))
    one = FlowConfig(
        48,
        reynolds=math.inf,
        linear_drag=0.0,
        forcing_wavenumber=None,
        beta=1.5e-11,
        lengths=(1e6, 1e6),
    )
    start = noise((48, 48))
    duration, time_step = 4.0 * DAY, 900.0
    expected = evolve(start, one, duration, time_step)
    found = evolve(np.stack([start, start]), flow, duration, time_step)
    scale = 1e-10 * np.abs(expected).max()  # round-off, amplified by turbulence
    np.testing.assert_allclose(found[0], expected, rtol=0, atol=scale)
    np.testing.assert_allclose(found[1], expected, rtol=0, atol=scale)


def test_energy_is_that_of_its_definition():
    simulation = Simulation(EDDY)
    state = simulation.start(noise())
    modes = simulation.modes
    psi = simulation.equation.streamfunction_hat(state.vorticity_hat)
    u, v = (
        modes.to_physical(1j * modes.ky * psi),
        modes.to_physical(-1j * modes.kx * psi),
    )
    upper, lower = EDDY.depth_fractions
    kinetic = 0.5 * np.mean(u**2 + v**2, axis=(1, 2)) @ [upper, lower]
    interface = modes.to_physical(psi[0] - psi[1])
    potential = 0.5 * upper * lower / 15e3**2 * np.mean(interface**2)
    assert simulation.energy(state) == pytest.approx(kinetic + potential, rel=1e-12)


def test_the_energy_budget_closes():
    """`dE/dt = work + dissipation`, by central differences of the solution."""
    flow = TwoLayerConfig(
        64, 15e3, 1.5e-11, 1e-6, hyperviscosity=2e9, hyperviscosity_order=2
    )
    simulation = Simulation(flow)
    half = 900.0
    start = simulation.start(noise(size=3e-6))
    middle = simulation.advance(start, half, half)
    end = simulation.advance(middle, half, half)
    integrals = simulation.integrals(middle)
    rate = (simulation.energy(end) - simulation.energy(start)) / (2.0 * half)
    assert integrals.dissipation < 0.0
    # The error of a central difference; the terms are of this size or larger.
    size = abs(integrals.work) + abs(integrals.dissipation)
    assert rate == pytest.approx(
        integrals.work + integrals.dissipation, abs=2e-4 * size
    )


def test_without_shear_beta_and_drag_energy_and_potential_enstrophy_stay():
    flow = TwoLayerConfig(48, 15e3, 0.0, 0.0, mean_velocities=(0.0, 0.0))
    simulation = Simulation(flow)
    start = simulation.start(noise((2, 48, 48)))
    end = simulation.advance(start, 5.0 * DAY, 1800.0)
    before, after = simulation.integrals(start), simulation.integrals(end)
    moved = np.abs(end.vorticity_hat - start.vorticity_hat).max()
    assert moved > 0.1 * np.abs(start.vorticity_hat).max()
    assert after.energy == pytest.approx(before.energy, rel=1e-6)
    assert after.enstrophy == pytest.approx(before.enstrophy, rel=1e-6)
    assert before.work == before.dissipation == 0.0


def test_the_error_of_a_step_falls_with_its_fourth_power():
    start = noise(size=2e-5)

    def end(time_step):
        return evolve(start, EDDY, 2.0 * DAY, time_step)

    best = end(450.0)
    errors = [np.abs(end(step) - best).max() for step in (7200.0, 3600.0)]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(4.0, abs=0.4)


def test_hyperviscosity_is_solved_exactly_and_does_not_shorten_the_steps():
    damped = replace(EDDY, hyperviscosity=1e22, hyperviscosity_order=4)
    assert equation_of(damped).wave_rate == equation_of(EDDY).wave_rate


def test_steps_chosen_are_accurate():
    start = noise(size=2e-5)
    exact = evolve(start, EDDY, 5.0 * DAY, 450.0)
    chosen = evolve(start, EDDY, 5.0 * DAY)
    assert np.abs(chosen - exact).max() < 1e-4 * np.abs(exact).max()


def test_runs_side_by_side_and_in_pieces_have_the_same_bits():
    simulation = Simulation(EDDY)
    starts = np.stack([noise(seed=1), noise(seed=2)])
    both = simulation.advance(simulation.start(starts), 10 * 3600.0, 3600.0)
    one = simulation.advance(simulation.start(starts[1]), 4 * 3600.0, 3600.0)
    one = simulation.advance(one, 6 * 3600.0, 3600.0)
    np.testing.assert_array_equal(both.vorticity_hat[1], one.vorticity_hat)


def test_threads_change_no_bit_and_single_precision_is_near():
    start = noise((2, 64, 64))
    double = evolve(start, EDDY, DAY, 3600.0)
    for threads in (2, 3):
        numerics = Numerics(engine=FftwEngine(threads=threads))
        again = evolve(start, EDDY, DAY, 3600.0, numerics=numerics)
        np.testing.assert_array_equal(again, double)
    single = evolve(start, EDDY, DAY, 3600.0, numerics=Numerics(dtype="float32"))
    assert single.dtype == np.float32
    assert np.abs(single - double).max() < 1e-4 * np.abs(double).max()


@pytest.mark.filterwarnings("error")  # a refusal, before any overflow
def test_bad_starts_are_refused():
    with pytest.raises(ValueError, match=r"shape \(2, nx, ny\)"):
        evolve(noise((64, 64)), EDDY, DAY)
    with pytest.raises(ValueError, match="mean potential_vorticity of the lower layer"):
        evolve(noise() + np.reshape([0.0, 1.0], (2, 1, 1)), EDDY, DAY)
    with pytest.raises(ValueError, match="takes no forcing"):
        evolve(noise(), EDDY, DAY, forcing=lambda x, y, t: 0.0 * x * y)
    with pytest.raises(UnstableTimeStepError, match="breaks the CFL limit"):
        evolve(noise(size=1e-4), EDDY, 100 * DAY, time_step=1e6)


def test_parameters_survive_a_round_trip():
    values = {
        k: list(v) if isinstance(v, tuple) else v for k, v in EDDY.to_dict().items()
    }
    assert TwoLayerConfig.from_dict(values) == EDDY
