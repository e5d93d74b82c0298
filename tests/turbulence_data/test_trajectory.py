"""Trajectories: what decides their bits, and what they are made of."""

import pickle
from dataclasses import replace

import numpy as np
import pytest

from turbulence_data.config import FlowConfig
from turbulence_data.diagnostics import energy, energy_budget, enstrophy, palinstrophy
from turbulence_data.filtering import filtered_dns, subgrid_stresses
from turbulence_data.generation._ensemble import SPLITS, EnsembleConfig
from turbulence_data.generation._trajectory import HISTORY, sample_trajectory
from turbulence_data.solver._evolve import evolve
from turbulence_data.solver._grid import Grid, resample
from turbulence_data.solver._initial_conditions import RandomVorticity
from turbulence_data.solver._simulation import Simulation, UnstableTimeStepError

SINGLE = 1e-6  # fields are stored in single precision: 6e-8, relative to the largest
FIELDS = ("vorticity", "streamfunction", "sgs_forcing")
ENSEMBLE = EnsembleConfig(
    flow=FlowConfig(48, reynolds=300.0, forcing_wavenumber=3),
    num_points_les=16,
    num_trajectories=(3, 2, 1),
    num_snapshots=3,
    spin_up=0.4,
    interval=0.2,
    time_step=0.02,
    start=RandomVorticity(0.5, 4.0),
    seed=11,
)


@pytest.fixture(scope="module")
def sampled():
    return sample_trajectory(ENSEMBLE, 0)


def assert_same(first, second):
    for name in ("times", *FIELDS, "history"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


def largest_error(computed, expected) -> float:
    return float(np.abs(computed - expected).max() / np.abs(expected).max())


def test_same_arguments_same_bits(sampled):
    assert_same(sample_trajectory(ENSEMBLE, 0), sampled)


def test_a_pickled_ensemble_gives_the_same_bits(sampled):
    assert_same(sample_trajectory(pickle.loads(pickle.dumps(ENSEMBLE)), 0), sampled)


def test_more_trajectories_do_not_change_the_existing_ones(sampled):
    larger = replace(ENSEMBLE, num_trajectories=(30, 9, 9))
    assert_same(sample_trajectory(larger, 0), sampled)
    for split in SPLITS:
        ids = ENSEMBLE.trajectory_ids(split)
        assert larger.trajectory_ids(split)[: len(ids)] == ids


def test_more_snapshots_do_not_change_the_first_ones(sampled):
    longer = sample_trajectory(replace(ENSEMBLE, num_snapshots=5), 0)
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(longer, name)[:3], getattr(sampled, name))


def test_the_courant_ratio_is_that_of_the_steps_taken():
    """No step is longer than the interval between snapshots."""
    made = [
        sample_trajectory(replace(ENSEMBLE, time_step=step, interval=0.02), 0)
        for step in (0.02, 0.03)
    ]
    courant = [one.history[:, HISTORY.index("courant")] for one in made]
    np.testing.assert_allclose(*courant, rtol=1e-9)


@pytest.mark.parametrize("other", [{"trajectory_id": 1}, {"seed": 12}])
def test_another_number_or_seed_is_another_flow(sampled, other):
    ensemble = replace(ENSEMBLE, seed=other.get("seed", ENSEMBLE.seed))
    different = sample_trajectory(ensemble, other.get("trajectory_id", 0))
    product = np.mean(different.vorticity[0] * sampled.vorticity[0])
    norms = np.std(different.vorticity[0]) * np.std(sampled.vorticity[0])
    assert abs(product / norms) < 0.5


def test_no_trajectory_is_in_two_splits():
    ensemble = replace(ENSEMBLE, num_trajectories=(1000, 1000, 1000))
    ids = [number for split in SPLITS for number in ensemble.trajectory_ids(split)]
    assert len(set(ids)) == len(ids) == 3000


def test_every_split_has_the_number_asked_for():
    lengths = tuple(len(ENSEMBLE.trajectory_ids(split)) for split in SPLITS)
    assert lengths == ENSEMBLE.num_trajectories


def test_an_unknown_split_is_refused_by_name():
    with pytest.raises(ValueError, match="holdout"):
        ENSEMBLE.trajectory_ids("holdout")


def test_snapshots_come_at_the_stated_times_in_single_precision(sampled):
    assert sampled.trajectory_id == 0
    np.testing.assert_allclose(sampled.times, [0.4, 0.6, 0.8], rtol=1e-15)
    for name in FIELDS:
        field = getattr(sampled, name)
        assert field.shape == (3, 16, 16)
        assert field.dtype == np.float32
        assert np.isfinite(field).all()


