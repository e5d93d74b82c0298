"""FlowConfig and EnsembleConfig: round trips, and one bad value for every clause."""

import json
import math
import re
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest

from turbulence_data._files import json_hash
from turbulence_data.config import FlowConfig, TwoLayerConfig
from turbulence_data.generation._ensemble import (
    EnsembleConfig,
    config_hash,
    plain_config,
)
from turbulence_data.solver._forcing import RingForcing, SteadyForcing
from turbulence_data.solver._initial_conditions import (
    RandomPotentialVorticity,
    RandomVorticity,
)
from turbulence_data.solver._schemes import etdrk4, integrating_factor_rk4

FLOW = {"num_points": 64, "reynolds": 1000.0}


def ensemble(**changes) -> EnsembleConfig:
    values = {
        "flow": FlowConfig(**FLOW),
        "num_points_les": 32,
        "num_trajectories": (2, 1, 1),
        "num_snapshots": 3,
        "spin_up": 1.0,
        "interval": 0.5,
        "time_step": 0.01,
    }
    return EnsembleConfig(**(values | changes))


BAD_FLOWS = [
    # num_points
    ("num_points", 3, "at least 4; received 3"),
    ("num_points", 64.0, "received 64.0"),
    ("num_points", True, "received True"),
    ("num_points", (64, 2), "received 2"),
    ("num_points", (64, 64, 64), "received (64, 64, 64)"),
    ("num_points", "64", "received '64'"),
    ("num_points", None, "received None"),
    # reynolds
    ("reynolds", 0.0, "reynolds (math.inf where inviscid) must be positive"),
    ("reynolds", -5.0, "received -5.0"),
    ("reynolds", -math.inf, "received -inf"),
    ("reynolds", math.nan, "received nan"),
    ("reynolds", "100", "received '100'"),
    ("reynolds", None, "received None"),
    # damping
    ("linear_drag", -0.1, "linear_drag must be finite and at least 0; "),
    ("linear_drag", -0.1, "received -0.1"),
    ("linear_drag", math.inf, "received inf"),
    ("linear_drag", None, "received None"),
    ("hyperviscosity", -1e-9, "received -1e-09"),
    ("hyperviscosity", math.nan, "received nan"),
    ("hyperviscosity_order", 1, "at least 2; received 1"),
    ("hyperviscosity_order", 2.0, "received 2.0"),
    # beta
    ("beta", math.inf, "beta must be a finite number; received inf"),
    ("beta", math.nan, "received nan"),
    ("beta", "1", "received '1'"),
    # forcing_wavenumber
    ("forcing_wavenumber", 0, "at least 1; received 0"),
    ("forcing_wavenumber", -4, "received -4"),
    ("forcing_wavenumber", 4.0, "received 4.0"),
    ("forcing_wavenumber", True, "received True"),
    ("forcing_wavenumber", 22, "forcing_wavenumber=22 is not resolved: 64 points"),
    ("forcing_wavenumber", 22, "at least 67 points"),
    # lengths
    ("lengths", (6.0,), "received (6.0,)"),
    ("lengths", 6.0, "received 6.0"),
    ("lengths", (6.0, 0.0), "received 0.0"),
    ("lengths", (-1.0, 6.0), "received -1.0"),
    ("lengths", (math.inf, 6.0), "received inf"),
    ("lengths", ("a", "b"), "received 'a'"),
    ("lengths", (2 * math.pi, 5.0), "forcing_wavenumber=4 is not periodic on a side"),
    ("lengths", (2 * math.pi, 5.0), "length 5; choose a multiple of 1.25664"),
]


@pytest.mark.parametrize(("name", "value", "message"), BAD_FLOWS)
def test_a_bad_flow_is_refused_with_the_value(name, value, message):
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        FlowConfig(**(FLOW | {name: value}))
    assert name.removesuffix("s") in str(caught.value)


def test_the_highest_resolved_forcing_is_accepted_and_the_advice_is_right():
    assert FlowConfig(64, 1000.0, forcing_wavenumber=21).forcing_wavenumber == 21
    assert FlowConfig(67, 1000.0, forcing_wavenumber=22).forcing_wavenumber == 22
    with pytest.raises(ValueError, match="66 points"):
        FlowConfig((128, 66), 1000.0, forcing_wavenumber=22)


