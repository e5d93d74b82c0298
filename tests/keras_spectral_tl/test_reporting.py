"""The HTML page: whole, self-contained, escaped, and honest about what is missing."""

import dataclasses
import html.parser
import json
import math
import re
import sys

import numpy as np
import pytest

import keras_spectral_tl as kst
from keras_spectral_tl.reporting import Study, report
from keras_spectral_tl.reporting.axis import Axis
from keras_spectral_tl.reporting.page import html as html_of
from keras_spectral_tl.reporting.records import spectra_record, system_record

pytest.importorskip("jinja2")
VOID = {"meta", "link", "path", "rect"}


class Page(html.parser.HTMLParser):
    """Checks that elements nest, and collects them."""

    def __init__(self, text):
        super().__init__()
        self.stack, self.elements, self.ids = [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.stack.append(tag)

    def handle_endtag(self, tag):
        if tag in VOID:
            return
        assert self.stack.pop() == tag

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]


def spectrum(slope):
    return [0.0, *(float(k) ** slope for k in range(1, 12))]


def scores():
    layers = ("conv_1", "conv_2")
    return {
        "ranking": ["conv_2", "conv_1"],
        "recommended": ["conv_2"],
        "abstained": False,
        "reason": "conv_2 removes most",
        "scores": {"least_squares": {"conv_1": 0.2, "conv_2": 0.4}},
        "intervals": {"conv_1": [0.1, 0.3], "conv_2": [0.3, 0.5]},
        "chances": {"conv_1": 0.02, "conv_2": 0.98},
        "passes": {},
        "explanations": {name: {"why": f"reason of {name}"} for name in layers},
        "provenance": {"deciding_scorer": "least_squares", "num_target_samples": 16},
    }


def study():
    x, y = np.random.default_rng(0).normal(size=(2, 3, 16, 16, 1))
    record = system_record((x, y))
    hashes = {"conv_1": "a" * 64, "conv_2": "b" * 64}
    return Study(
        title="A & B <test>",
        systems={"base": record, "target": record},
        a_priori=[{"network": "base", "data": "target", "samples": 3, "cc": 0.5678}],
        scores=scores(),
        sweep={
            "best": "conv_2",
            "rows": [{"layer": "conv_1", "cc": 0.7}, {"layer": "conv_2", "cc": 0.8}],
        },
        retraining={
            "trained": ["conv_2"],
            "changed": ["conv_2"],
            "num_trainable": 10,
            "num_frozen": 20,
            "seconds": 1.5,
            "history": {"loss": [2.0, 1.0]},
            "hashes_before": hashes,
            "hashes_after": {**hashes, "conv_2": "c" * 64},
            "provenance": {"seed": 7, "versions": {"keras": "3.x"}},
        },
        spectra={
            "kernels": {"conv_2": {"before": spectrum(-1), "after": spectrum(-2)}},
            "activations": {"conv_2": {"base": spectrum(-3), "target": spectrum(-4)}},
        },
        a_posteriori=[{"closure": "none", "energy error": 0.25}],
        provenance={"score": {"model_sha256": "d" * 64}},
    )


def test_a_whole_study_is_one_page_with_everything_on_it():
    text = html_of(study())
    page = Page(text)
    assert page.stack == []
    assert len(page.ids) == len(set(page.ids))
    for part in ("A &amp; B &lt;test&gt;", "conv_2 removes most", "reason of conv_1"):
        assert part in text
    for part in ("0.5678", "98%", "d" * 64, "3.x", "energy error"):
        assert part in text
    # Two of the systems; scores; sweep; history, kernels, activations.
    charts = [svg for svg in page.all("svg") if svg.get("class") == "chart"]
    assert len(charts) == 7
    assert all(json.loads(chart["data-axes"])["x"]["high"] > 0 for chart in charts)
    assert len(page.all("figcaption")) == len(page.all("details")) == 7


def test_the_page_needs_no_network():
    text = html_of(study())
    page = Page(text)
    assert re.findall(r"https?:|//[a-z]|@import|url\(", text) == []
    assert all("src" not in script for script in page.all("script"))
    assert [link["href"] for link in page.all("link")] == ["data:,"]
    (policy,) = [m["content"] for m in page.all("meta") if "http-equiv" in m]
    assert "default-src 'none'" in policy


def test_links_lead_to_sections_and_every_chart_and_table_is_named():
    page = Page(html_of(study()))
    for link in page.all("a"):
        assert link["href"].removeprefix("#") in page.ids
    assert all(svg.get("aria-label") for svg in page.all("svg") if "role" in svg)
    named = [div for div in page.all("div") if div.get("role") == "region"]
    assert all(div["aria-label"] for div in named)
    assert len(named) == len(page.all("table"))
    assert page.all("html") == [{"lang": "en"}]


@pytest.mark.parametrize("part", list(Study().parts))
def test_every_part_may_be_missing_and_is_said_to_be(part):
    empty = getattr(Study(), part)
    lacking = dataclasses.replace(study(), **{part: empty})
    assert lacking.missing == (part,)
    page = Page(html_of(lacking))
    assert len(page.all("section")) == 8


