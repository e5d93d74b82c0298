"""What is stored comes back bit for bit, or is seen to be damaged."""

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest

from turbulence_data import _files
from turbulence_data._files import DamagedFileError
from turbulence_data.config import FlowConfig
from turbulence_data.generation._ensemble import (
    EnsembleConfig,
    config_hash,
    plain_config,
)
from turbulence_data.generation._records import FIELDS, SCALARS
from turbulence_data.generation._store import TrajectoryStore
from turbulence_data.generation._trajectory import (
    Trajectory,
    examples_of,
    sample_trajectory,
)
from turbulence_data.solver._forcing import RingForcing
from turbulence_data.solver._initial_conditions import RandomVorticity
from turbulence_data.solver._schemes import etdrk4

ENSEMBLE = EnsembleConfig(
    flow=FlowConfig((32, 48), reynolds=math.inf, forcing_wavenumber=None),
    num_points_les=(16, 24),
    num_trajectories=(2, 1, 1),
    num_snapshots=3,
    spin_up=1.0,
    interval=0.1,
    time_step=0.01,
)


def trajectory(number, seed=0):
    rng = np.random.default_rng([seed, number])
    fields = rng.standard_normal((3, 3, 16, 24)).astype(np.float32)
    return Trajectory(
        number, 1.0 + 0.1 * np.arange(3), *fields, history=rng.random((5, 4))
    )


@pytest.fixture
def store(tmp_path):
    return TrajectoryStore(tmp_path, ENSEMBLE)


def test_a_trajectory_comes_back_bit_for_bit(store):
    saved = trajectory(100_000)
    store.save(saved)
    loaded = store.load(100_000)
    assert loaded.trajectory_id == 100_000
    for name in ("times", "vorticity", "streamfunction", "sgs_forcing", "history"):
        before, after = getattr(saved, name), getattr(loaded, name)
        assert after.dtype == before.dtype
        assert after.shape == before.shape
        assert after.tobytes() == before.tobytes()


def train_examples(store):
    ensemble = store.ensemble
    return [
        example
        for number in ensemble.trajectory_ids("train")
        for example in examples_of(ensemble, store.load(number))
    ]


def test_extra_fields_come_back_and_are_part_of_the_examples(tmp_path):
    store = TrajectoryStore(tmp_path, replace(ENSEMBLE, extra_fields=("sigma",)))
    sigma = np.random.default_rng(3).random((3, 16, 24, 2)).astype(np.float32)
    saved = replace(trajectory(0), extra_fields={"sigma": sigma})
    store.save(saved)
    assert store.load(0).extra_fields["sigma"].tobytes() == sigma.tobytes()
    store.save(replace(saved, trajectory_id=1))
    examples = train_examples(store)
    assert set(examples[0]) == {*FIELDS, *SCALARS, "sigma"}
    assert examples[4]["sigma"].tobytes() == sigma[1].tobytes()


def test_missing_lists_what_is_not_there_in_order(store):
    store.save(trajectory(1))
    assert store.missing([0, 1, 2]) == [0, 2]


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-1],
        lambda content: content[: len(content) // 2],
        lambda content: b"",
        lambda content: content[:200] + bytes([content[200] ^ 1]) + content[201:],
        lambda content: content[:-5] + bytes([content[-5] ^ 1]) + content[-4:],
        lambda content: b"\0" * len(content),
    ],
)
def test_damage_is_seen_and_the_trajectory_asked_for_again(store, damage):
    store.save(trajectory(0))
    path = store.path(0)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DamagedFileError, match="trajectory-000000"):
        store.load(0)
    assert store.missing([0]) == [0]
    store.save(trajectory(0))
    assert store.missing([0]) == []


def test_a_file_of_another_trajectory_or_ensemble_is_refused(store, tmp_path):
    store.save(trajectory(0))
    store.path(0).rename(store.path(1))
    with pytest.raises(DamagedFileError, match=r"holds .*/0, not .*/1"):
        store.load(1)
    other = TrajectoryStore(tmp_path, replace(ENSEMBLE, seed=1))
    assert other.directory != store.directory
    other.directory.mkdir()
    store.path(1).rename(other.path(0))
    assert other.missing([0]) == [0]