def test_forcing_is_counted_in_wavenumbers_of_the_domain_not_in_modes():
    wide = FlowConfig((64, 32), 100.0, forcing_wavenumber=8, lengths=(4 * np.pi, np.pi))
    assert wide.forcing_wavenumber == 8  # modes 16 and 4
    with pytest.raises(ValueError, match="is not resolved: 64 points"):
        FlowConfig((64, 32), 100.0, forcing_wavenumber=12, lengths=(4 * np.pi, np.pi))


def test_values_are_stored_as_pairs_and_viscosity_follows():
    flow = FlowConfig(64, 500.0, lengths=[2 * np.pi, 4 * np.pi])
    assert flow.num_points == flow.shape == (64, 64)
    assert flow.lengths == (2 * np.pi, 4 * np.pi)
    assert flow.viscosity == 1.0 / 500.0
    assert FlowConfig(64, math.inf).viscosity == 0.0
    assert FlowConfig(np.int64(64), 500.0) == FlowConfig((64, 64), 500.0)


def test_a_flow_is_frozen_and_hashable():
    flow = FlowConfig(**FLOW)
    with pytest.raises(FrozenInstanceError):
        flow.beta = 1.0
    assert hash(flow) == hash(FlowConfig(**FLOW))


@pytest.mark.parametrize(
    "flow",
    [
        FlowConfig(64, 1000.0),
        FlowConfig(64, math.inf, 0.0, None),
        FlowConfig((48, 32), 1e4, 0.2, 2, 3.0, 1e-8, 4, (2 * np.pi, np.pi)),
    ],
)
def test_dictionaries_round_trip_through_json_too(flow):
    assert FlowConfig.from_dict(flow.to_dict()) == flow
    assert FlowConfig.from_dict(json.loads(json.dumps(flow.to_dict()))) == flow
    names = list(FlowConfig.__dataclass_fields__)
    assert list(flow.to_dict()) == names


def test_numpy_numbers_become_plain_values():
    flow = FlowConfig(64, np.float32(500.0), forcing_wavenumber=np.int64(4))
    again = FlowConfig.from_dict(json.loads(json.dumps(flow.to_dict())))
    assert again == flow


def test_numpy_arrays_are_pairs_too():
    points, sides = np.array([32, 48]), np.array([1e6, 2e6])
    flow = TwoLayerConfig(
        points, 15e3, 0.0, 0.0, mean_velocities=np.array([0.1, 0.0]), length=sides
    )
    again = TwoLayerConfig(
        (32, 48), 15e3, 0.0, 0.0, mean_velocities=(0.1, 0.0), length=(1e6, 2e6)
    )
    assert flow == again
    assert TwoLayerConfig.from_dict(json.loads(json.dumps(flow.to_dict()))) == flow
    one = TwoLayerConfig(np.array(32), 15e3, 0.0, 0.0, length=np.array(1e6))
    assert (one.shape, one.lengths) == ((32, 32), (1e6, 1e6))
    plane = FlowConfig(points, 10.0, forcing_wavenumber=None, lengths=sides)
    assert (plane.shape, plane.lengths) == ((32, 48), (1e6, 2e6))
    for bad in (np.ones((2, 2)), np.array([1e6, np.nan]), np.array([1e6])):
        with pytest.raises(ValueError, match="length"):
            TwoLayerConfig(32, 15e3, 0.0, 0.0, length=bad)


def test_an_unknown_name_in_a_dictionary_is_refused():
    with pytest.raises(TypeError, match="viscosty"):
        FlowConfig.from_dict(FLOW | {"viscosty": 0.1})


BAD_ENSEMBLES = [
    ("num_points_les", 64, "received (64, 64) and (64, 64)"),
    ("num_points_les", (32, 80), "received (32, 80) and (64, 64)"),
    ("num_points_les", 2, "received 2"),
    ("num_points_les", 32.0, "received 32.0"),
    ("num_trajectories", (1, 1), "received (1, 1)"),
    ("num_trajectories", (1, 0, 1), "num_trajectories of validation"),
    ("num_trajectories", (1, 1, -3), "received -3"),
    ("num_trajectories", (1.0, 1, 1), "received 1.0"),
    ("num_trajectories", 5, "received 5"),
    ("num_trajectories", (100_001, 1, 1), "100001"),
    ("num_snapshots", 0, "at least 1; received 0"),
    ("num_snapshots", 2.5, "received 2.5"),
    ("spin_up", -1.0, "received -1.0"),
    ("spin_up", math.inf, "received inf"),
    ("coarse_spin_up", -0.5, "received -0.5"),
    ("coarse_spin_up", 2.0, "received 2.0 of 1.0"),
    ("interval", 0.0, "received 0.0"),
    ("interval", math.nan, "received nan"),
    ("time_step", -0.01, "received -0.01"),
    ("time_step", 0.0, "received 0.0"),
    ("dtype", np.float16, "received <class 'numpy.float16'>"),
    ("dtype", "single precision", "received 'single precision'"),
    ("seed", -1, "at least 0; received -1"),
    ("seed", 1.5, "received 1.5"),
    ("filter_width", 0.0, "received 0.0"),
    ("filter_width", "0.1", "received '0.1'"),
]


