"""A function of the same name and another code is told from the one that made data."""

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
import tensorflow_datasets as tfds

from turbulence_data import Builder, EnsembleConfig, FlowConfig, TurbulenceConfig
from turbulence_data.flows import NAMED_FLOWS
from turbulence_data.generation import InProcessExecutor, _store, sample_trajectory
from turbulence_data.generation._fingerprint import fingerprint
from turbulence_data.generation._store import TrajectoryStore
from turbulence_data.solver import RandomVorticity, RingForcing, SteadyForcing
from turbulence_data.solver._schemes import integrating_factor_rk4

CODE = {"amplitude": 0.5, "place": 2.5, "rate": 1.0}
"""Stands for what is written in the functions below."""


def jets(x, y):
    return CODE["amplitude"] * np.sin(2.0 * y) + 0.0 * x


def gusts(x, y, time):
    return np.sin(2.0 * y - CODE["rate"] * time)


def eddy(x, y):
    """A pair of small eddies in one place."""
    distance = (x - CODE["place"]) ** 2 + (y - 2.5) ** 2
    return (x - CODE["place"]) * np.exp(-distance / 0.2)


def waves(grid, rng):
    return CODE["amplitude"] * np.sin(grid.x) * np.cos(grid.y) + rng.random() * 0.0


def damped(equation, time_step):
    step = integrating_factor_rk4(equation, time_step)

    def advance(vorticity_hat, time):
        step(vorticity_hat, time)
        vorticity_hat *= math.exp(-0.1 * CODE["amplitude"] * time_step)

    return advance


@dataclass(frozen=True)
class Swirl:
    """A start field that is a dataclass of a user."""

    size: float = 1.0

    def __call__(self, grid, rng):
        return self.size * CODE["amplitude"] * np.cos(grid.x + grid.y)


ENSEMBLE = EnsembleConfig(
    flow=FlowConfig(32, reynolds=100.0, forcing_wavenumber=None),
    num_points_les=16,
    num_trajectories=(2, 1, 1),
    num_snapshots=2,
    spin_up=0.1,
    interval=0.05,
    time_step=0.05,
    forcing=SteadyForcing(jets),
)
PLAIN = replace(ENSEMBLE, forcing=None)
PARTS = {
    "forcing": (ENSEMBLE, "amplitude"),
    "forcing in time": (replace(PLAIN, forcing=gusts), "rate"),
    "forcing in one place": (replace(PLAIN, forcing=SteadyForcing(eddy)), "place"),
    "start": (replace(PLAIN, start=waves), "amplitude"),
    "start of a class": (replace(PLAIN, start=Swirl(2.0)), "amplitude"),
    "scheme": (replace(PLAIN, scheme=damped), "amplitude"),
}


class Killed(InProcessExecutor):
    """Makes one trajectory, then the process is killed."""

    count = 0

    def submit(self, fn, /, *args, **kwargs):
        self.count += 1
        if self.count > 1:
            raise KeyboardInterrupt
        return super().submit(fn, *args, **kwargs)


def builder(directory, ensemble=ENSEMBLE, executor=None):
    config = TurbulenceConfig(name="mine", ensemble=ensemble)
    executor = executor or InProcessExecutor()
    return Builder(config=config, data_dir=directory, executor=executor)


def change(monkeypatch, name, factor):
    monkeypatch.setitem(CODE, name, CODE[name] * factor)


