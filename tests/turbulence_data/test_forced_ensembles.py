"""Ensembles with a forcing, a scheme, a precision and steps of the user's choice."""

import json
import pickle
from dataclasses import replace

import numpy as np
import pytest

from turbulence_data.config import FlowConfig
from turbulence_data.diagnostics import energy_budget
from turbulence_data.filtering import filtered_dns
from turbulence_data.flows import named_flow
from turbulence_data.generation._ensemble import (
    EnsembleConfig,
    config_hash,
    plain_config,
)
from turbulence_data.generation._pool import process_pool, run_trajectories
from turbulence_data.generation._statistics import EnsembleStatistics
from turbulence_data.generation._store import CheckpointFile
from turbulence_data.generation._trajectory import HISTORY, sample_trajectory
from turbulence_data.solver._evolve import trajectory
from turbulence_data.solver._forcing import RingForcing, SteadyForcing
from turbulence_data.solver._grid import Grid, resample
from turbulence_data.solver._initial_conditions import RandomVorticity
from turbulence_data.solver._schemes import etdrk4, integrating_factor_rk4
from turbulence_data.solver._simulation import Numerics, Simulation
from turbulence_data.solver.jax._engine import JaxEngine

SINGLE = 1e-4  # of a run in single precision, relative to the largest value
FIELDS = ("vorticity", "streamfunction", "sgs_forcing")
RING = RingForcing(3.0, 2.0, 0.2, seed=4)
ENSEMBLE = EnsembleConfig(
    flow=FlowConfig(32, reynolds=200.0, forcing_wavenumber=None),
    num_points_les=16,
    num_trajectories=(2, 1, 1),
    num_snapshots=3,
    spin_up=0.4,
    coarse_spin_up=0.2,
    interval=0.1,
    time_step=0.01,
    start=RandomVorticity(0.5, 3.0),
    forcing=RING,
)


def ensemble_statistics(ensemble, load):
    statistics = EnsembleStatistics(ensemble)
    for split in ("train", "validation", "test"):
        for number in ensemble.trajectory_ids(split):
            statistics.add(split, load(number))
    return statistics.to_dict()


def still(grid, rng):
    return np.zeros(grid.num_points)


def jets(x, y):
    return np.sin(3.0 * y) + 0.0 * x


def gusts(x, y, time):
    return np.sin(3.0 * y - time) * np.cos(x)


VARIANTS = {
    "ring": ENSEMBLE,
    "chosen steps": replace(ENSEMBLE, time_step=None),
    "single precision": replace(ENSEMBLE, dtype=np.float32, scheme=etdrk4),
    "jets": replace(ENSEMBLE, forcing=SteadyForcing(jets)),
    "gusts": replace(ENSEMBLE, forcing=gusts, time_step=None),
}


def content(made):
    arrays = [made.times, *made.fields().values(), made.history]
    return [array.tobytes() for array in arrays]


def column(made, name):
    return made.history[:, HISTORY.index(name)]


def relative_error(computed, expected):
    return np.abs(computed - expected).max() / np.abs(expected).max()


# The same bits, whatever happens


class StopsAfter(CheckpointFile):
    """Keeps the progress after a number of legs, then the run is killed."""

    legs = 0

    def save(self, progress):
        super().save(progress)
        if progress.num_legs == self.legs:
            raise KeyboardInterrupt


@pytest.mark.parametrize("name", VARIANTS)
def test_a_run_that_was_stopped_anywhere_ends_with_the_same_bits(name, tmp_path):
    ensemble = VARIANTS[name]
    whole = content(sample_trajectory(ensemble, 1))
    for legs in range(1, 8):
        file = StopsAfter(tmp_path / f"{legs}", ensemble, 1, every_seconds=0.0)
        file.legs = legs
        with pytest.raises(KeyboardInterrupt):
            sample_trajectory(ensemble, 1, file)
        assert file.load().num_legs == legs
        file.legs = 0
        assert content(sample_trajectory(ensemble, 1, file)) == whole


@pytest.mark.parametrize("name", VARIANTS)
def test_a_pickled_ensemble_gives_the_same_bits(name):
    ensemble = VARIANTS[name]
    copied = pickle.loads(pickle.dumps(ensemble))
    assert content(sample_trajectory(copied, 0)) == content(
        sample_trajectory(ensemble, 0)
    )


@pytest.mark.slow
def test_other_processes_give_the_same_bits():
    with process_pool(1) as pool:
        (made,) = run_trajectories(ENSEMBLE, [1], pool)
    assert content(made) == content(sample_trajectory(ENSEMBLE, 1))


# What a trajectory is


