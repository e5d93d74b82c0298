"""What is said when a disk is full or may not be written to."""

import errno
import os

import pytest

from turbulence_data import (
    Builder,
    EnsembleConfig,
    FlowConfig,
    TurbulenceConfig,
    _files,
)
from turbulence_data._files import explain_disk_errors
from turbulence_data.generation import InProcessExecutor

TINY = EnsembleConfig(
    flow=FlowConfig(32, reynolds=100.0),
    num_points_les=16,
    num_trajectories=(2, 1, 1),
    num_snapshots=2,
    spin_up=0.1,
    interval=0.05,
    time_step=0.01,
)


def make(data_dir):
    config = TurbulenceConfig(name="tiny", ensemble=TINY)
    builder = Builder(config=config, data_dir=data_dir, executor=InProcessExecutor())
    builder.download_and_prepare()
    return builder


def test_a_full_disk_is_named_with_what_is_needed_and_the_same_call_goes_on(
    tmp_path, monkeypatch
):
    """The second of four simulations finds no space; the first is not lost."""
    places, real = [], os.fsync

    def fails_at_second(descriptor):
        places.append(descriptor)
        if len(places) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    monkeypatch.setattr(_files.os, "fsync", fails_at_second)
    with pytest.raises(OSError, match=r"tiny/1.0.0 could not be written to .*") as full:
        make(tmp_path)
    assert full.value.errno == errno.ENOSPC
    assert "No space left on device" in str(full.value)
    assert "resumes" in str(full.value)
    resumed = make(tmp_path)
    assert len(places) == 2 + 3
    alone = make(tmp_path / "alone")
    hashes = [b.info.metadata["content_sha256"] for b in (resumed, alone)]
    assert hashes[0] == hashes[1]


def test_a_file_in_the_place_of_the_directory_is_an_error_that_says_so(tmp_path):
    (tmp_path / "file").write_text("not a directory")
    with pytest.raises(NotADirectoryError, match=r"Choose a data_dir that is a direct"):
        make(tmp_path / "file")


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_a_directory_that_may_not_be_written_to_is_named(tmp_path, number):
    with (
        pytest.raises(OSError, match=rf"data could not .* {tmp_path} .*may write") as e,
        explain_disk_errors("data", tmp_path, 0),
    ):
        raise OSError(number, os.strerror(number))
    assert e.value.errno == number


def test_libraries_with_errors_of_their_own_are_understood(tmp_path):
    """What array_record raises."""
    with (
        pytest.raises(OSError, match=r"about 3 MB") as caught,
        explain_disk_errors("data", tmp_path / "not" / "there", 3_000_000),
    ):
        raise RuntimeError("write() failed: No space left on device; writing x")
    assert caught.value.errno == errno.ENOSPC


@pytest.mark.parametrize("error", [RuntimeError("other"), OSError(errno.EINTR, "x")])
def test_other_errors_pass_as_they_are(tmp_path, error):
    with (
        pytest.raises(type(error)) as caught,
        explain_disk_errors("data", tmp_path, 0),
    ):
        raise error
    assert caught.value is error
