"""The HTML page: whole, self-contained, escaped, and honest about what is missing."""

import dataclasses
import html
import html.parser
import json
import math
import pickle
import re
import sys

import keras
import numpy as np
import pytest

import keras_spectral_tl as kst
from keras_spectral_tl.report import (
    Study,
    _page,
    picture_record,
    spectra_record,
    system_record,
    write_report,
)
from keras_spectral_tl.report._page import html as html_of

pytestmark = pytest.mark.once

pytest.importorskip("jinja2")
VOID = {"meta", "link", "path", "use", "image", "rect"}


@pytest.fixture(scope="module", autouse=True)
def drawn_once():
    """Most pages here differ in one part: each chart of the others is drawn once."""
    charts, draw = {}, _page._chart

    def known(*arguments, **options):
        key = pickle.dumps((arguments, options))
        if key not in charts:
            charts[key] = draw(*arguments, **options)
        return charts[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_page, "_chart", known)
        yield


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
        if tag in VOID and self.stack[-1] != tag:
            return
        assert self.stack.pop() == tag

    def charts(self):
        return [svg for svg in self.all("svg") if svg.get("class") == "chart"]

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


def forecast():
    """Two ways to retrain beside none."""
    names = ("correlation", "correlation_low", "correlation_high", "base_correlation")
    values = {
        "conv_2": (0.79, 0.76, 0.82, 0.7),
        "all layers": (0.78, 0.75, 0.81, 0.6),
        "unchanged": (0.57, 0.55, 0.59, 0.93),
    }
    arms = {
        label: dict(zip(names, row, strict=True))
        | {"relative_rmse": 0.6, "parameters": 1234, "learning_rate": 0.002}
        | {"steps": 500, "batch_size": 8}
        for label, row in values.items()
    }
    arms["unchanged"] |= {"parameters": 0, "steps": 0, "learning_rate": 0.0}
    return {
        "best": "conv_2",
        "reason": "what the forecast says",
        "abstained": True,
        "ties": ["all layers"],
        "arms": arms,
        "spectra": {},
        "provenance": {"num_target_samples": 16},
    }


def filters():
    return {
        "classes": ["low-pass", "gradient"],
        "images": np.random.default_rng(0).normal(size=(2, 5, 5)).tolist(),
        "shares": [0.6, 0.3, 0.1],
        "noise_shares": [0.2, 0.15, None],
    }


def study():
    x, y = np.random.default_rng(0).normal(size=(2, 3, 16, 16, 1))
    names = {"x": ["vorticity"], "y": ["sgs_forcing"]}
    record = system_record((x, y), channels=names)
    hashes = {"conv_1": "a" * 64, "conv_2": "b" * 64}
    return Study(
        title="A & B <test>",
        systems={"base": record, "target": record},
        a_priori=[{"network": "base", "data": "target", "samples": 3, "cc": 0.5678}],
        forecast=forecast(),
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
            "filters": {"conv_2": filters()},
        },
        pictures=picture_record({"base": (x, y), "target": (x, y)}, channels=names),
        a_posteriori=[{"closure": "none", "energy error": 0.25}],
        provenance={"score": {"model_sha256": "d" * 64}},
    )


@pytest.fixture(scope="module")
def page():
    """The text of a whole page."""
    return html_of(study())


def test_a_whole_study_is_one_page_with_everything_on_it(page):
    text, page = page, Page(page)
    assert page.stack == []
    assert len(page.ids) == len(set(page.ids))
    for part in ("A &amp; B &lt;test&gt;", "conv_2 removes most", "reason of conv_1"):
        assert part in text
    for part in ("0.5678", "98 %", "d" * 64, "3.x", "energy error"):
        assert part in text
    # A forecast; spectra of two channels; maps of two systems; scores and sweep;
    # history, kernels, activations; filters of the change.
    assert len(page.charts()) == 1 + 2 + 4 + 2 + 3 + 1
    assert "low-pass" in text and "30%" in text
    assert len(page.all("figcaption")) == len(page.charts())
    assert len(page.all("details")) == 4  # the numbers of spectra