@pytest.mark.parametrize("name", VARIANTS)
def test_a_trajectory_is_what_a_simulation_gives_by_hand(name):
    ensemble = replace(VARIANTS[name], coarse_spin_up=0.0)
    forcing = ensemble.forcing
    if forcing == RING:
        forcing = RING.for_trajectory(ensemble.seed, 1)
    start = ensemble.start(Grid((32, 32)), np.random.default_rng([ensemble.seed, 1]))
    simulation = Simulation(
        ensemble.flow,
        forcing=forcing,
        numerics=Numerics(scheme=ensemble.scheme, dtype=ensemble.dtype),
    )
    # It pauses at every instant that is looked at, those of the spin-up too.
    times = [*(0.1 * np.arange(4)), *(0.4 + 0.1 * np.arange(3))]
    states = list(
        trajectory(simulation, simulation.start(start), times, ensemble.time_step)
    )
    sampled = sample_trajectory(ensemble, 1)
    for number, state in enumerate(states[-3:]):
        vorticity = simulation.vorticity(state)
        assert vorticity.dtype == ensemble.dtype
        fields = filtered_dns(vorticity, ensemble.les_shape)
        for field in FIELDS:
            expected = getattr(fields, field).astype(np.float32)
            np.testing.assert_array_equal(getattr(sampled, field)[number], expected)


def test_every_trajectory_has_its_own_noise():
    """From the same start, at rest."""
    ensemble = replace(ENSEMBLE, start=still)
    fields = [sample_trajectory(ensemble, i).vorticity[-1].ravel() for i in range(2)]
    other = replace(ensemble, seed=1)
    fields.append(sample_trajectory(other, 0).vorticity[-1].ravel())
    correlations = np.corrcoef(fields) - np.eye(3)
    assert np.abs(correlations).max() < 0.7  # of some ten pairs of modes


def test_the_spin_up_at_half_the_resolution_meets_the_same_kicks():
    ensemble = replace(ENSEMBLE, start=still, coarse_spin_up=0.4)
    coarse = replace(ensemble, coarse_spin_up=0.0, time_step=0.02)
    rough, fine = (sample_trajectory(e, 0) for e in (ensemble, coarse))
    # Steps of 0.02 both, until the snapshots: the ring is resolved on either grid.
    first = [made.vorticity[0] for made in (rough, fine)]
    assert relative_error(*first) < 0.02  # 16 points resolve modes up to 5


def test_kicks_are_numbered_on_through_the_change_of_resolution():
    forcing = RING.for_trajectory(ENSEMBLE.seed, 0)
    coarse = Simulation(ENSEMBLE.coarse_flow(), forcing=forcing)
    fine = Simulation(ENSEMBLE.flow, forcing=forcing)
    state = coarse.start(ENSEMBLE.start(coarse.grid, np.random.default_rng([0, 0])))
    (*_, state) = trajectory(coarse, state, [0.1, 0.2], 0.02)
    assert state.step_number == 10
    refined = fine.start(resample(coarse.vorticity(state), (32, 32)), 0.2, 10)
    (*_, state) = trajectory(fine, refined, [0.2 + 0.1, 0.4], 0.01)
    expected = filtered_dns(fine.vorticity(state), 16).vorticity.astype(np.float32)
    sampled = sample_trajectory(ENSEMBLE, 0)
    np.testing.assert_array_equal(sampled.vorticity[0], expected)


def test_chosen_steps_end_at_the_exact_times_and_stay_below_the_limit():
    sampled = sample_trajectory(VARIANTS["chosen steps"], 0)
    np.testing.assert_array_equal(sampled.times, 0.4 + 0.1 * np.arange(3.0))
    np.testing.assert_array_equal(column(sampled, "time")[-3:], sampled.times)
    courant = column(sampled, "courant")
    assert np.all((courant > 0.0) & (courant < 0.14))


@pytest.mark.parametrize(
    "change", [{"dtype": np.float32}, {"scheme": etdrk4}], ids=["dtype", "scheme"]
)
def test_numerics_change_the_bits_and_not_the_flow(change):
    usual, other = (
        sample_trajectory(e, 0) for e in (ENSEMBLE, replace(ENSEMBLE, **change))
    )
    assert content(usual) != content(other)
    for field in FIELDS:
        assert getattr(other, field).dtype == np.float32  # as stored
        assert relative_error(getattr(other, field), getattr(usual, field)) < SINGLE
    assert other.history.dtype == np.float64
    np.testing.assert_allclose(other.history, usual.history, rtol=1e-3)


# The budget