@pytest.fixture
def interrupted(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        builder(tmp_path, executor=Killed()).download_and_prepare()
    store = TrajectoryStore(tmp_path / "turbulence_data" / "mine", ENSEMBLE)
    assert len(list(store.directory.glob("*.npz"))) > 1
    return tmp_path


def test_an_interrupted_run_is_not_finished_by_other_code(interrupted, monkeypatch):
    change(monkeypatch, "amplitude", 16.0)
    message = r"the forcing .*jets.* has changed.*another name.*data_dir.*delete"
    with pytest.raises(ValueError, match=message):
        builder(interrupted).download_and_prepare()
    monkeypatch.undo()
    made = builder(interrupted)
    made.download_and_prepare()
    for example in made.read("train"):
        expected = sample_trajectory(ENSEMBLE, int(example["trajectory"])).vorticity
        number = round((float(example["time"]) - 0.1) / 0.05)
        np.testing.assert_array_equal(example["vorticity"], expected[number])


def test_data_of_other_code_are_not_returned_but_can_be_read_by_name(
    tmp_path, monkeypatch
):
    builder(tmp_path).download_and_prepare()
    assert builder(tmp_path).info.initialized
    change(monkeypatch, "amplitude", 16.0)
    with pytest.raises(ValueError, match=r"the forcing .*jets.* has changed"):
        builder(tmp_path)
    by_name = Builder(config="mine", data_dir=tmp_path)
    assert by_name.info.splits["train"].num_examples == 4


@pytest.mark.parametrize("name", PARTS)
def test_every_function_of_a_user_is_compared(name, tmp_path, monkeypatch):
    """A thousandth counts; the last digits, which another machine may round, do not."""
    ensemble, changed = PARTS[name]
    store = TrajectoryStore(tmp_path, ensemble)
    store.check_code()
    for factor in (1.0, 1.0 + 1e-12):
        with monkeypatch.context() as context:
            change(context, changed, factor)
            store.check_code()
    change(monkeypatch, changed, 1.001)
    with pytest.raises(ValueError, match=f"the {name.split()[0]} of the config"):
        store.check_code()


def narrow(grid, rng):
    return np.cos(grid.y)


def test_a_start_of_another_shape_is_refused_before_anything_is_simulated(tmp_path):
    killed = Killed()
    with pytest.raises(ValueError, match=r"start field must .*\(32, 32\).*\(1, 32\)"):
        builder(tmp_path, replace(PLAIN, start=narrow), killed).download_and_prepare()
    assert killed.count == 0


def test_parts_of_the_package_have_no_fingerprint():
    """Their values and the version describe them: metadata stay as they were."""
    ring = replace(PLAIN, forcing=RingForcing(4.0, 1.0, 0.1), start=RandomVorticity())
    assert not any(map(fingerprint, [*NAMED_FLOWS.values(), PLAIN, ring]))


def test_data_made_before_there_were_fingerprints_are_read_and_finished(
    tmp_path, monkeypatch
):
    with monkeypatch.context() as before:
        before.setattr(_store, "fingerprint", lambda ensemble: {})
        with pytest.raises(KeyboardInterrupt):
            builder(tmp_path, executor=Killed()).download_and_prepare()
        builder(tmp_path).download_and_prepare()
    made = builder(tmp_path)
    assert "fingerprint" not in made.info.metadata
    made.download_and_prepare()
    assert len(list(tfds.as_numpy(made.as_dataset(split="train")))) == 4


def costly(grid, rng):
    CODE["calls"] = CODE.get("calls", 0) + 1
    if CODE["calls"] > 4:  # to compare, and for three trajectories
        raise FileNotFoundError("the file of start fields is gone")
    return np.sin(grid.x) * np.cos(grid.y) * rng.uniform(0.5, 1.5)


def test_a_start_is_not_run_again_to_open_finished_data(tmp_path, monkeypatch):
    monkeypatch.setitem(CODE, "calls", 0)
    ensemble = replace(PLAIN, start=costly, num_trajectories=(1, 1, 1))
    builder(tmp_path, ensemble).download_and_prepare()
    assert builder(tmp_path, ensemble).info.splits["train"].num_examples == 2


def until_the_last_snapshot(x, y, time):
    if time > 0.15 + 1e-9:
        raise ValueError(f"the table ends before {time}")
    return np.sin(2.0 * y) + 0.0 * x


def test_a_table_in_time_need_not_go_beyond_the_last_snapshot():
    changes = {"spin_up": 0.1, "interval": 0.05, "num_snapshots": 2}
    ensemble = replace(ENSEMBLE, forcing=until_the_last_snapshot, **changes)
    assert set(fingerprint(ensemble)) == {"forcing"}
