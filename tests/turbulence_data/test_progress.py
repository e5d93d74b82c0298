"""Progress of long runs: a bar in terminals, a callable, or nothing."""

import io

import numpy as np
import pytest
from tqdm import tqdm

from turbulence_data import FlowConfig, Numerics, _progress, evolve
from turbulence_data.a_posteriori import Reference, compare, run_ensemble
from turbulence_data.closures import Smagorinsky

FLOW = FlowConfig(16, reynolds=10, linear_drag=0, forcing_wavenumber=None)
WAVE = np.cos(np.arange(16) * np.pi / 8)[:, None] * np.ones((1, 16))
TIMES = np.array([0.0, 0.5, 1.0])


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def long_calls(monkeypatch):
    """Every call counts as one that takes more than two seconds."""

    def at_once(**options):
        return tqdm(**{**options, "delay": 0, "mininterval": 0})

    monkeypatch.setattr(_progress, "tqdm", at_once)


def reference():
    decay = np.exp(-0.1 * TIMES)[:, None, None, None]
    vorticity = decay * np.stack([WAVE, 2 * WAVE])
    return Reference(FLOW, TIMES, vorticity, 0.1 * vorticity)


def run(progress=None, time_step=0.01, duration=1.0):
    numerics = Numerics(progress=progress)
    return evolve(WAVE, FLOW, duration, time_step, numerics=numerics)


@pytest.mark.parametrize("time_step", [0.01, None])
def test_evolve_tells_the_time_reached_up_to_the_end(time_step):
    rows = []
    run(rows.append, time_step, duration=20.0)
    done = [row["done"] for row in rows]
    assert len(done) > 1
    assert done == sorted(done) and done[-1] == pytest.approx(20.0, rel=1e-12)
    assert {row["total"] for row in rows} == {20.0}


@pytest.mark.parametrize("time_step", [0.01, None])
def test_watching_a_run_changes_no_bit_of_it(time_step):
    seen = []
    watched = run(seen.append, time_step)
    assert seen and np.array_equal(watched, run(False, time_step))


def test_every_snapshot_of_every_closure_is_told():
    rows = []
    compare(
        {"none": None, "LES": Smagorinsky()}, reference(), 0.1, progress=rows.append
    )
    assert [row["done"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert [row["closure"] for row in rows] == ["none"] * 3 + ["LES"] * 3
    assert {row["total"] for row in rows} == {6}


def test_every_snapshot_of_an_ensemble_is_told():
    rows = []
    start = np.stack([WAVE, 2 * WAVE])
    run_ensemble(start, FLOW, None, TIMES, 0.1, progress=rows.append)
    assert rows == [{"done": n, "total": 3} for n in (1, 2, 3)]


@pytest.mark.usefixtures("long_calls")
def test_a_terminal_has_a_bar(monkeypatch):
    monkeypatch.setattr("sys.stderr", terminal := Terminal())
    run()
    assert "Simulating: 100%" in terminal.getvalue()
    assert "1/1 units of time" in terminal.getvalue()
    monkeypatch.setattr("sys.stderr", terminal := Terminal())
    compare({"none": None, "LES": Smagorinsky()}, reference(), 0.1)
    last = terminal.getvalue().split("\r")[-1]
    assert "6/6 snapshots" in terminal.getvalue() and "LES" in last


@pytest.mark.usefixtures("long_calls")
@pytest.mark.parametrize(
    ("stream", "progress"), [(io.StringIO(), None), (Terminal(), False)]
)
def test_nothing_is_written_elsewhere_or_where_none_is_wanted(
    stream, progress, monkeypatch
):
    monkeypatch.setattr("sys.stderr", stream)
    run(progress)
    compare({"none": None}, reference(), 0.1, progress=progress)
    assert stream.getvalue() == ""


def test_what_is_done_at_once_has_no_bar(monkeypatch):
    monkeypatch.setattr("sys.stderr", terminal := Terminal())
    run()
    assert terminal.getvalue() == ""


@pytest.mark.parametrize("wrong", ["other", 1, True])
def test_what_cannot_be_called_is_refused(wrong):
    with pytest.raises(TypeError, match="progress must be a callable"):
        Numerics(progress=wrong)
    with pytest.raises(TypeError, match="progress must be a callable"):
        compare({"none": None}, reference(), progress=wrong)
    with pytest.raises(TypeError, match="progress must be a callable"):
        run_ensemble(WAVE[None], FLOW, None, TIMES, progress=wrong)
