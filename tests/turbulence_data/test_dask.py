"""Dask gives the same content as one process, also when a worker dies."""

import os
import signal

import pytest
from dask.distributed import Client, LocalCluster

from turbulence_data import (
    Builder,
    EnsembleConfig,
    FlowConfig,
    TrajectoryFailedError,
    TurbulenceConfig,
)
from turbulence_data.generation import InProcessExecutor, process_pool
from turbulence_data.generation._pool import run_trajectories

ENSEMBLE = EnsembleConfig(
    flow=FlowConfig((32, 48), reynolds=100.0),
    num_points_les=(16, 24),
    num_trajectories=(3, 1, 1),
    num_snapshots=3,
    spin_up=0.2,
    interval=0.05,
    time_step=0.01,
    extra_fields=("velocity", "tau", "sigma"),
)


@pytest.fixture(scope="module")
def client():
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=":0"
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


def content(data_dir, executor):
    config = TurbulenceConfig(name="tiny", ensemble=ENSEMBLE)
    builder = Builder(config=config, data_dir=data_dir, executor=executor)
    builder.download_and_prepare()
    metadata = dict(builder.info.metadata)
    return {key: value for key, value in metadata.items() if key != "versions"}


def die(ensemble, trajectory_id):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_the_same_content_from_one_process_two_and_dask_and_again(client, tmp_path):
    expected = content(tmp_path / "one", InProcessExecutor())
    with process_pool(2) as pool:
        assert content(tmp_path / "pool", pool) == expected
    assert content(tmp_path / "dask", client.get_executor()) == expected
    assert content(tmp_path / "again", client.get_executor()) == expected


@pytest.mark.slow
def test_work_that_kills_every_worker_ends_with_its_number(client):
    with (
        client.get_executor() as executor,
        pytest.raises(
            TrajectoryFailedError, match="trajectory 7 failed with KilledWorker"
        ),
    ):
        list(run_trajectories(ENSEMBLE, [7], executor, die))
