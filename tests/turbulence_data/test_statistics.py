"""Statistics are those of the train split, to the last digit that sums allow."""

import json
from dataclasses import replace

import numpy as np
import pytest

from turbulence_data.config import FlowConfig
from turbulence_data.diagnostics import energy
from turbulence_data.generation._ensemble import EnsembleConfig, config_hash
from turbulence_data.generation._records import FIELDS
from turbulence_data.generation._statistics import (
    EnsembleStatistics,
    autocorrelation,
    budget_residual,
    content_hash,
    decorrelation_lag,
    energy_levels,
    k_max_eta,
    package_version,
)
from turbulence_data.generation._trajectory import Trajectory, sample_trajectory
from turbulence_data.solver._initial_conditions import RandomVorticity

# Sums of about 5,000 values in another order than NumPy's.
ROUND_OFF = 1e-12

ENSEMBLE = EnsembleConfig(
    flow=FlowConfig((32, 48), reynolds=100.0),
    num_points_les=(16, 24),
    num_trajectories=(3, 1, 1),
    num_snapshots=4,
    spin_up=4.0,
    interval=0.5,
    time_step=0.01,
)


def trajectory(number):
    rng = np.random.default_rng(number)
    fields = rng.standard_normal((3, 4, 16, 24)) * 10.0 + 3.0
    fields -= fields.mean((-2, -1), keepdims=True) * [[[[1]]], [[[0]]], [[[1]]]]
    times = 0.5 * np.arange(12)
    history = np.stack([times, *rng.random((6, 12))], axis=1)
    return Trajectory(
        number, 4.0 + 0.5 * np.arange(4), *fields.astype(np.float32), history=history
    )


def ensemble_statistics(ensemble, load):
    statistics = EnsembleStatistics(ensemble)
    for split in ("train", "validation", "test"):
        for number in ensemble.trajectory_ids(split):
            statistics.add(split, load(number))
    return statistics.to_dict()


@pytest.fixture(scope="module")
def statistics():
    return ensemble_statistics(ENSEMBLE, trajectory)


def train(name):
    return np.stack([getattr(trajectory(i), name) for i in range(3)]).astype(float)


@pytest.mark.parametrize("name", FIELDS)
def test_moments_are_those_of_all_train_values(statistics, name):
    values = train(name)
    expected = {
        "mean": values.mean(),
        "std": values.std(),
        "rms": np.sqrt((values**2).mean()),
    }
    assert statistics["fields"][name] == pytest.approx(
        expected, rel=ROUND_OFF, abs=ROUND_OFF
    )


def test_validation_and_test_fields_play_no_part(statistics):
    def load(number):
        loaded = trajectory(number)
        if number < 100_000:
            return loaded
        changed = {name: 7.0 * getattr(loaded, name) for name in FIELDS}
        return replace(loaded, **changed)

    other = ensemble_statistics(ENSEMBLE, load)
    assert other["fields"] == statistics["fields"]
    assert other["spectra"] == statistics["spectra"]


def test_spectra_sum_to_mean_energy_and_mean_square(statistics):
    energies = [energy(field) for field in train("vorticity").reshape(-1, 16, 24)]
    spectra = statistics["spectra"]
    assert sum(spectra["energy"]) == pytest.approx(np.mean(energies), rel=ROUND_OFF)
    mean_square = statistics["fields"]["sgs_forcing"]["rms"] ** 2
    assert sum(spectra["sgs_forcing"]) == pytest.approx(mean_square, rel=ROUND_OFF)
    assert len(spectra["wavenumbers"]) == len(spectra["energy"])
    assert spectra["wavenumbers"][:3] == [0.0, 1.0, 2.0]


def test_the_largest_courant_ratio_is_that_of_every_split(statistics):
    every = [0, 1, 2, 100_000, 200_000]
    expected = max(trajectory(number).history[:, 3].max() for number in every)
    assert statistics["largest_courant_ratio"] == expected


def test_energy_levels_compare_the_end_of_the_spin_up_with_the_sampling():
    history = np.zeros((12, 7))
    history[:, 0] = 0.5 * np.arange(12)
    history[:, 1] = np.where(history[:, 0] < 4.0, 2.0, 3.0)
    history[:6, 1] = 99.0  # before the last quarter: does not count
    levels = energy_levels(ENSEMBLE, replace(trajectory(1), history=history))
    assert levels == {
        "trajectory": 1,
        "energy_end_of_spin_up": 2.0,
        "energy_sampling": 3.0,
        "ratio": 1.5,
        "budget_residual": None,
    }


def test_the_evidence_of_quality_covers_what_it_says(statistics):
    residuals = [row["budget_residual"] for row in statistics["energy_history"]]
    assert statistics["largest_budget_residual"] == max(residuals)
    sampled = np.concatenate([trajectory(i).history[8:] for i in range(3)])
    assert statistics["k_max_eta"] == k_max_eta(ENSEMBLE, sampled)


