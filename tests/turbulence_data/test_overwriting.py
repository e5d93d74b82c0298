"""Whoever writes over a dataset that is there does it alone."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import tensorflow_datasets as tfds

from turbulence_data import Builder, EnsembleConfig, FlowConfig, TurbulenceConfig
from turbulence_data._files import exclusive_lock
from turbulence_data.generation import InProcessExecutor

TINY = EnsembleConfig(
    flow=FlowConfig(32, reynolds=100.0),
    num_points_les=16,
    num_trajectories=(1, 1, 1),
    num_snapshots=2,
    spin_up=0.1,
    interval=0.05,
    time_step=0.01,
)
OVERWRITE = tfds.download.DownloadConfig(
    download_mode=tfds.GenerateMode.REUSE_CACHE_IF_EXISTS
)


class Counting(InProcessExecutor):
    """Counts trajectories; the lock file must be there while one is made."""

    def __init__(self, lock):
        self.lock, self.count = lock, 0

    def submit(self, fn, /, *args, **kwargs):
        assert self.lock.exists()
        self.count += 1
        return super().submit(fn, *args, **kwargs)


@pytest.fixture
def make(tmp_path):
    lock = tmp_path / "turbulence_data" / "tiny" / ".lock"

    def builder(ensemble=TINY):
        config = TurbulenceConfig(name="tiny", ensemble=ensemble)
        executor = Counting(lock)
        made = Builder(config=config, data_dir=tmp_path, executor=executor)
        return made, executor, lock

    return builder


def test_it_holds_the_lock_and_ends_with_the_same_content(make):
    first, executor, _ = make()
    first.download_and_prepare()
    first.download_and_prepare(file_format="array_record")
    content = first.info.metadata["content_sha256"]
    len(first.as_data_source("train"))  # reads the other format
    first.download_and_prepare(download_config=OVERWRITE)
    assert executor.count == 6
    for reader in (first, make()[0]):
        assert reader.info.metadata["content_sha256"] == content
        assert len(reader.as_data_source("train")) == 2
        assert len(list(reader.as_dataset(split="train"))) == 2


def test_it_waits_for_whoever_holds_the_lock(make):
    make()[0].download_and_prepare(file_format="array_record")
    other, executor, lock = make()
    with ThreadPoolExecutor(1) as threads:
        with exclusive_lock(lock, "reading in peace"):
            waiting = threads.submit(
                other.download_and_prepare, download_config=OVERWRITE
            )
            with pytest.raises(TimeoutError):
                waiting.result(timeout=0.5)
            assert executor.count == 0
            assert len(make()[0].as_data_source("train")) == 2  # still all there
        waiting.result()
    assert executor.count == 3


def test_data_that_are_there_are_used_without_waiting(make):
    make()[0].download_and_prepare()
    reader, executor, lock = make()
    with exclusive_lock(lock, "writing"):
        reader.download_and_prepare()
    assert executor.count == 0


def test_data_of_another_ensemble_are_never_written_over(make):
    make()[0].download_and_prepare()
    with pytest.raises(ValueError, match=r"another ensemble .*seed=8"):
        make(replace(TINY, seed=8))