def test_the_page_needs_no_network(page):
    text, page = page, Page(page)
    text = re.sub(r"data:image/png;base64,[^\"]+", "", text)
    assert re.findall(r"https?:|//[a-z]|@import|url\((?!#)", text) == []
    assert all("src" not in script for script in page.all("script"))
    assert [link["href"] for link in page.all("link")] == ["data:,"]
    (policy,) = [m["content"] for m in page.all("meta") if "http-equiv" in m]
    assert "default-src 'none'" in policy


def test_links_lead_to_sections_and_every_chart_and_table_is_named(page):
    page = Page(page)
    for link in page.all("a"):
        assert link["href"].removeprefix("#") in page.ids
    assert all(svg["aria-label"] for svg in page.charts())
    named = [div for div in page.all("div") if div.get("role") == "region"]
    assert all(div["aria-label"] for div in named)
    assert len(named) == len(page.all("table"))
    assert page.all("html") == [{"lang": "en"}]


@pytest.mark.parametrize("part", list(Study().parts))
def test_every_part_may_be_missing_and_is_said_to_be(part, page):
    empty = getattr(Study(), part)
    lacking = dataclasses.replace(study(), **{part: empty})
    assert lacking.missing == (part,)
    text = html_of(lacking)
    assert len(Page(text).all("section")) == 6
    assert ABSENT[part] in text
    assert ABSENT[part] not in page


ABSENT = {
    "systems": "Nothing is known of the systems",
    "a_priori": "No network was tested on samples",
    "forecast": "No ways to retrain were compared",
    "scores": "The layers were not scored.</p>",
    "sweep": "The layers were not retrained in turn",
    "retraining": "No layer was retrained and kept",
    "spectra": "No spectra of kernels",
    "pictures": "No maps of samples were kept",
    "a_posteriori": "No network was run inside an LES",
    "provenance": "Nothing is known of how this was made",
}


def test_an_empty_study_says_so_of_every_part():
    text = html_of(Study())
    assert all(sentence in text for sentence in ABSENT.values())
    assert "Not known: score the layers first." in text
    assert "<svg" not in text


def answer(one):
    """The three lines that the page begins with."""
    start = r'<main id="main">\s*<dl class="answer">(.*?)</dl>'
    # Most of the drawings take time, and say nothing here.
    bare = dataclasses.replace(one, systems={}, spectra={}, pictures={})
    (found,) = re.findall(start, html_of(bare), re.DOTALL)
    lines = re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", found)
    return {name: html.unescape(line) for name, line in lines}


def test_a_forecast_is_the_answer_in_three_lines():
    lines = answer(study())
    assert list(lines) == ["What to do", "How sure", "Gain"]
    what = lines["What to do"]
    assert "CC 0.930 on the base system and 0.570 on the target" in what
    assert "Retrain conv_2: 1,234 weights, Adam from 0.002, 500 steps of 8." in what
    assert "indistinguishable from all layers" in lines["How sure"]
    gain = lines["Gain"]
    assert "0.570 → 0.790 forecast (90 % interval 0.760 to 0.820)" in gain
    assert gain.endswith("0.700 left on the base system; measured 0.800.")


def test_a_forecast_may_leave_a_network_as_it_is():
    known = {**forecast(), "best": "unchanged", "ties": []}
    for row in known["arms"].values():
        row["base_correlation"] = None
    lines = answer(dataclasses.replace(study(), forecast=known))
    assert lines["What to do"].endswith("CC 0.570 on the target. Leave it as it is.")
    assert "ahead of the other 2 ways" in lines["How sure"]
    assert lines["Gain"].endswith("; measured 0.568.")


