"""Two-layer flow through both packages: networks of four inputs and two outputs."""

import keras
import numpy as np
import pytest

import keras_spectral_tl as kst
from keras_spectral_tl import freezing
from keras_spectral_tl.scoring import Arm
from turbulence_data import (
    FlowConfig,
    RandomPotentialVorticity,
    TwoLayerConfig,
    TwoLayerNormalization,
    evolve,
    filtered_layers,
)
from turbulence_data.closures import ByLayer, SumOfClosures
from turbulence_data.solver import Grid, Simulation

DAY = 86_400.0
FLOW = TwoLayerConfig(48, 15e3, beta=1.5e-11, bottom_drag=5.787e-7)
LES = TwoLayerConfig(16, 15e3, beta=1.5e-11, bottom_drag=5.787e-7)
NORMALIZATION = TwoLayerNormalization(
    streamfunction=((10.0, 900.0), (-5.0, 200.0)),
    vorticity=((1e-7, 8e-6), (0.0, 1e-6)),
    sgs_forcing=((1e-14, 1e-12), (0.0, 1e-13)),
)


def network():
    keras.utils.set_random_seed(0)
    return kst.build_sgs_cnn(
        (16, 16, 4), num_layers=2, num_filters=4, kernel_size=3, num_outputs=2
    )


def samples(seed):
    """Two snapshots a few days apart, as `to_arrays` lays them out."""
    draw = RandomPotentialVorticity(peak_mode=4.0)
    field = draw(Grid(FLOW.shape, FLOW.lengths), np.random.default_rng(seed))
    x, y = [], []
    for _ in range(2):
        field = evolve(field, FLOW, 3 * DAY, 7200.0)
        found = filtered_layers(field, FLOW, 16, "operator_2")
        channels = np.concatenate([found.streamfunction, found.potential_vorticity])
        x.append(np.moveaxis(channels, 0, -1))
        y.append(np.moveaxis(found.sgs_forcing, 0, -1))
    x, y = np.stack(x).astype(np.float32), np.stack(y).astype(np.float32)
    return TwoLayerNormalization.from_arrays(x, y).normalize(x, y)


def test_a_network_closes_both_layers_and_normalizes_as_the_dataset_does():
    model = network()
    closure = kst.KerasClosure(model, NORMALIZATION, layers=2)
    start = RandomPotentialVorticity(peak_mode=3.0)(
        Grid(LES.shape, LES.lengths), np.random.default_rng(0)
    )
    simulation = Simulation(LES, closure)
    state = simulation.start(start)
    q = simulation.vorticity(state)
    psi_hat = simulation.equation.streamfunction_hat(state.vorticity_hat)
    psi = simulation.modes.to_physical(psi_hat)
    x = np.moveaxis(np.concatenate([psi, q]), 0, -1)[None].astype(np.float32)
    scaled, _ = NORMALIZATION.normalize(x, np.zeros((1, 16, 16, 2), np.float32))
    np.testing.assert_array_equal(closure.inputs(q, psi), scaled)
    _, expected = NORMALIZATION.denormalize(x, model.predict(scaled, verbose=0))
    found = closure(q, psi)
    assert found.shape == (2, 16, 16)
    np.testing.assert_allclose(
        found, np.moveaxis(expected[0], -1, 0), rtol=0, atol=1e-6 * np.abs(found).max()
    )
    both = closure(np.stack([q, 2.0 * q]), np.stack([psi, psi]))
    assert both.shape == (2, 2, 16, 16)
    np.testing.assert_allclose(both[0], found, rtol=0, atol=1e-6 * np.abs(found).max())
    end = evolve(start, LES, DAY, 7200.0, closure)
    assert end.shape == (2, 16, 16)
    assert np.all(np.isfinite(end))


