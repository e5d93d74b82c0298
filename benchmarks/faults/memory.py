"""A dataset larger than the memory that a process is given.

python -m faults.memory FOLDER NUM_SIMULATIONS    (by `trials`, in a process of its own)
"""

import os
import resource
import shutil
import subprocess
import sys
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from faults.trial import Trial
from turbulence_data.generation import InProcessExecutor

LIMIT = 2 << 30
NUM_POINTS, NUM_SNAPSHOTS, NUM_SIMULATIONS = 256, 100, 30
GROUP = Path("/sys/fs/cgroup/memory")


class Noise(InProcessExecutor):
    """Noise in the place of simulations, which would take an hour."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        import numpy as np

        from turbulence_data.generation._trajectory import Trajectory

        ensemble, number = args[-2:]
        rng = np.random.default_rng(number)
        shape = (NUM_SNAPSHOTS, NUM_POINTS, NUM_POINTS)
        fields = [rng.standard_normal(shape, dtype=np.float32) for _ in range(3)]
        times = ensemble.spin_up + ensemble.interval * np.arange(NUM_SNAPSHOTS)
        future: Future[Any] = Future()
        future.set_result(Trajectory(number, times, *fields, history=_history(rng)))
        return future


def _history(rng: Any) -> Any:
    from turbulence_data import EnsembleConfig
    from turbulence_data.config import FlowConfig
    from turbulence_data.generation import sample_trajectory

    tiny = EnsembleConfig(
        flow=FlowConfig(32, reynolds=100.0), num_points_les=16,
        num_trajectories=(1, 1, 1), num_snapshots=NUM_SNAPSHOTS, spin_up=0.1,
        interval=0.05, time_step=0.01,
    )  # fmt: skip
    return sample_trajectory(tiny, 0).history


def work(folder: Path, simulations: int) -> None:
    """Make, read both ways, retrain by batches; print what memory it took at most."""
    import tensorflow_datasets as tfds

    import turbulence_data as td

    ensemble = td.EnsembleConfig(
        flow=td.FlowConfig(2 * NUM_POINTS, reynolds=1e3), num_points_les=NUM_POINTS,
        num_trajectories=(simulations - 2, 1, 1), num_snapshots=NUM_SNAPSHOTS,
        spin_up=0.1, interval=0.05, time_step=0.001,
    )  # fmt: skip
    config = td.TurbulenceConfig(name="large", ensemble=ensemble)
    builder = td.Builder(config=config, data_dir=folder, executor=Noise())
    builder.download_and_prepare()
    builder.download_and_prepare(file_format="array_record")
    normalization = td.Normalization.from_metadata(builder.info.metadata)
    read_config = tfds.ReadConfig(interleave_cycle_length=1)
    dataset = builder.as_dataset(split="train", read_config=read_config)
    seen = sum(len(x) for x, _ in td.batches(dataset, 8, normalization))
    source = builder.as_data_source("train")
    few = td.few_shot(source, 16)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"\nresult {seen} {len(few)} {peak:.0f}", flush=True)


def trials(root: Path, count: int) -> list[Trial]:
    folder, group = root / "memory", GROUP / f"faults-{os.getpid()}"
    shutil.rmtree(folder, ignore_errors=True)
    command = [sys.executable, "-m", "faults.memory", str(folder), str(NUM_SIMULATIONS)]
    limited = _limit(group)
    done = subprocess.run(
        command, capture_output=True, text=True, check=False,
        preexec_fn=(lambda: (group / "tasks").write_text(str(os.getpid())))
        if limited else None,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )  # fmt: skip
    bytes_there = sum(p.stat().st_size for p in folder.rglob("*.tfrecord*"))
    shutil.rmtree(folder, ignore_errors=True)
    if limited:
        group.rmdir()
    answer = [x.split() for x in done.stdout.splitlines() if x[:6] == "result"]
    expected = ["result", str((NUM_SIMULATIONS - 2) * NUM_SNAPSHOTS), "16"]
    good = done.returncode == 0 and bool(answer) and answer[0][:3] == expected
    if not good:
        print(done.returncode, done.stdout[-300:], done.stderr[-2000:])
    memory = f"{LIMIT / 1e9:.2f} GB" if limited else "all there is"
    return [
        Trial(
            f"a dataset of {bytes_there / 1e9:.2f} GB",
            f"made, and read both ways, with {memory} of memory",
            1,
            int(good),
            f"resident at most {answer[0][3] if answer else '?'} MiB, "
            "TensorFlow included",
        )
    ]


def _limit(group: Path) -> bool:
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(LIMIT))
    except OSError as error:
        print(f"without a limit of memory: {error}")
        return False
    return True


if __name__ == "__main__":
    work(Path(sys.argv[1]), int(sys.argv[2]))
