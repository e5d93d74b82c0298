"""The named flows: what they promise, and the answer to a wrong name."""

import math

import pytest

from turbulence_data.flows import NAMED_FLOWS, named_flow
from turbulence_data.generation._ensemble import config_hash
from turbulence_data.solver._grid import Grid
from turbulence_data.solver._modes import truncated_modes
from turbulence_data.solver._schemes import RK4_IMAGINARY_LIMIT

EXPECTED = {  # name: (reynolds, forcing wavenumber)
    "decaying_re2e4": (2e4, None),
    "forced_re2e4_kf4": (2e4, 4),
    "forced_re1e3_kf4": (1e3, 4),
    "forced_re1e5_kf4": (1e5, 4),
    "forced_re2e4_kf25": (2e4, 25),
    "forced_re2e4_kf4_beta20": (2e4, 4),
    "forced_hyper_kf4": (math.inf, 4),
}


@pytest.mark.parametrize(("name", "physics"), EXPECTED.items())
def test_full_flows_have_the_physics_of_their_names(name, physics):
    ensemble = named_flow(name)
    assert (ensemble.flow.reynolds, ensemble.flow.forcing_wavenumber) == physics
    assert ensemble.les_shape == (128, 128)


PLANE = [name for name in NAMED_FLOWS if "qg_" not in name]
TWO_LAYERS = [name for name in NAMED_FLOWS if "qg_" in name]


@pytest.mark.parametrize("name", PLANE)
def test_every_name_tells_the_physics(name):
    flow = named_flow(name).flow
    if math.isinf(flow.reynolds):
        assert "_hyper_" in name
        assert flow.hyperviscosity > 0.0
    else:
        assert f"_re{flow.reynolds:.0e}".replace("e+0", "e") in name
        assert flow.hyperviscosity == 0.0
    if flow.forcing_wavenumber is None:
        assert "decaying" in name
        assert flow.linear_drag == 0.0
    else:
        assert f"_kf{flow.forcing_wavenumber}" in name
        assert flow.linear_drag == 0.1
    assert name.endswith(f"_beta{flow.beta:g}") == (flow.beta != 0.0)
    assert flow.lengths == (2 * math.pi, 2 * math.pi)


@pytest.mark.parametrize("name", EXPECTED)
def test_every_full_flow_has_a_mini_one_of_the_same_physics(name):
    """The Reynolds numbers differ: each tier has what its grid resolves."""
    full = named_flow(name).flow
    like = [
        flow
        for flow in (named_flow(n).flow for n in PLANE if n.startswith("mini_"))
        if (flow.beta, flow.hyperviscosity_order, flow.linear_drag)
        == (full.beta, full.hyperviscosity_order, full.linear_drag)
        and math.isinf(flow.reynolds) == math.isinf(full.reynolds)
        and (flow.forcing_wavenumber is None) == (full.forcing_wavenumber is None)
    ]
    assert like


@pytest.mark.parametrize("name", PLANE)
def test_the_start_field_is_resolved_and_the_les_filter_is_coarser_than_the_dns(name):
    ensemble = named_flow(name)
    dns_cutoff = truncated_modes(Grid(ensemble.flow.shape)).cutoff[0]
    assert 4 * ensemble.start.peak_wavenumber < dns_cutoff
    assert ensemble.les_shape[0] // 2 < dns_cutoff
    assert ensemble.num_snapshots * ensemble.interval >= 1.0


@pytest.mark.parametrize("name", PLANE)
def test_the_time_step_leaves_room_for_the_speed_of_the_start_field(name):
    ensemble = named_flow(name)
    cutoff = truncated_modes(Grid(ensemble.flow.shape)).cutoff[0]
    # The largest |u| + |v| of the fields drawn is some four times the rms speed.
    rms_speed = math.sqrt(2.0 * ensemble.start.energy)
    limit = RK4_IMAGINARY_LIMIT / (4.0 * rms_speed * cutoff)
    assert ensemble.time_step < limit


