"""Every Python block of the documents runs as printed, page by page.

The blocks of a page are one script, run in a folder of its own. A block whose fence has
a title is not run: the title says what it needs.
"""

import re
import runpy
import shlex
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

import keras_spectral_tl.__main__
import turbulence_data.__main__
from keras_spectral_tl import metrics

ROOT = Path(__file__).parent.parent.parent
README = ROOT / "README.md"
PAGES = [
    README,
    ROOT / "turbulence_data" / "README.md",
    ROOT / "examples" / "model_zoo" / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
# A script of its own, with processes of Dask, runs in test_distributed_docs.py.
OWN_TEST = "distributed.md"
# What `make test` does not install for every backend.
LIBRARIES = {"torch_models.md": ["torch"]}
BLOCK = re.compile(r"^```python(?P<title> [^\n]*)?\n(?P<code>.*?)^```$", re.S | re.M)
# Python that is not in a fence begins with what it imports.
UNFENCED = re.compile(r"^ {4,}(?:import \w|from [\w.]+ import ).*", re.M)


def runnable(page):
    found = BLOCK.finditer(page.read_text())
    return [block["code"] for block in found if not block["title"]]


RUN = [page for page in PAGES if page.name != OWN_TEST and runnable(page)]


def name(page):
    return str(page.relative_to(ROOT))


@pytest.fixture(scope="module")
def flows(tmp_path_factory):
    """Where the flows of all pages are simulated, each once."""
    return tmp_path_factory.mktemp("flows")


def run(page, folder):
    """Runs the blocks of a page as a script in `folder`; returns its names."""
    script = folder / "page.py"
    script.write_text("\n".join(runnable(page)))
    (folder / "examples").symlink_to(ROOT / "examples")
    with warnings.catch_warnings():
        warnings.simplefilter("default")  # a user's process goes on after a warning
        return runpy.run_path(str(script), run_name="__main__")


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN, ids=name)
def test_blocks_of_a_page_run_as_printed(page, flows, tmp_path, monkeypatch):
    for library in LIBRARIES.get(page.name, ()):
        pytest.importorskip(library)
    monkeypatch.chdir(tmp_path)
    # What TFDS_DATA_DIR sets, which TFDS reads but once.
    monkeypatch.setattr("tensorflow_datasets.core.constants.DATA_DIR", str(flows))
    monkeypatch.setattr(sys, "path", [*sys.path])
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.switch_backend("agg")
    names = run(page, tmp_path)
    pyplot.close("all")
    if page == README:
        check_readme(names)


def check_readme(names):
    """The base network works, what was chosen moved, and that mended much."""
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


PROGRAMS = {
    "keras-spectral-tl": keras_spectral_tl.__main__.parser,
    "turbulence-data": turbulence_data.__main__.parser,
}
SHELL = re.compile(r"^```sh\n(.*?)^```$", re.S | re.M)


def command_lines(page):
    """Command lines of the two programs in the shell blocks of a page, as words."""
    for block in SHELL.findall(page.read_text()):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words[:2] == ["python", "-m"]:
                words = [words[2].replace("_", "-"), *words[3:]]
            if words and words[0] in PROGRAMS:
                yield words[0], words[1:]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_command_lines_are_what_the_programs_take(page):
    for program, arguments in command_lines(page):
        PROGRAMS[program]().parse_args(arguments)  # exits where it does not know one


def test_command_lines_are_found():
    assert len([*command_lines(README)]) == 3
    assert len([*command_lines(ROOT / "turbulence_data" / "README.md")]) == 4


SCRIPTS = {path.name for path in (ROOT / "examples").glob("*.py")}


@pytest.mark.parametrize("script", sorted(SCRIPTS - {"online_figures.py"}))
def test_help_of_an_example_needs_no_library_and_runs_nothing(script, tmp_path):
    """Nothing installed is found, so that nothing slow can be imported."""
    command = [sys.executable, "-I", "-S", str(ROOT / "examples" / script), "--help"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
    )
    assert len(done.stdout.splitlines()) >= 3
    assert not list(tmp_path.iterdir())
