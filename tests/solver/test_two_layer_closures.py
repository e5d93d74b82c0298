"""Closures of two-layer flow: of both layers, or of one plane layer by layer."""

import math

import numpy as np
import pytest

from tests.solver.common import DAY, EDDY, noise
from turbulence_data import TwoLayerConfig, evolve
from turbulence_data.closures import (
    ByLayer,
    GradientModel2,
    GradientModel4,
    NoClosure,
    Smagorinsky,
    SpectralFilter,
    SumOfClosures,
)
from turbulence_data.solver import Simulation
from turbulence_data.solver._grid import (
    Grid,
    advection_hat,
    jacobian_hat,
    to_physical,
    to_spectral,
)
from turbulence_data.solver._simulation import equation_of


def test_a_classic_closure_acts_layer_by_layer_and_drains_energy():
    plane = Smagorinsky(coefficient=0.15, lengths=EDDY.lengths)
    closure = ByLayer(plane, lengths=EDDY.lengths)
    simulation = Simulation(EDDY, closure)
    state = simulation.start(noise())
    modes = simulation.modes
    psi_hat = simulation.equation.streamfunction_hat(state.vorticity_hat)
    psi = modes.to_physical(psi_hat)
    zeta = modes.to_physical(modes.k_squared * psi_hat)
    found = closure(simulation.vorticity(state), psi)
    for layer in range(2):
        expected = plane(zeta[layer], psi[layer])
        scale = np.abs(expected).max()
        np.testing.assert_allclose(found[layer], expected, rtol=0, atol=1e-12 * scale)
        assert np.mean(psi[layer] * found[layer]) < 0.0
    end = evolve(noise(), EDDY, 2.0 * DAY, 3600.0, closure)
    without = evolve(noise(), EDDY, 2.0 * DAY, 3600.0, NoClosure(lengths=EDDY.lengths))
    assert Simulation(EDDY).energy(Simulation(EDDY).start(end)) < Simulation(
        EDDY
    ).energy(Simulation(EDDY).start(without))


def test_closures_of_one_plane_or_another_domain_are_refused_in_words():
    lengths = {"lengths": EDDY.lengths}
    plane = Smagorinsky(0.1, **lengths)
    for closure in (plane, SumOfClosures(plane), SpectralFilter(plane, **lengths)):
        with pytest.raises(TypeError, match=r"Smagorinsky.*ByLayer"):
            evolve(noise(), EDDY, DAY, closure=closure)
    with pytest.raises(ValueError, match="Smagorinsky was made for a domain"):
        ByLayer(Smagorinsky(0.1), **lengths)
    with pytest.raises(ValueError, match=r"ByLayer .* lengths=flow\.lengths"):
        evolve(noise(), EDDY, DAY, closure=ByLayer(Smagorinsky(0.1)))
    by_layer = SpectralFilter(ByLayer(plane, **lengths), **lengths)
    assert np.isfinite(evolve(noise(), EDDY, 3600.0, closure=by_layer)).all()


def smooth_layers():
    """Streamfunctions of wavenumbers up to 3 on the domain of `EDDY`, and their q."""
    flow, grid = EDDY, Grid((64, 64), EDDY.lengths)
    size = 2.0 * np.pi / EDDY.lengths[0]
    kept = grid.k_squared < (3.1 * size) ** 2
    psi_hat = np.where(kept, to_spectral(noise(size=100.0)), 0.0)
    first, second = flow.stretching
    jump = psi_hat[1] - psi_hat[0]
    q_hat = grid.k_squared * psi_hat - np.stack([first * jump, -second * jump])
    return grid, psi_hat, q_hat


def gradient_error(model, width):
    """The forcing of a Gaussian filter, and how far a model is from it."""
    grid, psi_hat, q_hat = smooth_layers()
    response = np.exp(-(width**2) * grid.k_squared / 24.0)
    bar_psi, bar_q = response * psi_hat, response * q_hat
    exact = advection_hat(bar_psi, bar_q, grid) - response * advection_hat(
        psi_hat, q_hat, grid
    )
    plane = model(filter_width=width, lengths=EDDY.lengths)
    closure = ByLayer(plane, lengths=EDDY.lengths)
    given = (to_physical(hat, (64, 64)) for hat in (bar_q, bar_psi))
    forcing = to_physical(exact, (64, 64))
    error = np.abs(closure(*given) - forcing).max((1, 2))
    return error / np.abs(forcing).max((1, 2))


@pytest.mark.parametrize(("model", "order"), [(GradientModel2, 2), (GradientModel4, 4)])
def test_a_gradient_model_by_layer_is_the_flux_of_potential_vorticity(model, order):
    width = EDDY.lengths[0] / 32.0
    coarse, fine = (gradient_error(model, part) for part in (width, 0.5 * width))
    assert (coarse < 0.1).all()
    np.testing.assert_allclose(np.log2(coarse / fine), order, atol=0.1)


def test_gradient_models_by_layer_stand_beside_others_and_not_within_them():
    plane, lengths = GradientModel2(lengths=EDDY.lengths), {"lengths": EDDY.lengths}
    viscous = Smagorinsky(0.1, **lengths)
    mixed = SumOfClosures(plane, viscous)
    for closure in (mixed, SpectralFilter(mixed, **lengths)):
        with pytest.raises(TypeError, match=r"around each: SumOfClosures"):
            ByLayer(closure, **lengths)
    parts = [ByLayer(part, **lengths) for part in (plane, viscous)]
    fields = noise(), noise(size=100.0)
    expected = parts[0](*fields) + parts[1](*fields)
    np.testing.assert_array_equal(SumOfClosures(*parts)(*fields), expected)
    end = evolve(noise(), EDDY, 3600.0, closure=SumOfClosures(*parts))
    assert np.isfinite(end).all()


def test_the_advection_of_a_vorticity_is_that_of_any_field():
    grid = Grid((32, 24), (2.0 * np.pi, 3.0))
    hat = to_spectral(noise((32, 24), size=1.0))
    expected = to_physical(jacobian_hat(hat, grid), (32, 24))
    psi_hat = hat * grid.inverse_k_squared
    found = to_physical(advection_hat(psi_hat, hat, grid), (32, 24))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_a_closure_receives_both_layers():
    flow = TwoLayerConfig(32, 15e3, 0.0, 0.0, mean_velocities=(0.0, 0.0))
    start = noise((2, 32, 32), size=1e-13)
    rate = 1e-6

    def damping(potential_vorticity, streamfunction):
        assert potential_vorticity.shape == streamfunction.shape == (2, 32, 32)
        return -rate * potential_vorticity

    les = equation_of(flow, damping).modes
    smooth = les.to_physical(les.from_physical(start))  # without Nyquist wavenumbers
    end = evolve(smooth, flow, DAY, 3600.0, closure=damping)
    free = evolve(smooth, flow, DAY, 3600.0, closure=lambda q, psi: 0.0 * q)
    np.testing.assert_allclose(end, free * math.exp(-rate * DAY), rtol=0, atol=1e-21)
