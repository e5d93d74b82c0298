"""Against float64 solutions of an independent solver, stored in tests/data."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from turbulence_data.config import FlowConfig
from turbulence_data.diagnostics import energy, enstrophy
from turbulence_data.filtering import filtered_dns
from turbulence_data.solver._evolve import evolve
from turbulence_data.solver._simulation import Numerics

END_TOLERANCE = 1e-6  # the references' own time step error is below 2e-8
CHOSEN_TOLERANCE = 3e-5  # of steps chosen for 1e-5, an order of magnitude
FILTERED_TOLERANCE = 1e-9  # a filter and a Jacobian: round-off only
DATA = Path(__file__).parents[1] / "data"
NAMES = ["beta_n96", "decaying_n96", "forced_n128"]


def reference(name: str):
    with np.load(DATA / f"{name}.npz") as stored:
        return {key: stored[key] for key in stored.files}


def flow_of(values) -> FlowConfig:
    return FlowConfig(
        num_points=int(values["num_points"]),
        reynolds=1.0 / float(values["viscosity"]),
        linear_drag=float(values["linear_drag"]),
        forcing_wavenumber=int(values["forcing_wavenumber"]) or None,
        beta=float(values["beta"]),
    )


def end_error(values, flow, time_step, tolerance=1e-5) -> float:
    start, end = values["vorticity_start"], values["vorticity_end"]
    numerics, duration = Numerics(tolerance=tolerance), float(values["duration"])
    reached = evolve(start, flow, duration, time_step, numerics=numerics)
    return float(np.linalg.norm(reached - end) / np.linalg.norm(end))


@pytest.mark.parametrize("name", NAMES)
def test_evolve_reaches_the_end_field(name):
    values = reference(name)
    flow = flow_of(values)
    assert end_error(values, flow, 2e-3) <= END_TOLERANCE
    assert end_error(values, flow, None, tolerance=3e-7) <= END_TOLERANCE
    assert end_error(values, flow, None) <= CHOSEN_TOLERANCE


def test_a_mirrored_beta_misses_the_end_field_by_its_own_size():
    values = reference("beta_n96")
    flow = flow_of(values)
    assert end_error(values, replace(flow, beta=-flow.beta), 4e-3) > 1.0


@pytest.mark.parametrize("name", ["beta_n96", "forced_n128"])
def test_a_forgotten_term_misses_the_end_field(name):
    values = reference(name)
    flow = flow_of(values)
    for forgotten in (
        replace(flow, forcing_wavenumber=None),
        replace(flow, linear_drag=0.0),
        replace(flow, reynolds=1.05 * flow.reynolds),
    ):
        assert end_error(values, forgotten, 4e-3) > 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_energy_and_enstrophy_of_the_reference_fields(name):
    values = reference(name)
    for number, field in enumerate(("vorticity_start", "vorticity_end")):
        vorticity = values[field]
        assert energy(vorticity) == pytest.approx(values["energy"][number], rel=1e-9)
        assert enstrophy(vorticity) == pytest.approx(
            values["enstrophy"][number], rel=1e-9
        )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("field", ["streamfunction", "vorticity", "sgs_forcing"])
def test_filtered_fields_of_the_end_field(name, field):
    values = reference(name)
    filtered = filtered_dns(values["vorticity_end"], int(values["num_points_les"]))
    expected = values[f"les_{field}"]
    error = np.abs(getattr(filtered, field) - expected).max()
    assert error <= FILTERED_TOLERANCE * np.abs(expected).max()


@pytest.mark.parametrize("name", NAMES)
def test_sgs_forcing_is_not_the_aliased_one(name):
    values = reference(name)
    filtered = filtered_dns(values["vorticity_end"], int(values["num_points_les"]))
    aliased = values["les_sgs_forcing_aliased"]
    assert np.abs(filtered.sgs_forcing - aliased).max() > 0.1 * np.abs(aliased).max()
