"""Closures of two-layer flow: of both layers, or of one plane layer by layer."""

import math

import numpy as np
import pytest

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
from turbulence_data.solver._simulation import equation_of

DAY = 86_400.0
EDDY = TwoLayerConfig(64, 15e3, beta=1.5e-11, bottom_drag=5.787e-7)


def noise(shape=(2, 64, 64), size=1e-5):
    field = np.random.default_rng(0).normal(size=shape)
    return size * (field - field.mean(axis=(-2, -1), keepdims=True))


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


@pytest.mark.parametrize("model", [GradientModel2, GradientModel4])
def test_gradient_models_by_layer_are_refused_wrapped_or_not(model):
    plane, lengths = model(lengths=EDDY.lengths), {"lengths": EDDY.lengths}
    mixed = SumOfClosures(plane, Smagorinsky(0.1, **lengths))
    for closure in (plane, mixed, SpectralFilter(mixed, **lengths)):
        with pytest.raises(TypeError, match="flux of relative vorticity, not"):
            ByLayer(closure, **lengths)


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
