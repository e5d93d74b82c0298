"""What a user may pass by mistake, and the error that says how to mend it."""

import warnings

import numpy as np
import pytest

from turbulence_data import FlowConfig, RandomVorticity, evolve, filtered_dns
from turbulence_data.diagnostics import energy_spectrum
from turbulence_data.solver.errors import SimulationDivergedError
from turbulence_data.solver.grid import Grid
from turbulence_data.solver.start_fields import TaylorGreen

FLOW = FlowConfig(16, reynolds=100.0)
RNG = np.random.default_rng(0)
FIELD = RandomVorticity(0.5, 3.0)(Grid((16, 16)), RNG)


@pytest.mark.parametrize("flow", [None, 16, {"num_points": 16, "reynolds": 100.0}])
def test_a_flow_of_another_kind(flow):
    with pytest.raises(TypeError, match="FlowConfig"):
        evolve(FIELD, flow, 0.1)


@pytest.mark.parametrize("name", ["scheme", "closure"])
@pytest.mark.parametrize("value", ["etdrk4", 4])
def test_a_name_where_a_callable_is_expected(name, value):
    with pytest.raises(TypeError, match=rf"{name} must be a callable.*{value!r}"):
        evolve(FIELD, FLOW, 0.1, **{name: value})


def test_no_scheme_at_all():
    with pytest.raises(TypeError, match=r"scheme must be a callable.*None"):
        evolve(FIELD, FLOW, 0.1, scheme=None)


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


@pytest.mark.parametrize("start", [TaylorGreen(6), RandomVorticity(0.5, 40.0)])
def test_a_start_field_finer_than_the_grid(start):
    """It would be another field: an alias, or the tail of a spectrum."""
    with pytest.raises(ValueError, match=r"is not resolved.*use more points"):
        start(Grid((16, 16)), RNG)