def test_energy_levels_say_none_without_a_spin_up():
    levels = energy_levels(replace(ENSEMBLE, spin_up=0.0), trajectory(0))
    assert levels["energy_end_of_spin_up"] is None
    assert levels["ratio"] is None


DRAG = 0.1


def history_of(time, energy, damped=0.0, work=0.0, dissipation=0.0):
    columns = (time, energy, 3.0, 0.0, -(damped + 6.0 * DRAG), work, dissipation)
    return np.stack(np.broadcast_arrays(*columns), axis=1).astype(float)


def test_the_budget_residual_of_a_known_leak():
    time = np.linspace(0.0, 4.0, 9)
    # 3 in, 1 out and a leak of 0.5 a unit of time: 0.5 of the 4 that go through.
    rows = history_of(time, 7.0 + 1.5 * time, work=3.0, dissipation=-1.0)
    assert budget_residual(rows) == pytest.approx(0.125, rel=ROUND_OFF)
    assert budget_residual(rows[:1]) is None
    assert budget_residual(history_of(time, 7.0)) is None


def test_the_budget_of_a_real_flow_closes_as_the_sampling_gets_denser():
    residuals = []
    for interval in (0.2, 0.1, 0.05):
        dense = replace(
            ENSEMBLE,
            flow=FlowConfig(32, reynolds=100.0, forcing_wavenumber=4),
            num_points_les=16,
            spin_up=0.0,
            interval=interval,
            num_snapshots=int(0.8 / interval) + 1,
        )
        residuals.append(budget_residual(sample_trajectory(dense, 0).history))
    # The trapezoidal rule: second order, so a quarter for half the interval.
    assert residuals[0] / residuals[1] == pytest.approx(4.0, rel=0.1)
    assert residuals[1] / residuals[2] == pytest.approx(4.0, rel=0.1)
    assert residuals[2] < 1e-3


def test_k_max_eta_has_its_definition():
    flow = FlowConfig(64, 10.0, linear_drag=DRAG, forcing_wavenumber=None)
    ensemble = replace(ENSEMBLE, flow=flow, num_points_les=16)
    rows = history_of([0.0, 1.0], 1.0, damped=np.array([8.0, 12.0]))
    # eta_Z = 10, nu = 0.1; eta = (nu^3 / eta_Z)^(1/6); k_max = 21
    expected = 21 * (1e-4) ** (1 / 6)
    assert k_max_eta(ensemble, rows) == pytest.approx(expected, rel=ROUND_OFF)
    at_rest = history_of([0.0, 1.0], 1.0)
    assert k_max_eta(ensemble, at_rest) is None
    inviscid = replace(flow, reynolds=np.inf)
    assert k_max_eta(replace(ensemble, flow=inviscid), rows) is None
    # nu_h / eta^8 = eta_Z^(1/3)
    hyper = {"hyperviscosity": 1e-6, "hyperviscosity_order": 4}
    with_it = replace(ensemble, flow=replace(inviscid, **hyper))
    eta = (1e-6 / 10 ** (1 / 3)) ** (1 / 8)
    assert k_max_eta(with_it, rows) == pytest.approx(21 * eta, rel=ROUND_OFF)
    both = replace(ensemble, flow=replace(flow, **hyper))
    eta = k_max_eta(both, rows) / 21
    assert 0.1 / eta**2 + 1e-6 / eta**8 == pytest.approx(10 ** (1 / 3), rel=1e-9)


@pytest.mark.parametrize("unit", [6.4e6, 1e8])
def test_k_max_eta_does_not_depend_on_the_unit_of_length(unit):
    def in_units(length):
        flow = FlowConfig(
            64,
            10.0 / length**2,  # 1 / nu
            linear_drag=DRAG,
            forcing_wavenumber=None,
            hyperviscosity=1e-6 * length**8,
            hyperviscosity_order=4,
            lengths=(2 * np.pi * length, 2 * np.pi * length),
        )
        return replace(
            ENSEMBLE,
            flow=flow,
            num_points_les=16,
            start=RandomVorticity(0.5 * length**2, 6.0 / length),
        )

    rows = history_of([0.0, 1.0], 1.0, damped=10.0)
    expected = pytest.approx(k_max_eta(in_units(1.0), rows), rel=ROUND_OFF)
    assert k_max_eta(in_units(unit), rows) == expected


