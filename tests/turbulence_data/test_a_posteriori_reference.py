"""What an LES shares with its reference: the forcing, its time and the filter width."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from turbulence_data import a_posteriori
from turbulence_data.closures import (
    ByLayer,
    ClippedBackscatter,
    GradientModel2,
    GradientModel4,
    Smagorinsky,
    SpectralFilter,
    SumOfClosures,
)
from turbulence_data.closures._wrappers import with_filter_width
from turbulence_data.config import FlowConfig
from turbulence_data.filtering import les_forcing
from turbulence_data.generation import sample_trajectory
from turbulence_data.generation._ensemble import EnsembleConfig
from turbulence_data.solver import RandomVorticity, UnstableTimeStepError, evolve
from turbulence_data.solver._forcing import RingForcing, SteadyForcing

FLOW = FlowConfig(48, 100.0, linear_drag=0.3, forcing_wavenumber=None)
# A DNS of 48 points has modes up to 15, as an LES of 32, whose products are exact too:
# without a filter, the LES is the DNS.
POINTS, NO_WIDTH = 32, 1e-6


def jets(x, y):
    return 2.0 * np.sin(3.0 * y) + 0.0 * x


def waves(x, y, time):
    return 2.0 * np.sin(3.0 * y + 2.0 * time) + np.cos(2.0 * x - time)


def ensemble_of(forcing, **changes):
    ensemble = EnsembleConfig(
        FLOW,
        POINTS,
        (1, 1, 1),
        num_snapshots=3,
        spin_up=1.0,
        interval=0.25,
        time_step=0.01,
        start=RandomVorticity(0.2, 3.0),
        forcing=forcing,
        filter_width=NO_WIDTH,
    )
    return a_posteriori.reference_ensemble(replace(ensemble, **changes), 2, 0.5, 3)


def reference_of(ensemble):
    ids = ensemble.trajectory_ids("test")
    trajectories = [sample_trajectory(ensemble, number) for number in ids]
    return a_posteriori.Reference.from_trajectories(ensemble, trajectories)


def distance(reference, closure=None, **changes):
    """Of an LES from its reference at the end, relative to the reference."""
    driven = replace(reference, **changes)
    result = a_posteriori.compare({"it": closure}, driven, 0.01, progress=False)
    return error_of(result.runs["it"], reference)


def error_of(run, reference):
    truth = reference.vorticity[-1]
    return np.abs(run.vorticity[-1] - truth).max() / np.abs(truth).max()


@pytest.mark.parametrize("forcing", [SteadyForcing(jets), waves], ids=["jets", "waves"])
def test_an_les_that_is_the_dns_reproduces_it_under_its_forcing(forcing):
    ensemble = ensemble_of(forcing)
    reference = reference_of(ensemble)
    assert distance(reference) < 1e-5  # single precision, and the error of the steps
    assert distance(reference, forcing=None) > 0.1
    from_zero = les_forcing(forcing, FLOW, POINTS, filter_width=NO_WIDTH)
    # Only waves have a phase, which the spin-up has moved on.
    assert (distance(reference, forcing=from_zero) > 0.1) == (forcing is waves)


def test_the_forcing_of_a_reference_is_filtered():
    """A balance of forcing, viscosity and drag, which an LES of any width keeps."""
    steady = ensemble_of(
        SteadyForcing(jets),
        start=still_jets,
        num_points_les=16,
        filter_width=1.0,
        spin_up=0.0,
    )
    reference = reference_of(steady)
    assert np.ptp(reference.vorticity[:, 0], axis=0).max() < 1e-5
    errors = [
        error_of(
            a_posteriori.run_ensemble(
                reference.start, reference.flow, None, reference.times, forcing=forcing
            ),
            reference,
        )
        for forcing in (reference.forcing, SteadyForcing(jets))
    ]
    assert errors[0] < 1e-6
    assert errors[1] > 0.05


def still_jets(grid, rng):
    return jets(grid.x, grid.y) / (0.3 + 9.0 / 100.0)


@dataclass(frozen=True)
class Jets:
    """Jets of another strength in every trajectory, without any noise."""

    strength: float = 1.0

    def on(self, modes):
        return SteadyForcing(lambda x, y: self.strength * jets(x, y)).on(modes)

    def for_trajectory(self, ensemble_seed, trajectory_id):
        return Jets(1.0 + trajectory_id)


def test_a_reference_takes_a_forcing_on_any_mode_of_its_les():
    # An LES of 32 points has modes up to 15, a DNS up to 10.
    forcing = SteadyForcing(lambda x, y: np.cos(14.0 * x) + 0.0 * y)
    flow, fields = replace(FLOW, num_points=32), np.zeros((2, 1, 32, 32), np.float32)
    times = np.array([0.0, 0.1])
    assert a_posteriori.Reference(flow, times, fields, fields, forcing)


@pytest.mark.parametrize("forcing", [RingForcing(4.0, 2.0, 0.1), Jets()])
def test_a_forcing_that_trajectories_do_not_share_is_refused(forcing):
    shared = ensemble_of(SteadyForcing(jets))
    with pytest.raises(ValueError, match="that all its members share"):
        a_posteriori.reference_ensemble(replace(shared, forcing=forcing), 2, 0.5, 3)
    fields = np.zeros((3, 2, POINTS, POINTS), np.float32)
    own = replace(shared, forcing=forcing)
    with pytest.raises(ValueError, match=r"Simulation of its own, with les_forcing\("):
        a_posteriori.Reference.from_fields(own, np.arange(3.0), fields, fields)


# The width of the filter


@pytest.fixture(scope="module")
def wide():
    """Four cells of the LES, and not two."""
    width = 4.0 * 2.0 * np.pi / 24
    ensemble = ensemble_of(SteadyForcing(jets), filter_width=width, num_points_les=24)
    return reference_of(ensemble)


def test_closures_get_the_width_of_the_filter_and_keep_their_own(wide):
    """GM4 of another width has a quarter of the forcing, and the LES goes astray."""
    width = wide.filter_width
    assert distance(wide, GradientModel4()) < 0.5 * distance(
        wide, GradientModel4(filter_width=0.5 * width)
    )
    closures = {
        "default": GradientModel4(),
        "own": GradientModel4(filter_width=0.5 * width),
    }
    result = a_posteriori.compare(closures, wide, progress=False)
    rows = {row["closure"]: row for row in result.rows}
    assert f"filter_width={width}" in rows["default"]["definition"]
    assert f"filter_width={0.5 * width}" in rows["own"]["definition"]


@pytest.mark.parametrize(
    "make",
    [
        lambda model: ClippedBackscatter(model, "energy"),
        lambda model: SpectralFilter(model, 0.5),
        lambda model: SumOfClosures(
            model, Smagorinsky(filter_width=0.3), weights=(2, 1)
        ),
        lambda model: ByLayer(SpectralFilter(SumOfClosures(model, model))),
    ],
)
def test_wrapped_closures_get_it_too(wide, make):
    filled, given = (
        a_posteriori.compare({"it": make(Smagorinsky(**width))}, wide, progress=False)
        for width in ({}, {"filter_width": wide.filter_width})
    )
    assert filled.to_dict() == given.to_dict()
    two_cells = replace(wide, filter_width=None)
    other = a_posteriori.compare({"it": make(Smagorinsky())}, two_cells, progress=False)
    assert "filter_width=None" in other.rows[0]["definition"]


class Own(GradientModel2):
    """A closure of a user with a signature of its own."""

    def __init__(self):
        super().__init__()


def test_a_closure_of_another_signature_gets_the_width(wide):
    filled = with_filter_width(Own(), wide.filter_width)
    assert isinstance(filled, Own)
    assert filled.filter_width == wide.filter_width


class Steady:
    """A forcing of a user that does not say when two are equal."""

    def on(self, modes):
        return SteadyForcing(jets).on(modes)

    def for_trajectory(self, ensemble_seed, trajectory_id):
        return Steady()


def test_a_forcing_is_shared_if_it_gives_the_same_sources():
    flow = FlowConfig(16, 100.0, forcing_wavenumber=None)
    fields = np.zeros((2, 1, 16, 16), np.float32)
    made = a_posteriori.Reference(flow, np.arange(2.0), fields, fields, Steady())
    assert isinstance(made.forcing, Steady)


def test_a_width_beyond_the_domain_is_refused(wide):
    with pytest.raises(ValueError, match=r"filter_width must be at most .*received 7"):
        replace(wide, filter_width=7.0)


# The time step


def test_a_step_too_long_for_the_start_fields_is_no_blow_up(wide):
    """It is refused as `evolve` refuses it, whatever the closure."""
    start, flow = wide.start, wide.flow
    at_rest = np.zeros_like(start[:1])
    for fields in (start, np.concatenate([at_rest, start])):
        with pytest.raises(UnstableTimeStepError, match="breaks the CFL limit"):
            a_posteriori.run_ensemble(fields, flow, None, [0.0, 50.0], 50.0)
    with pytest.raises(UnstableTimeStepError):
        evolve(start[0], flow, 50.0, 50.0, closure=GradientModel4())
    coarse = replace(wide, times=100.0 * wide.times)
    with pytest.raises(UnstableTimeStepError):
        a_posteriori.compare({"none": None}, coarse, time_step=50.0)


def test_a_step_is_at_most_the_time_between_snapshots(wide):
    """So a longer one is no error where the equal steps are short enough."""
    times = [0.0, 0.01, 0.02]
    run = a_posteriori.run_ensemble(wide.start, wide.flow, None, times, 50.0)
    short = a_posteriori.run_ensemble(wide.start, wide.flow, None, times, 0.01)
    assert run.stable_fraction == 1.0
    assert np.array_equal(run.vorticity, short.vorticity)
