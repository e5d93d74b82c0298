"""Whatever is passed to it, `turbulence_data` answers with a documented error."""

from typing import Any

import numpy as np
import pytest

import turbulence_data as td
from tests.fuzz.junk import DOCUMENTED, fuzz
from turbulence_data import closures, diagnostics, generation, interchange
from turbulence_data.a_posteriori._statistics import correlations

RNG = np.random.default_rng(0)
FIELD = RNG.normal(size=(8, 8))
OTHER = RNG.normal(size=(8, 8))
FLOW = td.FlowConfig(12, reynolds=50.0, forcing_wavenumber=2)
LENGTHS = (2 * np.pi, 2 * np.pi)
STATISTICS = {
    "fields": {
        name: {"mean": 0.0, "std": 1.0}
        for name in ("vorticity", "streamfunction", "sgs_forcing")
    }
}
EXAMPLES = [
    {
        "vorticity": FIELD, "streamfunction": FIELD, "sgs_forcing": FIELD,
        "trajectory": number // 2, "time": float(number),
    }
    for number in range(4)
]  # fmt: skip
ON_FIELDS = {"vorticity": FIELD, "lengths": LENGTHS}
WITH_FORCING = {"vorticity": FIELD, "sgs_forcing": OTHER, "lengths": LENGTHS}
CLOSURE = {"filter_width": 0.5, "lengths": LENGTHS}
CASES: dict[str, tuple[Any, dict[str, Any]]] = {
    "FlowConfig": (
        td.FlowConfig,
        {
            "num_points": (16, 16), "reynolds": 100.0, "linear_drag": 0.1,
            "forcing_wavenumber": 4, "beta": 0.0, "hyperviscosity": 0.0,
            "hyperviscosity_order": 2, "lengths": LENGTHS, "forcing_amplitude": 1.0,
        },
    ),
    "EnsembleConfig": (
        td.EnsembleConfig,
        {
            "flow": FLOW, "num_points_les": 8, "num_trajectories": (1, 1, 1),
            "num_snapshots": 2, "spin_up": 1.0, "interval": 0.1, "time_step": 0.01,
            "coarse_spin_up": 0.5, "start": td.RandomVorticity(), "seed": 0,
            "filter_width": 0.5, "extra_fields": ("tau",), "forcing": None,
            "scheme": td.etdrk4, "dtype": np.float64, "engine": td.FftwEngine(),
        },
    ),
    "Normalization": (
        td.Normalization,
        {
            "streamfunction": (0.0, 1.0), "vorticity": (0.0, 1.0),
            "sgs_forcing": (0.0, 1.0),
        },
    ),
    "RandomVorticity": (td.RandomVorticity, {"energy": 0.5, "peak_wavenumber": 6.0}),
    "RingForcing": (
        td.RingForcing,
        {"wavenumber": 4.0, "width": 1.0, "energy_injection": 0.1, "seed": 0},
    ),
    "SteadyForcing": (td.SteadyForcing, {"source": np.add}),
    "JaxEngine": (td.JaxEngine, {"batch_size": 2, "transforms": None}),
    "TurbulenceConfig": (
        td.TurbulenceConfig, {"name": "mine", "ensemble": td.named_flow(
            "tiny_forced_re2e2_kf4")},
    ),
    "filtered_dns": (
        td.filtered_dns,
        {
            "vorticity": FIELD, "num_points": 4, "filter": "gaussian",
            "filter_width": 0.5, "lengths": LENGTHS,
        },
    ),
    "subgrid_stresses": (
        td.subgrid_stresses,
        {"vorticity": FIELD, "num_points": 4, "filter_width": 0.5, "lengths": LENGTHS},
    ),
    "evolve": (
        td.evolve,
        {
            "vorticity": RNG.normal(size=(12, 12)) - 0.0, "flow": FLOW,
            "duration": 0.01, "time_step": 0.01, "closure": None, "forcing": None,
        },
    ),
    "les_forcing": (
        td.les_forcing,
        {
            "forcing": td.SteadyForcing(np.add), "flow": td.FlowConfig(
                12, reynolds=50.0, forcing_wavenumber=None),
            "num_points": 8, "filter": "gaussian", "filter_width": 0.5,
        },
    ),
    "few_shot": (td.few_shot, {"examples": EXAMPLES, "num_examples": 2}),
    "to_arrays": (
        td.to_arrays,
        {
            "examples": EXAMPLES,
            "normalization": td.Normalization((0.0, 1.0), (0.0, 1.0), (0.0, 1.0)),
        },
    ),
    "content_hash": (generation.content_hash, {"examples": EXAMPLES}),
    "Normalization.from_arrays": (
        td.Normalization.from_arrays,
        {"x": RNG.normal(size=(2, 4, 4, 2)), "y": RNG.normal(size=(2, 4, 4, 1))},
    ),
    **{
        f"diagnostics.{name}": (getattr(diagnostics, name), ON_FIELDS)
        for name in (
            "energy", "energy_flux", "energy_spectrum", "enstrophy_flux",
            "enstrophy_spectrum", "integral_scale", "large_eddy_turnover_time",
            "palinstrophy",
            "taylor_scale", "turnover_time_spectrum", "velocity",
        )
    },
    **{
        f"diagnostics.{name}": (getattr(diagnostics, name), WITH_FORCING)
        for name in ("enstrophy_transfer_spectrum", "transfer_spectrum")
    },
    **{
        f"diagnostics.{name}": (
            getattr(diagnostics, name),
            {"vorticity": FIELD, "flow": td.FlowConfig(8, 50.0, forcing_wavenumber=2),
             "sgs_forcing": OTHER, "forcing": None, "time": 0.0},
        )
        for name in ("energy_budget", "enstrophy_budget")
    },
    "diagnostics.eddy_turnover_time": (
        diagnostics.eddy_turnover_time, {"vorticity": FIELD},
    ),
    "diagnostics.enstrophy": (diagnostics.enstrophy, {"vorticity": FIELD}),
    "diagnostics.enstrophy_dissipation_scale": (
        diagnostics.enstrophy_dissipation_scale, {"vorticity": FIELD, "flow": FLOW},
    ),
    "diagnostics.kurtosis": (diagnostics.kurtosis, {"values": FIELD}),
    "diagnostics.skewness": (diagnostics.skewness, {"values": FIELD}),
    "diagnostics.probability_density": (
        diagnostics.probability_density, {"values": FIELD, "bins": 5},
    ),
    "diagnostics.structure_functions": (
        diagnostics.structure_functions,
        {"vorticity": FIELD, "axis": 0, "orders": (2, 3), "lengths": LENGTHS},
    ),
    "diagnostics.variance_spectrum": (
        diagnostics.variance_spectrum, {"field": FIELD, "lengths": LENGTHS},
    ),
    **{
        f"closures.{name}": (getattr(closures, name), CLOSURE)
        for name in (
            "DynamicLeith", "DynamicSmagorinsky", "GradientModel2", "GradientModel4",
            "NoClosure",
        )
    },
    **{
        f"closures.{name}": (
            getattr(closures, name), {"coefficient": 0.2, **CLOSURE},
        )
        for name in ("JansenHeld", "Leith", "Smagorinsky")
    },
    "closures.ClippedBackscatter": (
        closures.ClippedBackscatter,
        {"closure": closures.Leith(), "criterion": "energy", "lengths": LENGTHS},
    ),
    "closures.SpectralFilter": (
        closures.SpectralFilter,
        {"closure": closures.Leith(), "cutoff": 0.5, "order": 8.0, "lengths": LENGTHS},
    ),
    "closures.evaluate": (
        closures.evaluate,
        {"closure": closures.Leith(), "vorticity": FIELD, "streamfunction": OTHER},
    ),
    "a_posteriori.correlations": (
        correlations,
        {"fields": np.stack([FIELD, OTHER]), "reference": np.stack([OTHER, FIELD])},
    ),
    "interchange.MatlabVariable": (
        interchange.MatlabVariable, {"name": "W", "mean": 0.0, "std": 1.0},
    ),
    "interchange.check_conventions": (
        interchange.check_conventions,
        {"examples": EXAMPLES, "lengths": LENGTHS, "tolerance": 0.01},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_only_documented_errors(name):
    fuzz(f"turbulence_data.{name}", *CASES[name])


def test_names():
    errors = (*DOCUMENTED, KeyError)
    valid = {"name": "tiny_forced_re2e2_kf4"}
    fuzz("turbulence_data.named_flow", td.named_flow, valid, errors)


def test_metadata():
    errors = (*DOCUMENTED, KeyError)
    name = "turbulence_data.Normalization.from_metadata"
    fuzz(name, td.Normalization.from_metadata, {"metadata": STATISTICS}, errors)
