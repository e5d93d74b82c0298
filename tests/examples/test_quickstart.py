"""The whole job on tiny flows: every stage runs, and what it writes is complete."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

import keras_spectral_tl as kst
from keras_spectral_tl.models import build_sgs_cnn

SCRIPT = Path(__file__).parent.parent.parent / "examples" / "quickstart.py"
LAYERS = [f"conv_{number}" for number in range(1, 4)]
FIGURES = {
    "activation_spectra",
    "energy_spectra",
    "fields",
    "forecast",
    "kernel_spectra",
    "predictions",
    "scores_and_sweep",
}


def small_network(shape, num_layers, num_filters):
    return build_sgs_cnn(shape, num_layers=len(LAYERS), num_filters=4)


@pytest.fixture
def quickstart(monkeypatch):
    """The example, with a network, flows and numbers of epochs that take seconds."""
    monkeypatch.syspath_prepend(SCRIPT.parent)  # as when the script is run
    spec = importlib.util.spec_from_file_location("quickstart", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "quickstart", module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "BASE", "tiny_forced_re2e2_kf8")
    monkeypatch.setattr(module, "TARGET", "tiny_forced_re2e2_kf4")
    monkeypatch.setattr(module, "NUM_TARGET", 4)
    monkeypatch.setattr(module, "BASE_EPOCHS", 2)
    monkeypatch.setattr(kst, "build_sgs_cnn", small_network)
    monkeypatch.setattr(module, "RETRAIN", {"epochs": 2, "batch_size": 4})
    return module


@pytest.mark.parametrize("how", [[], ["--quick"]])
def test_the_whole_job(how, quickstart, tmp_path, monkeypatch, capsys):
    data, out = tmp_path / "data", tmp_path / "out"
    arguments = ["quickstart.py", "--data-dir", str(data), "--out", str(out), *how]
    monkeypatch.setattr(sys, "argv", arguments)
    quickstart.main()
    summary = json.loads((out / "summary.json").read_text())

    assert list(summary["sweep"]) == LAYERS
    assert summary["best_layer"] == max(LAYERS, key=summary["sweep"].get)
    assert list(summary["scores"]) == ["held_out_retraining"]
    assert all(list(values) == LAYERS for values in summary["scores"].values())
    correlations = ["base", "target_cc_before", "all_layers", "gain_only", "scratch"]
    for name in correlations:
        value = summary[name if name.endswith("before") else f"{name}_cc"]
        assert -1.0 <= value <= 1.0
    # A gain changes no pattern; up to its sign the correlation is that of before.
    gain_only, before = summary["gain_only_cc"], summary["target_cc_before"]
    assert abs(gain_only) == pytest.approx(abs(before), abs=1e-5)
    if summary["recommended_layer"] is not None:
        chosen = summary["sweep"][summary["recommended_layer"]]
        assert summary["recommended_cc"] == chosen
        best = summary["sweep"][summary["best_layer"]]
        assert summary["regret"] == pytest.approx(best - chosen)
    stages = {"data", "base network", "scores", "forecast", "retraining", "figures"}
    assert set(summary["wall_seconds"]) == stages
    assert {path.stem for path in out.glob("*.png")} == FIGURES
    printed = capsys.readouterr().out
    assert "pattern correlation" in printed
    rows = summary["forecast"]
    measured = {"unchanged", "output gain", *LAYERS, "all layers", "from scratch"}
    assert measured <= set(rows)
    assert (measured == set(rows)) == bool(how)
    few = data / "turbulence_data" / f"{quickstart.TARGET}_3"
    assert few.exists() == bool(how)
    for label in LAYERS:
        if label != summary["forecast_best"]:
            assert rows[label]["measured"] == summary["sweep"][label]
    assert rows[summary["forecast_best"]]["measured"] is not None
    assert rows["unchanged"]["measured"] == summary["target_cc_before"]
    for label, row in rows.items():
        low, high = row["interval"]
        assert low <= row["predicted"] <= high
        assert f"{label:16}{row['predicted']:9.3f}" in printed
    study = kst.Study.read(out)
    assert study.missing == ("a_posteriori",)
    assert (out / "report.html").exists()

    # A second run finds the data.
    files = {path: path.stat().st_mtime_ns for path in data.rglob("*-of-*")}
    assert files
    quickstart.load_system(quickstart.BASE, data)
    assert files == {path: path.stat().st_mtime_ns for path in files}


def test_larger_networks_are_those_of_the_readme(monkeypatch, capsys):
    monkeypatch.syspath_prepend(SCRIPT.parent)
    from larger_networks import larger_networks, print_larger_networks

    print_larger_networks()
    printed = capsys.readouterr().out
    readme = (SCRIPT.parents[1] / "README.md").read_text()
    for title, figures in larger_networks().items():
        assert title + " " in printed
        if "k_f 16 to 4, its own" in title or title.startswith("11 layers of 64"):
            cells = [f"{cc:.3f}".removeprefix("0") for cc in figures]
            assert f"| {' | '.join(cells)} |" in readme
