"""The pages of the documents, and how the Python blocks of one are run."""

import re
import runpy
import sys
import warnings
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
README = ROOT / "README.md"
PAGES = [
    README,
    ROOT / "turbulence_data" / "README.md",
    ROOT / "examples" / "model_zoo" / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
BLOCK = re.compile(r"^```python(?P<title> [^\n]*)?\n(?P<code>.*?)^```$", re.S | re.M)


def runnable(page):
    found = BLOCK.finditer(page.read_text())
    return [block["code"] for block in found if not block["title"]]


def run(page, folder, flows, monkeypatch):
    """Runs the blocks of a page as a script in `folder`; returns its names.

    Flows are simulated in `flows`.
    """
    monkeypatch.chdir(folder)
    # What TFDS_DATA_DIR sets, which TFDS reads but once.
    monkeypatch.setattr("tensorflow_datasets.core.constants.DATA_DIR", str(flows))
    monkeypatch.setattr(sys, "path", [*sys.path])
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.switch_backend("agg")
    script = folder / "page.py"
    script.write_text("\n".join(runnable(page)))
    (folder / "examples").symlink_to(ROOT / "examples")
    with warnings.catch_warnings():
        warnings.simplefilter("default")  # a user's process goes on after a warning
        names = runpy.run_path(str(script), run_name="__main__")
    pyplot.close("all")
    return names