def test_the_autocorrelation_of_a_moving_wave_is_its_cosine():
    x = 2.0 * np.pi * np.arange(32) / 32
    shifts = 0.3 * np.arange(8)
    waves = 5.0 + np.cos(2 * (x[None, :, None] - shifts[:, None, None])) * np.ones(8)
    correlation = autocorrelation(waves)
    np.testing.assert_allclose(correlation, np.cos(2 * shifts), atol=ROUND_OFF)
    # cos falls below 1 / e between the second lag (0.362) and the first (0.825).
    line = 1 + (np.cos(0.6) - 1 / np.e) / (np.cos(0.6) - np.cos(1.2))
    assert decorrelation_lag(correlation) == pytest.approx(line, rel=ROUND_OFF)
    assert decorrelation_lag(correlation[:2]) is None


def test_a_field_at_rest_correlates_with_nothing():
    """A run that starts from rest: only pairs of moving fields count."""
    x = 2.0 * np.pi * np.arange(16) / 16
    phases = 0.3 * np.arange(6)
    waves = np.cos(x[None, :, None] - phases[:, None, None]) * np.ones((1, 1, 16))
    waves[0] = 0.0
    correlation = autocorrelation(waves)
    np.testing.assert_allclose(correlation[:5], np.cos(phases[:5]), atol=ROUND_OFF)
    assert np.isnan(correlation[5])  # its only pair has the first field
    assert np.all(np.isnan(autocorrelation(0.0 * waves)))


def test_statistics_that_rest_leaves_undefined_are_none():
    def at_rest_first(number):
        made = trajectory(number)
        return replace(
            made, vorticity=made.vorticity * (np.arange(4) == 3)[:, None, None]
        )

    made = ensemble_statistics(ENSEMBLE, at_rest_first)
    json.dumps(made, allow_nan=False)
    assert made["correlation_of_successive_snapshots"] is None
    assert made["decorrelation_in_turnover_times"] is None
    # One trajectory in motion is enough.
    others = ensemble_statistics(
        ENSEMBLE, lambda i: trajectory(i) if i == 1 else at_rest_first(i)
    )
    assert others["correlation_of_successive_snapshots"] == pytest.approx(
        autocorrelation(trajectory(1).vorticity)[1], rel=ROUND_OFF
    )


def test_every_trajectory_has_its_energy_history(statistics):
    pairs = [(row["split"], row["trajectory"]) for row in statistics["energy_history"]]
    assert pairs == [
        ("train", 0),
        ("train", 1),
        ("train", 2),
        ("validation", 100_000),
        ("test", 200_000),
    ]


def test_interval_and_correlation_have_their_definitions(statistics):
    sampled = [trajectory(i).history[8:, 2] for i in range(3)]
    rates = [np.sqrt(2.0 * enstrophy.mean()) for enstrophy in sampled]
    expected = 0.5 * np.mean(rates)
    assert statistics["interval_in_turnover_times"] == pytest.approx(expected)
    # Noise loses its correlation within the first interval.
    ratio = statistics["decorrelation_in_turnover_times"] / expected
    assert 0.5 < ratio < 0.75
    # Independent noise of 384 points: correlations of about 384^-1/2 each.
    assert abs(statistics["correlation_of_successive_snapshots"]) < 0.1


def test_a_single_snapshot_has_no_correlation():
    def load(number):
        loaded = trajectory(number)
        return replace(loaded, **{name: getattr(loaded, name)[:1] for name in FIELDS})

    single = ensemble_statistics(replace(ENSEMBLE, num_snapshots=1), load)
    assert single["correlation_of_successive_snapshots"] is None


def test_statistics_are_strict_json_and_name_config_and_conventions(statistics):
    restored = json.loads(json.dumps(statistics, allow_nan=False))
    assert restored == statistics
    assert statistics["pi_convention"] == "rhs_add"
    assert "axis 0 is x" in statistics["conventions"]["axes"]
    assert statistics["config_hash"] == config_hash(ENSEMBLE)
    assert statistics["config"]["flow"]["num_points"] == [32, 48]
    assert statistics["versions"]["turbulence_data"] == package_version()


def example(**changes):
    return {"a": np.float32([1, 2]), "b": np.int64(3)} | changes


@pytest.mark.parametrize(
    "other",
    [
        [example(b=np.int64(4))],
        [example(b=np.int32(3))],
        [example(a=np.float32([2, 1]))],
        [example(a=np.float32([[1, 2]]))],
        [example(a=np.nextafter(np.float32([1, 2]), np.float32(9)))],
        [example(), example()],
        [{"a": np.float32([1, 2]), "c": np.int64(3)}],
        [],
    ],
    ids=str,
)
def test_the_content_hash_sees_every_change(other):
    assert content_hash(other) != content_hash([example()])


def test_the_content_hash_knows_the_order_of_examples_but_not_of_features():
    first, second = example(), example(b=np.int64(4))
    assert content_hash([first, second]) != content_hash([second, first])
    turned = dict(reversed(first.items()))
    assert content_hash([turned]) == content_hash([first])


def test_plain_numbers_hash_as_their_widest_type():
    assert content_hash([example(b=3)]) == content_hash([example()])