# Name -> F_1, F_2, Q_1, Q_2 of the published regimes (Ross et al. 2023, Darman et al.
# 2025), from rd, beta and delta by hand.
REGIMES = {
    "eddy": (3.555556e-9, 8.888889e-10, 1.038889e-10, -7.222222e-12),
    "jet": (4.040404e-9, 4.040404e-10, 1.110101e-10, -1.0101e-13),
    "3jet": (4.232804e-9, 2.116402e-10, 1.108201e-10, -2.910053e-13),
    "rd20": (2.0e-9, 5.0e-10, 6.5e-11, 2.5e-12),
}


@pytest.mark.parametrize("regime", REGIMES)
def test_two_layer_flows_are_the_published_regimes(regime):
    full, mini = named_flow(f"qg_{regime}"), named_flow(f"mini_qg_{regime}")
    found = (*full.flow.stretching, *full.flow.mean_gradients)
    assert found == pytest.approx(REGIMES[regime], rel=1e-5, abs=0.0)
    assert (full.flow.shape, full.les_shape) == ((256, 256), (64, 64))
    assert full.flow.mean_velocities == (0.025, 0.0)
    assert not full.flow.aliased_products
    assert mini.flow.stretching == full.flow.stretching
    assert mini.flow.mean_gradients == full.flow.mean_gradients


@pytest.mark.parametrize("name", TWO_LAYERS)
def test_the_smallest_scales_of_two_layers_are_damped_alike_at_every_resolution(name):
    ensemble = named_flow(name)
    flows = [ensemble.flow]
    if ensemble.coarse_spin_up > 0.0:
        flows.append(ensemble.coarse_flow())
    for flow in flows:
        cutoff = truncated_modes(Grid(flow.shape, flow.lengths)).largest_wavenumbers[0]
        rate = flow.hyperviscosity * cutoff ** (2 * flow.hyperviscosity_order)
        assert rate == pytest.approx(1e-4, rel=0.15)
    assert ensemble.operator == "operator_2"
    assert {"operator_1", "operator_3"} <= set(ensemble.extra_fields)


def test_the_demo_flows_differ_in_forcing_scale_and_interval_alone():
    base, target = (named_flow(f"mini_forced_re2e3_kf{k}") for k in (16, 4))
    assert base.flow.reynolds == target.flow.reynolds == 2000.0
    assert base.flow.shape == target.flow.shape == (256, 256)
    assert base.les_shape == target.les_shape == (64, 64)


@pytest.mark.parametrize("near", ["mini_forced_re2e3_kf5", "mini_forced_re2e3kf4"])
def test_an_unknown_name_gets_a_near_one_and_the_list(near):
    with pytest.raises(KeyError, match=near) as caught:
        named_flow(near)
    message = str(caught.value)
    assert "Did you mean 'mini_forced_re2e3_kf4'?" in message
    assert all(name in message for name in NAMED_FLOWS)


def test_a_name_near_to_nothing_gets_the_list_alone():
    with pytest.raises(KeyError, match=r"unknown flow 'zzz'\. Known:"):
        named_flow("zzz")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "mini_forced_re2e3_kf4",
            "37660114cf269c234571e9d0494b2292c81b20fb50b5a4db007da8bf1aa74297",
        ),
        (
            "forced_hyper_kf4",
            "102229b1bc12ebc39055134044d14bb1c281afe3af358802329b5c4cfe760c00",
        ),
        (
            "tiny_forced_re2e2_kf4",
            "4310ebd507ba01dabe8810cfa0b038dc9127bcd9fc8bd7ab664572a6a94c6a3a",
        ),
        (
            "qg_eddy",
            "04961bae05cf9364893a6b60fd2ffb5b60e71853b4aed620817c4d898590ac4b",
        ),
        (
            "mini_qg_3jet",
            "d91505c3d7e6e7acdd5a6aa2fcc012d52b8eb8d2d2dd0b061dc76924603b441a",
        ),
    ],
)
def test_data_of_the_first_version_are_still_those_of_the_name(name, expected):
    assert config_hash(named_flow(name)) == expected