def test_an_empty_study_says_so_eight_times():
    text = html_of(Study())
    found = re.findall(r"<p>[^<]*(?:[Nn]othing|not|No )[^<]*</p>", text)
    assert len(found) == 8
    assert "<svg" not in text


@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf])
def test_what_is_no_number_leaves_a_gap(value):
    broken = scores()
    broken["scores"]["least_squares"]["conv_1"] = value
    broken["intervals"]["conv_1"] = [value, value]
    spectra = {"kernels": {"conv_2": {"before": [1.0, value, 2.0, 0.0, -1.0, 3.0]}}}
    rows = [{"layer": "conv_1", "cc": value}, {"layer": "conv_2", "cc": 0.8}]
    text = html_of(
        dataclasses.replace(
            study(),
            scores=broken,
            sweep={"best": "conv_2", "rows": rows},
            spectra=spectra,
            a_priori=[{"network": "base", "cc": value}],
        )
    )
    Page(text)
    shown = text.split("<main")[1].split("<script")[0]
    assert re.search(r"\b(nan|NaN|inf|Infinity|None|null)\b", shown) is None
    assert "–" in text


def test_names_and_reasons_are_escaped():
    evil = "<script>alert(1)</script>\" onload='x"
    broken = scores()
    broken["reason"] = evil
    broken["ranking"] = [evil]
    broken["scores"]["least_squares"] = {evil: 1.0}
    text = html_of(dataclasses.replace(study(), title=evil, scores=broken))
    assert "<script>alert" not in text
    page = Page(text)
    assert len(page.all("script")) == 1
    assert all("onload" not in attrs for _, attrs in page.elements)


def test_a_study_on_disk_is_the_study(tmp_path):
    one = study()
    one.write(tmp_path)
    read = Study.read(tmp_path)
    assert read.title == "Transfer study: from arrays to arrays"
    assert json.dumps(read.parts) == json.dumps(one.parts)
    assert report(tmp_path) == tmp_path / "report.html"
    assert kst.report(one, tmp_path / "other.html").read_text() == html_of(one)


def test_what_is_no_study_is_refused(tmp_path):
    with pytest.raises(NotADirectoryError, match="There is no folder"):
        Study.read(tmp_path / "none")
    with pytest.raises(ValueError, match=r"nothing of a study.*scores\.json"):
        Study.read(tmp_path)
    (tmp_path / "scores.json").write_text("{")
    with pytest.raises(ValueError, match="not a JSON file"):
        Study.read(tmp_path)
    (tmp_path / "scores.json").write_text("[1]")
    with pytest.raises(ValueError, match="must hold a JSON object"):
        Study.read(tmp_path)
    with pytest.raises(TypeError, match="path to write"):
        report(Study())


def test_without_jinja2_one_is_told_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(ImportError, match=r"keras-spectral-tl\[report\]"):
        html_of(Study())


def test_axes_place_values_and_ticks():
    linear = Axis("", -1.0, 3.0)
    assert linear.position(0.0) == 0.25
    assert linear.ticks() == [
        (0.0, "-1"),
        (0.25, "0"),
        (0.5, "1"),
        (0.75, "2"),
        (1.0, "3"),
    ]
    assert Axis.around("", [2.0, None, 2.0]).position(2.0) == 0.5
    assert Axis.around("", []).position(0.5) == 0.5
    narrow = Axis("", 2.0, 6.0, logarithmic=True)
    assert [label for _, label in narrow.ticks()] == ["2", "3", "4", "5", "6"]
    names = Axis.of_names("", ["a", "b"])
    assert names.ticks() == [(0.25, "a"), (0.75, "b")]


def test_spectra_of_a_network_with_and_without_fields():
    import keras

    network = kst.build_sgs_cnn((8, 8, 2), num_layers=2, num_filters=2)
    x = np.random.default_rng(0).normal(size=(3, 8, 8, 2))
    found = spectra_record({"before": network}, {"target": (network, x)})
    expected = kst.kernel_spectra(network, 8).layers["conv_2"].mean_profile
    np.testing.assert_array_equal(found["kernels"]["conv_2"]["before"], expected)
    assert list(found["activations"]) == ["conv_1", "conv_2"]
    dense = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    assert spectra_record({"before": dense}, {"target": (dense, np.ones((2, 4)))}) == {}
    with pytest.raises(ValueError, match="num_points"):
        spectra_record({"before": network}, {}, num_points=2)


def test_the_record_of_a_system_obeys_parseval():
    x = np.random.default_rng(0).normal(size=(5, 8, 8, 2))
    record = system_record((x, x[..., :1]))
    np.testing.assert_allclose(
        np.sum(record["x_spectra"], axis=1), np.mean(x**2, axis=(0, 1, 2))
    )
    assert system_record((x[:, 0, 0], x[:, 0, 0]))["x_spectra"] == []