@pytest.mark.parametrize(("name", "value", "message"), BAD_ENSEMBLES)
def test_a_bad_ensemble_is_refused_with_the_value(name, value, message):
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        ensemble(**{name: value})
    assert name in str(caught.value)


@pytest.mark.parametrize(("name", "value"), [("flow", {"reynolds": 1.0}), ("start", 7)])
def test_parts_of_the_wrong_type_are_refused_when_the_ensemble_is_made(name, value):
    with pytest.raises((TypeError, ValueError), match=name):
        ensemble(**{name: value})


def test_functions_are_recorded_by_their_names():
    ring = RingForcing(4.0, 2.0, 0.1, seed=3)
    flow = FlowConfig(64, 1000.0, forcing_wavenumber=None)
    values = ensemble(flow=flow, forcing=ring, scheme=etdrk4, dtype="float32").to_dict()
    assert values["forcing"] == {
        "class": "turbulence_data.solver.ring_forcing.RingForcing",
        "wavenumber": 4.0,
        "width": 2.0,
        "energy_injection": 0.1,
        "seed": 3,
    }
    assert values["scheme"] == "turbulence_data.solver.time_stepping.etdrk4"
    assert values["dtype"] == "float32"


def test_the_representation_is_the_call_but_for_defaults():
    made = ensemble(start=RandomVorticity(0.7, 4.0), dtype=np.float64)
    assert eval(repr(made)) == made
    assert "scheme" not in repr(made)
    assert "scheme=etdrk4, dtype=float32" in repr(
        ensemble(scheme=etdrk4, dtype=np.float32)
    )


@pytest.mark.parametrize("scheme", ["etdrk4", None])
def test_a_scheme_that_is_no_callable_is_refused(scheme):
    with pytest.raises(TypeError, match=f"scheme must be .*received {scheme!r}"):
        ensemble(scheme=scheme)


def test_what_workers_could_not_find_is_refused_when_the_ensemble_is_made():
    flow = FlowConfig(64, 1000.0, forcing_wavenumber=None)
    with pytest.raises(
        TypeError, match=r"functions of a module.*received <function.*<lambda>"
    ):
        ensemble(flow=flow, forcing=lambda x, y, time: np.cos(4.0 * x))
    with pytest.raises(TypeError, match=r"received <function.*<lambda>"):
        ensemble(scheme=lambda equation, time_step: None)


class Shifted:
    """A start field that is neither a function of a module nor a dataclass."""

    def __call__(self, grid, rng):
        return np.cos(grid.x) + 0.0 * grid.y


@pytest.mark.parametrize("start", [lambda grid, rng: np.cos(grid.x), Shifted()])
def test_a_start_that_has_no_name_is_refused_when_the_ensemble_is_made(start):
    with pytest.raises(TypeError, match=r"functions of a module.*received <"):
        ensemble(start=start)


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (RandomVorticity(0.5, 100.0), r"peak_wavenumber=100.0 is not resolved.*64"),
        (RandomVorticity(0.5, 0.01), "leaves no energy"),
        (RandomVorticity, "start a callable"),
        (RandomPotentialVorticity(), "vorticity of one plane"),
    ],
)
def test_a_start_that_the_flow_cannot_have_is_refused(start, message):
    with pytest.raises(ValueError, match=message):
        ensemble(start=start)


def test_a_start_must_fit_the_grid_on_which_the_run_begins():
    """64 points resolve wavenumbers up to 21 along each side, 32 points up to 10."""
    start = RandomVorticity(0.5, 20.0)
    assert ensemble(start=start).start is start
    with pytest.raises(ValueError, match=r"peak_wavenumber=20.0.*\(32, 32\) points"):
        ensemble(start=start, coarse_spin_up=0.5)


