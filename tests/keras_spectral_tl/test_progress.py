"""Progress of long calls: a bar in terminals, a callable, or nothing."""

import io

import keras
import pytest
from tqdm import tqdm

import keras_spectral_tl as kst
from keras_spectral_tl import _progress
from keras_spectral_tl._progress import check_progress, watched
from tests.keras_spectral_tl.common import Terminal

pytestmark = pytest.mark.once
ROWS = [{"layer": "conv_1", "cc": 0.5}, {"layer": "conv_2", "cc": 0.6}]


def written(monkeypatch, stream, progress, rows, total=None):
    """What a call that takes more than two seconds writes to stderr."""
    monkeypatch.setattr("sys.stderr", stream)

    def at_once(**options):
        return tqdm(**{**options, "delay": 0, "mininterval": 0, "file": stream})

    monkeypatch.setattr(_progress, "tqdm", at_once)
    with watched(progress, "Sweep", "layers", "layer", total) as move:
        for row in rows:
            move(row)
    return stream.getvalue()


def test_a_bar_counts_the_pieces_by_name(monkeypatch):
    text = written(monkeypatch, Terminal(), None, ROWS, 2)
    assert "Sweep" in text and "conv_1" in text
    assert "2/2" in text.split("\r")[-1] and "conv_2" in text.split("\r")[-1]


def test_rows_may_tell_how_many_there_are(monkeypatch):
    rows = [{**row, "done": n + 1, "total": 7} for n, row in enumerate(ROWS)]
    assert "2/7" in written(monkeypatch, Terminal(), None, rows)


def test_what_is_done_at_once_has_no_bar(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    rows = [{**row, "done": n + 1, "total": 2} for n, row in enumerate(ROWS)]
    with watched(None, "Sweep", "layers", "layer") as move:
        for row in rows:
            move(row)
    assert terminal.getvalue() == ""


@pytest.mark.parametrize(
    ("stream", "progress"), [(io.StringIO(), None), (Terminal(), False)]
)
def test_nothing_is_written_elsewhere_or_where_none_is_wanted(
    stream, progress, monkeypatch
):
    assert written(monkeypatch, stream, progress, ROWS, 2) == ""


def test_a_callable_gets_the_rows_in_place_of_a_bar(monkeypatch):
    seen = []
    assert written(monkeypatch, Terminal(), seen.append, ROWS, 2) == ""
    assert seen == ROWS


@pytest.mark.parametrize("wrong", ["other", 1, True])
def test_what_cannot_be_called_is_refused(wrong):
    check_progress(None)
    check_progress(False)
    check_progress(print)
    for refuses in (check_progress, shown_by(kst.forecast), shown_by(kst.score_layers)):
        with pytest.raises(TypeError, match="Expected progress as a callable"):
            refuses(wrong)


def shown_by(function):
    model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Conv2D(1, 3)])
    return lambda progress: function(model, None, None, progress=progress)
