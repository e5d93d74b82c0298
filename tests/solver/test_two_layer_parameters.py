"""Parameters of two-layer flow that are refused, and those that are warned of."""

import math

import pytest

from tests.solver.common import EDDY
from turbulence_data import TwoLayerConfig


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"deformation_radius": 0.0}, "deformation_radius must be positive"),
        ({"deformation_radius": 1e-200}, "F_1 .* must be positive and finite"),
        ({"deformation_radius": 1e-153}, "must give finite speeds of waves"),
        ({"deformation_radius": 1e200}, "F_1 must be positive and finite; it is 0 "),
        ({"layer_ratio": 1e20}, "H_2 / H must be positive and finite; it is 0 "),
        ({"length": 1e-200}, "k.2 must be positive and finite"),
        ({"length": (1e6, 1e200)}, "k.2 .* must be positive and finite; it is 0 "),
        ({"beta": 1e308}, "must give finite speeds of waves"),
        ({"layer_ratio": -1.0}, "layer_ratio must be positive"),
        ({"bottom_drag": -1e-7}, "bottom_drag must be finite and at least 0"),
        ({"beta": math.nan}, "beta must be a finite number"),
        ({"mean_velocities": (0.1,)}, "mean_velocities must be two finite numbers"),
        ({"mean_velocities": 0.1}, "mean_velocities must be two finite numbers"),
        ({"length": (1e6, 1e6, 1e6)}, "length must be one number or a pair"),
        ({"hyperviscosity_order": 1}, "hyperviscosity_order must be a whole number"),
        ({"exponential_filter": -1.0}, "exponential_filter must be finite and at"),
        ({"aliased_products": 1}, "aliased_products must be True or False"),
        ({"num_points": 2}, "num_points .* must be a whole number"),
    ],
)
def test_bad_parameters_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        TwoLayerConfig(**{**EDDY.to_dict(), **change})


@pytest.mark.parametrize(
    ("points", "change", "message"),
    [
        (16, {"deformation_radius": 15}, "=15 m is far below .*1e.06 m .* 62500 m ap"),
        (1024, {"deformation_radius": 15}, "far below the spacing of the grid"),
        (
            64,
            {"length": 1000},
            "=15000 m is far beyond the domain.*length=1000 m .*15.6",
        ),
    ],
)
def test_lengths_in_kilometres_are_warned_of(points, change, message):
    with pytest.warns(UserWarning, match=message) as found:
        TwoLayerConfig(**{**EDDY.to_dict(), "num_points": points, **change})
    assert [warning.filename for warning in found] == [__file__]


@pytest.mark.parametrize(
    ("points", "radius", "length"),
    [(4, 15e3, 1e6), (1024, 15e3, 1e6), (64, 30e6, 1e7), (32, 1.0, 2 * math.pi)],
)
def test_coarse_grids_and_other_units_are_not_warned_of(points, radius, length):
    """Any warning is an error here."""
    TwoLayerConfig(points, radius, 0.0, 0.0, length=length)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bottom_drag": 20.0}, r"=20 1/s stops .* 0.05 s.*a rate in 1/s"),
        ({"bottom_drag": 1 / 20}, "such as 5.787e-7 for 20 days"),
        ({"bottom_drag": 1.0, "mean_velocities": (0.0, 0.0)}, "bottom_drag=1 1/s"),
        ({"beta": 1.5e-8}, r"beta=1.5e-08 1/\(m s\) gives waves.*Expected SI units"),
        ({"beta": -20.0}, "beta=-20"),
    ],
)
def test_rates_in_days_or_per_kilometre_are_warned_of(change, message):
    with pytest.warns(UserWarning, match=message) as found:
        TwoLayerConfig(**{**EDDY.to_dict(), **change})
    assert [warning.filename for warning in found] == [__file__]


@pytest.mark.parametrize(
    "change",
    [
        {"bottom_drag": 1e-4},
        {"beta": 2e-11, "deformation_radius": 1e5, "mean_velocities": (0.01, 0.0)},
        {"deformation_radius": 7e5, "length": 2e7, "mean_velocities": (20.0, 0.0)},
        {"beta": 0.0, "mean_velocities": (0.0, 0.0), "bottom_drag": 1.0},
        {"beta": 1e-8, "mean_velocities": (0.0, 0.0)},
    ],
)
def test_strong_drag_fast_waves_and_fluid_without_a_shear_are_not_warned_of(change):
    """Any warning is an error here."""
    TwoLayerConfig(**{**EDDY.to_dict(), **change})
