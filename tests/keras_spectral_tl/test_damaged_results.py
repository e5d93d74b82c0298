"""Damage to results on disk is seen, a killed write leaves the old, code is refused."""

import hashlib
import json
import re

import keras
import numpy as np
import pytest

from keras_spectral_tl import transfer
from keras_spectral_tl.models import build_sgs_cnn
from keras_spectral_tl.report import Study
from keras_spectral_tl.transfer._arms import Candidate
from keras_spectral_tl.transfer._sweep_store import SweepDirectory, SweepRow

pytestmark = pytest.mark.once

CANDIDATE = Candidate(("b",), (1,))
X = np.random.default_rng(0).normal(size=(4, 8, 8, 2)).astype("float32")


def _flip(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def _cut(path, place):
    path.write_bytes(path.read_bytes()[:place])


@pytest.fixture
def rows(tmp_path):
    store = SweepDirectory(tmp_path, {"model": "x"})
    values = {"layer": "b", "cc": 0.875, "seconds": float("nan")}
    store.save(CANDIDATE, SweepRow(values, [[np.ones((3, 3), "float32")]]))
    return store


def test_every_bit_of_a_row_counts(rows):
    assert rows.load(CANDIDATE).values["cc"] == 0.875
    figures = rows.path / "row=b.json"
    place = figures.read_text().index("875")  # .975 would be a figure too
    weights = rows.path / "row=b.npz"
    whole = {path: path.read_bytes() for path in (figures, weights)}
    for path, damage, where in (
        (figures, _flip, place),
        (figures, _cut, place),
        (figures, _cut, 0),
        (weights, _flip, len(whole[weights]) // 2),
        (weights, _cut, len(whole[weights]) - 1),
    ):
        damage(path, where)
        with pytest.warns(UserWarning, match="row=b.*damaged.*retrained again"):
            assert rows.load(CANDIDATE) is None
        path.write_bytes(whole[path])
    weights.unlink()
    with pytest.warns(UserWarning, match="row=b"):
        assert rows.load(CANDIDATE) is None


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    model = build_sgs_cnn((8, 8, 2), num_layers=2, num_filters=2)
    result = transfer.retrain(model, (X, X[..., :1]), "conv_2", epochs=1)
    folder = result.save(tmp_path_factory.mktemp("saved"))
    return folder, result


def test_a_retrained_model_comes_back(saved):
    folder, result = saved
    loaded = transfer.load_retrained(folder)
    for weight, other in zip(loaded.weights, result.model.weights, strict=True):
        np.testing.assert_array_equal(weight.numpy(), other.numpy())


def test_a_study_written_beside_a_result_keeps_its_checksum(saved, tmp_path):
    _, result = saved
    place = result.save(tmp_path / "retrained")
    Study(retraining=result.to_dict()).write(tmp_path)
    transfer.load_retrained(place)
    Study(retraining=result.to_dict() | {"label": "another"}).write(tmp_path)
    with pytest.raises(ValueError, match="expected a JSON document with model_sha256"):
        transfer.load_retrained(place)


def test_a_flipped_bit_of_a_weight_is_seen(saved):
    folder, result = saved
    path = folder / "model.keras"
    whole = path.read_bytes()
    kernel = np.asarray(result.model.get_layer("conv_1").get_weights()[0])
    _flip(path, whole.index(kernel.tobytes()) + 2)
    with pytest.raises(ValueError, match=r"model\.keras is damaged.*expected SHA-256"):
        transfer.load_retrained(folder)
    path.write_bytes(whole)


def test_a_record_without_a_checksum_is_refused(saved, tmp_path):
    folder, _ = saved
    (tmp_path / "model.keras").write_bytes((folder / "model.keras").read_bytes())
    with pytest.raises(FileNotFoundError):
        transfer.load_retrained(tmp_path)
    for text in ("{}", "[]", "{"):
        (tmp_path / "retraining.json").write_text(text)
        with pytest.raises(ValueError, match=r"retraining\.json is damaged, or older"):
            transfer.load_retrained(tmp_path)


def test_what_is_no_folder_of_a_result_is_told_what_one_holds(saved, tmp_path):
    folder, _ = saved
    expected = r"Expected a folder with model\.keras and retraining\.json, .*"
    for given, what in (
        (tmp_path / "nothing", "nothing', which does not exist"),
        (tmp_path, "which lacks model.keras and retraining.json"),
        (folder / "model.keras", "model.keras', which is a file: pass its folder"),
    ):
        with pytest.raises(FileNotFoundError, match=expected + re.escape(what)):
            transfer.load_retrained(given)


def test_a_model_that_brings_code_is_refused_also_with_a_good_checksum(tmp_path):
    layer = keras.layers.Lambda(lambda x: x + 1, output_shape=(3,))
    keras.Sequential([keras.Input((3,)), layer]).save(tmp_path / "model.keras")
    digest = hashlib.sha256((tmp_path / "model.keras").read_bytes()).hexdigest()
    (tmp_path / "retraining.json").write_text(json.dumps({"model_sha256": digest}))
    with pytest.raises(ValueError, match=r"safe_mode|unsafe"):
        transfer.load_retrained(tmp_path)


def test_a_damaged_record_of_a_sweep_is_named(tmp_path):
    SweepDirectory(tmp_path, {"model": "x"})
    _cut(tmp_path / "sweep.json", 1)
    with pytest.raises(ValueError, match=r"sweep.json is damaged.*another directory"):
        SweepDirectory(tmp_path, {"model": "x"})