@pytest.mark.parametrize(
    ("weights", "error", "correlation", "part"),
    [
        (2000, 0.4, 0.789, "from unchanged; of these it trains the fewest weights."),
        (0, 0.9, 0.789, "relative RMSE 0.500, and 0.900 with unchanged."),
        (
            0,
            0.4,
            0.789,
            "unchanged, with the fewest weights of these, is 0.001 behind.",
        ),
        (0, 0.9, 0.78, "unchanged, with the fewest weights of these, is 0.010 behind."),
    ],
)
def test_the_answer_says_what_decides_between_arms_that_tie(
    weights, error, correlation, part
):
    known = {**forecast(), "ties": ["unchanged"]}
    known["arms"][known["best"]]["relative_rmse"] = 0.5
    known["arms"]["unchanged"] |= {"parameters": weights, "relative_rmse": error}
    known["arms"]["unchanged"]["correlation"] = correlation
    sure = answer(dataclasses.replace(study(), forecast=known))["How sure"]
    assert sure.endswith(part)


def test_without_a_forecast_the_answer_is_that_of_the_scores():
    one = dataclasses.replace(study(), forecast={})
    figures = {"base": 0.641, "conv_2 retrained": 0.8, "all layers": 0.9}
    rows = [
        {"network": name, "data": "target test samples", "cc": cc}
        for name, cc in figures.items()
    ]
    lines = answer(dataclasses.replace(one, a_priori=rows))
    assert list(lines) == ["What to do", "How sure", "Gain"]
    assert lines["What to do"] == "Retrain conv_2."
    assert lines["How sure"].startswith("conv_2 removes most")
    assert "confirms it as the best" in lines["How sure"]
    assert "0.641 → 0.800" in lines["Gain"]
    assert "all layers 0.900" in lines["Gain"]


def test_the_answer_tells_where_the_sweep_disagrees_or_nothing_is_recommended():
    one = dataclasses.replace(study(), forecast={})
    rows = [{"layer": "conv_1", "cc": 0.81}, {"layer": "conv_2", "cc": 0.8}]
    other = {"best": "conv_1", "rows": rows}
    lines = answer(dataclasses.replace(one, sweep=other))
    assert "finds conv_1 better, by 0.010 in CC" in lines["How sure"]
    none = {**scores(), "recommended": [], "abstained": True, "reason": "too few"}
    lines = answer(dataclasses.replace(one, scores=none, retraining={}, sweep={}))
    assert lines["What to do"].startswith("No single layer is sure")
    assert lines["How sure"] == "Too few"
    assert lines["Gain"].endswith("0.568 before, not measured after.")


def test_channels_have_their_names(page):
    for label in ("spectrum of vorticity", "base: vorticity", "base: sgs forcing"):
        assert f"<figcaption>{label}</figcaption>" in page


def test_the_names_of_eleven_layers_do_not_overlap():
    names = [f"conv_{number}" for number in range(1, 12)]
    values = {"probe": dict.fromkeys(names, 0.1)}
    known = {**scores()["provenance"], "deciding_scorer": "probe"}
    many = {**scores(), "ranking": names, "scores": values, "provenance": known}
    text = html_of(Study(scores=many))
    heights = [
        float(re.findall(rf'<text [^>]*y="([\d.]+)"[^>]*>{name}</text>', text)[0])
        for name in names
    ]
    assert np.diff(heights).min() > 12  # letters are 10 high


def test_layers_whose_short_names_agree_are_all_drawn():
    names = [f"res_block_{number}/conv_depthwise" for number in range(1, 4)]
    names.append("another_block/of_a_different_end")
    values = {"probe": dict.fromkeys(names, 0.1)}
    known = {**scores()["provenance"], "deciding_scorer": "probe"}
    many = {**scores(), "ranking": names, "scores": values, "provenance": known}
    sweep = {"best": names[0], "rows": [{"layer": n, "cc": 0.5} for n in names]}
    text = html_of(Study(scores=many, sweep=sweep))
    drawn = re.findall(r"<text [^>]*>([^<]*_[^<]*)</text>", text)
    assert sorted(drawn) == sorted(2 * [*names[:3], "another_bl…fferent_end"])


