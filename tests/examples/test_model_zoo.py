"""The networks shipped are those whose figures are written beside them, and small."""

import sys
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_spectral_tl as kst
from keras_spectral_tl.metrics import pattern_correlation

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
LARGEST = 5_000_000  # bytes of a file


@pytest.fixture(scope="module")
def zoo():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXAMPLES))
        import model_zoo

        yield model_zoo
        ours = "model_zoo", "full_scale"
        for name in [n for n in sys.modules if n.split(".")[0] in ours]:
            sys.modules.pop(name)


def test_there_are_entries_and_they_are_small(zoo):
    assert zoo.entry_names()
    files = (EXAMPLES / "model_zoo").rglob("*.npz")
    assert max(file.stat().st_size for file in files) < LARGEST


def test_every_network_has_the_figures_it_was_packed_with(zoo):
    for name in zoo.entry_names():
        entry = zoo.load(name)
        x, y = entry.test
        found = pattern_correlation(y, entry.model.predict(x, verbose=0))
        recorded = entry.provenance["figures"]["on_packed_test_samples"]["cc"]
        # Single precision, in another order on another machine or backend.
        assert found == pytest.approx(recorded, abs=1e-4)
        assert entry.model.count_params() == entry.provenance["num_parameters"]
        assert entry.provenance["figures"]["on_base"]["cc"] > 0.8


def test_a_measured_sweep_names_every_layer_and_its_controls(zoo):
    entry = zoo.load("full_k25_to_k4")
    layers = {f"conv_{number}" for number in range(1, 12)}
    assert set(entry.sweep) == {"own", "base"}
    for rows in entry.sweep.values():
        assert set(rows) == layers | {"unchanged", "all layers", "from scratch"}
    own = entry.sweep["own"]
    assert max(layers, key=lambda name: own[name]["cc"]) == "conv_2"
    # That of 12 of the 60 test samples is near.
    x, y = entry.test
    found = pattern_correlation(y, entry.model.predict(x, batch_size=4, verbose=0))
    assert found == pytest.approx(own["unchanged"]["cc"], abs=0.03)


def test_an_entry_can_be_retrained_at_once(zoo):
    entry = zoo.load("mini_k25_to_k4")
    few = tuple(part[:4] for part in entry.target)
    result = kst.retrain(entry.model, few, "conv_2", epochs=2)
    assert result.changed == ("conv_2",)
    losses = result.history["loss"]
    assert losses[-1] < losses[0]
    moments = [float(np.std(part)) for part in entry.target]
    np.testing.assert_allclose(moments, 1.0, atol=0.01)  # by its own statistics


def test_the_example_says_what_it_measures(zoo, tmp_path, capsys, monkeypatch):
    """With a small network in the place of the full-scale one."""
    import full_scale

    entry = zoo.load("mini_k25_to_k4")
    keras.utils.set_random_seed(0)
    small = {
        "model": kst.build_sgs_cnn((16, 16, 2), num_layers=2, num_filters=2),
        "sweep": {"own": {"conv_2": {"cc": 0.625}, "all layers": {"cc": 0.75}}},
    }
    for part in ("base", "target", "test"):
        small[part] = tuple(one[:4, :16, :16] for one in getattr(entry, part))
    network, (x, y) = small["model"], small["test"]
    monkeypatch.setattr(full_scale, "load", lambda name: replace(entry, **small))
    command = ["--arms", "conv_2", "all layers", "--steps", "4"]
    full_scale.main([*command, "--out", str(tmp_path)])
    said = capsys.readouterr().out
    found = pattern_correlation(y, network.predict(x, verbose=0))
    assert f"measured, unchanged: {found:.3f}" in said
    assert "swept 0.625" in said and "swept 0.750" in said
    assert {path.name for path in tmp_path.iterdir()} == {"forecast.png", "fields.png"}
    small["sweep"] = {}  # as in an entry without one
    full_scale.main(["--arms", "conv_2", "--steps", "2", "--out", str(tmp_path)])
    assert "the sweep of the entry" not in capsys.readouterr().out