def test_the_history_holds_the_expected_injection_and_the_work_of_a_source():
    ring, steady = (sample_trajectory(VARIANTS[n], 0) for n in ("ring", "jets"))
    np.testing.assert_allclose(column(ring, "work"), RING.energy_injection, rtol=1e-12)
    assert np.ptp(column(steady, "work")) > 0.0
    assert np.all(column(steady, "work") != RING.energy_injection)


def test_the_work_of_a_varying_source_is_that_of_its_time():
    ensemble = replace(VARIANTS["gusts"], coarse_spin_up=0.0)
    start = ensemble.start(Grid((32, 32)), np.random.default_rng([0, 0]))
    simulation = Simulation(ensemble.flow, forcing=gusts)
    times = [*(0.1 * np.arange(4)), 0.4]
    (*_, state) = trajectory(simulation, simulation.start(start), times)
    budget = energy_budget(
        simulation.vorticity(state), ensemble.flow, forcing=gusts, time=0.4
    )
    work = column(sample_trajectory(ensemble, 0), "work")
    assert work[4] == pytest.approx(budget.work, rel=1e-12)


@pytest.mark.slow
def test_the_budget_of_a_stochastic_flow_closes_in_the_mean_and_not_in_each():
    ensemble = replace(
        ENSEMBLE,
        num_trajectories=(16, 8, 8),
        num_snapshots=8,
        coarse_spin_up=0.0,
        time_step=0.02,
    )
    made = {
        number: sample_trajectory(ensemble, number)
        for split in ("train", "validation", "test")
        for number in ensemble.trajectory_ids(split)
    }
    statistics = ensemble_statistics(ensemble, made.__getitem__)
    residuals = [row["budget_residual"] for row in statistics["energy_history"]]
    of_the_mean = statistics["budget_residual_of_the_mean"]
    assert statistics["largest_budget_residual"] == max(residuals)
    assert of_the_mean < 2.0 * np.sqrt(np.mean(np.square(residuals)) / 32)
    assert of_the_mean < 0.2 < max(residuals)
    assert "expected injection" in statistics["conventions"]["work"]


def test_the_budget_of_a_steady_forcing_closes_for_each():
    ensemble = replace(VARIANTS["jets"], num_snapshots=8, coarse_spin_up=0.0)
    load = {i: sample_trajectory(ensemble, i) for i in (0, 1, 100_000, 200_000)}
    statistics = ensemble_statistics(ensemble, load.__getitem__)
    assert statistics["largest_budget_residual"] < 1e-3
    assert statistics["budget_residual_of_the_mean"] < 1e-3


# What is recorded


@pytest.mark.parametrize("name", VARIANTS)
def test_the_config_is_recorded_as_plain_values(name):
    recorded = json.loads(json.dumps(plain_config(VARIANTS[name]), allow_nan=False))
    assert recorded["scheme"].startswith("turbulence_data.solver.time_stepping.")
    assert recorded["dtype"] == ("float32" if name == "single precision" else "float64")
    forcing = recorded["forcing"]
    if name == "jets":
        assert forcing["class"] == "turbulence_data.solver.forcing.SteadyForcing"
        assert forcing["source"].endswith(".jets")
    elif name == "gusts":
        assert forcing.endswith(".gusts")
    else:
        assert forcing["energy_injection"] == 0.2


def test_every_choice_changes_the_hash():
    hashes = {config_hash(ensemble) for ensemble in VARIANTS.values()}
    hashes |= {config_hash(replace(ENSEMBLE, forcing=replace(RING, seed=5)))}
    hashes |= {config_hash(replace(ENSEMBLE, scheme=etdrk4))}
    assert len(hashes) == len(VARIANTS) + 2
    same = replace(ENSEMBLE, dtype="float64", scheme=integrating_factor_rk4)
    assert config_hash(same) == config_hash(ENSEMBLE)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            {"forcing": RING},
            "f732af9545f070112221d914af63a7d804db9d715b86f17c0494d05cb47e50ab",
        ),
        (
            {"scheme": etdrk4},
            "6735baa4ef10ca1d3f00562778198daea8dad46f9ad1b9232f3e07f5a9946a44",
        ),
        (
            {"engine": JaxEngine()},
            "8bdc6134369744963e8b164d53bd8b41fac2d0ad347d5ae05a6647a8cdafd0fa",
        ),
    ],
)
def test_hashes_outlive_the_modules_they_name(change, expected):
    """Data that were made by the first version are found under these hashes."""
    flow = FlowConfig(64, reynolds=200.0, forcing_wavenumber=None)
    ensemble = replace(named_flow("tiny_forced_re2e2_kf4"), flow=flow, **change)
    assert config_hash(ensemble) == expected
