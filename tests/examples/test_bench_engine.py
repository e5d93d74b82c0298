"""The benchmark of the JAX engine compares like with like and names its device."""

import json
import sys
from importlib import import_module
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent.parent / "benchmarks"


@pytest.fixture(scope="module")
def bench():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        yield import_module("bench_engine")
        for path in BENCHMARKS.glob("*.py"):
            sys.modules.pop(path.stem, None)


def test_the_report_holds_every_peer_and_names_the_device(bench, tmp_path, capsys):
    file = tmp_path / "results.json"
    options = ["--sizes", "16", "--batch", "2", "--rounds", "2", "--json", str(file)]
    assert bench.main(options) == 0
    results = json.loads(file.read_text())
    (row,) = results["rows"]
    assert row["agreement"] < bench.AGREEMENT
    names = {"packed_transforms", "plain", "real_ffts", "own_ffts", "memory"}
    assert names <= set(row["milliseconds"])
    assert min(row["milliseconds"].values()) > 0.0
    printed = capsys.readouterr().out
    assert results["device"] in printed
    assert "numbers of a CPU" in printed


def test_a_version_with_another_answer_is_no_peer(bench, monkeypatch):
    def other_step(flow, time_step, dtype):
        run = plain_run(flow, 1.1 * time_step, dtype)
        return run

    plain_run = bench.plain_run
    monkeypatch.setattr(bench, "plain_run", other_step)
    with pytest.raises(SystemExit, match="do not agree"):
        bench.check_agreement(16, 100.0 * bench.starts(16, 1))