def test_statistics_or_fields_of_one_layer_are_refused():
    model = network()
    one = dict.fromkeys(("streamfunction", "vorticity", "sgs_forcing"), (0.0, 1.0))
    with pytest.raises(ValueError, match="2 layer"):
        kst.KerasClosure(model, one, layers=2)
    with pytest.raises(ValueError, match="channels"):
        kst.KerasClosure(model, one)
    with pytest.raises(ValueError, match=r"They are of 2 layer\(s\): give layers=2"):
        kst.KerasClosure(model, NORMALIZATION)
    with pytest.raises(ValueError, match="Expected layers as a whole number"):
        kst.KerasClosure(model, NORMALIZATION, layers=0)
    closure = kst.KerasClosure(model, NORMALIZATION, layers=2)
    with pytest.raises(ValueError, match=r"\(\.\.\., 2, nx, ny\)"):
        closure(np.zeros((16, 16)), np.zeros((16, 16)))


def test_a_network_of_other_layers_than_the_flow_is_refused():
    one = dict.fromkeys(("streamfunction", "vorticity", "sgs_forcing"), (0.0, 1.0))
    plane = kst.build_sgs_cnn((16, 16, 2), num_layers=2, num_filters=2)
    of_plane = kst.KerasClosure(plane, one)
    of_layers = kst.KerasClosure(network(), NORMALIZATION, layers=2)
    for closure in (of_plane, SumOfClosures(of_plane)):
        with pytest.raises(TypeError, match=r"of 2 layer\(s\).*layers=2"):
            Simulation(LES, closure)
    with pytest.raises(TypeError, match=r"of 1 layer\(s\).*received.*of 2"):
        Simulation(FlowConfig(16, 100.0, forcing_wavenumber=None), of_layers)
    # A network of one plane acts on each layer where that is said.
    Simulation(LES, ByLayer(of_plane, LES.lengths))


@pytest.mark.slow
def test_scores_and_retraining_take_four_inputs_and_two_outputs():
    model, base, target = network(), samples(0), samples(1)
    model.compile(optimizer="adam", loss="mse")
    model.fit(*base, epochs=2, verbose=0)
    recipe = {"optimizer": keras.optimizers.Adam(1e-3), "epochs": 2, "batch_size": 2}
    scores = kst.score_layers(model, base, target, **recipe)
    assert sorted(scores.ranking) == ["conv_1", "conv_2"]
    result = kst.retrain(model, target, "conv_1", **recipe)
    assert result.model.predict(target[0], verbose=0).shape == (2, 16, 16, 2)
    before, after = model.get_weights(), result.model.get_weights()
    assert [np.array_equal(a, b) for a, b in zip(before, after, strict=True)] == [
        *(False, False),
        *(True, True),
    ]


def mean_correlation(model, x, y):
    """Correlation of both outputs together, mean over the samples."""
    pairs = zip(model.predict(x, verbose=0), y, strict=True)
    return np.mean([np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in pairs])


@pytest.mark.slow
def test_a_forecast_takes_four_inputs_and_two_outputs():
    model, base, target = network(), samples(0), samples(1)
    arms = ["conv_2", Arm("output gain", freezing.OutputGain())]
    recipe = {"learning_rate": 1e-3, "steps": 4, "batch_size": 2, "progress": False}
    found = kst.forecast(model, base, target, arms, **recipe)
    assert {row.label for row in found.rows} == {"unchanged", "conv_2", "output gain"}
    assert found["conv_2"].parameters == 3 * 3 * 4 * 2 + 2
    # What is left alone is known, and one gain does not change a correlation.
    for label in ("unchanged", "output gain"):
        row = found[label]
        expected = mean_correlation(model, *target)
        assert row.correlation == pytest.approx(expected, abs=1e-5)
        expected = mean_correlation(model, *base)
        assert row.base_correlation == pytest.approx(expected, abs=1e-5)
    result = kst.retrain(model, target, **found.recipe_for("conv_2"))
    assert result.model.predict(target[0], verbose=0).shape == (2, 16, 16, 2)
    same = zip(model.get_weights(), result.model.get_weights(), strict=True)
    assert [np.array_equal(a, b) for a, b in same] == [True, True, False, False]
