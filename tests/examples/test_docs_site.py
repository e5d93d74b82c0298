"""The site is built without a warning, with every public name, and needs no network."""

import importlib
import inspect
import json
import os
import re
import runpy
import subprocess
import sys
import zlib
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).parent.parent.parent
PACKAGES = (
    "keras_spectral_tl",
    *(
        f"keras_spectral_tl.{name}"
        for name in [
            "callbacks",
            "freezing",
            "layers",
            "loss_landscape",
            "metrics",
            "plotting",
            "report",
            "scoring",
            "spectra",
            "transfer",
        ]
    ),
    "turbulence_data",
    *(
        f"turbulence_data.{name}"
        for name in [
            "a_posteriori",
            "closures",
            "diagnostics",
            "generation",
            "interchange",
            "symmetries",
        ]
    ),
)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    result = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return folder


def public_objects():
    for package in PACKAGES:
        module = importlib.import_module(package)
        for name in module.__all__:
            value = getattr(module, name)
            if inspect.isclass(value) or inspect.isfunction(value):
                yield f"{value.__module__}.{value.__qualname__}"


TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.md"))


@pytest.mark.parametrize(
    "page", [p for p in TUTORIALS if p.stem != "index"], ids=lambda page: page.stem
)
def test_tutorials_lead_to_their_script_where_the_site_is_not_built(page):
    """In the repository; the site shows the cells of the notebook in place of that."""
    text = page.read_text()
    links = [page.parent / link for link in re.findall(r"\]\(([^)]+)\)", text)]
    assert [link.name for link in links] == [f"{page.stem}.py", f"{page.stem}.ipynb"]
    assert all(link.is_file() for link in links)
    hooks = runpy.run_path(str(ROOT / "docs" / "site_hooks.py"))
    file = SimpleNamespace(src_uri=f"tutorials/{page.name}")
    shown = hooks["on_page_markdown"](text, SimpleNamespace(file=file))
    first = json.loads(links[1].read_text())["cells"][0]["source"]
    assert shown.startswith("".join(first).splitlines()[0])
    assert "../../examples" not in shown


@pytest.mark.parametrize(
    "name", ["data_card", "model_zoo", "changelog", "contributing"]
)
def test_a_page_from_elsewhere_leads_there_where_the_site_is_not_built(name):
    page = ROOT / "docs" / f"{name}.md"
    (link,) = re.findall(r"\]\(([^)]+)\)", page.read_text())
    shown = page.parent / link
    hooks = runpy.run_path(str(ROOT / "docs" / "site_hooks.py"))
    file = SimpleNamespace(src_uri=page.name)
    written = hooks["on_page_markdown"](page.read_text(), SimpleNamespace(file=file))
    assert shown.read_text().splitlines()[-1] in written
    assert "This page is" not in written and "@include" not in written


@pytest.mark.slow
def test_every_public_name_is_in_the_reference(site):
    header, _, body = (site / "objects.inv").read_bytes().partition(b"zlib.\n")
    assert header.startswith(b"# Sphinx inventory")
    known = {line.split()[0] for line in zlib.decompress(body).decode().splitlines()}
    assert sorted(set(public_objects()) - known) == []


@pytest.mark.slow
def test_pages_load_nothing_from_other_hosts(site):
    loaded = re.compile(
        r"<(?:script|link|img|iframe)[^>]+(?:src|href)=\"?(https?:[^\" ]+)"
    )
    for page in site.rglob("*.html"):
        found = set(loaded.findall(page.read_text()))
        assert not {address for address in found if "canonical" not in address}, page
    for sheet in site.rglob("*.css"):
        assert not re.search(r"url\(\"?https?:", sheet.read_text()), sheet


@pytest.mark.slow
def test_no_page_is_empty(site):
    for page in site.rglob("*.html"):
        article = page.read_text().partition("<article")[2].partition("</article>")[0]
        words = re.sub(r"<[^>]+>", " ", article).split()
        assert len(words) > 30 or page.name == "404.html", page
    assert "data:image/png" in (site / "tutorials" / "five_minutes.html").read_text()
