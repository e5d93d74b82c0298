"""Killed at any moment, a generation goes on and ends with the same content."""

import json
import os
import random
import subprocess
import sys
from dataclasses import replace
from itertools import chain

import numpy as np
import pytest

from turbulence_data.config import FlowConfig
from turbulence_data.flows import named_flow
from turbulence_data.generation import _pool, _store
from turbulence_data.generation._ensemble import SPLITS, EnsembleConfig
from turbulence_data.generation._pool import run_trajectories
from turbulence_data.generation._statistics import content_hash
from turbulence_data.generation._store import (
    CheckpointedSampling,
    CheckpointFile,
)
from turbulence_data.generation._trajectory import (
    Progress,
    examples_of,
    sample_trajectory,
)
from turbulence_data.solver._equation import State

ENSEMBLE = EnsembleConfig(
    flow=FlowConfig(32, reynolds=100.0),
    num_points_les=16,
    num_trajectories=(2, 1, 1),
    num_snapshots=6,
    spin_up=0.4,
    coarse_spin_up=0.2,
    interval=0.05,
    time_step=0.005,
    extra_fields=("tau",),
)
DAY = 86_400.0
TWO_LAYERS = replace(
    named_flow("tiny_qg_eddy"),
    num_trajectories=(2, 1, 1),
    num_snapshots=3,
    spin_up=3 * DAY,
    interval=DAY / 2,
)
SEED = 20
# Imports once, also what a generation imports when it needs it, so that kills meet the
# generation. Then forks one process after the other and has each killed: a number is
# an operation on the disk at which it kills itself, a fraction a time in seconds after
# its start at which its parent does. Says how each of them ended and what they left.
RUNS = """
import json, os, signal, sys, time
from turbulence_data import Builder, TurbulenceConfig
from turbulence_data.generation import InProcessExecutor
from turbulence_data.generation import sample_trajectory
import tensorflow, tensorflow_datasets
sys.path.insert(0, sys.argv[1])
from killed_ensemble import ENSEMBLE
sample_trajectory(ENSEMBLE, 0)

def generate():
    Builder(
        config=TurbulenceConfig(name="tiny", ensemble=ENSEMBLE), data_dir=sys.argv[2],
        executor=InProcessExecutor(), checkpoint_seconds=0.0,
    ).download_and_prepare()

def built():
    return Builder(
        config=TurbulenceConfig(name="tiny", ensemble=ENSEMBLE), data_dir=sys.argv[2]
    )

def kill_at(operation):
    count = 0
    for name in ("fsync", "replace"):
        original = getattr(os, name)
        def counted(*arguments, original=original):
            nonlocal count
            count += 1
            if count == operation:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*arguments)
        setattr(os, name, counted)

for moment in json.loads(sys.argv[3]):
    child = os.fork()
    if child == 0:
        if isinstance(moment, int):
            kill_at(moment)
        generate()
        os._exit(0)
    if isinstance(moment, float):
        time.sleep(moment)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    files = sum(len(names) for _, _, names in os.walk(sys.argv[2]))
    code, prepared = os.waitstatus_to_exitcode(status), built().is_prepared()
    print("\\nrun", moment, code, files, prepared, flush=True)
generate()
print("\\nhash", built().info.metadata["content_sha256"])
"""

ENSEMBLE_MODULE = """
from turbulence_data.config import FlowConfig
from turbulence_data.solver._initial_conditions import RandomVorticity
from turbulence_data import EnsembleConfig, RandomPotentialVorticity, TwoLayerConfig
ENSEMBLE = """
# Dies in trajectory 1, twice, just after a checkpoint; notes from where it starts.
DEADLY = """
import os, pathlib, signal
from turbulence_data.generation._store import CheckpointedSampling, CheckpointFile

class DeadlySampling(CheckpointedSampling):
    def __call__(self, ensemble, trajectory_id):
        if trajectory_id == 1:
            CheckpointFile.load, CheckpointFile.save = load, save
        return super().__call__(ensemble, trajectory_id)

original_load, original_save = CheckpointFile.load, CheckpointFile.save

def load(file):
    progress = original_load(file)
    with open(file.path.parent / "starts", "a") as starts:
        print(progress.num_legs if progress else 0, file=starts)
    return progress

def save(file, progress):
    original_save(file, progress)
    if "000001" in file.path.name and progress.num_legs in (5, 11):
        os.kill(os.getpid(), signal.SIGKILL)
"""


def content(trajectory):
    fields = trajectory.fields() | {"history": trajectory.history}
    return {name: values.tobytes() for name, values in fields.items()}


@pytest.fixture(scope="module")
def whole():
    return content(sample_trajectory(ENSEMBLE, 0))


def progress():
    rng = np.random.default_rng(1)
    names = ("vorticity", "streamfunction", "sgs_forcing", "tau")
    snapshots = [
        {name: rng.random((16, 16)).astype(np.float32) for name in names}
        for _ in range(2)
    ]
    state = State(rng.random((32, 11)) + 1j * rng.random((32, 11)), 0.1 + 0.2, 17)
    return Progress(5, state, [(0.1, 0.2), (0.3, 1 / 3)], snapshots)


