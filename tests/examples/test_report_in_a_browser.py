"""The page of a study in a real browser: it opens, fits and stays offline."""

import json
import re
import shutil
import subprocess

import numpy as np
import pytest

from keras_spectral_tl.report import Study, system_record, write_report

pytest.importorskip("jinja2")
BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))),
    None,
)
pytestmark = pytest.mark.skipif(
    BROWSER is None, reason="no browser: apt-get install chromium"
)
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)
# Runs in the page after its own script, and leaves what it saw in an element.
PROBE = """
<script>
const seen = {errors: [], requests: performance.getEntriesByType("resource").length};
window.addEventListener("error", event => seen.errors.push(event.message));
window.addEventListener("load", () => {
  try {
    const chart = document.querySelector("svg.chart");
    const label = chart.querySelector("text");
    seen.charts = document.querySelectorAll("svg.chart").length;
    seen.curve = chart.querySelector("path").getBoundingClientRect().width;
    const ink = () => getComputedStyle(label).fill;
    const background = () => getComputedStyle(document.body).backgroundColor;
    const button = document.getElementById("theme");
    button.click();
    seen.light = [background(), ink()];
    button.click();
    seen.dark = [background(), ink()];
    seen.width = [document.documentElement.scrollWidth, window.innerWidth];
  } catch (error) { seen.errors.push(String(error)); }
  const note = document.createElement("pre");
  note.id = "seen";
  note.textContent = JSON.stringify(seen);
  document.body.append(note);
});
</script>
"""


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """What the probe saw on a window as narrow as a phone's."""
    folder = tmp_path_factory.mktemp("page")
    x, y = np.random.default_rng(0).normal(size=(2, 3, 32, 32, 1))
    record = system_record((x, y))
    study = Study(systems={"base": record, "target": record}, a_priori=[{"cc": 0.5}])
    text = write_report(study, folder / "report.html").read_text()
    (folder / "probed.html").write_text(text.replace("</body>", f"{PROBE}</body>"))
    done = subprocess.run(
        [
            BROWSER,
            *FLAGS,
            "--window-size=500,900",
            f"--user-data-dir={folder / 'profile'}",
            "--virtual-time-budget=5000",
            "--dump-dom",
            (folder / "probed.html").as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=240,
        check=True,
    )
    (found,) = re.findall(r'<pre id="seen">(.*?)</pre>', done.stdout)
    return json.loads(found.replace("&gt;", ">").replace("&lt;", "<"))


def test_it_opens_without_an_error_or_a_request(seen):
    assert seen["errors"] == []
    assert seen["requests"] == 0
    assert seen["charts"] == 2
    assert seen["curve"] > 100


def test_the_theme_can_be_chosen_and_drawings_follow(seen):
    assert seen["light"] == ["rgb(255, 255, 255)", "rgb(26, 29, 33)"]
    assert seen["dark"] == ["rgb(20, 23, 27)", "rgb(232, 234, 237)"]


def test_nothing_is_wider_than_the_window(seen):
    content, window = seen["width"]
    assert content <= window
