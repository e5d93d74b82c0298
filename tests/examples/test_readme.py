"""The README runs as printed and does what it says, and is short."""

import pytest

from keras_spectral_tl import metrics
from tests.examples.documents import README, ROOT, run


@pytest.mark.slow(1000)
def test_its_blocks_run_as_printed(tmp_path, monkeypatch):
    """The base network works, what was chosen moved, and that mended much."""
    names = run(README, tmp_path, tmp_path / "flows", monkeypatch)
    base, target = (
        metrics.pattern_correlation(y, names["model"].predict(x, verbose=0))
        for x, y in (names["base"], names["test"])
    )
    row = names["result"].row(names["test"])
    assert base > 0.8
    added = {"output_gain"}  # from which a retraining may start
    assert set(names["result"].changed) == set(names["result"].trained) - added
    assert names["forecast"].best_row.correlation > target
    assert row["cc"] > target + 0.1


def test_the_readme_fits_two_screens_and_names_the_two_commands():
    text = README.read_text()
    assert len(text.splitlines()) <= 80
    targets = (ROOT / "Makefile").read_text()
    for command in ("demo", "test"):
        assert f"make {command}" in text
        assert f"\n{command}:" in targets