@pytest.mark.parametrize("name", [*FIELDS, "history"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_never_reach_the_disk(store, name, value):
    bad = trajectory(3)
    getattr(bad, name).flat[-1] = value
    with pytest.raises(ValueError, match=f"trajectory 3 has values in {name}"):
        store.save(bad)
    assert not store.directory.exists()


def test_a_trajectory_that_has_decayed_to_rest_is_refused_by_its_number(tmp_path):
    """The largest scale decays as exp(-6 t): by 1e-78 at time 30."""
    flow = FlowConfig(32, 1.0, linear_drag=5.0, forcing_wavenumber=None)
    decaying = replace(ENSEMBLE, flow=flow, spin_up=30.0, interval=30.0, time_step=None)
    store = TrajectoryStore(tmp_path, decaying)
    with pytest.raises(ValueError, match=r"trajectory 1 is at rest.*Shorten spin_up"):
        store.save(sample_trajectory(decaying, 1))
    assert store.missing([1]) == [1]


def test_a_write_that_is_interrupted_leaves_nothing(store, monkeypatch):
    def interrupted(*paths):
        raise KeyboardInterrupt

    monkeypatch.setattr(_files.os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        store.save(trajectory(0))
    assert list(store.directory.iterdir()) == []


def test_examples_are_ordered_and_typed(store):
    for number in ENSEMBLE.trajectory_ids("train"):
        store.save(trajectory(number))
    examples = train_examples(store)
    assert [(int(e["trajectory"]), round(float(e["time"]), 12)) for e in examples] == [
        (number, time) for number in (0, 1) for time in (1.0, 1.1, 1.2)
    ]
    for example in examples:
        assert set(example) == {*FIELDS, *SCALARS}
        assert all(example[name].dtype == np.float32 for name in FIELDS)
        assert all(example[name].dtype == SCALARS[name][0] for name in SCALARS)
    assert examples[4]["vorticity"].tobytes() == trajectory(1).vorticity[1].tobytes()
    assert examples[0]["reynolds"] == math.inf
    assert examples[0]["forcing_wavenumber"] == 0
    assert examples[0]["filter_width"] == ENSEMBLE.width


def test_remove_deletes_everything_and_may_be_repeated(store, tmp_path):
    store.save(trajectory(0))
    store.remove()
    store.remove()
    assert list(tmp_path.iterdir()) == []


CHANGES = [
    {"flow": replace(ENSEMBLE.flow, reynolds=1e3)},
    {"flow": replace(ENSEMBLE.flow, beta=1.0)},
    {"num_points_les": (8, 24)},
    {"num_trajectories": (2, 1, 2)},
    {"num_snapshots": 4},
    {"spin_up": 1.5},
    {"interval": 0.2},
    {"time_step": 0.02},
    {"seed": 1},
    {"filter_width": 0.3},
    {"extra_fields": ("tau",)},
    {"start": RandomVorticity(energy=0.1)},
    {"time_step": None},
    {"dtype": np.float32},
    {"scheme": etdrk4},
    {"forcing": RingForcing(3.0, 1.0, 0.1)},
    {"forcing": RingForcing(3.0, 1.0, 0.1, seed=1)},
]


@pytest.mark.parametrize(
    "change", CHANGES, ids=lambda change: f"{next(iter(change))}{CHANGES.index(change)}"
)
def test_every_part_of_the_config_changes_its_hash(change):
    assert config_hash(replace(ENSEMBLE, **change)) != config_hash(ENSEMBLE)


def test_the_same_config_has_the_same_hash_in_every_process():
    assert config_hash(replace(ENSEMBLE)) == config_hash(ENSEMBLE)
    as_numpy = replace(ENSEMBLE, spin_up=np.float64(1.0), seed=np.int64(0))
    assert config_hash(as_numpy) == config_hash(ENSEMBLE)


def test_two_start_classes_with_the_same_values_differ():
    @dataclass(frozen=True)
    class Other(RandomVorticity):
        pass

    assert config_hash(replace(ENSEMBLE, start=Other())) != config_hash(ENSEMBLE)


def test_the_plain_config_names_infinity():
    assert plain_config(ENSEMBLE)["flow"]["reynolds"] == "inf"


def test_a_config_that_is_not_data_is_refused():
    with pytest.raises(TypeError, match="received <function"):
        config_hash(replace(ENSEMBLE, start=lambda grid, rng: None))
