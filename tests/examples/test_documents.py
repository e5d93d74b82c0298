"""Every Python block of the documents runs as printed, page by page.

The blocks of a page are one script, run in a folder of its own. A block whose fence has
a title is not run: the title says what it needs.
"""

import re
import shlex
import subprocess
import sys

import pytest

import keras_spectral_tl.__main__
import turbulence_data.__main__
from tests.examples.documents import BLOCK, PAGES, README, ROOT, run, runnable

# Run in test_readme.py, as long as all others, and, with processes of Dask, in
# test_distributed_docs.py.
OWN_TESTS = (README, ROOT / "docs" / "distributed.md")
# What `make test` does not install for every backend.
LIBRARIES = {"torch_models.md": ["torch"]}
# Python that is not in a fence begins with what it imports.
UNFENCED = re.compile(r"^ {4,}(?:import \w|from [\w.]+ import ).*", re.M)


RUN = [page for page in PAGES if page not in OWN_TESTS and runnable(page)]


def name(page):
    return str(page.relative_to(ROOT))


@pytest.fixture(scope="module")
def flows(tmp_path_factory):
    """Where the flows of all pages are simulated, each once."""
    return tmp_path_factory.mktemp("flows")


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN, ids=name)
def test_blocks_of_a_page_run_as_printed(page, flows, tmp_path, monkeypatch):
    for library in LIBRARIES.get(page.name, ()):
        pytest.importorskip(library)
    run(page, tmp_path, flows, monkeypatch)


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
