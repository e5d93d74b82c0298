"""A dataset on disk: read by others, given another format, damaged, never a part."""

import os
import stat
from dataclasses import replace

import numpy as np
import pytest
import tensorflow_datasets as tfds

from turbulence_data import Builder, EnsembleConfig, FlowConfig, TurbulenceConfig
from turbulence_data._files import write_bytes
from turbulence_data.generation import InProcessExecutor, run_trajectories

TINY = EnsembleConfig(
    FlowConfig(16, 50.0),
    num_points_les=8,
    num_trajectories=(1, 1, 1),
    num_snapshots=2,
    spin_up=0.2,
    interval=0.1,
    time_step=0.02,
)


def builder(data_dir, **kwargs):
    config = TurbulenceConfig(name="tiny", ensemble=TINY)
    return Builder(
        config=config, data_dir=data_dir, executor=InProcessExecutor(), **kwargs
    )


def permissions(path):
    return stat.S_IMODE(os.stat(path).st_mode)


def test_a_format_that_is_added_leaves_others_their_right_to_read(tmp_path):
    maker = builder(tmp_path)
    maker.download_and_prepare()
    before = builder(tmp_path)  # does not know what comes
    info = before.data_path / "dataset_info.json"
    os.chmod(info, 0o640)
    builder(tmp_path, file_format="array_record").download_and_prepare()
    assert permissions(info) == 0o640
    assert len(maker.as_data_source("train")) == 2
    assert len(before.as_data_source("train")) == 2
    assert len(list(before.read("train"))) == 2
    assert before.file_formats == ["tfrecord", "array_record"]


def test_new_files_have_the_permissions_of_the_umask(tmp_path):
    old = os.umask(0o027)
    try:
        write_bytes(tmp_path / "new", b"1")
    finally:
        os.umask(old)
    assert permissions(tmp_path / "new") == 0o640
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


def test_a_part_of_the_examples_is_not_stored_under_the_name_of_all(tmp_path):
    part = tfds.download.DownloadConfig(max_examples_per_split=1)
    with pytest.raises(ValueError, match=r"split=\"train\[:1\]\""):
        builder(tmp_path).download_and_prepare(download_config=part)
    assert not builder(tmp_path).is_prepared()
    builder(tmp_path).download_and_prepare()
    builder(tmp_path).download_and_prepare(download_config=part)  # all are there


@pytest.mark.parametrize("by_name", [True, False])
@pytest.mark.parametrize("content", ["{", None])
def test_a_damaged_record_of_a_dataset_is_said_to_be_damaged(
    tmp_path, by_name, content
):
    made = builder(tmp_path)
    made.download_and_prepare()
    info = made.data_path / "dataset_info.json"
    if content is None:
        info.unlink()
    else:
        info.write_text(content)
    with pytest.raises(ValueError, match=r"dataset_info.json cannot be read.*delete"):
        if by_name:
            Builder(config="tiny", data_dir=tmp_path)
        else:
            builder(tmp_path).download_and_prepare()


def test_what_cannot_run_trajectories_is_refused(tmp_path):
    for ask in (
        lambda: Builder(config="tiny", data_dir=tmp_path, executor=3),
        lambda: list(run_trajectories(TINY, [0], executor=3)),
    ):
        with pytest.raises(TypeError, match=r"executor must be .*received 3"):
            ask()


def test_a_flow_is_made_again_from_its_metadata(tmp_path):
    flow = FlowConfig((16, 32), np.inf, lengths=(2 * np.pi, 4 * np.pi))
    config = TurbulenceConfig(name="inviscid", ensemble=replace(TINY, flow=flow))
    made = Builder(config=config, data_dir=tmp_path, executor=InProcessExecutor())
    made.download_and_prepare()
    stored = made.info.metadata["config"]["flow"]
    assert FlowConfig.from_dict(stored) == flow