def by_hand(ensemble, vorticity, number):
    """Yields the DNS field at every snapshot time, from a field at the first one."""
    for _ in range(number):
        yield vorticity
        vorticity = evolve(
            vorticity, ensemble.flow, ensemble.interval, ensemble.time_step
        )


def assert_made_of(trajectory, ensemble, first):
    for index, dns in enumerate(by_hand(ensemble, first, ensemble.num_snapshots)):
        filtered = filtered_dns(
            dns,
            ensemble.num_points_les,
            filter_width=ensemble.filter_width,
            lengths=ensemble.flow.lengths,
        )
        for name in FIELDS:
            stored = getattr(trajectory, name)[index]
            assert largest_error(stored, getattr(filtered, name)) < SINGLE


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"filter_width": 0.5},
        {
            "flow": FlowConfig(
                (48, 24), 300.0, forcing_wavenumber=4, lengths=(2 * np.pi, np.pi)
            ),
            "num_points_les": (16, 12),
        },
        {"flow": FlowConfig(48, 300.0, 0.0, None, beta=3.0), "spin_up": 0.0},
    ],
    ids=["square", "width", "rectangle", "decaying_beta"],
)
def test_a_trajectory_is_evolve_and_filtered_dns(changes):
    ensemble = replace(ENSEMBLE, **changes)
    rng = np.random.default_rng([ensemble.seed, 1])
    drawn = ensemble.start(Grid(ensemble.flow.shape, ensemble.flow.lengths), rng)
    first = evolve(drawn, ensemble.flow, ensemble.spin_up, ensemble.time_step)
    assert_made_of(sample_trajectory(ensemble, 1), ensemble, first)


def test_a_coarse_spin_up_runs_half_the_points_with_twice_the_step():
    ensemble = replace(ENSEMBLE, coarse_spin_up=0.2)
    coarse = ensemble.coarse_flow()
    assert coarse.shape == (24, 24)
    assert replace(coarse, num_points=48) == ensemble.flow
    rng = np.random.default_rng([ensemble.seed, 0])
    drawn = ensemble.start(Grid(coarse.shape), rng)
    middle = evolve(drawn, coarse, 0.2, 2 * ensemble.time_step)
    first = evolve(resample(middle, (48, 48)), ensemble.flow, 0.2, ensemble.time_step)
    trajectory = sample_trajectory(ensemble, 0)
    assert_made_of(trajectory, ensemble, first)
    np.testing.assert_allclose(trajectory.times, [0.4, 0.6, 0.8], rtol=1e-15)


def test_a_spin_up_wholly_on_the_coarse_grid():
    ensemble = replace(ENSEMBLE, coarse_spin_up=0.4, num_snapshots=1)
    rng = np.random.default_rng([ensemble.seed, 0])
    coarse = ensemble.coarse_flow()
    drawn = ensemble.start(Grid(coarse.shape), rng)
    end = evolve(drawn, coarse, 0.4, 2 * ensemble.time_step)
    assert_made_of(sample_trajectory(ensemble, 0), ensemble, resample(end, (48, 48)))


@pytest.mark.parametrize("coarse_spin_up", [0.0, 0.2])
def test_the_history_runs_from_the_start_to_the_last_snapshot(coarse_spin_up):
    ensemble = replace(ENSEMBLE, coarse_spin_up=coarse_spin_up)
    trajectory = sample_trajectory(ensemble, 0)
    time, kinetic, vortical, courant = trajectory.history.T[:4]
    assert time[0] == 0.0
    assert time[-1] == trajectory.times[-1]
    assert np.all(np.diff(time) >= 0.0)
    assert np.diff(time).max() <= ensemble.interval * (1 + 1e-12)
    assert kinetic[0] == pytest.approx(ensemble.start.energy, rel=1e-12)
    assert np.all(vortical >= kinetic)  # k >= 1 in every mode
    assert np.all((courant > 0.0) & (courant < 1.0))


