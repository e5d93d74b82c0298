"""Files that are whole or absent, checksums, and plain values."""

import hashlib
import json

import numpy as np
import pytest

from keras_spectral_tl import _files

pytestmark = pytest.mark.once


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = _files.write_json(tmp_path / "one.json", {"a": 1})

    def full(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_files.pathlib.Path, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        _files.write_json(path, {"a": 2})
    assert [file.name for file in tmp_path.iterdir()] == ["one.json"]
    assert json.loads(path.read_text()) == {"a": 1}


def test_a_folder_that_is_not_there_is_made(tmp_path):
    path = _files.write_json(tmp_path / "runs" / "today" / "one.json", {"a": 1})
    assert json.loads(path.read_text()) == {"a": 1}


def test_json_has_no_nan(tmp_path):
    path = _files.write_json(tmp_path / "one.json", {"a": [np.nan, np.inf, 1.0]})
    assert json.loads(path.read_text()) == {"a": [None, None, 1.0]}


def test_an_interrupted_block_leaves_nothing(tmp_path):
    with (
        pytest.raises(KeyboardInterrupt),
        _files.replacing(tmp_path / "model.keras") as partial,
    ):
        assert partial.suffix == ".keras"
        partial.write_text("half")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_sha256_of_a_file_is_that_of_its_bytes(tmp_path):
    path = _files.write_bytes(tmp_path / "x", b"abc" * 10**5)
    assert _files.sha256(path) == hashlib.sha256(b"abc" * 10**5).hexdigest()


def test_arrays_of_equal_bytes_have_different_hashes():
    zeros = np.zeros(4, "float32")
    others = [zeros.reshape(2, 2), zeros.astype("int32"), np.zeros(2, "float64")]
    hashes = {_files.sha256_of_arrays([array]) for array in (zeros, *others)}
    assert len(hashes) == 4
    transposed = np.arange(6.0).reshape(2, 3).T
    copied = _files.sha256_of_arrays([transposed.copy()])
    assert _files.sha256_of_arrays([transposed]) == copied
