"""What a user may pass by mistake, and the error that says how to mend it."""

import warnings
from dataclasses import replace

import numpy as np
import pytest

from turbulence_data import (
    FlowConfig,
    Numerics,
    RandomPotentialVorticity,
    RandomVorticity,
    RingForcing,
    SteadyForcing,
    etdrk4,
    evolve,
    filtered_dns,
)
from turbulence_data.closures import ByLayer, NoClosure, Smagorinsky, SumOfClosures
from turbulence_data.diagnostics import energy_spectrum
from turbulence_data.solver._grid import Grid
from turbulence_data.solver._simulation import SimulationDivergedError

FLOW = FlowConfig(16, reynolds=100.0)
RNG = np.random.default_rng(0)
FIELD = RandomVorticity(0.5, 3.0)(Grid((16, 16)), RNG)


@pytest.mark.parametrize("flow", [None, 16, {"num_points": 16, "reynolds": 100.0}])
def test_a_flow_of_another_kind(flow):
    with pytest.raises(TypeError, match="FlowConfig"):
        evolve(FIELD, flow, 0.1)


@pytest.mark.parametrize("value", ["etdrk4", 4])
def test_a_name_where_a_callable_is_expected(value):
    with pytest.raises(TypeError, match=rf"closure must be a callable.*{value!r}"):
        evolve(FIELD, FLOW, 0.1, closure=value)
    with pytest.raises(TypeError, match=rf"scheme must be a callable.*{value!r}"):
        Numerics(scheme=value)


@pytest.mark.parametrize(
    "closure", [Smagorinsky, SumOfClosures(NoClosure(), Smagorinsky)]
)
def test_the_class_of_a_closure_instead_of_a_closure(closure):
    with pytest.raises(TypeError, match=r"class Smagorinsky.*Smagorinsky\(\.\.\.\)"):
        evolve(FIELD, FLOW, 0.1, closure=closure)


def test_the_class_of_a_closure_within_layers():
    with pytest.raises(TypeError, match=r"class Smagorinsky.*Smagorinsky\(\.\.\.\)"):
        ByLayer(Smagorinsky)


@pytest.mark.parametrize("forcing", [RingForcing, SteadyForcing])
def test_the_class_of_a_forcing_instead_of_a_forcing(forcing):
    with pytest.raises(TypeError, match=f"an object.*{forcing.__name__}"):
        evolve(FIELD, replace(FLOW, forcing_wavenumber=None), 0.1, forcing=forcing)


@pytest.mark.parametrize(
    "start", [RandomVorticity(0.5, 3.0), RandomPotentialVorticity(peak_mode=3.0)]
)
def test_a_seed_where_a_generator_is_expected(start):
    with pytest.raises(TypeError, match=r"Generator.*received int.*default_rng"):
        start(Grid((16, 16)), 0)


def test_a_scheme_where_numerics_are_expected():
    with pytest.raises(TypeError, match=r"numerics must be a Numerics"):
        evolve(FIELD, FLOW, 0.1, numerics=etdrk4)


def test_no_scheme_at_all():
    with pytest.raises(TypeError, match=r"scheme must be a callable.*None"):
        Numerics(scheme=None)


@pytest.mark.parametrize("scale", [1e10, 1e200, 1e300])
def test_a_field_in_impossible_units_is_one_error_without_warnings(scale):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(SimulationDivergedError, match=r"units|finite"):
            evolve(scale * FIELD, FLOW, 0.1)


@pytest.mark.parametrize("shape", [(16,), (2, 16, 16), (2, 16, 16, 1), ()])
def test_batches_of_fields_where_one_is_expected(shape):
    for function in (energy_spectrum, lambda field: filtered_dns(field, 8)):
        with pytest.raises(ValueError, match=r"one plane field.*without batch"):
            function(np.zeros(shape))


@pytest.mark.parametrize("name", ["gauss", None, 3, ["gaussian"]])
def test_a_filter_that_is_none(name):
    with pytest.raises(ValueError, match=r"unknown filter.*gaussian"):
        filtered_dns(FIELD, 8, name)


def test_a_start_field_finer_than_the_grid():
    """It would be another field: the tail of a spectrum."""
    with pytest.raises(ValueError, match=r"is not resolved.*use more points"):
        RandomVorticity(0.5, 40.0)(Grid((16, 16)), RNG)


def test_a_start_field_without_energy():
    with pytest.raises(ValueError, match=r"energy.*0.0"):
        RandomVorticity(energy=0.0)


def periodic(lengths):
    """A flow without any damping on a domain of these sides."""
    inviscid = {"reynolds": np.inf, "linear_drag": 0.0, "forcing_wavenumber": None}
    return FlowConfig(16, lengths=lengths, **inviscid)


UNUSABLE = [1e200, 1e170, 1e157, 1e-80, 1e-160, 5e-324]


@pytest.mark.parametrize("length", UNUSABLE)
def test_domains_whose_wavenumbers_leave_the_range_of_floats(length):
    for lengths in [(length, length), (length, 1.0), (1.0, length)]:
        for make in (periodic, lambda sides: Grid((16, 16), sides)):
            with pytest.raises(ValueError, match="fourth power or its inverse"):
                make(lengths)
        with pytest.raises(ValueError, match="fourth power or its inverse"):
            filtered_dns(FIELD, 8, lengths=lengths)


@pytest.mark.parametrize("unit", [1e-70, 1e70])
def test_the_largest_and_smallest_units_of_length_give_the_same_flow(unit):
    """Fields of vorticity do not depend on the unit; energies do, by its square."""
    here, there = 2 * np.pi, 2 * np.pi * unit
    flow = periodic((there, there))
    moved = evolve(FIELD, flow, 0.1)
    expected = evolve(FIELD, periodic((here, here)), 0.1)
    np.testing.assert_allclose(moved, expected, rtol=1e-9, atol=1e-9)
    one, other = (energy_spectrum(FIELD, (side, side)) for side in (here, there))
    np.testing.assert_allclose(other[1] / unit**2, one[1], rtol=1e-9, atol=1e-15)


IMPOSSIBLE = [
    {"reynolds": 1e-320},
    {"reynolds": 1e-307},
    {"reynolds": 1.0, "hyperviscosity": 1.0, "hyperviscosity_order": 400},
    {"reynolds": 1.0, "hyperviscosity_order": 1_000_000},
]


@pytest.mark.parametrize("physics", IMPOSSIBLE)
def test_a_damping_beyond_the_range_of_floats(physics):
    with pytest.raises(ValueError, match=r"at a rate beyond floating point\. Raise"):
        FlowConfig(16, **physics)