def test_progress_comes_back_bit_for_bit(tmp_path):
    file = CheckpointFile(tmp_path / "one", ENSEMBLE, 0, every_seconds=0.0)
    assert file.load() is None
    saved = progress()
    file.save(saved)
    loaded = file.load()
    assert loaded.num_legs == 5
    assert loaded.state.time == saved.state.time
    assert loaded.state.step_number == 17
    assert loaded.state.vorticity_hat.tobytes() == saved.state.vorticity_hat.tobytes()
    assert loaded.history == saved.history
    for before, after in zip(saved.snapshots, loaded.snapshots, strict=True):
        assert before.keys() == after.keys()
        for name in before:
            assert before[name].tobytes() == after[name].tobytes()


def test_a_checkpoint_of_another_trajectory_or_ensemble_is_not_used(tmp_path, caplog):
    path = tmp_path / "one"
    CheckpointFile(path, ENSEMBLE, 0, 0.0).save(progress())
    for other in (
        CheckpointFile(path, ENSEMBLE, 1, 0.0),
        CheckpointFile(path, replace(ENSEMBLE, seed=1), 0, 0.0),
    ):
        assert other.load() is None
    assert caplog.text.count("starting a trajectory from its beginning") == 2


def test_a_damaged_checkpoint_costs_time_and_nothing_else(tmp_path, whole, caplog):
    work = CheckpointedSampling(str(tmp_path), every_seconds=0.0)
    work(ENSEMBLE, 0)
    path = work.path(0)
    path.write_bytes(path.read_bytes()[:-1])
    assert content(work(ENSEMBLE, 0)) == whole
    assert "checksum" in caplog.text


def test_checkpoints_are_apart_by_the_given_time(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(_store.time, "monotonic", lambda: now[0])
    file = CheckpointFile(tmp_path / "one", ENSEMBLE, 0, every_seconds=60.0)
    written = []
    for seconds in range(0, 200, 25):
        now[0] = float(seconds)
        file.save(replace(progress(), num_legs=seconds))
        kept = file.load()
        written.append(kept and kept.num_legs)
    assert written == [None, None, None, 75, 75, 75, 150, 150]


def test_without_the_directory_there_are_no_checkpoints(tmp_path, whole):
    work = CheckpointedSampling(str(tmp_path / "elsewhere"), every_seconds=0.0)
    assert content(work(ENSEMBLE, 0)) == whole
    assert not (tmp_path / "elsewhere").exists()


def test_a_full_disk_costs_the_checkpoint_only(tmp_path, whole, monkeypatch, caplog):
    def full(*arguments):
        raise OSError("No space left on device")

    monkeypatch.setattr(_store, "write_arrays", full)
    work = CheckpointedSampling(str(tmp_path), every_seconds=0.0)
    assert content(work(ENSEMBLE, 0)) == whole
    assert "no checkpoint: No space left on device" in caplog.text


def test_a_negative_time_between_checkpoints_is_refused():
    with pytest.raises(ValueError, match=r"every_seconds .*-1"):
        CheckpointedSampling("here", every_seconds=-1.0)


@pytest.fixture
def importable(tmp_path, monkeypatch):
    """Writes a module that other processes can import too."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(name, text):
        (tmp_path / f"{name}.py").write_text(text)

    return write


@pytest.mark.slow
@pytest.mark.parametrize("ensemble", [ENSEMBLE, TWO_LAYERS], ids=["plane", "layers"])
def test_kills_at_any_moment_end_with_the_same_content(ensemble, tmp_path, importable):
    importable("killed_ensemble", f"{ENSEMBLE_MODULE}{ensemble!r}")
    rng = random.Random(SEED)
    # Odd: before a file is flushed; even: before it gets its name.
    operations = [1, 2, 3, 4, *(rng.randrange(5, 16) for _ in range(3))]
    # Shortest first, and at first well before any machine is done.
    times = sorted(rng.uniform(0.005, 0.1) for _ in range(4))
    moments = [*operations, *times]
    data = tmp_path / "data"
    result = subprocess.run(
        [sys.executable, "-c", RUNS, tmp_path, data, json.dumps(moments)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        check=False,
    )
    assert result.returncode == 0, result.stderr
    lines = [line.split() for line in result.stdout.splitlines()]
    runs = [line for line in lines if line[:1] == ["run"]]
    codes = [run[2] for run in runs]
    # What was killed while it wrote a file has left nothing that can be loaded.
    assert [run[4] for run in runs[: len(operations)]] == ["False"] * len(operations)
    assert codes[: len(operations)] == ["-9"] * len(operations)
    assert codes[len(operations) :].count("-9") >= 1
    numbers = [n for split in SPLITS for n in ensemble.trajectory_ids(split)]
    trajectories = (sample_trajectory(ensemble, number) for number in numbers)
    examples = chain.from_iterable(examples_of(ensemble, one) for one in trajectories)
    assert lines[-1] == ["hash", content_hash(examples)]
    assert [path.name for path in (data / "turbulence_data" / "tiny").iterdir()] == [
        "1.0.0"
    ]


@pytest.mark.slow
def test_a_worker_that_dies_loses_one_checkpoint_interval(
    tmp_path, importable, monkeypatch
):
    importable("deadly_sampling", DEADLY)
    monkeypatch.setattr(_pool, "available_cores", lambda: 2)
    work = __import__("deadly_sampling").DeadlySampling(str(tmp_path), 0.0)
    made = {t.trajectory_id: t for t in run_trajectories(ENSEMBLE, [0, 1], work=work)}
    for number in (0, 1):
        assert content(made[number]) == content(sample_trajectory(ENSEMBLE, number))
    assert (tmp_path / "starts").read_text().split() == ["0", "5", "11"]
