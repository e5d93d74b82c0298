"""`python -m keras_spectral_tl` on 1-D networks, whose samples are profiles."""

import io
import json

import keras
import numpy as np
import pytest
from tqdm import tqdm

import keras_spectral_tl as kst
from keras_spectral_tl import _progress
from tests.keras_spectral_tl.common import Terminal, noise, run

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def profiles(tmp_path_factory):
    """A network of profiles and single numbers, and samples for it."""
    folder = tmp_path_factory.mktemp("profiles")
    keras.utils.set_random_seed(0)
    inputs = keras.Input((9, 2), name="profiles"), keras.Input((3,), name="scalars")
    repeated = keras.layers.RepeatVector(9)(inputs[1])
    joined = keras.layers.Concatenate()([inputs[0], repeated])
    hidden = keras.layers.Conv1D(4, 3, padding="same", name="hidden")(joined)
    network = keras.Model(inputs, keras.layers.Dense(1, name="last")(hidden))
    network.save(folder / "base.keras")
    arrays = {"x_profiles": noise(6, 9, 2), "x_scalars": noise(6, 3, seed=1)}
    np.savez(folder / "target.npz", **arrays, y=noise(6, 9, 1, seed=2))
    return folder


def test_spectra_of_activations_are_those_along_the_profiles(profiles, capsys):
    data = ["--data", profiles / "target.npz", "--normalize", "none", "--json"]
    assert run("spectra", profiles / "base.keras", *data) == 0
    captured = capsys.readouterr()
    assert "note:" not in captured.err
    found = json.loads(captured.out)["activations"]
    with np.load(profiles / "target.npz") as file:
        x = {name: file[f"x_{name}"] for name in ("profiles", "scalars")}
    model = keras.models.load_model(profiles / "base.keras")
    expected = kst.activation_spectra(model, x, rank=1).pre_activation
    assert list(found) == ["hidden", "last"]
    for name, curves in found.items():
        np.testing.assert_allclose(*curves.values(), expected[name], rtol=1e-6)


def test_named_fields_have_as_many_axes_as_the_inputs_of_the_network(tmp_path, capsys):
    zarr = pytest.importorskip("zarr")
    network = keras.Sequential([keras.Input((9, 1)), keras.layers.Conv1D(1, 3)])
    network.save(tmp_path / "base.keras")
    group = zarr.open_group(tmp_path / "fields.zarr", mode="w")
    for number, name in enumerate("uv"):  # (trajectory, time, x)
        group.create_array(name, data=noise(2, 3, 9, seed=number))
    group.attrs.update(inputs="u", outputs="v")
    data = ["--data", tmp_path / "fields.zarr", "--out", tmp_path / "run"]
    assert run("spectra", tmp_path / "base.keras", *data) == 0
    record = json.loads((tmp_path / "run" / "provenance.json").read_text())
    assert record["spectra"]["samples"]["data"]["number"] == 6


def test_what_a_network_without_spectra_lacks_is_told(tmp_path, capsys):
    network = keras.Sequential([keras.Input((9, 2)), keras.layers.Conv1D(1, 3)])
    network.add(keras.layers.Flatten())
    network.save(tmp_path / "conv.keras")
    flat = keras.Sequential([keras.Input((9, 2)), keras.layers.Dense(1)])
    flat.save(tmp_path / "dense.keras")
    np.savez(tmp_path / "target.npz", x=noise(4, 9, 2), y=noise(4, 9, 1))
    data = ["--data", tmp_path / "target.npz", "--normalize", "none"]
    assert run("spectra", tmp_path / "conv.keras", *data) == 0
    assert "note:" not in capsys.readouterr().err
    assert run("spectra", tmp_path / "dense.keras", *data) == 0
    note = "note: no spectra of kernels, which need convolutions."
    assert note in capsys.readouterr().err.splitlines()


@pytest.mark.parametrize(
    ("stream", "bars"),
    [(Terminal(), ["Retraining", "Sweep"]), (io.StringIO(), [])],
    ids=["terminal", "file"],
)
def test_bars_are_for_terminals_only(profiles, tmp_path, monkeypatch, stream, bars):
    with np.load(profiles / "target.npz") as file:
        for name, rows in {"target": slice(4), "test": slice(4, 6)}.items():
            np.savez(tmp_path / f"{name}.npz", **{k: file[k][rows] for k in file})

    def at_once(**options):
        return tqdm(**{**options, "delay": 0, "mininterval": 0, "file": stream})

    monkeypatch.setattr(_progress, "tqdm", at_once)
    monkeypatch.setattr("sys.stderr", stream)
    data = ["--target", tmp_path / "target.npz", "--test", tmp_path / "test.npz"]
    how = ["--layers", "last", "--sweep", "--normalize", "none", "--epochs", 1]
    command = ["retrain", profiles / "base.keras", *data, *how]
    assert run(*command, "--out", tmp_path / "run") == 0
    written = stream.getvalue()
    assert [name for name in ("Retraining", "Sweep") if f"{name}:" in written] == bars
    if not bars:
        assert written == ""
