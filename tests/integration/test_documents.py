"""Every Python block of the documents runs as printed, page by page.

The blocks of a page are one script, run in a folder of its own. A block whose fence has
a title is not run: the title says what it needs.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PAGES = [
    ROOT / "README.md",
    ROOT / "turbulence_data" / "README.md",
    ROOT / "examples" / "model_zoo" / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
BLOCK = re.compile(r"^```python(?P<title> [^\n]*)?\n(?P<code>.*?)^```$", re.S | re.M)
# Python that is not in a fence begins with what it imports.
UNFENCED = re.compile(r"^ {4,}(?:import \w|from [\w.]+ import ).*", re.M)


def runnable(page):
    found = BLOCK.finditer(page.read_text())
    return [block["code"] for block in found if not block["title"]]


def name(page):
    return str(page.relative_to(ROOT))


@pytest.fixture(scope="module")
def flows(tmp_path_factory):
    """Where the flows of all pages are simulated, each once."""
    return tmp_path_factory.mktemp("flows")


@pytest.mark.slow
@pytest.mark.parametrize("page", [p for p in PAGES if runnable(p)], ids=name)
def test_blocks_of_a_page_run_as_printed(page, flows, tmp_path):
    script = tmp_path / "page.py"
    script.write_text("\n".join(runnable(page)))
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    paths = os.pathsep.join(filter(None, sys.path))
    done = subprocess.run(
        [sys.executable, script.name],
        cwd=tmp_path,
        env=os.environ
        | {"TFDS_DATA_DIR": str(flows), "PYTHONPATH": paths, "MPLBACKEND": "agg"},
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_python_stands_in_fences(page):
    outside = BLOCK.sub("", page.read_text())
    assert UNFENCED.findall(outside) == []


def test_few_blocks_are_not_run():
    """Only those that need a cluster, an accelerator or another library."""
    titles = [
        found["title"]
        for page in PAGES
        for found in BLOCK.finditer(page.read_text())
        if found["title"]
    ]
    assert all(re.fullmatch(r' title="\w.* \(not run here\)"', t) for t in titles)
    assert len(titles) <= 6
