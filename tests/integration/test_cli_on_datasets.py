"""The commands of both packages together: a dataset by its name, and as a file."""

import keras
import numpy as np
import pytest
import tensorflow_datasets as tfds

import keras_spectral_tl as kst
import turbulence_data
from keras_spectral_tl.__main__ import main
from keras_spectral_tl.cli._samples import read_samples
from turbulence_data.__main__ import main as data_main
from turbulence_data.generation import InProcessExecutor

FLOW = "tiny_forced_re2e2_kf4"
NAME = f"turbulence_data/{FLOW}"
ALL = ["--mix-splits", "train", "validation", "test"]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("data"))
    arguments = ["generate", FLOW, "--data-dir", folder, "--processes", "1"]
    assert data_main(arguments) == 0
    return folder


def test_a_name_gives_the_arrays_of_the_package(data_dir):
    examples = list(tfds.as_numpy(tfds.load(NAME, split="train", data_dir=data_dir)))
    for number in (None, 5):
        found, channels = read_samples(NAME, data_dir, number)
        chosen = examples if number is None else turbulence_data.few_shot(examples, 5)
        for array, expected in zip(
            (found.x, found.y), turbulence_data.to_arrays(chosen), strict=True
        ):
            np.testing.assert_array_equal(array, expected)
        trajectories = turbulence_data.to_arrays(chosen).groups
        np.testing.assert_array_equal(found.groups, trajectories)
        assert len(set(trajectories)) == 4
        assert channels == {"x": ["streamfunction", "vorticity"], "y": ["sgs_forcing"]}
    assert len(read_samples(f"{NAME}@test", data_dir)[0]) == 8


def test_channels_of_two_layers_have_the_order_of_the_package(tmp_path):
    """TFDS sorts names, so that lower layers and potential vorticity came first."""
    day = 86_400.0
    ensemble = turbulence_data.EnsembleConfig(
        turbulence_data.TwoLayerConfig(16, 50e3, beta=1e-11, bottom_drag=1e-7),
        8,
        num_trajectories=(1, 1, 1),
        num_snapshots=2,
        spin_up=day,
        interval=day,
        start=turbulence_data.RandomPotentialVorticity(peak_mode=2.0),
        operator="operator_2",
    )
    config = turbulence_data.TurbulenceConfig(name="own_layers", ensemble=ensemble)
    builder = turbulence_data.Builder(
        config=config, data_dir=tmp_path, executor=InProcessExecutor()
    )
    builder.download_and_prepare()
    examples = list(tfds.as_numpy(builder.as_dataset(split="train")))
    found, channels = read_samples("turbulence_data/own_layers", str(tmp_path))
    for array, expected in zip(
        (found.x, found.y), turbulence_data.to_arrays(examples), strict=True
    ):
        np.testing.assert_array_equal(array, expected)
    assert channels["x"][::3] == ["streamfunction_upper", "potential_vorticity_lower"]
    assert channels["y"] == ["sgs_forcing_upper", "sgs_forcing_lower"]
    path = tmp_path / "train.zarr"
    export = ["export", "own_layers", str(path), "--data-dir", str(tmp_path)]
    assert data_main(export) == 0
    filed, of_file = read_samples(str(path))
    assert (filed.fingerprint(), of_file) == (found.fingerprint(), channels)
    opened = tfds.builder("turbulence_data/own_layers", data_dir=tmp_path)
    assert opened.info.supervised_keys == builder.info.supervised_keys


@pytest.mark.parametrize("ending", ["npz", "zarr"])
def test_an_exported_file_gives_the_same(ending, data_dir, tmp_path):
    path = tmp_path / f"all.{ending}"
    assert data_main(["export", FLOW, str(path), "--data-dir", data_dir, *ALL]) == 0
    for split in ("train", "validation", "test"):
        named = read_samples(f"{NAME}@{split}", data_dir)
        filed = read_samples(f"{path}@{split}")
        assert named[0].fingerprint() == filed[0].fingerprint()
        assert named[1] == filed[1]
        np.testing.assert_array_equal(named[0].groups, filed[0].groups)
        assert (named[0].groups is None) == (split != "train")  # of one trajectory
    assert len(read_samples(str(path))[0]) == 32 + 8 + 8
    with pytest.raises(KeyError, match="it has train, validation, test"):
        read_samples(f"{path}@none")


@pytest.mark.parametrize("ending", ["npz", "zarr"])
def test_what_one_program_exports_the_other_scores(ending, data_dir, tmp_path, capsys):
    keras.utils.set_random_seed(0)
    model = kst.build_sgs_cnn((32, 32, 2), num_layers=2, num_filters=2)
    model.save(tmp_path / "base.keras")
    path = tmp_path / f"data.{ending}"
    assert data_main(["export", FLOW, str(path), "--data-dir", data_dir, *ALL]) == 0
    data = ["--base", f"{path}@train", "--target", f"{path}@validation"]
    out = ["--out", str(tmp_path / "run")]
    assert main(["score", str(tmp_path / "base.keras"), *data, *out]) in (0, 1)
    assert "base network: CC" in capsys.readouterr().out
    systems = kst.Study.read(tmp_path / "run").systems
    assert systems["target"]["num_samples"] == 8
    assert systems["target"]["channels"]["x"] == ["streamfunction", "vorticity"]


def test_coordinates_are_not_taken_for_samples(tmp_path):
    """A file of xarray that says nothing of inputs and outputs."""
    xarray = pytest.importorskip("xarray")
    pytest.importorskip("zarr")
    fields = {"vorticity": (("time", "x", "y"), np.zeros((3, 4, 4)))}
    points = {"x": np.arange(4.0), "y": np.arange(4.0)}
    path = tmp_path / "own.zarr"
    xarray.Dataset(fields, points).to_zarr(path, consolidated=False)
    with pytest.raises(ValueError, match=r"are coordinates.*inputs="):
        read_samples(str(path))


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
