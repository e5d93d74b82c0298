"""Where the packages meet: a network inside the solver, a solver step inside Keras."""

from dataclasses import asdict

import keras
import numpy as np

import keras_spectral_tl as kst
from keras_spectral_tl.layers import LESStep
from turbulence_data import FlowConfig, Normalization, RandomVorticity, evolve
from turbulence_data.a_posteriori import run_ensemble
from turbulence_data.closures import ClippedBackscatter
from turbulence_data.filtering import les_flow
from turbulence_data.solver._grid import Grid, streamfunction_of

FLOW = les_flow(FlowConfig(64, 300.0, forcing_wavenumber=4, beta=1.0), 24)
NORMALIZATION = Normalization((0.01, 0.4), (-0.02, 2.5), (0.03, 1.5))


def start_field(seed=0):
    return RandomVorticity(0.5, 4.0)(Grid(FLOW.shape), np.random.default_rng(seed))


def network():
    keras.utils.set_random_seed(0)
    return kst.build_sgs_cnn((24, 24, 2), num_layers=2, num_filters=4, kernel_size=3)


def closeness(found, exact):
    return np.abs(found - exact).max() / np.abs(exact).max()


def test_a_closure_normalizes_as_the_dataset_does():
    vorticity = start_field()
    psi = streamfunction_of(vorticity, Grid(FLOW.shape))
    model = network()
    x = np.stack([psi, vorticity], axis=-1)[None].astype(np.float32)
    x, _ = NORMALIZATION.normalize(x, np.zeros((1, 24, 24, 1), np.float32))
    closure = kst.KerasClosure(model, asdict(NORMALIZATION))
    assert np.array_equal(closure.inputs(vorticity, psi), x)
    _, expected = NORMALIZATION.denormalize(x, model.predict(x, verbose=0))
    assert closeness(closure(vorticity, psi), expected[0, ..., 0]) < 1e-6


def test_a_network_drives_an_ensemble_as_it_drives_each_member():
    closure = kst.KerasClosure(network(), NORMALIZATION)
    start = np.stack([start_field(seed) for seed in range(3)])
    run = run_ensemble(start, FLOW, ClippedBackscatter(closure), [0.2], 0.02)
    alone = evolve(start[1], FLOW, 0.2, 0.02, ClippedBackscatter(closure))
    assert closeness(run.vorticity[0, 1], alone) < 1e-5


def test_the_keras_step_is_the_step_of_the_solver():
    """Same equation, Jacobian, scheme, network and conventions, to single precision."""
    model, start = network(), start_field()
    step = LESStep(FLOW.to_dict(), 0.02, model, asdict(NORMALIZATION))
    vorticity = start[None, :, :, None].astype("float32")
    for _ in range(5):
        vorticity = step(vorticity)
    closure = kst.KerasClosure(model, NORMALIZATION)
    exact = evolve(start, FLOW, 0.1, 0.02, closure)
    assert closeness(keras.ops.convert_to_numpy(vorticity)[0, ..., 0], exact) < 1e-5
    without = evolve(start, FLOW, 0.1, 0.02, lambda w, psi: 0.0 * w)
    assert closeness(without, exact) > 1e-3  # the network matters
