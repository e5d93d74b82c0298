"""The commands of both packages together: a dataset by its name, and as a file."""

import keras
import numpy as np
import pytest
import tensorflow_datasets as tfds

import keras_spectral_tl as kst
import turbulence_data
from keras_spectral_tl.commands.samples import read_samples
from turbulence_data.commands import main as data_main

FLOW = "tiny_forced_re2e2_kf4"
NAME = f"turbulence_data/{FLOW}"


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("data"))
    arguments = ["generate", FLOW, "--data-dir", folder, "--processes", "1"]
    assert data_main(arguments) == 0
    return folder


def test_a_name_gives_the_arrays_of_the_package(data_dir):
    examples = list(tfds.as_numpy(tfds.load(NAME, split="train", data_dir=data_dir)))
    for number in (None, 5):
        found = read_samples(NAME, data_dir, number).data
        chosen = examples if number is None else turbulence_data.few_shot(examples, 5)
        for array, expected in zip(
            (found.x, found.y), turbulence_data.to_arrays(chosen), strict=True
        ):
            np.testing.assert_array_equal(array, expected)
    assert len(read_samples(f"{NAME}@test", data_dir).data) == 8


def test_an_exported_file_gives_the_same(data_dir, tmp_path):
    path = tmp_path / "train.npz"
    export = ["export", FLOW, str(path), "--data-dir", data_dir, "--splits", "train"]
    assert data_main(export) == 0
    named, filed = read_samples(NAME, data_dir), read_samples(str(path))
    assert named.data.fingerprint() == filed.data.fingerprint()


def test_names_that_lead_nowhere_say_where_one_looked(data_dir):
    with pytest.raises(FileNotFoundError, match=r"kf8.*--data-dir"):
        read_samples("turbulence_data/tiny_forced_re2e2_kf8", data_dir)
    with pytest.raises(KeyError, match="it has train, validation, test"):
        read_samples(f"{NAME}@training", data_dir)
    with pytest.raises(ValueError, match="unknown config"):
        read_samples("turbulence_data/none", data_dir)
    with pytest.raises(ValueError, match="knows no dataset"):
        read_samples("no_such_dataset/config", data_dir)
    with pytest.raises(ValueError, match="more than the 32"):
        read_samples(NAME, data_dir, 33)


def test_a_network_is_retrained_on_a_dataset(data_dir, tmp_path):
    from keras_spectral_tl.commands import main

    keras.utils.set_random_seed(0)
    model = kst.build_sgs_cnn((32, 32, 2), num_layers=2, num_filters=2)
    model.save(tmp_path / "base.keras")
    data = ["--target", NAME, "--num-samples", "4", "--data-dir", data_dir]
    arguments = [str(tmp_path / "base.keras"), *data, "--test", f"{NAME}@test"]
    how = ["--layers", "conv_1", "--epochs", "1", "--out", str(tmp_path / "run")]
    assert main(["retrain", *arguments, *how]) == 0
    study = kst.Study.read(tmp_path / "run")
    assert study.retraining["changed"] == ["conv_1"]
    assert [row["samples"] for row in study.a_priori] == [8, 8]
    assert study.provenance["retrain"]["target"] == NAME