def test_no_two_seeds_share_a_stream():
    """NumPy reads the seed as words of 32 bits: the second would be a trajectory."""
    draws = (np.random.default_rng(s).random() for s in ([2**32, 0], [0, 1]))
    assert len(set(draws)) == 1
    assert ensemble(seed=2**32 - 1).seed == 2**32 - 1
    with pytest.raises(ValueError, match=r"seed must be below 2\^32.*4294967296"):
        ensemble(seed=2**32)


def test_equal_configs_of_whole_and_of_real_numbers_have_equal_hashes():
    whole = {
        "spin_up": 30,
        "coarse_spin_up": 10,
        "interval": 2,
        "time_step": 1,
        "filter_width": 1,
        "start": RandomVorticity(1, 4),
    }
    real = {name: float(value) for name, value in whole.items() if name != "start"}
    one = ensemble(**whole)
    other = ensemble(**real, start=RandomVorticity(1.0, 4.0))
    assert one == other
    assert config_hash(one) == config_hash(other)
    layers = RandomPotentialVorticity((1, 2), 6), RandomPotentialVorticity((1.0, 2.0))
    assert repr(layers[0]) == repr(layers[1])


def jets(x, y):
    return np.sin(12.0 * y)


def test_a_forcing_must_fit_the_coarsest_grid_of_the_ensemble():
    flow = FlowConfig(64, 1000.0, forcing_wavenumber=None)
    ring = RingForcing(12.0, 2.0, 0.1)
    assert ensemble(flow=flow, forcing=ring).forcing is ring
    with pytest.raises(ValueError, match=r"wavenumber=12.0.*\(32, 32\) points resolve"):
        ensemble(flow=flow, forcing=ring, coarse_spin_up=0.5)
    with pytest.raises(
        ValueError, match=r"100 % .*\(32, 32\) points.*coarse_spin_up=0"
    ):
        ensemble(flow=flow, forcing=SteadyForcing(jets), coarse_spin_up=0.5)
    assert ensemble(flow=flow, forcing=SteadyForcing(jets)).coarse_spin_up == 0.0
    with pytest.raises(ValueError, match=r"or \(48, 37\) points"):
        ensemble(flow=replace(flow, num_points=(48, 36)), forcing=SteadyForcing(jets))


def test_two_forcings_at_once_are_refused():
    with pytest.raises(ValueError, match=r"forcing_wavenumber=4 and RingForcing"):
        ensemble(forcing=RingForcing(4.0, 2.0, 0.1))


def test_a_coarse_spin_up_needs_a_forcing_that_half_the_points_resolve():
    flow = FlowConfig(64, 1000.0, forcing_wavenumber=16)
    assert ensemble(flow=flow).flow is flow
    with pytest.raises(ValueError, match="forcing_wavenumber=16 is not resolved: 32"):
        ensemble(flow=flow, coarse_spin_up=0.5)


def test_width_is_two_les_cells_of_the_coarser_direction_unless_given():
    assert ensemble().width == pytest.approx(2 * 2 * np.pi / 32)
    assert ensemble(num_points_les=(32, 16)).width == pytest.approx(2 * 2 * np.pi / 16)
    assert ensemble(filter_width=0.3).width == 0.3
    assert ensemble().les_shape == (32, 32)


def test_an_ensemble_turns_into_json_that_holds_everything():
    made = ensemble(start=RandomVorticity(0.7, 4.0), filter_width=0.3)
    values = json.loads(json.dumps(made.to_dict()))
    rebuilt = EnsembleConfig(
        **values
        | {
            "flow": FlowConfig.from_dict(values["flow"]),
            "start": RandomVorticity(**values["start"]),
            "num_trajectories": tuple(values["num_trajectories"]),
            "scheme": integrating_factor_rk4,
        }
    )
    assert rebuilt == made


@pytest.mark.parametrize(
    ("num_points", "other"), [(98, True), (96, False), (100, False)]
)
def test_grids_whose_largest_wavenumber_was_lost_have_another_hash(num_points, other):
    """n (1 / n) is not 1 there, so kx was no whole number; their old data differ."""
    flow = FlowConfig(num_points, reynolds=200.0, forcing_wavenumber=4)
    found = ensemble(flow=flow, num_points_les=32)
    assert (config_hash(found) != json_hash([4, plain_config(found)])) == other