def test_the_history_agrees_with_the_diagnostics():
    ensemble = replace(ENSEMBLE, spin_up=0.0)
    rng = np.random.default_rng([ensemble.seed, 0])
    drawn = ensemble.start(Grid((48, 48)), rng)
    rows = sample_trajectory(ensemble, 0).history
    for dns, time in zip(by_hand(ensemble, drawn, 3), (0.0, 0.2, 0.4), strict=True):
        row = rows[np.argmin(np.abs(rows[:, 0] - time))]
        assert row[1] == pytest.approx(energy(dns), rel=1e-10)
        assert row[2] == pytest.approx(enstrophy(dns), rel=1e-10)
        damped = 2.0 * ensemble.flow.viscosity * palinstrophy(dns)
        damped += 2.0 * ensemble.flow.linear_drag * enstrophy(dns)
        assert row[4] == pytest.approx(-damped, rel=1e-10)
        budget = energy_budget(dns, ensemble.flow)
        assert row[5] == pytest.approx(budget.work, rel=1e-10)
        assert row[5] + row[6] == pytest.approx(budget.total, rel=1e-10)


class Memory:
    """Checkpoints that keep a copy of the progress at one leg, or go on from one."""

    def __init__(self, stored=None):
        self.stored, self.kept = stored, []

    def load(self):
        return self.stored

    def save(self, progress):
        self.kept.append(pickle.dumps(progress))


@pytest.mark.parametrize("coarse_spin_up", [0.0, 0.2, 0.4])
def test_going_on_from_any_leg_gives_the_same_bits(coarse_spin_up):
    ensemble = replace(
        ENSEMBLE, coarse_spin_up=coarse_spin_up, extra_fields=("velocity", "sigma")
    )
    memory = Memory()
    whole = sample_trajectory(ensemble, 1, memory)
    assert_same(whole, sample_trajectory(ensemble, 1))
    assert len(memory.kept) > ensemble.num_snapshots
    for stored in memory.kept:
        resumed = Memory(pickle.loads(stored))
        again = sample_trajectory(ensemble, 1, resumed)
        assert_same(again, whole)
        assert len(resumed.kept) == len(memory.kept) - pickle.loads(stored).num_legs


def test_extra_fields_are_the_stresses_of_the_snapshots():
    names = ("velocity", "tau", "sigma")
    ensemble = replace(ENSEMBLE, spin_up=0.0, num_snapshots=1, extra_fields=names[::-1])
    assert ensemble.extra_fields == names
    trajectory = sample_trajectory(ensemble, 0)
    rng = np.random.default_rng([ensemble.seed, 0])
    drawn = evolve(ensemble.start(Grid((48, 48)), rng), ensemble.flow, 0.0)
    stresses = subgrid_stresses(drawn, 16)
    assert set(trajectory.extra_fields) == set(names)
    for name in names:
        stored, expected = trajectory.extra_fields[name], getattr(stresses, name)
        assert stored.dtype == np.float32
        assert stored.shape == (1, *expected.shape)
        assert largest_error(stored[0], expected) < SINGLE


def test_extra_fields_leave_the_others_as_they_are(sampled):
    more = sample_trajectory(replace(ENSEMBLE, extra_fields=("tau",)), 0)
    assert_same(more, sampled)


@pytest.mark.parametrize("names", ["tau", ("tau", "pressure"), ("tau", []), {"tau"}])
def test_unknown_extra_fields_are_refused(names):
    with pytest.raises(
        ValueError, match=r"extra_fields .*\'velocity\'.* received .*tau"
    ):
        replace(ENSEMBLE, extra_fields=names)


def largest_step_at_start():
    simulation = Simulation(ENSEMBLE.flow)
    rng = np.random.default_rng([ENSEMBLE.seed, 0])
    start = simulation.start(ENSEMBLE.start(simulation.grid, rng))
    return simulation.largest_time_step(start)


def test_a_leg_too_fast_for_its_step_is_run_with_half_of_it():
    largest = largest_step_at_start()
    ensemble = replace(ENSEMBLE, time_step=1.2 * largest)
    trajectory = sample_trajectory(ensemble, 0)
    courant = trajectory.history[:, HISTORY.index("courant")]
    assert courant.max() <= 1.0
    assert_same(sample_trajectory(ensemble, 0), trajectory)


def test_a_step_too_large_for_the_flow_is_refused():
    too_large = 4.5 * largest_step_at_start()
    with pytest.raises(
        UnstableTimeStepError, match=r"breaks the CFL limit at time 0:"
    ) as caught:
        sample_trajectory(replace(ENSEMBLE, time_step=too_large), 0)
    steps = np.ceil(ENSEMBLE.interval / (too_large / 4.0))  # equal ones, in a leg
    assert f"time_step={ENSEMBLE.interval / steps:.6g} breaks" in str(caught.value)
    assert f"was time_step={too_large:g}, halved 2 times" in str(caught.value)


def test_a_negative_number_is_refused():
    with pytest.raises(ValueError, match="negative"):
        sample_trajectory(ENSEMBLE, -1)
