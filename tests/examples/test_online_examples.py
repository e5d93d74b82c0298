"""The online examples on tiny flows: every stage runs, and what they write is whole."""

import json
import sys
from importlib import import_module
from pathlib import Path

import keras
import pytest

import keras_spectral_tl as kst

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
MODULES = ("solver_in_the_loop", "online_les", "online_figures", "quickstart")
FIGURES = {
    *("energy_spectra", "enstrophy_spectra", "transfer", "vorticity_pdf"),
    *("correlation", "energy", "enstrophy"),
}


def small_network(data, seed):
    keras.utils.set_random_seed(seed)
    model = kst.build_sgs_cnn(data[0].shape[1:], num_layers=2, num_filters=4)
    model.compile("adam", "mse")
    model.fit(*data, verbose=0)
    return model


@pytest.fixture
def examples(monkeypatch):
    """The modules, with flows and numbers that take seconds."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    for name in MODULES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    loop, online, quickstart = map(import_module, (MODULES[0], MODULES[1], MODULES[3]))
    monkeypatch.setattr(quickstart, "NUM_TARGET", 4)
    monkeypatch.setattr(quickstart, "train_base", small_network)
    monkeypatch.setattr(quickstart, "RETRAIN", {"epochs": 1, "batch_size": 4})
    case = ("tiny_forced_re2e2_kf8", "tiny_forced_re2e2_kf4")
    monkeypatch.setitem(online.CASES, "forcing", case)
    monkeypatch.setattr(online, "FEWEST_SNAPSHOTS", 5)
    monkeypatch.setattr(loop, "NUM_TRAJECTORIES", 1)
    monkeypatch.setattr(loop, "NUM_SNAPSHOTS", 12)
    monkeypatch.setattr(loop, "EPOCHS", 1)
    yield online, loop
    for name in MODULES:
        sys.modules.pop(name, None)


def test_the_table_of_closures_and_training_through_the_solver(
    examples, tmp_path, monkeypatch, capsys
):
    online, loop = examples
    arguments = ["", "--data-dir", str(tmp_path), "--out", str(tmp_path / "out")]
    arguments += ["--members", "2", "--turnovers", "1"]
    monkeypatch.setattr(sys, "argv", [*arguments, "--seeds", "0", "1"])
    online.main()
    out = tmp_path / "out" / "forcing"
    summary = json.loads((out / "summary.json").read_text())
    rows = summary["rows"]
    names = [row["closure"] for row in rows]
    assert {"base", "gain only", "retrained", "scratch"} < set(names)
    assert set(online.CLASSIC) < set(names)
    assert all(set(online.TABLE) <= set(row) for row in rows)
    assert all(0.0 <= row["stable"] <= 1.0 for row in rows)
    clipped = rows[names.index("retrained, clipped")]["definition"]
    assert clipped.startswith("ClippedBackscatter(")
    assert {figure.stem for figure in out.glob("*.png")} == FIGURES
    shown = kst.Study.read(out)
    assert [row["closure"] for row in shown.a_posteriori] == names
    assert not any("definition" in row for row in shown.a_posteriori)
    assert shown.provenance["closures"]["retrained, clipped"] == clipped
    assert "Jansen-Held" in (out / "report.html").read_text()
    printed = capsys.readouterr().out
    (head,) = [line for line in printed.splitlines() if line.startswith("| closure")]
    assert [cell.strip() for cell in head[2:-1].split("|")] == list(online.SHORT)
    assert len(head) <= 120
    table = (out / "table.md").read_text()
    assert f"retrained, clipped: {clipped}" in table
    by_seed = [summary["rows_by_seed"][seed][0]["CC"] for seed in ("0", "1")]
    assert rows[0]["CC"] == pytest.approx(sum(by_seed) / 2)
    spread = abs(by_seed[0] - by_seed[1]) / 2**0.5
    assert summary["deviations_over_seeds"][0]["CC"] == pytest.approx(spread)
    assert summary["uncertainties"][0]["CC"] == pytest.approx(spread)
    assert summary["uncertainties"][0]["energy"] > 0.0

    monkeypatch.setattr(sys, "argv", [*arguments, "--steps", "1"])
    loop.main()
    rows = json.loads((out / "in_the_loop" / "summary.json").read_text())["rows"]
    found = {row["closure"]: row["error after 8 steps"] for row in rows}
    assert 0.0 < found["n = 1"] < 1.0
    assert found["n = 1"] != found["retrained"]