def test_colours_of_drawings_follow_the_theme(page):
    drawn = "".join(re.findall(r'<svg class="chart".*?</svg>', page, re.DOTALL))
    assert "var(--blue)" in drawn and "currentColor" in drawn
    assert re.findall(r"(?:fill|stroke): #(?:000000|010203|0072b2|d55e00)", drawn) == []


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
    shown = re.sub(r"base64,[^\"]+", "", text.split("<main")[1].split("<script")[0])
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
    assert read.title == one.title
    dataclasses.replace(one, title=Study.title).write(tmp_path / "untitled")
    named = Study.read(tmp_path / "untitled").title
    assert named == "Transfer study: from arrays to arrays"
    assert json.dumps(read.parts) == json.dumps(one.parts)
    assert write_report(tmp_path) == tmp_path / "report.html"
    assert kst.write_report(one, tmp_path / "other.html").read_text() == html_of(one)


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
        write_report(Study())


def test_numbers_of_numpy_are_written_and_nothing_is_where_a_value_cannot_be(tmp_path):
    figures = [{"closure": "none", "energy": np.float32(1.5), "steps": np.int64(3)}]
    Study(a_posteriori=figures).write(tmp_path)
    expected = [{"closure": "none", "energy": 1.5, "steps": 3}]
    assert Study.read(tmp_path).a_posteriori == expected
    bad = Study(a_priori=expected, a_posteriori=[{"energy": object()}])
    with pytest.raises(TypeError, match="object"):
        bad.write(tmp_path / "none")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("scores.json", ["chances"]),
        ("spectra.json", ["filters"]),
        ("forecast.json", ["provenance"]),
        ("forecast.json", ["arms", "unchanged"]),
        ("systems.json", ["base", "channels"]),
        ("sweep.json", ["rows"]),
        ("retrained/retraining.json", ["history"]),
    ],
)
def test_a_record_that_cannot_be_shown_is_named(name, keys, tmp_path):
    study().write(tmp_path)
    document = json.loads((tmp_path / name).read_text())
    part = document
    for key in keys[:-1]:
        part = part[key]
    part[keys[-1]] = ["x"]
    (tmp_path / name).write_text(json.dumps(document))
    with pytest.raises(ValueError, match=f"{name} is damaged, or of another version"):
        write_report(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_names_with_dollars_are_no_mathematics():
    known = forecast()
    known["arms"]["u$v$w"] = known["arms"].pop("conv_2")
    known["best"] = "u$v$w"
    spectra = {"kernels": {"conv_2": {"a$b$c": spectrum(-1)}}}
    text = html_of(Study(forecast=known, spectra=spectra))
    drawn = "".join(re.findall(r'<svg class="chart".*?</svg>', text, re.DOTALL))
    assert ">u$v$w<" in drawn and ">a$b$c<" in drawn


def test_without_jinja2_one_is_told_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(ImportError, match=r"keras-spectral-tl\[report\]"):
        html_of(Study())


def test_pictures_are_of_fields_and_of_few_points():
    x, y = np.random.default_rng(0).normal(size=(2, 3, 100, 60, 1))
    network = kst.build_sgs_cnn((100, 60, 1), num_layers=1, num_filters=1)
    found = picture_record({"base": (x, y), "target": (x, y)}, {"after": network})
    titles = [one["title"] for one in found["fields"]]
    assert titles == ["base: input", "base: output", "target: input", "target: output"]
    assert [one["title"] for one in found["predictions"]] == ["truth", "after"]
    np.testing.assert_allclose(found["fields"][0]["values"], x[0, ::2, :, 0], rtol=5e-3)
    outputs = network.predict(x[:1], verbose=0)[0, ::2, :, 0]
    np.testing.assert_allclose(found["predictions"][1]["values"], outputs, rtol=5e-3)
    row = x[:, :, 0, 0]
    assert picture_record({"base": (row, row)})["fields"] == []


def test_fields_of_one_dimension_have_spectra_and_pictures():
    x = np.sin(3 * 2 * np.pi * np.arange(16) / 16)[None, :, None] * np.ones((4, 1, 2))
    record = system_record((x, x[..., :1]))
    expected = np.where(np.arange(9) == 3, 0.5, 0.0)
    np.testing.assert_allclose(record["x_spectra"], [expected] * 2, atol=1e-12)
    np.testing.assert_allclose(record["y_spectra"], [expected], atol=1e-12)
    network = keras.Sequential([keras.Input((16, 2)), keras.layers.Conv1D(1, 3)])
    systems = {"base": (x, x[..., :1]), "target": (x, x[..., :1])}
    found = picture_record(systems, {"after": network})
    np.testing.assert_allclose(found["fields"][0]["values"], x[0, :, 0], rtol=5e-3)
    assert [one["title"] for one in found["predictions"]] == ["truth", "after"]
    study = Study(systems={"base": record, "target": record}, pictures=found)
    page = Page(html_of(study))
    # Two inputs and one output of both systems; their spectra; predictions.
    assert len(page.charts()) == 6 + 3 + 1


def test_three_axes_with_more_channels_than_points_are_no_fields():
    wide = np.ones((4, 8, 16))
    assert system_record((wide, wide))["x_spectra"] == []
    assert picture_record({"base": (wide, wide)})["fields"] == []


def test_spectra_of_a_network_with_and_without_fields():
    network = kst.build_sgs_cnn((8, 8, 2), num_layers=2, num_filters=2)
    x = np.random.default_rng(0).normal(size=(3, 8, 8, 2))
    found = spectra_record({"before": network}, {"target": (network, x)})
    expected = kst.kernel_spectra(network, 8).layers["conv_2"].mean_profile
    np.testing.assert_array_equal(found["kernels"]["conv_2"]["before"], expected)
    assert list(found["activations"]) == ["conv_1", "conv_2"]
    conv = keras.layers.Conv2D(2, 3, data_format="channels_first", name="conv")
    first = keras.Sequential([keras.Input((2, 8, 8)), conv])
    found = spectra_record({"before": first}, {})["kernels"]["conv"]["before"]
    assert len(found) == 7, "shells 0 to 6 of the grid of the inputs, 8 x 8"
    dense = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    assert spectra_record({"before": dense}, {"target": (dense, np.ones((2, 4)))}) == {}
    with pytest.raises(ValueError, match="num_points"):
        spectra_record({"before": network}, {}, num_points=2)


def test_filters_of_a_change_are_kept_of_the_layer_that_changed():
    """A constant added to all kernels of conv_2 is its first filter, alone."""
    before = kst.build_sgs_cnn((8, 8, 2), num_layers=3, num_filters=4, kernel_size=3)
    after = kst.build_sgs_cnn((8, 8, 2), num_layers=3, num_filters=4, kernel_size=3)
    weights = before.get_weights()
    weights[2] = weights[2] + 0.5
    after.set_weights(weights)
    found = spectra_record({"before": before, "after": after}, {})["filters"]
    assert list(found) == ["conv_2"]
    change = found["conv_2"]
    assert change["classes"] == ["low-pass"]
    np.testing.assert_allclose(change["images"], np.full((1, 3, 3), 1 / 3), atol=1e-4)
    assert change["shares"][0] == pytest.approx(1.0)
    json.dumps(found, allow_nan=False)
    assert "filters" not in spectra_record({"before": before}, {})
    page = html_of(Study(spectra={"filters": found}))
    assert "The change as filters" in page


def test_the_record_of_a_system_obeys_parseval():
    x = np.random.default_rng(0).normal(size=(5, 8, 8, 2))
    record = system_record((x, x[..., :1]))
    np.testing.assert_allclose(
        np.sum(record["x_spectra"], axis=1), np.mean(x**2, axis=(0, 1, 2))
    )
    assert system_record((x[:, 0, 0], x[:, 0, 0]))["x_spectra"] == []


def test_losses_of_some_epochs_are_drawn_at_theirs(monkeypatch):
    drawn = {}
    monkeypatch.setattr(
        _page, "_chart", lambda title, _, *given, **rest: drawn.update({title: given})
    )
    history = {"loss": [3.0, 2.0, 1.0], "val_loss": [None, 2.5, None]}
    whole = study()
    retraining = {**whole.retraining, "history": history}
    _page._retrained_charts(dataclasses.replace(whole, retraining=retraining))
    lines = drawn["training"][0][""]
    assert lines == {"loss": ((1, 2, 3), (3.0, 2.0, 1.0)), "val loss": ((2,), (2.5,))}
