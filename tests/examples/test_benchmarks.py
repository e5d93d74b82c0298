"""The benchmark of the solver measures what it says, and refuses to compare unlikes."""

import itertools
import json
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from turbulence_data import TwoLayerConfig, evolve

BENCHMARKS = Path(__file__).parent.parent.parent / "benchmarks"

# CPU time beside the main thread's: imports and the interpreter's own threads are idle.
HIDDEN_CPU = 0.1


@pytest.fixture(scope="module")
def bench():
    """The script as a module; its folder is not a package."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        yield import_module("bench_solver")
        for path in BENCHMARKS.glob("*.py"):
            sys.modules.pop(path.stem, None)


@pytest.fixture
def own_solver(bench):
    return import_module("benchmarked_solver").OwnSolver


def run(bench, tmp_path, peer, *only):
    file = tmp_path / "results.json"
    arguments = ["--quick", "--json", str(file), "--only", *only]
    code = bench.main(arguments, peer)
    return code, json.loads(file.read_text()) if file.exists() else None


def test_a_peer_that_agrees_is_compared(bench, own_solver, tmp_path, capsys):
    only = ("costs", "agreement", "solution")
    code, results = run(bench, tmp_path, own_solver, *only)
    assert code == 0
    assert {"machine", "versions", "planner", "claims"} <= set(results)
    assert results["machine"]["cores"] >= 1
    assert [row["num_points"] for row in results["rows"]] == [32, 64]
    for row in results["rows"]:
        assert row["floor"] > 0.0
        assert row["right_hand_side_ratio"] > 0.0
        # The same solver on both sides; wide, for a machine that is busy.
        assert 0.2 < row["right_hand_side_speed_up"] < 5.0
    assert [row["end_field"] for row in results["agreement"]] == [0.0]
    (solution,) = results["time_to_solution"]
    for name in ("own", "peer"):
        assert 0.0 < solution[name]["equal_steps"]["error"] < solution["tolerance"]
        assert solution[name]["equal_steps"]["seconds"] > 0.0
    assert any(claim["claim"].startswith("agreement") for claim in results["claims"])
    printed = capsys.readouterr().out
    for heading in ("Claims", "Cost", "Agreement", "Time to solution"):
        assert f"### {heading}" in printed


def test_a_peer_with_another_answer_fails(bench, own_solver, tmp_path, capsys):
    class OffByALittle(own_solver):
        def advance(self, duration, num_steps):
            return super().advance(duration, num_steps) * (1.0 + 1e-8)

    code, results = run(bench, tmp_path, OffByALittle, "agreement")
    assert (code, results) == (1, None)
    message = capsys.readouterr().err
    assert "do not agree" in message
    assert "1e-08" in message


def test_a_peer_with_another_mask_fails(bench, own_solver, tmp_path, capsys):
    class OneModeLess(own_solver):
        def kept_modes(self):
            kept = super().kept_modes()
            kept[1, 0] = False
            return kept

    code, _ = run(bench, tmp_path, OneModeLess, "agreement")
    assert code == 1
    assert "1 modes are kept by only one" in capsys.readouterr().err


def test_without_the_peer_it_says_how_to_install_it(
    bench, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(bench, "find_spec", lambda name: None)
    code, results = run(bench, tmp_path, None, "costs", "agreement", "solution")
    assert code == 0
    assert 'pip install -e ".[bench]"' in results["peer"]
    assert results["peer"] in capsys.readouterr().out
    assert results["agreement"] == []
    assert not any("peer" in name for row in results["rows"] for name in row)


def test_the_kept_modes_are_a_square_without_its_middle(own_solver):
    case = import_module("benchmarked_solver").Case(32)
    kept = own_solver(case).kept_modes()
    number = np.abs(np.fft.fftfreq(32, 1.0 / 32))
    expected = (number[:, None] <= 10) & (number <= 10)
    expected[0, 0] = False
    np.testing.assert_array_equal(kept, expected)


def test_one_thread_means_one_thread(bench):
    (row,) = import_module("thread_pools").measure([("none", 1, "")], 1)
    assert row.get("left_out") is None
    assert row["cpu_over_main_thread"] == pytest.approx(1.0, abs=HIDDEN_CPU)


@pytest.mark.slow
def test_two_layers_are_timed_against_their_transforms(monkeypatch, tmp_path, capsys):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    bench_layers = import_module("bench_layers")
    file = tmp_path / "layers.json"
    arguments = ["--quick", "--sizes", "16", "32", "--json", str(file)]
    assert bench_layers.main(arguments) == 0
    rows = json.loads(file.read_text())
    assert [row["num_points"] for row in rows] == [16, 32]
    for row in rows:
        assert row["floor_seconds"] > 0.0
        assert row["step_over_floor"] > row["own_over_floor"] > 0.0
    assert "own_over_floor" in capsys.readouterr().out


def test_steps_for_the_comparison_with_pyqg_converge_to_those_of_evolve(monkeypatch):
    """Of second order, as the first step of three is Euler's; the filter is off."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    bench_layers = import_module("bench_layers")
    monkeypatch.setattr(bench_layers, "FILTER", 0.0)
    start, day = bench_layers.smooth_field(32), 86_400.0
    flow = TwoLayerConfig(32, **bench_layers.EDDY, aliased_products=True)
    exact = evolve(start, flow, day, time_step=600.0)
    errors = []
    for steps in (48, 96):
        fields = bench_layers.adams_bashforth(start, day / steps)
        last = next(itertools.islice(fields, steps - 1, None))
        errors.append(np.abs(last - exact).max() / np.abs(exact).max())
    assert errors[1] < 1e-3
    assert 3.5 < errors[0] / errors[1] < 9.0


def test_a_comparison_without_pyqg_says_how_to_install_it(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    bench_layers = import_module("bench_layers")
    monkeypatch.setattr(bench_layers, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match=r"pyqg.*docs/benchmarks\.md"):
        bench_layers.main(["--agree"])
