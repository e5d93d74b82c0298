"""A posteriori tests in two layers: the truth is an LES; scores are of both layers."""

import math
from dataclasses import replace

import numpy as np
import pytest

from tests.turbulence_data.dns_alongside import DNSAlongside
from turbulence_data import RandomPotentialVorticity, TwoLayerConfig, evolve, les_flow
from turbulence_data.a_posteriori import Reference, compare, reference_ensemble
from turbulence_data.a_posteriori._measures import measures_of
from turbulence_data.closures import ByLayer, Smagorinsky
from turbulence_data.coarsening import filtered_layers
from turbulence_data.diagnostics import layer_energy_budget, layer_spectra
from turbulence_data.flows import named_flow
from turbulence_data.generation import sample_trajectory
from turbulence_data.solver import Grid, Simulation

DAY = 86400.0
FLOW = TwoLayerConfig(
    48,
    deformation_radius=15e3,
    beta=1.5e-11,
    bottom_drag=5.787e-7,
    hyperviscosity=2e10,
    hyperviscosity_order=2,
)
LES_POINTS = 24


def developed():
    """Potential vorticity of eddies that advect each other in hours."""
    grid = Grid(FLOW.shape, FLOW.lengths)
    start = RandomPotentialVorticity()(grid, np.random.default_rng(0))
    return 5e-5 / start.std(axis=(1, 2), keepdims=True) * start


def true_forcing(field):
    return filtered_layers(field, FLOW, LES_POINTS, "operator_1").sgs_forcing


def test_with_the_true_forcing_an_les_of_layers_is_the_filtered_dns():
    """Operator, sign, products and linear terms at once, to the order of the scheme."""
    field, duration, errors = developed(), 0.5 * DAY, []
    exact = evolve(field, FLOW, duration, duration / 256)
    truth = filtered_layers(exact, FLOW, LES_POINTS, "operator_1").potential_vorticity
    start = filtered_layers(field, FLOW, LES_POINTS, "operator_1").potential_vorticity
    changed = np.abs(truth - start).max() / np.abs(truth).max()
    for num_steps in (20, 40):
        step = duration / num_steps
        closure = DNSAlongside(field, FLOW, step, true_forcing)
        les = evolve(start, les_flow(FLOW, LES_POINTS), duration, step, closure)
        errors.append(np.abs(les - truth).max() / np.abs(truth).max())
    assert changed > 0.05
    assert errors[-1] < 1e-5 * changed
    assert abs(math.log2(errors[0] / errors[1]) - 4.0) < 0.3


def test_spectra_of_layers_add_up_to_the_integrals_of_the_flow():
    field, rng = developed(), np.random.default_rng(1)
    forcing = rng.standard_normal(field.shape)
    forcing -= forcing.mean(axis=(1, 2), keepdims=True)
    measures, simulation = measures_of(FLOW), Simulation(FLOW)
    found = measures.spectra(field, forcing)
    energy, enstrophy, *_ = simulation.integrals(simulation.start(field))
    assert found.energy.sum() == pytest.approx(energy, rel=1e-6)
    assert found.enstrophy.sum() == pytest.approx(enstrophy, rel=1e-6)
    # As E = 1/2 sum_i d_i <psi_i q_i> and Z = 1/2 sum_i d_i <q_i^2>.
    weights = np.reshape(FLOW.depth_fractions, (2, 1, 1))
    psi = measures.streamfunction(field[None])[0]
    assert found.energy.sum() == pytest.approx(0.5 * np.mean(2 * weights * psi * field))
    for by, transfer in (
        (psi, found.energy_transfer),
        (field, found.enstrophy_transfer),
    ):
        gained = np.mean(np.sum(weights * by * forcing, axis=0))
        assert transfer.sum() == pytest.approx(gained, rel=1e-6)
    # A closure may have a mean, which moves nothing.
    for one, other in zip(found, measures.spectra(field, forcing + 0.5), strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-9)


def test_the_turnover_is_that_of_the_relative_vorticity():
    """Of a wave alone in its layers, k^2 psi, in parts of the depth."""
    measures, points = measures_of(FLOW), np.arange(48)
    wave = np.cos(2 * np.pi * 3 * points / 48)[:, None] * np.ones((2, 1, 48))
    wave[1] *= 0.5
    fields = 1e-5 * wave[None]
    psi = measures.streamfunction(fields)
    k_squared = (2 * np.pi * 3 / FLOW.lengths[0]) ** 2
    squares = np.mean((k_squared * psi) ** 2, axis=(0, 2, 3))
    expected = np.sqrt(np.dot(FLOW.depth_fractions, squares))
    assert measures.turnover_rate(fields) == pytest.approx(expected)


@pytest.fixture(scope="module")
def reference():
    tiny = replace(named_flow("tiny_qg_eddy"), spin_up=40 * DAY)
    ensemble = reference_ensemble(tiny, 2, 8 * DAY, 5)
    trajectories = [sample_trajectory(ensemble, number) for number in range(2)]
    return Reference.from_trajectories(ensemble, trajectories)


def test_a_comparison_scores_closures_of_two_layers(reference):
    assert reference.vorticity.shape == (5, 2, 2, 16, 16)
    flow, lengths = reference.flow, reference.flow.lengths
    assert flow.shape == (16, 16) and isinstance(flow, TwoLayerConfig)
    closures = {
        "none": None,
        "much": ByLayer(Smagorinsky(0.5, lengths=lengths), lengths),
        "fed": lambda q, psi: 1e-3 * q,
    }
    result = compare(closures, reference, 3600.0)
    rows = {row["closure"]: row for row in result.rows}
    assert rows["none"]["stable"] == rows["much"]["stable"] == 1.0
    assert rows["fed"]["stable"] == 0.0
    assert rows["much"]["enstrophy"] < rows["none"]["enstrophy"]
    assert rows["none"]["energy transfer"] == rows["none"]["enstrophy transfer"] == 0.0
    truth = result.statistics["filtered DNS"]
    late = reference.vorticity[2:].astype(float).reshape(-1, 2, 16, 16)
    spectra = [layer_spectra(field, flow).energy(flow) for field in late]
    assert truth.energy_spectrum == pytest.approx(np.mean(spectra, axis=0))
    forcings = reference.sgs_forcing[2:].astype(float).reshape(-1, 2, 16, 16)
    budgets = [
        layer_energy_budget(field, flow, forcing).terms["subgrid"]
        for field, forcing in zip(late, forcings, strict=True)
    ]
    assert truth.energy_transfer == pytest.approx(np.mean(budgets, axis=0))
    assert result.correlation["none"].shape == (5, 2)
    assert result.correlation["none"][0] == pytest.approx([1.0, 1.0])
    assert result.correlation["none"][1].min() > 0.5
    # Both layers count alike in the tails, whatever their amplitude.
    scaled = late / late.std(axis=(0, 2, 3), keepdims=True)
    assert truth.tails == pytest.approx(np.mean(np.abs(scaled) > 3.0))


def test_a_layer_at_rest_is_compared_too(reference):
    still = reference.vorticity.copy()
    still[:, :, 1] = 0.0
    result = compare({"none": None}, replace(reference, vorticity=still), 3600.0)
    assert result.rows[0]["stable"] == 1.0


def test_fields_of_one_plane_are_no_reference_of_two_layers(reference):
    with pytest.raises(ValueError, match=r"layers, nx, ny\) = \(5, 2, 2, 16, 16\)"):
        replace(reference, vorticity=reference.vorticity[:, :, 0])
